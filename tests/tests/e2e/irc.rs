//! IRC, on a real server and on one of the tests' own: who is answered where, nicks, accounts, refusals, lost connections, swaps, deaths.

use std::time::Duration;

use hermes_tests::chats::{self, echo, ledger, log, sessions};
use hermes_tests::gateway::{both, run};
use hermes_tests::irc::{Ircd, Ngircd, Person, Rules};
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

const CHANNEL: &str = "#hermes";
const OPEN: &str = "IRC_ALLOW_ALL_USERS=true\n";

/// A home whose default profile is on a server; `env` goes into its `.env`.
fn house(env: &str, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{env}{more}", home::DEFAULT_KEY));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "irc")
}

fn is(state: &str, code: &str) -> (String, String) {
    (state.to_owned(), code.to_owned())
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the bot to be connected", || connection(gateway) == is("connected", ""));
}

/// Says something in the channel until it is answered: IRC keeps nothing for who is not there at that moment.
fn say_until_heard(ann: &Person, text: &str) {
    wait::until_true(&format!("`{text}` to be answered"), || {
        ann.say(CHANNEL, &format!("hermes: {text}"));
        wait::pass(Duration::from_millis(500));
        ann.said_by("hermes", CHANNEL).contains(&echo(text))
    });
}

/// A nick of ten letters, and a server that takes nine.
#[test]
fn who_calls_the_bot_is_answered_in_the_channel_and_in_private_everybody_who_may() {
    let Some(server) = Ngircd::start() else { return };
    let ann = Person::join(&server.address, "ann");
    let eve = Person::join(&server.address, "eve");
    let home = house(&server.env(), "IRC_ALLOWED_USERS=ann\n");
    let gateway = Gateway::start(&home);
    ann.wait_there("hermes-bo");
    wait_connected(&gateway);
    ann.say(CHANNEL, "to everybody");
    ann.say(CHANNEL, "hermes-bore: to somebody else");
    eve.say(CHANNEL, "hermes-bo: let me in");
    ann.say("hermes-bo", "\u{1}VERSION\u{1}");
    ann.say(CHANNEL, "Hermes-Bo: are \u{2}you\u{2} \u{3}04,02there\u{3}?");
    ann.wait_said("hermes-bo", CHANNEL, &echo("are you there?"));
    ann.say("hermes-bo", "in **private**");
    ann.wait_said("hermes-bo", "ann", &echo("in \u{2}private\u{2}"));
    ann.say("hermes-bo", "!whoami");
    wait::until_true("a command to be answered", || ann.said_by("hermes-bo", "ann").len() > 1);
    let line = "Unauthorized user: eve (eve) on irc";
    wait::until_true("the refusal to be logged", || log(&home).contains(line));
    assert_eq!(ann.said_by("hermes-bo", CHANNEL).len(), 1);
    assert!(!ann.heard().iter().any(|line| line.contains(" NOTICE ann ") && line.contains("VERSION")));
    assert_eq!(sessions(&home, "irc"), ["agent:main:irc:dm:ann", "agent:main:irc:group:#hermes:ann"]);
    gateway.wait_state("default", "ready");
}

#[test]
fn long_answers_are_lines_of_whole_words() {
    let Some(server) = Ngircd::start() else { return };
    let ann = Person::join(&server.address, "ann");
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let _gateway = Gateway::start(&home);
    ann.wait_there("hermes");
    let text = "wörter ".repeat(55);
    ann.say(CHANNEL, &format!("hermes: {text}"));
    let whole = echo(text.trim());
    let said = wait::until("all of it", || {
        let said = ann.said_by("hermes", CHANNEL);
        (said.join(" ") == whole).then_some(said)
    });
    assert!(said.len() == 2 && said.iter().all(|line| line.len() <= 450), "{said:?}");
    ann.say(CHANNEL, "hermes: still there?");
    ann.wait_said("hermes", CHANNEL, &echo("still there?"));
}

#[test]
fn a_wrong_password_of_the_server_is_fatal() {
    let Some(server) = Ngircd::with("Password = secret-of-ngircd") else { return };
    let home = house(&server.env(), "IRC_SERVER_PASSWORD=wrong-secret\n");
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway) == is("fatal", "irc_invalid_auth"));
    gateway.wait_state("default", "degraded");
    assert!(!log(&home).contains("wrong-secret") && !gateway.output().contains("wrong-secret"));
    drop(gateway);
    let home = house(&server.env(), &format!("{OPEN}IRC_SERVER_PASSWORD=secret-of-ngircd\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
}

#[test]
fn a_server_that_goes_is_called_again() {
    let Some(mut server) = Ngircd::start() else { return };
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    server.kill();
    wait::until_true("the loss to be seen", || connection(&gateway) == is("retrying", "irc_network_error"));
    server.restart();
    let ann = Person::join(&server.address, "ann");
    ann.wait_there("hermes");
    wait_connected(&gateway);
    ann.say(CHANNEL, "hermes: hello");
    ann.wait_said("hermes", CHANNEL, &echo("hello"));
}

#[test]
fn a_nick_that_is_taken_is_had_once_it_is_free_and_who_is_put_out_comes_back() {
    let Some(server) = Ngircd::start() else { return };
    // The first one may put others out.
    let ann = Person::join(&server.address, "ann");
    let other = Person::join(&server.address, "hermes");
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let gateway = Gateway::start(&home);
    ann.wait_there("hermes_");
    ann.say(CHANNEL, "hermes_: one");
    ann.wait_said("hermes_", CHANNEL, &echo("one"));
    other.send("QUIT :bye");
    wait::until_true("the nick to be had", || ann.sees("hermes") && !ann.sees("hermes_"));
    ann.say(CHANNEL, "hermes: two");
    ann.wait_said("hermes", CHANNEL, &echo("two"));
    ann.send("KICK #hermes hermes :out");
    wait::until_true("the kick to be seen", || !ann.sees("hermes"));
    ann.wait_there("hermes");
    wait_connected(&gateway);
    say_until_heard(&ann, "three");
}

#[test]
fn a_swap_answers_nothing_twice_and_the_nick_stays() {
    let Some(server) = Ngircd::start() else { return };
    let ann = Person::join(&server.address, "ann");
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}display: {{busy_input_mode: queue}}\n"));
    let gateway = Gateway::start(&home);
    ann.wait_there("hermes");
    let texts: Vec<String> = (0..10).map(|n| format!("message {n}")).collect();
    std::thread::scope(|scope| {
        let swapped = scope.spawn(|| run(&home, &["gateway", "restart"]));
        for text in &texts {
            ann.say(CHANNEL, &format!("hermes: {text}"));
            wait::pass(Duration::from_millis(100));
        }
        let swapped = swapped.join().unwrap();
        assert!(swapped.status.success(), "{swapped:?}");
    });
    ann.wait_there("hermes");
    wait_connected(&gateway);
    say_until_heard(&ann, "the end");
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    let said = ann.said_by("hermes", CHANNEL);
    // What was said while nobody was there is lost, as IRC loses it.
    assert!(
        texts.iter().all(|text| said.iter().filter(|line| **line == echo(text)).count() <= 1),
        "{said:?}"
    );
}

/// IRC shows twice what is said twice: an answer that was being said is marked, and one that was not is said once.
#[test]
fn a_death_loses_no_question_that_was_heard() {
    let Some(server) = Ngircd::start() else { return };
    let ann = Person::join(&server.address, "ann");
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &chats::slow(&config, 40));
    let gateway = Gateway::start(&home);
    ann.wait_there("hermes");
    ann.say(CHANNEL, "hermes: a question that takes its time, word by word by word by word");
    let claimed = "SELECT count(*) FROM hermes_inbox WHERE state = 'claimed'";
    wait::until_true("the turn", || chats::column::<i64>(&home, claimed) == [1]);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    let answer = echo("a question that takes its time, word by word by word by word");
    wait::until_true("the answer", || {
        ["hermes", "hermes_"].iter().any(|nick| ann.said_by(nick, CHANNEL).concat().contains(&answer))
    });
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    let said: Vec<String> =
        ["hermes", "hermes_"].iter().flat_map(|nick| ann.said_by(nick, CHANNEL)).collect();
    assert_eq!(said.iter().filter(|line| **line == answer).count(), 1, "{said:?}");
}

#[test]
fn who_somebody_is_says_the_account_that_the_server_vouches_for() {
    let server = Ircd::start(Rules::default());
    let more = "IRC_NICKNAME=hermes\nIRC_SASL_USERNAME=hermes\nIRC_SASL_PASSWORD='correct horse'\nIRC_ALLOWED_USERS=ann\n";
    let home = house(&server.env(), more);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    // His nick is another one, and hers is his account.
    let ann = Person::connect(&server.address, "annie", Some(("ann", "ann's")));
    let eve = Person::connect(&server.address, "ann", None);
    server.repeat();
    eve.say("hermes", "I am ann");
    ann.say("hermes", "hello");
    ann.wait_said("hermes", "annie", &echo("hello"));
    let line = "Unauthorized user: ann!~user@127.0.0.1 (ann) on irc";
    wait::until_true("the refusal to be logged", || log(&home).contains(line));
    assert!(eve.said_by("hermes", "ann").is_empty());
    // Each came twice, and has a name.
    let answers: Vec<String> = server
        .said()
        .into_iter()
        .filter(|(nick, line)| nick == "hermes" && line.starts_with("PRIVMSG"))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(answers, [format!("PRIVMSG annie :{}", echo("hello"))]);
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains("correct horse"), "{everything}");
}

#[test]
fn an_account_that_is_refused_is_fatal_and_without_one_nobody_goes_on() {
    let server = Ircd::start(Rules::default());
    let account = "IRC_NICKNAME=hermes\nIRC_SASL_USERNAME=hermes\nIRC_SASL_PASSWORD=wrong\n";
    let home = house(&server.env(), account);
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway) == is("fatal", "irc_invalid_auth"));
    assert_eq!(server.connections(), 1);
    drop(gateway);
    let server = Ircd::start(Rules { offers: "message-tags", ..Rules::default() });
    let home = house(&server.env(), account);
    let gateway = Gateway::start(&home);
    wait::until_true("it to be missed", || connection(&gateway) == is("retrying", "irc_sasl_unavailable"));
    assert!(!server.said().iter().any(|(_, line)| line.starts_with("JOIN")));
}

#[test]
fn whom_a_server_throws_out_comes_back_and_whom_it_bans_does_not() {
    let server = Ircd::start(Rules::default());
    server.refuse(Some("ERROR :Trying to reconnect too fast."));
    let home = house(&server.env(), &format!("{OPEN}IRC_NICKNAME=hermes\n"));
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway) == is("retrying", "irc_network_error"));
    server.refuse(None);
    wait_connected(&gateway);
    let ann = Person::join(&server.address, "ann");
    server.close("hermes", "ERROR :Closing Link: 127.0.0.1 (Ping timeout: 240 seconds)");
    wait::until_true("the bot to be gone", || !ann.sees("hermes"));
    ann.wait_there("hermes");
    wait_connected(&gateway);
    say_until_heard(&ann, "hello");
    // Nobody of that name: it is said so, and nobody is bothered again.
    server.refuse(Some(":irc.test.example 465 * :You are banned from this server"));
    server.close("hermes", "ERROR :Closing Link: 127.0.0.1 (K-Lined)");
    wait::until_true("the ban", || connection(&gateway) == is("fatal", "irc_invalid_auth"));
}

#[test]
fn a_nick_that_two_profiles_share_is_refused_before_anything_is_dialled() {
    let server = Ircd::start(Rules::default());
    let home = house(&server.env(), OPEN);
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    home.write("coder", ".env", &format!("{env}{}IRC_NICKNAME=Hermes-Bot\n", server.env()));
    let output = run(&home, &["gateway", "run"]);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(["default", "coder", "irc", "IRC_SERVER"].iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(server.connections(), 0);
}

/// The tests' own server, shown by a client that people use.
#[test]
fn a_published_client_takes_it_for_irc() {
    // That client reads one line of them alone.
    let server = Ircd::start(Rules { lists_in_two: false, ..Rules::default() });
    let ann = Person::join(&server.address, "ann");
    if Clients::Wires.talk("with_irc.py", &[("IRC", &server.address)], |_| {}) {
        assert_eq!(ann.said_by("pydle", CHANNEL), ["hello from a client"]);
    }
}
