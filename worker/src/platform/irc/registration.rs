//! How a connection becomes a user: capabilities, the account, a nick. Pure.
//!
//! ```text
//!   PASS, CAP LS, NICK, USER ─▶ CAP REQ ─▶ AUTHENTICATE ─▶ CAP END ─▶ 001
//! ```
//!
//! Whoever has an account is logged in to it before anybody sees him, or not there at all: without it others could not tell the bot from who
//! takes its nick.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::settings::Settings;
use super::wire::{Line, one_line};

/// Longest nick that every server takes (RFC 2812).
const SHORT: usize = 9;
/// Most nicks that are tried.
const NICKS: u32 = 8;
/// Most bytes of one piece of an answer to the server's question for an account.
const PIECE: usize = 400;
/// Most bytes of capabilities that are listed.
const LISTED: usize = 16 * 1024;
/// Capabilities that are of use, beside `sasl`.
const WANTED: [&str; 2] = ["account-tag", "message-tags"];

/// Why there is no connection any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Another try cannot help before the files change.
    pub(super) is_fatal: bool,
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) why: String,
}

impl Ended {
    pub(super) fn fatal(code: &'static str, why: impl Into<String>) -> Self {
        Self { is_fatal: true, code, why: why.into() }
    }

    pub(super) fn lost(code: &'static str, why: impl Into<String>) -> Self {
        Self { is_fatal: false, code, why: why.into() }
    }
}

/// The nicks that are tried.
#[derive(Debug, Clone)]
pub(super) struct Nicks {
    wanted: String,
    limit: usize,
    tried: u32,
}

impl Nicks {
    fn of(wanted: &str) -> Self {
        Self { wanted: wanted.to_owned(), limit: 64, tried: 0 }
    }

    /// The nick that the bot is to have: what is wanted, as long as the server takes it.
    pub(super) fn goal(&self) -> &str {
        &self.wanted[..self.limit.min(self.wanted.len())]
    }

    /// What the server says of how long one may be.
    pub(super) fn limit(&mut self, most: usize) {
        self.limit = self.limit.min(most.clamp(1, 64));
    }

    fn current(&self) -> String {
        let end = match self.tried {
            0 => return self.goal().to_owned(),
            1 => "_".to_owned(),
            n => format!("_{}", n - 1),
        };
        let room = self.limit.saturating_sub(end.len()).min(self.wanted.len());
        format!("{}{end}", &self.wanted[..room])
    }

    /// Somebody has it: another one.
    fn taken(&mut self) -> Option<String> {
        self.tried += 1;
        (self.tried < NICKS).then(|| self.current())
    }

    /// The server does not take it: a shorter one.
    fn refused(&mut self) -> Option<String> {
        if self.current().len() <= SHORT {
            return None;
        }
        self.limit = SHORT;
        Some(self.current())
    }
}

/// Who the bot is.
#[derive(Debug, Clone)]
pub(super) struct Welcome {
    pub(super) nick: String,
    pub(super) nicks: Nicks,
    /// The server says of every message which account its sender is logged in to.
    pub(super) vouches: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Step {
    /// Say these lines.
    Say(Vec<String>),
    /// It is done.
    Welcome(Box<Welcome>),
    /// It cannot be.
    Ended(Ended),
}

/// One try.
#[derive(Debug)]
pub(super) struct Registration<'s> {
    settings: &'s Settings,
    nicks: Nicks,
    offered: String,
    is_asked: bool,
    has_account: bool,
    vouches: bool,
}

impl<'s> Registration<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self {
            settings,
            nicks: Nicks::of(&settings.nick),
            offered: String::new(),
            is_asked: false,
            has_account: false,
            vouches: false,
        }
    }

    /// What it begins with.
    pub(super) fn begin(&self) -> Vec<String> {
        let password = self.settings.server_password.as_ref();
        let password = password.map(|password| format!("PASS :{}", one_line(password.expose())));
        let nick = format!("NICK {}", self.nicks.current());
        let user = "USER hermes 0 * :Hermes Agent".to_owned();
        password.into_iter().chain(["CAP LS 302".to_owned(), nick, user]).collect()
    }

    /// Takes a line of the server's.
    pub(super) fn hear(&mut self, line: &Line) -> Step {
        let none = || Step::Say(Vec::new());
        match line.command.as_str() {
            "CAP" => self.capabilities(line),
            // A server from before capabilities.
            "410" | "421" if line.param(1).eq_ignore_ascii_case("CAP") || line.command == "410" => {
                match self.settings.sasl {
                    Some(_) => Step::Ended(no_sasl("the server knows no capabilities")),
                    None => none(),
                }
            }
            "AUTHENTICATE" if line.param(0) == "+" => self.authenticate(),
            "903" | "907" => {
                self.has_account = true;
                Step::Say(vec!["CAP END".to_owned()])
            }
            "902" | "904" | "905" | "906" | "908" => Step::Ended(Ended::fatal(
                "irc_invalid_auth",
                format!("the account is refused ({}): {}", line.command, shown(line.last())),
            )),
            "433" | "436" | "437" => match self.nicks.taken() {
                Some(nick) => Step::Say(vec![format!("NICK {nick}")]),
                None => Step::Ended(Ended::lost("irc_nick_in_use", "somebody has every nick that was tried")),
            },
            "432" => {
                let current = self.nicks.current();
                if let Some(nick) = self.nicks.refused() {
                    return Step::Say(vec![format!("NICK {nick}")]);
                }
                let why = format!("the server does not take the nick `{current}`: {}", shown(line.last()));
                Step::Ended(Ended::fatal("irc_nick_refused", why))
            }
            // Some say it in their goodbye alone.
            "ERROR" if line.last().to_ascii_lowercase().contains("password") => {
                let why = format!("the server's password is refused: {}", shown(line.last()));
                Step::Ended(Ended::fatal("irc_invalid_auth", why))
            }
            "001" if self.settings.sasl.is_some() && !self.has_account => {
                Step::Ended(no_sasl("the server went on without it"))
            }
            "001" => {
                let nick = line.param(0).to_owned();
                let (nicks, vouches) = (self.nicks.clone(), self.vouches);
                Step::Welcome(Box::new(Welcome { nick, nicks, vouches }))
            }
            _ => ended(line).map_or_else(none, Step::Ended),
        }
    }

    fn capabilities(&mut self, line: &Line) -> Step {
        let end = || Step::Say(vec!["CAP END".to_owned()]);
        match line.param(1).to_ascii_uppercase().as_str() {
            "LS" => {
                if self.offered.len() < LISTED {
                    self.offered.push(' ');
                    self.offered.push_str(line.last());
                }
                // More of them follow.
                if line.param(2) == "*" || self.is_asked {
                    return Step::Say(Vec::new());
                }
                self.is_asked = true;
                let offers = |name: &str| {
                    self.offered.split_whitespace().find_map(|cap| match cap.split_once('=') {
                        Some((cap, value)) => (cap == name).then_some(value),
                        None => (cap == name).then_some(""),
                    })
                };
                let mut asked: Vec<&str> = WANTED.into_iter().filter(|name| offers(name).is_some()).collect();
                if self.settings.sasl.is_some() {
                    match offers("sasl") {
                        Some(ways) if ways.is_empty() || ways.split(',').any(|way| way == "PLAIN") => {
                            asked.push("sasl");
                        }
                        Some(_) => return Step::Ended(no_sasl("the server does not offer its way PLAIN")),
                        None => {
                            return Step::Ended(no_sasl("the server does not offer it, at least not now"));
                        }
                    }
                }
                if asked.is_empty() {
                    end()
                } else {
                    Step::Say(vec![format!("CAP REQ :{}", asked.join(" "))])
                }
            }
            "ACK" => {
                let has = |name: &str| line.last().split_whitespace().any(|cap| cap == name);
                self.vouches |= has("account-tag");
                if has("sasl") { Step::Say(vec!["AUTHENTICATE PLAIN".to_owned()]) } else { end() }
            }
            "NAK" if self.settings.sasl.is_some() => Step::Ended(no_sasl("the server does not grant it")),
            "NAK" => end(),
            _ => Step::Say(Vec::new()),
        }
    }

    fn authenticate(&self) -> Step {
        let Some((account, password)) = &self.settings.sasl else { return Step::Say(Vec::new()) };
        Step::Say(plain(account, password.expose()))
    }
}

/// The answer of SASL's PLAIN, in pieces.
fn plain(account: &str, password: &str) -> Vec<String> {
    let text = STANDARD.encode(format!("\0{account}\0{password}"));
    let mut lines: Vec<String> = text
        .as_bytes()
        .chunks(PIECE)
        .map(|piece| format!("AUTHENTICATE {}", String::from_utf8_lossy(piece)))
        .collect();
    // The last piece is shorter than the others, if only by being empty.
    if text.len().is_multiple_of(PIECE) {
        lines.push("AUTHENTICATE +".to_owned());
    }
    lines
}

fn no_sasl(why: &str) -> Ended {
    Ended::lost("irc_sasl_unavailable", format!("the account cannot be logged in to: {why}"))
}

/// What a line says of the end of the connection, at any time.
pub(super) fn ended(line: &Line) -> Option<Ended> {
    let why = shown(line.last());
    match line.command.as_str() {
        "464" => {
            Some(Ended::fatal("irc_invalid_auth", format!("the server's password is refused (464): {why}")))
        }
        "465" => {
            Some(Ended::fatal("irc_invalid_auth", format!("the server has banned the bot (465): {why}")))
        }
        "ERROR" => Some(Ended::lost("irc_network_error", format!("the server closed the connection: {why}"))),
        _ => None,
    }
}

/// What a server says, for people.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nick_that_is_taken_has_an_end_and_one_that_is_too_long_has_none() {
        let mut nicks = Nicks::of("hermes-bot");
        assert_eq!(nicks.current(), "hermes-bot");
        let taken: Vec<_> = (0..3).map(|_| nicks.taken().unwrap()).collect();
        assert_eq!(taken, ["hermes-bot_", "hermes-bot_1", "hermes-bot_2"]);
        assert_eq!(nicks.refused().as_deref(), Some("hermes-_2"));
        assert_eq!((nicks.refused(), nicks.goal()), (None, "hermes-bo"));
        let mut nicks = Nicks::of("hermes-bot");
        assert_eq!(nicks.refused().as_deref(), Some("hermes-bo"));
        assert_eq!(nicks.taken().as_deref(), Some("hermes-b_"));
        assert!((0..NICKS).any(|_| nicks.taken().is_none()));
    }

    #[test]
    fn the_answer_for_an_account_comes_in_pieces() {
        assert_eq!(plain("ann", "secret"), [format!("AUTHENTICATE {}", STANDARD.encode("\0ann\0secret"))]);
        let long = plain("ann", &"x".repeat(295));
        assert_eq!((long.len(), long[1].as_str()), (2, "AUTHENTICATE +"), "{}", long[0].len());
        assert!(plain("ann", &"x".repeat(400)).iter().all(|line| line.len() <= PIECE + 13));
    }
}
