//! `hermes doctor` sees what is wrong, names it, repairs what it may, and changes nothing unless it is told to.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::command::{Ran, masked, run};
use hermes_tests::{Gateway, Home};
use serde_json::Value;

/// A home that has nothing wrong.
fn healthy() -> Home {
    let home = Home::new();
    home.profile("coder");
    for path in [home.root(), home.of("coder")] {
        mode(&path, 0o700);
    }
    home
}

fn mode(path: &Utf8Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Codes of findings that are not good, with the profile.
fn found(ran: &Ran) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let bad = |f: &&Value| f["grade"] != "ok" && f["repaired"] != true;
    let pair = |f: &Value| {
        let text = |key: &str| f[key].as_str().unwrap_or("-").to_owned();
        (text("code"), text("profile"))
    };
    json["findings"].as_array().unwrap().iter().filter(bad).map(pair).collect()
}

fn pair(code: &str, profile: &str) -> (String, String) {
    (code.to_owned(), profile.to_owned())
}

/// Everything below a directory with mode and contents.
fn tree(path: &Utf8Path) -> Vec<(Utf8PathBuf, u32, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in path.read_dir_utf8().unwrap().map(Result::unwrap) {
        let meta = fs_err::symlink_metadata(entry.path()).unwrap();
        let bytes = if meta.is_file() { fs_err::read(entry.path()).unwrap() } else { Vec::new() };
        all.push((entry.path().to_owned(), meta.permissions().mode(), bytes));
        if meta.is_dir() {
            all.extend(tree(entry.path()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_healthy_home_is_said_to_be_one() {
    let home = healthy();
    let ran = run(&home, &["doctor", "--json"]);
    assert_eq!((ran.code, found(&ran)), (Some(0), vec![]), "{ran:#?}");
    let text = run(&home, &["doctor"]).ok();
    assert!(text.contains("✓   coder: no alias") && text.ends_with("✓ All is well\n"), "{text}");
}

#[test]
fn everything_wrong_at_once_is_found_and_nothing_is_touched() {
    let home = healthy();
    let token = "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for name in ["one", "two"] {
        home.profile_with(name, "agent: {engine: echo}\n", &format!("TELEGRAM_BOT_TOKEN={token}\n"));
        mode(&home.of(name), 0o700);
    }
    home.write("broken", "config.yaml", "model: [\n");
    home.write("broken", "state.db", "this is no database, and it is long enough to be looked at");
    home.write("broken", ".env", "A=1\n");
    mode(&home.of("broken").join(".env"), 0o644);
    mode(&home.of("broken"), 0o755);
    fs_err::create_dir(home.of("Upper")).unwrap();
    fs_err::create_dir(home.of("bare")).unwrap();
    fs_err::write(home.root().join("active_profile"), "gone\n").unwrap();
    fs_err::write(
        home.root().join("gateway.pid"),
        "{\"pid\":999999999,\"kind\":\"hermes-gateway\",\"argv\":[],\"start_time\":1}",
    )
    .unwrap();
    let units = home.user().join(".config/systemd/user");
    fs_err::create_dir_all(&units).unwrap();
    fs_err::write(
        units.join("hermes-gateway.service"),
        format!("[Service]\nExecStart=/usr/bin/python3 -m hermes_cli.main gateway run\nEnvironment=HERMES_HOME={}\n", home.root()),
    )
    .unwrap();
    fs_err::write(
        units.join("hermes-gateway-ghost.service"),
        format!(
            "[Service]\nExecStart=/usr/bin/hermes -p ghost gateway run\nEnvironment=HERMES_HOME={}\n",
            home.root()
        ),
    )
    .unwrap();
    let before = tree(&home.root());

    let ran = run(&home, &["doctor", "--json"]);
    assert_eq!(ran.code, Some(1));
    let found = found(&ran);
    for expected in [
        pair("duplicate_credential", "-"),
        pair("configuration", "broken"),
        pair("database", "broken"),
        pair("secret_mode", "broken"),
        pair("home_mode", "broken"),
        pair("not_a_profile", "-"),
        pair("bare_directory", "-"),
        pair("dangling_sticky", "-"),
        pair("stale_pid", "default"),
        pair("python_unit", "-"),
        pair("unit_without_profile", "-"),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:#?}");
    }
    assert!(!ran.out.contains(token) && !ran.err.contains(token), "a credential is never shown");
    assert_eq!(tree(&home.root()), before, "looking changes nothing");

    let fixed = run(&home, &["doctor", "--fix"]);
    assert_eq!(fixed.code, Some(1), "what cannot be repaired still fails");
    for gone in ["dangling_sticky", "secret_mode", "stale_pid", "home_mode"] {
        let again = run(&home, &["doctor", "--json"]);
        assert!(!self::found(&again).iter().any(|(code, _)| code == gone), "{gone}: {}", again.out);
    }
    assert!(!home.root().join("active_profile").exists());
    assert!(home.root().join("profiles/Upper").is_dir() && home.root().join("profiles/bare").is_dir());
    let two = masked(&home, &fixed.out);
    assert!(
        two.contains("Profile 'one' and 'two' both configure telegram with the same credential"),
        "{two}"
    );
}

#[test]
fn a_taken_port_is_named_with_its_place() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = Home::with_config(&Home::config("true", "").replacen("port: 0", &format!("port: {port}"), 1));
    mode(&home.root(), 0o700);
    let ran = run(&home, &["doctor", "--json"]);
    assert_eq!((ran.code, found(&ran)), (Some(1), vec![pair("port", "default")]), "{ran:#?}");
    assert!(ran.out.contains(&format!("Port {port} already in use by ")));
    drop(taken);
    run(&home, &["doctor"]).ok();
}

#[test]
fn a_port_binding_platform_on_a_secondary_fails() {
    let home = healthy();
    home.write(
        "coder",
        "config.yaml",
        "agent: {engine: echo}\nplatforms: {webhook: {enabled: true, extra: {port: 9999}}}\n",
    );
    let ran = run(&home, &["doctor", "--json"]);
    assert_eq!(
        (ran.code, found(&ran).contains(&pair("configuration", "coder"))),
        (Some(1), true),
        "{ran:#?}"
    );
}

#[test]
fn one_profile_alone() {
    let home = healthy();
    home.write("broken", "config.yaml", "model: [\n");
    let ran = run(&home, &["doctor", "-p", "coder", "--json"]);
    assert_eq!((ran.code, found(&ran)), (Some(0), vec![]), "{ran:#?}");
    assert_eq!(run(&home, &["doctor", "-p", "broken"]).code, Some(1));
    let missing = run(&home, &["doctor", "-p", "nope"]).fails(1);
    assert!(missing.contains("Error: Profile 'nope' does not exist."), "{missing}");
}

#[test]
fn a_missing_env_is_seeded_private_and_never_from_another_profile() {
    let home = healthy();
    fs_err::remove_file(home.of("coder").join(".env")).unwrap();
    run(&home, &["doctor", "--fix"]).ok();
    let env = home.of("coder").join(".env");
    assert!(fs_err::read_to_string(&env).unwrap().lines().all(|line| line.starts_with('#')));
    assert_eq!(fs_err::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_running_gateway_is_asked() {
    let home = healthy();
    let gateway = Gateway::start(&home);
    let text = run(&home, &["doctor"]).ok();
    let pid = gateway.pid();
    assert!(text.contains(&format!("✓ the gateway runs (PID {pid}), 2 of 2 profiles ready")), "{text}");
    assert!(text.contains("coder: gateway running"), "{text}");
}

/// 1: `--online` asks each provider, names class and next step, shows no key, and fails where one does not answer.
#[test]
fn c1_providers_are_asked_on_request() {
    use hermes_tests::provider::{Provider, Reply};
    let home = healthy();
    let provider = Provider::start();
    home.profile_with("ask", &provider.model_config(), "CUSTOM_API_KEY=the-model-key\n");
    mode(&home.of("ask"), 0o700);
    let quiet = run(&home, &["doctor"]).ok();
    assert!(provider.calls().is_empty(), "nobody is asked unless told to: {quiet}");
    // The list is not there; one token is asked for.
    provider.script([Reply::error(404, "no"), Reply::text("p")]);
    let text = run(&home, &["doctor", "--online"]).ok();
    assert!(text.contains("✓   ask: provider custom answers (one token, model m)"), "{text}");
    assert_eq!(provider.calls().last().unwrap().body["max_tokens"], 1);
    // A list proves nothing: whoever has no money left is told so by the call alone.
    let list = Reply::Status(200, Vec::new(), r#"{"data": [{"id": "m"}]}"#.to_owned());
    provider.script([list, Reply::error(402, "no money")]);
    let ran = run(&home, &["doctor", "--online", "-p", "ask"]);
    assert!(ran.code == Some(1) && ran.out.contains("✗   ask: provider custom quota (402)"), "{ran:#?}");
    for (status, class) in [(401, "unauthorized"), (402, "quota"), (429, "rate_limited")] {
        provider.script((0..3).map(|_| Reply::error(status, "not with the-model-key")));
        let ran = run(&home, &["doctor", "--online", "-p", "ask"]);
        let said = format!("✗   ask: provider custom {class} ({status}): HTTP {status}: not with ***");
        assert!(ran.code == Some(1) && ran.out.contains(&said) && ran.out.contains("fix: "), "{ran:#?}");
        assert!(!ran.out.contains("the-model-key") && !ran.err.contains("the-model-key"));
        let left = provider.calls().len();
        provider.script_clear();
        assert!(left > 0);
    }
    drop(provider);
    home.write("ask", "config.yaml", "model: {default: m, base_url: 'http://127.0.0.1:1/v1'}\n");
    let ran = run(&home, &["doctor", "--online", "--json"]);
    assert_eq!((ran.code, found(&ran)), (Some(1), vec![pair("provider", "ask")]), "{ran:#?}");
}

/// What newer releases wrote and this one does not go by is named once a profile, a version from the future is said, and the sign-in
/// that newer releases would answer with is named with its file. No secret is shown, and nothing is touched.
#[test]
fn a_home_of_newer_releases_is_explained() {
    let home = healthy();
    home.write(
        "default",
        "config.yaml",
        "_config_version: 60\nagent: {engine: echo}\ngateway: {loop_watchdog: true, trust_env: false}\n",
    );
    home.write("default", "auth.json", r#"{"providers": {"nous": {"refresh_token": "canary-r"}}}"#);
    home.write(
        "coder",
        "config.yaml",
        "_config_version: 51\nmodel: {default: m, provider: nous}\nagent: {max_turns: 0}\n",
    );
    mode(&home.root().join("auth.json"), 0o600);
    let before = tree(&home.root());
    let ran = run(&home, &["doctor", "--json"]);
    let found = found(&ran);
    for expected in [pair("config_newer", "default"), pair("newer_keys", "default"), pair("sign_in", "coder")]
    {
        assert!(found.contains(&expected), "{expected:?} is not in {found:#?}");
    }
    assert!(!found.iter().any(|(code, profile)| code == "newer_keys" && profile == "coder"), "{found:#?}");
    let text = run(&home, &["doctor"]).out;
    for part in [
        "its configuration has version 60, and this program knows the keys up to version 51",
        "keys of newer releases that do nothing here, kept as they are: gateway: loop_watchdog, trust_env",
        "releases from 0.20 on answer with the default profile's sign-in for nous",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("canary") && !ran.out.contains("canary"));
    assert!(!text.contains("is not a known key"), "{text}");
    assert_eq!(tree(&home.root()), before);
}

/// D22: turns of other programs in the same home are said, with what is known of them.
#[test]
fn other_programs_at_work_in_a_profiles_sessions_are_said() {
    let home = healthy();
    let path = home.root().join("state.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let day = 86_400;
    let now = hermes_tests::wait::system().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    db.execute_batch(&format!(
        "CREATE TABLE hermes_inbox(state TEXT, fault TEXT, error TEXT);
         INSERT INTO hermes_inbox VALUES ('postponed', 'leased', 'another program runs a turn in this session (pid=7:turn=t)'),
            ('postponed', 'unreachable', 'cannot be reached');
         CREATE TABLE state_meta(key TEXT PRIMARY KEY, value TEXT);
         INSERT INTO state_meta VALUES ('hermes_unseen_processes', '{}')",
        now - 2 * day
    ))
    .unwrap();
    let text = run(&home, &["doctor"]).ok();
    for expected in [
        "1 message(s) wait for their session: another program runs a turn in this session (pid=7:turn=t)",
        "cannot be seen from here (last noticed 2 day(s) ago)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    db.execute("UPDATE state_meta SET value = '5'", []).unwrap();
    db.execute("DELETE FROM hermes_inbox WHERE fault = 'leased'", []).unwrap();
    let text = run(&home, &["doctor"]).ok();
    assert!(!text.contains("another program"), "{text}");
}
