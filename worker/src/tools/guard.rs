//! Which files the tools for files may touch: the one judge of that.
//!
//! It judges paths that are resolved already: absolute, without links, `.` and `..`. Whoever opens such a path follows no link any more
//! (see [`super::place`]), so what is opened is what was judged. A hard link has another path than the file that it is; so a file with several
//! names is compared, by device and inode, with every file of secrets that there is.
//!
//! It keeps a model that was talked into something from reading or changing what it has no business with. It is no wall between the profile
//! and a program that runs as the same user: that is what a fence around commands is for.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;

use crate::danger::LOGINS;

/// Files of a home that hold secrets or everything that was said; read and written by this program alone.
const SECRET: [&str; 10] = [
    ".env",
    "auth.json",
    "auth.lock",
    ".anthropic_oauth.json",
    "webhook_subscriptions.json",
    hermes_wire::home::SLACK_TOKENS,
    "auth/google_oauth.json",
    "cache/bws_cache.json",
    hermes_wire::home::HEALTHY_KEY,
    "state.db",
];
/// Directories of a home that hold the like.
const SECRET_DIRS: [&str; 4] = ["mcp-tokens", "pairing", "platforms", "skills/.hub"];
/// What else of a home this program alone writes.
const KEPT: [&str; 5] =
    ["sessions", "gateway.lock", "runtime_status.json", "gateway_state.json", hermes_wire::home::APPROVALS];
/// Of the machine: nothing is written there.
const SYSTEM: [&str; 6] = ["/etc", "/boot", "/usr/lib/systemd", "/private/etc", "/sys", "/dev"];
/// Files of projects that hold secrets; `.env.example` and the like do not.
const PROJECT: [&str; 7] =
    [".env", ".env.local", ".env.development", ".env.production", ".env.test", ".env.staging", ".envrc"];

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    Read,
    Write,
}

/// The judge of one profile; see the module. All paths are resolved.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// The profile's own home.
    home: Utf8PathBuf,
    /// The home of `default`, which holds all others.
    root: Utf8PathBuf,
    user: Option<Utf8PathBuf>,
    /// Where the profile works, which its owner may have put anywhere.
    workspace: Utf8PathBuf,
}

impl Guard {
    /// Resolves what it compares with. Blocks.
    pub(super) fn new(home: &ProfileHome, user: Option<&Utf8Path>, workspace: &Utf8Path) -> Self {
        let real = |path: &Utf8Path| path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
        let own = real(home.path());
        let parent = own.parent().filter(|parent| parent.file_name() == Some("profiles"));
        let root = parent.and_then(Utf8Path::parent).unwrap_or(&own).to_owned();
        Self { home: own, root, user: user.map(real), workspace: real(workspace) }
    }

    /// Why this is refused; `None`: it is not.
    pub(super) fn refuses(&self, path: &Utf8Path, intent: Intent) -> Option<String> {
        let why = self.reason(path, intent)?;
        let verb = if intent == Intent::Read { "read" } else { "written" };
        Some(format!("`{path}` may not be {verb} by tools: {why}"))
    }

    /// The same of an open file that has several names.
    pub(super) fn refuses_link(&self, path: &Utf8Path, found: &std::fs::Metadata) -> Option<String> {
        if found.nlink() < 2 || found.is_dir() {
            return None;
        }
        let refused = |why: &str| Some(format!("`{path}` may not be touched by tools: {why}"));
        match self.is_secret_link(found) {
            Ok(false) => None,
            Ok(true) => refused("it is another name of a file of secrets"),
            Err(error) => {
                refused(&format!("whether it is another name of a file of secrets is not known: {error}"))
            }
        }
    }

    fn is_secret_link(&self, found: &std::fs::Metadata) -> io::Result<bool> {
        for secret in self.secrets()? {
            let secret = fs_err::symlink_metadata(secret).or_absent()?;
            if secret.is_some_and(|secret| (secret.dev(), secret.ino()) == (found.dev(), found.ino())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn reason(&self, path: &Utf8Path, intent: Intent) -> Option<&'static str> {
        if is_of_process(path) {
            return Some("it shows what a running process has in its memory and environment");
        }
        if let Some(below) = below(path, &self.home) {
            if is_secret(below) {
                return Some("it holds credentials or the history of this profile");
            }
            if below == "config.yaml" {
                return Some("it may hold keys, and says what tools may do; its owner has `hermes config`");
            }
            if intent == Intent::Write && is_in(below, &KEPT) {
                return Some("this program alone writes it");
            }
        }
        if let Some(reason) = self.of_others(path) {
            return Some(reason);
        }
        if let Some(below) = self.user.as_ref().and_then(|user| below(path, user))
            && is_in(below, &LOGINS)
        {
            return Some("it belongs to the keys and logins of the user");
        }
        if intent == Intent::Write && SYSTEM.iter().any(|dir| below(path, Utf8Path::new(dir)).is_some()) {
            return Some("it belongs to the system");
        }
        let name = path.file_name().unwrap_or_default();
        if intent == Intent::Read && PROJECT.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            return Some("such files hold secrets; `.env.example` shows what belongs into one");
        }
        None
    }

    /// What belongs to other profiles.
    fn of_others(&self, path: &Utf8Path) -> Option<&'static str> {
        let profiles = self.root.join("profiles");
        let in_home = below(path, &self.home).is_some();
        if self.home == self.root {
            return below(path, &profiles).is_some_and(|below| !below.as_str().is_empty()).then_some(OTHERS);
        }
        let in_root = below(path, &self.root)?;
        if in_home {
            return None;
        }
        // Its owner sent it there; what is secret stays so.
        let sent = below(path, &self.workspace).is_some()
            && self.workspace != self.root
            && below(&self.workspace, &profiles).is_none()
            && below(&self.workspace, &self.root).is_some();
        (!sent || is_secret(in_root)).then_some(OTHERS)
    }

    /// Every file of secrets of every home; a hard link to one is that file.
    fn secrets(&self) -> io::Result<Vec<Utf8PathBuf>> {
        let mut homes = vec![self.root.clone(), self.home.clone()];
        homes.extend(files_in(&self.root.join("profiles"))?);
        let mut all = Vec::new();
        for home in homes {
            all.extend(SECRET.iter().map(|name| home.join(name)));
            all.extend(["state.db-wal", "state.db-shm", "config.yaml"].map(|name| home.join(name)));
            for dir in SECRET_DIRS {
                all.extend(files_in(&home.join(dir))?);
            }
        }
        let logins = self.user.iter().flat_map(|user| LOGINS.iter().map(|name| user.join(name)));
        for path in logins.collect::<Vec<_>>() {
            all.extend(files_in(&path)?);
            all.push(path);
        }
        Ok(all)
    }
}

const OTHERS: &str = "it belongs to another profile";

/// What a directory holds; nothing where there is none.
fn files_in(dir: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let entries = dir.read_dir_utf8().or_absent()?.into_iter().flatten();
    entries.map(|entry| Ok(entry?.into_path())).collect()
}

/// What of `path` is below `dir`, whatever is large or small in it: some file systems make no difference.
fn below<'a>(path: &'a Utf8Path, dir: &Utf8Path) -> Option<&'a Utf8Path> {
    let mut parts = path.components();
    for wanted in dir.components() {
        if !parts.next()?.as_str().eq_ignore_ascii_case(wanted.as_str()) {
            return None;
        }
    }
    Some(parts.as_path())
}

fn is_in(path: &Utf8Path, names: &[&str]) -> bool {
    names.iter().any(|name| below(path, Utf8Path::new(name)).is_some())
}

/// Whether a path in a home is one of secrets.
fn is_secret(path: &Utf8Path) -> bool {
    let top = path.components().next().map(|first| first.as_str().to_ascii_lowercase()).unwrap_or_default();
    is_in(path, &SECRET)
        || is_in(path, &SECRET_DIRS)
        || top.starts_with("state.db")
        || top.starts_with(".env.")
}

/// `/proc/PID/…`, also of this process.
fn is_of_process(path: &Utf8Path) -> bool {
    let mut parts = path.components().skip(1).map(|part| part.as_str());
    parts.next() == Some("proc")
        && parts.next().is_some_and(|name| {
            name.bytes().all(|b| b.is_ascii_digit()) || name == "self" || name == "thread-self"
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(home: &str, workspace: &str) -> Guard {
        let home = ProfileHome::new(home);
        Guard::new(&home, Some(Utf8Path::new("/nowhere/ana")), Utf8Path::new(workspace))
    }

    #[test]
    fn what_is_read_and_written() {
        let coder =
            guard("/nowhere/ana/.hermes/profiles/coder", "/nowhere/ana/.hermes/profiles/coder/workspace");
        let default = guard("/nowhere/ana/.hermes", "/nowhere/ana/code");
        let sent = guard("/nowhere/opt/profiles/coder", "/nowhere/opt/projects");
        for (guard, path, reads, writes) in [
            (&coder, "/nowhere/ana/.hermes/profiles/coder/workspace/a.rs", true, true),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/SOUL.md", true, true),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/config.yaml", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/.env", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/.ENV", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/.env.bak", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/auth.json", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/state.db-wal", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/mcp-tokens/x.json", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder/sessions/sessions.json", true, false),
            (&coder, "/nowhere/ana/.hermes/profiles/coder2/SOUL.md", false, false),
            (&coder, "/nowhere/ana/.hermes/profiles", false, false),
            (&coder, "/nowhere/ana/.hermes/.env", false, false),
            (&coder, "/nowhere/ana/.hermes/SOUL.md", false, false),
            (&default, "/nowhere/ana/.hermes/SOUL.md", true, true),
            (&default, "/nowhere/ana/.hermes/profiles", true, true),
            (&default, "/nowhere/ana/.hermes/profiles/coder/SOUL.md", false, false),
            (&default, "/nowhere/ana/.HERMES/Profiles/coder/notes", false, false),
            (&default, "/nowhere/ana/.hermes/state.db", false, false),
            (&sent, "/nowhere/opt/projects/a/b.rs", true, true),
            (&sent, "/nowhere/opt/other/b.rs", false, false),
            (&sent, "/nowhere/opt/.env", false, false),
            (&default, "/nowhere/ana/code/main.rs", true, true),
            (&default, "/nowhere/ana/code/.env", false, true),
            (&default, "/nowhere/ana/code/.env.example", true, true),
            (&default, "/nowhere/ana/.ssh/id_ed25519", false, false),
            (&default, "/nowhere/ana/.sshd", true, true),
            (&default, "/nowhere/ana/.config/gh/hosts.yml", false, false),
            (&default, "/etc/hosts", true, false),
            (&default, "/proc/1/environ", false, false),
            (&default, "/proc/self/mem", false, false),
            (&default, "/proc/cpuinfo", true, true),
        ] {
            assert_eq!(guard.refuses(Utf8Path::new(path), Intent::Read).is_none(), reads, "read {path}");
            assert_eq!(guard.refuses(Utf8Path::new(path), Intent::Write).is_none(), writes, "write {path}");
        }
    }
}
