//! Asking whoever talks to a turn, in the middle of it.
//!
//! In a chat the question goes out through the ledger, like an answer, in the transaction that puts it down; a client that reads along gets
//! it as an event, with the id that it is answered by. The answer is [written down](crate::questions) by whoever hears it, in this process or
//! in another, and found here. A question whose turn is given up is taken away.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Inner, Item};
use crate::delivery::ledger;
use crate::engine::Event;
use crate::inbound::{ASKS, CHOICES};
use crate::questions::{self, Heard};
use crate::session::epoch;
use crate::store::StoreError;
use crate::tools::asking::{Answer, Asker, Asking, Choice, Kind, Question};
use crate::tools::desk::{self, Asked, Desk};

/// The question of an event that anything may be said to.
pub(crate) const OPEN: &str = "question";

/// How often an answer is looked for that another process may have heard.
const LOOK: Duration = Duration::from_millis(250);

/// Why a choice found no question.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotAsked {
    /// Nothing is asked there now.
    #[error("nothing waits for an approval there")]
    Nothing,
    /// Somebody was faster.
    #[error("it was answered before")]
    Late,
    /// It could not be looked up.
    #[error("the session store failed")]
    Store(#[from] StoreError),
}

/// Where a question goes.
#[derive(Debug)]
enum Way {
    Chat(Box<Item>),
    Stream(mpsc::Sender<Event>),
}

/// Asks for one turn.
pub(super) struct TurnAsker {
    inner: Arc<Inner>,
    /// What an answer names: the session's key, or the id of the run.
    scope: String,
    session_id: String,
    way: Way,
}

impl std::fmt::Debug for TurnAsker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnAsker").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// For an item of the inbox; none where nobody reads what it says, or answers.
pub(super) fn of_item(
    inner: &Arc<Inner>,
    key: &str,
    session_id: &str,
    item: &Item,
) -> Option<Arc<dyn Asker>> {
    if item.chat_type == "webhook" || !ledger::is_kept(&item.delivery) {
        return None;
    }
    Some(Arc::new(TurnAsker {
        inner: Arc::clone(inner),
        scope: key.to_owned(),
        session_id: session_id.to_owned(),
        way: Way::Chat(Box::new(item.clone())),
    }))
}

/// For a client that reads along, and answers to `run`.
pub(super) fn of_stream(
    inner: &Arc<Inner>,
    run: &str,
    session_id: &str,
    events: mpsc::Sender<Event>,
) -> Arc<dyn Asker> {
    Arc::new(TurnAsker {
        inner: Arc::clone(inner),
        scope: run.to_owned(),
        session_id: session_id.to_owned(),
        way: Way::Stream(events),
    })
}

/// Whoever reads along, and says something to what a tool of `run` asks.
pub(super) fn reader(
    inner: &Arc<Inner>,
    run: &str,
    session_id: &str,
    events: mpsc::Sender<Event>,
) -> Arc<dyn Desk> {
    let asker = TurnAsker {
        inner: Arc::clone(inner),
        // Apart from approvals, which may be asked for meanwhile.
        scope: questions::of_choices(run),
        session_id: session_id.to_owned(),
        way: Way::Stream(events),
    };
    Arc::new(Reader { asker, turn: tokio::sync::Mutex::default() })
}

/// See [`reader`].
struct Reader {
    asker: TurnAsker,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Desk for Reader {
    fn ask<'a>(
        &'a self,
        _: &'a str,
        question: &'a str,
        choices: &'a [String],
        patience: Duration,
    ) -> Asked<'a> {
        Box::pin(async move {
            let _mine = self.turn.lock().await;
            let details = json!({OPEN: question, "choices": choices, "timeout": patience.as_secs()});
            let question = Question { kind: Kind::Open, text: question.to_owned(), details, patience };
            match self.asker.wait(question).await {
                Ok(Answer::Said(text)) => desk::Answer::Said(text),
                Ok(Answer::Silence) => desk::Answer::Silence,
                Ok(Answer::Nobody(why)) => desk::Answer::Unasked(why),
                Err(error) => {
                    desk::Answer::Unasked(format!("the question could not be put: {}", error.reason()))
                }
            }
        })
    }
}

/// Takes a question away when nobody waits for its answer any more.
struct Open<'a> {
    inner: &'a Arc<Inner>,
    id: i64,
    is_over: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let (store, id) = (self.inner.store.clone(), self.id);
            self.inner.tasks.spawn(async move {
                // It is void in a minute anyway.
                let _ = store.write(move |db| questions::take(db, id)).await;
            });
        }
    }
}

impl TurnAsker {
    async fn wait(&self, question: Question) -> Result<Answer, StoreError> {
        let Question { kind, text, details, patience } = question;
        let scope = self.scope.clone();
        let chat = match &self.way {
            Way::Chat(item) => Some((item.platform.clone(), item.chat_id.clone(), item.delivery.clone())),
            Way::Stream(_) => None,
        };
        let session = self.session_id.clone();
        let choices = offered(kind, &details);
        let put = self.inner.store.write(move |db| {
            let now = epoch();
            let id = questions::put(db, &scope, kind, now, now + patience.as_secs_f64())?;
            if let Some((platform, chat_id, mut delivery)) = chat {
                if !choices.is_empty() {
                    delivery.extra.insert(ASKS.to_owned(), questions::name(id, now));
                    delivery.extra.insert(CHOICES.to_owned(), choices);
                }
                ledger::add(db, &session, &platform, &chat_id, &delivery, &text, now)?;
            }
            Ok(id)
        });
        let mut open = Open { inner: &self.inner, id: put.await?, is_over: false };
        let _waiting = match &self.way {
            Way::Chat(item) => Some(item.waits.begin()),
            Way::Stream(_) => None,
        };
        let until = Instant::now() + patience;
        match &self.way {
            Way::Chat(_) => self.inner.deliveries.ring(),
            Way::Stream(events) => {
                let asked = Event::Asked { run: self.scope.clone(), details };
                if events.send(asked).await.is_err() {
                    return Ok(Answer::Nobody("its client does not read along".to_owned()));
                }
            }
        }
        let id = open.id;
        loop {
            let heard = self.inner.store.answered().notified();
            tokio::pin!(heard);
            // From here on an answer is noticed, also while the store is asked.
            heard.as_mut().enable();
            if self.inner.store.aside(move |db| questions::answer(db, id)).await?.is_some()
                || Instant::now() >= until
            {
                break;
            }
            tokio::select! {
                () = heard => {}
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        let said = self.inner.store.write(move |db| questions::take(db, id)).await?;
        open.is_over = true;
        if let (Way::Stream(events), Some(said)) = (&self.way, &said) {
            let choice = Choice::said(said).map_or("answered", |choice| choice.name());
            // Nobody has to listen.
            let _ = events.send(Event::Heard { run: self.scope.clone(), choice: choice.to_owned() }).await;
        }
        Ok(said.map_or(Answer::Silence, Answer::Said))
    }
}

/// What may be chosen, where it can be chosen without words.
fn offered(kind: Kind, details: &Value) -> String {
    let choices = details["choices"].as_array().filter(|_| kind == Kind::Approval);
    let names = choices.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| Choice::named(name).is_some()).collect::<Vec<_>>().join(",")
}

impl Asker for TurnAsker {
    fn ask(&self, question: Question) -> Asking<'_> {
        Box::pin(async move {
            self.wait(question).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a question could not be asked");
                Answer::Nobody("the question could not be stored".to_owned())
            })
        })
    }
}

/// Writes down what somebody chose for what is asked of `scope`.
pub(super) async fn choose(inner: &Inner, scope: &str, choice: &Choice) -> Result<(), NotAsked> {
    let (scope, text) = (scope.to_owned(), choice.message());
    taken(inner, inner.store.write_for_client(move |db| questions::hear(db, &scope, &text, epoch())).await?)
}

/// Writes down what somebody said to what a tool of `run` asks.
pub(super) async fn say(inner: &Inner, run: &str, text: String) -> Result<(), NotAsked> {
    let scope = questions::of_choices(run);
    taken(inner, inner.store.write_for_client(move |db| questions::told(db, &scope, &text, epoch())).await?)
}

fn taken(inner: &Inner, heard: Heard) -> Result<(), NotAsked> {
    match heard {
        Heard::Answered => {
            inner.store.note_answer();
            Ok(())
        }
        Heard::Late => Err(NotAsked::Late),
        Heard::No => Err(NotAsked::Nothing),
    }
}

/// What an event says of a question, for programs: `details` with the names that identify it.
pub fn described(run: &str, mut details: Value) -> Value {
    details["event"] = "approval.request".into();
    details["run_id"] = run.into();
    details
}
