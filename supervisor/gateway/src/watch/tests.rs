//! Real files, real notifications.

use std::time::Duration;

use hermes_tests::Loop;

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
    let mut watch = HomeWatch::start(home.root.clone()).await;
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
    let mut watch = HomeWatch::start(home.root.clone()).await;
    assert_eq!(watch.homes().names().count(), 1);
    fs_err::write(dir.join("SOUL.md"), "I am late.").unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("late")));
}

/// What matters of a marker is whether it is there; what it holds, and a change of that, is nothing.
#[tokio::test]
async fn a_marker_that_comes_and_goes_is_seen() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    assert_eq!(watch.homes().parked(&name("coder")), Parked::No);
    home.write("coder", "gateway.parked", "");
    assert_eq!(next(&mut watch).await, HomeEvent::Parked(name("coder")));
    assert_eq!(watch.homes().parked(&name("coder")), Parked::Yes);
    home.write("coder", "gateway.parked", "other words\n");
    home.write("coder", "config.yaml", "a: 1\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));
    fs_err::remove_file(home.profile("coder").join("gateway.parked")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Unparked(name("coder")));
}

/// A marker that was never seen because its home could not be looked at is neither there nor taken away.
#[test]
fn a_marker_that_cannot_be_seen_is_not_absent() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let marker = home.profile("coder").join("gateway.parked");
    std::os::unix::fs::symlink(&marker, &marker).unwrap();
    let unknown = scan(&home.root);
    assert_eq!((unknown.parked(&name("coder")), unknown.is_unseen(&name("coder"))), (Parked::Unknown, true));
    fs_err::remove_file(marker).unwrap();
    let seen = scan(&home.root);
    assert_eq!(seen.parked(&name("coder")), Parked::No);
    let events = unknown.changes_to(&seen);
    assert_eq!(events, [HomeEvent::Stirred(name("coder")), HomeEvent::Remarks]);
}

/// What was put in the place of a removed profile is no profile; taken off the list, it is one.
#[tokio::test]
async fn a_removed_profile_is_none_until_it_is_off_the_list() {
    let home = home();
    home.write("coder", "config.yaml", "");
    home.profile("bare");
    home.write(".deleted", "bare", "deleted\n");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    assert_eq!(watch.homes().bare_directories().count(), 0);
    home.write(".deleted", "coder", "deleted\n");
    home.write(".deleted", "default", "deleted\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Removed(name("coder")));
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(watch.homes().odd[0].why.contains("was removed"));
    assert_eq!(watch.homes().names().map(ProfileName::as_str).collect::<Vec<_>>(), ["default"]);
    fs_err::remove_dir_all(home.root.tombstones()).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("coder")));
}

#[tokio::test]
async fn files_a_worker_writes_are_nobodys_change() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let mut watch = HomeWatch::start(home.root.clone()).await;
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
    let mut watch = HomeWatch::start(home.root.clone()).await;
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

/// 9: a directory of profiles that cannot be listed removes nobody, is said, and what changed meanwhile is seen afterwards.
#[tokio::test]
async fn an_unlistable_directory_of_profiles_keeps_everybody() {
    let home = home();
    home.write("coder", "config.yaml", "a: 1\n");
    home.write("gone", "config.yaml", "a: 1\n");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    let before: Vec<_> = watch.homes().names().cloned().collect();
    let broken = Loop::put(home.root.profiles());
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert_eq!(watch.homes().names().cloned().collect::<Vec<_>>(), before);
    let unseen = &watch.homes().unseen[0];
    assert_eq!((unseen.profile.as_ref(), unseen.path.as_path()), (None, home.root.profiles().as_path()));
    assert!(unseen.why.contains("symbolic link"), "the system's words alone: {}", unseen.why);
    fs_err::write(broken.aside.join("coder/config.yaml"), "a: 22\n").unwrap();
    std::fs::remove_dir_all(broken.aside.join("gone")).unwrap();
    broken.remove();
    assert_eq!(next(&mut watch).await, HomeEvent::Removed(name("gone")), "what is really gone is removed");
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(watch.homes().unseen.is_empty());
}

/// 9: one home, and one file, that cannot be looked at.
#[tokio::test]
async fn a_home_or_file_that_cannot_be_looked_at_keeps_what_was_known() {
    let home = home();
    home.write("coder", "config.yaml", "a: 1\n");
    home.write("coder", ".env", "A=1\n");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    let file = Loop::put(home.profile("coder").join(".env"));
    watch.look_now().await;
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert_eq!(watch.homes().unseen[0].profile, Some(name("coder")));
    let broken = Loop::put(home.root.profiles().join("coder"));
    watch.look_now().await;
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(watch.homes().contains(&name("coder")));
    broken.remove();
    file.remove();
    watch.look_now().await;
    assert_eq!(
        next(&mut watch).await,
        HomeEvent::Stirred(name("coder")),
        "what failed on that may be tried again"
    );
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(scan(&home.root).unseen.is_empty());
}

/// 9: what was never seen is not served, and comes as soon as it can be looked at.
#[tokio::test]
async fn who_looks_for_the_first_time_knows_nobody_and_says_so() {
    let home = home();
    home.write("coder", "config.yaml", "a: 1\n");
    let broken = Loop::put(home.root.profiles());
    let mut watch = HomeWatch::start(home.root.clone()).await;
    assert_eq!((watch.homes().names().count(), watch.homes().unseen.len()), (1, 1));
    broken.remove();
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("coder")));
}

/// 5: a worker whose database was replaced or removed is replaced; one that writes its own is not.
#[tokio::test]
async fn another_database_is_a_change_and_a_written_one_is_none() {
    let home = home();
    home.write("coder", "config.yaml", "");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    home.write("coder", "state.db", "made by the worker");
    assert_eq!(next(&mut watch).await, HomeEvent::Stirred(name("coder")));
    home.write("coder", "state.db", "copied over by hand");
    assert_eq!(next(&mut watch).await, HomeEvent::Stirred(name("coder")));
    let dir = home.profile("coder");
    home.write("coder", "restored.db", "another");
    fs_err::rename(dir.join("restored.db"), dir.join("state.db")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Replaced(name("coder")));
    fs_err::remove_file(dir.join("state.db")).unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Replaced(name("coder")));
    fs_err::write(home.root.path().join("state.db"), "of default").unwrap();
    assert_eq!(next(&mut watch).await, HomeEvent::Stirred(name("default")));
}

/// 14: a look that is stuck at one home keeps nobody waiting and hides no other's change: it is said who does not answer, what was
/// known of it holds, and it mends itself.
#[tokio::test]
async fn a_home_that_does_not_answer_is_said_and_kept_and_hides_no_other() {
    let home = home();
    home.write("coder", "config.yaml", "a: 1\n");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    let (sender, answer) = oneshot::channel();
    let progress = Progress::new(&watch.stuck);
    progress.begin(&name("coder"));
    watch.looking = Some(Looking { answer, progress: progress.clone(), said: false });
    home.write("ops", "config.yaml", "a: 1\n");
    home.write("coder", "config.yaml", "a: 22\n");
    assert_eq!(next(&mut watch).await, HomeEvent::Added(name("ops")));
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    let unseen = &watch.homes().unseen;
    assert_eq!((unseen.len(), unseen[0].profile.as_ref()), (1, Some(&name("coder"))));
    assert!(watch.homes().contains(&name("coder")));
    // It is back, and another look touches that home again.
    assert_eq!(progress.done(), None);
    drop(sender);
    assert_eq!(next(&mut watch).await, HomeEvent::Changed(name("coder")));
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(watch.homes().unseen.is_empty());
}

/// 14: the list of all that does not come is said once; who waits for it goes on with what was known.
#[tokio::test]
async fn a_list_that_does_not_come_is_said_once() {
    let home = home();
    home.write("coder", "config.yaml", "a: 1\n");
    let mut watch = HomeWatch::start(home.root.clone()).await;
    let (sender, answer) = oneshot::channel();
    watch.looking = Some(Looking { answer, progress: Progress::new(&watch.stuck), said: false });
    watch.look_now().await;
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert_eq!(watch.homes().unseen[0].path, home.root.profiles());
    assert!(watch.homes().contains(&name("coder")) && watch.looking.as_ref().unwrap().said);
    drop(sender);
    assert_eq!(next(&mut watch).await, HomeEvent::Stirred(name("coder")));
    assert_eq!(next(&mut watch).await, HomeEvent::Remarks);
    assert!(watch.homes().unseen.is_empty());
}
