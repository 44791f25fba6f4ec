//! One bot, two profiles: `profile_routes` with a real platform, real workers, and each of them killed.

use hermes_tests::chat::{Chat, TOKEN};
use hermes_tests::gateway::run;
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
