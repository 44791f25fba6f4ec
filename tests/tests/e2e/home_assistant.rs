//! Home Assistant, against a house that speaks the real wire: what is watched is told, answers become notifications, and nothing is lost or
//! doubled, whoever dies or takes over.

mod published;

use std::time::Duration;

use hermes_tests::chats::{self, echo, log};
use hermes_tests::gateway::{both, run};
use hermes_tests::home_assistant::{HomeAssistant, NEVER, TOKEN};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

/// Everything that is watched in most tests.
const WATCHED: &str = "watch_domains: [light, lock], cooldown_seconds: 0";

/// A home whose default profile has the house; `section` is its section in `config.yaml`.
fn house(assistant: &HomeAssistant, section: &str) -> Home {
    let config = Home::config("true", "");
    let section = format!("platforms:\n  homeassistant: {{{section}}}\n");
    let home = Home::with_config(&config.replacen("platforms:\n", &section, 1));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, assistant.env()));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "homeassistant")
}

fn wait_connection(gateway: &Gateway<'_>, state: &str, code: &str) {
    wait::until_true(&format!("{state} ({code})"), || {
        connection(gateway) == (state.to_owned(), code.to_owned())
    });
}

fn told(text: &str) -> String {
    echo(&format!("[Home Assistant] {text}"))
}

/// Waits until every answer has left, and counts the questions.
fn questions(home: &Home) -> i64 {
    let open = "SELECT state FROM hermes_delivery WHERE finished_at IS NULL";
    wait::until_true("the ledger to be done", || chats::column::<String>(home, open).is_empty());
    chats::column(home, "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1")[0]
}

#[test]
fn what_is_watched_is_told_and_answered_in_the_house() {
    let assistant = HomeAssistant::start();
    let home = house(
        &assistant,
        "watch_domains: [light], watch_entities: [lock.door], ignore_entities: [light.porch], cooldown_seconds: 0",
    );
    let gateway = Gateway::start(&home);
    assistant.wait_heard();
    assistant.set("light.hall", "on");
    let notice = assistant.wait_notice(&told("hall: turned on"));
    assert_eq!(notice.title, "Hermes Agent");
    assistant.set("light.porch", "on");
    assistant.set("lock.garage", "unlocked");
    assistant.tell_nonsense();
    // The same change once more is none.
    assistant.set_twice("lock.door", "unlocked");
    assistant.wait_notice(&told("door (lock.door): changed from 'locked' to 'unlocked'"));
    assistant.set("lock.door", "unlocked");
    wait::pass(NEVER);
    assert_eq!(assistant.made(), 2, "{:?}", assistant.notices());
    assert_eq!(questions(&home), 2);
    wait_connection(&gateway, "connected", "");
    gateway.wait_state("default", "ready");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(TOKEN) && !everything.contains("SECRETHOUSE"));
}

#[test]
fn a_house_of_which_nothing_is_watched_says_so() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "connected", "homeassistant_no_filter");
    assistant.set("light.hall", "on");
    assistant.cut();
    wait::until_true("another socket", || assistant.requests().1 > 1);
    wait::pass(NEVER);
    assert_eq!((assistant.made(), log(&home).matches("nothing of the house is watched").count()), (0, 1));
    gateway.wait_state("default", "ready");
}

#[test]
fn a_token_that_is_taken_back_is_fatal_and_nothing_more_is_asked() {
    let assistant = HomeAssistant::start();
    assistant.revoke(true);
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "homeassistant_invalid_auth");
    wait::pass(Duration::from_secs(3));
    assert_eq!(assistant.requests(), (0, 1));
    gateway.wait_state("default", "degraded");
    assert!(log(&home).contains("HASS_TOKEN"), "{}", log(&home));
    // In the middle the house says goodbye, and no more.
    assistant.revoke(false);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connection(&gateway, "connected", "");
    assistant.wait_heard();
    assistant.revoke(true);
    let since = wait::now();
    wait_connection(&gateway, "fatal", "homeassistant_invalid_auth");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let asked = assistant.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!(assistant.requests(), asked);
}

/// Who only speaks hears of it too, and tells who listens.
#[test]
fn a_token_that_is_taken_back_is_heard_of_by_an_answer() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    assistant.wait_heard();
    assistant.refuse([401]);
    assistant.set("light.hall", "on");
    wait_connection(&gateway, "fatal", "homeassistant_invalid_auth");
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    assistant.wait_notice(&told("hall: turned on"));
    assert_eq!(questions(&home), 1);
}

#[test]
fn who_may_not_know_what_changes_is_told_so() {
    let assistant = HomeAssistant::start();
    assistant.narrow(true);
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "homeassistant_forbidden");
    assert!(log(&home).contains("administrator"), "{}", log(&home));
    assistant.narrow(false);
    wait_connection(&gateway, "connected", "");
}

#[test]
fn what_changes_while_nobody_listens_is_told_later() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    assistant.wait_heard();
    assistant.set("light.hall", "on");
    assistant.wait_notice(&told("hall: turned on"));
    assistant.close(true);
    wait::until_true("the loss to be seen", || connection(&gateway).1 == "homeassistant_network_error");
    assistant.set("light.hall", "off");
    assistant.close(false);
    assistant.wait_notice(&told("hall: turned off"));
    // Over a death, and over a stop of everything.
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    assistant.set("lock.door", "unlocked");
    assistant.wait_notice(&told("door (lock.door): changed from 'locked' to 'unlocked'"));
    wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
    assistant.wait_heard();
    drop(gateway);
    assistant.set("lock.door", "jammed");
    let _gateway = Gateway::start(&home);
    assistant.wait_notice(&told("door (lock.door): changed from 'unlocked' to 'jammed'"));
    wait::pass(NEVER);
    assert_eq!(assistant.made(), 4, "{:?}", assistant.notices());
    assert_eq!(questions(&home), 4);
}

#[test]
fn a_half_open_socket_is_left_and_nothing_is_lost() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    assistant.wait_heard();
    let since = wait::now();
    assistant.mute();
    assistant.set("light.hall", "on");
    assistant.wait_heard();
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assistant.wait_notice(&told("hall: turned on"));
    wait_connection(&gateway, "connected", "");
}

#[test]
fn who_spoke_says_how_it_is_after_a_while() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, "watch_all: true, cooldown_seconds: 2");
    let _gateway = Gateway::start(&home);
    assistant.wait_heard();
    for state in ["on", "off", "on", "off"] {
        assistant.set("light.hall", state);
    }
    assistant.wait_notice(&told("hall: turned on"));
    assistant.wait_notice(&told("hall: turned off"));
    wait::pass(Duration::from_secs(3));
    assert_eq!(assistant.made(), 2, "{:?}", assistant.notices());
}

/// A notification that was made and whose answer was lost is there once.
#[test]
fn limits_are_waited_out_and_a_notification_is_there_once() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    let _gateway = Gateway::start(&home);
    assistant.wait_heard();
    assistant.refuse([429]);
    assistant.set("light.hall", "on");
    assistant.wait_notice(&told("hall: turned on"));
    assistant.lose_the_answer();
    assistant.set("light.hall", "off");
    wait::until_true("it to be made again", || assistant.made() == 3);
    assert_eq!(questions(&home), 2);
    assert_eq!(assistant.notices().len(), 2, "{:?}", assistant.notices());
}

#[test]
fn swaps_lose_and_double_nothing() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    let gateway = Gateway::start(&home);
    assistant.wait_heard();
    for n in 0..3 {
        let old = gateway.worker("default");
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| run(&home, &["gateway", "restart", "-p", "default"]));
            for part in 0..4 {
                // Each is another one, so that each is told.
                assistant.set(&format!("light.lamp_{n}_{part}"), "off");
                wait::pass(NEVER / 20);
            }
            assert!(swapped.join().unwrap().status.success());
        });
        assert_ne!(gateway.worker("default"), old);
        assistant.wait_heard();
        for part in 0..4 {
            assistant.set(&format!("light.lamp_{n}_{part}"), "on");
            assistant.wait_notice(&told(&format!("lamp_{n}_{part}: turned on")));
        }
    }
    wait::pass(NEVER);
    let notices = assistant.notices();
    for n in 0..3 {
        for part in 0..4 {
            let of = told(&format!("lamp_{n}_{part}: turned on"));
            assert_eq!(notices.iter().filter(|notice| notice.text == of).count(), 1, "{notices:?}");
        }
    }
}

#[test]
fn a_house_that_two_profiles_share_is_refused_before_anything_is_asked() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, WATCHED);
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    home.write("coder", ".env", &format!("{env}{}", assistant.env()));
    let output = run(&home, &["gateway", "run"]);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(["default", "coder", "homeassistant"].iter().all(|word| said.contains(word)), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    assert_eq!(assistant.requests(), (0, 0));
}

#[test]
fn a_check_says_which_house_it_is_and_what_is_wrong() {
    let assistant = HomeAssistant::start();
    let home = house(&assistant, "");
    let check = || {
        let output = run(&home, &["setup", "--platform", "homeassistant", "--check"]);
        (output.status.code(), both(&output))
    };
    let (code, said) = check();
    assert!(code == Some(0) && said.contains("`Home` answers, Home Assistant 2026.11.3"), "{said}");
    assert!(said.contains("nothing of the house is watched"), "{said}");
    assistant.revoke(true);
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("takes HASS_TOKEN for none") && !said.contains(TOKEN), "{said}");
    drop(assistant);
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("not reached"), "{said}");
}
