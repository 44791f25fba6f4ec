//! `state.db`: the one file that holds a profile's sessions, messages, inbox and outbound ledger.
//!
//! **One writer.** A thread owns the only connection. Callers hand it jobs over a bounded queue; it takes everything that waits,
//! runs each job in a savepoint of one `BEGIN IMMEDIATE … COMMIT` with `synchronous=FULL`, and answers all of them after the
//! commit. So an answer always means "on disk", and many callers share the price of one sync. A job that fails takes back only
//! its own changes. Cancelling a caller does not cancel its job.
//!
//! **Not alone.** Another generation of this worker, or a tool of 0.19.0, may have the file open: a held lock is waited for, with
//! jitter, for [`BUSY_PATIENCE`]. A full disk or a read-only file is an error to the callers; the thread goes on.
//!
//! **Compatible.** The schema is version 22 as 0.19.0 makes it, plus tables of ours named `hermes_*`, which 0.19.0 tolerates. What
//! is missing is created, nothing is dropped, no version is ever lowered. A file that is no such database is left untouched.

mod identity;
mod owner;
mod schema;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::fault;
use hermes_protocol::ProfileHome;
use hermes_protocol::absence::OrAbsent as _;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, mpsc, oneshot};

pub use owner::Owner;

use crate::pulse::Pulse;
use writer::{Job, JobOf, Message, Writer};

/// How long a job waits while another process holds the write lock.
pub const BUSY_PATIENCE: Duration = Duration::from_secs(15);

/// Time the writer has for one round, longer than the longest wait for a lock.
const DEADLINE: Duration = Duration::from_secs(20);

/// Time the dispatcher has for one round: it waits for the writer.
const INBOX_DEADLINE: Duration = Duration::from_secs(30);

/// Jobs that may wait for the writer; a caller beyond that waits for room.
const QUEUE: usize = 1024;

/// Why the store could not do something. Cheap to clone: one failed commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Opening failed.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        path: Utf8PathBuf,
        /// SQLite's word on it.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The file system refused.
    #[error("cannot prepare `{path}`")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Something else lives under that name. It was not touched.
    #[error("`{path}` is not a hermes database ({found}); move it away and start again")]
    Foreign {
        /// The file.
        path: Utf8PathBuf,
        /// What was found instead.
        found: String,
    },
    /// A job failed: disk full, read-only, damaged file, lock held for too long.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// SQLite's word on it.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// Asked after [`Store::close`].
    #[error("`{path}` is closed")]
    Closed {
        /// The file.
        path: Utf8PathBuf,
    },
}

impl StoreError {
    /// Whether the data itself is at fault (a constraint, a damaged value), so that the same job will fail again.
    pub(crate) fn is_about_data(&self) -> bool {
        let Self::Write { source, .. } = self else { return false };
        match source.sqlite_error_code() {
            Some(code) => matches!(
                code,
                ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
                    | ErrorCode::Unknown
            ),
            None => true,
        }
    }

    /// Whether the machine is to blame: no space, no memory, no descriptors, a disk that fails, a lock that is held.
    pub(crate) fn is_of_machine(&self) -> bool {
        match self {
            Self::Io { source, .. } => fault::is_of_machine(source),
            Self::Open { path, source } | Self::Write { path, source } => match source.sqlite_error_code() {
                Some(
                    ErrorCode::DiskFull
                    | ErrorCode::OutOfMemory
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::FileLockingProtocolFailed,
                ) => true,
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => is_out_of_reach(path),
                _ => false,
            },
            Self::Foreign { .. } | Self::Closed { .. } => false,
        }
    }
}

/// Whether the files of a database cannot be opened now for a reason that passes. SQLite keeps the system's number to itself.
fn is_out_of_reach(path: &Utf8Path) -> bool {
    ["", "-wal", "-shm"].iter().all(|end| {
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(format!("{path}{end}"));
        // What is not there SQLite would have made.
        opened.err().is_none_or(|e| e.kind() == std::io::ErrorKind::NotFound || fault::is_of_machine(&e))
    })
}

/// Handle on the writer thread. Cloning shares it; when the last one is dropped the thread finishes its queue and ends.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Message>,
    home: ProfileHome,
    path: Utf8PathBuf,
    owner: Owner,
    commits: Arc<AtomicU64>,
    pulse: Pulse,
    /// The dispatcher's: whoever accepts an item gives it work.
    inbox: Pulse,
    arrived: Notify,
    accepts: AtomicU64,
}

impl Store {
    /// Opens or creates the home's `state.db` and starts the writer. Blocks for a few milliseconds.
    pub fn open(home: &ProfileHome, owner: Owner) -> Result<Self, StoreError> {
        let path = home.state_db();
        let db = schema::open(&path)?;
        identity::settle(&db, home.path())
            .map_err(|e| StoreError::Open { path: path.clone(), source: Arc::new(e) })?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let pulse = Pulse::new("store", DEADLINE);
        let writer = Writer::new(db, jobs, path.clone(), Arc::clone(&commits), pulse.clone());
        writer.start(home).map_err(|e| StoreError::Io { path: path.clone(), source: Arc::new(e) })?;
        Ok(Self(Arc::new(Inner {
            queue,
            home: home.clone(),
            path,
            owner,
            commits,
            pulse,
            inbox: Pulse::new("inbox", INBOX_DEADLINE),
            arrived: Notify::new(),
            accepts: AtomicU64::new(0),
        })))
    }

    /// Gives the home's sessions, where it has any, to the profile whose name it has now; see [`identity`].
    pub fn settle_identity(home: &ProfileHome) -> Result<(), StoreError> {
        let path = home.state_db();
        if fs_err::metadata(&path)
            .or_absent()
            .map_err(|e| StoreError::Io { path: path.clone(), source: Arc::new(e) })?
            .is_none()
        {
            return Ok(());
        }
        let db = schema::open(&path)?;
        db.busy_timeout(BUSY_PATIENCE)
            .and_then(|()| identity::settle(&db, home.path()))
            .map_err(|e| StoreError::Open { path, source: Arc::new(e) })
    }

    /// Runs `job` in a transaction shared with whatever else waits; returns after the commit.
    pub(crate) async fn write<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, true).await
    }

    /// Like [`write`](Self::write) for a job of one writing statement, which is atomic without a savepoint.
    pub(crate) async fn write_one<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, false).await
    }

    /// Runs `job` between transactions: for reading, and for work that must not hold the write lock.
    pub(crate) async fn aside<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let path = self.0.path.clone();
        let run = move |db: &Connection| {
            let result = job(db).map_err(|e| StoreError::Write { path, source: Arc::new(e) });
            let _gone = reply.send(result);
        };
        self.send(Message::Aside(Box::new(run)), answer).await?
    }

    async fn submit<T, F>(&self, job: F, savepoint: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(JobOf::new(job, reply));
        self.send(Message::Job { job, savepoint }, answer).await?
    }

    async fn send<T>(&self, message: Message, answer: oneshot::Receiver<T>) -> Result<T, StoreError> {
        self.0.queue.send(message).await.map_err(|_| self.closed())?;
        self.0.pulse.want();
        answer.await.map_err(|_| self.closed())
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { path: self.0.path.clone() }
    }

    /// Finishes what waits, checkpoints and closes the file. Later calls answer [`StoreError::Closed`].
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let _closed = self.send(Message::Close(reply), answer).await;
    }

    /// How the writer is.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// How the task that works the inbox off is.
    pub(crate) fn inbox(&self) -> &Pulse {
        &self.0.inbox
    }

    /// Commits so far; shows how many jobs share one.
    pub fn commits(&self) -> u64 {
        self.0.commits.load(Ordering::Relaxed)
    }

    /// Rung when something may be waiting in the inbox.
    pub(crate) fn arrived(&self) -> &Notify {
        &self.0.arrived
    }

    /// Items accepted since the start; see [`Store::arrived`].
    pub(crate) fn accepts(&self) -> u64 {
        self.0.accepts.load(Ordering::Relaxed)
    }

    /// Notes that an item was accepted and wakes whoever waits for one.
    pub(crate) fn note_accept(&self) {
        self.0.accepts.fetch_add(1, Ordering::Relaxed);
        self.0.inbox.want();
        self.0.arrived.notify_one();
    }

    /// The file.
    pub fn path(&self) -> &Utf8Path {
        &self.0.path
    }

    /// The home it lives in.
    pub fn home(&self) -> &ProfileHome {
        &self.0.home
    }

    /// This process, as written into claims and leases.
    pub fn owner(&self) -> Owner {
        self.0.owner
    }
}

#[cfg(test)]
mod tests;
