//! Email, against a real IMAP server and a real SMTP server: who is answered and how, who is not, files, lost connections, refusals, and nothing
//! lost or doubled, whoever dies, restarts or takes over.

mod lives;
mod refused;

use hermes_tests::chats::{self, echo, log, sessions};
use hermes_tests::mail::{ADDRESS, Mail, letter};
use hermes_tests::{Gateway, Home, home, wait};

const ANN: &str = "ann@good.test";
/// Who may talk to the bot.
const ALLOWED: &str = "EMAIL_ALLOWED_USERS=ann@good.test,ben@good.test\n";

/// A home whose default profile has the mailbox; `more` goes into its `.env`.
fn house(mail: &Mail, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}{more}", home::DEFAULT_KEY, mail.env()));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "email")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the mailbox to be connected", || connection(gateway).0 == "connected");
}

/// How often somebody was answered so; a mail that was sent again under its name is one.
fn answers(mail: &Mail, text: &str) -> usize {
    let mut ids: Vec<String> = mail
        .sent()
        .iter()
        .filter(|sent| sent.text().ends_with(text))
        .map(|sent| sent.header("Message-ID"))
        .collect();
    ids.sort();
    ids.dedup();
    ids.len()
}

/// An answer stands in its thread, says that a program wrote it, and has no history in it; one sender is one conversation.
#[test]
fn an_answer_stands_in_the_thread_of_its_question() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    mail.deliver(&letter(&format!("Ann <{ANN}>"), "Plans", "1@good.test", "hello"));
    let sent = mail.wait_said(&echo("[Subject: Plans]\n\nhello"));
    assert_eq!(sent.to, [ANN]);
    assert_eq!(sent.header("From"), ADDRESS);
    assert_eq!(sent.header("Subject"), "Re: Plans");
    assert_eq!(sent.header("In-Reply-To"), "<1@good.test>");
    assert_eq!(sent.header("References"), "<1@good.test>");
    assert_eq!(sent.header("Auto-Submitted"), "auto-replied");
    assert_eq!(sent.header("X-Auto-Response-Suppress"), "All");
    let id = sent.header("Message-ID");
    assert!(id.starts_with('<') && id.ends_with("@example.org>"), "{id}");
    let second = format!(
        "References: <1@good.test> {id}\n{}",
        letter(ANN, "Re: Plans", "2@good.test", "and now?\n\nOn Monday, Bot wrote:\n> echo\n> hello")
    );
    mail.deliver(&second);
    let sent = mail.wait_said(&echo("and now?"));
    assert_eq!(sent.header("Subject"), "Re: Plans");
    assert_eq!(sent.header("References"), format!("<1@good.test> {id} <2@good.test>"));
    assert_eq!(sessions(&home, "email"), ["agent:main:email:dm:ann@good.test"]);
    wait::until_true("both to be shown as read", || mail.read() == 2);
    // A mail of HTML alone, and one whose body is a command.
    let html = letter(ANN, "Re: x", "3@good.test", "<p>Hi <b>there</b></p><script>no</script>");
    mail.deliver(&format!("Content-Type: text/html\n{html}"));
    mail.wait_said(&echo("Hi there"));
    mail.deliver(&letter(ANN, "anything", "4@good.test", "/new"));
    wait::until_true("an answer to the command", || mail.sent().len() == 4);
    assert!(!mail.sent()[3].text().contains("echo"), "{:?}", mail.sent()[3]);
}

/// A server that does not say by itself that something came is asked.
#[test]
fn a_server_without_idle_is_asked_again_and_again() {
    let Some(mail) = Mail::start_with(&["no-idle"]) else { return };
    let home = house(&mail, &format!("{ALLOWED}EMAIL_POLL_INTERVAL=1\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert!(log(&home).contains("asks again and again"), "{}", log(&home));
    for n in 0..3 {
        mail.deliver(&letter(ANN, "Re: x", &format!("{n}@good.test"), &format!("hello {n}")));
        mail.wait_said(&echo(&format!("hello {n}")));
    }
    let asked = mail.asked();
    assert_eq!((asked.imap, asked.logins), (1, 1), "one login is kept");
}

/// Files come in and go out.
#[test]
fn files_come_in_and_go_out() {
    let Some(mail) = Mail::start() else { return };
    let home = house(&mail, ALLOWED);
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    fs_err::write(cache.join("a.pdf"), &bytes).unwrap();
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let parts = "--b\nContent-Type: text/plain\n\nlook at this\n--b\nContent-Type: text/plain; name=\"notes.txt\"\n\
                 Content-Disposition: attachment; filename=\"../notes.txt\"\nContent-Transfer-Encoding: base64\n\nd2hhdCBpcyBpbiBpdA==\n--b--";
    mail.deliver(&format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n{}",
        letter(ANN, "Re: x", "1@good.test", parts)
    ));
    let sent = mail.wait_sent(1).remove(0);
    let text = sent.text();
    assert!(
        text.contains("look at this") && text.contains("notes.txt") && text.contains("what is in it"),
        "{text}"
    );
    mail.deliver(&letter(ANN, "Re: x", "2@good.test", &format!("MEDIA:{cache}/a.pdf")));
    let sent =
        wait::until("a mail with a file", || mail.sent().into_iter().find(|sent| sent.file().is_some()));
    let (name, carried) = sent.file().unwrap();
    assert!(name == "a.pdf" && carried == bytes, "{name}");
    assert_eq!(sent.header("In-Reply-To"), "<2@good.test>");
}

/// Both servers are spoken to over TLS, by certificates that the profile names, and never without.
#[test]
fn both_servers_are_spoken_to_over_tls() {
    // A certificate of `localhost`, and its key.
    let certificate = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../worker/src/engine/native/test-localhost.pem");
    let pair = format!("tls={certificate},{certificate}");
    let Some(mail) = Mail::start_with(&[&pair]) else { return };
    let env =
        |more: &str| format!("API_SERVER_KEY={}\n{}{ALLOWED}{more}", home::DEFAULT_KEY, mail.env_by_ports());
    let home = Home::with_config(&Home::config("true", ""));
    home.write("default", ".env", &env(""));
    // Nobody vouches for such a server.
    let gateway = Gateway::start(&home);
    wait::until_true("the server to be refused", || {
        connection(&gateway) == ("retrying".into(), "email_network_error".into())
    });
    drop(gateway);
    home.write(
        "default",
        ".env",
        &env(&format!("SSL_CERT_FILE={}\n", certificate.canonicalize_utf8().unwrap())),
    );
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    mail.deliver(&letter(ANN, "Re: x", "1@good.test", "hello"));
    assert!(mail.wait_said(&echo("hello")).tls);
}
