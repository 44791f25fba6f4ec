//! Profile commands take effect on a running gateway at once, and on that profile alone.

use hermes_tests::command::run;
use hermes_tests::{Gateway, Home, wait};

#[test]
fn a_created_profile_is_served_when_the_command_ends_and_nobody_else_notices() {
    let home = Home::new();
    home.profile("other");
    let gateway = Gateway::start(&home);
    let other = gateway.worker("other");
    let said = run(&home, &["profile", "create", "coder", "--no-alias"]).ok();
    // Served; that nobody answers for it yet, having no model, its worker says a moment later.
    let served = ["ready", "degraded"].map(|state| format!("✓ Gateway: profile 'coder' is {state}"));
    assert!(served.iter().any(|line| said.contains(line)), "{said}");
    assert_eq!(gateway.get("/p/coder/health", "").status, 200);
    assert_eq!(gateway.worker("other"), other);
}

/// The bots of a source that is served are in use: a copy of them would only be a second holder. Without them the copy is served at
/// once, and neither has what belongs to the other.
#[test]
fn the_channels_of_a_served_profile_are_not_copied() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let coder = gateway.worker("coder");
    let with = ["profile", "create", "twin", "--clone-from", "coder", "--clone-channels", "--no-alias"];
    let error = run(&home, &with).fails(1);
    assert!(
        error.contains("Cannot copy the channels of profile 'coder' while a gateway serves it"),
        "{error}"
    );
    assert!(!home.of("twin").exists());
    let said = run(&home, &["profile", "create", "twin", "--clone-from", "coder", "--no-alias"]).ok();
    assert!(
        said.contains("Channels left behind: ") && said.contains("✓ Gateway: profile 'twin' is"),
        "{said}"
    );
    assert_eq!(gateway.get("/p/twin/health", "").status, 200);
    assert_eq!(gateway.worker("coder"), coder, "the source was not touched");
}

#[test]
fn a_renamed_profile_is_served_under_its_new_name_with_its_sessions() {
    let home = Home::new();
    home.profile("coder").profile("other");
    let gateway = Gateway::start(&home);
    let other = gateway.worker("other");
    let secret = format!("{}-coder", hermes_tests::home::SECRET);
    assert_eq!(gateway.hook("/p/coder/webhooks/hook", &secret, "1", r#"{"text":"hello"}"#).status, 202);
    wait::until_true("the turn is in the database", || {
        keys(&home, "coder").iter().any(|k| k.starts_with("agent:coder:"))
    });
    let said = run(&home, &["profile", "rename", "coder", "dev"]).ok();
    assert!(
        said.contains("✓ Renamed coder → dev") && said.contains("✓ Gateway: profile 'dev' is ready"),
        "{said}"
    );
    assert_eq!(gateway.get("/p/dev/health", "").status, 200);
    assert_eq!(gateway.get("/p/coder/health", "").status, 404);
    assert_eq!(gateway.worker("other"), other, "nobody else was touched");
    let keys = keys(&home, "dev");
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with("agent:dev:")), "{keys:?}");
    assert!(!home.of("coder").exists());
}

#[test]
fn a_stopped_profile_stays_stopped_under_its_new_name() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    run(&home, &["gateway", "stop", "-p", "coder"]).ok();
    let said = run(&home, &["profile", "rename", "coder", "dev"]).ok();
    assert!(said.contains("✓ Gateway: profile 'dev' is parked"), "{said}");
    assert_eq!(gateway.profile("dev").state, "parked");
    run(&home, &["gateway", "start", "-p", "dev"]).ok();
    assert_eq!(gateway.get("/p/dev/health", "").status, 200);
}

#[test]
fn a_deleted_profile_is_gone_under_traffic_and_stays_gone() {
    let home = Home::new();
    home.profile("coder").profile("other");
    let gateway = Gateway::start(&home);
    let other = gateway.worker("other");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut statuses = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                statuses.push((
                    gateway.get("/p/coder/health", "").status,
                    gateway.get("/p/other/health", "").status,
                ));
            }
            statuses
        });
        let said = run(&home, &["profile", "delete", "coder", "--yes"]).ok();
        assert!(said.contains("Profile 'coder' deleted.") && said.contains("no longer served"), "{said}");
        assert_eq!(gateway.get("/p/coder/health", "").status, 404);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let statuses = traffic.join().unwrap();
        assert!(statuses.iter().all(|(_, other)| *other == 200), "the other one was served all the time");
        assert!(statuses.iter().all(|(gone, _)| matches!(gone, 200 | 404 | 503)), "{statuses:?}");
    });
    assert_eq!(gateway.worker("other"), other);
    // Everything a worker still had open is closed; nothing makes the home again.
    run(&home, &["gateway", "restart", "-p", "other"]).ok();
    assert!(!home.of("coder").exists());
    let left: Vec<_> = home
        .root()
        .join("profiles")
        .read_dir_utf8()
        .unwrap()
        .map(|e| e.unwrap().file_name().to_owned())
        .collect();
    assert!(!left.iter().any(|name| name.contains("trash")), "{left:?}");
    // The name can be used again at once.
    run(&home, &["profile", "create", "coder", "--no-alias"]).ok();
    assert_eq!(gateway.get("/p/coder/health", "").status, 200);
}

#[test]
fn a_profile_that_appears_or_vanishes_without_a_command_is_seen_too() {
    let home = Home::new();
    home.profile("other");
    let gateway = Gateway::start(&home);
    home.profile("byhand");
    gateway.wait_ready("byhand");
    fs_err::rename(home.of("byhand"), home.root().join("elsewhere")).unwrap();
    wait::until_true("it is no longer served", || gateway.get("/p/byhand/health", "").status == 404);
}

#[test]
fn an_imported_profile_is_served_when_the_command_ends_and_its_routes_wait_for_a_secret_of_their_own() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let coder = gateway.worker("coder");
    let archive = home.user().join("coder.tar.gz");
    run(&home, &["profile", "export", "coder", archive.as_str(), "--history"]).ok();
    let said = run(&home, &["profile", "import", archive.as_str(), "--name", "new"]).ok();
    assert!(said.contains("✓ Gateway: profile 'new' is"), "{said}");
    assert_eq!(gateway.get("/p/new/health", "").status, 200);
    // The placeholder is no secret: whoever knows the archive would know it.
    let placeholder = "${PLATFORMS_WEBHOOK_EXTRA_SECRET}";
    assert!(said.contains("PLATFORMS_WEBHOOK_EXTRA_SECRET"), "{said}");
    let refused = gateway.hook("/p/new/webhooks/hook", placeholder, "1", r#"{"text":"x"}"#).status;
    assert!(refused >= 400, "{refused}");
    home.write(
        "new",
        ".env",
        "API_SERVER_KEY=new-api-key-0123456789\nPLATFORMS_WEBHOOK_EXTRA_SECRET=of-its-own\n",
    );
    wait::until_true("the route works with its own secret", || {
        gateway.hook("/p/new/webhooks/hook", "of-its-own", "2", r#"{"text":"x"}"#).status == 202
    });
    assert_eq!(gateway.worker("coder"), coder, "nobody else was touched");
}

#[test]
fn an_archive_of_a_default_profile_keeps_no_gateway_from_starting() {
    let home = Home::new();
    let archive = home.user().join("default.tar.gz");
    run(&home, &["profile", "export", "default", "-o", archive.as_str()]).ok();
    let said = run(&home, &["profile", "import", archive.as_str(), "--name", "twin"]).ok();
    assert!(
        said.contains("Removed settings of ports") && said.contains("platforms.webhook.enabled"),
        "{said}"
    );
    let config = home.read("twin", "config.yaml").unwrap();
    assert!(config.contains("prompt: 'say {text}'") && !config.contains("port: 0"), "{config}");
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.get("/p/twin/health", "").status, 200);
}

fn keys(home: &Home, profile: &str) -> Vec<String> {
    let Ok(db) = rusqlite::Connection::open(home.of(profile).join("state.db")) else { return Vec::new() };
    let Ok(mut select) =
        db.prepare("SELECT DISTINCT session_key FROM sessions WHERE session_key IS NOT NULL")
    else {
        return Vec::new();
    };
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
