//! Questions to whoever talks to the profile, in the middle of a turn, and the messages that answer them.
//!
//! A question is a message of the ledger; the next message of its session is the answer. That message is a row of the inbox like any other:
//! it is read here, and becomes part of the turn in the transaction that keeps the result of the tool that asked. A process that dies
//! before leaves it to its own turn, so no answer is lost. While a question is open no message interrupts its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::place::{self, Place};
use super::{Inner, Item};
use crate::delivery::ledger;
use crate::delivery::signs::Waits;
use crate::engine::{Prompt, Seat as _};
use crate::inbound::{ASKS, CHOICES, DeliveryTarget, Inbound, LABELS};
use crate::questions;
use crate::session::epoch;
use crate::store::StoreError;
use crate::tools::asking::Kind;
use crate::tools::desk::{Answer, Asked, Desk};

/// How often another process's messages are looked for; those of this one ring.
const LOOK: Duration = Duration::from_secs(1);

/// The questions that are open in this process, by session key.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<HashMap<String, Open>>);

#[derive(Debug, Default)]
struct Open {
    /// The item of the inbox that answers it, once there is one.
    answer: Option<i64>,
}

impl Questions {
    /// Whether what comes for a session answers a question of its turn.
    pub(super) fn is_open(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }

    /// The item that answered, for whoever keeps the result.
    pub(super) fn answer(&self, key: &str) -> Option<i64> {
        self.lock().get(key)?.answer
    }

    /// The question is over: its answer is part of the turn, or none is waited for. `false`: there was none.
    pub(super) fn close(&self, key: &str) -> bool {
        self.lock().remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever wrote the message that a turn of the inbox is about.
struct Sender {
    inner: Arc<Inner>,
    /// The session key.
    key: String,
    session_id: String,
    platform: String,
    chat_id: String,
    target: DeliveryTarget,
    waits: Waits,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Whoever can be asked in a turn of the inbox: who wrote in a chat. A webhook has nobody.
pub(super) fn sender(inner: &Arc<Inner>, prompt: &Prompt, key: &str, item: &Item) -> Option<Arc<dyn Desk>> {
    let is_chat = item.platform != "webhook" && ledger::is_kept(&item.delivery);
    is_chat.then(|| {
        let sender = Sender {
            inner: Arc::clone(inner),
            key: key.to_owned(),
            session_id: prompt.session_id.clone(),
            platform: item.platform.clone(),
            chat_id: item.chat_id.clone(),
            target: item.delivery.clone(),
            waits: item.waits.clone(),
            turn: tokio::sync::Mutex::default(),
        };
        Arc::new(sender) as Arc<dyn Desk>
    })
}

impl Desk for Sender {
    fn ask<'a>(
        &'a self,
        key: &'a str,
        question: &'a str,
        choices: &'a [String],
        patience: Duration,
    ) -> Asked<'a> {
        Box::pin(async move {
            let _mine = self.turn.lock().await;
            match self.put(key, question, choices, patience).await {
                Ok(answer) => answer,
                Err(error) => Answer::Unasked(format!("the question could not be put: {}", error.reason())),
            }
        })
    }
}

impl Sender {
    async fn put(
        &self,
        key: &str,
        question: &str,
        choices: &[String],
        patience: Duration,
    ) -> Result<Answer, StoreError> {
        let inner = &self.inner;
        inner.questions.lock().insert(self.key.clone(), Open::default());
        let mut open = Guard { sender: self, is_answered: false, asked: None };
        let (asked, before) = self.send(key, question, choices, patience).await?;
        open.asked = Some(asked);
        let _waiting = self.waits.begin();
        inner.deliveries.ring();
        let seat = Place::new(inner, place::Kind::Inbox);
        tokio::select! {
            biased;
            answer = self.wait(&before) => {
                let (item, text) = answer?;
                if let Some(entry) = inner.questions.lock().get_mut(&self.key) {
                    entry.answer = Some(item);
                }
                open.is_answered = true;
                Ok(Answer::Said(text))
            }
            // Somebody else may have the turn's place meanwhile.
            () = seat.away(patience) => Ok(Answer::Silence),
        }
    }

    /// Puts the question into the ledger, once, and gives the items that wait already: they are no answers.
    async fn send(
        &self,
        key: &str,
        question: &str,
        choices: &[String],
        patience: Duration,
    ) -> Result<(i64, Vec<i64>), StoreError> {
        let (session, platform, chat_id) =
            (self.session_id.clone(), self.platform.clone(), self.chat_id.clone());
        let (mut target, text) = (self.target.clone(), question.to_owned());
        let (key, session_key) = (ledger::key_of(&session, key), self.key.clone());
        let numbers: Vec<String> = (1..=choices.len()).map(|number| number.to_string()).collect();
        let labels = serde_json::to_string(choices).expect("texts always serialise");
        self.inner
            .store
            .write(move |db| {
                let before = queued(db, &session_key)?.into_iter().map(|(id, _)| id).collect();
                let now = epoch();
                let scope = questions::of_choices(&session_key);
                let asked = questions::put(db, &scope, Kind::Open, now, now + patience.as_secs_f64())?;
                if !numbers.is_empty() {
                    target.extra.insert(ASKS.to_owned(), questions::name(asked, now));
                    target.extra.insert(CHOICES.to_owned(), numbers.join(","));
                    target.extra.insert(LABELS.to_owned(), labels);
                }
                let letter = ledger::Letter {
                    session: &session,
                    platform: &platform,
                    chat_id: &chat_id,
                    target: &target,
                    text: &text,
                };
                ledger::add_once(db, &key, &letter, now)?;
                Ok((asked, before))
            })
            .await
    }

    /// The next message of the session, when it is there.
    async fn wait(&self, before: &[i64]) -> Result<(i64, String), StoreError> {
        loop {
            let accepted = self.inner.store.accepted().notified();
            tokio::pin!(accepted);
            // From here on an item is noticed, also while the store answers.
            accepted.as_mut().enable();
            let key = self.key.clone();
            let all = self.inner.store.aside(move |db| queued(db, &key)).await?;
            let mut new = all.into_iter().filter(|(id, _)| !before.contains(id));
            // What cannot be read is set aside when its own turn comes.
            let readable = |(id, payload): (i64, String)| {
                Some((id, serde_json::from_str::<Inbound>(&payload).ok()?.text))
            };
            if let Some(found) = new.find_map(readable) {
                return Ok(found);
            }
            tokio::select! {
                () = accepted => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// What waits for the turn of a session to end, in order.
fn queued(db: &Connection, key: &str) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare_cached(
        "SELECT id, payload FROM hermes_inbox
         WHERE session_key = ?1 AND finished_at IS NULL AND state = 'queued' AND payload IS NOT NULL ORDER BY id",
    )?
    .query_map([key], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

/// Closes a question that nobody answered, whatever ended the wait.
struct Guard<'a> {
    sender: &'a Sender,
    is_answered: bool,
    /// Its row, by which a button answers it.
    asked: Option<i64>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.asked {
            let store = self.sender.inner.store.clone();
            self.sender.inner.tasks.spawn(async move {
                // It is void in time anyway.
                let _ = store.write(move |db| questions::take(db, id)).await;
            });
        }
        if !self.is_answered && self.sender.inner.questions.close(&self.sender.key) {
            // What came meanwhile and would interrupt does so now.
            self.sender.inner.store.look_for_interrupts();
        }
    }
}
