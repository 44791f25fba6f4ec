//! What a model does beside conversations: who does it, in which time, and with how many attempts.
//!
//! Each job is one call without tools. Its own model is asked first, where one is configured; then the profile's own, and those that
//! take that one's place. It has one deadline for all of them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hermes_config::{Auxiliaries, ProfileConfig, Task};
use hermes_wire::ProfileHome;
use serde_json::Value;
use tokio::sync::mpsc;

use super::way::Way;
use super::{Attempt, Native, RetryPolicy, Work};
use crate::engine::steps::{Ask, Model as _};
use crate::engine::{Chore, EngineError, Message, Options, Outcome, Role};
use crate::provider::{self, Fault};

/// Who does what.
#[derive(Default)]
pub(super) struct Chores {
    settings: Auxiliaries,
    ways: BTreeMap<Task, Way>,
}

impl Chores {
    /// As the files say. A model of its own that cannot be asked is among the problems of the report.
    pub(super) fn from_config(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: &[(String, String)],
    ) -> Self {
        let way = |task: Task| {
            let endpoint = provider::auxiliary(config, task, home)?.ok()?;
            Some((task, Way::new(endpoint.inherits(inherited))))
        };
        let ways =
            Task::ALL.into_iter().filter(|task| config.auxiliary.does(*task)).filter_map(way).collect();
        Self { settings: config.auxiliary.clone(), ways }
    }

    pub(super) fn does(&self, task: Task) -> bool {
        self.settings.does(task)
    }

    /// The model that a job has of its own.
    pub(super) fn way(&self, task: Task) -> Option<&Way> {
        self.ways.get(&task)
    }

    /// What follows a call that failed.
    pub(super) fn policy(&self, own: RetryPolicy) -> RetryPolicy {
        RetryPolicy { attempts: self.settings.transient_retries.saturating_add(1), ..own }
    }

    fn timeout(&self, task: Task) -> Duration {
        self.settings.timeout(task)
    }
}

/// Does a job.
pub(super) async fn run(engine: &Native, chore: Chore) -> Result<Outcome, EngineError> {
    let Chore { task, session_id, system, text } = chore;
    let attempt =
        Attempt { engine, at: AtomicUsize::new(0), route: None, chosen: None, work: Work::Job(task) };
    let (messages, options) = ([Message::new(Role::User, Value::String(text))], Options::new());
    let ask =
        Ask { session_id: &session_id, system: &system, messages: &messages, options: &options, tools: &[] };
    // Nobody listens.
    let (events, _) = mpsc::channel(1);
    let events = events.into();
    let limit = engine.chores.timeout(task);
    match tokio::time::timeout(limit, attempt.ask(ask, &events)).await {
        Ok(reply) => reply.map(|reply| reply.outcome),
        Err(_) => Err(EngineError::Provider {
            fault: Fault::Unreachable,
            status: None,
            retry_after: None,
            is_final: false,
            message: format!(
                "no model answered within {} s (auxiliary.{}.timeout)",
                limit.as_secs(),
                task.name()
            ),
            calls: 0,
        }),
    }
}
