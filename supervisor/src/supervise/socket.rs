//! Unix sockets in the runtime directory: the directory's rights, and listeners that replace only what is ours.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use camino::Utf8Path;
use hermes_protocol::endpoint::{DATA_BACKLOG, DIR_MODE, SOCKET_MODE};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::disk;

/// Makes the directory, or verifies that an existing one is ours alone.
pub(crate) fn prepare_directory(path: &Utf8Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)?;
    let found = fs_err::symlink_metadata(path)?;
    expect_ours(path, &found)?;
    if found.mode() & 0o777 != DIR_MODE {
        // Ours, but open to others: whoever made it before may have put something in.
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(DIR_MODE))?;
    }
    Ok(())
}

/// What [`prepare_directory`] would say, without doing it.
pub(crate) fn could_prepare(path: &Utf8Path) -> io::Result<()> {
    match fs_err::symlink_metadata(path) {
        Ok(found) => expect_ours(path, &found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk::could_make(path),
        Err(error) => Err(error),
    }
}

fn expect_ours(path: &Utf8Path, found: &std::fs::Metadata) -> io::Result<()> {
    let uid = nix::unistd::geteuid().as_raw();
    if !found.is_dir() {
        return Err(refused(format!("`{path}` is not a directory; remove it")));
    }
    if found.uid() != uid {
        return Err(refused(format!(
            "`{path}` belongs to user {}, not to {uid}; remove it or set XDG_RUNTIME_DIR to a directory of your own",
            found.uid()
        )));
    }
    Ok(())
}

/// Listens on `path`, replacing a socket that an earlier run of ours left there. The caller holds the instance lock.
pub(crate) fn listen(path: &Utf8Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        prepare_directory(directory)?;
    }
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(DATA_BACKLOG)?;
    Ok(std::os::fd::OwnedFd::from(socket).into())
}

/// What tells a file from another one of the same name.
pub(crate) fn id(path: &Utf8Path) -> Option<(u64, u64)> {
    fs_err::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Removes a socket that was left behind; anything else in its place is not ours to remove.
pub(crate) fn remove_stale(path: &Utf8Path) -> io::Result<()> {
    let found = match fs_err::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(refused(format!("`{path}` is not a socket of ours; move it away")));
    }
    fs_err::remove_file(path)
}

fn refused(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, message)
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(directory.path().join("run")).unwrap();
        prepare_directory(&path).unwrap();
        (directory, path)
    }

    #[test]
    fn a_directory_open_to_others_is_closed_and_a_file_in_its_place_is_refused() {
        let (_keep, path) = directory();
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        prepare_directory(&path).unwrap();
        assert_eq!(mode(), 0o700);
        let file = path.join("file");
        fs_err::write(&file, "").unwrap();
        assert!(prepare_directory(&file).is_err());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_foreign_file_is_kept() {
        let (_keep, path) = directory();
        let socket = path.join("w.sock");
        drop(listen(&socket).unwrap());
        let again = listen(&socket).unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
        assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
        drop(again);

        fs_err::remove_file(&socket).unwrap();
        fs_err::write(&socket, "precious").unwrap();
        let message = listen(&socket).unwrap_err().to_string();
        assert!(message.contains("w.sock") && message.contains("not a socket of ours"), "{message}");
        assert_eq!(fs_err::read_to_string(&socket).unwrap(), "precious");
    }
}
