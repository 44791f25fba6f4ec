//! What every home has from its first moment: directories, the placeholder `.env`, the persona text.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use hermes_host::disk;

/// Directories of a fresh home (0.19.0's, mode 0700 here from the start).
pub(crate) const DIRECTORIES: [&str; 9] =
    ["memories", "sessions", "skills", "skins", "logs", "plans", "workspace", "cron", "home"];

/// `.env` without any key.
pub(crate) const ENV: &str = "\
# Keys and tokens of this profile, one NAME=value a line. They override what the shell exports.
# Only this profile's process reads this file; keep it readable by you alone (mode 0600).
# How the agent behaves is configured in config.yaml, not here.
";

/// The persona of a profile that has none of its own. It begins as 0.19.0's, whose readers recognise an unchanged one by that.
pub(crate) const SOUL: &str = "\
You are Hermes Agent, an intelligent AI assistant. You help with questions, writing, code and everyday work, and you take
action with the tools you have when that serves the person better than words. You say plainly what you know, what you assume
and what you could not do. You are brief when that is enough and thorough when it matters, and you ask before anything that
cannot be undone.
";

/// Creates what is missing in `home`, which exists. Nothing that is there is changed.
pub(crate) fn seed(home: &Utf8Path) -> io::Result<()> {
    for name in DIRECTORIES {
        match disk::make_dir(&home.join(name), 0o700) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    seed_file(&home.join(".env"), ENV, 0o600)?;
    seed_soul(home)
}

/// Writes the persona text where a home has none: of `default`, whose home nobody creates by a command.
pub(crate) fn seed_soul(home: &Utf8Path) -> io::Result<()> {
    seed_file(&home.join("SOUL.md"), SOUL, 0o644)
}

/// Writes `path` unless something is there.
pub(crate) fn seed_file(path: &Utf8Path, text: &str, mode: u32) -> io::Result<()> {
    let opened = disk::create_new(path, std::fs::OpenOptions::new().write(true).mode(mode));
    match opened {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}
