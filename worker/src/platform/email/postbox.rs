//! The inbox, by IMAP: one login, which is kept; what is new in it; and waiting until something is.
//!
//! A library frames and parses. What it may take into memory is bounded here: every command has so many bytes for its answer, and a server
//! that sends more is lost. So is one that does not answer in time. The library takes a search or a fetch that is refused, or during which the
//! connection ends, for one that has found nothing; here nothing is found where the server has [said](answers) that it is done, and not before.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_imap::error::Error;
use async_imap::extensions::idle::IdleResponse;
use async_imap::imap_proto::{MailboxDatum, Response, Status};
use async_imap::types::Fetch;
use async_imap::{Authenticator, Client, Session};
use futures_util::StreamExt as _;
use hermes_config::network::Network;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::settings::{Settings, Tls};
use crate::outgoing::stream::{Stream, Unconnected, dial, encrypt};

/// Largest mail that is read whole, in bytes; of a larger one so much is.
pub(super) const LARGEST: u32 = 30 << 20;
pub(super) const BEGINNING: u32 = 256 * 1024;
/// Bytes of an answer that is no mail.
const ANSWER: usize = 4 << 20;
/// Longest line before there is a login.
const LINE: usize = 8192;
/// Time for a command, and for one that brings a mail.
const TIME: Duration = Duration::from_secs(30);
const MAIL: Duration = Duration::from_secs(240);
/// Time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Longest text of a server that is shown, in characters.
const SHOWN: usize = 200;

/// What became of it. No text holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made, ever.
    #[error("{0}")]
    Unusable(String),
    /// The server does not take the password.
    #[error("the mail server refuses the login: {0}")]
    Login(String),
    /// It is not reached, or lost.
    #[error("the mail server is not reached: {0}")]
    Lost(String),
    /// It says no.
    #[error("{what}: the mail server says {said}")]
    Refused {
        /// To what.
        what: &'static str,
        /// How.
        said: String,
    },
}

/// The inbox as it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// What the numbers hold for.
    pub(super) validity: u32,
    /// The number of the last mail there is, or was.
    pub(super) last: u32,
}

/// A mail, as it is there.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    /// It is longer, by its server's word: this is its beginning.
    pub(super) is_cut: bool,
    /// When it came, in seconds since the epoch.
    pub(super) at: Option<i64>,
}

/// The inbox.
pub(super) struct Postbox {
    session: Session<Metered>,
    budget: Budget,
    /// The server says by itself that something came.
    idles: bool,
}

impl Postbox {
    /// Connects and logs in.
    pub(super) async fn open(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        if let Some(fault) = &settings.fault {
            return Err(Failure::Unusable(fault.message.clone()));
        }
        let server = &settings.imap;
        let (host, port) = (server.host.as_str(), server.port);
        let mut line = dial(host, port).await.map_err(|error| undialled(&error))?;
        match server.tls {
            Tls::Implicit => {
                line = encrypt(line, host, port, network).await.map_err(|error| undialled(&error))?;
            }
            Tls::Upgraded => {
                let ready = in_time(TIME, ask_for_tls(&mut line)).await?;
                ready.map_err(Failure::Lost)?;
                line = encrypt(line, host, port, network).await.map_err(|error| undialled(&error))?;
            }
            Tls::None => {}
        }
        let budget = Budget::default();
        budget.set(ANSWER);
        let mut client = Client::new(Metered { line, budget: budget.clone(), reading: Reading::Text });
        if server.tls != Tls::Upgraded {
            let greeting = in_time(TIME, client.read_response()).await?;
            if greeting.map_err(|error| Failure::Lost(error.to_string()))?.is_none() {
                return Err(Failure::Lost("it closed the connection".to_owned()));
            }
        }
        let session = in_time(TIME, log_in(client, settings)).await??;
        let mut postbox = Self { session, budget, idles: false };
        let can = postbox.run("CAPABILITY", async |session| session.capabilities().await).await?;
        postbox.idles = can.has_str("IDLE");
        if can.has_str("ID") {
            // Some servers show nothing to whom they do not know by name (163.com).
            let id = [("name", Some("hermes")), ("version", Some(env!("CARGO_PKG_VERSION")))];
            if let Err(failure) = postbox.run("ID", async |session| session.id(id).await).await {
                tracing::debug!("[email] the server does not hear who asks: {failure}");
            }
        }
        Ok(postbox)
    }

    /// Whether the server says by itself that something came.
    pub(super) fn idles(&self) -> bool {
        self.idles
    }

    /// Opens the inbox.
    pub(super) async fn select(&mut self) -> Result<Opened, Failure> {
        let inbox = self.run("SELECT", async |session| session.select("INBOX").await).await?;
        let validity = inbox.uid_validity.ok_or_else(|| Failure::Refused {
            what: "SELECT",
            said: "no UIDVALIDITY: its mails have no lasting numbers".to_owned(),
        })?;
        let last = match inbox.uid_next {
            Some(next) => next.saturating_sub(1),
            None if inbox.exists == 0 => 0,
            None => self.search("UID *").await?.last().copied().unwrap_or(0),
        };
        Ok(Opened { validity, last })
    }

    /// The numbers of the mails behind one, in order.
    pub(super) async fn after(&mut self, uid: u32) -> Result<BTreeSet<u32>, Failure> {
        let Some(next) = uid.checked_add(1) else { return Ok(BTreeSet::new()) };
        // What came is told with an answer, and a search may see only what was told.
        self.run("NOOP", async |session| session.noop().await).await?;
        let mut found = self.search(&format!("UID {next}:*")).await?;
        // Where there is none, the last one there is fits.
        found.retain(|found| *found > uid);
        Ok(found)
    }

    /// The numbers of the mails that came since a day (`1-Feb-2026`), in order.
    pub(super) async fn since(&mut self, day: &str) -> Result<BTreeSet<u32>, Failure> {
        self.search(&format!("SINCE {day}")).await
    }

    async fn search(&mut self, query: &str) -> Result<BTreeSet<u32>, Failure> {
        let searching = async |session: &mut Session<Metered>| {
            let mut found = BTreeSet::new();
            let each = |said: &Response<'_>| {
                if let Response::MailboxData(MailboxDatum::Search(all)) = said {
                    found.extend(all.iter().copied());
                }
            };
            answers(session, &format!("UID SEARCH {query}"), each).await?;
            Ok(found)
        };
        self.run("SEARCH", searching).await
    }

    /// A mail; none: it is not there any more.
    pub(super) async fn fetch(&mut self, uid: u32) -> Result<Option<Fetched>, Failure> {
        let set = uid.to_string();
        self.budget.set(ANSWER);
        let about = self.first(&set, "(UID RFC822.SIZE INTERNALDATE)", uid).await?;
        let Some(about) = about else { return Ok(None) };
        let at = about.internal_date().map(|date| date.timestamp());
        let is_cut = about.size.is_some_and(|size| size > LARGEST);
        let most = if is_cut { BEGINNING } else { LARGEST };
        let query = format!("(UID BODY.PEEK[]<0.{most}>)");
        self.budget.set(usize::try_from(most).unwrap_or(usize::MAX).saturating_add(ANSWER));
        let Some(mail) = self.first(&set, &query, uid).await? else { return Ok(None) };
        let bytes = mail.body().ok_or_else(not_given)?;
        Ok(Some(Fetched { bytes: bytes.to_vec(), is_cut, at }))
    }

    /// When a mail came, in seconds since the epoch; none: it is not there any more.
    pub(super) async fn came(&mut self, uid: u32) -> Result<Option<i64>, Failure> {
        if uid == 0 {
            return Ok(None);
        }
        self.budget.set(ANSWER);
        let found = self.first(&uid.to_string(), "(UID INTERNALDATE)", uid).await?;
        Ok(found.and_then(|mail| mail.internal_date()).map(|date| date.timestamp()))
    }

    async fn first(&mut self, set: &str, query: &str, uid: u32) -> Result<Option<Fetch>, Failure> {
        let session = &mut self.session;
        let fetching = async {
            let mut found = None;
            let mut fetched = session.uid_fetch(set, query).await?;
            while let Some(one) = fetched.next().await {
                let one = one?;
                // Others are told of what somebody else does meanwhile.
                if one.uid == Some(uid) && (found.is_none() || one.body().is_some()) {
                    found = Some(one);
                }
            }
            Ok(found)
        };
        let found = in_time(MAIL, fetching).await?.map_err(|error| failed("FETCH", error))?;
        self.settle();
        // What is there and was not given was refused.
        if found.is_none() && self.search(&format!("UID {uid}")).await?.contains(&uid) {
            return Err(not_given());
        }
        Ok(found)
    }

    /// Shows people that a mail was read.
    pub(super) async fn show_read(&mut self, uid: u32) -> Result<(), Failure> {
        let marking = async |session: &mut Session<Metered>| {
            let mut told = session.uid_store(uid.to_string(), "+FLAGS.SILENT (\\Seen)").await?;
            while let Some(one) = told.next().await {
                one?;
            }
            Ok(())
        };
        self.run("STORE", marking).await
    }

    /// Waits until the server says that something is new, for so long at most. The connection is back afterwards; not where this is dropped.
    pub(super) async fn idle(self, most: Duration) -> Result<Self, Failure> {
        let Self { session, budget, idles } = self;
        budget.set(ANSWER);
        let mut handle = session.idle();
        let begun = in_time(TIME, handle.init()).await?;
        begun.map_err(|error| failed("IDLE", error))?;
        let (waiting, _interrupt) = handle.wait_with_timeout(most);
        let heard = waiting.await.map_err(|error| failed("IDLE", error))?;
        if heard == IdleResponse::ManualInterrupt {
            return Err(Failure::Lost("it closed the connection".to_owned()));
        }
        let done = in_time(TIME, handle.done()).await?;
        let session = done.map_err(|error| failed("IDLE", error))?;
        let mut postbox = Self { session, budget, idles };
        postbox.settle();
        Ok(postbox)
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) {
        let _ = timeout(GOODBYE, self.session.logout()).await;
    }

    async fn run<T>(
        &mut self,
        what: &'static str,
        command: impl AsyncFnOnce(&mut Session<Metered>) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        self.budget.set(ANSWER);
        let done = in_time(TIME, command(&mut self.session)).await?;
        self.settle();
        done.map_err(|error| failed(what, error))
    }

    /// What the server told beside its answers is asked for anyway; it must not pile up.
    fn settle(&mut self) {
        while self.session.unsolicited_responses.try_recv().is_ok() {}
    }
}

/// A mail that is there is not given, and the library does not say what the server says of that.
fn not_given() -> Failure {
    Failure::Refused { what: "FETCH", said: "that the mail is there, and does not give it".to_owned() }
}

/// Runs a command and shows what the server says to it, until it says that it is done.
async fn answers(
    session: &mut Session<Metered>,
    command: &str,
    mut each: impl FnMut(&Response<'_>),
) -> Result<(), Error> {
    let id = session.run_command(command).await?;
    while let Some(said) = session.read_response().await? {
        match said.parsed() {
            Response::Done { tag, status, outcome } if *tag == id => {
                let text = || outcome.information.as_deref().unwrap_or_default().to_owned();
                return match status {
                    Status::Ok => Ok(()),
                    Status::No => Err(Error::No(text())),
                    _ => Err(Error::Bad(text())),
                };
            }
            said => each(said),
        }
    }
    Err(Error::ConnectionLost)
}

async fn in_time<T>(time: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(time, work).await.map_err(|_| Failure::Lost("no answer in time".to_owned()))
}

/// Logs in. A password with other letters than ASCII goes by SASL, which knows them.
async fn log_in(client: Client<Metered>, settings: &Settings) -> Result<Session<Metered>, Failure> {
    let (user, password) = (settings.login.trim(), settings.password.expose());
    let done = if user.is_ascii() && password.is_ascii() {
        client.login(user, password).await
    } else {
        client.authenticate("PLAIN", Plain(format!("\0{user}\0{password}"))).await
    };
    done.map_err(|(error, _)| match error {
        Error::No(said) if is_for_now(&said) => Failure::Lost(format!("the login: it says {}", shown(&said))),
        Error::No(said) => Failure::Login(shown(&said)),
        error => failed("LOGIN", error),
    })
}

/// Whether a refused login says nothing of the password (RFC 5530, and words of servers that do not know it).
fn is_for_now(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    if ["authenticationfailed", "authorizationfailed", "expired"].iter().any(|code| said.contains(code)) {
        return false;
    }
    [
        "unavailable",
        "inuse",
        "[limit]",
        "serverbug",
        "overquota",
        "temporar",
        "try again",
        "too many",
        "rate limit",
    ]
    .iter()
    .any(|word| said.contains(word))
}

#[derive(Debug)]
struct Plain(String);

impl Authenticator for Plain {
    type Response = String;

    fn process(&mut self, _challenge: &[u8]) -> String {
        self.0.clone()
    }
}

/// Asks for encryption; nothing is read beyond the answer.
async fn ask_for_tls(line: &mut Stream) -> Result<(), String> {
    let greeting = read_line(line).await?;
    if !greeting.to_ascii_uppercase().starts_with("* OK") {
        return Err(format!("it says {}", shown(&greeting)));
    }
    let asked = async {
        line.write_all(b"T1 STARTTLS\r\n").await?;
        line.flush().await
    };
    asked.await.map_err(|error| error.to_string())?;
    for _ in 0..20 {
        let said = read_line(line).await?;
        if let Some(answer) = said.strip_prefix("T1 ") {
            let is_ready = answer.to_ascii_uppercase().starts_with("OK");
            let why = || {
                format!(
                    "it offers no STARTTLS ({}), and the password is not sent in the clear",
                    shown(answer)
                )
            };
            return if is_ready { Ok(()) } else { Err(why()) };
        }
    }
    Err("it does not answer to STARTTLS".to_owned())
}

async fn read_line(line: &mut Stream) -> Result<String, String> {
    let mut text = Vec::new();
    while text.len() < LINE {
        match line.read_u8().await.map_err(|error| error.to_string())? {
            b'\n' => return Ok(String::from_utf8_lossy(&text).trim_end().to_owned()),
            byte => text.push(byte),
        }
    }
    Err("a line of its answer does not end".to_owned())
}

/// What a failed command is.
fn failed(what: &'static str, error: Error) -> Failure {
    match error {
        Error::No(said) | Error::Bad(said) => Failure::Refused { what, said: shown(&said) },
        error => Failure::Lost(shown(&error.to_string())),
    }
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

fn undialled(error: &Unconnected) -> Failure {
    match error {
        Unconnected::Unusable(_) | Unconnected::Address(_) => Failure::Unusable(error.to_string()),
        Unconnected::Unreached { .. } => Failure::Lost(error.to_string()),
    }
}

/// How much may come. Cloning shares it.
#[derive(Debug, Clone, Default)]
struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that ends where more comes than may, or is only announced: the library makes room for what a server says that it will send.
#[derive(Debug)]
struct Metered {
    line: Stream,
    budget: Budget,
    reading: Reading,
}

/// Where what comes stands, as far as an announcement goes: `{17}` at the end of a line says that 17 bytes follow, which are no lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Text,
    Number(usize),
    Announced(usize),
    Bytes(usize),
}

impl Reading {
    /// Goes on behind these bytes; none: more is announced than may come.
    fn behind(mut self, mut bytes: &[u8], left: usize) -> Option<Self> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Self::Bytes(count) = self {
                let now = count.min(bytes.len());
                bytes = &bytes[now..];
                self = if now == count { Self::Text } else { Self::Bytes(count - now) };
                continue;
            }
            bytes = rest;
            self = match (self, byte) {
                (_, b'{') => Self::Number(0),
                (Self::Number(number), b'0'..=b'9') => {
                    Self::Number(number.saturating_mul(10).saturating_add(usize::from(byte - b'0')))
                }
                (Self::Number(number), b'}') | (Self::Announced(number), b'\r') => Self::Announced(number),
                (Self::Announced(number), b'\n') if number > left => return None,
                (Self::Announced(0), b'\n') => Self::Text,
                (Self::Announced(number), b'\n') => Self::Bytes(number),
                _ => Self::Text,
            };
        }
        Some(self)
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.line).poll_read(cx, buf);
        let more = &buf.filled()[before..];
        let left = self.budget.left().checked_sub(more.len());
        match left.and_then(|left| Some((left, self.reading.behind(more, left)?))) {
            Some((left, reading)) => {
                self.budget.set(left);
                self.reading = reading;
                read
            }
            None => Poll::Ready(Err(std::io::Error::other("it sends too much"))),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.line).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_login_is_for_good_unless_it_says_otherwise() {
        for said in [
            "[AUTHENTICATIONFAILED] no",
            "Invalid credentials",
            "[AUTHENTICATIONFAILED] temporarily wrong",
            "LOGIN failed",
        ] {
            assert!(!is_for_now(said), "{said}");
        }
        for said in
            ["[UNAVAILABLE] later", "Temporary failure", "Too many simultaneous connections", "[INUSE]"]
        {
            assert!(is_for_now(said), "{said}");
        }
    }

    #[tokio::test]
    async fn who_sends_too_much_is_lost() {
        let (mut server, line) = tokio::io::duplex(1 << 16);
        server.write_all(&[b'x'; 1000]).await.unwrap();
        let budget = Budget::default();
        budget.set(600);
        let mut metered = Metered { line: Box::new(line), budget: budget.clone(), reading: Reading::Text };
        let mut piece = [0; 500];
        assert_eq!(metered.read(&mut piece).await.unwrap(), 500);
        assert!(metered.read(&mut piece).await.is_err());
    }

    #[test]
    fn who_announces_too_much_is_lost_before_there_is_room_for_it() {
        let text = b"* 1 FETCH (UID 1 BODY[] {10}\r\n{99999}\r\nx)\r\n* OK {x} {1} y\r\n";
        assert_eq!(Reading::Text.behind(text, 10), Some(Reading::Text));
        assert_eq!(Reading::Text.behind(text, 9), None);
        assert_eq!(Reading::Text.behind(b"{99999999999999999999999999}\r\n", usize::MAX - 1), None);
        // In whatever pieces it comes.
        for size in 1..text.len() {
            let end = text.chunks(size).try_fold(Reading::Text, |reading, piece| reading.behind(piece, 10));
            assert_eq!(end, Some(Reading::Text), "{size}");
        }
    }
}
