//! The time zone of people: the machine's, or one by its name.
//!
//! A zone is one small file, and that file alone is read. The library would list the whole database first, several hundred names
//! that a process then keeps for life, which was a third of the work of a worker's start. It is asked where the file is not found
//! like this: it knows more spellings, and the other forms that `TZ` may have.

use std::io::Read as _;
use std::path::{Component, Path};

use jiff::tz::TimeZone;

/// Where the machine says where it is.
const LOCAL: &str = "/etc/localtime";
/// Where zones are described, in the library's order.
const DATABASES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// What stands before a zone's name in the target of a link.
const DATABASE: &str = "zoneinfo/";
/// Descriptions have a few kilobytes.
const LONGEST: u64 = 256 * 1024;

/// The machine's, or that of `TZ`.
pub fn system() -> TimeZone {
    let is_usual = std::env::var_os("TZDIR").is_none();
    let found = is_usual.then(|| match std::env::var_os("TZ") {
        None => local(Path::new(LOCAL)),
        Some(name) => name.to_str().and_then(described),
    });
    found.flatten().unwrap_or_else(TimeZone::system)
}

/// The zone of this name; `None` where there is none.
pub fn named(name: &str) -> Option<TimeZone> {
    described(name).or_else(|| TimeZone::get(name).ok())
}

/// What the databases have under exactly this name.
fn described(name: &str) -> Option<TimeZone> {
    let is_name = !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    let mut files = DATABASES.iter().map(|database| Path::new(database).join(name));
    is_name.then(|| files.find_map(|file| read(name, &file)))?
}

/// What a link into a database, or a copy out of one, says.
fn local(path: &Path) -> Option<TimeZone> {
    let target = fs_err::read_link(path).unwrap_or_default();
    let name = target.to_str().and_then(|target| target.rsplit_once(DATABASE)).map(|(_, name)| name);
    read(name?, path)
}

fn read(name: &str, path: &Path) -> Option<TimeZone> {
    let mut bytes = Vec::new();
    fs_err::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    TimeZone::tzif(name, &bytes).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// Winter and summer, before and behind what the file lists.
    fn times() -> impl Iterator<Item = Timestamp> {
        [-1, 0, 946_684_800, 1_752_000_000, 1_767_225_600, 4_118_000_000]
            .into_iter()
            .map(|second| Timestamp::from_second(second).unwrap())
    }

    fn is_same(a: &TimeZone, b: &TimeZone) -> bool {
        times().all(|at| a.to_offset(at) == b.to_offset(at))
    }

    #[test]
    fn one_file_says_what_the_library_says() {
        for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Etc/UTC", "UTC"] {
            let Ok(library) = TimeZone::get(name) else { continue };
            let own = described(name).unwrap();
            assert!(is_same(&own, &library), "{name}");
            assert!(own.iana_name() == Some(name), "{name}");
        }
        assert!(is_same(&system(), &TimeZone::system()));
    }

    #[test]
    fn only_names_are_looked_up() {
        for name in ["", "/etc/localtime", "../zoneinfo/UTC", "Europe", "tzdata.zi", "EST5EDT,M3.2.0,M11.1.0"]
        {
            assert!(described(name).is_none(), "{name}");
        }
        assert!(named("No/Such").is_none());
        assert!(is_same(&named("utc").unwrap(), &TimeZone::UTC), "the library knows more spellings");
    }

    #[test]
    fn a_link_names_the_zone_and_a_copy_is_the_librarys() {
        let Some(database) = DATABASES.iter().find(|d| Path::new(d).join("Europe/Berlin").is_file()) else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("localtime");
        fs_err::os::unix::fs::symlink(format!("{database}/Europe/Berlin"), &link).unwrap();
        assert_eq!(local(&link).unwrap().iana_name(), Some("Europe/Berlin"));
        let copy = dir.path().join("copy");
        fs_err::copy(&link, &copy).unwrap();
        assert!(local(&copy).is_none() && local(&dir.path().join("none")).is_none());
    }
}
