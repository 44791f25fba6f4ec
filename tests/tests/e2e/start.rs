//! What stops the start, what stops one profile, and what is left behind: nothing.

use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, home, http, process, wait};

fn refused(home: &Home) -> String {
    let output = run(home, &["gateway", "run"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    wait::until_true("no process to be left", || process::using(&home.root()).is_empty());
    text
}

#[test]
fn c15_c16_every_problem_of_every_profile_in_one_run() {
    let home = Home::new();
    home.profile_with("coder", "platforms:\n  webhook:\n    enabled: true\n", "");
    home.profile_with(
        "ops",
        "platforms:\n  api_server: {enabled: true}\n",
        "TELEGRAM_BOT_TOKEN=12345:the-same-token-in-two-profiles\n",
    );
    home.profile_with(
        "research",
        "agent: {engine: echo}\n",
        "TELEGRAM_BOT_TOKEN=12345:the-same-token-in-two-profiles\n",
    );
    let text = refused(&home);
    assert!(
        text.contains("Profile 'coder' enables the port-binding platform 'webhook', but gateway.multiplex_profiles is on. The default profile owns the single shared HTTP listener and serves every profile through the /p/coder/ URL prefix. Remove platforms.webhook from profile 'coder's config.yaml (configure it only on the default profile)."),
        "{text}"
    );
    assert!(text.contains("profiles/coder/config.yaml"), "{text}");
    assert!(text.contains("Profile 'ops' enables the port-binding platform 'api_server'"), "{text}");
    assert!(
        text.contains("Profile 'ops' and 'research' both configure telegram with the same credential"),
        "{text}"
    );
    assert!(text.contains("profiles/ops/.env") && text.contains("profiles/research/.env"), "{text}");
    assert!(!text.contains("the-same-token"), "a token was printed: {text}");
}

#[test]
fn c17_each_port_binding_platform_and_feishu_only_in_webhook_mode() {
    for platform in
        ["api_server", "msgraph_webhook", "wecom_callback", "bluebubbles", "sms", "whatsapp_cloud", "line"]
    {
        let home = Home::new();
        home.profile_with("coder", &format!("platforms: {{{platform}: {{enabled: true}}}}\n"), "");
        let text = refused(&home);
        assert!(text.contains(&format!("port-binding platform '{platform}'")), "{platform}: {text}");
    }
    let home = Home::new();
    home.profile_with(
        "coder",
        "platforms: {feishu: {enabled: true, extra: {connection_mode: webhook}}}\n",
        "",
    );
    assert!(refused(&home).contains("port-binding platform 'feishu'"));
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\nplatforms: {feishu: {enabled: true}}\n", "");
    let gateway = Gateway::start(&home);
    let coder = gateway.profile("coder");
    assert_eq!(coder.platforms["feishu"].state, "unsupported", "{:?}", coder.platforms);
}

#[test]
fn c18_a_key_alone_is_a_prefix_key_but_enabling_is_refused() {
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\n", "API_SERVER_KEY=coder-api-key-0123456789\n");
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.get("/p/coder/v1/models", "coder-api-key-0123456789").status, 200);
    gateway.stop();
    home.write("coder", ".env", "API_SERVER_ENABLED=true\nAPI_SERVER_KEY=coder-api-key-0123456789\n");
    let text = refused(&home);
    assert!(text.contains("API_SERVER_ENABLED") && text.contains("profiles/coder/.env"), "{text}");
}

#[test]
fn c19_c20_duplicate_credentials_name_both_profiles_and_files() {
    let home = Home::new();
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nDISCORD_BOT_TOKEN=the-shared-discord-token\n", home::DEFAULT_KEY),
    );
    home.profile_with("coder", "agent: {engine: echo}\n", "DISCORD_BOT_TOKEN=the-shared-discord-token\n");
    let text = refused(&home);
    assert!(text.contains("Profile 'default' and 'coder' both configure discord with the same credential — refusing to start the duplicate (a single bot token cannot be polled twice). Give each profile its own discord credential."), "{text}");
    assert!(
        text.contains(home.of("default").join(".env").as_str())
            && text.contains(home.of("coder").join(".env").as_str()),
        "{text}"
    );
    assert!(!text.contains("the-shared"), "{text}");
}

/// What else is exclusive and has no test beside its platform: both profiles are named, no value is shown, and nobody hears of it.
#[test]
fn n1_8_what_two_profiles_share_is_refused_on_every_platform() {
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let at = service.local_addr().unwrap();
    let port = at.port();
    for (platform, env, section, value) in [
        (
            "telegram",
            format!("TELEGRAM_BOT_TOKEN=777:the-shared-one\nTELEGRAM_API_BASE_URL=http://{at}\n"),
            String::new(),
            "the-shared-one",
        ),
        (
            "signal",
            format!("SIGNAL_HTTP_URL=http://{at}\nSIGNAL_ACCOUNT=+15550001234\n"),
            String::new(),
            "15550001234",
        ),
        (
            "slack",
            format!("SLACK_API_BASE_URL=http://{at}/api/\nSLACK_BOT_TOKEN=xoxb-the-shared-one\n"),
            String::new(),
            "the-shared-one",
        ),
        (
            "whatsapp",
            "WHATSAPP_ENABLED=true\n".to_owned(),
            "session_path: /nowhere/the-shared-one".to_owned(),
            "the-shared-one",
        ),
        ("whatsapp", "WHATSAPP_ENABLED=true\n".to_owned(), format!("bridge_port: {port}"), "another-value"),
    ] {
        let home = Home::new();
        // An app each: the bot alone is the same.
        let env = |name: &str| match platform {
            "slack" => format!("{env}SLACK_APP_TOKEN=xapp-{name}\n"),
            _ => env.clone(),
        };
        let section = format!("{{{section}}}");
        let config = Home::config("true", "");
        let config = config.replacen("platforms:\n", &format!("platforms:\n  {platform}: {section}\n"), 1);
        home.write("default", "config.yaml", &config);
        let own = format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, env("default"));
        home.write("default", ".env", &own);
        let coder = format!("agent: {{engine: echo}}\nplatforms: {{{platform}: {section}}}\n");
        home.profile_with("coder", &coder, &env("coder"));
        let text = refused(&home);
        let both = format!("Profile 'default' and 'coder' both configure {platform} with the same");
        assert!(text.contains(&both) && !text.contains(value), "{platform}: {text}");
    }
    let nobody = service.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "nothing was asked of anybody");
}

#[test]
fn c21_an_open_policy_without_opt_in_is_refused_with_its_reason_in_the_status() {
    let home = Home::new();
    home.profile_with("coder", "platforms: {whatsapp: {enabled: true, dm_policy: open}}\n", "");
    let text = refused(&home);
    let reason = "Profile 'coder' enables whatsapp: open policy without allow-all opt-in.";
    assert!(text.contains(reason) && text.contains("profiles/coder/config.yaml"), "{text}");
    let status = home.read("coder", "runtime_status.json").unwrap();
    assert!(status.contains(r#""gateway_state":"startup_failed""#) && status.contains(reason), "{status}");
    home.write("coder", ".env", "GATEWAY_ALLOW_ALL_USERS=true\n");
    let gateway = Gateway::start(&home);
    assert!(gateway.profile("coder").ready);
}

#[test]
fn c22_c82_skip_starts_without_the_offender() {
    let home = Home::with_config(&Home::config("true", "  on_profile_error: skip\n"));
    home.profile("ops").profile_with("coder", "platforms: {webhook: {enabled: true}}\n", "");
    let gateway = Gateway::start(&home);
    let coder = gateway.profile("coder");
    assert_eq!((coder.state.as_str(), coder.pid), ("failed", None));
    assert!(coder.reason.unwrap().contains("port-binding"));
    assert!(coder.file.unwrap().contains("profiles/coder/config.yaml"));
    let response = gateway.api("GET", "/p/coder/health", &[], b"");
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["state"], "failed");
    assert!(response.header("retry-after").is_some());
    assert!(gateway.profile("ops").ready && gateway.profile("default").ready);
}

#[test]
fn c23_malformed_yaml_fails_that_profile_with_line_and_column() {
    let home = Home::new();
    home.profile("ops").profile_with("coder", "agent:\n  engine: echo\n bad: [\n", "");
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "failed");
    let problem = coder.problems.iter().find(|p| p.line.is_some()).unwrap_or_else(|| panic!("{coder:?}"));
    assert!(problem.file.ends_with("profiles/coder/config.yaml") && problem.column.is_some());
    assert!(gateway.profile("ops").ready);
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 503);
    // Repairing the file is enough.
    home.write("coder", "config.yaml", "agent: {engine: echo}\n");
    gateway.wait_ready("coder");
}

#[test]
fn c23_malformed_yaml_of_default_refuses_the_start() {
    let home = Home::with_config("agent: {engine: echo\n");
    let text = refused(&home);
    assert!(text.contains("config.yaml:"), "{text}");
}

#[test]
fn c24_fatal_validation_binds_no_listener() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::with_config(
        &Home::config("true", "").replace("port: 0\n      rate", &format!("port: {port}\n      rate")),
    );
    home.profile_with("coder", "platforms: {sms: {enabled: true}}\n", "");
    let mut gateway = Gateway::spawn(&home, &[], &[]);
    let mut answered = false;
    let code = loop {
        answered |= http::request(&format!("127.0.0.1:{port}"), "GET", "/health", &[], b"").is_ok();
        if !process::is_alive(gateway.pid()) {
            break gateway.wait();
        }
    };
    assert_eq!(code, Some(78));
    assert!(!answered, "a request was answered");
    gateway.assert_nothing_left();
}

#[test]
fn c25_restart_with_a_fatal_configuration_leaves_the_gateway_untouched() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let before = (gateway.worker("default"), gateway.worker("coder"));
    // Written in one go with the check: the watcher swaps nothing in on a bad file either.
    home.write("coder", "config.yaml", "platforms: {webhook: {enabled: true}}\n");
    let output = run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(78), "{}", both(&output));
    assert!(both(&output).contains("port-binding platform 'webhook'"));
    assert_eq!((gateway.worker("default"), gateway.worker("coder")), before);
    let check = run(&home, &["gateway", "check"]);
    assert_eq!(check.status.code(), Some(78), "{}", both(&check));
}

#[test]
fn check_of_a_good_home_says_so() {
    let home = Home::new();
    home.profile("coder");
    let output = run(&home, &["gateway", "check"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let output = run(&home, &["gateway", "check", "--json"]);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{}", both(&output));
}

#[test]
fn c26_a_worker_that_hangs_delays_no_other() {
    let home = Home::new();
    home.profile("ops").profile("coder");
    // A FIFO that nobody writes to: opening or reading it blocks for ever.
    fs_err::remove_file(home.of("coder").join(".env")).unwrap();
    nix::unistd::mkfifo(home.of("coder").join(".env").as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let gateway = Gateway::spawn(&home, &[], &[]);
    gateway.wait_ready("ops");
    gateway.wait_ready("default");
    assert!(!gateway.profile("coder").ready);
}

#[test]
fn c27_c28_one_lock_one_record_and_a_second_start_is_refused() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    assert!(home.root().join("gateway.pid").exists() && home.root().join("gateway.lock").exists());
    assert!(
        !home.of("coder").join("gateway.pid").exists() && !home.of("coder").join("gateway.lock").exists()
    );
    let second = run(&home, &["gateway", "run"]);
    let text = both(&second);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("Another gateway instance is already running (PID {})", gateway.pid())),
        "{text}"
    );
    gateway.signal(nix::sys::signal::Signal::SIGKILL);
    gateway.wait();
    gateway.assert_nothing_left();
    assert!(home.root().join("gateway.pid").exists(), "a kill leaves the record");
    let again = Gateway::start(&home);
    assert!(again.profile("coder").ready);
}

#[test]
fn replace_takes_over_in_order() {
    let home = Home::new();
    home.profile("coder");
    let mut old = Gateway::start(&home);
    let mut new = Gateway::spawn(&home, &[], &[]);
    assert_eq!(new.wait(), Some(1));
    let mut command = hermes_tests::gateway::hermes(&home, &["gateway", "run", "--replace"]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(old.wait(), Some(0));
    wait::until_true("the new gateway", || {
        hermes_tests::gateway::status(&home).gateway.pid == Some(child.id())
    });
    process::signal(child.id(), nix::sys::signal::Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_port_in_use_names_address_platform_and_file() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = Home::with_config(&Home::config("true", "").replace("port: 0}", &format!("port: {port}}}")));
    let text = refused(&home);
    assert!(
        text.contains(&port.to_string()) && text.contains("api_server") && text.contains("in use"),
        "{text}"
    );
}

#[test]
fn foreign_files_where_ours_should_be_are_refused_not_overwritten() {
    let home = Home::new();
    fs_err::create_dir(home.root().join("gateway.lock")).unwrap();
    let output = run(&home, &["gateway", "run"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(both(&output).contains("gateway.lock"), "{}", both(&output));

    let home = Home::new();
    home.profile("coder").write("coder", "state.db", "this is a letter to my mother, not a database");
    let gateway = Gateway::start(&home);
    let coder = gateway.status().profiles.into_iter().find(|p| p.name == "coder").unwrap();
    assert!(!coder.ready, "{coder:?}");
    assert!(coder.reason.is_some_and(|r| r.contains("state.db")), "no reason names the file");
    assert_eq!(home.read("coder", "state.db").unwrap(), "this is a letter to my mother, not a database");
    assert!(gateway.profile("default").ready);
}
