//! A question to the worker of a profile, from a command at a terminal.
//!
//! # Theory of operation
//!
//! Where a gateway serves the profile its worker answers, over the data socket; a sleeping one is woken by that. Otherwise this command
//! starts a worker of its own and ends it ([`way`]). Either way the answer comes as lines ([`mod@line`]), of which the last says what became of
//! the question. A connection that ends before was cut: the worker died, was replaced, or the gateway went away. Then the same question
//! is asked again under the same name, of whoever serves the profile now, and the turn goes on from its last step.
//!
//! Leaving is one thing as well: the connection is closed, and the worker ends the turn.

mod error;
pub(crate) mod line;
pub(crate) mod sent;
pub(crate) mod way;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use hermes_gateway::client::ClientError;
use hermes_host::{clock, wait};
use hermes_wire::terminal::{Asked, Counts, KEEPALIVE_SECS, Question, Reply, Said, Session, TALK, TURN};

use crate::home::{Selection, Surroundings};
pub use error::ChatError;
use line::{Heard, Line};
use way::Way;

/// Time between two looks at whether somebody wants to leave.
const LOOK: Duration = Duration::from_millis(40);
/// Cuts after which it is given up: something in the question may be what ends its workers.
const CUTS: u32 = 6;
/// Pause before the same is asked again.
const PAUSE: Duration = Duration::from_millis(300);
/// Silence after which the gateway is asked how the worker is.
const SILENCE: Duration = Duration::from_secs(2 * KEEPALIVE_SECS);

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer.
    Answered {
        /// The text of the last call to the model.
        text: String,
        /// `stop`, `length`, …
        finish_reason: String,
        /// It is a summary, because calls for tools were used up.
        out_of_turns: bool,
        /// What is in the session now.
        counts: Counts,
    },
    /// Somebody wanted to leave.
    Left,
}

/// What is told of a question while it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// What the worker said, but for its end.
    Said(Said),
    /// It is waited for, for this reason.
    Waiting(String),
    /// The worker was lost; whoever is there now goes on. What was told of the answer is told again.
    Again,
}

/// What whoever sits there says to a command that needs an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Consulted {
    /// One of the choices.
    Choice(String),
    /// Nothing, in time.
    Silence,
    /// That they want to leave.
    Left,
}

/// Whoever asks.
pub(crate) trait Audience {
    /// What showing something may fail with.
    type Error: From<ChatError>;

    /// Whether the question is to be given up. Asked again and again.
    fn left(&mut self) -> bool;

    /// What is going on.
    fn tell(&mut self, news: News) -> Result<(), Self::Error>;

    /// Whether they can be asked about commands.
    fn is_there(&self) -> bool;

    /// Asks them about a command, for as long as it waits.
    fn consult(&mut self, asked: &Asked) -> Consulted;
}

/// What came of asking once.
enum Came {
    End(End),
    /// There is no answer, and there will be none.
    Refused(ChatError),
    /// It goes on when it is asked again.
    Again,
    /// Whoever was asked knows no such path.
    Unknown,
    /// The connection ended before anything else did.
    Cut,
}

/// Asks, to the end.
pub(crate) fn ask<A: Audience>(
    selection: &Selection,
    env: &Surroundings,
    mut question: Question,
    audience: &mut A,
) -> Result<End, A::Error> {
    let mut cuts = 0;
    let mut is_older = false;
    // A worker of the release before asks nobody at a terminal.
    let mut asks = audience.is_there();
    loop {
        let mut way = Way::to(selection, env, is_older)?;
        let stream = match way.connect() {
            Ok(stream) => stream,
            // It has gone since it was looked for.
            Err(ClientError::NobodyThere { .. }) if cuts < CUTS => {
                cuts += 1;
                wait::pause(PAUSE);
                continue;
            }
            Err(source) => {
                return Err(ChatError::Gateway { profile: selection.profile.clone(), source }.into());
            }
        };
        match ask_once(&mut way, stream, &mut question, asks, audience)? {
            Came::End(end) => {
                way.end();
                return Ok(end);
            }
            Came::Refused(error) => {
                way.end();
                return Err(error.into());
            }
            Came::Again => {
                way.end();
                if waited(PAUSE * 3, audience) {
                    return Ok(End::Left);
                }
            }
            Came::Unknown if asks => asks = false,
            Came::Unknown if way.is_served() => {
                is_older = true;
                let why = "the gateway is of an older release; a worker of this command's own answers";
                audience.tell(News::Waiting(why.to_owned()))?;
            }
            Came::Unknown | Came::Cut => {
                cuts += 1;
                match way.gone() {
                    Some(gone) if cuts >= CUTS || gone.is_final() => {
                        return Err(gone.into_error(selection).into());
                    }
                    _ if cuts >= CUTS => return Err(way::lost(selection, cuts).into()),
                    _ => {}
                }
                audience.tell(News::Again)?;
                if waited(PAUSE, audience) {
                    return Ok(End::Left);
                }
            }
        }
    }
}

/// Asks whoever answers at `stream`. The session of the question is known from then on.
fn ask_once<A: Audience>(
    way: &mut Way<'_>,
    stream: UnixStream,
    question: &mut Question,
    asks: bool,
    audience: &mut A,
) -> Result<Came, A::Error> {
    let body = serde_json::to_vec(question).expect("texts and numbers always serialise");
    let mut line =
        if asks { Line::talk(stream, TALK, &body) } else { Line::ask(stream, "POST", TURN, &body) };
    let mut heard_at = clock::now();
    loop {
        if audience.left() {
            return Ok(Came::End(End::Left));
        }
        let said = match line.next(LOOK) {
            Heard::Nothing if heard_at.elapsed() < SILENCE => continue,
            Heard::Nothing => {
                way.check()?;
                heard_at = clock::now();
                continue;
            }
            Heard::Line(said) => said,
            Heard::NotFound => return Ok(Came::Unknown),
            Heard::End => return Ok(Came::Cut),
        };
        heard_at = clock::now();
        match said {
            Said::Answered { text, finish_reason, out_of_turns, counts } => {
                return Ok(Came::End(End::Answered { text, finish_reason, out_of_turns, counts }));
            }
            Said::Failed { again: true, message, .. } => {
                audience.tell(News::Waiting(message))?;
                return Ok(Came::Again);
            }
            Said::Failed { code, message, hint, .. } => {
                return Ok(Came::Refused(ChatError::Failed { code, message, hint }));
            }
            Said::Begun { ref session, .. } => {
                // What is asked again is asked there.
                question.session = match question.session {
                    Session::New(_) => Session::New(session.clone()),
                    Session::Known(_) | Session::Last => Session::Known(session.clone()),
                };
                audience.tell(News::Said(said))?;
            }
            Said::Asked(asked) => match audience.consult(&asked) {
                Consulted::Choice(choice) => {
                    let reply = serde_json::to_vec(&Reply { choice }).expect("a text always serialises");
                    // A connection that has ended says so next.
                    let _ = line.reply(&reply);
                    heard_at = clock::now();
                }
                // The worker waits no longer either.
                Consulted::Silence => heard_at = clock::now(),
                Consulted::Left => return Ok(Came::End(End::Left)),
            },
            Said::Alive | Said::Unknown => {}
            other => audience.tell(News::Said(other))?,
        }
    }
}

/// Waits; whether somebody wanted to leave meanwhile.
fn waited(time: Duration, audience: &mut impl Audience) -> bool {
    let until = clock::now() + time;
    while clock::now() < until {
        if audience.left() {
            return true;
        }
        wait::pause(LOOK);
    }
    false
}
