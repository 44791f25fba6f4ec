//! Which directories are homes of profiles, asked in the same way by whoever checks and whoever serves.

use std::io::ErrorKind;

use camino::Utf8Path;
use hermes_wire::home::IDENTITY_FILES;

/// Whether the directory at `path` is a profile's home, and why not. What cannot be looked at is not absent: whoever serves it says
/// what is wrong.
pub fn check(path: &Utf8Path) -> Result<(), String> {
    match fs_err::metadata(path) {
        Ok(found) if !found.is_dir() => return Err("its home is no directory".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("there is no such profile".to_owned());
        }
        Ok(_) | Err(_) => {}
    }
    let absent = |name: &&str| matches!(fs_err::symlink_metadata(path.join(name)), Err(error) if error.kind() == ErrorKind::NotFound);
    if IDENTITY_FILES.iter().all(absent) {
        return Err("its directory holds no file of a profile".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_a_file_of_a_profile() {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(keep.path()).unwrap();
        fs_err::create_dir(root.join("bare")).unwrap();
        fs_err::write(root.join("file"), "").unwrap();
        fs_err::create_dir(root.join("coder")).unwrap();
        fs_err::write(root.join("coder/SOUL.md"), "").unwrap();
        assert_eq!(check(&root.join("coder")), Ok(()));
        for (name, word) in [("bare", "no file"), ("file", "no directory"), ("gone", "no such profile")] {
            assert!(check(&root.join(name)).unwrap_err().contains(word), "{name}");
        }
    }
}
