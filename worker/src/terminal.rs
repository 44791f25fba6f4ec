//! What a command at a terminal may ask of the worker of its profile: a turn, the requests that were made of the provider, and a change of
//! what is stored.
//!
//! The HTTP layer lets in other processes of the same user only ([`hermes_wire::terminal`] says who and why), so there is no key. Whatever
//! becomes of a question is a line of the answer, never a status: the client reads one kind of answer.
//!
//! # Guarantees
//!
//! - A client that goes away ends its turn. One that was cut off asks again, and the turn goes on from its last step, in whichever
//!   process: the question's row carries the name of the turn.
//! - A question waits while another turn of its session runs, here or elsewhere.
//! - Something is said every [`KEEPALIVE_SECS`] seconds.
//! - No secret is in a request that is shown.

mod change;
mod pictures;
mod replies;
mod requests;
mod talk;
mod typed;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use hermes_config::{ProfileConfig, Secret};
use hermes_host::blocking;
use hermes_wire::ProfileHome;
use hermes_wire::stored::CHANGE;
#[cfg(doc)]
use hermes_wire::terminal::KEEPALIVE_SECS;
use hermes_wire::terminal::{
    COMMAND, Counts, LAST_REQUEST, LINES, MAX_QUESTION, PLATFORM, Question, REQUESTS, SCHEMA, Said, Session,
    TALK, TURN, WELCOME, is_id,
};
use http::{HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::commands::Commands;
use crate::engine::{Choice, Message, Role, Tap, Wishes};
use crate::inbound::Source;
use crate::logging;
use crate::session::{Overlay, history};
use crate::skills::Library;
use crate::store::Store;
use crate::stored::Stored;
use crate::turn::{SessionRef, Turn, Turns};
use replies::Replies;
use talk::Talk;

/// What is needed to answer.
pub(crate) struct Parts {
    pub(crate) config: Arc<ProfileConfig>,
    pub(crate) home: ProfileHome,
    pub(crate) commands: Commands,
    pub(crate) turns: Turns,
    pub(crate) store: Store,
    pub(crate) skills: Library,
    pub(crate) tap: Tap,
    /// What the model is told behind its prompt.
    pub(crate) overlay: Overlay,
}

struct Desk {
    home: ProfileHome,
    commands: Commands,
    turns: Turns,
    store: Store,
    skills: Library,
    tap: Tap,
    overlay: Overlay,
    /// Shown to nobody.
    secrets: Vec<Secret>,
    stored: Arc<Stored>,
}

/// The routes that other processes of the user may ask for.
pub(crate) fn routes(parts: Parts) -> Router {
    let Parts { config, home, commands, turns, store, skills, tap, overlay } = parts;
    let secrets = logging::secrets(&config);
    Router::new()
        .route(TURN, post(turn))
        .route(TALK, post(talk))
        .route(WELCOME, post(typed::welcome))
        .route(COMMAND, post(typed::command))
        .route(REQUESTS, get(requests::watch))
        .route(LAST_REQUEST, get(requests::last))
        .route(CHANGE, post(change::change))
        .with_state(Arc::new(Desk {
            home,
            commands,
            turns,
            store,
            skills,
            tap,
            overlay,
            secrets,
            stored: Arc::default(),
        }))
}

/// The routes of a profile whose files do not let it answer.
pub(crate) fn refusing(message: String, hint: String) -> Router {
    let failed = Said::Failed { code: "config".to_owned(), message, hint: Some(hint), again: false };
    let answer = move || std::future::ready(whole(&failed));
    Router::new()
        .route(TURN, post(answer.clone()))
        .route(TALK, post(answer.clone()))
        .route(REQUESTS, get(answer.clone()))
        .route(LAST_REQUEST, get(answer.clone()))
        .route(CHANGE, post(answer))
}

/// One line.
fn line(said: &Said) -> String {
    let mut line = serde_json::to_string(said).expect("texts and numbers always serialise");
    line.push('\n');
    line
}

/// An answer of one line.
fn whole(said: &Said) -> Response {
    lines(Body::from(line(said)))
}

fn lines(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    response
}

/// Why there is no turn.
fn failed(code: &str, message: impl Into<String>, hint: Option<&str>) -> Said {
    Said::Failed {
        code: code.to_owned(),
        message: message.into(),
        hint: hint.map(str::to_owned),
        again: false,
    }
}

async fn turn(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let begun = match read(request.into_body()).await.map(understood) {
        Ok(Ok(question)) => desk.begin(question, None).await,
        Ok(Err(said)) => Err(*said),
        Err(said) => Err(said),
    };
    told(begun)
}

async fn talk(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let mut replies = Replies::new(request.into_body());
    let begun = match replies.question().await {
        Ok(bytes) => match parsed(&bytes).and_then(understood) {
            Ok(question) => desk.begin(question, Some(replies)).await,
            Err(said) => Err(*said),
        },
        Err(said) => Err(said),
    };
    told(begun)
}

fn told(begun: Result<Talk, Said>) -> Response {
    match begun {
        Ok(talk) => lines(Body::from_stream(talk.lines())),
        Err(said) => whole(&said),
    }
}

impl Desk {
    /// Prepares the turn of a question; nothing has begun. `replies`: where somebody can be asked.
    async fn begin(self: &Arc<Self>, question: Question, replies: Option<Replies>) -> Result<Talk, Said> {
        let (session, before) = self.session(&question.session).await?;
        let (text, skills) = self.with_skills(&question).await?;
        let told: Vec<String> = [self.overlay.text(), skills].into_iter().flatten().collect();
        let system = (!told.is_empty()).then(|| told.join("\n\n"));
        let text = pictures::with(&self.home, text, question.images).await?;
        let choice = question.model.map(|model| Choice { model, provider: question.provider });
        if choice.is_some() && !self.turns.takes_options() {
            let message = "the engine of this profile calls no model that could be chosen";
            return Err(failed(
                "no_models",
                message,
                Some("leave out `-m`, or set `agent.engine` to native"),
            ));
        }
        let source = Source { platform: PLATFORM.to_owned(), ..Source::default() };
        let turn = Turn {
            system,
            input: vec![Message::new(Role::User, serde_json::Value::String(text))],
            run: replies.is_some().then(|| question.turn.clone()),
            is_attended: question.is_attended,
            wishes: Wishes { model: choice, max_rounds: question.max_turns, unasked: question.yolo },
            identity: Some(question.turn),
            ..Turn::new(source, SessionRef::Continue(session.clone()))
        };
        let watched = question.requests.then(|| self.tap.watch());
        Ok(Talk::new(Arc::clone(self), turn, (session, before), watched, replies))
    }

    /// The session of a question, and what is in it.
    async fn session(&self, named: &Session) -> Result<(String, Option<Counts>), Said> {
        let wanted = named.clone();
        let found = self.store.aside(move |db| {
            let id = match wanted {
                Session::New(id) => return Ok(Some((id, None))),
                Session::Known(id) => history::named(db, &id)?,
                Session::Last => history::last_of(db, PLATFORM)?,
            };
            id.map(|id| history::counts(db, &id).map(|counts| (id, Some(counts)))).transpose()
        });
        let found = found
            .await
            .map_err(|error| failed("store", format!("the session store failed: {error}"), None))?;
        found.ok_or_else(|| match named {
            Session::New(id) | Session::Known(id) => {
                let hint = "`hermes chat --continue -q TEXT` goes on in the last session of the terminal";
                failed("no_session", format!("Session not found: {id}"), Some(hint))
            }
            Session::Last => {
                let message = "there is no session of the terminal yet that could be continued";
                failed("no_session", message, Some("`hermes chat -q TEXT` begins one"))
            }
        })
    }

    /// The question with the invocation of a skill in it, and the instructions that hold for it.
    async fn with_skills(&self, question: &Question) -> Result<(String, Option<String>), Said> {
        let (skills, names, text) = (self.skills.clone(), question.skills.clone(), question.text.clone());
        let read = blocking::run(move || {
            let system =
                if names.is_empty() { Ok(None) } else { skills.preloaded(&names, PLATFORM).map(Some) };
            (system, skills.expanded(&text, PLATFORM).unwrap_or(text))
        });
        let (system, text) = read.await.map_err(|lost| failed("files", lost.to_string(), None))?;
        match system {
            Ok(system) => Ok((text, system)),
            Err(missing) => {
                let message = format!("Unknown skill(s): {}", missing.join(", "));
                Err(failed(
                    "no_skill",
                    message,
                    Some("`hermes skills list --enabled-only` shows those there are"),
                ))
            }
        }
    }
}

/// A question that is longer than one may be.
fn too_long() -> Said {
    let message = format!("the question is longer than {} MB", MAX_QUESTION >> 20);
    failed("too_long", message, Some("put the text into a file of the workspace and name it"))
}

/// Reads what is asked.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Said> {
    parsed(&bytes(body).await?).map_err(|said| *said)
}

async fn bytes(body: Body) -> Result<bytes::Bytes, Said> {
    let most = usize::try_from(MAX_QUESTION).unwrap_or(usize::MAX);
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_long()),
        Err(error) => Err(failed("broken", error.to_string(), None)),
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Box<Said>> {
    serde_json::from_slice(bytes)
        .map_err(|error| Box::new(failed("malformed", format!("the question cannot be read: {error}"), None)))
}

/// Whether a message is of a release that this one knows.
fn known(schema: u32) -> Result<(), Box<Said>> {
    if schema > SCHEMA {
        let hint = "`hermes gateway restart` brings the worker to the release of the command";
        return Err(Box::new(failed("schema", "the worker is older than the command that asks", Some(hint))));
    }
    Ok(())
}

/// Understands a question.
fn understood(question: Question) -> Result<Question, Box<Said>> {
    known(question.schema)?;
    let id = match &question.session {
        Session::New(id) => Some(id),
        Session::Known(_) | Session::Last => None,
    };
    if !is_id(&question.turn) || id.is_some_and(|id| !is_id(id)) {
        return Err(Box::new(failed("malformed", "the question has no sane name", None)));
    }
    if question.text.trim().is_empty() {
        return Err(Box::new(failed("empty", "the question is empty", None)));
    }
    Ok(question)
}
