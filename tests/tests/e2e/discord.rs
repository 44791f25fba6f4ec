//! Discord, against a service that speaks the real wire: what comes in is answered in its place, whatever goes wrong in between, and nothing
//! is lost or doubled, whoever dies or takes over.

mod checked;
mod named;
mod outward;
mod published;
mod talk;

use std::time::Duration;

use hermes_tests::chats::{self, echo, ledger, log};
use hermes_tests::discord::{
    ANN, BOB, BOT, Discord, GENERAL, MESSAGE_CONTENT, RANDOM, ROBOT, Refusal, TOKEN,
};
use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// Swaps in one test; `HERMES_TEST_SWAPS` asks for another number.
const SWAPS: usize = 10;

/// A home whose default profile has the bot; `section` is its section in `config.yaml`. Nothing waits for its other parts.
fn house(discord: &Discord, section: &str) -> Home {
    let config = Home::config("true", "");
    let section = format!("platforms:\n  discord: {{text_batch_delay_seconds: 0, {section}}}\n");
    let home = Home::with_config(&config.replacen("platforms:\n", &section, 1));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, discord.env()));
    home
}

/// A message that is for the bot.
fn to_bot(text: &str) -> String {
    format!("<@{BOT}> {text}")
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "discord")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the bot to be connected", || connection(gateway).0 == "connected");
}

fn wait_fatal(gateway: &Gateway<'_>, code: &str) {
    wait::until_true(&format!("the end with {code}"), || {
        connection(gateway) == ("fatal".into(), code.into())
    });
}

fn sessions(home: &Home) -> Vec<String> {
    chats::sessions(home, "discord")
}

#[test]
fn a_message_is_answered_in_its_chat_and_a_channel_s_in_a_thread() {
    let discord = Discord::start();
    let home = house(&discord, "no_thread_channels: ['1002']");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let private = discord.private(ANN);
    let first = discord.tell(ANN, "hello");
    let asked = discord.say(GENERAL, ANN, &to_bot("in a channel @everyone"));
    let replied = discord.say(RANDOM, BOB, &to_bot("no thread here"));
    discord.wait_seen(private, &echo("hello"));
    discord.wait_seen(RANDOM, &echo("no thread here"));
    // A thread has the id of the message that it was begun from.
    discord.wait_seen(asked, &echo("in a channel @everyone"));
    discord.say(asked, BOB, "and without a mention");
    discord.wait_seen(asked, &echo("and without a mention"));
    let seen = discord.seen();
    let reply_of = |text: &str| seen.iter().find(|seen| seen.text == echo(text)).unwrap().reply_to;
    assert_eq!(
        (reply_of("hello"), reply_of("no thread here"), reply_of("in a channel @everyone")),
        (Some(first), Some(replied), None)
    );
    assert!(seen.len() == 4 && seen.iter().all(|seen| !seen.calls_everyone), "{seen:?}");
    let keys = [
        format!("agent:main:discord:dm:{private}"),
        format!("agent:main:discord:group:{RANDOM}:{BOB}"),
        format!("agent:main:discord:thread:{asked}:{asked}"),
    ];
    assert_eq!(sessions(&home), keys);
    assert_eq!((connection(&gateway), discord.overlaps()), (("connected".into(), String::new()), 0));
    gateway.wait_state("default", "ready");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(TOKEN) && !everything.contains(&TOKEN[10..]), "{everything}");
}

/// An event that nobody can use holds up no other, and one that is for nobody is not answered.
#[test]
fn what_is_for_nobody_is_passed_over() {
    let discord = Discord::start();
    let home = house(&discord, "ignored_channels: ['1002']");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say_raw(&json!({"op": 0, "t": "MESSAGE_CREATE", "s": 9, "d": {"id": "none"}}));
    discord.say_raw(&json!("nothing"));
    discord.say(GENERAL, ANN, "to each other");
    discord.say(GENERAL, ANN, &format!("<@{BOB}> to another"));
    discord.say_with(GENERAL, ANN, &to_bot("joined"), &json!({"type": 7}));
    discord.say(GENERAL, ROBOT, &to_bot("of a bot"));
    discord.say(RANDOM, ANN, &to_bot("where nobody listens"));
    discord.tell(ANN, "last");
    let private = discord.private(ANN);
    discord.wait_seen(private, &echo("last"));
    assert_eq!(discord.seen().len(), 1, "{:?}", discord.seen());
    assert!(log(&home).contains("a message is skipped"), "{}", log(&home));
}

#[test]
fn a_refused_token_is_fatal_and_asked_about_once() {
    let discord = Discord::start();
    discord.set_token("another");
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_fatal(&gateway, "discord_invalid_auth");
    wait::pass(Duration::from_secs(3));
    assert_eq!(discord.all_calls().len(), 1);
    gateway.wait_state("default", "degraded");
    assert!(!log(&home).contains(TOKEN), "{}", log(&home));
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
}

/// A token that is taken back while it is used: nothing more is asked for with it, by nobody.
#[test]
fn after_a_revocation_nothing_is_asked_for() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.tell(ANN, "hello");
    let private = discord.private(ANN);
    discord.wait_seen(private, &echo("hello"));
    discord.revoke();
    wait_fatal(&gateway, "discord_invalid_auth");
    wait::pass(Duration::from_millis(500));
    let calls = discord.all_calls().len();
    wait::pass(Duration::from_secs(4));
    assert_eq!(discord.all_calls().len(), calls);
    // A new token is another start.
    discord.set_token(TOKEN);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    // REST alone says it.
    discord.set_token("another");
    discord.tell(ANN, "again");
    wait_fatal(&gateway, "discord_invalid_auth");
    wait::pass(Duration::from_millis(500));
    let calls = discord.all_calls().len();
    wait::pass(Duration::from_secs(4));
    assert_eq!(discord.all_calls().len(), calls);
}

#[test]
fn what_will_not_change_is_fatal_and_says_where_to_change_it() {
    let discord = Discord::start();
    discord.disallow(MESSAGE_CONTENT);
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_fatal(&gateway, "discord_disallowed_intents");
    let message = gateway.profile("default").platforms["discord"].error_message.clone().unwrap();
    assert!(message.contains("MESSAGE_CONTENT") && message.contains("discord.com/developers"), "{message}");
    discord.disallow(0);
    for code in [4010, 4011, 4012] {
        assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        wait_connected(&gateway);
        discord.close_all(code);
        wait_fatal(&gateway, "discord_shard_config");
    }
}

/// However a connection is lost, the session goes on: what was said meanwhile is answered, once.
#[test]
fn a_lost_connection_is_resumed() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let private = discord.private(ANN);
    let ways: [(&str, &dyn Fn()); 5] = [
        ("cut", &|| discord.cut_all()),
        ("asked", &|| discord.ask_to_reconnect()),
        ("closed", &|| discord.close_all(4000)),
        ("ended", &|| discord.close_all(1000)),
        ("limited", &|| discord.close_all(1001)),
    ];
    for (n, (name, lose)) in ways.iter().enumerate() {
        lose();
        discord.tell(ANN, name);
        discord.wait_seen(private, &echo(name));
        wait::until_true("the session to go on", || discord.begun().1 > n as u64 && discord.is_connected());
        // One that has stood is made again at once.
        wait::until_true("it to stand", || connection(&gateway).0 == "connected");
    }
    assert_eq!((discord.begun().0, discord.seen().len(), discord.overlaps()), (1, 5, 0));
}

/// A session that cannot be resumed is followed by another one.
#[test]
fn a_session_that_is_over_is_followed_by_another() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let private = discord.private(ANN);
    discord.invalidate();
    wait::until_true("another session", || discord.begun().0 == 2);
    discord.tell(ANN, "one");
    discord.wait_seen(private, &echo("one"));
    discord.close_all(4009);
    wait::until_true("another session", || discord.begun().0 == 3);
    discord.tell(ANN, "two");
    discord.wait_seen(private, &echo("two"));
    assert_eq!(discord.seen().len(), 2);
}

/// A socket that is open and over which nothing comes is left for another one.
#[test]
fn a_silent_gateway_is_left() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.mute();
    discord.tell(ANN, "anybody there?");
    let began = wait::now();
    while discord.begun().1 == 0 {
        assert!(began.elapsed() < Duration::from_secs(45), "it is still there");
        wait::pass(Duration::from_millis(50));
    }
    let private = discord.private(ANN);
    discord.wait_seen(private, &echo("anybody there?"));
}

/// What is in the way of a start passes, and the bot comes up by itself.
#[test]
fn what_passes_is_waited_for() {
    let discord = Discord::start();
    discord.refuse("GET users/@me", [Refusal::page(502), Refusal::new(503, 0, "Service Unavailable")]);
    discord.refuse("GET gateway/bot", [Refusal::flood(0.2, false)]);
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the failure", || {
        connection(&gateway) == ("retrying".into(), "discord_network_error".into())
    });
    wait_connected(&gateway);
}

/// A stop and a start go on with the session: what was said meanwhile is answered.
#[test]
fn a_restart_goes_on_with_the_session() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let mut gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let private = discord.private(ANN);
    discord.tell(ANN, "before");
    discord.wait_seen(private, &echo("before"));
    gateway.stop();
    wait::until_true("it to be gone", || !discord.is_connected());
    assert_eq!(discord.closes(), [4000], "the usual closes end a session");
    discord.tell(ANN, "meanwhile");
    let _gateway = Gateway::start(&home);
    discord.wait_seen(private, &echo("meanwhile"));
    assert_eq!((discord.begun().0, discord.seen_in(private).len()), (1, 2));
}

/// Discord knows a message by its nonce for some minutes: shown once. After that it has a mark.
#[test]
fn an_answer_that_may_be_there_already_is_shown_once_or_marked() {
    for is_forgotten in [false, true] {
        let discord = Discord::start();
        discord.stick("POST messages", true);
        let home = house(&discord, "");
        let gateway = Gateway::start(&home);
        wait_connected(&gateway);
        discord.tell(ANN, "hello");
        let private = discord.private(ANN);
        discord.wait_seen(private, &echo("hello"));
        if is_forgotten {
            discord.forget_nonces();
        }
        process::signal(gateway.worker("default"), Signal::SIGKILL);
        discord.stick("POST messages", false);
        wait::until_true("the ledger to say so", || ledger(&home) == [("done".to_owned(), true)]);
        let seen = discord.seen_in(private);
        assert_eq!(seen.len(), 1 + usize::from(is_forgotten), "{seen:?}");
        let last = seen.last().unwrap();
        assert_eq!(last.starts_with("♻️ Recovered reply"), is_forgotten, "{seen:?}");
        assert!(last.ends_with(&echo("hello")), "{seen:?}");
    }
}

/// A channel that takes two messages at once gets two at once, and all of them in order.
#[test]
fn limits_are_kept() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.limit(2, 800);
    let private = discord.private(ANN);
    for n in 0..8 {
        discord.tell(ANN, &format!("message {n}"));
    }
    wait::until_true("every answer", || discord.seen_in(private).len() == 8);
    assert_eq!(discord.violations(), 0);
    let wanted: Vec<String> = (0..8).map(|n| echo(&format!("message {n}"))).collect();
    assert_eq!(discord.seen_in(private), wanted);
    // One that holds for everything.
    discord.limit(500, 1000);
    let before = discord.calls("POST messages").len();
    discord.refuse("POST messages", [Refusal::flood(1.5, true)]);
    discord.tell(ANN, "after the flood");
    discord.wait_seen(private, &echo("after the flood"));
    let calls = discord.calls("POST messages");
    assert!(calls[before + 1].at - calls[before].at >= Duration::from_millis(1400));
    let during = discord
        .all_calls()
        .into_iter()
        .filter(|call| call.at > calls[before].at && call.at < calls[before + 1].at);
    let during: Vec<_> =
        during.filter(|call| call.at - calls[before].at > Duration::from_millis(200)).collect();
    assert!(during.is_empty(), "{during:?}");
}

/// Who is out of a channel is not written to again and again, and holds up nobody.
#[test]
fn a_chat_that_is_gone_is_given_up() {
    let discord = Discord::start();
    let home = house(&discord, "auto_thread: false");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.refuse("POST messages", [Refusal::new(403, 50001, "Missing Access")]);
    discord.say(GENERAL, ANN, &to_bot("hello"));
    wait::until_true("the ledger to say so", || ledger(&home).iter().any(|row| row.0 == "failed"));
    discord.say(RANDOM, ANN, &to_bot("elsewhere"));
    discord.wait_seen(RANDOM, &echo("elsewhere"));
    assert_eq!(discord.seen_in(GENERAL), [""; 0]);
}

/// Every event once and every answer once, wherever a death falls.
#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let texts: Vec<String> = (0..24).map(|n| format!("message {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        discord.tell(if n % 2 == 0 { ANN } else { BOB }, text);
        if n % 8 == 7 {
            // Whatever the worker is at just now.
            wait::until_true("something to happen", || discord.seen().len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    let answers =
        |text: &String| discord.seen().iter().filter(|seen| seen.text.ends_with(&echo(text))).count();
    wait::until_true("every answer", || texts.iter().all(|text| answers(text) >= 1));
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    assert!(texts.iter().all(|text| answers(text) == 1), "{:?}", discord.seen());
    assert_eq!((ledger(&home).len(), discord.begun().0), (texts.len(), 1));
}

/// Swaps under load: the bot changes hands, the session goes on, and nothing is lost or doubled.
#[test]
#[expect(clippy::disallowed_methods, reason = "who releases asks for more of them")]
fn swaps_resume_one_session_and_lose_nothing() {
    let swaps = std::env::var("HERMES_TEST_SWAPS").ok().and_then(|n| n.parse().ok()).unwrap_or(SWAPS);
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let mut texts = Vec::new();
    for n in 0..swaps {
        for (part, user) in [ANN, BOB].into_iter().enumerate() {
            let text = format!("swap {n}.{part}");
            discord.tell(user, &text);
            texts.push((discord.private(user), text));
        }
        let old = gateway.worker("default");
        assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        assert_ne!(gateway.worker("default"), old);
    }
    wait::until_true("every answer", || discord.seen().len() >= texts.len());
    // What a worker had only just begun to send when it went has a mark, and is there once all the same.
    let words = |text: String| text.rsplit("\n\n").next().unwrap_or_default().to_owned();
    let mut seen: Vec<(u64, String)> =
        discord.seen().into_iter().map(|seen| (seen.channel, words(seen.text))).collect();
    let mut wanted: Vec<(u64, String)> = texts.iter().map(|(chat, text)| (*chat, echo(text))).collect();
    seen.sort();
    wanted.sort();
    assert_eq!((seen, discord.overlaps(), discord.begun().0), (wanted, 0, 1));
}

/// A token in two profiles is refused before anything is dialled.
#[test]
fn a_shared_token_is_refused_before_anything_is_asked() {
    let discord = Discord::start();
    let home = house(&discord, "");
    home.profile_with("coder", "agent: {engine: echo}\n", &discord.env());
    let refused = run(&home, &["gateway", "run"]);
    let text = both(&refused);
    assert_eq!(refused.status.code(), Some(78), "{text}");
    assert!(text.contains("'default' and 'coder' both configure discord"), "{text}");
    assert!(!text.contains(TOKEN) && discord.all_calls().is_empty() && discord.begun() == (0, 0));
}
