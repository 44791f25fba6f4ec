//! On a real file system; what needs another owner runs as root and says so where it cannot.

use fs_err as fs;

use super::*;

fn place() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
    (dir, path)
}

/// A user who is not root.
const USER: u32 = 12345;

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root gives files away");
    }
    root
}

fn owner(path: &Utf8Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn give(path: &Utf8Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
}

fn names(dir: &Utf8Path) -> Vec<String> {
    let mut names: Vec<_> = dir.read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
    names.sort();
    names
}

/// Wires 14: whatever root makes in a user's directory is the user's.
#[test]
fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    if !is_root() {
        return;
    }
    let (_keep, dir) = place();
    give(&dir, USER, USER + 1);
    make_dirs(&dir.join("a/b"), 0o700).unwrap();
    write_atomic(&dir.join("a/atomic"), b"x", 0o644, true).unwrap();
    write_new(&dir.join("a/new"), b"x").unwrap();
    replace(&dir.join("a/b/replaced"), b"x").unwrap();
    let options = || OpenOptions::new().append(true).mode(0o640).clone();
    open_or_create(&dir.join("log"), &options()).unwrap();
    open_or_create(&dir.join("log"), &options()).unwrap();
    for path in ["a", "a/b", "a/atomic", "a/new", "a/b/replaced", "log"] {
        assert_eq!(owner(&dir.join(path)), (USER, USER + 1), "{path}");
    }
    // One that root left is mended, one of a third user stays theirs.
    fs::write(dir.join("roots"), "").unwrap();
    fs::write(dir.join("thirds"), "").unwrap();
    give(&dir.join("thirds"), 77, 78);
    for (name, expected) in [("roots", (USER, USER + 1)), ("thirds", (77, 78))] {
        replace(&dir.join(name), b"y").unwrap();
        assert_eq!(owner(&dir.join(name)), expected, "{name}");
    }
    give(&dir, 0, 0);
    write_new(&dir.join("own"), b"x").unwrap();
    assert_eq!(owner(&dir.join("own")), (0, 0));
}

#[test]
fn a_tree_is_handed_over_with_its_links_and_without_what_they_lead_to() {
    if !is_root() {
        return;
    }
    let (_keep, dir) = place();
    let (_other, outside) = place();
    give(&dir, USER, USER);
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/c"), "").unwrap();
    fs::write(outside.join("file"), "").unwrap();
    std::os::unix::fs::symlink(&outside, tree.join("dir")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), tree.join("file")).unwrap();
    hand_over(&tree).unwrap();
    for path in ["", "a", "a/b", "a/b/c", "dir", "file"] {
        assert_eq!(owner(&tree.join(path)), (USER, USER), "{path}");
    }
    assert_eq!((owner(&outside), owner(&outside.join("file"))), ((0, 0), (0, 0)));
}

#[test]
fn mode_and_link_are_kept_and_nothing_else_is_left() {
    let (_keep, dir) = place();
    let file = dir.join("f");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("f", dir.join("link")).unwrap();
    replace(&dir.join("link"), b"new").unwrap();
    assert_eq!(
        (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().mode() & 0o777),
        (b"new".to_vec(), 0o640)
    );
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
    std::os::unix::fs::symlink("nowhere", dir.join("broken")).unwrap();
    assert!(replace(&dir.join("broken"), b"x").unwrap_err().to_string().contains("link to a file"));
    assert!(replace(&dir, b"x").is_err());
    assert_eq!(names(&dir), ["broken", "f", "link"]);
}

/// Wires 14: a file with two names stays one file.
#[test]
fn a_file_of_two_homes_is_written_where_it_is() {
    let (_keep, dir) = place();
    fs::write(dir.join("one"), "a longer text").unwrap();
    fs::hard_link(dir.join("one"), dir.join("two")).unwrap();
    replace(&dir.join("one"), b"short").unwrap();
    assert_eq!(fs::read(dir.join("two")).unwrap(), b"short");
    assert_eq!(names(&dir), ["one", "two"]);
}

/// Wires 14: who may write a file and cannot give its copy away writes it in place, so that its owner still reads it.
#[test]
fn a_file_that_a_group_shares_stays_its_owners() {
    if !is_root() {
        return;
    }
    let (_keep, dir) = place();
    let shared = dir.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
    give(&shared, 77, 500);
    fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
    let file = shared.join("config.yaml");
    fs::write(&file, "old").unwrap();
    give(&file, 77, 500);
    fs::set_permissions(&file, Permissions::from_mode(0o660)).unwrap();
    let only_read = shared.join("theirs");
    fs::write(&only_read, "old").unwrap();
    give(&only_read, 77, 500);
    fs::set_permissions(&only_read, Permissions::from_mode(0o640)).unwrap();
    // Somebody else of the group: a thread of ours with another identity, which the system keeps for each.
    let done = std::thread::scope(|scope| {
        let work = || {
            rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(500)).unwrap();
            rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(78)).unwrap();
            (replace(&file, b"new"), replace(&only_read, b"new"))
        };
        scope.spawn(work).join().unwrap()
    });
    done.0.unwrap();
    assert_eq!(done.1.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!((fs::read(&file).unwrap(), owner(&file)), (b"new".to_vec(), (77, 500)));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o660);
    assert_eq!((fs::read(&only_read).unwrap(), owner(&only_read)), (b"old".to_vec(), (77, 500)));
    assert_eq!(names(&shared), ["config.yaml", "theirs"]);
}
