//! Mattermost, against a server that speaks the real wire: what comes in is answered in its place, whatever goes wrong in between, and nothing is
//! lost or doubled, whoever dies or takes over.

mod faults;
mod published;

use std::time::Duration;

use hermes_tests::chats::{self, STREAMING, echo, log};
use hermes_tests::gateway::run;
use hermes_tests::mattermost::{ANN, BACK, DM, Mattermost, NAME, TOKEN, TOWN};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// Swaps in one test.
const SWAPS: usize = 5;
/// Longer than any answer of a bot takes that is not to come.
const NEVER: Duration = Duration::from_millis(700);

/// A home whose default profile has the bot; `section` is its section in `config.yaml`.
fn house(server: &Mattermost, section: &str) -> Home {
    house_with(&server.env(), section)
}

fn house_with(env: &str, section: &str) -> Home {
    let config = Home::config("true", "");
    let section = format!("platforms:\n  mattermost: {{{section}}}\n");
    let home = Home::with_config(&config.replacen("platforms:\n", &section, 1));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{env}", home::DEFAULT_KEY));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "mattermost")
}

fn wait_connection(gateway: &Gateway<'_>, state: &str, code: &str) {
    wait::until_true(&format!("{state} ({code})"), || {
        connection(gateway) == (state.to_owned(), code.to_owned())
    });
}

/// Waits until every answer has left, and counts the questions.
fn questions(home: &Home) -> i64 {
    let open = "SELECT state FROM hermes_delivery WHERE finished_at IS NULL";
    wait::until_true("the ledger to be done", || chats::column::<String>(home, open).is_empty());
    chats::column(home, "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1")[0]
}

/// Of each question there is an answer, and no more than one without a mark.
fn answered_once(server: &Mattermost, channel: &str, wanted: &[String]) {
    let of = |text: &String| {
        let seen = server.seen_in(channel).into_iter();
        seen.filter(|seen| seen.ends_with(&echo(text))).collect::<Vec<_>>()
    };
    wait::until_true("every answer", || wanted.iter().all(|text| !of(text).is_empty()));
    for text in wanted {
        let plain = of(text).iter().filter(|seen| !seen.starts_with('♻')).count();
        assert!(plain <= 1, "{text}: {:?}", of(text));
    }
}

#[test]
fn a_message_is_answered_where_it_was_written() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    let hello = server.say(DM, ANN, "hello");
    server.say(TOWN, ANN, &format!("@{NAME} in a channel"));
    server.say(TOWN, ANN, "to each other");
    server.say(BACK, ANN, &format!("hey @{NAME}, are you there?"));
    let root = server.say(TOWN, ANN, "a thread");
    server.say_in(TOWN, &root, ANN, &format!("@{NAME} in a thread"));
    // The bot's own posts come back, and so does what nobody wrote.
    server.say_with(DM, ANN, "ann joined", &json!({"type": "system_join_channel"}));
    server.say_with(DM, ANN, "gone", &json!({"delete_at": 5}));
    assert_eq!(server.wait_seen(DM, &echo("hello")).root, "");
    assert_eq!(server.wait_seen(TOWN, &echo("in a channel")).root, "");
    server.wait_seen(BACK, &echo("hey, are you there?"));
    assert_eq!(server.wait_seen(TOWN, &echo("in a thread")).root, root);
    server.repeat(&hello);
    wait::pass(NEVER);
    assert_eq!(server.seen().len(), 4, "{:?}", server.seen());
    let keys = [
        format!("agent:main:mattermost:channel:{TOWN}:{ANN}"),
        format!("agent:main:mattermost:channel:{TOWN}:{root}"),
        format!("agent:main:mattermost:dm:{DM}"),
        format!("agent:main:mattermost:group:{BACK}:{ANN}"),
    ];
    assert_eq!(chats::sessions(&home, "mattermost"), keys);
    wait::until_true("the sign", || server.reactions(&hello) == ["white_check_mark"]);
    assert!(server.typed().iter().all(|channel| [DM, TOWN, BACK].contains(&channel.as_str())));
    wait_connection(&gateway, "connected", "");
    gateway.wait_state("default", "ready");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(TOKEN) && !everything.contains("SECRETBOT"));
}

#[test]
fn a_thread_of_its_own_is_a_conversation_of_its_own() {
    let server = Mattermost::start();
    let home =
        house(&server, &format!("reply_mode: thread, free_response_channels: [{TOWN}], reactions: false"));
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    let root = server.say(TOWN, ANN, "without a mention");
    assert_eq!(server.wait_seen(TOWN, &echo("without a mention")).root, root);
    server.say_in(TOWN, &root, ANN, "and more");
    assert_eq!(server.wait_seen(TOWN, &echo("and more")).root, root);
    server.say(BACK, ANN, "not there");
    server.say(DM, ANN, "in private");
    assert_eq!(server.wait_seen(DM, &echo("in private")).root, "");
    let keys =
        [format!("agent:main:mattermost:channel:{TOWN}:{root}"), format!("agent:main:mattermost:dm:{DM}")];
    assert_eq!(chats::sessions(&home, "mattermost"), keys);
    assert!(server.seen_in(BACK).is_empty());
}

#[test]
fn a_stranger_is_logged_and_refused_and_a_program_too() {
    const EVE: &str = "eveuser0000000000000000000";
    let server = Mattermost::start();
    let home = house_with(&format!("{}MATTERMOST_ALLOWED_USERS={ANN}\n", server.env_for_some()), "");
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, EVE, "let me in");
    server.say(TOWN, EVE, &format!("@{NAME} let me in"));
    // A webhook has the name of whoever made it.
    server.say_with(DM, ANN, "as ann", &json!({"props": {"from_webhook": "true"}}));
    server.say(DM, ANN, "hello");
    server.wait_seen(DM, &echo("hello"));
    wait::pass(NEVER);
    assert_eq!(server.seen().len(), 1, "{:?}", server.seen());
    let log = log(&home);
    assert!(log.contains(&format!("Unauthorized user: {EVE}")), "{log}");
}

#[test]
fn files_come_in_and_go_out_and_nobody_wakes_a_channel() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    fs_err::write(cache.join("a.pdf"), &bytes).unwrap();
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    server.attach(DM, ANN, "read this", "note.txt", b"in the note");
    let answer = wait::until("an answer", || server.seen().pop());
    assert!(answer.text.contains("read this") && answer.text.contains("in the note"), "{}", answer.text);
    server.say(DM, ANN, &format!("a file MEDIA:{cache}/a.pdf"));
    let seen = wait::until("the file", || server.seen().into_iter().find(|seen| !seen.files.is_empty()));
    assert!(seen.files[0].0 == "a.pdf" && seen.files[0].1 == bytes);
    server.wait_seen(DM, &echo("a file"));
    server.say(DM, ANN, "@channel **wake** @all");
    server.wait_seen(DM, &echo("@\u{200b}channel **wake** @\u{200b}all"));
    server.say(DM, ANN, &"word ".repeat(1500));
    wait::until_true("all parts", || {
        let text = server.seen_in(DM).into_iter().skip(4).collect::<String>();
        text.matches("word").count() == 1500
    });
    assert!(server.seen_in(DM).iter().all(|text| text.chars().count() <= 4000));
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_is_one_post() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let config = home.read("default", "config.yaml").unwrap() + STREAMING;
    home.write("default", "config.yaml", &chats::slow(&config, 150));
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    let text =
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";
    server.say(DM, ANN, text);
    let seen = server.wait_seen(DM, &echo(text));
    assert!(seen.edits > 1, "{seen:?}");
    assert_eq!(server.seen().len(), 1);
}

/// Commands are given with another sign: clients keep what begins with a slash to themselves.
#[test]
fn commands_are_given_with_another_sign() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "!whoami");
    let said = wait::until("an answer", || server.seen().pop());
    assert!(said.text.contains(ANN), "{}", said.text);
}

#[test]
fn what_is_missed_is_asked_for_and_the_first_start_skips_what_was_said_before() {
    let server = Mattermost::start();
    server.say(DM, ANN, "long ago");
    let home = house(&server, "");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "first");
    server.wait_seen(DM, &echo("first"));
    // Lost, and things are said meanwhile; the server gives few at once.
    server.give_at_most(1000);
    server.close(true);
    wait::until_true("the loss to be seen", || connection(&gateway).1 == "mattermost_network_error");
    let mut wanted: Vec<String> = (0..5).map(|n| format!("missed {n}")).collect();
    for text in &wanted {
        server.say(DM, ANN, text);
    }
    server.say(TOWN, ANN, "nobody asked");
    server.close(false);
    answered_once(&server, DM, &wanted);
    // Whoever comes after a death goes on from there.
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    server.say(DM, ANN, "after a death");
    wanted.push("after a death".to_owned());
    answered_once(&server, DM, &wanted);
    // And after a stop of everything.
    drop(gateway);
    server.say(DM, ANN, "while nobody was there");
    server.say(BACK, ANN, &format!("@{NAME} here too"));
    let _gateway = Gateway::start(&home);
    server.wait_seen(BACK, &echo("here too"));
    wanted.push("while nobody was there".to_owned());
    answered_once(&server, DM, &wanted);
    assert_eq!(questions(&home), 9);
    assert!(server.seen_in(TOWN).is_empty());
}

/// A server that gives no more than a page at once is asked page by page.
#[test]
fn more_than_a_server_gives_at_once_is_missed_as_well() {
    let server = Mattermost::start();
    let home = house(&server, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "first");
    server.wait_seen(DM, &echo("first"));
    drop(gateway);
    for n in 0..1005 {
        server.say(TOWN, ANN, &format!("among people {n}"));
    }
    server.say(TOWN, ANN, &format!("@{NAME} at last"));
    let more: Vec<String> = (0..3).map(|n| format!("missed {n}")).collect();
    for text in &more {
        server.say(DM, ANN, text);
    }
    let _gateway = Gateway::start(&home);
    server.wait_seen(TOWN, &echo("at last"));
    answered_once(&server, DM, &more);
    assert_eq!(questions(&home), 5);
}

#[test]
fn events_that_are_left_out_are_asked_for() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let _gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "first");
    server.wait_seen(DM, &echo("first"));
    let before = server.requests().1;
    server.skip(1);
    server.say(DM, ANN, "left out");
    server.say(TOWN, ANN, "the next one");
    server.wait_seen(DM, &echo("left out"));
    assert_eq!(server.requests().1, before, "through the same socket");
    assert_eq!(questions(&home), 2);
}

/// Every post once and every answer once, wherever a death falls.
#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let server = Mattermost::start();
    let home = house(&server, "reactions: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    let mut wanted = Vec::new();
    for n in 0..18 {
        let text = format!("message {n}.");
        server.say(DM, ANN, &text);
        wanted.push(text);
        if n % 6 == 5 {
            wait::until_true("something to happen", || server.seen().len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    answered_once(&server, DM, &wanted);
    assert_eq!(questions(&home), 18);
}

#[test]
fn swaps_lose_and_double_nothing() {
    let server = Mattermost::start();
    let home = house(&server, "reactions: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    let mut wanted = Vec::new();
    for n in 0..SWAPS {
        let old = gateway.worker("default");
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| run(&home, &["gateway", "restart", "-p", "default"]));
            for part in 0..6 {
                let text = format!("swap {n} {part}.");
                server.say(DM, ANN, &text);
                wanted.push(text);
                assert!(server.listeners() <= 1, "never two");
                wait::pass(NEVER / 20);
            }
            assert!(swapped.join().unwrap().status.success());
        });
        assert_ne!(gateway.worker("default"), old);
    }
    answered_once(&server, DM, &wanted);
    assert_eq!(questions(&home), i64::try_from(wanted.len()).unwrap());
}
