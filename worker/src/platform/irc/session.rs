//! What is known of the server and of the bot's place there, once it is welcome, and what follows from each line. Pure: who asks tells the
//! time, and says what is to be said.

use std::time::Duration;

use tokio::time::Instant;

use super::registration::{Ended, Nicks, Welcome, ended, shown};
use super::settings::Settings;
use super::wire::{Casemapping, Line, addressed, one_line, said};

/// Wait before a channel is joined again, after the first time that the bot was put out of it; each next one is twice as long.
const REJOIN: Duration = Duration::from_secs(5);
/// Longest of these waits.
const LONGEST: Duration = Duration::from_mins(5);
/// Whoever is in a channel for so long is in it.
const SETTLED: Duration = Duration::from_mins(5);
/// Pause between tries to have the nick that the bot is to have.
const REGAIN: Duration = Duration::from_mins(1);
/// Longest message with all that a server puts before it.
const MESSAGE: usize = 510;
/// Longest text of one message.
const TEXT: usize = 450;
/// What a server puts before a nick's messages at most, where that is not known: a user and a host.
const AROUND: usize = "!~hermes1234@".len() + 63;

/// What follows from a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Say this line.
    Say(String),
    /// Somebody speaks to the bot.
    Heard(Box<Incoming>),
    /// The server answers to a question of whether it lives.
    Pong(String),
    /// What was said there did not get there.
    Refused { target: String, why: String, is_gone: bool },
    /// What the bot is not in changed.
    Places,
    /// The connection is over.
    Ended(Ended),
}

/// What somebody says to the bot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Incoming {
    pub(super) nick: String,
    /// Who he is: the account that the server vouches for, else his nick in small letters or, where the server knows accounts and he has none, all
    /// of his mask.
    pub(super) id: String,
    /// Other ways to write that.
    pub(super) aliases: Vec<String>,
    /// The channel; none: it is private.
    pub(super) channel: Option<String>,
    pub(super) text: String,
    /// The server's name for it.
    pub(super) message_id: Option<String>,
    pub(super) is_bot: bool,
}

/// A channel that the bot is to be in.
#[derive(Debug)]
struct Channel {
    name: String,
    /// Since when it is.
    since: Option<Instant>,
    tries: u32,
    /// When it is joined again.
    next: Option<Instant>,
    /// Why it is not in it.
    why: String,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session<'s> {
    settings: &'s Settings,
    nick: String,
    nicks: Nicks,
    vouches: bool,
    map: Casemapping,
    kinds: String,
    channels: Vec<Channel>,
    /// Length of what the server puts before the bot's messages, up to the host.
    around: Option<usize>,
    regain: Option<Instant>,
}

impl<'s> Session<'s> {
    /// The session of a bot that is welcome, and what it says first.
    pub(super) fn new(settings: &'s Settings, welcome: Welcome, now: Instant) -> (Self, Vec<Act>) {
        let channel = |name: &String| Channel {
            name: name.clone(),
            since: None,
            tries: 0,
            next: None,
            why: "it is not joined yet".to_owned(),
        };
        let Welcome { nick, nicks, vouches } = welcome;
        let mut session = Self {
            settings,
            nick,
            nicks,
            vouches,
            map: Casemapping::default(),
            kinds: "#&+!".to_owned(),
            channels: settings.channels.iter().map(channel).collect(),
            around: None,
            regain: None,
        };
        let mut acts = Vec::new();
        session.identify(&mut acts);
        if !session.is_goal(&session.nick) {
            session.regain = Some(now + REGAIN);
        }
        acts.extend(settings.channels.iter().map(|name| Act::Say(format!("JOIN {name}"))));
        (session, acts)
    }

    /// The nick that the bot has.
    pub(super) fn nick(&self) -> &str {
        &self.nick
    }

    /// Longest text of one message to somebody.
    pub(super) fn room(&self, target: &str) -> usize {
        let around = self.around.unwrap_or(AROUND) + self.nick.len();
        let taken = ":".len() + around + " PRIVMSG ".len() + target.len() + " :".len();
        MESSAGE.saturating_sub(taken).min(TEXT)
    }

    pub(super) fn same(&self, one: &str, other: &str) -> bool {
        self.map.same(one, other)
    }

    /// Channels that the bot is not in, each with the reason.
    pub(super) fn missing(&self) -> Vec<String> {
        let out = self.channels.iter().filter(|channel| channel.since.is_none());
        out.map(|channel| format!("{}: {}", channel.name, channel.why)).collect()
    }

    /// When there is something to be done again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.channels.iter().filter_map(|channel| channel.next).chain(self.regain).min()
    }

    /// It is that time.
    pub(super) fn on_time(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        for channel in &mut self.channels {
            if channel.next.is_some_and(|next| next <= now) {
                channel.next = None;
                acts.push(Act::Say(format!("JOIN {}", channel.name)));
            }
        }
        if self.regain.is_some_and(|at| at <= now) {
            self.regain = Some(now + REGAIN);
            self.take_back(&mut acts);
        }
        acts
    }

    /// Takes a line of the server's.
    pub(super) fn hear(&mut self, line: &Line, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        match line.command.as_str() {
            "PING" => acts.push(Act::Say(format!("PONG :{}", one_line(line.last())))),
            "PONG" => acts.push(Act::Pong(line.last().to_owned())),
            "PRIVMSG" => acts.extend(self.message(line).map(|incoming| Act::Heard(Box::new(incoming)))),
            "005" => self.supports(line),
            "NICK" => self.renamed(line, &mut acts),
            "QUIT" if self.is_goal(&line.nick) && !self.is_own(&line.nick) => self.take_back(&mut acts),
            "JOIN" if self.is_own(&line.nick) => {
                self.around = line.mask.strip_prefix(line.nick.as_str()).map(str::len).filter(|len| *len > 0);
                if let Some(channel) = self.channel(line.param(0)) {
                    (channel.since, channel.next) = (Some(now), None);
                    acts.push(Act::Places);
                }
            }
            "KICK" if self.is_own(line.param(1)) => {
                self.out(
                    line.param(0),
                    format!("{} put the bot out: {}", shown(&line.nick), shown(line.param(2))),
                    now,
                );
                acts.push(Act::Places);
            }
            "PART" if self.is_own(&line.nick) => {
                self.out(line.param(0), "the bot was taken out of it".to_owned(), now);
                acts.push(Act::Places);
            }
            "403" | "405" | "437" | "471" | "473" | "474" | "475" | "476" | "477" | "489" | "520"
                if self.channel(line.param(1)).is_some_and(|channel| channel.since.is_none()) =>
            {
                self.out(line.param(1), format!("{} ({})", shown(line.last()), line.command), now);
                acts.push(Act::Places);
            }
            "401" | "403" | "404" | "407" | "415" | "486" | "531" | "716" => acts.push(Act::Refused {
                target: line.param(1).to_owned(),
                why: format!("the server says {}: {}", line.command, shown(line.last())),
                is_gone: matches!(line.command.as_str(), "401" | "403"),
            }),
            _ => acts.extend(ended(line).map(Act::Ended)),
        }
        acts
    }

    fn is_own(&self, nick: &str) -> bool {
        self.map.same(nick, &self.nick)
    }

    fn is_goal(&self, nick: &str) -> bool {
        self.map.same(nick, self.nicks.goal())
    }

    fn channel(&mut self, name: &str) -> Option<&mut Channel> {
        let map = self.map;
        self.channels.iter_mut().find(|channel| map.same(&channel.name, name))
    }

    /// The bot is not in a channel, and tries again.
    fn out(&mut self, name: &str, why: String, now: Instant) {
        let Some(channel) = self.channel(name) else { return };
        if channel.since.is_some_and(|since| now - since >= SETTLED) {
            channel.tries = 0;
        }
        let wait = REJOIN.saturating_mul(1 << channel.tries.min(8)).min(LONGEST);
        channel.tries += 1;
        (channel.since, channel.next, channel.why) = (None, Some(now + wait), why);
    }

    /// Tells NickServ who the bot is, where that is how it is told.
    fn identify(&self, acts: &mut Vec<Act>) {
        if let Some(password) = &self.settings.nickserv_password {
            let password = one_line(password.expose());
            let goal = self.nicks.goal();
            let said = if self.is_goal(&self.nick) {
                format!("IDENTIFY {password}")
            } else {
                format!("GHOST {goal} {password}")
            };
            acts.push(Act::Say(format!("PRIVMSG NickServ :{said}")));
        }
    }

    fn take_back(&mut self, acts: &mut Vec<Act>) {
        if !self.is_goal(&self.nick) {
            self.identify(acts);
            acts.push(Act::Say(format!("NICK {}", self.nicks.goal())));
        }
    }

    fn renamed(&mut self, line: &Line, acts: &mut Vec<Act>) {
        if !self.is_own(&line.nick) {
            if self.is_goal(&line.nick) {
                self.take_back(acts);
            }
            return;
        }
        line.param(0).clone_into(&mut self.nick);
        if self.is_goal(&self.nick) {
            self.regain = None;
            self.identify(acts);
        }
    }

    /// What the server says of itself.
    fn supports(&mut self, line: &Line) {
        for token in line.params.iter().skip(1) {
            match token.split_once('=') {
                Some(("NICKLEN", most)) => {
                    if let Ok(most) = most.parse() {
                        self.nicks.limit(most);
                    }
                }
                Some(("CASEMAPPING", name)) => self.map = Casemapping::of(name),
                Some(("CHANTYPES", kinds)) if kinds.len() <= 8 => kinds.clone_into(&mut self.kinds),
                _ => {}
            }
        }
        if self.is_goal(&self.nick) {
            self.regain = None;
        }
    }

    /// A message, if it is one to the bot.
    fn message(&self, line: &Line) -> Option<Incoming> {
        let target = line.param(0);
        if line.nick.is_empty() || self.is_own(&line.nick) || line.params.len() < 2 {
            return None;
        }
        let text = said(line.last())?;
        let (channel, text) = if self.is_own(target) {
            // A server's own words are no message of somebody.
            if !line.mask.contains('!') {
                return None;
            }
            (None, text.trim().to_owned())
        } else if target.starts_with(|c| self.kinds.contains(c)) {
            (Some(self.map.fold(target)), addressed(&text, &self.nick, self.map)?.to_owned())
        } else {
            return None;
        };
        if text.is_empty() {
            return None;
        }
        let (id, aliases) = self.who(line);
        let (message_id, is_bot) = (line.id.clone(), line.is_bot);
        Some(Incoming { nick: line.nick.clone(), id, aliases, channel, text, message_id, is_bot })
    }

    /// Who sent a message. Where the server vouches for accounts, a nick is nobody's name.
    fn who(&self, line: &Line) -> (String, Vec<String>) {
        match &line.account {
            Some(account) if self.vouches => (account.clone(), vec![account.to_ascii_lowercase()]),
            _ if self.vouches => (line.mask.clone(), Vec::new()),
            _ => (self.map.fold(&line.nick), vec![line.nick.clone()]),
        }
    }
}
