//! ntfy, through a server that speaks its wire: who is answered, refusals, lost and silent streams, files, swaps, deaths.

use hermes_tests::chats::{self, echo, ledger, log, sessions};
use hermes_tests::gateway::{both, run};
use hermes_tests::ntfy::{Ntfy, Refusal, TAG};
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

const TOPIC: &str = "hermes-of-ann-8271";

/// A home whose default profile has the topic; `more` goes into its `.env`.
fn house(ntfy: &Ntfy, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    let env = format!("API_SERVER_KEY={}\n{}{more}", home::DEFAULT_KEY, ntfy.env(TOPIC));
    home.write("default", ".env", &env);
    home
}

fn allowed(ntfy: &Ntfy) -> Home {
    house(ntfy, &format!("NTFY_ALLOWED_USERS={TOPIC}\n"))
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "ntfy")
}

fn is(state: &str, code: &str) -> (String, String) {
    (state.to_owned(), code.to_owned())
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the topic to be read", || connection(gateway).0 == "connected");
}

#[test]
fn who_publishes_is_answered_in_the_topic_and_an_answer_is_no_question() {
    let ntfy = Ntfy::start();
    ntfy.say(TOPIC, "said before anybody read");
    let home = allowed(&ntfy);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ntfy.say(TOPIC, "hello");
    ntfy.wait_said(TOPIC, &echo("hello"));
    ntfy.say_with(TOPIC, "of another bot", &json!({"tags": ["robot", TAG]}));
    ntfy.say("another-topic", "elsewhere");
    ntfy.say_with(TOPIC, "**and** this", &json!({"title": "Note"}));
    ntfy.wait_said(TOPIC, &echo("Note\n\nand this"));
    let bots: Vec<String> = ntfy.said(TOPIC).into_iter().filter(|text| text != "of another bot").collect();
    assert_eq!(bots.len(), 2, "{bots:?}");
    assert_eq!(sessions(&home, "ntfy"), [format!("agent:main:ntfy:dm:{TOPIC}")]);
    gateway.wait_state("default", "ready");
}

#[test]
fn a_topic_that_is_not_listed_is_refused_and_logged() {
    let ntfy = Ntfy::start();
    let home = house(&ntfy, "NTFY_ALLOWED_USERS=another\n");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ntfy.say(TOPIC, "let me in");
    let line = format!("Unauthorized user: {TOPIC} ({TOPIC}) on ntfy");
    wait::until_true("the refusal to be logged", || log(&home).contains(&line));
    assert!(ntfy.said(TOPIC).is_empty());
}

#[test]
fn bad_credentials_are_fatal_and_a_missing_topic_is() {
    let ntfy = Ntfy::start();
    ntfy.require("Bearer tk_right");
    let home = house(&ntfy, "NTFY_TOKEN=tk_wrong-secret\n");
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway) == is("fatal", "ntfy_unauthorized"));
    gateway.wait_state("default", "degraded");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains("tk_wrong-secret"), "{everything}");
    drop(gateway);
    // A user and a password.
    ntfy.require("Basic YW5uOnNlY3JldA==");
    let home = house(&ntfy, &format!("NTFY_TOKEN=ann:secret\nNTFY_ALLOWED_USERS={TOPIC}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ntfy.say(TOPIC, "hello");
    ntfy.wait_said(TOPIC, &echo("hello"));
    // Taken back in the middle.
    ntfy.require("Bearer another");
    ntfy.cut();
    wait::until_true("the refusal", || connection(&gateway) == is("fatal", "ntfy_unauthorized"));
    drop(gateway);
    let ntfy = Ntfy::start();
    ntfy.refuse("subscribe", [Refusal::own(404, 40401)]);
    let home = allowed(&ntfy);
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway) == is("fatal", "ntfy_topic_not_found"));
}

#[test]
fn what_was_published_while_the_stream_was_lost_is_answered_once() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ntfy.say(TOPIC, "one");
    ntfy.wait_said(TOPIC, &echo("one"));
    ntfy.refuse("subscribe", [Refusal { status: 429, code: 42901, after: Some(1) }]);
    ntfy.refuse("subscribe", [Refusal { status: 502, code: 0, after: None }]);
    ntfy.cut();
    wait::until_true("the loss to be seen", || connection(&gateway) == is("retrying", "ntfy_network_error"));
    ntfy.say(TOPIC, "two");
    ntfy.wait_said(TOPIC, &echo("two"));
    wait_connected(&gateway);
    assert!(ntfy.asked().last().unwrap().starts_with("since="), "{:?}", ntfy.asked());
    ntfy.say(TOPIC, "three");
    ntfy.wait_said(TOPIC, &echo("three"));
    assert_eq!(ntfy.said(TOPIC), [echo("one"), echo("two"), echo("three")]);
}

/// One that was to come later comes behind newer ones, with an older place.
#[test]
fn what_comes_with_an_older_id_or_time_is_not_lost() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ntfy.say(TOPIC, "one");
    ntfy.wait_said(TOPIC, &echo("one"));
    let stopped = run(&home, &["gateway", "stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
    drop(gateway);
    let time = ntfy.published(TOPIC)[0]["time"].as_u64().unwrap();
    ntfy.say_with(TOPIC, "late", &json!({"time": time}));
    let gateway = Gateway::start(&home);
    ntfy.wait_said(TOPIC, &echo("late"));
    wait_connected(&gateway);
    assert_eq!(ntfy.said(TOPIC).len(), 2);
}

#[test]
fn a_swap_answers_once_and_hears_what_is_kept_for_nobody() {
    let ntfy = Ntfy::start();
    let home = house(&ntfy, &format!("NTFY_ALLOWED_USERS={TOPIC}\n"));
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}display: {{busy_input_mode: queue}}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let texts: Vec<String> = (0..12).map(|n| format!("message {n}")).collect();
    std::thread::scope(|scope| {
        let swapped = scope.spawn(|| run(&home, &["gateway", "restart"]));
        for text in &texts {
            ntfy.say_with(TOPIC, text, &json!({"cache": false}));
            wait::pass(std::time::Duration::from_millis(100));
        }
        let swapped = swapped.join().unwrap();
        assert!(swapped.status.success(), "{swapped:?}");
    });
    let answered = |text: &String| ntfy.said(TOPIC).iter().filter(|said| **said == echo(text)).count();
    let marked = |text: &String| {
        let ends = echo(text);
        ntfy.said(TOPIC).iter().filter(|said| said.starts_with('♻') && said.ends_with(&ends)).count()
    };
    wait::until_true("everything to be answered", || texts.iter().all(|t| answered(t) + marked(t) >= 1));
    assert!(texts.iter().all(|text| answered(text) <= 1), "{:?}", ntfy.said(TOPIC));
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
}

#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}display: {{busy_input_mode: queue}}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let texts: Vec<String> = (0..18).map(|n| format!("message {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        ntfy.say(TOPIC, text);
        if n % 6 == 5 {
            // Whatever the worker is at just now.
            wait::until_true("something to happen", || ntfy.said(TOPIC).len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    let answered = |text: &String| ntfy.said(TOPIC).iter().filter(|said| **said == echo(text)).count();
    let marked = |text: &String| {
        let ends = echo(text);
        ntfy.said(TOPIC).iter().filter(|said| said.starts_with('♻') && said.ends_with(&ends)).count()
    };
    wait::until_true("everything to be answered", || texts.iter().all(|t| answered(t) + marked(t) >= 1));
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    assert!(texts.iter().all(|text| answered(text) <= 1), "{:?}", ntfy.said(TOPIC));
    // Words on what waits are rows as well; questions are these.
    let questions = "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1";
    assert_eq!(chats::column::<i64>(&home, questions), [18]);
}

#[test]
fn long_answers_come_in_parts_and_waits_are_kept() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    let _gateway = Gateway::start(&home);
    ntfy.wait_read();
    let text = "ünd so fort, ".repeat(290);
    assert!(text.len() < 4096 && echo(&text).len() > 3800);
    ntfy.refuse("publish", [Refusal { status: 429, code: 42901, after: Some(1) }]);
    // With its title it is longer than one message holds.
    ntfy.say_with(TOPIC, &text, &json!({"title": "t".repeat(900)}));
    let said = wait::until("a long answer in parts", || {
        let said = ntfy.said(TOPIC);
        (said.len() >= 2 && said.last()?.ends_with("(2/2)")).then_some(said)
    });
    assert!(said.iter().all(|part| part.len() <= 4096 && !part.contains('♻')), "{said:?}");
    assert!(ntfy.published(TOPIC).iter().all(|message| message["attachment"].is_null()));
}

#[test]
fn what_may_be_there_already_comes_again_with_a_mark() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    let _gateway = Gateway::start(&home);
    ntfy.wait_read();
    ntfy.lose_the_answer();
    ntfy.say(TOPIC, "hello");
    let twice = wait::until("the answer to come again", || {
        let said = ntfy.said(TOPIC);
        (said.len() == 2).then_some(said)
    });
    assert!(twice[1].starts_with("♻️ Recovered reply") && twice[1].ends_with(&echo("hello")), "{twice:?}");
}

#[test]
fn files_come_in_from_the_server_alone_and_go_out() {
    let ntfy = Ntfy::start();
    let home = house(
        &ntfy,
        &format!("NTFY_ALLOWED_USERS={TOPIC}\nNTFY_PUBLISH_TOPIC=answers-8271\nNTFY_MARKDOWN=true\n"),
    );
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    fs_err::write(cache.join("größe.pdf"), &bytes).unwrap();
    let _gateway = Gateway::start(&home);
    ntfy.wait_read();
    ntfy.attach(TOPIC, "report.pdf", "application/pdf", b"%PDF");
    let answers = || ntfy.said("answers-8271");
    let answer = wait::until("an answer about the file", || answers().pop());
    let path = answer.split(": ").last().unwrap().trim_end_matches(']').to_owned();
    assert_eq!(fs_err::read(&path).unwrap(), b"%PDF", "{answer}");
    // A link to somewhere is nothing that this machine fetches.
    let requests = ntfy.requests();
    let link = json!({"attachment": {"name": "x", "url": format!("{}/file/none", ntfy.address())}});
    ntfy.say_with(TOPIC, "see", &link);
    wait::until_true("an answer about the link", || {
        answers().last().is_some_and(|said| said.contains("A link came with it"))
    });
    assert!(ntfy.requests() <= requests + 1);
    ntfy.say(TOPIC, &format!("a file MEDIA:{cache}/größe.pdf"));
    let message = wait::until("the file", || {
        ntfy.published("answers-8271")
            .into_iter()
            .find(|message| message["attachment"]["name"] == "größe.pdf")
    });
    assert!(ntfy.file(&message).unwrap() == bytes);
    assert!(ntfy.published("answers-8271").iter().any(|message| message["content_type"] == "text/markdown"));
}

#[test]
fn topics_that_two_profiles_share_are_refused_before_anything_is_asked() {
    let ntfy = Ntfy::start();
    let home = allowed(&ntfy);
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    home.write("coder", ".env", &format!("{env}{}", ntfy.env(TOPIC)));
    let output = run(&home, &["gateway", "run"]);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(["default", "coder", "ntfy", "NTFY_TOPIC"].iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(ntfy.requests(), 0);
}

/// The tests' own server, shown by a client that people use.
#[test]
fn a_published_client_takes_it_for_ntfy() {
    let ntfy = Ntfy::start();
    ntfy.require("Basic YW5uOnNlY3JldA==");
    Clients::Wires.talk("with_ntfy.py", &[("NTFY", &ntfy.address())], |_| {});
}
