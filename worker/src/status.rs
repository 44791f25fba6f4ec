//! This worker's word on itself: the record behind `runtime_status.json` and `gateway_state.json`.
//!
//! [`Status`] is a cheap handle that anyone may hold and set; nothing it does blocks. One task of `app` turns changes into
//! files. State changes reach the disk at once; counts at most once a second, so that thousands of turns do
//! not become thousands of synced files. The record starts empty at every start: what an earlier process wrote is never merged.

mod files;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hermes_host::blocking;
use hermes_wire::contract::runtime_status::{
    Approvals, FenceStatus, GoneChats, InboxStatus, KeyPool, PlatformStatus, RuntimeStatus, SCHEMA,
    ToolServerStatus,
};
use hermes_wire::latest::LastError;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock;
use crate::inbox::Backlog;
use crate::pulse::Pulse;

pub(crate) use files::Files;

/// Shortest time between two writes that only change a count.
const COUNTS: Duration = Duration::from_secs(1);

/// Time the disk has for one write.
const DEADLINE: Duration = Duration::from_secs(30);

/// States of a worker in its status file; the words are 0.19.0's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not serving yet.
    Starting,
    /// Serving.
    Running,
    /// Serving, but not able to do all that the files ask for.
    Degraded,
    /// Finishing what runs.
    Draining,
    /// Ended in order.
    Stopped,
    /// Ended before it served.
    StartupFailed,
}

impl State {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::StartupFailed => "startup_failed",
        }
    }
}

/// Handle on the record. Cloning shares it; dropping does nothing.
#[derive(Debug, Clone)]
pub struct Status(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    record: Mutex<Record>,
    changed: Notify,
    written: Notify,
    pulse: Pulse,
}

#[derive(Debug)]
struct Record {
    status: RuntimeStatus,
    /// Something other than a count changed since the last take.
    urgent: bool,
    /// Anything changed since the last take.
    dirty: bool,
    /// A write is under way.
    writing: bool,
}

impl Status {
    /// A handle on `first`; see [`empty`].
    pub fn new(first: RuntimeStatus) -> Self {
        let record = Record { status: first, urgent: true, dirty: true, writing: false };
        Self(Arc::new(Inner {
            record: Mutex::new(record),
            changed: Notify::new(),
            written: Notify::new(),
            pulse: Pulse::new("status", DEADLINE),
        }))
    }

    /// Enters `state`. `reason` is kept for the states that end a process and dropped otherwise.
    pub fn set_state(&self, state: State, reason: Option<&str>) {
        self.change(true, |status| {
            status.gateway_state = Some(state.as_str().to_owned());
            status.exit_reason = reason.map(str::to_owned);
        });
    }

    /// Serving, with what is in the way of being able to. Another count of the same failure can wait for the disk.
    pub(crate) fn set_serving(&self, able: bool, reason: Option<&str>, last_error: Option<LastError>) {
        let state = if able { State::Running } else { State::Degraded };
        let before = self.snapshot();
        let kind = |error: &LastError| (error.class.clone(), error.code);
        let urgent = before.gateway_state.as_deref() != Some(state.as_str())
            || before.degraded_reason.as_deref() != reason
            || before.last_error.as_ref().map(kind) != last_error.as_ref().map(kind);
        self.change(urgent, |status| {
            status.gateway_state = Some(state.as_str().to_owned());
            status.exit_reason = None;
            status.degraded_reason = reason.map(str::to_owned);
            status.last_error = last_error;
        });
    }

    /// Replaces what is known of one platform; `updated_at` is filled in where it is missing.
    pub fn set_platform(&self, name: &str, mut platform: PlatformStatus) {
        platform.updated_at.get_or_insert_with(clock::now);
        self.change(true, |status| {
            status.platforms.insert(name.to_owned(), platform);
        });
    }

    /// Replaces what is known of one tool server.
    pub(crate) fn set_tool_server(&self, name: &str, mut server: ToolServerStatus) {
        server.updated_at = Some(clock::now());
        self.change(true, |status| {
            status.tool_servers.insert(name.to_owned(), server);
        });
    }

    /// Replaces what is known of providers with several keys.
    pub(crate) fn set_key_pools(&self, pools: BTreeMap<String, KeyPool>) {
        self.change(true, |status| status.key_pools = pools);
    }

    /// Replaces what is known of chats that are gone.
    pub(crate) fn set_gone_chats(&self, gone: Option<GoneChats>) {
        self.change(true, |status| status.gone_chats = gone);
    }

    /// What is around programs that are started.
    pub(crate) fn set_fence(&self, fence: FenceStatus) {
        self.change(true, |status| status.fence = Some(fence));
    }

    /// How many turns run now.
    pub fn set_active(&self, active: u64) {
        let mut record = self.lock();
        if record.status.active_agents != active {
            record.status.active_agents = active;
            record.dirty = true;
            drop(record);
            self.ring();
        }
    }

    /// What waits in the inbox, and why, and for an approval. A reason or an approval that comes or goes is written at once, other counts
    /// are not.
    pub(crate) fn set_backlog(&self, backlog: &Backlog) {
        let inbox = InboxStatus {
            waiting: backlog.waiting,
            postponed: backlog.postponed,
            failed: backlog.failed,
            reason: backlog.reason.clone(),
            undelivered: backlog.undelivered,
        };
        let approvals = backlog
            .approvals
            .map(|(waiting, since)| Approvals { waiting, since: clock::at(since).unwrap_or_default() });
        let mut record = self.lock();
        let before = record.status.inbox.clone().unwrap_or_default();
        if before == inbox && record.status.approvals == approvals {
            return;
        }
        record.urgent |= record.status.approvals != approvals;
        record.status.approvals = approvals;
        record.urgent |= before.reason.is_some() != inbox.reason.is_some()
            || before.failed != inbox.failed
            || before.undelivered != inbox.undelivered;
        record.dirty = true;
        record.status.inbox = Some(inbox);
        drop(record);
        self.ring();
    }

    /// Changes anything else of the record.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RuntimeStatus)) {
        self.change(true, change);
    }

    /// The record as it is now, stamped with the time.
    pub fn snapshot(&self) -> RuntimeStatus {
        let mut status = self.lock().status.clone();
        status.updated_at = Some(clock::now());
        status
    }

    /// Turns changes into files until `stop`, and once more then. What cannot be written is said once until it works again.
    pub(crate) async fn keep_written(self, files: Files, stop: CancellationToken) {
        let mut failing = false;
        let mut earliest = Instant::now();
        loop {
            let stopping = stop.is_cancelled();
            if self.is_due(stopping || Instant::now() >= earliest) {
                let wanted = self.0.pulse.wanted();
                self.0.pulse.door(files.home()).await;
                let (files, status) = (files.clone(), self.take());
                // Syncing takes as long as the disk likes: not on the thread that serves.
                let written = blocking::run(move || files.write(&status)).await;
                earliest = Instant::now() + COUNTS;
                self.lock().writing = false;
                self.0.pulse.serve(wanted);
                self.0.written.notify_waiters();
                match written {
                    Ok(Ok(())) => failing = false,
                    Ok(Err(e)) if !std::mem::replace(&mut failing, true) => {
                        error!(error = &e as &dyn std::error::Error, "status is not written");
                    }
                    Err(e) if !std::mem::replace(&mut failing, true) => {
                        error!(error = &e as &dyn std::error::Error, "status is not written");
                    }
                    Ok(Err(_)) | Err(_) => {}
                }
                continue;
            }
            if stopping {
                return;
            }
            let later = async {
                if self.lock().dirty {
                    tokio::time::sleep_until(earliest).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = later => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Waits until what was set before has been written, or could not be. Needs a running [`Status::keep_written`].
    pub(crate) async fn settled(&self) {
        loop {
            let written = self.0.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            {
                let record = self.lock();
                if !(record.writing || record.dirty && record.urgent) {
                    return;
                }
            }
            written.await;
        }
    }

    /// Whether there is something to write now.
    fn is_due(&self, counts_too: bool) -> bool {
        let record = self.lock();
        record.dirty && (record.urgent || counts_too)
    }

    /// The record to write; what changes from here on is a new change.
    fn take(&self) -> RuntimeStatus {
        let mut record = self.lock();
        (record.dirty, record.urgent, record.writing) = (false, false, true);
        drop(record);
        self.snapshot()
    }

    fn change(&self, urgent: bool, change: impl FnOnce(&mut RuntimeStatus)) {
        let mut record = self.lock();
        change(&mut record.status);
        record.dirty = true;
        record.urgent |= urgent;
        drop(record);
        self.ring();
    }

    /// There is something to write.
    fn ring(&self) {
        self.0.pulse.want();
        self.0.changed.notify_one();
    }

    /// How [`keep_written`](Self::keep_written) is.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // A panic while the lock is held leaves a whole record behind: every change is a plain assignment.
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A platform's status without an error.
pub fn platform(state: &str) -> PlatformStatus {
    PlatformStatus {
        state: state.to_owned(),
        error_code: None,
        error_message: None,
        updated_at: None,
        mode: None,
    }
}

/// An empty record of this process for `profile`.
pub fn empty(profile: &str, pid: u32, start_time: Option<u64>, argv: Vec<String>) -> RuntimeStatus {
    RuntimeStatus {
        pid: Some(pid),
        kind: Some(hermes_wire::contract::pid_record::KIND.to_owned()),
        argv,
        start_time,
        gateway_state: Some(State::Starting.as_str().to_owned()),
        exit_reason: None,
        restart_requested: false,
        active_agents: 0,
        platforms: std::collections::BTreeMap::new(),
        tool_servers: BTreeMap::new(),
        updated_at: None,
        served_profiles: None,
        schema: Some(SCHEMA),
        profile: Some(profile.to_owned()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        supervisor_pid: None,
        restarts: None,
        inbox: None,
        degraded_reason: None,
        last_error: None,
        asleep: None,
        fence: None,
        approvals: None,
        key_pools: BTreeMap::new(),
        gone_chats: None,
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use hermes_wire::ProfileHome;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn states_are_written_at_once_and_counts_at_most_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let written = || RuntimeStatus::read(&fs_err::read(home.runtime_status()).unwrap()).unwrap();
        let status = Status::new(empty("coder", std::process::id(), None, Vec::new()));
        let stop = CancellationToken::new();
        let task = status.clone().keep_written(Files::new(home.clone()), stop.clone());
        let test = async {
            for state in [State::Starting, State::Running] {
                status.set_state(state, None);
                status.settled().await;
                assert_eq!(written().gateway_state.as_deref(), Some(state.as_str()));
            }
            status.set_active(1);
            status.set_active(2);
            tokio::time::sleep(COUNTS / 2).await;
            assert_eq!(written().active_agents, 0);
            tokio::time::sleep(COUNTS).await;
            status.set_platform("webhook", platform("connected"));
            status.settled().await;
            assert_eq!(
                (written().active_agents, written().platforms["webhook"].state.as_str()),
                (2, "connected")
            );
            // The last count is not lost either.
            status.set_active(7);
            stop.cancel();
        };
        tokio::join!(task, test);
        assert_eq!(written().active_agents, 7);
    }
}
