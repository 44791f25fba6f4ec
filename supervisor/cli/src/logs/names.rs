//! Which files a log's name means, and whose they are.

use std::io;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::home::log;
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use super::filter::{Filter, is_about};
use super::record::Record;

/// What the supervisor's lines are labelled with.
pub(crate) const SUPERVISOR: &str = "supervisor";

/// A log, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// Everything that a profile wrote.
    Agent,
    /// What its worker said.
    Gateway,
    /// Warnings and errors, and what was printed.
    Errors,
    /// What the gateway itself says.
    Supervisor,
    /// Another file of the folder, by its name without `.log`.
    File(String),
}

/// Names, and what they mean to people.
pub(crate) const NAMES: [(&str, &str); 7] = [
    ("agent", "everything a profile's worker said and printed, the Python program's agent.log included"),
    ("desktop", "the desktop program"),
    ("errors", "warnings and errors, and what was printed"),
    ("gateway", "what a profile's worker said"),
    ("gui", "the dashboard"),
    ("mcp", "what tool servers of the Python program printed"),
    ("supervisor", "what the gateway itself says"),
];

impl Name {
    /// By its name, with `.log` behind it or not; a file in one of the folders, too.
    pub(crate) fn find(word: &str, homes: &[ProfileHome]) -> Option<Self> {
        let word = word.strip_suffix(".log").unwrap_or(word);
        Some(match word {
            "agent" => Self::Agent,
            "gateway" => Self::Gateway,
            "errors" | "error" => Self::Errors,
            "supervisor" => Self::Supervisor,
            "mcp" => Self::File("mcp-stderr".to_owned()),
            "gui" | "desktop" => Self::File(word.to_owned()),
            _ => {
                let is_there = |home: &ProfileHome| {
                    in_folder(home).is_ok_and(|files| files.iter().any(|file| file.name == log(word)))
                };
                return homes.iter().any(is_there).then(|| Self::File(word.to_owned()));
            }
        })
    }

    /// Files of a profile's folder.
    fn files(&self, home: &ProfileHome) -> Vec<Utf8PathBuf> {
        let in_logs = |name: &str| home.logs().join(log(name));
        match self {
            Self::Agent => vec![home.gateway_log(), in_logs("agent"), home.error_log()],
            Self::Gateway => vec![home.gateway_log()],
            Self::Errors => vec![home.error_log(), in_logs("errors")],
            Self::Supervisor => Vec::new(),
            Self::File(stem) => vec![in_logs(stem)],
        }
    }
}

/// A file that records come from, with its rotated predecessors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// A profile's name, or [`SUPERVISOR`].
    pub(crate) label: String,
    /// Whose.
    pub(crate) log: Log,
    /// The newest file.
    pub(crate) path: Utf8PathBuf,
    /// Other files of the same profile are read, too, and may hold the same records.
    pub(crate) has_twins: bool,
    /// Only what a gateway says about this profile.
    pub(crate) about: Option<String>,
}

impl Place {
    /// Whether a record of it is wanted.
    pub(super) fn passes(&self, record: &Record<'_>, filter: &Filter) -> bool {
        filter.passes(record) && self.about.as_ref().is_none_or(|profile| is_about(record, profile))
    }
}

/// A record, and where it is from.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) place: &'a Place,
    pub(crate) record: Record<'a>,
}

/// Who writes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// A worker or the Python program, for one profile.
    Profile,
    /// The gateway itself, about all of them.
    Supervisor,
}

/// Where the records of a log are: of these profiles, and with `gateways` those of the gateways, too. `about`: of what the gateway of all
/// says, only that about one profile.
pub(crate) fn places(
    root: &RootHome,
    name: &Name,
    profiles: &[ProfileName],
    gateways: bool,
    about: Option<&ProfileName>,
) -> Vec<Place> {
    let mut all = Vec::new();
    for profile in profiles {
        let files = name.files(&root.profile(profile));
        let has_twins = files.len() > 1;
        let label = profile.to_string();
        all.extend(files.into_iter().map(|path| Place {
            label: label.clone(),
            log: Log::Profile,
            path,
            has_twins,
            about: None,
        }));
    }
    if gateways || *name == Name::Supervisor {
        let of = |label: String, home: &RootHome, about: Option<&ProfileName>| Place {
            label,
            log: Log::Supervisor,
            path: home.supervisor_log(),
            has_twins: false,
            about: about.map(ToString::to_string),
        };
        all.push(of(SUPERVISOR.to_owned(), root, about));
        // One with a gateway of its own.
        for profile in profiles.iter().filter(|profile| !profile.is_default()) {
            let home = RootHome::new(root.profile(profile).path());
            all.push(of(format!("{profile}/{SUPERVISOR}"), &home, None));
        }
    }
    all
}

/// A file of a folder of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFolder {
    /// With `.log`.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) len: u64,
    /// When it was last written.
    pub(crate) modified: Option<SystemTime>,
    /// Rotated predecessors, and their bytes.
    pub(crate) rotated: (usize, u64),
}

/// The logs of a home, by name; none where there is no folder.
pub(crate) fn in_folder(home: &ProfileHome) -> io::Result<Vec<InFolder>> {
    let Some(entries) = fs_err::read_dir(home.logs()).or_absent()? else { return Ok(Vec::new()) };
    let (mut found, mut rotated) = (Vec::<InFolder>::new(), Vec::new());
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Through a link: what is behind it is what will be read.
        let Some(metadata) = fs_err::metadata(entry.path()).or_absent()? else { continue };
        if !metadata.is_file() {
            continue;
        }
        if Utf8Path::new(&name).extension() == Some("log") {
            let (len, modified) = (metadata.len(), metadata.modified().ok());
            found.push(InFolder { name, len, modified, rotated: (0, 0) });
        } else if let Some((name, number)) = name.rsplit_once('.')
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            rotated.push((name.to_owned(), metadata.len()));
        }
    }
    for (name, len) in rotated {
        if let Some(file) = found.iter_mut().find(|file| file.name == name) {
            file.rotated = (file.rotated.0 + 1, file.rotated.1 + len);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
