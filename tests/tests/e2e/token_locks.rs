//! Bots that a gateway of another home, or of the Python program, uses already: known by the files that both put in one place.

use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8PathBuf;
use hermes_tests::background::Background;
use hermes_tests::chat::{Chat, TOKEN};
use hermes_tests::command::{Ran, run};
use hermes_tests::gateway::hermes;
use hermes_tests::predecessor::Predecessor;
use hermes_tests::{Gateway, Home, home, http, process, wait};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A home whose default profile has the bot, and whose locks are in `locks`.
fn house(chat: &Chat) -> Home {
    let config = Home::config("true", "");
    let config = config.replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    let home = Home::with_config(&config);
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home
}

fn locks(home: &Home) -> Utf8PathBuf {
    home.user().join("locks")
}

fn start<'a>(home: &'a Home, locks: &Utf8PathBuf) -> Gateway<'a> {
    let mut gateway = Gateway::spawn(home, &[], &[("HERMES_GATEWAY_LOCK_DIR", locks.as_str())]);
    gateway.wait_settled();
    gateway
}

/// Its name, as the Python program makes it.
fn file(locks: &Utf8PathBuf) -> Utf8PathBuf {
    let digest: String = Sha256::digest(TOKEN).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    locks.join(format!("testchat-token-{digest}.lock"))
}

fn record(path: &Utf8PathBuf) -> Option<Value> {
    serde_json::from_str(&fs_err::read_to_string(path).ok()?).ok()
}

/// The file of a Python gateway that has the bot; what it says.
fn write_theirs(path: &Utf8PathBuf, pid: u32, start: &str) -> String {
    let hash = path.file_stem().unwrap().rsplit('-').next().unwrap();
    let text = format!(
        r#"{{"pid":{pid},"kind":"hermes-gateway","argv":["hermes","gateway","run"],"start_time":{start},"scope":"testchat-token","identity_hash":"{hash}","metadata":{{"platform":"testchat"}},"updated_at":"2026-11-21T00:36:41.164601+00:00"}}"#
    );
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, &text).unwrap();
    text
}

/// `hermes gateway start -p default …`, where the locks are in `locks`.
fn ask(home: &Home, locks: &Utf8PathBuf, more: &[&str]) -> Ran {
    let args = [&["gateway", "start", "-p", "default"], more].concat();
    hermes(home, &args).env("HERMES_GATEWAY_LOCK_DIR", locks).output().unwrap().into()
}

/// The bot's connection, as status says it: state, code, text.
fn bot(gateway: &Gateway<'_>) -> (String, String, String) {
    let platforms = gateway.profile("default").platforms;
    let found = platforms.get("testchat").cloned();
    let text = |text: Option<String>| text.unwrap_or_default();
    found.map(|f| (f.state, text(f.error_code), text(f.error_message))).unwrap_or_default()
}

fn wait_for(gateway: &Gateway<'_>, state: &str) {
    wait::until_true(&format!("the bot to be {state}"), || bot(gateway).0 == state);
}

/// A file appears before the bot connects, names its worker, follows it through a restart, and goes with it.
#[test]
fn a_bot_in_use_is_written_down_by_its_worker() {
    let chat = Chat::start();
    let home = house(&chat);
    let locks = locks(&home);
    let mut gateway = start(&home, &locks);
    wait_for(&gateway, "connected");
    let path = file(&locks);
    let written = record(&path).unwrap();
    let worker = gateway.worker("default");
    assert_eq!(written["pid"], worker);
    assert_eq!(written["start_time"], process::start_time(worker));
    assert_eq!((&written["kind"], &written["scope"]), (&"hermes-gateway".into(), &"testchat-token".into()));
    assert_eq!(written["metadata"]["platform"], "testchat");
    assert_eq!(written["metadata"]["home"], home.root().as_str());
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(!text.contains(TOKEN), "{text}");
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    run(&home, &["gateway", "restart", "default"]).ok();
    let next = gateway.worker("default");
    assert_ne!(next, worker);
    wait::until_true("the next worker's", || record(&path).is_some_and(|record| record["pid"] == next));
    wait_for(&gateway, "connected");
    assert_eq!(chat.overlaps(), Vec::<String>::new());
    // A killed worker's counts for nothing.
    gateway.kill_worker("default");
    let third = gateway.worker("default");
    wait::until_true("the third worker's", || record(&path).is_some_and(|record| record["pid"] == third));
    assert_eq!(gateway.stop(), Some(0));
    assert!(
        !path.exists()
            && locks
                .read_dir_utf8()
                .unwrap()
                .all(|entry| !entry.unwrap().file_name().starts_with("testchat"))
    );
}

/// Complaint 7: a Python gateway that has the bot keeps it, is named with its process and the file, and gives way when it ends.
#[test]
fn a_bot_of_a_python_gateway_waits_until_it_is_free() {
    let chat = Chat::start();
    let home = house(&chat);
    let locks = locks(&home);
    let elsewhere = Home::new();
    let theirs = Predecessor::start(&elsewhere, "default", true, &[]);
    let path = file(&locks);
    let pid = theirs.pid();
    let text = write_theirs(&path, pid, &process::start_time(pid).to_string());
    let gateway = start(&home, &locks);
    wait_for(&gateway, "conflict");
    let (_, code, message) = bot(&gateway);
    assert_eq!(code, "testchat-token_lock");
    let line = format!("Testchat token already in use (PID {pid}). Stop the other gateway first.");
    assert!(message.starts_with(&line) && message.contains(path.as_str()), "{message}");
    let reason = || gateway.profile("default").reason.unwrap_or_default();
    assert_eq!(gateway.profile("default").state, "degraded");
    wait::until_true("who has it to be the reason", || {
        reason().starts_with(&format!("conflict: testchat: {line}"))
    });
    let why = run(&home, &["why", "default"]).out;
    assert!(why.contains(&line) && why.contains(path.as_str()), "{why}");
    // What else it serves goes on.
    let address = gateway.address("api_server");
    assert_eq!(http::request(&address, "GET", "/health", &[], b"").unwrap().status, 200);
    let shown = run(&home, &["gateway", "status", "-p", "default"]).ok();
    assert!(shown.contains(&line), "{shown}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), text, "it is theirs");
    assert_eq!(chat.polling(), 0);
    drop(theirs);
    wait_for(&gateway, "connected");
    wait::until_true("the profile to be well again", || gateway.profile("default").state == "ready");
    assert_eq!(reason(), "");
    assert_eq!(record(&path).unwrap()["pid"], gateway.worker("default"));
}

/// The same of a gateway of another home, whose profile and home the file names; it has one bot at every time.
#[test]
fn a_bot_of_another_homes_gateway_is_named_with_its_profile() {
    let chat = Chat::start();
    let (home, other) = (house(&chat), house(&chat));
    let locks = locks(&home);
    let mut first = start(&other, &locks);
    wait_for(&first, "connected");
    let second = start(&home, &locks);
    wait_for(&second, "conflict");
    let (_, _, message) = bot(&second);
    let whose = format!("It serves profile 'default' of `{}`", other.root());
    assert!(
        message.contains(&whose) && message.contains(&format!("PID {}", first.worker("default"))),
        "{message}"
    );
    first.stop();
    wait_for(&second, "connected");
    assert_eq!(chat.overlaps(), Vec::<String>::new());
}

/// A Python gateway elsewhere that has the bot gives way on request, and only the very process that its file means.
#[test]
fn a_bot_of_a_python_gateway_is_taken_over_on_request() {
    let chat = Chat::start();
    let home = house(&chat);
    let locks = locks(&home);
    let elsewhere = Home::new();
    let theirs = Predecessor::start(&elsewhere, "default", true, &[]);
    let (path, pid) = (file(&locks), theirs.pid());
    write_theirs(&path, pid, "null");
    let gateway = start(&home, &locks);
    wait_for(&gateway, "conflict");
    let (_, _, message) = bot(&gateway);
    assert!(message.contains("`hermes gateway start -p default --take-over` ends it"), "{message}");
    let said = ask(&home, &locks, &[]).ok();
    assert!(said.contains("is running") && theirs.is_alive(), "{said}");
    let refused = ask(&home, &locks, &["--take-over"]).fails(78);
    let line = format!("the Testchat token stays with process {pid}, as `{path}` says");
    assert!(refused.contains(&line) && theirs.is_alive(), "{refused}");
    write_theirs(&path, pid, &process::start_time(pid).to_string());
    let said = ask(&home, &locks, &["--take-over"]).ok();
    let line = format!("✓ Profile 'default' has connected testchat, taken over from PID {pid}\n");
    assert!(said.ends_with(&line) && !theirs.is_alive(), "{said}");
    assert_eq!(bot(&gateway).0, "connected");
    assert_eq!(record(&path).unwrap()["pid"], gateway.worker("default"));
    let said = ask(&home, &locks, &["--take-over"]).ok();
    assert!(!said.contains("taken over"), "nobody else has it: {said}");
}

/// The same where no gateway runs here yet.
#[test]
fn a_gateway_that_starts_takes_its_bot_over_on_request() {
    let chat = Chat::start();
    let home = house(&chat);
    let locks = locks(&home);
    let elsewhere = Home::new();
    let theirs = Predecessor::start(&elsewhere, "default", true, &[]);
    let pid = theirs.pid();
    write_theirs(&file(&locks), pid, &process::start_time(pid).to_string());
    let background = Background(&home);
    let said = ask(&home, &locks, &["--take-over"]).ok();
    assert!(said.contains("is running in the background") && !theirs.is_alive(), "{said}");
    assert!(said.contains(&format!("connected testchat, taken over from PID {pid}")), "{said}");
    background.running("default");
}

/// A worker elsewhere would be started again by its gateway: it is left alone, and named with the command that stops it there.
#[test]
fn a_worker_of_another_gateway_keeps_its_bot_until_it_is_stopped_there() {
    let chat = Chat::start();
    let (home, other) = (house(&chat), house(&chat));
    let locks = locks(&home);
    let first = start(&other, &locks);
    wait_for(&first, "connected");
    let second = start(&home, &locks);
    wait_for(&second, "conflict");
    let worker = first.worker("default");
    let refused = ask(&home, &locks, &["--take-over"]).fails(78);
    let line = format!("the Testchat token stays with process {worker}, as `{}` says", file(&locks));
    let command = format!("`HERMES_HOME={} hermes gateway stop -p default`", other.root());
    assert!(refused.contains(&line) && refused.contains(&command), "{refused}");
    assert!(
        refused.contains(&format!("its gateway (PID {}) would start it again", first.pid())),
        "{refused}"
    );
    assert_eq!((first.worker("default"), bot(&first).0), (worker, "connected".to_owned()));
    assert!(second.profile("default").ready, "what it serves besides goes on");
    run(&other, &["gateway", "stop", "-p", "default"]).ok();
    wait_for(&second, "connected");
    assert_eq!(chat.overlaps(), Vec::<String>::new());
}
