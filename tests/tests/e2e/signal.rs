//! Signal, through a daemon that speaks signal-cli's wire: who is answered, echoes, groups, files, lost streams, waits, swaps.

use base64::Engine as _;
use hermes_tests::chats::{self, echo};
use hermes_tests::gateway::run;
use hermes_tests::signal::{ACCOUNT, NEVER, Reaction, Signal};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

const ANN: &str = "+491111";

/// A home whose default profile has the account; `more` goes into its `.env`.
fn house(signal: &Signal, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    let env = format!("API_SERVER_KEY={}\n{}{more}", home::DEFAULT_KEY, signal.env());
    home.write("default", ".env", &env);
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "signal")
}

#[test]
fn who_is_listed_is_answered_in_his_chat_and_strangers_are_not() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let gateway = Gateway::start(&home);
    signal.wait_read();
    let at = signal.say("+492222", "let me in");
    signal.say(ANN, "hello");
    // The same once more: a daemon that was restarted may say things twice.
    let twice = json!({"timestamp": at + 1, "message": "hello"});
    signal
        .event(&json!({"sourceNumber": ANN, "sourceName": "Ann", "timestamp": at + 1, "dataMessage": twice}));
    signal.say(ANN, "**bye**");
    signal.wait_said(ANN, &echo("hello"));
    let bye = signal.wait_said(ANN, &echo("bye"));
    assert_eq!(bye.styles, [format!("{}:3:BOLD", echo("").len())]);
    assert_eq!(signal.said().len(), 2);
    assert!(signal.typed().iter().all(|chat| chat == ANN));
    assert_eq!(connection(&gateway), ("connected".to_owned(), String::new()));
    let log = home.read("default", "logs/gateway.log").unwrap_or_default();
    assert!(log.contains("Unauthorized user: +492222 (Ann) on signal"), "{log}");
    gateway.wait_state("default", "ready");
}

/// Part 4, no. 6.
#[test]
fn groups_are_off_until_they_are_listed_and_then_it_is_spoken_to() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let gateway = Gateway::start(&home);
    signal.wait_read();
    signal.say_in_group("Zm9v", ANN, "unheard");
    signal.say(ANN, "first");
    signal.wait_said(ANN, &echo("first"));
    drop(gateway);
    let more =
        format!("SIGNAL_ALLOWED_USERS={ANN}\nSIGNAL_GROUP_ALLOWED_USERS=Zm9v\nSIGNAL_REQUIRE_MENTION=true\n");
    let home = house(&signal, &more);
    let gateway = Gateway::start(&home);
    signal.wait_read();
    signal.say_in_group("other", "+493333", "elsewhere");
    signal.say_in_group("Zm9v", "+493333", "among people");
    let spoken = json!({
        "message": "\u{fffc} are you there?", "groupInfo": {"groupId": "Zm9v"},
        "mentions": [{"start": 0, "length": 1, "number": ACCOUNT, "name": "Bot"}],
    });
    signal.receive("+493333", &spoken);
    signal.wait_said("group:Zm9v", &echo("@Bot are you there?"));
    assert_eq!(signal.said().len(), 2, "{:?}", signal.said());
    gateway.wait_state("default", "ready");
}

/// Part 4, no. 6: no answer of the bot's is a question to it.
#[test]
fn an_echo_is_no_message_and_a_note_to_oneself_is() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ACCOUNT}\n"));
    let gateway = Gateway::start(&home);
    signal.wait_read();
    signal.note_to_self("remember", None);
    let said = signal.wait_said(ACCOUNT, &echo("remember"));
    signal.note_to_self(&said.text, Some(said.timestamp));
    wait::pass(NEVER);
    signal.note_to_self("and this", None);
    signal.wait_said(ACCOUNT, &echo("and this"));
    assert_eq!(signal.said().len(), 2, "{:?}", signal.said());
    gateway.wait_state("default", "ready");
}

#[test]
fn a_stream_that_ends_is_opened_again_and_a_swap_loses_and_doubles_nothing() {
    let signal = Signal::start();
    let home = house(&signal, "SIGNAL_ALLOW_ALL_USERS=true\n");
    let gateway = Gateway::start(&home);
    signal.wait_read();
    signal.cut();
    wait::until_true("the lost stream to be seen", || connection(&gateway).1 == "signal_network_error");
    signal.wait_read();
    wait::until_true("the account to be connected", || connection(&gateway).0 == "connected");
    // Everybody in a chat of their own: a newer message of the same one would interrupt the answer.
    let people: Vec<String> = (0..30).map(|n| format!("+4911{n:04}")).collect();
    let (before, after) = people.split_at(10);
    for person in before {
        signal.say(person, "hello");
    }
    std::thread::scope(|scope| {
        let swapped = scope.spawn(|| run(&home, &["gateway", "restart"]));
        for person in after {
            signal.say(person, "hello");
            wait::pass(NEVER / 20);
        }
        let swapped = swapped.join().unwrap();
        assert!(swapped.status.success(), "{swapped:?}");
    });
    let answered = |person: &String| signal.said().iter().filter(|said| said.chat == *person).count();
    wait::until_true("everybody to be answered", || people.iter().all(|person| answered(person) > 0));
    // A message that was under way when its process ended may have arrived: it says so, and comes again.
    let texts = signal.said().into_iter().map(|said| said.text);
    let (plain, marked): (Vec<_>, Vec<_>) = texts.partition(|text| *text == echo("hello"));
    assert!(marked.iter().all(|text| text.ends_with(&echo("hello")) && text.starts_with('♻')), "{marked:?}");
    assert!(plain.len() <= people.len());
}

/// Newer daemons keep what nobody read.
#[test]
fn what_a_daemon_keeps_is_answered_by_whoever_comes_next_and_nothing_twice() {
    let signal = Signal::start();
    signal.keep();
    let home = house(&signal, "SIGNAL_ALLOW_ALL_USERS=true\n");
    signal.say("+491110", "before the first start of all");
    let gateway = Gateway::start(&home);
    signal.wait_read();
    signal.say("+491111", "one");
    signal.wait_said("+491111", &echo("one"));
    drop(gateway);
    // Whoever is gone is found by the next event only.
    signal.cut();
    signal.say("+491112", "two");
    signal.say("+491113", "three");
    let gateway = Gateway::start(&home);
    signal.wait_said("+491112", &echo("two"));
    signal.wait_said("+491113", &echo("three"));
    signal.cut();
    signal.say("+491114", "four");
    signal.wait_said("+491114", &echo("four"));
    wait::pass(NEVER);
    assert_eq!(signal.said().len(), 4, "{:?}", signal.said());
    gateway.wait_state("default", "ready");
}

#[test]
fn waits_are_kept_refusals_are_final_and_long_answers_come_in_parts() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let _gateway = Gateway::start(&home);
    signal.wait_read();
    let limited = json!([{"type": "RATE_LIMIT_FAILURE", "retryAfterSeconds": 1}]);
    signal.refuse(json!({"id": "1", "error": {"code": -5, "message": "slow", "data": {"response": {"results": limited}}}}));
    signal.say(ANN, "one");
    signal.wait_said(ANN, &echo("one"));
    signal.refuse(
        json!({"id": "1", "result": {"timestamp": 1, "results": [{"type": "UNREGISTERED_FAILURE"}]}}),
    );
    signal.say(ANN, "two");
    signal.say(ANN, &"😀 and so on, ".repeat(300));
    let long = wait::until("a long answer in parts", || {
        let said: Vec<_> = signal.said().into_iter().skip(1).collect();
        (said.len() >= 3).then_some(said)
    });
    assert!(
        long.iter().all(|said| said.text.encode_utf16().count() <= 2000 && !said.text.contains("two")),
        "{long:?}"
    );
}

/// Signal shows twice what is sent twice: who reads it is told.
#[test]
fn what_may_be_there_already_comes_again_with_a_mark() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let _gateway = Gateway::start(&home);
    signal.wait_read();
    signal.lose_the_answer();
    signal.say(ANN, "hello");
    let twice = wait::until("the answer to come again", || {
        let said = signal.said();
        (said.len() == 2).then_some(said)
    });
    assert_eq!(twice[0].text, echo("hello"));
    assert!(
        twice[1].text.starts_with("♻️ Recovered reply") && twice[1].text.ends_with(&echo("hello")),
        "{twice:?}"
    );
}

#[test]
fn files_are_kept_in_the_profiles_home() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let _gateway = Gateway::start(&home);
    signal.wait_read();
    let bytes: Vec<u8> = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 100_000]].concat();
    signal.attach(ANN, "look", "a.png", &bytes);
    let said = wait::until("an answer about the file", || signal.said().pop());
    assert!(
        said.text.starts_with(&echo("")) && said.text.contains("a.png") && said.text.contains("look"),
        "{said:?}"
    );
    let kept = wait::until("the file", || {
        let mut dirs = vec![home.of("default").join("cache")];
        while let Some(dir) = dirs.pop() {
            for entry in fs_err::read_dir(&dir).ok()?.flatten() {
                let path = camino::Utf8PathBuf::try_from(entry.path()).unwrap();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension() == Some("png") {
                    return Some(path);
                }
            }
        }
        None
    });
    assert_eq!(fs_err::read(kept).unwrap(), bytes);
}

#[test]
fn an_account_that_the_daemon_does_not_know_is_named_and_tried_again() {
    let signal = Signal::start();
    let home = house(&signal, "");
    let env = home.read("default", ".env").unwrap().replace(ACCOUNT, "+4915100000");
    home.write("default", ".env", &env);
    let gateway = Gateway::start(&home);
    wait::until_true("the account to be unknown", || connection(&gateway).1 == "signal_account_unknown");
    assert_eq!(connection(&gateway).0, "retrying");
}

/// Signs at the question, and a file as Signal's programs take it; what cannot be changed is not shown early.
#[test]
fn signs_and_files_go_out_and_an_answer_is_one_message() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\n"));
    let config = home.read("default", "config.yaml").unwrap() + "streaming: {enabled: true}\n";
    home.write("default", "config.yaml", &chats::slow(&config, 5));
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    fs_err::write(cache.join("a.pdf"), &bytes).unwrap();
    let _gateway = Gateway::start(&home);
    signal.wait_read();
    let at = signal.say(ANN, &format!("an answer that would be shown early MEDIA:{cache}/a.pdf"));
    let said = wait::until("the text and the file", || {
        let said = signal.said();
        (said.len() == 2).then_some(said)
    });
    assert_eq!(
        (said[0].text.as_str(), said[1].text.as_str()),
        (echo("an answer that would be shown early").as_str(), "")
    );
    let file = &said[1].attachments[0];
    let data = file.strip_prefix("data:application/pdf;filename=a.pdf;base64,").unwrap();
    assert!(base64::engine::general_purpose::STANDARD.decode(data).unwrap() == bytes);
    let reaction =
        |emoji: &str| Reaction { emoji: emoji.to_owned(), of: (ANN.to_owned(), at), removed: false };
    wait::until_true("the signs", || signal.reactions() == [reaction("👀"), reaction("✅")]);
}

/// Who has no account any more is put down.
#[test]
fn who_is_unregistered_is_put_down() {
    let signal = Signal::start();
    let home = house(&signal, &format!("SIGNAL_ALLOWED_USERS={ANN}\nSIGNAL_REACTIONS=false\n"));
    let _gateway = Gateway::start(&home);
    signal.wait_read();
    signal.refuse(
        json!({"id": "1", "result": {"timestamp": 1, "results": [{"type": "UNREGISTERED_FAILURE"}]}}),
    );
    signal.say(ANN, "hello");
    wait::until_true("it to be put down", || {
        let text = home.read("default", "gateway/dead_targets.json").unwrap_or_default();
        text.contains(&format!("\"signal:{ANN}\""))
    });
    signal.say(ANN, "again");
    signal.wait_said(ANN, &echo("again"));
    assert!(signal.reactions().is_empty());
}
