//! An installed program, which can be replaced as installers do it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::Home;
use crate::gateway::{binary, hermes_at};

/// `bin/hermes` in a directory of its own.
pub struct Installed {
    dir: tempfile::TempDir,
}

impl Installed {
    /// The program under test.
    #[expect(clippy::new_without_default, reason = "it installs something")]
    pub fn new() -> Self {
        Self::of(&binary())
    }

    /// A program of another build.
    pub fn of(program: &Path) -> Self {
        let installed = Self { dir: tempfile::tempdir().unwrap() };
        fs_err::create_dir(installed.directory().join("bin")).unwrap();
        // A name for the same file where that can be; it is large.
        if fs_err::hard_link(program, installed.program()).is_err() {
            fs_err::copy(program, installed.program()).unwrap();
        }
        installed
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The program.
    pub fn program(&self) -> PathBuf {
        self.directory().join("bin/hermes")
    }

    /// Another release: the program under test in another file.
    pub fn replace(&self) {
        self.replace_with(&binary(), |_| {});
    }

    /// Another build, with its bytes changed as the caller likes.
    pub fn replace_with(&self, program: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let next = self.directory().join("next");
        let mut bytes = fs_err::read(program).unwrap();
        change(&mut bytes);
        let mut file = fs_err::File::create(&next).unwrap();
        file.write_all(&bytes).unwrap();
        drop(file);
        fs_err::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
        fs_err::rename(next, self.program()).unwrap();
    }

    /// Something else in its place.
    pub fn replace_by(&self, text: &str, mode: u32) {
        let next = self.directory().join("next");
        fs_err::write(&next, text).unwrap();
        fs_err::set_permissions(&next, std::fs::Permissions::from_mode(mode)).unwrap();
        fs_err::rename(next, self.program()).unwrap();
    }

    /// Runs it to its end.
    pub fn run(&self, home: &Home, args: &[&str]) -> Output {
        hermes_at(&self.program(), home, args).output().unwrap()
    }
}
