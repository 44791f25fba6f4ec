//! Where a process id counts: in one PID namespace of one machine, from its boot on.
//!
//! A home may be mounted into several containers, or into several machines. Its lock is one lock for all of them where the file system
//! says so, while the process id in its record means nothing elsewhere: there it may be nobody's, or somebody else's. So the record
//! also says where it counts, and whoever looks from another place says so instead of naming a process.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use hermes_host::disk;
use hermes_wire::contract::pid_record::PidRecord;
use hermes_wire::text;

/// Largest file of the kernel's that is read here, in bytes.
const MAX_LEN: u64 = 256;
/// Most that is shown of a host's name.
const SHOWN: usize = 64;

/// This process's place: `<boot id>/<PID namespace>`. `None` where the system does not tell.
pub(crate) fn own() -> Option<String> {
    let boot = line("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs_err::metadata("/proc/self/ns/pid").ok()?.ino();
    Some(format!("{boot}/{namespace}"))
}

/// What this machine or container calls itself; an engine's containers have their own id as their name.
pub(crate) fn host() -> Option<String> {
    line("/proc/sys/kernel/hostname")
}

fn line(path: &str) -> Option<String> {
    let bytes = disk::read_start(Utf8Path::new(path), MAX_LEN).ok()?;
    let text = String::from_utf8(bytes).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A gateway whose process cannot be seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Its process id there.
    pub pid: u32,
    /// What its place calls itself, fit to be shown.
    pub host: Option<String>,
}

impl Elsewhere {
    /// The gateway of a record that was written in another place; `None` where that cannot be told.
    pub(crate) fn of(record: &PidRecord) -> Option<Self> {
        let there = record.place.as_deref()?;
        if own().is_none_or(|here| here == there) {
            return None;
        }
        let shown = |host: &String| text::visible(host).chars().take(SHOWN).collect();
        Some(Self { pid: record.pid, host: record.host.as_ref().map(shown) })
    }

    /// The next step.
    pub fn hint(&self) -> String {
        let place = self.host.as_deref().map_or_else(|| "there".to_owned(), |host| format!("on `{host}`"));
        format!(
            "run commands about it {place}; a home has one gateway, so stop that one before this one starts"
        )
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a gateway in another container or on another machine (PID {} there", self.pid)?;
        if let Some(host) = &self.host {
            write!(f, ", host `{host}`")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_record_of_another_place_is_elsewhere() {
        let mut record = PidRecord::read("4242").expect("a number");
        assert_eq!(Elsewhere::of(&record), None, "an older record does not tell");
        record.place = own();
        assert!(!cfg!(target_os = "linux") || record.place.is_some());
        assert_eq!(Elsewhere::of(&record), None);
        record.place = Some("00000000-0000-0000-0000-000000000000/1".to_owned());
        record.host = Some(format!("one\u{1b}[31m{}", "x".repeat(500)));
        let Some(found) = Elsewhere::of(&record) else { return assert!(own().is_none()) };
        let text = found.to_string();
        assert!(
            text.starts_with(
                r"a gateway in another container or on another machine (PID 4242 there, host `one\u{1b}[31mxx"
            ),
            "{text}"
        );
        assert!(text.len() < 180 && !text.contains('\u{1b}'), "{text}");
    }
}
