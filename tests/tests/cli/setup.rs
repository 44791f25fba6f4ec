//! `hermes setup`: the wizard on a real terminal, its form without questions, and that no file is ever half written.

use hermes_tests::Home;
use hermes_tests::command::{masked, run, run_with_input, transcript};
use hermes_tests::signal::Signal;
use hermes_tests::steps::killed_at_every_step;
use hermes_tests::telegram::{TOKEN, Telegram};
use hermes_tests::terminal::Terminal;
use hermes_tests::tools::have;

const ENTER: &str = "\r";
const CTRL_C: &str = "\u{3}";
/// Typed as a key; must be seen nowhere.
const KEY: &str = "sk-never-shown-0123456789";

/// The questions of the whole wizard for `default`, and an answer to each.
const TALK: [(&str, &str); 9] = [
    ("Who answers?", "custom"),
    ("Its address?", "https://models.example/v1"),
    ("The key (CUSTOM_API_KEY)?", KEY),
    ("The model, as the provider calls it?", "best-model"),
    ("Reach 'default' through an OpenAI-compatible API?", "y"),
    ("Its port?", ""),
    ("Let webhooks wake 'default'?", "n"),
    ("Serve every profile by this one gateway, under /p/<name>/?", "y"),
    ("Set up a chat platform for 'default'?", ""),
];
const LAST: &str = "Write it?";

/// Answers the first `count` questions.
fn talk(terminal: &mut Terminal, count: usize) {
    for (question, answer) in &TALK[..count] {
        terminal.wait_for(question, 1);
        terminal.keys(answer);
        if !answer.is_empty() {
            // Shown, or its stars: then it was taken in before Enter is.
            let echo = if *answer == KEY { "*".repeat(KEY.len()) } else { (*answer).to_owned() };
            terminal.wait_for(&echo, 1);
        }
        terminal.keys(ENTER);
    }
}

fn start(home: &Home, args: &str) -> Terminal {
    Terminal::run(home, &format!("hermes setup {args}; echo code=$?"))
}

#[test]
fn the_wizard_asks_shows_and_writes() {
    let home = Home::empty();
    let mut terminal = start(&home, "");
    talk(&mut terminal, TALK.len());
    terminal.wait_for(LAST, 1);
    assert!(!home.root().join("config.yaml").exists(), "nothing is written before the last answer");
    terminal.keys(ENTER);
    terminal.wait_for("code=0", 1);
    let screen = terminal.screen();
    assert!(!screen.contains(KEY), "{screen}");
    assert!(
        screen.contains("model.provider = custom") && screen.contains("CUSTOM_API_KEY (not shown)"),
        "{screen}"
    );
    assert_eq!(
        home.read("default", "config.yaml").unwrap(),
        "model:\n  provider: custom\n  default: best-model\n  base_url: https://models.example/v1\n  api_key: '${CUSTOM_API_KEY}'\n\
         platforms:\n  api_server:\n    enabled: true\n    extra:\n      port: 8642\ngateway:\n  multiplex_profiles: true\n"
    );
    let env = home.read("default", ".env").unwrap();
    assert!(env.contains(&format!("CUSTOM_API_KEY={KEY}\n")), "{env}");
    let api_key = env.lines().find_map(|line| line.strip_prefix("API_SERVER_KEY=")).unwrap();
    assert!(api_key.len() == 64 && !screen.contains(api_key), "{screen}");
    // What it wrote is what a start accepts, with nothing left to do.
    run(&home, &["gateway", "check"]).ok();
    run(&home, &["setup"]).ok();

    // A second time it knows everything; only what changes is written, and the old file is kept.
    let mut terminal = start(&home, "model");
    terminal.wait_for("Who answers?", 1);
    terminal.keys(ENTER);
    terminal.wait_for("Its address?", 1);
    terminal.keys(ENTER);
    terminal.wait_for("CUSTOM_API_KEY is set. Keep it?", 1);
    terminal.keys(ENTER);
    terminal.wait_for("The model", 1);
    terminal.keys("other-model");
    terminal.wait_for("other-model", 1);
    terminal.keys(ENTER);
    terminal.wait_for(LAST, 1);
    terminal.keys(ENTER);
    terminal.wait_for("code=0", 1);
    assert!(home.read("default", "config.yaml").unwrap().contains("  default: other-model\n"));
    assert_eq!(home.read("default", ".env").unwrap(), env);
    let kept: Vec<_> = home
        .root()
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter(|name| name.starts_with("config.yaml.bak."))
        .collect();
    assert!(kept.len() == 1 && home.read("default", &kept[0]).unwrap().contains("best-model"), "{kept:?}");
}

#[test]
fn leaving_at_any_question_changes_nothing() {
    let home = Home::empty();
    home.write("default", "config.yaml", "# mine\n");
    std::thread::scope(|scope| {
        for count in 0..=TALK.len() {
            let home = &home;
            scope.spawn(move || {
                let mut terminal = start(home, "");
                talk(&mut terminal, count);
                terminal.wait_for(TALK.get(count).map_or(LAST, |(question, _)| question), 1);
                terminal.keys(CTRL_C);
                terminal.wait_for("Nothing was changed.", 1);
                terminal.wait_for("code=130", 1);
            });
        }
    });
    assert_eq!(home.read("default", "config.yaml").unwrap(), "# mine\n");
    assert_eq!(home.root().read_dir_utf8().unwrap().count(), 1);
}

#[test]
fn answers_that_cannot_be_are_asked_for_again() {
    let home = Home::new();
    home.profile("coder");
    let before = home.read("coder", "config.yaml");
    let mut terminal = start(&home, "-p coder model");
    talk(&mut terminal, 1);
    terminal.wait_for("Its address?", 1);
    terminal.keys("nowhere\r");
    terminal.wait_for("an address begins with http:// or https:// and a host", 1);
    terminal.keys(CTRL_C);
    terminal.wait_for("code=130", 1);
    assert_eq!(home.read("coder", "config.yaml"), before);
}

#[test]
fn a_served_profile_gets_keys_and_no_listeners() {
    let home = Home::new();
    home.profile_with("coder", "# mine\nagent: {engine: echo} # for now\n", "");
    let mut terminal = start(&home, "-p coder gateway");
    terminal.wait_for("Reach 'coder' through an OpenAI-compatible API?", 1);
    terminal.keys(ENTER);
    terminal.wait_for("Let webhooks wake 'coder'?", 1);
    terminal.keys("y");
    terminal.keys(ENTER);
    terminal.wait_for("Set up a chat platform for 'coder'?", 1);
    terminal.keys(ENTER);
    terminal.wait_for(LAST, 1);
    terminal.keys(ENTER);
    terminal.wait_for("code=0", 1);
    let (yaml, env) = (home.read("coder", "config.yaml").unwrap(), home.read("coder", ".env").unwrap());
    assert!(yaml.starts_with("# mine\nagent: {engine: echo} # for now\n"), "{yaml}");
    assert!(yaml.contains("inbox:") && !yaml.contains("enabled") && !yaml.contains("port"), "{yaml}");
    assert!(env.contains("API_SERVER_KEY=") && env.contains("WEBHOOK_SECRET="), "{env}");
    run(&home, &["gateway", "check"]).ok();
}

/// Telegram from the first question to the bot's own answer: what to do is said, the token is seen nowhere, and the service says what is
/// missing.
#[test]
fn a_chat_platform_is_set_up_and_asked() {
    let telegram = Telegram::start();
    let home = Home::new();
    home.profile("coder");
    let base = format!("TELEGRAM_API_BASE_URL={}\n", telegram.address());
    home.write("coder", ".env", &base);
    let mut terminal = start(&home, "-p coder gateway");
    terminal.wait_for("Reach 'coder' through an OpenAI-compatible API?", 1);
    terminal.keys("n\r");
    terminal.wait_for("Let webhooks wake 'coder'?", 1);
    terminal.keys("n\r");
    terminal.wait_for("Set up a chat platform for 'coder'?", 1);
    terminal.keys("telegram");
    terminal.wait_for("telegram", 1);
    terminal.keys(ENTER);
    terminal.wait_for("@BotFather", 1);
    terminal.wait_for("The key (TELEGRAM_BOT_TOKEN)?", 1);
    terminal.keys(TOKEN);
    terminal.wait_for(&"*".repeat(TOKEN.len()), 1);
    terminal.keys(ENTER);
    terminal.wait_for("TELEGRAM_ALLOWED_USERS?", 1);
    terminal.keys("777");
    terminal.wait_for("777", 1);
    terminal.keys(ENTER);
    terminal.wait_for("Set up another chat platform for 'coder'?", 1);
    terminal.keys(ENTER);
    terminal.wait_for(LAST, 1);
    assert_eq!(home.read("coder", ".env").unwrap(), base, "nothing is written before the last answer");
    assert!(telegram.all_calls().is_empty(), "and nobody is asked");
    terminal.keys(ENTER);
    terminal.wait_for("Ask Telegram now whether it works?", 1);
    terminal.keys(ENTER);
    terminal.wait_for("code=0", 1);
    let screen = terminal.screen();
    assert!(screen.contains("✓ telegram: @hermes_test_bot answers, and is polled"), "{screen}");
    assert!(
        screen.contains("privacy mode is on") && screen.contains("fix: @BotFather, /setprivacy"),
        "{screen}"
    );
    assert!(!screen.contains(TOKEN) && !screen.contains(&TOKEN[10..]), "{screen}");
    let env = home.read("coder", ".env").unwrap();
    assert!(
        env.contains(&format!("TELEGRAM_BOT_TOKEN={TOKEN}\n"))
            && env.contains("TELEGRAM_ALLOWED_USERS=777\n"),
        "{env}"
    );
    assert_eq!(
        telegram.all_calls().iter().map(|call| call.method.as_str()).collect::<Vec<_>>(),
        ["getMe", "getWebhookInfo"]
    );

    // The same later, without questions.
    telegram.set_token("1:another");
    let ran = run(&home, &["-p", "coder", "setup", "--platform", "telegram", "--check"]);
    assert!(ran.code == Some(1) && ran.out.contains("the token is refused"), "{ran:?}");
    let ran = run(&home, &["doctor", "--online", "-p", "coder"]);
    assert!(
        ran.out.contains("telegram: the token is refused") && ran.out.contains("copy TELEGRAM_BOT_TOKEN"),
        "{ran:?}"
    );
    drop(telegram);
    let ran = run(&home, &["-p", "coder", "gateway", "setup", "--platform", "telegram", "--check", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &said["check"]["verdict"], &said["on"]),
        (Some(1), &"unreachable".into(), &true.into())
    );
    assert!(!(ran.out + &ran.err).contains(&TOKEN[10..]));
}

#[test]
fn a_daemon_of_signal_is_asked_for_its_accounts() {
    let signal = Signal::start();
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\n", &signal.env());
    let args = ["-p", "coder", "setup", "--platform", "signal", "--check"];
    assert!(run(&home, &args).ok().contains("✓ signal: the daemon answers, and has the account"));
    let env = signal.env().replace("SIGNAL_ACCOUNT=+", "SIGNAL_ACCOUNT=+9");
    home.write("coder", ".env", &env);
    let said = run(&home, &args);
    assert!(said.code == Some(1) && said.out.contains("is none of them"), "{said:?}");
    assert!(said.out.contains("fix: link or register it"), "{said:?}");
    drop(signal);
    let said = run(&home, &args);
    assert!(said.code == Some(1) && said.out.contains("not reached"), "{said:?}");
}

/// Nobody is asked anything: what to do is said all the same, whether this version connects the platform or not.
#[test]
fn a_guide_without_a_terminal() {
    let home = Home::new();
    let said =
        transcript(&home, &["setup --platform telegram --non-interactive", "setup --platform nothing"]);
    insta::assert_snapshot!(said);
    let ran = run(&home, &["gateway", "setup", "--platform", "slack"]);
    assert!(ran.code == Some(1) && ran.out.contains("connections:write"), "{ran:?}");
    assert!(
        ran.out.contains("\"socket_mode_enabled\": true")
            && ran.out.contains("hermes config set SLACK_APP_TOKEN -")
    );
    let ran = run(&home, &["setup", "--platform", "slack", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(said["paste"]["text"].as_str().unwrap()).unwrap();
    assert_eq!(manifest["settings"]["socket_mode_enabled"], true);
    assert_eq!((&said["check"], &said["on"]), (&serde_json::Value::Null, &false.into()));
}

#[test]
fn without_a_terminal() {
    let home = Home::empty();
    let said = transcript(
        &home,
        &[
            "setup",
            "setup --set model.default=m --set model.provider=openrouter",
            "setup --set openrouter_api_key=k --set timezone=UTC",
            "setup --set agent.max_turns=many --set timezone=Europe/Berlin",
            "setup --set platforms.api_server.enabled=true",
            "setup --set platforms.api_server.enabled=true --set api_server_key=0123456789abcdef0123",
            "setup --set agent.max_trns=5",
            "setup --set nothing",
            "setup --set =x",
            "setup nonsense",
            "setup",
        ],
    );
    insta::assert_snapshot!(said);
    let env = home.read("default", ".env").unwrap();
    assert_eq!(env, "OPENROUTER_API_KEY=k\nAPI_SERVER_KEY=0123456789abcdef0123\n");
    let piped = run_with_input(&home, &["setup", "--set", "openrouter_api_key=-"], &format!("{KEY}\n"));
    assert!(!masked(&home, &format!("{}{}", piped.out, piped.err)).contains(KEY));
    assert_eq!(piped.code, Some(0));
    assert_eq!(home.read("default", ".env").unwrap(), env.replacen("=k", &format!("={KEY}"), 1));
    let twice = ["setup", "--set", "a_token=-", "--set", "b_token=-"];
    assert!(run_with_input(&home, &twice, "x").fails(2).contains("only one value"));
}

#[test]
fn a_reset_keeps_the_old_file_even_one_that_cannot_be_read() {
    let home = Home::empty();
    home.write("default", "config.yaml", "model: [\n");
    home.write("default", ".env", "OPENROUTER_API_KEY=k\n");
    run(&home, &["setup", "--set", "timezone=UTC"]).fails(1);
    assert_eq!(home.read("default", "config.yaml").unwrap(), "model: [\n");
    let said = run(&home, &["setup", "--reset", "--set", "model.default=m"]).ok();
    assert!(said.contains("the old one: "), "{said}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "model:\n  default: m\n");
    let ran = run(&home, &["setup", "--reset"]);
    assert!(ran.out.contains("✓ Configuration reset to defaults.") && ran.code == Some(1), "{ran:?}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "");
}

#[test]
fn no_file_is_ever_half_written() {
    if !have("strace") {
        return;
    }
    let old = ("# mine\nmodel: {default: old, provider: openrouter}\n", "# keys\nOPENROUTER_API_KEY=old\n");
    let new = ("# mine\nmodel: {default: new, provider: openrouter}\n", "# keys\nOPENROUTER_API_KEY=new\n");
    let args = ["setup", "--set", "model.default=new", "--set", "openrouter_api_key=new"];
    let prepare = || {
        let home = Home::empty();
        home.write("default", "config.yaml", old.0).write("default", ".env", old.1);
        home
    };
    let killed = killed_at_every_step(&args, prepare, |home, when| {
        let (yaml, env) =
            (home.read("default", "config.yaml").unwrap(), home.read("default", ".env").unwrap());
        assert!(yaml == old.0 || yaml == new.0, "{when}: {yaml}");
        assert!(env == old.1 || env == new.1, "{when}: {env}");
        // A setting never names a key that is not there yet.
        assert!(!(yaml == new.0 && env == old.1), "{when}");
    });
    assert!(killed > 5, "{killed}");
}
