//! A turn as its client is told of it, line by line. Dropping it ends the turn.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use hermes_host::cause::chain;
use hermes_wire::terminal::{Asked, Counts, Inquiry, KEEPALIVE_SECS, Said};
use serde_json::Value;
use tokio::sync::broadcast;

use super::replies::{Replied, Replies};
use super::requests::{Heard, Watched};
use super::{Desk, failed, line};
use crate::engine::{EngineError, Event, Outcome, Request};
use crate::provider::Fault;
use crate::session::history;
use crate::turn::{NotAsked, OPEN, RunningTurn, Turn, TurnError, Turns};

/// Longest silence.
const KEEPALIVE: Duration = Duration::from_secs(KEEPALIVE_SECS);
/// Bytes after which lines are sent although more are ready.
const BATCH: usize = 16 * 1024;

/// See the module.
pub(super) struct Talk {
    desk: Arc<Desk>,
    session: String,
    before: Option<Counts>,
    watched: Option<Watched>,
    /// Somebody can be asked.
    replies: Option<Replies>,
    /// By which they are.
    turn: String,
    phase: Phase,
}

type Starting = Pin<Box<dyn Future<Output = Result<RunningTurn, TurnError>> + Send>>;
type Ending = Pin<Box<dyn Future<Output = Said> + Send>>;

enum Phase {
    /// It waits for its session.
    Starting(Starting),
    Running(RunningTurn),
    /// Nothing more is said by the engine.
    Ending(Ending),
    Over,
}

/// What happened.
enum News {
    Started(Result<RunningTurn, TurnError>),
    Said(Option<Event>),
    Ended(Said),
    Request(Heard),
    /// Somebody replied; `None`: they have gone.
    Reply(Option<Replied>),
    Nothing,
}

impl Talk {
    pub(super) fn new(
        desk: Arc<Desk>,
        turn: Turn,
        (session, before): (String, Option<Counts>),
        watched: Option<broadcast::Receiver<Arc<Request>>>,
        replies: Option<Replies>,
    ) -> Self {
        let turns = desk.turns.clone();
        let watched = watched.map(|requests| Watched::new(requests, Some(session.clone())));
        let run = turn.run.clone().unwrap_or_default();
        let starting: Starting = Box::pin(async move { turns.start(turn).await });
        Self { desk, session, before, watched, replies, turn: run, phase: Phase::Starting(starting) }
    }

    /// The body of the answer.
    pub(super) fn lines(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut talk| async move {
            let lines = talk.next().await?;
            Some((Ok(Bytes::from(lines)), talk))
        })
    }

    /// The next lines, or `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if matches!(self.phase, Phase::Over) {
                return None;
            }
            let Ok(news) = tokio::time::timeout(KEEPALIVE, self.news()).await else {
                return Some(line(&Said::Alive));
            };
            let news = match news {
                News::Reply(Some(replied)) => match heard(&self.desk.turns, &self.turn, replied).await {
                    // The turn says that it has heard.
                    Ok(()) => News::Nothing,
                    Err(NotAsked::Nothing | NotAsked::Late) => return Some(line(&Said::Unheard)),
                    Err(NotAsked::Store(error)) => {
                        tracing::error!(%error, "an approval is not written down");
                        return Some(line(&Said::Unheard));
                    }
                },
                // Dropping the turn ends it.
                News::Reply(None) => return None,
                news => news,
            };
            let lines = self.tell(news);
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    /// Waits for something. Cancel safe.
    async fn news(&mut self) -> News {
        let Self { watched, replies, phase, .. } = self;
        let replied = async {
            match replies {
                Some(replies) => News::Reply(replies.next().await),
                None => std::future::pending().await,
            }
        };
        let requests = async {
            match watched {
                Some(watched) => watched.next().await,
                None => std::future::pending().await,
            }
        };
        let turn = async {
            match phase {
                Phase::Starting(starting) => News::Started(starting.await),
                Phase::Running(running) => News::Said(running.events.recv().await),
                Phase::Ending(ending) => News::Ended(ending.await),
                Phase::Over => News::Nothing,
            }
        };
        tokio::select! {
            biased;
            heard = requests => heard.map_or(News::Nothing, News::Request),
            news = replied => news,
            news = turn => news,
        }
    }

    fn tell(&mut self, news: News) -> String {
        match news {
            News::Nothing | News::Reply(_) => String::new(),
            News::Request(heard) => line(&heard.told(&self.desk.secrets)),
            News::Started(Ok(running)) => {
                // The session may have gone on in another one.
                self.session.clone_from(&running.session_id);
                if let Some(watched) = &mut self.watched {
                    watched.of(&running.session_id);
                }
                self.phase = Phase::Running(running);
                line(&Said::Begun { session: self.session.clone(), before: self.before })
            }
            News::Started(Err(error)) => {
                self.phase = Phase::Over;
                line(&failure(&error))
            }
            News::Said(Some(event)) => {
                let mut lines = String::new();
                let mut next = Some(event);
                while let Some(event) = next.take() {
                    lines.push_str(&said(event));
                    if lines.len() < BATCH
                        && let Phase::Running(running) = &mut self.phase
                    {
                        next = running.events.try_recv().ok();
                    }
                }
                lines
            }
            News::Said(None) => {
                if let Phase::Running(running) = std::mem::replace(&mut self.phase, Phase::Over) {
                    let desk = Arc::clone(&self.desk);
                    self.phase = Phase::Ending(Box::pin(end(desk, running)));
                }
                String::new()
            }
            News::Ended(said) => {
                self.phase = Phase::Over;
                // What was sent before the end is told before it.
                let requests = self.watched.as_mut().map(Watched::rest).unwrap_or_default();
                let secrets = &self.desk.secrets;
                requests.iter().map(|heard| line(&heard.told(secrets))).chain([line(&said)]).collect()
            }
        }
    }
}

/// Writes down what was replied to what a turn asks.
async fn heard(turns: &Turns, turn: &str, replied: Replied) -> Result<(), NotAsked> {
    match replied {
        Replied::Choice(choice) => turns.choose(turn, &choice).await,
        Replied::Text(text) => turns.say(turn, text).await,
    }
}

/// The line of an event; none where there is nothing in it.
fn said(event: Event) -> String {
    let said = match event {
        Event::Delta(text) if text.is_empty() => return String::new(),
        Event::Delta(text) => Said::Delta { text },
        Event::Tool { name, id, done, preview, text: _, failed, diff } => {
            Said::Tool { name, id, done, preview, failed, diff }
        }
        Event::Retrying { attempt, reason } => Said::Retrying { attempt, reason },
        Event::Asked { details, .. } if details[OPEN].is_string() => Said::Inquired(inquiry(&details)),
        Event::Asked { details, .. } => Said::Asked(asked(&details)),
        Event::Heard { choice, .. } => Said::Heard { choice },
        Event::Thought(_) | Event::Alive => return String::new(),
    };
    line(&said)
}

/// A question as clients of a terminal are told of it.
fn asked(details: &Value) -> Asked {
    let text = |name: &str| details[name].as_str().unwrap_or_default().to_owned();
    let choices = details["choices"].as_array().into_iter().flatten();
    Asked {
        command: text("command"),
        why: text("description"),
        choices: choices.filter_map(|choice| choice.as_str().map(str::to_owned)).collect(),
        timeout: details["timeout"].as_u64().unwrap_or_default(),
    }
}

/// The same of one that anything may be said to.
fn inquiry(details: &Value) -> Inquiry {
    let choices = details["choices"].as_array().into_iter().flatten();
    Inquiry {
        question: details[OPEN].as_str().unwrap_or_default().to_owned(),
        choices: choices.filter_map(|choice| choice.as_str().map(str::to_owned)).collect(),
        timeout: details["timeout"].as_u64().unwrap_or_default(),
    }
}

/// The end of a turn whose engine has said everything.
async fn end(desk: Arc<Desk>, running: RunningTurn) -> Said {
    let RunningTurn { outcome, session_id, cancel: _interrupts_when_dropped, .. } = running;
    match outcome.await.unwrap_or(Err(TurnError::Panicked)) {
        Ok(Outcome { text, .. }) if text.trim().is_empty() => {
            failed("empty_answer", "the model ended its turn without any text", Some("ask again"))
        }
        Ok(Outcome { text, finish_reason, is_cut_short, .. }) => {
            let counted = desk.store.aside(move |db| history::counts(db, &session_id)).await;
            // The answer is stored; that it cannot be counted now is no reason to keep it back.
            let counts = counted.unwrap_or_default();
            Said::Answered { text, finish_reason, out_of_turns: is_cut_short, counts }
        }
        Err(error) => failure(&error),
    }
}

/// Why there is no answer.
pub(super) fn failure(error: &TurnError) -> Said {
    let again = |code: &str, message: &str| Said::Failed {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: None,
        again: true,
    };
    match error {
        TurnError::Busy => again("busy", "too many turns are running in this profile"),
        TurnError::Draining | TurnError::Engine(EngineError::Interrupted) => {
            again("draining", "the worker of this profile ends")
        }
        TurnError::Engine(EngineError::Config(why)) => failed("setup", why, None),
        TurnError::Engine(EngineError::Provider { fault, message, .. }) => {
            failed(fault.code(), message, hint(*fault))
        }
        TurnError::Unanswered(why) => failed("unanswered", why, None),
        TurnError::Store(why) => failed("store", format!("the session store failed: {}", why.reason()), None),
        TurnError::Panicked => failed("bug", error.to_string(), Some("`hermes logs` says what happened")),
        other => failed("no_turn", chain(other), None),
    }
}

/// What to do about a provider that does not answer.
fn hint(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::Key => Some("`hermes setup model` stores another key; `hermes model` shows which one is used"),
        Fault::Quota => Some("add credit at the provider, or choose another one with `hermes setup model`"),
        Fault::TooLong => Some("the conversation is longer than the model takes: begin another one"),
        Fault::Setup | Fault::Request => {
            Some("`hermes model` shows provider, model and address; `hermes doctor --online` tries them")
        }
        Fault::Limited | Fault::Overloaded | Fault::Unreachable | Fault::Garbled | Fault::Empty => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_asked_again_and_nothing_else() {
        let again = |error: &TurnError| match failure(error) {
            Said::Failed { again, .. } => again,
            other => panic!("{other:?}"),
        };
        for error in [TurnError::Busy, TurnError::Draining, TurnError::Engine(EngineError::Interrupted)] {
            assert!(again(&error), "{error}");
        }
        for error in [
            TurnError::Taken,
            TurnError::Panicked,
            TurnError::Unanswered("x".to_owned()),
            TurnError::Engine(EngineError::Config("x".to_owned())),
        ] {
            assert!(!again(&error), "{error}");
        }
    }
}
