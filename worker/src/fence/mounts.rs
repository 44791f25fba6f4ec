//! Other names of directories: a file system may be mounted at several places, or a part of it at another.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// Longest list of mounts that is read, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// One mount, of a line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// `major:minor` of the file system.
    device: String,
    /// Which directory of the file system is shown.
    root: Utf8PathBuf,
    /// Where.
    at: Utf8PathBuf,
}

/// The mounts of this process. Blocks.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    fs_err::File::open("/proc/self/mountinfo")?.take(MAX_LEN + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_LEN {
        return Err(io::Error::other("`/proc/self/mountinfo` is too long"));
    }
    Ok(parse(&String::from_utf8_lossy(&text)))
}

fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?.to_owned();
        let (root, at) = (plain(fields.next()?)?, plain(fields.next()?)?);
        Some(Mount { device, root, at })
    };
    text.lines().filter_map(line).collect()
}

/// A path as it is: blanks and the like are written as `\040`.
fn plain(field: &str) -> Option<Utf8PathBuf> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, next)) = rest.split_first() {
        let code = next.get(..3).filter(|_| first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(byte);
            rest = &next[3..];
        } else {
            bytes.push(first);
            rest = next;
        }
    }
    String::from_utf8(bytes).ok().map(Utf8PathBuf::from)
}

/// Where else something of `hidden` is to be seen, and what of it. Blocks.
pub(super) fn aliases<'a>(
    mounts: &[Mount],
    hidden: impl Iterator<Item = &'a Utf8Path>,
) -> Vec<(Utf8PathBuf, Utf8PathBuf)> {
    let id = |path: &Utf8Path| {
        let found = fs_err::metadata(path).ok()?;
        Some((std::os::unix::fs::MetadataExt::dev(&found), std::os::unix::fs::MetadataExt::ino(&found)))
    };
    // What another mount covers is not to be seen, and something else is there.
    let is_so =
        |(alias, original): &(Utf8PathBuf, Utf8PathBuf)| id(alias).is_some_and(|at| id(original) == Some(at));
    hidden.flat_map(|path| candidates(mounts, path)).filter(is_so).collect()
}

/// Where something of `path` would be seen, if no other mount covers it, and what.
fn candidates(mounts: &[Mount], path: &Utf8Path) -> Vec<(Utf8PathBuf, Utf8PathBuf)> {
    // The last of those that are deepest is on top.
    let depth = |mount: &&Mount| mount.at.components().count();
    let Some(own) = mounts.iter().filter(|mount| path.starts_with(&mount.at)).max_by_key(depth) else {
        return Vec::new();
    };
    let below = |path: &Utf8Path, dir: &Utf8Path| path.strip_prefix(dir).ok().map(Utf8Path::to_owned);
    let Some(real) = below(path, &own.at).map(|rest| join(&own.root, &rest)) else { return Vec::new() };
    let others = mounts.iter().filter(|mount| *mount != own && mount.device == own.device);
    let seen = others.filter_map(|mount| match below(&real, &mount.root) {
        Some(rest) => Some((join(&mount.at, &rest), path.to_owned())),
        // A part of it.
        None => below(&mount.root, &real).map(|part| (mount.at.clone(), join(path, &part))),
    });
    seen.filter(|(alias, _)| !alias.starts_with(path)).collect()
}

fn join(dir: &Utf8Path, rest: &Utf8Path) -> Utf8PathBuf {
    if rest.as_str().is_empty() { dir.to_owned() } else { dir.join(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "22 28 0:20 / /proc rw - proc proc rw\n28 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                        40 28 8:1 /home/ana /mnt/a\\040b rw - ext4 /dev/sda1 rw\n\
                        41 28 8:1 /home/ana/.hermes/profiles/coder /srv/coder rw - ext4 /dev/sda1 rw\n\
                        42 28 8:2 / /data rw - ext4 /dev/sdb1 rw\n";

    #[test]
    fn other_names_of_a_directory_are_found() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[2].at, "/mnt/a b");
        let seen = |path: &str| candidates(&mounts, Utf8Path::new(path));
        let pair = |alias: &str, original: &str| (alias.into(), original.into());
        let part = pair("/srv/coder", "/home/ana/.hermes/profiles/coder");
        assert_eq!(seen("/home/ana/.hermes"), [pair("/mnt/a b/.hermes", "/home/ana/.hermes"), part.clone()]);
        assert_eq!(seen("/home/ana"), [pair("/mnt/a b", "/home/ana"), part]);
        assert_eq!(seen("/home/ben/x"), seen("/data/x"));
        assert!(aliases(&mounts, [Utf8Path::new("/home/ana")].into_iter()).is_empty(), "none is there");
        assert_eq!(plain("a\\134b\\0"), Some("a\\b\\0".into()));
    }
}
