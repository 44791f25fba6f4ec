//! Turns against a real database. Engines are scripted; "the process died" is a store handle dropped without a drain and a new
//! one opened as another owner.

mod again;
mod busy;
mod closed;
mod compress;
mod direct;
mod inbox;
mod lease;
mod newer;
mod place;
mod postpone;
mod rate;
mod recovery;
mod runs;
mod search_index;
mod steps;
mod title;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::engine::{
    Chore, Cost, EngineFuture, Event, EventSink, Journal, Message, ModelId, Outcome, Pressure, Prompt, Role,
    Squeeze, Step, Usage,
};
use crate::inbound::{Accepted, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::{Inbox, KeyPolicy};
use crate::provider::Fault;
use crate::store::Owner;
use hermes_config::Task;

/// No such process.
pub(super) const DEAD: Owner = Owner { pid: 4_194_999, start_time: 7 };

/// What a job comes to.
type Chored = Result<String, EngineError>;

/// Answers `echo: <last text>`; takes a permit first, so a test decides when a turn may end.
pub(super) struct Scripted {
    pub(super) gate: Semaphore,
    /// What every turn ends with, instead of an answer.
    pub(super) fault: Mutex<Option<Fault>>,
    pub(super) seen: Mutex<Vec<Prompt>>,
    /// Rung by a turn that says "poison": its process is to die.
    pub(super) died: Notify,
    has_tools: bool,
    /// The job beside conversations that it does, and what that comes to, in order.
    pub(super) chores: Mutex<Option<(Task, Vec<Chored>)>>,
    /// Jobs that were asked for.
    pub(super) jobs: Mutex<Vec<Chore>>,
    /// Holds those back until there are permits.
    pub(super) writing: Semaphore,
}

impl Scripted {
    pub(super) fn open() -> Arc<Self> {
        Self::with_permits(Semaphore::MAX_PERMITS, None)
    }

    pub(super) fn closed() -> Arc<Self> {
        Self::with_permits(0, None)
    }

    pub(super) fn failing() -> Arc<Self> {
        Self::with_fault(Fault::Request)
    }

    pub(super) fn with_fault(fault: Fault) -> Arc<Self> {
        Self::with_permits(Semaphore::MAX_PERMITS, Some(fault))
    }

    /// From now on every turn ends with `fault`.
    pub(super) fn spoil(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    /// From now on there are answers.
    pub(super) fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    /// Its turns that say "steps" have some; see [`Scripted::two_steps`].
    pub(super) fn with_tools(permits: usize) -> Arc<Self> {
        let mut engine = Self::with_permits(permits, None);
        Arc::get_mut(&mut engine).unwrap().has_tools = true;
        engine
    }

    fn with_permits(permits: usize, fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(permits),
            fault: Mutex::new(fault),
            seen: Mutex::default(),
            died: Notify::new(),
            has_tools: false,
            chores: Mutex::default(),
            jobs: Mutex::default(),
            writing: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// Does jobs beside conversations, and comes to this with them.
    pub(super) fn helping(
        self: Arc<Self>,
        task: Task,
        chores: impl IntoIterator<Item = Result<&'static str, Fault>>,
    ) -> Arc<Self> {
        let chores =
            chores.into_iter().map(|chore| chore.map(str::to_owned).map_err(|fault| fails(fault, "no")));
        *self.chores.lock().unwrap() = Some((task, chores.collect()));
        self
    }

    pub(super) fn prompts(&self) -> Vec<Prompt> {
        self.seen.lock().unwrap().clone()
    }
}

/// What one call to the model costs.
pub(super) const SPENT: Usage = Usage {
    input_tokens: 11,
    output_tokens: 5,
    cache_read_tokens: 3,
    cache_write_tokens: 0,
    reasoning_tokens: 0,
};

fn fails(fault: Fault, message: &str) -> EngineError {
    EngineError::Provider {
        fault,
        status: Some(400),
        retry_after: None,
        is_final: false,
        message: message.to_owned(),
        calls: 2,
    }
}

impl Scripted {
    /// The fault, where there is one.
    fn ends_well(&self) -> Result<(), EngineError> {
        let Some(fault) = *self.fault.lock().unwrap() else { return Ok(()) };
        let message = if fault == Fault::Unreachable { "cannot be reached" } else { "Invalid request" };
        Err(fails(fault, message))
    }

    /// A step with two calls. A permit is needed for each result.
    async fn two_steps(&self, journal: &dyn Journal) -> Result<(), EngineError> {
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let message = Message {
            tool_calls: vec![call("call_a"), call("call_b")],
            reasoning: Some("hm".to_owned()),
            thoughts: vec![
                json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
                json!({"type": "reasoning", "encrypted_content": "e"}),
            ],
            ..Message::new(Role::Assistant, json!(""))
        };
        let cost = Cost { usage: SPENT, calls: 2, model: "m".to_owned(), ..Cost::default() };
        journal.keep(Step::Calls { message, cost }).await?;
        for (id, is_last) in [("call_a", false), ("call_b", true)] {
            self.gate.acquire().await.unwrap().forget();
            let message = Message::result(id, "f", format!("{id} ran"));
            journal.keep(Step::Result { message, is_last }).await?;
        }
        Ok(())
    }
}

impl Engine for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn model(&self) -> ModelId {
        ModelId { model: "m".to_owned(), provider: "test".to_owned() }
    }

    fn takes_options(&self) -> bool {
        true
    }

    fn has_tools(&self) -> bool {
        self.has_tools
    }

    fn does(&self, task: Task) -> bool {
        self.chores.lock().unwrap().as_ref().is_some_and(|(done, _)| *done == task)
    }

    fn assist(&self, chore: Chore) -> EngineFuture<'_> {
        Box::pin(async move {
            self.jobs.lock().unwrap().push(chore);
            self.writing.acquire().await.unwrap().forget();
            let next = self.chores.lock().unwrap().as_mut().map(|(_, chores)| chores.remove(0)).unwrap();
            next.map(|text| Outcome {
                text,
                usage: SPENT,
                calls: 1,
                model: "small".to_owned(),
                ..Outcome::default()
            })
        })
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            self.seen.lock().unwrap().push(prompt.clone());
            tokio::select! {
                permit = self.gate.acquire() => permit.unwrap().forget(),
                () = cancel.cancelled() => return Err(EngineError::Interrupted),
            }
            self.ends_well()?;
            if prompt.messages.last().is_some_and(|last| last.content == "poison") {
                self.died.notify_one();
                return std::future::pending().await;
            }
            if prompt.messages.last().is_some_and(|last| last.content == "steps") {
                self.two_steps(journal).await?;
                self.ends_well()?;
                let text = "made it".to_owned();
                return Ok(Outcome {
                    text,
                    finish_reason: "stop".to_owned(),
                    calls: 3,
                    usage: SPENT.plus(SPENT),
                    ..Outcome::default()
                });
            }
            if let Some(tail) =
                prompt.messages.last().and_then(|last| last.content.as_str()?.strip_prefix("shorten "))
            {
                let squeeze = Squeeze { why: Pressure::Near, tail: tail.parse().unwrap(), round: 0 };
                let text = match journal.shorten(squeeze).await? {
                    Ok(shorter) => {
                        let shorter =
                            Prompt { system: shorter.system, messages: shorter.messages, ..prompt.clone() };
                        self.seen.lock().unwrap().push(shorter);
                        "it is shorter".to_owned()
                    }
                    Err(why) => format!("it is not: {why}"),
                };
                return Ok(Outcome {
                    text,
                    finish_reason: "stop".to_owned(),
                    calls: 1,
                    ..Outcome::default()
                });
            }
            let last = &prompt.messages.last().unwrap().content;
            let text = match last.as_str().and_then(|last| last.strip_prefix("answer ")) {
                Some(answer) => answer.to_owned(),
                None => format!("echo: {}", last.as_str().map_or_else(|| last.to_string(), str::to_owned)),
            };
            if let Some(calls) = prompt.options.get("answer_with").and_then(Value::as_array) {
                let finish_reason = "tool_calls".to_owned();
                return Ok(Outcome {
                    tool_calls: calls.clone(),
                    finish_reason,
                    calls: 1,
                    ..Outcome::default()
                });
            }
            let _closed = events.send(Event::Delta(text.clone())).await;
            Ok(Outcome {
                text,
                tool_calls: Vec::new(),
                finish_reason: "stop".to_owned(),
                model: "m".to_owned(),
                provider: "test".to_owned(),
                base_url: "http://x".to_owned(),
                usage: SPENT,
                calls: 1,
                is_cut_short: false,
            })
        })
    }
}

/// A home, and processes that come and go in it.
pub(super) struct Home {
    _dir: TempDir,
    pub(super) home: ProfileHome,
}

pub(super) struct Process {
    pub(super) store: Store,
    pub(super) inbox: Inbox,
    pub(super) turns: Turns,
}

impl Home {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        Self { _dir: dir, home }
    }

    pub(super) fn start(&self, owner: Owner, engine: Arc<dyn Engine>) -> Process {
        self.start_limited(owner, engine, 16)
    }

    /// With conversations that are made shorter as `compression` says.
    pub(super) fn start_compressing(
        &self,
        owner: Owner,
        engine: Arc<dyn Engine>,
        compression: hermes_config::Compression,
    ) -> Process {
        let prompts: Prompts =
            Arc::new(|ctx| format!("You are coder, on {}.\nModel: m\nProvider: test", ctx.source.platform));
        let reader: PromptReader = Arc::new(move || Arc::clone(&prompts));
        self.start_with(owner, engine, 16, reader, compression)
    }

    pub(super) fn start_limited(&self, owner: Owner, engine: Arc<dyn Engine>, sessions: usize) -> Process {
        let prompts: Prompts = Arc::new(|ctx| {
            format!("You are coder.\nModel: {}\nProvider: {}", ctx.model.model, ctx.model.provider)
        });
        self.start_reading(owner, engine, sessions, Arc::new(move || Arc::clone(&prompts)))
    }

    /// With files that are read by `prompts`.
    pub(super) fn start_reading(
        &self,
        owner: Owner,
        engine: Arc<dyn Engine>,
        sessions: usize,
        prompts: PromptReader,
    ) -> Process {
        self.start_with(owner, engine, sessions, prompts, hermes_config::Compression::default())
    }

    fn start_with(
        &self,
        owner: Owner,
        engine: Arc<dyn Engine>,
        sessions: usize,
        prompts: PromptReader,
        compression: hermes_config::Compression,
    ) -> Process {
        let store = Store::open(&self.home, owner).unwrap();
        let profile: ProfileName = "coder".parse().unwrap();
        let keys = KeyPolicy {
            profile: profile.clone(),
            group_sessions_per_user: true,
            thread_sessions_per_user: false,
        };
        let turns = Turns::new(TurnParts {
            store: store.clone(),
            engine,
            prompts,
            deliveries: Deliveries::new(store.clone(), crate::delivery::common(Vec::new()).collect()),
            settings: TurnSettings {
                busy_acks: hermes_config::BusyAcks::default(),
                max_turns: 90,
                chats: hermes_config::chats::AllChats::new(),
                overlay: crate::session::Overlay::default(),
                profile,
                max_concurrent_sessions: sessions,
                max_concurrent_runs: 4,
                inactivity_timeout: None,
                postpone_timeout: Duration::from_hours(24),
                supervisor: None,
                write_sessions_json: true,
                timezone: jiff::tz::TimeZone::UTC,
                compression,
                compression_timeout: Duration::from_secs(60),
                title_language: None,
            },
        });
        Process { inbox: Inbox::new(store.clone(), keys), store, turns }
    }

    /// A second pair of eyes on the file.
    pub(super) fn db(&self) -> Connection {
        Connection::open(self.home.state_db()).unwrap()
    }

    pub(super) fn count(&self, what: &str) -> i64 {
        self.db().query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
    }

    /// Roles and contents of all messages, in order.
    pub(super) fn messages(&self) -> Vec<(String, String)> {
        let db = self.db();
        let mut select = db.prepare("SELECT role, content FROM messages ORDER BY id").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Roles and contents of what the next prompt would hold, as any program reads them.
    pub(super) fn active(&self) -> Vec<(String, String)> {
        let db = self.db();
        let mut select =
            db.prepare("SELECT role, content FROM messages WHERE active = 1 ORDER BY id").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Waits until `condition` holds in the database.
    pub(super) async fn wait(&self, condition: &str) {
        let db = self.db();
        let mut select = db.prepare(&format!("SELECT {condition}")).unwrap();
        let holds = async {
            while !select.query_row([], |row| row.get::<_, bool>(0)).unwrap() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), holds)
            .await
            .unwrap_or_else(|_| panic!("never: {condition}"));
    }
}

impl Process {
    /// As after `kill -9`: tasks end at once and nothing more is written.
    pub(super) async fn die(self) {
        self.store.close().await;
        self.turns.0.stop.cancel();
    }

    pub(super) async fn stop(self) {
        self.turns.drain(CancellationToken::new()).await;
        self.store.close().await;
    }
}

pub(super) fn event(chat: &str, id: &str, text: &str) -> Inbound {
    Inbound {
        source: Source {
            platform: "webhook".to_owned(),
            chat_type: "webhook".to_owned(),
            chat_id: Some(chat.to_owned()),
            chat_name: Some("webhook/open".to_owned()),
            user_id: Some("webhook:open".to_owned()),
            user_name: Some("open".to_owned()),
            ..Source::default()
        },
        text: text.to_owned(),
        dedup: Some(DedupKey { scope: "open".to_owned(), id: id.to_owned() }),
        delivery: DeliveryTarget { kind: "log".to_owned(), extra: BTreeMap::new() },
        context: None,
        end_session: None,
        busy: crate::inbound::Busy::Wait,
    }
}

pub(super) fn texts(messages: &[engine::Message]) -> Vec<(Role, &str)> {
    messages.iter().map(|m| (m.role, m.content.as_str().unwrap_or("?"))).collect()
}

pub(super) fn pair(role: &str, text: &str) -> (String, String) {
    (role.to_owned(), text.to_owned())
}

pub(super) fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

pub(super) async fn accept(process: &Process, event: Inbound) {
    assert_eq!(process.inbox.accept(event).await.unwrap(), Accepted::New);
}
