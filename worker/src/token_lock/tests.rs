//! Files in a directory of their own, by processes that run or do not.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn place() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("state/locks")).unwrap();
    (dir, path)
}

fn me(pid: u32, supervisor: u32) -> Me {
    Me {
        process: Owner { pid, start_time: 1 },
        profile: "coder".to_owned(),
        home: "/h/profiles/coder".to_owned(),
        supervisor: Some(supervisor),
    }
}

fn identity(scope: &str) -> Identity {
    Identity { platform: "telegram".to_owned(), scope: scope.to_owned(), hash: hash("123:abc") }
}

#[test]
fn names_are_the_python_programs() {
    // `hashlib.sha256(b"123:abc").hexdigest()[:16]`
    assert_eq!(hash("123:abc"), "f221311c7ec8b6e8");
    assert_eq!(hash("").len(), 16);
    assert_eq!(called("signal-phone"), "Signal account");
    assert_eq!(called("testchat-token"), "Testchat token");
}

#[test]
fn a_lock_is_taken_refreshed_followed_and_given_up() {
    let (_dir, directory) = place();
    let all = [identity("telegram-bot-token"), identity("other")];
    let (old, new) = (me(4_194_990, 7), me(4_194_991, 7));
    let held = take_all(&directory, &old, &all).unwrap();
    let path = &held[0];
    assert_eq!(path.file_name(), Some(format!("telegram-bot-token-{}.lock", hash("123:abc")).as_str()));
    assert_eq!(fs_err::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs_err::read_to_string(path).unwrap();
    assert!(!text.contains("123:abc") && text.contains(r#""profile":"coder""#), "{text}");
    assert_eq!(take_all(&directory, &old, &all).unwrap(), held, "refreshed");
    // The next generation connects on the word of the same gateway; what the old one then gives up is not its own.
    assert_eq!(take_all(&directory, &new, &all).unwrap(), held);
    release_all(&directory, &old, &held).unwrap();
    assert!(path.exists());
    release_all(&directory, &new, &held).unwrap();
    assert_eq!(fs_err::read_dir(&directory).unwrap().count(), 0, "nothing is left");
}

#[test]
fn what_a_dead_process_left_is_taken_and_what_cannot_be_read_is_not() {
    let (_dir, directory) = place();
    let all = [identity("telegram-bot-token")];
    let path = take_all(&directory, &me(4_194_990, 7), &all).unwrap().remove(0);
    assert!(take_all(&directory, &me(4_194_991, 8), &all).is_ok(), "its process is gone");
    fs_err::write(&path, "garbage").unwrap();
    assert!(take_all(&directory, &me(4_194_992, 9), &all).is_ok());
    fs_err::remove_file(&path).unwrap();
    fs_err::create_dir(&path).unwrap();
    match take_all(&directory, &me(4_194_993, 9), &all) {
        Err(Refused::Used(down)) => assert!(down.message.contains("cannot be read"), "{down}"),
        other => panic!("{other:?}"),
    }
}
