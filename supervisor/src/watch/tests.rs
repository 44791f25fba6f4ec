//! Real files, real notifications.

use std::time::Duration;

use super::*;

struct Home {
    _dir: tempfile::TempDir,
    root: RootHome,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let root = RootHome::new(Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap());
    fs_err::write(root.path().join("config.yaml"), "a: 1\n").unwrap();
    Home { _dir: dir, root }
}

impl Home {
    fn profile(&self, name: &str) -> Utf8PathBuf {
        let path = self.root.profiles().join(name);
        fs_err::create_dir_all(&path).unwrap();
        path
    }

    fn write(&self, name: &str, file: &str, text: &str) {
        fs_err::write(self.profile(name).join(file), text).unwrap();
    }
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

async fn next(watch: &mut HomeWatch) -> HomeEvent {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("an event in time")
}

#[test]
fn a_profile_needs_a_valid_name_and_an_identity_file() {
    let home = home();
    home.write("zeta", ".env", "");
    home.write("coder", "config.yaml", "");
    for bad in ["UPPER", "a.b", "main", &"x".repeat(65)] {
        home.write(bad, "config.yaml", "");
    }
    home.profile("bare");
    home.write("default", "config.yaml", "");
    home.write(".staging", "config.yaml", "");
    fs_err::write(home.root.profiles().join("file"), "").unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs_err::write(outside.path().join("config.yaml"), "").unwrap();
    std::os::unix::fs::symlink(outside.path(), home.root.profiles().join("outside")).unwrap();
    std::os::unix::fs::symlink("coder", home.root.profiles().join("alias")).unwrap();
    let homes = scan(&home.root);
    let names: Vec<_> = homes.names().map(ProfileName::as_str).collect();
    assert_eq!(names, ["default", "coder", "zeta"]);
    let odd: Vec<_> = homes.odd.iter().map(|o| o.path.file_name().unwrap().to_owned()).collect();
    assert_eq!(odd, ["UPPER", "a.b", "alias", "main", "outside", &"x".repeat(65)]);
}

#[tokio::test]
async fn added_changed_renamed_and_removed_profiles_are_seen() {
    let home = home();
    let mut watch = HomeWatch::start(home.root.clone());
    assert_eq!(watch.homes().names().count(), 1);

    home.profile("coder");
    home.write("coder", "config.yaml", "a: 1\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("coder")));

    // An editor: write beside, rename over.
    home.write("coder", "config.yaml~", "a: 2\n");
    let dir = home.profile("coder");
    fs_err::rename(dir.join("config.yaml~"), dir.join("config.yaml")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));

    home.write("coder", ".env", "A=1\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));

    fs_err::write(home.root.path().join(".env"), "B=1\n").unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("default")));

    fs_err::rename(&dir, home.root.profiles().join("ops")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Removed(name("coder")));
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("ops")));

    // Changes under the new name are still seen.
    home.write("ops", "config.yaml", "a: 3333\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("ops")));

    std::fs::remove_dir_all(home.root.profiles().join("ops")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Removed(name("ops")));
}

#[tokio::test]
async fn a_directory_becomes_a_profile_when_its_first_identity_file_appears() {
    let home = home();
    let dir = home.profile("late");
    let mut watch = HomeWatch::start(home.root.clone());
    assert_eq!(watch.homes().names().count(), 1);
    fs_err::write(dir.join("SOUL.md"), "I am late.").unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("late")));
}

#[tokio::test]
async fn files_a_worker_writes_are_nobodys_change() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let mut watch = HomeWatch::start(home.root.clone());
    for n in 0..20 {
        home.write("coder", "runtime_status.json", &n.to_string());
        home.write("coder", "state.db-wal", &n.to_string());
    }
    home.write("ops", "config.yaml", "");
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("ops")));
}

#[tokio::test]
async fn without_notifications_scanning_finds_the_same() {
    let home = home();
    let mut watch = HomeWatch::start(home.root.clone());
    watch.source = None;
    watch.next_scan = Instant::now();
    home.write("coder", "config.yaml", "");
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("coder")));
    home.write("coder", "config.yaml", "b: 2\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));
}

#[test]
fn a_directory_replaced_by_another_is_removed_and_added() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let before = scan(&home.root);
    fs_err::rename(home.profile("coder"), home.root.path().join("elsewhere")).unwrap();
    home.write("coder", "config.yaml", "");
    let events = before.changes_to(&scan(&home.root));
    assert_eq!(events, [HomeEvent::Removed(name("coder")), HomeEvent::Added(name("coder"))]);
}
