//! `gateway_migration.json`: what there was before a migration, and how far it got.
//!
//! The first version of the file is that of the Python program (0.21 and later), which writes it over in place, so that it can be met torn;
//! it says what was to be done, never that it was. Ours has the same fields and more: the text of every unit, whether it ran and started by
//! itself, and the steps that were taken. It is written whole, synced, with mode 0600: a unit may hold anything.
//!
//! What is read is bounded and believed as little as possible: no path in it is written to, but for units whose directory and name are those
//! of a gateway's ([`UnitRecord::place`]), and homes are those of the root home that the file lies in.

mod format;

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{ProfileName, RootHome};

pub(crate) use format::{Course, Flag, Manifest, Progress, Record, ServiceRecord, TargetRecord, UnitRecord};
use format::{SCHEMA, VERSION};

use super::MigrateError;
use crate::home::Surroundings;
use crate::service::{self, Manager, Scope, name};

/// Largest file that is read, in bytes.
const MAX: usize = 4 << 20;
/// The kind of service that the Python program writes for systemd.
const SYSTEMD: &str = "systemd";
/// The other one.
const LAUNCHD: &str = "launchd";
/// As it writes times: local, with an offset that has no colon.
const STAMP: &str = "%Y-%m-%dT%H:%M:%S%z";

impl ServiceRecord {
    pub(crate) fn of(manager: Manager) -> Self {
        match manager {
            Manager::Systemd(scope) => Self { kind: SYSTEMD.to_owned(), system: scope == Scope::System },
            Manager::Launchd => Self { kind: LAUNCHD.to_owned(), system: false },
        }
    }

    /// The manager, where it is one that is known here.
    pub(crate) fn manager(&self) -> Option<Manager> {
        let scope = if self.system { Scope::System } else { Scope::User };
        match self.kind.as_str() {
            SYSTEMD => Some(Manager::Systemd(scope)),
            LAUNCHD => Some(Manager::Launchd),
            _ => None,
        }
    }
}

impl Record {
    /// Whether a gateway of its own ran.
    pub(crate) fn ran(&self) -> bool {
        self.unit
            .as_ref()
            .map_or(self.pid.is_some() || self.service.is_some(), |unit| unit.active || self.pid.is_some())
    }

    /// Its service's manager.
    pub(crate) fn manager(&self) -> Option<Manager> {
        self.service.as_ref().and_then(ServiceRecord::manager)
    }
}

impl UnitRecord {
    /// Where it belongs; `None` where the name is no gateway's, which then nobody writes.
    pub(crate) fn place(&self, manager: Manager, env: &Surroundings) -> Option<Utf8PathBuf> {
        let fits = name::is_gateways(manager, &self.name)
            && !self.name.contains('/')
            && self.text.len() <= service::unit::MAX;
        service::directory(manager, env).filter(|_| fits).map(|directory| directory.join(&self.name))
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is none: never migrated, or rolled back.
    None,
    /// What it says.
    Some(Box<Manifest>),
    /// It cannot be read for this reason: the Python program was interrupted as it wrote it, or somebody edited it.
    Torn(String),
}

impl Manifest {
    /// A new one.
    pub(crate) fn begin(
        flag: Flag,
        default: Record,
        secondaries: Vec<Record>,
        target: Option<TargetRecord>,
    ) -> Self {
        let progress =
            Progress { schema: SCHEMA, course: Course::Migrating, flag, target, steps: Vec::new() };
        Self {
            version: VERSION,
            migrated_at: hermes_host::clock::local().strftime(STAMP).to_string(),
            flag_was: flag == Flag::On,
            default,
            secondaries,
            progress: Some(progress),
        }
    }

    /// Reads that of `root`.
    pub(crate) fn find(root: &RootHome) -> Result<Found, MigrateError> {
        let file = root.gateway_migration();
        let bytes = match disk::read_bounded(&file, MAX).or_absent() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Found::None),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => {
                return Ok(Found::Torn(source.to_string()));
            }
            Err(source) => return Err(MigrateError::io("read", &file)(source)),
        };
        Ok(Self::parse(&bytes).map_or_else(Found::Torn, |manifest| Found::Some(Box::new(manifest))))
    }

    /// Writes it, so that it outlasts a power failure.
    pub(crate) fn save(&self, root: &RootHome) -> Result<(), MigrateError> {
        let file = root.gateway_migration();
        let mut text =
            serde_json::to_string_pretty(self).map_err(|e| MigrateError::io("write", &file)(e.into()))?;
        text.push('\n');
        disk::write_atomic(&file, text.as_bytes(), true).map_err(MigrateError::io("write", &file))
    }

    /// Removes it: what it tells is over.
    pub(crate) fn remove(root: &RootHome) -> Result<(), MigrateError> {
        let file = root.gateway_migration();
        match fs_err::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(MigrateError::io("remove", &file)(e)),
            _ => Ok(()),
        }
    }

    /// Which way it goes; what the Python program wrote says only that it was begun.
    pub(crate) fn course(&self) -> Course {
        self.progress.as_ref().map_or(Course::Migrating, |progress| progress.course)
    }

    /// Every record, default's first.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        std::iter::once(&self.default).chain(&self.secondaries)
    }

    /// The record of a profile.
    pub(crate) fn record_mut(&mut self, profile: &ProfileName) -> Option<&mut Record> {
        std::iter::once(&mut self.default)
            .chain(&mut self.secondaries)
            .find(|record| record.profile == profile.as_str())
    }

    /// Our own part; of a file of the Python program made from what it says.
    pub(crate) fn progress_mut(&mut self) -> &mut Progress {
        let flag = if self.flag_was { Flag::On } else { Flag::Off };
        let course = self.course();
        self.progress.get_or_insert_with(|| Progress {
            schema: SCHEMA,
            course,
            flag,
            target: None,
            steps: Vec::new(),
        })
    }
}

/// Moves a file that cannot be read out of the way; where to.
pub(crate) fn set_aside(root: &RootHome) -> Result<Utf8PathBuf, MigrateError> {
    let file = root.gateway_migration();
    let stamp = hermes_host::clock::local().strftime("%Y%m%d-%H%M%S").to_string();
    let aside = Utf8Path::new(&format!("{file}.torn-{stamp}")).to_owned();
    fs_err::rename(&file, &aside).map_err(MigrateError::io("move away", &file))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(profile: &str) -> Record {
        Record {
            profile: profile.to_owned(),
            home: format!("/h/{profile}").into(),
            pid: Some(7),
            service: Some(ServiceRecord { kind: SYSTEMD.to_owned(), system: false }),
            unit: None,
            parked: false,
            unparked: false,
        }
    }

    /// N7.6: the file of a newer Python program is read, and what ours adds is nothing that its readers stumble over.
    #[test]
    fn n7_6_the_file_of_newer_programs() {
        let theirs = r#"{"version":1,"migrated_at":"2026-11-02T08:14:03+0100","flag_was":false,
            "default":{"profile":"default","home":"/home/u/.hermes","pid":4242,"service":{"kind":"systemd","system":false}},
            "secondaries":[{"profile":"coder","home":"/home/u/.hermes/profiles/coder","pid":null,"service":null}]}"#;
        let manifest = Manifest::parse(theirs.as_bytes()).unwrap();
        assert_eq!((manifest.course(), manifest.progress.is_none()), (Course::Migrating, true));
        let default = &manifest.default;
        assert_eq!((default.manager(), default.ran()), (Some(Manager::Systemd(Scope::User)), true));
        assert!(!manifest.secondaries[0].ran());

        let ours = Manifest::begin(Flag::Absent, record("default"), vec![record("coder")], None);
        let value: serde_json::Value = serde_json::to_value(&ours).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["default"]["service"], serde_json::json!({"kind": "systemd", "system": false}));
        assert_eq!(value["secondaries"][0]["profile"], "coder");
        let at = value["migrated_at"].as_str().unwrap();
        assert!(at.len() == "2026-11-02T08:14:03+0100".len() && !at.ends_with('Z'), "{at}");
        assert_eq!(Manifest::parse(value.to_string().as_bytes()).unwrap(), ours);
    }

    #[test]
    fn what_cannot_be_believed_is_torn() {
        for bad in [
            "",
            "{\"version\":1,\"migrated_at\":\"x\",\"def",
            r#"{"version":2,"migrated_at":"x","default":{"profile":"default"}}"#,
            r#"{"version":1,"migrated_at":"x","default":{"profile":"coder"}}"#,
            r#"{"version":1,"migrated_at":"x","default":{"profile":"default"},"secondaries":[{"profile":"../x"}]}"#,
            r#"{"version":1,"migrated_at":"x","default":{"profile":"default"},"secondaries":[{"profile":"default"}]}"#,
        ] {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// What the file names is written to nowhere but where units of gateways are.
    #[test]
    fn a_unit_has_its_place_by_its_name() {
        let env = Surroundings { user_home: Some("/home/u".into()), ..Surroundings::bare() };
        let unit = |name: &str| UnitRecord {
            name: name.to_owned(),
            text: String::new(),
            enabled: true,
            active: true,
            drop_ins: Vec::new(),
        };
        let user = Manager::Systemd(Scope::User);
        assert_eq!(
            unit("hermes-gateway-coder.service").place(user, &env).unwrap(),
            "/home/u/.config/systemd/user/hermes-gateway-coder.service"
        );
        for bad in
            ["sshd.service", "../hermes-gateway.service", "hermes-gateway-/../../x.service", "hermes-gateway"]
        {
            assert_eq!(unit(bad).place(user, &env), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::parse(&bytes);
        }

        /// A file that was cut anywhere is torn or, cut behind its end, whole.
        #[test]
        fn a_cut_file_is_torn(at in 0_usize..2000) {
            let whole = serde_json::to_string(&Manifest::begin(Flag::On, record("default"), vec![record("a"), record("b")], None)).unwrap();
            let cut = &whole[..at.min(whole.len())];
            prop_assert_eq!(Manifest::parse(cut.as_bytes()).is_ok(), cut.len() == whole.len());
        }
    }
}
