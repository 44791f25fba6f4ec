//! `/sethome`: the chat that is meant where only a platform is named, written into the profile's `.env`.
//!
//! The file is changed as the commands of the terminal change it: under the lock of the home, comments kept, whole or not at all. The
//! worker is replaced then, as after every change of the file.

use std::time::Duration;

use hermes_config::{MAX_FILE_LEN, dotenv_edit};
use hermes_host::{clock, disk, wait};
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::inbound::Source;

/// Time another program has to finish writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the chat of `source` down, in the variable of its platform. The error is for people.
pub(super) fn set(home: &ProfileHome, variable: &str, source: &Source) -> Result<(), String> {
    let chat = source.chat_id.as_deref().ok_or("this chat has no id")?;
    let thread = source.thread_id.as_deref().unwrap_or_default();
    let file = home.env_file();
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("`{file}` cannot be {what}: {error}");
    let _lock = lock(home).map_err(|error| failed("locked", &error))?;
    let bytes =
        disk::read_bounded(&file, MAX_FILE_LEN).or_absent().map_err(|error| failed("read", &error))?;
    let (mut text, _) =
        dotenv_edit::text(&bytes.unwrap_or_default()).map_err(|error| failed("read", &error))?;
    for (name, value) in [(variable.to_owned(), chat), (format!("{variable}_THREAD_ID"), thread)] {
        text = dotenv_edit::set(&text, &name, value).map_err(|error| failed("changed", &error))?;
    }
    disk::replace(&file, text.as_bytes()).map_err(|error| failed("written", &error))
}

pub(super) fn lock(home: &ProfileHome) -> std::io::Result<Flock<std::fs::File>> {
    let mut dir = fs_err::File::open(home.path())?.into_parts().0;
    let deadline = clock::now() + PATIENCE;
    loop {
        dir = match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((dir, Errno::EWOULDBLOCK)) if clock::now() < deadline => dir,
            Err((_, errno)) => return Err(errno.into()),
        };
        wait::pause(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    //! What is written where.

    use super::*;

    #[test]
    fn a_home_channel_stands_in_the_variables_of_its_platform() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        fs_err::write(home.env_file(), "# keys\nTELEGRAM_HOME_CHANNEL=1 # old\nX=y\n").unwrap();
        let source = |platform: &str, thread: Option<&str>| Source {
            platform: platform.into(),
            chat_id: Some("-100".into()),
            thread_id: thread.map(str::to_owned),
            ..Source::default()
        };
        set(&home, "TELEGRAM_HOME_CHANNEL", &source("telegram", Some("7"))).unwrap();
        set(&home, "MATRIX_HOME_ROOM", &source("matrix", None)).unwrap();
        let text = fs_err::read_to_string(home.env_file()).unwrap();
        assert!(
            text.starts_with("# keys\nTELEGRAM_HOME_CHANNEL=\"-100\" # old\nX=y\n")
                || text.starts_with("# keys\nTELEGRAM_HOME_CHANNEL=-100 # old\nX=y\n"),
            "{text}"
        );
        assert!(
            text.contains("TELEGRAM_HOME_CHANNEL_THREAD_ID=") && text.contains("MATRIX_HOME_ROOM="),
            "{text}"
        );
        let nowhere = Source { chat_id: None, ..source("x", None) };
        assert!(set(&home, "X_HOME_CHANNEL", &nowhere).is_err());
    }
}
