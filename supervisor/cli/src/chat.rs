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
//!
//! Commands, and what is shown at the beginning, are asked for in the same way ([`request`]); a command whose worker was lost is not given
//! twice.

mod error;
pub(crate) mod line;
pub(crate) mod sent;
pub(crate) mod way;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use hermes_gateway::client::ClientError;
use hermes_host::{clock, wait};
use hermes_wire::terminal::{
    Asked, Counts, Inquiry, KEEPALIVE_SECS, Question, Reply, Said, Session, TALK, TURN, WELCOME,
};

pub use error::ChatError;
use line::{Heard, Line};
use way::{Link, Way};

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
    /// It is waited for, for this reason. What was told of the answer is told again.
    Waiting(String),
    /// The worker was lost; whoever is there now goes on. What was told of the answer is told again.
    Again,
}

/// What whoever sits there says to a command that needs an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Consulted {
    /// One of the choices.
    Choice(String),
    /// Something else, to a question of the model's.
    Text(String),
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

    /// Asks them what the model wants to know, for as long as it waits. Only where the question says that somebody is there for that.
    fn inquire(&mut self, _inquiry: &Inquiry) -> Consulted {
        Consulted::Silence
    }
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
    link: &mut Link<'_>,
    mut question: Question,
    audience: &mut A,
) -> Result<End, A::Error> {
    let selection = link.selection();
    let mut cuts = 0;
    let mut is_older = false;
    // A worker of the release before asks nobody at a terminal.
    let mut asks = audience.is_there();
    loop {
        let (mut way, stream) = connected(link, is_older, &mut cuts)?;
        match ask_once(&mut way, stream, &mut question, asks, audience)? {
            Came::End(end) => {
                link.keep(way);
                return Ok(end);
            }
            Came::Refused(error) => {
                link.keep(way);
                return Err(error.into());
            }
            Came::Again => {
                link.keep(way);
                if waited(PAUSE * 3, audience) {
                    return Ok(End::Left);
                }
            }
            Came::Unknown if asks => {
                asks = false;
                way.end();
            }
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

/// The way to whoever answers now, and a connection there. What has gone since it was looked for is looked for again, which is one cut more.
fn connected<'a>(link: &mut Link<'a>, own: bool, cuts: &mut u32) -> Result<(Way<'a>, UnixStream), ChatError> {
    loop {
        let mut way = link.way(own)?;
        match way.connect() {
            Ok(stream) => return Ok((way, stream)),
            Err(ClientError::NobodyThere { .. }) if *cuts < CUTS => {
                *cuts += 1;
                way.end();
                wait::pause(PAUSE);
            }
            Err(source) => {
                return Err(ChatError::Gateway { profile: link.selection().profile.clone(), source });
            }
        }
    }
}

/// What comes next and says something. Nothing: somebody wanted to leave. An error: nothing will come.
pub(crate) fn next(
    line: &mut Line,
    way: &mut Way<'_>,
    left: &mut dyn FnMut() -> bool,
) -> Result<Heard, ChatError> {
    let mut heard_at = clock::now();
    while !left() {
        match line.next(LOOK) {
            Heard::Nothing if heard_at.elapsed() < SILENCE => {}
            Heard::Nothing => {
                way.check()?;
                heard_at = clock::now();
            }
            Heard::Line(Said::Alive | Said::Unknown) => heard_at = clock::now(),
            heard => return Ok(heard),
        }
    }
    Ok(Heard::Nothing)
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
    loop {
        let said = match next(&mut line, way, &mut || audience.left())? {
            Heard::Nothing => return Ok(Came::End(End::Left)),
            Heard::Line(said) => said,
            Heard::NotFound => return Ok(Came::Unknown),
            Heard::End => return Ok(Came::Cut),
        };
        let consulted = match said {
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
                continue;
            }
            Said::Asked(asked) => audience.consult(&asked),
            Said::Inquired(inquiry) => audience.inquire(&inquiry),
            other => {
                audience.tell(News::Said(other))?;
                continue;
            }
        };
        let reply = match consulted {
            Consulted::Choice(choice) => Reply { choice, text: None },
            Consulted::Text(text) => Reply { choice: String::new(), text: Some(text) },
            // The worker waits no longer either.
            Consulted::Silence => continue,
            Consulted::Left => return Ok(Came::End(End::Left)),
        };
        // A connection that has ended says so next.
        let _ = line.reply(&serde_json::to_vec(&reply).expect("a text always serialises"));
    }
}

/// Asks for one line: who answers there, what a command says. `Ok(None)`: somebody wanted to leave.
pub(crate) fn request(
    link: &mut Link<'_>,
    path: &str,
    body: &[u8],
    left: &mut dyn FnMut() -> bool,
) -> Result<Option<Said>, ChatError> {
    let profile = &link.selection().profile;
    let mut tries = 0;
    loop {
        let (mut way, stream) = connected(link, false, &mut tries)?;
        let mut told = Line::ask(stream, "POST", path, body);
        match next(&mut told, &mut way, left)? {
            Heard::Nothing => {
                told.close();
                link.keep(way);
                return Ok(None);
            }
            Heard::Line(Said::Failed { again: true, .. }) => {
                link.keep(way);
                wait::pause(PAUSE * 3);
            }
            Heard::Line(Said::Failed { code, message, hint, .. }) => {
                link.keep(way);
                return Err(ChatError::Failed { code, message, hint });
            }
            Heard::Line(said) => {
                link.keep(way);
                return Ok(Some(said));
            }
            Heard::NotFound => return Err(ChatError::Older { profile: profile.clone() }),
            // Asking who is there changes nothing.
            Heard::End if path == WELCOME && tries < CUTS && way.is_served() => {
                tries += 1;
                wait::pause(PAUSE);
            }
            Heard::End => {
                return Err(match way.gone() {
                    Some(gone) => gone.into_error(link.selection()),
                    None => way::lost(link.selection(), 1),
                });
            }
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
