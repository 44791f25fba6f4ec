//! Dangers that somebody has allowed for good: `approvals.json` in the profile's home.
//!
//! A file of this program's own: `config.yaml` belongs to its owner, and a change of it starts a new worker, which a question in the middle
//! of a turn must not do. An entry that is taken out of it holds no longer, at once. What cannot be read allows nothing.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{clock, file};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::home::APPROVALS as FILE;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::danger::Danger;

/// Its version.
const VERSION: u32 = 1;
/// Largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    allowed: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// Name of the danger.
    danger: String,
    /// When somebody said so.
    since: String,
    /// To what.
    command: String,
}

fn garbled(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

fn document(path: &Utf8Path) -> io::Result<Document> {
    let Some(found) = fs_err::metadata(path).or_absent()? else {
        return Ok(Document { version: VERSION, allowed: Vec::new() });
    };
    if found.len() > LARGEST || !found.is_file() {
        return Err(garbled("it is no file of a reasonable length"));
    }
    let document: Document = serde_json::from_slice(&fs_err::read(path)?).map_err(garbled)?;
    if document.version != VERSION {
        return Err(garbled(format!("version {} is not known", document.version)));
    }
    Ok(document)
}

/// What is allowed. Blocks.
pub(super) fn read(home: &Utf8Path) -> io::Result<BTreeSet<Danger>> {
    let all = document(&home.join(FILE))?.allowed;
    Ok(all.iter().filter_map(|entry| Danger::named(&entry.danger)).collect())
}

/// Allows more. Another generation of this worker may do the same: one at a time. Blocks.
pub(super) fn add(home: &Utf8Path, dangers: &[Danger], command: &str) -> io::Result<()> {
    let path: Utf8PathBuf = home.join(FILE);
    let dir = fs_err::File::open(home)?.into_parts().0;
    let _lock = Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mut document = document(&path)?;
    for danger in dangers {
        if document.allowed.iter().all(|entry| entry.danger != danger.name()) {
            let command = command.chars().take(200).collect();
            document.allowed.push(Entry {
                danger: danger.name().to_owned(),
                since: clock::utc().to_string(),
                command,
            });
        }
    }
    let mut text = serde_json::to_string_pretty(&document).map_err(garbled)?;
    text.push('\n');
    file::write_atomic(&path, text.as_bytes(), 0o600, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_kept_and_what_cannot_be_read_allows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        assert!(read(home).unwrap().is_empty());
        add(home, &[Danger::Git, Danger::Kill], "git push -f").unwrap();
        add(home, &[Danger::Git], "git reset --hard").unwrap();
        assert_eq!(read(home).unwrap(), [Danger::Git, Danger::Kill].into());
        let text = fs_err::read_to_string(home.join(FILE)).unwrap();
        assert_eq!(text.matches("\"git\"").count(), 1, "{text}");
        fs_err::write(home.join(FILE), "{}").unwrap();
        assert!(read(home).is_err());
        assert!(add(home, &[Danger::Git], "x").is_err(), "what somebody wrote there is not overwritten");
    }
}
