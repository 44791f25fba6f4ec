//! One connection, from its first line to its end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::NAME;
use super::outbound::Call;
use super::pipe::Pipe;
use super::registration::{Ended, Registration, Step, Welcome};
use super::session::{Act, Incoming, Session};
use super::settings::Settings;
use super::text;
use crate::clock;
use crate::delivery::outbound::Unsent;
use crate::handover::TOO_MANY;
use crate::platform::Link;
use crate::platform::link::Lack;

/// Time for the server to say welcome: a bit less than the worker has patience for a connection that is being made.
const WELCOME: Duration = Duration::from_secs(28);
/// Silence after which the server is asked whether it lives, and the same once more after which it does not.
const SILENCE: Duration = Duration::from_secs(60);
/// Pause between two lines of text: a server puts out whoever speaks faster.
const PAUSE: Duration = Duration::from_millis(300);
/// Time for what is being said, once the connection is to be closed.
const FINISH: Duration = Duration::from_secs(3);

/// Says who the bot is, and waits to be welcome. Nothing: the connection is to be closed before.
pub(super) async fn register(
    pipe: &mut Pipe,
    settings: &Settings,
    link: &Link,
) -> Result<Option<Box<Welcome>>, Ended> {
    let lost = |why: String| Ended::lost("irc_network_error", why);
    let mut registration = Registration::new(settings);
    for said in registration.begin() {
        pipe.say(&said).await.map_err(lost)?;
    }
    let limit = Instant::now() + WELCOME;
    loop {
        let heard = tokio::select! {
            biased;
            _ = link.told() => return Ok(None),
            heard = pipe.next() => heard.map_err(lost)?,
            () = sleep_until(limit) => {
                let why = format!("the server does not say welcome within {} s", WELCOME.as_secs());
                return Err(Ended::lost("irc_no_welcome", why));
            }
        };
        link.progress();
        if heard.command == "PING" {
            pipe.say(&format!("PONG :{}", heard.last())).await.map_err(lost)?;
            continue;
        }
        match registration.hear(&heard) {
            Step::Say(lines) => {
                for said in lines {
                    pipe.say(&said).await.map_err(lost)?;
                }
            }
            Step::Welcome(welcome) => return Ok(Some(welcome)),
            Step::Ended(ended) => return Err(ended),
        }
    }
}

/// A call that is being said.
struct Saying {
    call: Call,
    lines: VecDeque<String>,
    /// What the server was asked behind the last line.
    token: Option<String>,
}

/// A connection of a bot that is welcome.
pub(super) struct Connection<'c> {
    pub(super) pipe: &'c mut Pipe,
    pub(super) session: Session<'c>,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) heard: mpsc::Sender<Incoming>,
    saying: Option<Saying>,
    /// Short words that nobody waits for.
    words: VecDeque<String>,
    /// When the next line of text may be said.
    next: Instant,
    asked: u64,
}

impl<'c> Connection<'c> {
    pub(super) fn new(
        pipe: &'c mut Pipe,
        session: Session<'c>,
        calls: mpsc::Receiver<Call>,
        heard: mpsc::Sender<Incoming>,
    ) -> Self {
        let next = Instant::now();
        Self { pipe, session, calls, heard, saying: None, words: VecDeque::new(), next, asked: 0 }
    }

    /// Until its end; `first` is what is said at once.
    pub(super) async fn run(mut self, link: &Link, first: Vec<Act>) -> Result<(), Ended> {
        self.act(first, link).await?;
        let (mut last, mut is_asked) = (Instant::now(), false);
        // Once it is to be closed, only what is being said is said to its end.
        let mut end: Option<Instant> = None;
        loop {
            if end.is_some() && self.saying.is_none() {
                return Ok(());
            }
            let due = self.session.due();
            let has_line =
                !self.words.is_empty() || self.saying.as_ref().is_some_and(|saying| !saying.lines.is_empty());
            tokio::select! {
                biased;
                _ = link.told(), if end.is_none() => end = Some(Instant::now() + FINISH),
                () = clock::until(end) => return Ok(()),
                heard = self.pipe.next() => {
                    let heard = heard.map_err(lost)?;
                    (last, is_asked) = (Instant::now(), false);
                    link.progress();
                    let acts = self.session.hear(&heard, last);
                    self.act(acts, link).await?;
                }
                () = sleep_until(self.next), if has_line => self.say_line().await?,
                call = self.calls.recv(), if self.saying.is_none() && end.is_none() => match call {
                    Some(call) => self.begin(call),
                    None => return Err(lost("nobody speaks through it any more".to_owned())),
                },
                () = clock::until(due) => {
                    let acts = self.session.on_time(Instant::now());
                    self.act(acts, link).await?;
                }
                () = sleep_until(last + SILENCE * if is_asked { 2 } else { 1 }) => {
                    if is_asked {
                        return Err(lost(format!("the server was silent for {} s", 2 * SILENCE.as_secs())));
                    }
                    is_asked = true;
                    self.ask().await?;
                }
            }
        }
    }

    async fn act(&mut self, acts: Vec<Act>, link: &Link) -> Result<(), Ended> {
        for act in acts {
            match act {
                Act::Say(said) => self.pipe.say(&said).await.map_err(lost)?,
                Act::Heard(incoming) => self.hand_in(*incoming),
                Act::Pong(token) => {
                    if let Some(saying) =
                        self.saying.take_if(|saying| saying.token.as_deref() == Some(&token))
                    {
                        // Who waited for it may be gone.
                        let _ = saying.call.done.send(Ok(()));
                    }
                }
                Act::Refused { target, why, is_gone } => {
                    let session = &self.session;
                    let is_meant = |saying: &mut Saying| session.same(&saying.call.target, &target);
                    if let Some(saying) = self.saying.take_if(is_meant) {
                        let unsent = if is_gone { Unsent::gone(why) } else { Unsent::later(why) };
                        let _ = saying.call.done.send(Err(unsent));
                    }
                }
                Act::Places => self.say_places(link),
                Act::Ended(ended) => return Err(ended),
            }
        }
        Ok(())
    }

    /// Says where the bot is not.
    fn say_places(&self, link: &Link) {
        let missing = self.session.missing();
        for place in &missing {
            tracing::info!("[{NAME}] not in {place}");
        }
        let message = format!("not in {}", missing.join("; "));
        link.lacks((!missing.is_empty()).then_some(Lack { code: "irc_not_in_channel", message }));
    }

    fn hand_in(&mut self, incoming: Incoming) {
        if let Err(error) = self.heard.try_send(incoming) {
            let incoming = match error {
                mpsc::error::TrySendError::Full(incoming) | mpsc::error::TrySendError::Closed(incoming) => {
                    incoming
                }
            };
            let target = incoming.channel.unwrap_or(incoming.nick);
            tracing::warn!("[{NAME}] a message of {target} is not taken: too many wait");
            if self.words.len() < 16 {
                self.words.push_back(format!("PRIVMSG {target} :{TOO_MANY}"));
            }
        }
    }

    fn begin(&mut self, call: Call) {
        // Nobody waits for it any more: it will come again.
        if call.done.is_closed() {
            return;
        }
        let lines: VecDeque<String> = text::lines(&call.text, self.session.room(&call.target)).into();
        if lines.is_empty() {
            let _ = call.done.send(Ok(()));
            return;
        }
        self.saying = Some(Saying { call, lines, token: None });
    }

    /// Says the next line of text.
    async fn say_line(&mut self) -> Result<(), Ended> {
        self.next = Instant::now() + PAUSE;
        if let Some(word) = self.words.pop_front() {
            return self.pipe.say(&word).await.map_err(lost);
        }
        let Some(saying) = &mut self.saying else { return Ok(()) };
        let Some(line) = saying.lines.pop_front() else { return Ok(()) };
        saying.call.begun.store(true, Ordering::Release);
        let whole = format!("PRIVMSG {} :{line}", saying.call.target);
        self.pipe.say(&whole).await.map_err(lost)?;
        if saying.lines.is_empty() {
            let token = self.ask().await?;
            if let Some(saying) = &mut self.saying {
                saying.token = Some(token);
            }
        }
        Ok(())
    }

    /// Asks the server whether it lives; by what its answer is known.
    async fn ask(&mut self) -> Result<String, Ended> {
        self.asked += 1;
        let token = format!("hermes-{}", self.asked);
        self.pipe.say(&format!("PING :{token}")).await.map_err(lost)?;
        Ok(token)
    }
}

fn lost(why: String) -> Ended {
    Ended::lost("irc_network_error", why)
}
