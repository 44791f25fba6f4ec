//! One mail on its way out (RFC 5321, over TLS by RFC 3207 where it is so set), and what can become of it.
//!
//! The conversation knows at every moment whether the mail can be there already: until the line that ends it has gone out it is not, after
//! that only the answer tells. What a server says is bounded in its lines, their length and time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hermes_config::network::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::settings::{Settings, Tls};
use crate::outgoing::stream::{Stream, Unconnected, dial, encrypt};

/// Longest line of an answer, in bytes; most lines of one.
const LONGEST: usize = 2048;
const LINES: usize = 100;
/// Most of an answer that is shown, in characters.
const SHOWN: usize = 200;
/// Time for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The same after a mail, which servers look into before they take it.
const TAKEN: Duration = Duration::from_secs(180);
/// Time for one piece of a mail to go out, and its length in bytes.
const GIVEN: Duration = Duration::from_secs(60);
const PIECE: usize = 64 * 1024;

/// What became of it. No text holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made, ever.
    #[error("{0}")]
    Unusable(String),
    /// The mail did not get there.
    #[error("the mail server is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to the mail server broke: {0}")]
    Lost(String),
    /// The server does not take the password.
    #[error("the mail server refuses the login: {0}")]
    Login(Reply),
    /// It says no.
    #[error("{}: the mail server says {reply}", step.name())]
    Refused {
        /// To what.
        step: Step,
        /// How.
        reply: Reply,
    },
}

/// What a server can say no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection.
    Greeting,
    /// Encryption.
    Tls,
    /// The sender.
    From,
    /// The one to whom it goes.
    To,
    /// The mail itself.
    Data,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Greeting => "the connection",
            Self::Tls => "STARTTLS",
            Self::From => "the bot's address",
            Self::To => "the recipient",
            Self::Data => "the mail",
        }
    }
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// All its lines.
    pub(super) text: String,
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String =
            self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
        write!(f, "{} {text}", self.code)
    }
}

/// Takes one mail to one person.
pub(super) async fn send(
    settings: &Settings,
    network: &Network,
    to: &str,
    mail: &[u8],
) -> Result<(), Failure> {
    let mut talk = Talk::begin(settings, network).await?;
    let (from, to) = (format!("MAIL FROM:<{}>", settings.login.trim()), format!("RCPT TO:<{to}>"));
    talk.ask(&from, Step::From).await?;
    talk.ask(&to, Step::To).await?;
    talk.say("DATA").await?;
    let ready = talk.reply(ANSWER).await.map_err(Failure::Unsent)?;
    if ready.code != 354 {
        return Err(Failure::Refused { step: Step::Data, reply: ready });
    }
    let (body, end) = stuffed(mail);
    for piece in body.chunks(PIECE) {
        talk.give(piece).await.map_err(Failure::Unsent)?;
    }
    // From here on it may be there.
    talk.give(end).await.map_err(Failure::Lost)?;
    let taken = talk.reply(TAKEN).await.map_err(Failure::Lost)?;
    if !(200..300).contains(&taken.code) {
        return Err(Failure::Refused { step: Step::Data, reply: taken });
    }
    talk.end().await;
    Ok(())
}

/// Logs in, and does nothing else.
pub(super) async fn try_login(settings: &Settings, network: &Network) -> Result<(), Failure> {
    let talk = Talk::begin(settings, network).await?;
    talk.end().await;
    Ok(())
}

/// A mail as it goes over the wire, and the line that ends it: every line ends as mail's do, and none that is a dot ends it early.
fn stuffed(mail: &[u8]) -> (Vec<u8>, &'static [u8]) {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 50);
    let lines = mail.strip_suffix(b"\n").unwrap_or(mail).split(|byte| *byte == b'\n');
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    (out, b".\r\n")
}

/// A conversation.
struct Talk {
    line: Stream,
    /// What was read and not looked at yet.
    read: Vec<u8>,
    /// What the server can do, a line each, in capitals.
    offers: Vec<String>,
}

impl Talk {
    /// Connects, encrypts and logs in.
    async fn begin(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let server = &settings.smtp;
        if let Some(fault) = &settings.fault {
            return Err(Failure::Unusable(fault.message.clone()));
        }
        let mut line = dial(&server.host, server.port).await.map_err(|error| undialled(&error))?;
        if server.tls == Tls::Implicit {
            line =
                encrypt(line, &server.host, server.port, network).await.map_err(|error| undialled(&error))?;
        }
        let mut talk = Self { line, read: Vec::new(), offers: Vec::new() };
        let greeting = talk.reply(ANSWER).await.map_err(Failure::Unsent)?;
        if greeting.code != 220 {
            return Err(Failure::Refused { step: Step::Greeting, reply: greeting });
        }
        talk.hello(settings.domain()).await?;
        if server.tls == Tls::Upgraded {
            talk = talk.encrypted(settings, network).await?;
        }
        talk.log_in(settings).await?;
        Ok(talk)
    }

    async fn encrypted(mut self, settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let server = &settings.smtp;
        let ready = self.ask("STARTTLS", Step::Tls).await;
        if let Err(Failure::Refused { reply, .. }) = &ready
            && reply.code >= 500
        {
            let text = format!(
                "the mail server offers no STARTTLS ({reply}), and the password is not sent in the clear"
            );
            return Err(Failure::Unsent(text));
        }
        ready?;
        if !self.read.is_empty() {
            return Err(Failure::Unsent("the mail server goes on in the clear after STARTTLS".to_owned()));
        }
        let line = encrypt(self.line, &server.host, server.port, network);
        let line = line.await.map_err(|error| undialled(&error))?;
        let mut talk = Self { line, read: Vec::new(), offers: Vec::new() };
        talk.hello(settings.domain()).await?;
        Ok(talk)
    }

    async fn hello(&mut self, name: &str) -> Result<(), Failure> {
        let hello = self.ask(&format!("EHLO {name}"), Step::Greeting).await?;
        self.offers = hello.text.lines().map(str::to_ascii_uppercase).collect();
        Ok(())
    }

    async fn log_in(&mut self, settings: &Settings) -> Result<(), Failure> {
        let offers = |way: &str| {
            let ways = self.offers.iter().filter_map(|line| line.strip_prefix("AUTH"));
            ways.flat_map(|ways| ways.split([' ', '='])).any(|offered| offered == way)
        };
        let (user, password) = (settings.login.trim(), settings.password.expose());
        let reply = if offers("PLAIN") {
            let token = STANDARD.encode(format!("\0{user}\0{password}"));
            self.say(&format!("AUTH PLAIN {token}")).await?;
            self.reply(ANSWER).await.map_err(Failure::Unsent)?
        } else if offers("LOGIN") {
            self.say("AUTH LOGIN").await?;
            let mut reply = self.reply(ANSWER).await.map_err(Failure::Unsent)?;
            for secret in [user, password] {
                if reply.code != 334 {
                    break;
                }
                self.say(&STANDARD.encode(secret)).await?;
                reply = self.reply(ANSWER).await.map_err(Failure::Unsent)?;
            }
            reply
        } else {
            return Err(Failure::Unsent("the mail server offers no login by a password".to_owned()));
        };
        match reply.code {
            235 => Ok(()),
            500..=599 => Err(Failure::Login(reply)),
            _ => Err(Failure::Unsent(format!("the login: the mail server says {reply}"))),
        }
    }

    /// Says something, and hears that it is well.
    async fn ask(&mut self, text: &str, step: Step) -> Result<Reply, Failure> {
        self.say(text).await?;
        let reply = self.reply(ANSWER).await.map_err(Failure::Unsent)?;
        match reply.code {
            200..=299 => Ok(reply),
            530 | 535 if step != Step::Tls => Err(Failure::Login(reply)),
            _ => Err(Failure::Refused { step, reply }),
        }
    }

    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        // One command is one line, whatever is in it.
        if text.contains(['\r', '\n', '\0']) {
            return Err(Failure::Unusable("an address has a line break in it".to_owned()));
        }
        self.give(format!("{text}\r\n").as_bytes()).await.map_err(Failure::Unsent)
    }

    async fn give(&mut self, bytes: &[u8]) -> Result<(), String> {
        let giving = async {
            self.line.write_all(bytes).await?;
            self.line.flush().await
        };
        let given = timeout(GIVEN, giving).await.map_err(|_| "it does not read".to_owned())?;
        given.map_err(|error| error.to_string())
    }

    /// The next answer, all its lines.
    async fn reply(&mut self, patience: Duration) -> Result<Reply, String> {
        timeout(patience, self.read_reply()).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    async fn read_reply(&mut self) -> Result<Reply, String> {
        let odd = || "what it says is no SMTP".to_owned();
        let mut text = String::new();
        for _ in 0..LINES {
            let line = self.read_line().await?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let (code, rest) = line.split_at_checked(3).ok_or_else(odd)?;
            let code: u16 = code.parse().ok().filter(|code| (200..600).contains(code)).ok_or_else(odd)?;
            let (is_last, more) = match rest.as_bytes().first() {
                None => (true, ""),
                Some(b' ') => (true, &rest[1..]),
                Some(b'-') => (false, &rest[1..]),
                Some(_) => return Err(odd()),
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(more.trim_end());
            if is_last {
                return Ok(Reply { code, text });
            }
        }
        Err("its answer does not end".to_owned())
    }

    async fn read_line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.read.len() > LONGEST {
                return Err("a line of its answer does not end".to_owned());
            }
            let mut piece = [0; 512];
            match self.line.read(&mut piece).await {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(count) => self.read.extend_from_slice(&piece[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Says goodbye; what is said to that matters to nobody.
    async fn end(mut self) {
        let _ = timeout(Duration::from_secs(2), async {
            self.give(b"QUIT\r\n").await?;
            self.read_reply().await
        })
        .await;
    }
}

fn undialled(error: &Unconnected) -> Failure {
    match error {
        Unconnected::Unusable(_) | Unconnected::Address(_) => Failure::Unusable(error.to_string()),
        Unconnected::Unreached { .. } => Failure::Unsent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_mail_ends_it() {
        let of = |mail: &[u8]| String::from_utf8(stuffed(mail).0).unwrap();
        assert_eq!(of(b"a\r\n.\r\n..b\nc"), "a\r\n..\r\n...b\r\nc\r\n");
        assert_eq!(of(b"a\r\n"), "a\r\n");
        assert_eq!(stuffed(b"a").1, b".\r\n");
    }

    #[tokio::test]
    async fn an_answer_is_all_its_lines_and_bounded() {
        let reply = async |said: &[u8]| {
            let (mut server, line) = tokio::io::duplex(1 << 20);
            server.write_all(said).await.unwrap();
            drop(server);
            let mut talk = Talk { line: Box::new(line), read: Vec::new(), offers: Vec::new() };
            talk.reply(ANSWER).await
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(reply(b"250-a\r\n250 b\r\n").await, Ok(Reply { code: 250, text: text("a\nb") }));
        assert_eq!(reply(b"220\n").await, Ok(Reply { code: 220, text: text("") }));
        for odd in [&b"hello\r\n"[..], b"25\r\n", b"999 x\r\n", b"250x\r\n", b"250-a\r\n", b""] {
            assert!(reply(odd).await.is_err(), "{odd:?}");
        }
        assert!(reply(&b"250-a\r\n".repeat(LINES + 1)).await.is_err());
        assert!(reply(&vec![b'2'; LONGEST * 2]).await.is_err());
    }
}
