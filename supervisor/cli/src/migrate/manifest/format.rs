//! The file's fields, and what of a file is believed. Pure.

use camino::Utf8PathBuf;
use hermes_wire::ProfileName;
use serde::{Deserialize, Serialize};

/// Version of the fields that the Python program knows.
pub(super) const VERSION: u32 = 1;
/// Version of ours.
pub(super) const SCHEMA: u32 = 1;
/// Most profiles that it may name.
const MOST: usize = 1000;

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) version: u32,
    /// When it was begun.
    pub(crate) migrated_at: String,
    /// What `gateway.multiplex_profiles` was.
    #[serde(default)]
    pub(crate) flag_was: bool,
    /// The root home's own gateway.
    pub(crate) default: Record,
    /// Those of other profiles.
    #[serde(default)]
    pub(crate) secondaries: Vec<Record>,
    /// What only this program writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
}

/// One gateway as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The profile.
    pub(crate) profile: String,
    /// Its home, for people.
    #[serde(default)]
    pub(crate) home: Utf8PathBuf,
    /// Its process, where it ran.
    #[serde(default)]
    pub(crate) pid: Option<u32>,
    /// What ran it.
    #[serde(default)]
    pub(crate) service: Option<ServiceRecord>,
    /// Its unit, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<UnitRecord>,
    /// The migration put `gateway.parked` into its home.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) parked: bool,
    /// The migration took `gateway.parked` out of its home.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unparked: bool,
}

/// A service, as the Python program names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceRecord {
    /// `systemd`, `launchd`, …
    pub(crate) kind: String,
    /// The machine's, not the user's.
    #[serde(default)]
    pub(crate) system: bool,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnitRecord {
    /// Its name, with its ending.
    pub(crate) name: String,
    /// What the file said.
    pub(crate) text: String,
    /// It started by itself.
    pub(crate) enabled: bool,
    /// It ran.
    pub(crate) active: bool,
    /// Files beside it that changed it; they stay where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) drop_ins: Vec<Utf8PathBuf>,
}

/// Which way it goes, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Course {
    /// To one gateway, and not there yet.
    Migrating,
    /// There.
    Migrated,
    /// Back, and not there yet.
    RollingBack,
}

/// What the file said of the flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flag {
    Absent,
    Off,
    On,
}

/// Our own part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(super) schema: u32,
    pub(crate) course: Course,
    /// What default's `config.yaml` said, exactly.
    pub(crate) flag: Flag,
    /// The service that the one gateway has, where it has one.
    #[serde(default)]
    pub(crate) target: Option<TargetRecord>,
    /// What was done, in order, for people.
    #[serde(default)]
    pub(crate) steps: Vec<String>,
}

/// The one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub(crate) system: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

impl Record {
    /// The profile, where it is one.
    pub(crate) fn name(&self) -> Option<ProfileName> {
        ProfileName::from_user_input(&self.profile).ok()
    }
}

impl Manifest {
    /// What the bytes say, or why nothing.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.version != VERSION {
            return Err(format!("its version is {}, and this program knows {VERSION}", manifest.version));
        }
        if let Some(progress) = &manifest.progress
            && progress.schema > SCHEMA
        {
            return Err(format!("a newer release wrote it (schema {})", progress.schema));
        }
        if manifest.secondaries.len() > MOST {
            return Err(format!("it names more than {MOST} profiles"));
        }
        if manifest.default.profile != hermes_wire::profile::DEFAULT {
            return Err(format!("'{}' stands in the place of the default profile", manifest.default.profile));
        }
        for record in &manifest.secondaries {
            if record.name().is_none_or(|name| name.is_default()) {
                return Err(format!("'{}' is no profile beside the default one", record.profile));
            }
        }
        Ok(manifest)
    }
}
