//! One bot, two profiles: `profile_routes` with a real platform, real workers, and each of them killed.

use hermes_tests::chat::{Chat, TOKEN};
use hermes_tests::chats::{self, STREAMING};
use hermes_tests::gateway::run;
use hermes_tests::telegram::Telegram;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

/// `default` with the bot and a rule for the chat `work`, and `coder` that it leads to.
fn home(chat: &Chat) -> Home {
    let rules = "  profile_routes:\n  - {name: work, platform: testchat, profile: coder, chat_id: work}\n";
    let home = Home::with_config(&format!("{}  {}\n", Home::config("true", rules), chat.section("")));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home.profile("coder");
    home.lets_everybody_in("coder");
    home
}

fn echo(text: &str) -> String {
    format!("echo (not a model): {text}")
}

fn count(home: &Home, profile: &str, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn answers(home: &Home, profile: &str) -> i64 {
    count(home, profile, "SELECT count(*) FROM messages WHERE role = 'assistant' AND active = 1")
}

/// Each chat is answered by the profile that the rules name, through the one bot; the bot's token stays with its owner.
#[test]
fn d_one_bot_speaks_for_two_profiles() {
    let chat = Chat::start();
    let home = home(&chat);
    let gateway = Gateway::start(&home);
    chat.say("private", "u", "hi");
    chat.say_in_group("work", "u", "hello");
    chat.wait_seen("private", &echo("hi"));
    chat.wait_seen("work", &echo("hello"));
    assert_eq!((answers(&home, "default"), answers(&home, "coder")), (1, 1));
    let sessions = "SELECT count(*) FROM sessions WHERE session_key = 'agent:coder:testchat:group:work:u'";
    assert_eq!(count(&home, "coder", sessions), 1);
    wait::until_true("both to be confirmed", || chat.confirmed() == 3);
    assert_eq!(chat.seen().len(), 2);
    if hermes_tests::tools::may_look_into_others() {
        assert_eq!(process::find_in_memory(gateway.worker("coder"), &[TOKEN]), [""; 0]);
        assert_eq!(process::find_in_memory(gateway.pid(), &[TOKEN]), [""; 0]);
    }
}

/// What comes with a message goes to the profile that answers, and nowhere else.
#[test]
fn d_a_file_goes_to_the_profile_that_answers() {
    let chat = Chat::start();
    let home = home(&chat);
    let _gateway = Gateway::start(&home);
    let bytes: Vec<u8> = (0..8_u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    chat.attach("work", "u", "read this", "report.bin", &bytes);
    wait::until_true("the answer", || chat.seen_in("work").len() == 1);
    let files = fs_err::read_dir(home.of("coder").join("cache/documents")).unwrap();
    let [file] = files.map(|entry| entry.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    assert!(fs_err::read(&file).unwrap() == bytes);
    assert!(chat.seen_in("work")[0].contains(file.to_str().unwrap()), "{:?}", chat.seen_in("work"));
    assert!(!home.root().join("cache").exists(), "its owner keeps nothing of it");
}

/// While the profile does not serve, its event is not confirmed, and nobody answers in its place; then it is answered once.
#[test]
fn d_an_event_waits_for_its_profile_and_for_nobody_else() {
    let chat = Chat::start();
    let home = home(&chat);
    let gateway = Gateway::start(&home);
    assert!(run(&home, &["gateway", "stop", "-p", "coder"]).status.success());
    let id = chat.say("work", "u", "anybody?");
    let log = || home.read("default", "logs/gateway.log").unwrap_or_default();
    wait::until_true("it to be refused", || log().contains("an event waits with its platform"));
    assert!(log().contains("profile route work to `coder`: refused (worker_not_ready)"), "{}", log());
    assert!(chat.confirmed() <= id);
    assert!(run(&home, &["gateway", "start", "-p", "coder"]).status.success());
    gateway.wait_ready("coder");
    chat.wait_seen("work", &echo("anybody?"));
    wait::until_true("it to be confirmed", || chat.confirmed() > id);
    assert_eq!((chat.seen_in("work").len(), answers(&home, "default")), (1, 0));
}

/// Whoever dies, whenever: every message is answered, once, in order, and never are there two pollers.
#[test]
fn d_kills_of_each_side_lose_nothing_and_double_nothing() {
    let chat = Chat::start();
    let home = home(&chat);
    let mut gateway = Gateway::start(&home);
    let mut said = Vec::new();
    let mut say = |n: usize| {
        for part in 0..5 {
            let text = format!("{n}.{part}");
            chat.say("work", "u", &text);
            said.push(echo(&text));
        }
    };
    for (n, victim) in ["coder", "default", "coder", "default"].into_iter().enumerate() {
        say(n);
        // Somewhere in the middle of it.
        wait::until_true("some of it", || chat.seen_in("work").len() > n * 5);
        gateway.kill_worker(victim);
    }
    say(4);
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    drop(gateway);
    let _gateway = Gateway::start(&home);
    wait::until_true("every answer", || chat.seen_in("work").len() >= said.len());
    assert_eq!(chat.seen_in("work"), said);
    assert_eq!((answers(&home, "coder"), answers(&home, "default")), (25, 0));
    assert_eq!(chat.overlaps(), [""; 0]);
}

/// The owner dies while the answer is under way: whether it got there is not known, and it is sent again under the same key.
#[test]
fn d_an_answer_that_is_cut_off_is_repeated_under_its_key() {
    let chat = Chat::start();
    let home = home(&chat);
    let gateway = Gateway::start(&home);
    chat.stick("work");
    chat.say("work", "u", "hello");
    wait::until_true("the answer to be under way", || !chat.tries().is_empty());
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    let marked = "SELECT count(*) FROM hermes_delivery WHERE ambiguous = 1";
    wait::until_true("it to be marked", || count(&home, "coder", marked) == 1);
    chat.unstick("work");
    chat.wait_seen("work", &echo("hello"));
    wait::until_true("it to be repeated", || chat.tries().len() >= 2);
    let keys: std::collections::BTreeSet<_> = chat.tries().into_iter().map(|tried| tried.key).collect();
    assert_eq!((keys.len(), chat.seen_in("work").len(), answers(&home, "coder")), (1, 1, 1));
}

/// Somebody, and the group that is `coder`'s.
const ANN: i64 = 777;
const GROUP: i64 = -100_500;

/// `default` with a Telegram bot and a rule for [`GROUP`], and `coder`, which takes its time for every word and shows it.
fn group(telegram: &Telegram, delay: u32) -> Home {
    let rules = format!("  profile_routes:\n  - {{platform: telegram, profile: coder, chat_id: {GROUP}}}\n");
    let config = Home::config("true", &rules).replacen(
        "platforms:\n",
        "platforms:\n  telegram: {poll_seconds: 2, require_mention: false}\n",
        1,
    );
    let home = Home::with_config(&config);
    let env = format!("API_SERVER_KEY={}\n{}TELEGRAM_REACTIONS=true\n", home::DEFAULT_KEY, telegram.env());
    home.write("default", ".env", &env);
    home.profile("coder");
    home.lets_everybody_in("coder");
    home.write("coder", "config.yaml", &(chats::slow("agent: {engine: echo}\n", delay) + STREAMING));
    home
}

fn start(home: &Home) -> Gateway<'_> {
    let gateway = Gateway::start(home);
    wait::until_true("the bot to be connected", || {
        chats::connection(&gateway, "default", "telegram").0 == "connected"
    });
    gateway
}

/// Waits until `coder` has so many deliveries, and all of them are over.
fn wait_delivered(home: &Home, rows: i64) {
    let sql = "SELECT count(*) FROM hermes_delivery";
    wait::until_true("the ledger to be done", || {
        count(home, "coder", sql) == rows
            && count(home, "coder", &format!("{sql} WHERE state IN ('done', 'failed')")) == rows
    });
}

/// A file of the profile that answers goes out through the bot of another, byte for byte, and nothing of it stays there; what that
/// profile may not send goes nowhere, and what somebody sends gets to it.
#[test]
fn d21_files_cross_the_road_both_ways() {
    let telegram = Telegram::start();
    let home = group(&telegram, 0);
    let _gateway = start(&home);
    let bytes: Vec<u8> = (0..3_u32 << 20).map(|n| n.to_le_bytes()[1]).collect();
    telegram.attach(GROUP, "document", "plan.bin", &bytes, &serde_json::json!({"caption": "read this"}));
    wait::until_true("the answer", || !telegram.seen_in(GROUP).is_empty());
    let files = fs_err::read_dir(home.of("coder").join("cache/documents")).unwrap();
    let [came] = files.map(|entry| entry.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    assert!(fs_err::read(&came).unwrap() == bytes);

    let path = home.of("coder").join("cache/documents/report.pdf");
    fs_err::write(&path, &bytes).unwrap();
    let secret = home.of("default").join(".env");
    telegram.say_with(GROUP, ANN, &format!("here MEDIA:{path} MEDIA:{secret}"), &serde_json::json!({}));
    wait_delivered(&home, 3);
    let sent = telegram.files();
    assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(|file| &file.name).collect::<Vec<_>>());
    assert!(sent[0].name == "report.pdf" && sent[0].bytes == bytes);
    let said = telegram.seen_in(GROUP).pop().unwrap();
    assert!(said.contains("Not sent: .env"), "{said}");
    let left =
        |dir: &str| fs_err::read_dir(home.root().join("cache").join(dir)).into_iter().flatten().count();
    assert_eq!((left("documents"), left("images")), (0, 0), "the bot's owner keeps nothing of it");
    assert_eq!((answers(&home, "default"), answers(&home, "coder")), (0, 2));
}

/// An answer is one message that grows, whoever of the two dies meanwhile, with the signs that the bot's owner shows.
#[test]
fn d21_an_answer_is_shown_over_the_road_while_it_is_made() {
    let telegram = Telegram::start();
    let home = group(&telegram, 40);
    let gateway = start(&home);
    for (n, victim) in [None, Some("coder"), Some("default")].into_iter().enumerate() {
        let text = chats::words(40);
        let before = telegram.calls("editMessageText").len();
        telegram.say_with(GROUP, ANN, &text, &serde_json::json!({}));
        wait::until_true("it to be shown", || telegram.calls("editMessageText").len() >= before + 2);
        if let Some(victim) = victim {
            process::signal(gateway.worker(victim), Signal::SIGKILL);
        }
        let all = vec![echo(&text); n + 1];
        wait::until_true("the whole answer in its one message", || telegram.seen_in(GROUP) == all);
        wait_delivered(&home, i64::try_from(n).unwrap() + 1);
    }
    let signs: Vec<String> = telegram.signs().into_iter().map(|(_, _, sign)| sign).collect();
    assert!(signs.starts_with(&["👀".to_owned(), "👍".to_owned()]), "{signs:?}");
    assert!(!telegram.calls("sendChatAction").is_empty(), "somebody types");
    assert_eq!((answers(&home, "coder"), answers(&home, "default")), (3, 0));
}
