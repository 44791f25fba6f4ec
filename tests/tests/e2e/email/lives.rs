//! Nothing is lost or doubled: restarts, deaths and swaps while people write, connections that break, and mails that get other numbers.

use hermes_tests::chats::ledger;
use hermes_tests::gateway::run;
use hermes_tests::mail::{Mail, letter};
use hermes_tests::{Gateway, process, wait};
use nix::sys::signal::Signal;

use super::{ALLOWED, ANN, answers, connection, echo, house, log, wait_connected};

fn deliver(mail: &Mail, from: &str, text: &str) {
    mail.deliver(&letter(from, "Re: x", &format!("{}@good.test", text.replace(' ', "-")), text));
}

fn wait_answered(mail: &Mail, text: &str) {
    wait::until_true(&format!("an answer to `{text}`"), || answers(mail, &echo(text)) == 1);
}

/// What was there before the first start of all is left alone; what comes while nobody reads is answered.
#[test]
fn what_comes_while_nobody_reads_is_answered_and_what_was_there_before_is_not() {
    let Some(mail) = Mail::start() else { return };
    deliver(&mail, ANN, "long ago");
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    deliver(&mail, ANN, "now");
    wait_answered(&mail, "now");
    drop(gateway);
    deliver(&mail, ANN, "meanwhile");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    wait_answered(&mail, "meanwhile");
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    deliver(&mail, ANN, "the end");
    wait_answered(&mail, "the end");
    assert_eq!(mail.sent().len(), 3, "{:?}", mail.sent());
}

#[test]
fn a_connection_that_breaks_loses_and_doubles_nothing() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    for n in 0..3 {
        let text = format!("cut {n}");
        if n % 2 == 0 {
            mail.cut();
            deliver(&mail, ANN, &text);
        } else {
            deliver(&mail, ANN, &text);
            mail.cut();
        }
        wait_answered(&mail, &text);
    }
    wait_connected(&gateway);
    assert_eq!(mail.sent().len(), 3, "{:?}", mail.sent());
}

/// A mail that the server does not give is not one that is gone; one that it never gives holds up no other.
#[test]
fn a_mail_that_is_not_given_is_asked_for_again() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    for (text, say) in [("refused", "NO [SERVERBUG] not now"), ("left", "bye")] {
        mail.fail("fetch", say);
        deliver(&mail, ANN, text);
        wait_answered(&mail, text);
    }
    (0..3).for_each(|_| mail.fail("fetch", "NO [SERVERBUG] it is damaged"));
    deliver(&mail, ANN, "damaged");
    deliver(&mail, ANN, "behind it");
    wait_answered(&mail, "behind it");
    assert_eq!(mail.sent().len(), 3, "{:?}", mail.sent());
    assert!(log(&home).contains("cannot be read, and is left alone"), "{}", log(&home));
}

#[test]
fn swaps_while_people_write_lose_and_double_nothing() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let mut asked = Vec::new();
    for n in 0..3 {
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| run(&home, &["gateway", "restart", "-p", "default"]));
            for who in [ANN, "ben@good.test"] {
                let text = format!("swap {n} of {}", &who[..3]);
                deliver(&mail, who, &text);
                asked.push(text);
            }
            let swapped = swapped.join().unwrap();
            assert!(swapped.status.success(), "{swapped:?}");
        });
        wait_connected(&gateway);
        for text in &asked {
            wait_answered(&mail, text);
        }
    }
    assert!(mail.sent().iter().all(|sent| !sent.text().contains('♻')), "{:?}", mail.sent());
    assert_eq!(mail.sent().len(), asked.len());
}

#[test]
fn deaths_while_people_write_lose_and_double_nothing() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let people = [ANN, "ben@good.test"];
    let mut asked = Vec::new();
    for n in 0..3 {
        for (at, who) in people.iter().enumerate() {
            let text = format!("death {n} of {}", &who[..3]);
            deliver(&mail, who, &text);
            asked.push(text);
            if at == n % 2 {
                // Whatever it is at just now.
                process::signal(gateway.worker("default"), Signal::SIGKILL);
            }
        }
        for text in &asked {
            wait_answered(&mail, text);
        }
        wait_connected(&gateway);
    }
    for text in &asked {
        assert_eq!(answers(&mail, &echo(text)), 1, "{text}: {:?}", mail.sent());
    }
}

/// Numbers that hold no more: what came since is found, and nothing is answered twice.
#[test]
fn mails_that_get_other_numbers_are_known() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    mail.deliver_at(&letter(ANN, "Re: x", "0@good.test", "long ago"), "01-Feb-2020 10:00:00 +0000");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    deliver(&mail, ANN, "before");
    wait_answered(&mail, "before");
    drop(gateway);
    mail.renumber();
    // All of it is put back.
    mail.deliver_at(&letter(ANN, "Re: x", "0@good.test", "long ago"), "01-Feb-2020 10:00:00 +0000");
    deliver(&mail, ANN, "before");
    deliver(&mail, ANN, "meanwhile");
    let gateway = Gateway::start(&home);
    wait_answered(&mail, "meanwhile");
    assert!(log(&home).contains("new numbers"), "{}", log(&home));
    wait_connected(&gateway);
    deliver(&mail, ANN, "after");
    wait_answered(&mail, "after");
    assert_eq!(mail.sent().len(), 3, "{:?}", mail.sent());
}

/// A mail of which nobody knows whether it got there goes again, under its own name and with a mark.
#[test]
fn a_mail_that_may_be_there_already_has_its_name_again() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    mail.fail("data", "lose");
    deliver(&mail, ANN, "hello");
    let sent = mail.wait_sent(2);
    assert_eq!(sent[0].text(), echo("hello"));
    assert!(
        sent[1].text().starts_with("♻️ Recovered reply") && sent[1].text().ends_with(&echo("hello")),
        "{sent:?}"
    );
    assert_eq!(sent[0].header("Message-ID"), sent[1].header("Message-ID"));
    wait::until_true("it to be settled", || ledger(&home) == [("done".to_owned(), true)]);
    // What certainly did not get there has no mark.
    mail.fail("data", "451 4.3.0 later");
    deliver(&mail, ANN, "and again");
    assert_eq!(mail.wait_sent(3)[2].text(), echo("and again"));
    assert_eq!(connection(&gateway).0, "connected");
}
