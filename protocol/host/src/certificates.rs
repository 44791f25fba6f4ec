//! Certificates of a file or a directory, as whoever names them expects them to be found: the one reading of them, for whoever
//! connects and whoever only checks.

use std::fs::File;
use std::io::{self, Read as _};

use camino::Utf8Path;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Largest file that is read, in bytes: many times the whole list of a system.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// A path that depends on who reads it.
    #[error("`{0}` is not an absolute path")]
    Relative(String),
    /// It cannot be read.
    #[error("`{path}` cannot be read: {why}")]
    Unreadable {
        /// The file or directory.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Larger than any list of certificates.
    #[error("`{0}` is larger than 16 MiB")]
    TooLarge(String),
    /// What is there is something else.
    #[error("`{0}` holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    None(String),
    /// One of them is damaged.
    #[error("`{path}` holds a damaged certificate: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads all certificates of a file, or of the files of a directory. Never none.
pub fn read(path: &Utf8Path) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    if !path.is_absolute() {
        return Err(CertificatesError::Relative(path.to_string()));
    }
    let unreadable = |at: &Utf8Path| {
        let path = at.to_string();
        move |error: io::Error| CertificatesError::Unreadable { path, why: error.to_string() }
    };
    let mut all = Vec::new();
    if path.is_dir() {
        for entry in path.read_dir_utf8().map_err(unreadable(path))?.take(MAX_ENTRIES) {
            let entry = entry.map_err(unreadable(path))?;
            // Links to nothing are usual there, and so are other files.
            if entry.path().is_file() {
                match file(entry.path()) {
                    Ok(mut found) => all.append(&mut found),
                    Err(CertificatesError::None(_) | CertificatesError::TooLarge(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    } else {
        all = file(path)?;
    }
    if all.is_empty() { Err(CertificatesError::None(path.to_string())) } else { Ok(all) }
}

/// Whether there are any, in words.
pub fn check(path: &Utf8Path) -> Result<(), String> {
    read(path).map(drop).map_err(|error| error.to_string())
}

fn file(path: &Utf8Path) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    let unreadable = |why: String| CertificatesError::Unreadable { path: path.to_string(), why };
    // A pipe would otherwise wait for whoever writes into it.
    let how = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened =
        open(path.as_std_path(), how, Mode::empty()).map_err(|error| unreadable(error.desc().to_owned()))?;
    let file = File::from(opened);
    let mut bytes = Vec::new();
    match file.metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unreadable("not a regular file".to_owned())),
        Err(error) => return Err(unreadable(error.to_string())),
    }
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CertificatesError::TooLarge(path.to_string()));
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(CertificatesError::None(path.to_string())),
        Ok(found) => Ok(found),
        Err(error) => Err(CertificatesError::Damaged { path: path.to_string(), why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    /// Wires 4: what is wrong with a file of certificates is said with its name.
    #[test]
    fn w4_what_is_no_certificate_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let write = |name: &str, text: &str| {
            fs_err::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        let good = write("good.pem", &format!("subject=CN\n{ONE}noise\n{ONE}"));
        assert_eq!(read(&good).unwrap().len(), 2);
        for (path, says) in [
            (dir.join("gone.pem"), "cannot be read: No such file"),
            ("ca.pem".into(), "`ca.pem` is not an absolute path"),
            (
                write("key.pem", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
                "no certificate in PEM",
            ),
            (write("der", "\u{1}\u{2}"), "no certificate in PEM"),
            (write("cut.pem", "-----BEGIN CERTIFICATE-----\nMAA="), "damaged certificate"),
            ("/dev/null".into(), "not a regular file"),
        ] {
            let error = check(&path).unwrap_err();
            assert!(error.contains(says) && error.contains(path.as_str()), "{path}: {error}");
        }
        fs_err::remove_file(dir.join("cut.pem")).unwrap();
        fs_err::os::unix::fs::symlink("/nowhere", dir.join("dangling")).unwrap();
        assert_eq!(read(dir).unwrap().len(), 2, "a directory's other files do not matter");
        let empty = dir.join("empty");
        fs_err::create_dir(&empty).unwrap();
        assert!(check(&empty).unwrap_err().contains("no certificate"), "an empty directory trusts nobody");
    }
}
