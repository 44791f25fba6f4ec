//! The agent of a profile: one process, started when it is first needed and again when it is gone.
//!
//! A process that cannot be started, or that ends soon after, is started again after a wait that doubles each time; a turn that comes
//! meanwhile waits if it is not long, and else fails with what went wrong.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::launch::Launch;
use super::live::Live;
use crate::engine::EngineError;
use crate::provider::Fault;

/// The first wait before another start.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);
/// A turn waits so long itself.
const PATIENT: Duration = Duration::from_secs(3);
/// A process that lived for so long did not fail to start.
const STABLE: Duration = Duration::from_secs(60);
/// Time that everything has to end.
const END: Duration = Duration::from_secs(4);

/// See the module.
pub(super) struct Host {
    pub(super) launch: Launch,
    state: Mutex<State>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    failures: u32,
    /// No start before.
    not_before: Option<Instant>,
    /// Why the last start failed.
    error: Option<EngineError>,
}

impl State {
    fn failed(&mut self) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + wait);
    }
}

impl Host {
    pub(super) fn new(launch: Launch) -> Self {
        Self { launch, state: Mutex::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// The process that runs, started if none does. Dropping the future ends one that is being started.
    pub(super) async fn live(&self) -> Result<Arc<Live>, EngineError> {
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if live.serves() {
                return Ok(Arc::clone(live));
            }
            let soon = live.is_gone() && live.since.elapsed() < STABLE;
            state.live = None;
            if soon {
                state.failed();
            } else {
                (state.failures, state.not_before) = (0, None);
            }
        }
        if let Some(at) = state.not_before {
            let left = at.saturating_duration_since(Instant::now());
            if left > PATIENT {
                let error = state.error.clone();
                return Err(waits(error, left, &self.launch));
            }
            tokio::time::sleep(left).await;
        }
        if self.stop.is_cancelled() {
            return Err(EngineError::Interrupted);
        }
        match Live::start(&self.launch, &self.tasks, self.stop.child_token()).await {
            Ok(live) => {
                (state.live, state.error) = (Some(Arc::clone(&live)), None);
                Ok(live)
            }
            Err(error) => {
                state.failed();
                state.error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Ends the process, and returns when it is gone.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!(agent = %self.launch.faults.agent, "the agent did not end in time");
        }
    }
}

/// The error of a turn that would have to wait too long.
fn waits(last: Option<EngineError>, left: Duration, launch: &Launch) -> EngineError {
    let text = format!("it is started again in {} s", left.as_secs() + 1);
    match last {
        Some(EngineError::Provider { fault, status, is_final, message, calls, .. }) => {
            EngineError::Provider {
                fault,
                status,
                retry_after: Some(left),
                is_final,
                message: format!("{message}; {text}"),
                calls,
            }
        }
        Some(other) => other,
        None => launch
            .faults
            .of(Fault::Unreachable, &format!("ended soon after its start, more than once; {text}")),
    }
}
