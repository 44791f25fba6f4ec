//! `state.db`: the one file that holds a profile's sessions, messages, inbox and outbound ledger.
//!
//! **One writer.** A thread owns the only connection. Callers hand it jobs over a bounded queue; it takes everything that waits,
//! runs each job in a savepoint of one `BEGIN IMMEDIATE … COMMIT` with `synchronous=FULL`, and answers all of them after the
//! commit. So an answer always means "on disk", and many callers share the price of one sync. A job that fails takes back only
//! its own changes. Cancelling a caller does not cancel its job.
//!
//! **Not alone.** Another generation of this worker, or a tool of 0.19.0, may have the file open: a held lock is waited for, with
//! jitter, for [`BUSY_PATIENCE`], or for [`CLIENT_PATIENCE`] where somebody waits for the answer; reads go on meanwhile. A full disk or
//! a read-only file is an error to the callers and a [`trouble`](Store::trouble) until something is committed again; the thread goes on.
//!
//! **Where the name leads.** Files that were removed or replaced while they were open end the worker before anybody is told that
//! something is in them ([`files`]). So does damage. The next worker begins with what is there, or says what has to be done.
//!
//! **Compatible.** A new file has schema 22 as 0.19.0 makes it, plus tables of ours named `hermes_*`, which other programs tolerate.
//! Files up to schema 30 are continued and keep their version and their search index; what we write to and is missing is created, no
//! version is ever lowered ([`schema`]). A file that is no such database is left untouched; so is one of a newer schema: its store
//! refuses everything ([`Store::refusal`]).

mod error;
mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod identity;
mod owner;
mod schema;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use error::StoreError;
pub(crate) use error::is_busy;
pub use owner::Owner;
pub(crate) use owner::process_exists;
pub(crate) use schema::open as open_database;
pub(crate) use schema::search::{INDEXES, rebuild as rebuild_search};

use crate::pulse::Pulse;
use files::Files;
use writer::{JobOf, Message, Waiting, Writer};

/// How long a job waits while another process holds the write lock.
pub const BUSY_PATIENCE: Duration = Duration::from_secs(15);

/// How long one whose client waits does: senders of webhooks give up after five to ten seconds.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(4);

/// Between two looks at a file that is refused.
const REFUSED_LOOK: Duration = Duration::from_secs(2);

/// Time the writer has for one round, longer than the longest wait for a lock.
const DEADLINE: Duration = Duration::from_secs(20);

/// Time the dispatcher has for one round: it waits for the writer.
const INBOX_DEADLINE: Duration = Duration::from_secs(30);

/// Jobs that may wait for the writer; a caller beyond that waits for room.
const QUEUE: usize = 1024;

/// Handle on the writer thread. Cloning shares it; when the last one is dropped the thread finishes its queue and ends.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

/// Length and time of a file; `None` where there is none.
type Look = Option<(u64, Option<std::time::SystemTime>)>;

fn look(path: &Utf8Path) -> std::io::Result<Look> {
    Ok(fs_err::metadata(path).or_absent()?.map(|found| (found.len(), found.modified().ok())))
}

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Message>,
    /// Why the file must not be written, and what it looked like then. There is no writer in that case.
    refusal: Option<(StoreError, Look)>,
    trouble: Arc<watch::Sender<Option<String>>>,
    /// Whoever closes waits for its end.
    writer: Mutex<Option<JoinHandle<()>>>,
    home: ProfileHome,
    path: Utf8PathBuf,
    owner: Owner,
    commits: Arc<AtomicU64>,
    pulse: Pulse,
    /// The dispatcher's: whoever accepts an item gives it work.
    inbox: Pulse,
    arrived: Notify,
    accepted: Notify,
    accepts: AtomicU64,
    /// One of them interrupts what runs in its session.
    interrupts: AtomicBool,
    answered: Notify,
}

impl Store {
    /// Opens or creates the home's `state.db` and starts the writer. Blocks for a few milliseconds. A file of a newer schema is not
    /// opened: see [`refusal`](Self::refusal).
    pub fn open(home: &ProfileHome, owner: Owner) -> Result<Self, StoreError> {
        let path = home.state_db();
        let db = match schema::open(&path) {
            Ok(db) => Ok(db),
            Err(newer @ StoreError::Newer { .. }) => Err(newer),
            Err(error) => return Err(error),
        };
        let (queue, jobs) = mpsc::channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let pulse = Pulse::new("store", DEADLINE);
        let trouble = Arc::new(watch::Sender::new(None));
        let (refusal, writer) = match db {
            Err(newer) => (Some((newer, look(&path).unwrap_or_default())), None),
            Ok(db) => {
                identity::settle(&db, home.path()).map_err(|e| StoreError::opening(&path, e))?;
                let io = |e| StoreError::Io { path: path.clone(), source: Arc::new(e) };
                let files = Files::of(&path).map_err(io)?;
                let cookie = schema::checked_cookie(&db).map_err(|e| StoreError::opening(&path, e))?;
                let writer = Writer {
                    db,
                    jobs,
                    path: path.clone(),
                    files,
                    cookie,
                    commits: Arc::clone(&commits),
                    pulse: pulse.clone(),
                    trouble: Arc::clone(&trouble),
                };
                (None, Some(writer.start(home).map_err(io)?))
            }
        };
        Ok(Self(Arc::new(Inner {
            queue,
            refusal,
            trouble,
            writer: Mutex::new(writer),
            home: home.clone(),
            path,
            owner,
            commits,
            pulse,
            inbox: Pulse::new("inbox", INBOX_DEADLINE),
            arrived: Notify::new(),
            accepted: Notify::new(),
            accepts: AtomicU64::new(0),
            interrupts: AtomicBool::new(false),
            answered: Notify::new(),
        })))
    }

    /// Why nothing can be stored or read as long as the file is what it is.
    pub(crate) fn refusal(&self) -> Option<&StoreError> {
        self.0.refusal.as_ref().map(|(refusal, _)| refusal)
    }

    /// Waits until a refused file is another, or another version of itself. Never ends where none is refused.
    pub(crate) async fn refusal_over(&self) {
        if let Some((_, refused)) = &self.0.refusal {
            // What cannot be looked at has not changed.
            while look(&self.0.path).unwrap_or(*refused) == *refused {
                tokio::time::sleep(REFUSED_LOOK).await;
            }
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Why nothing could be written the last time: the disk, a lock. Rings when that changes.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.0.trouble.subscribe()
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
            .map_err(|e| StoreError::opening(&path, e))
    }

    /// Runs one job on the database of a home, in a transaction of its own: for a command where no worker serves the profile. What is
    /// missing in the file is made before. Blocks, at most for [`BUSY_PATIENCE`] while another process writes.
    pub(crate) fn once<T>(
        home: &ProfileHome,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = home.state_db();
        let db = schema::open(&path)?;
        let opening = |e| StoreError::opening(&path, e);
        db.busy_timeout(BUSY_PATIENCE).and_then(|()| identity::settle(&db, home.path())).map_err(opening)?;
        let writing = |e| StoreError::writing(&path, e);
        db.execute_batch("BEGIN IMMEDIATE").map_err(writing)?;
        // Somebody may have migrated it since it was opened.
        let done = match schema::newer(&db, &path).map_err(writing) {
            Ok(None) => {
                job(&db).and_then(|value| db.execute_batch("COMMIT").map(|()| value)).map_err(writing)
            }
            Ok(Some(newer)) => Err(newer),
            Err(error) => Err(error),
        };
        if done.is_err() {
            let _taken_back = db.execute_batch("ROLLBACK");
        }
        files::close(db);
        done
    }

    /// Runs `job` in a transaction shared with whatever else waits; returns after the commit.
    pub(crate) async fn write<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, true, BUSY_PATIENCE).await
    }

    /// Like [`write`](Self::write), for a client that waits.
    pub(crate) async fn write_for_client<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, true, CLIENT_PATIENCE).await
    }

    /// Like [`write`](Self::write) for a job of one writing statement, which is atomic without a savepoint.
    pub(crate) async fn write_one<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, false, BUSY_PATIENCE).await
    }

    /// Like [`write_one`](Self::write_one), for a client that waits.
    pub(crate) async fn write_one_for_client<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(job, false, CLIENT_PATIENCE).await
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
            let result = job(db).map_err(|e| StoreError::writing(&path, e));
            let damage = result.as_ref().err().filter(|e| matches!(e, StoreError::Damaged { .. })).cloned();
            let _gone = reply.send(result);
            damage
        };
        self.send(Message::Aside(Box::new(run)), answer, BUSY_PATIENCE).await?
    }

    async fn submit<T, F>(&self, job: F, savepoint: bool, patience: Duration) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(JobOf::new(job, reply));
        let until = clock::now() + patience;
        let answer = self.send(Message::Job(Waiting { job, savepoint, until }), answer, patience).await?;
        if answer.as_ref().is_err_and(StoreError::is_of_machine) {
            // The dispatcher tries until something is committed: so it is known when the trouble is over.
            self.0.arrived.notify_one();
        }
        answer
    }

    async fn send<T>(
        &self,
        message: Message,
        answer: oneshot::Receiver<T>,
        patience: Duration,
    ) -> Result<T, StoreError> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal.clone());
        }
        // A full queue is that of a writer who waits for a lock, or of a disk that does not keep up.
        let room = tokio::time::timeout(patience, self.0.queue.reserve()).await;
        room.map_err(|_| self.busy())?.map_err(|_| self.closed())?.send(message);
        self.0.pulse.want();
        answer.await.map_err(|_| self.closed())
    }

    fn busy(&self) -> StoreError {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        StoreError::writing(&self.0.path, rusqlite::Error::SqliteFailure(busy, None))
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { path: self.0.path.clone() }
    }

    /// Finishes what waits, checkpoints and closes the file. Later calls answer [`StoreError::Closed`].
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let closed = self.send(Message::Close(reply), answer, BUSY_PATIENCE).await;
        let ended = {
            let mut writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner);
            // One that did not take the message is at work still, and may be for long.
            writer.take_if(|writer| closed.is_ok() || writer.is_finished())
        };
        if let Some(ended) = ended {
            // It has nothing left to do; a panic in it was the pulse's to tell.
            let _ = hermes_host::blocking::run(move || ended.join()).await;
        }
    }

    /// Gives memory back: pages of the file, and statements that only a start needs.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let work = |db: &Connection| {
            db.flush_prepared_statement_cache();
            db.execute_batch("PRAGMA shrink_memory")
        };
        self.aside(work).await
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

    /// Rings for everybody who waits when an item was accepted by this process.
    pub(crate) fn accepted(&self) -> &Notify {
        &self.0.accepted
    }

    /// Has whoever works the inbox off look at it again.
    pub(crate) fn look_again(&self) {
        self.0.inbox.want();
        self.0.arrived.notify_one();
    }

    /// Has whoever works the inbox off look for items that end a turn.
    pub(crate) fn look_for_interrupts(&self) {
        self.0.interrupts.store(true, Ordering::Relaxed);
        self.look_again();
    }

    /// Items accepted since the start; see [`Store::arrived`].
    pub(crate) fn accepts(&self) -> u64 {
        self.0.accepts.load(Ordering::Relaxed)
    }

    /// Whether something was accepted since the last look that may end a turn.
    pub(crate) fn take_interrupts(&self) -> bool {
        self.0.interrupts.swap(false, Ordering::Relaxed)
    }

    /// Notes that an item was accepted and wakes whoever waits for one.
    pub(crate) fn note_accept(&self, interrupts: bool) {
        self.0.interrupts.fetch_or(interrupts, Ordering::Relaxed);
        self.0.accepts.fetch_add(1, Ordering::Relaxed);
        self.0.inbox.want();
        self.0.arrived.notify_one();
        self.0.accepted.notify_waiters();
    }

    /// Rung when somebody has answered what a turn asked.
    pub(crate) fn answered(&self) -> &Notify {
        &self.0.answered
    }

    /// Notes that somebody has.
    pub(crate) fn note_answer(&self) {
        self.0.answered.notify_waiters();
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
