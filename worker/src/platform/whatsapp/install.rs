//! The bridge on disk: one installation for all profiles of a gateway, below the root home.
//!
//! What npm brings (30 MB) is there once; it comes when somebody says so, and never by itself. Our own scripts are part of this program and are
//! put beside it whenever a bridge is started, in a directory that is called after what is in them: two builds never run each other's, and a
//! newer one needs no new installation as long as it wants the same packages.
//!
//! Commands ask here as well: where a profile's session is, and where its running bridge is reached.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::ProfileConfig;
use hermes_host::{disk, file};
use hermes_wire::absence::OrAbsent as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::settings::{NAME, SESSION, Settings};
use crate::process;

macro_rules! bridge {
    ($file:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/whatsapp-bridge/", $file))
    };
}

/// Our own scripts.
const SCRIPTS: [(&str, &str); 4] = [
    ("bridge.mjs", bridge!("bridge.mjs")),
    ("message.mjs", bridge!("message.mjs")),
    ("queue.mjs", bridge!("queue.mjs")),
    ("server.mjs", bridge!("server.mjs")),
];
/// What they need of others.
const PACKAGES: [(&str, &str); 2] =
    [("package.json", bridge!("package.json")), ("package-lock.json", bridge!("package-lock.json"))];
/// The package that speaks WhatsApp.
const LIBRARY: &str = "node_modules/@whiskeysockets/baileys/package.json";
/// Largest file that is looked into, in bytes.
const SMALL: usize = 256 * 1024;
/// The same of a session's keys.
const LARGE: usize = 4 << 20;
/// Letters of a hash in a name.
const SHORT: usize = 16;

/// Oldest Node.js that runs it.
pub const NODE: u32 = 20;

/// What npm has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Nothing.
    Nothing,
    /// The packages of this build.
    Current,
    /// Others: this version of the one that speaks WhatsApp.
    Other(String),
}

/// Which bridge a profile speaks through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Own,
    /// A script of the profile's own.
    Script(Utf8PathBuf),
    /// One that somebody else runs, at this address.
    At(String),
}

/// The one that the files name.
pub fn kind(config: &ProfileConfig, home: &Utf8Path) -> Kind {
    let settings: Option<&Settings> = config.settings.of(NAME);
    let named = settings.map(|settings| (&settings.url, &settings.script));
    match named {
        Some((Some(url), _)) => Kind::At(url.origin().ascii_serialization()),
        Some((None, Some(script))) => Kind::Script(home.join(script)),
        Some((None, None)) | None => Kind::Own,
    }
}

/// Where the bridge is installed for the gateway whose root home this is.
pub fn place(root: &Utf8Path) -> Utf8PathBuf {
    root.join("platforms/whatsapp/bridge")
}

/// The root home of the gateway that a profile's home belongs to.
pub fn root_of(home: &Utf8Path) -> &Utf8Path {
    let parent = home.parent().filter(|parent| parent.file_name() == Some("profiles"));
    parent.and_then(Utf8Path::parent).unwrap_or(home)
}

/// Puts the list of packages in place; npm does the rest. Blocks.
pub fn put_packages(root: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let place = place(root);
    file::make_dirs(&place, 0o700)?;
    for (name, text) in PACKAGES {
        file::write_atomic(&place.join(name), text.as_bytes(), 0o600, false)?;
    }
    Ok(place)
}

/// Puts our own scripts in place, where they are not; the one to start. Blocks.
pub fn put_scripts(root: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let mut hash = Sha256::new();
    for (name, text) in SCRIPTS {
        hash.update(name);
        hash.update(text);
    }
    let dir = place(root).join(short(&hash.finalize()));
    file::make_dirs(&dir, 0o700)?;
    for (name, text) in SCRIPTS {
        let path = dir.join(name);
        let is_there =
            disk::read_bounded(&path, SMALL).or_absent()?.is_some_and(|there| there == text.as_bytes());
        if !is_there {
            file::write_atomic(&path, text.as_bytes(), 0o600, false)?;
        }
    }
    Ok(dir.join(SCRIPTS[0].0))
}

/// What npm has brought. Blocks.
pub fn look(root: &Utf8Path) -> io::Result<Installed> {
    let Some(text) = disk::read_bounded(&place(root).join(LIBRARY), SMALL).or_absent()? else {
        return Ok(Installed::Nothing);
    };
    let version = |text: &[u8], at: &str| {
        let json: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        json.pointer(at).and_then(|version| version.as_str()).map(str::to_owned)
    };
    let wanted = version(PACKAGES[0].1.as_bytes(), "/dependencies/@whiskeysockets~1baileys");
    let found = version(&text, "/version").unwrap_or_else(|| "unknown".to_owned());
    Ok(if wanted.as_deref() == Some(found.as_str()) { Installed::Current } else { Installed::Other(found) })
}

/// The beginning of a hash, as health says that of a script.
pub(super) fn short(hash: &[u8]) -> String {
    super::super::wire::hex(hash).chars().take(SHORT).collect()
}

/// Where a profile's session is. Blocks.
pub fn session(config: &ProfileConfig, home: &Utf8Path) -> Utf8PathBuf {
    let settings: Option<&Settings> = config.settings.of(NAME);
    session_at(settings.and_then(|settings| settings.session.as_deref()), home)
}

/// The same where the files say nothing that can be read. Blocks.
pub fn session_of_nobody(home: &Utf8Path) -> Utf8PathBuf {
    session_at(None, home)
}

/// The same, by what the files say of it. Blocks.
pub(super) fn session_at(named: Option<&str>, home: &Utf8Path) -> Utf8PathBuf {
    if let Some(named) = named {
        return home.join(named);
    }
    // Where older releases of the Python program have it.
    let (usual, older) = (home.join(SESSION), home.join("whatsapp/session"));
    let has = |dir: &Utf8Path| dir.join(CREDENTIALS).exists();
    if !has(&usual) && has(&older) { older } else { usual }
}

/// The file of a session that is there once an account is linked.
pub const CREDENTIALS: &str = "creds.json";

/// The account that a session is linked to, as it is written in keys of sessions; `None`: to none. Blocks.
pub fn account(session: &Utf8Path) -> io::Result<Option<String>> {
    let path = session.join(CREDENTIALS);
    let Some(bytes) = disk::read_bounded(&path, LARGE).or_absent()? else { return Ok(None) };
    let file: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{path} is damaged: {error}")))?;
    let id = file.pointer("/me/id").and_then(serde_json::Value::as_str);
    Ok(id.map(hermes_wire::session_key::canonical_whatsapp))
}

/// Where a profile's bridge keeps what waits.
pub fn state(home: &Utf8Path) -> Utf8PathBuf {
    home.join("platforms/whatsapp/state")
}

/// Where the running bridge of a profile is reached, for every process of that profile. Only its user can read it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Its process.
    pub pid: u32,
    /// Its port on this machine.
    pub port: u16,
    /// What requests carry; none where the script is not ours.
    pub secret: Option<String>,
    /// When its process was started, as the kernel counts; none where that is not known.
    #[serde(default)]
    pub start_time: Option<u64>,
}

impl Reach {
    /// Its process, while it lives. Blocks.
    pub(super) fn alive(&self) -> Option<i32> {
        let is_it = self.start_time.is_some() && process::start_time(self.pid) == self.start_time;
        // One that has ended and was not waited for has no words.
        let lives =
            is_it && fs_err::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|words| !words.is_empty());
        i32::try_from(self.pid).ok().filter(|_| lives)
    }
}

/// Where that is written down.
pub(super) fn reach_file(home: &Utf8Path) -> Utf8PathBuf {
    state(home).join("bridge.json")
}

/// The bridge that runs for a profile, as far as that is written down. Blocks.
pub fn reach(home: &Utf8Path) -> io::Result<Option<Reach>> {
    let bytes = disk::read_bounded(&reach_file(home), SMALL).or_absent()?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The process that has a session, where it is a bridge. Blocks.
pub fn holder(session: &Utf8Path) -> Option<i32> {
    let bytes = disk::read_bounded(&session.join("bridge.pid"), 64).ok()?;
    let pid: i32 = std::str::from_utf8(&bytes).ok()?.trim().parse().ok().filter(|pid| *pid > 1)?;
    match fs_err::read(format!("/proc/{pid}/cmdline")) {
        // A number is soon somebody else's.
        Ok(words) => String::from_utf8_lossy(&words).contains("bridge").then_some(pid),
        Err(_) if cfg!(target_os = "linux") => None,
        Err(_) => nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok().then_some(pid),
    }
}

/// The version that `node --version` prints: major and minor.
pub fn node_version(printed: &str) -> Option<(u32, u32)> {
    let mut parts = printed.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What makes Node.js keep a program to these directories.
pub fn permissions(version: (u32, u32), seen: &[&Utf8Path], written: &[&Utf8Path]) -> Vec<String> {
    let flag = if version >= (23, 5) || (version.0 == 22 && version.1 >= 13) {
        "--permission"
    } else {
        "--experimental-permission"
    };
    let mut all = vec![flag.to_owned(), "--no-warnings".to_owned()];
    all.extend(seen.iter().chain(written).map(|dir| format!("--allow-fs-read={dir}/")));
    all.extend(written.iter().map(|dir| format!("--allow-fs-write={dir}/")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_put_in_place_once_and_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(look(root).unwrap(), Installed::Nothing);
        let script = put_scripts(root).unwrap();
        fs_err::write(&script, "broken").unwrap();
        assert_eq!(put_scripts(root).unwrap(), script);
        assert_eq!(fs_err::read_to_string(&script).unwrap(), SCRIPTS[0].1);
        let library = put_packages(root).unwrap().join(LIBRARY);
        fs_err::create_dir_all(library.parent().unwrap()).unwrap();
        fs_err::write(&library, "{\"version\": \"0.0.1\"}").unwrap();
        assert_eq!(look(root).unwrap(), Installed::Other("0.0.1".to_owned()));
        assert!(PACKAGES.iter().all(|(_, text)| !text.contains("\"resolved\"")), "no host is named");
    }

    #[test]
    fn versions_of_node_are_read() {
        for (printed, version) in [
            ("v20.20.2\n", Some((20, 20))),
            ("v24.1.0-pre", Some((24, 1))),
            ("20.1", None),
            ("v20", None),
            ("", None),
        ] {
            assert_eq!(node_version(printed), version, "{printed}");
        }
        let flags = |version| permissions(version, &[], &[])[0].clone();
        assert_eq!(
            [(20, 1), (22, 12), (23, 4)].map(flags),
            ["--experimental-permission"; 3].map(str::to_owned)
        );
        assert_eq!([(22, 13), (23, 5), (24, 0)].map(flags), ["--permission"; 3].map(str::to_owned));
    }

    #[test]
    fn the_root_home_is_found_from_every_profile() {
        assert_eq!(root_of(Utf8Path::new("/h/.hermes")), "/h/.hermes");
        assert_eq!(root_of(Utf8Path::new("/h/.hermes/profiles/coder")), "/h/.hermes");
    }
}
