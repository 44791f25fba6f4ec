//! The writer thread: takes what waits, one transaction, then the answers.
//!
//! While another process holds the write lock, jobs wait and reads go on; a job whose patience is over is answered with that. The
//! thread ends by itself, and the worker with it, when the files under it were exchanged, are damaged, or belong to a newer program
//! than it knows: going on would lose or spoil what is in them.
//!
//! Each transaction begins with two looks under the write lock: at the version, and at SQLite's counter of schema changes. Another
//! program may migrate the file at any time; what it leaves that would make our inserts fail is settled before the first of them
//! ([`schema::search`]). Prepared statements need no look: SQLite prepares them anew after such a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use camino::Utf8PathBuf;
use hermes_host::clock;
use hermes_wire::{ProfileHome, exit};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{is_busy, is_damage};
use super::files::{self, Files};
use super::{BUSY_PATIENCE, StoreError, schema};
use crate::pulse::Pulse;

/// Most jobs in one transaction: bounds how long the first of them waits for its answer.
const BATCH: usize = 512;

/// SQLite's own needs are some tens of kilobytes; jobs are shallow. Pages that are never touched cost nothing.
const STACK: usize = 512 * 1024;

/// Work between transactions, and the damage that it found.
pub(super) type Aside = dyn FnOnce(&Connection) -> Option<StoreError> + Send;

/// What the thread is asked to do.
pub(super) enum Message {
    /// Part of the next transaction.
    Job(Waiting),
    /// Between transactions.
    Aside(Box<Aside>),
    /// The end.
    Close(oneshot::Sender<()>),
}

/// A job with what it asks for.
pub(super) struct Waiting {
    pub(super) job: Box<dyn Job>,
    /// More than one writing statement.
    pub(super) savepoint: bool,
    /// While the lock is another's, until then.
    pub(super) until: Instant,
}

/// A job whose result type is known only to its caller.
pub(super) trait Job: Send {
    /// Does the work and keeps the result. `Err` = take the changes back.
    fn run(&mut self, db: &Connection) -> Result<(), Failed>;
    /// Tells the caller, after the commit or its failure.
    fn answer(self: Box<Self>, error: Option<StoreError>);
}

/// A job's own failure, kept in the job.
pub(super) struct Failed {
    damage: Option<ErrorCode>,
}

pub(super) struct JobOf<T, F> {
    work: Option<F>,
    result: Option<rusqlite::Result<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> JobOf<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<T, F> Job for JobOf<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, db: &Connection) -> Result<(), Failed> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let result = work(db);
        let failed = result
            .as_ref()
            .err()
            .map(|error| Failed { damage: error.sqlite_error_code().filter(|_| is_damage(error)) });
        self.result = Some(result);
        failed.map_or(Ok(()), Err)
    }

    fn answer(self: Box<Self>, error: Option<StoreError>) {
        let answer = match (self.result, error) {
            (Some(Ok(value)), None) => Ok(value),
            (Some(Err(source)), Some(StoreError::Write { path, .. })) => {
                Err(StoreError::writing(&path, source))
            }
            (_, Some(error)) => Err(error),
            // Unreachable: a job without a result is always answered with an error.
            (_, None) => return,
        };
        let _gone = self.reply.send(answer);
    }
}

/// Why the thread ends.
enum End {
    /// It was told to, or nobody is left to ask it.
    Asked(Option<oneshot::Sender<()>>),
    /// Going on would do harm.
    Fault(StoreError),
}

pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) jobs: mpsc::Receiver<Message>,
    pub(super) path: Utf8PathBuf,
    pub(super) files: Files,
    /// The counter of schema changes when the schema was last looked at.
    pub(super) cookie: Option<i64>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) pulse: Pulse,
    /// Why the last transaction came to nothing; `None` after one that was committed.
    pub(super) trouble: Arc<watch::Sender<Option<String>>>,
}

impl Writer {
    /// Starts the thread. It ends when the queue closes, a `Close` arrives or the files are lost; a panic in it ends the worker.
    pub(super) fn start(self, home: &ProfileHome) -> std::io::Result<JoinHandle<()>> {
        let (pulse, home) = (self.pulse.clone(), home.clone());
        let work = move || pulse.of_thread(|| self.run(&home));
        std::thread::Builder::new().name("store".to_owned()).stack_size(STACK).spawn(work)
    }

    fn run(mut self, home: &ProfileHome) {
        let mut batch = Vec::new();
        let end = self.serve(home, &mut batch);
        self.jobs.close();
        // The callers of what is left learn from the dropped reply that the store is closed.
        batch.clear();
        while let Ok(left) = self.jobs.try_recv() {
            drop(left);
        }
        match end {
            End::Asked(reply) => {
                if let Some(displaced) = self.files.displaced() {
                    tracing::error!("{displaced}");
                    self.files.let_go(self.db);
                } else {
                    if let Err(error) = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
                        tracing::debug!(%error, "no checkpoint at close");
                    }
                    files::close(self.db);
                }
                if let Some(reply) = reply {
                    let _gone = reply.send(());
                }
            }
            End::Fault(fault) => {
                match &fault {
                    StoreError::Displaced { .. } => self.files.let_go(self.db),
                    _ => files::close_untouched(self.db),
                }
                // A newer program's file is not this worker's end: the next one says so and serves what it can.
                let code = match fault {
                    StoreError::Newer { .. } => exit::FAILURE,
                    _ => fault.exit_code(),
                };
                self.pulse.fail(fault.to_string(), code);
            }
        }
    }

    /// Rounds, until there is an end.
    fn serve(&mut self, home: &ProfileHome, batch: &mut Vec<Waiting>) -> End {
        let mut closing = None;
        let mut messages = Vec::new();
        loop {
            if batch.is_empty() {
                if closing.is_some() {
                    return End::Asked(closing);
                }
                let Some(first) = self.jobs.blocking_recv() else { return End::Asked(None) };
                messages.push(first);
            }
            self.pulse.thread_door(home);
            while batch.len() + messages.len() < BATCH && closing.is_none() {
                let Ok(next) = self.jobs.try_recv() else { break };
                messages.push(next);
            }
            if let Some(displaced) = self.files.displaced() {
                for message in messages {
                    match message {
                        Message::Job(waiting) => batch.push(waiting),
                        Message::Aside(_) => self.pulse.done(1),
                        Message::Close(reply) => closing = Some(reply),
                    }
                }
                self.answer_all(batch, &displaced);
                return if closing.is_some() { End::Asked(closing) } else { End::Fault(displaced) };
            }
            for message in messages.drain(..) {
                match message {
                    Message::Job(waiting) => batch.push(waiting),
                    Message::Aside(work) => {
                        let damage = work(&self.db);
                        self.pulse.done(1);
                        if let Some(damage) = damage {
                            self.answer_all(batch, &damage);
                            return End::Fault(damage);
                        }
                    }
                    Message::Close(reply) => {
                        self.pulse.done(1);
                        closing = Some(reply);
                    }
                }
            }
            if let Err(fault) = self.commit(batch) {
                self.answer_all(batch, &fault);
                return End::Fault(fault);
            }
        }
    }

    fn answer_all(&self, batch: &mut Vec<Waiting>, error: &StoreError) {
        self.pulse.done(u64::try_from(batch.len()).unwrap_or_default());
        for waiting in batch.drain(..) {
            waiting.job.answer(Some(error.clone()));
        }
    }

    /// Transactions for the whole batch, then the answers. What stays in it waits for the lock. An error ends the thread.
    fn commit(&mut self, batch: &mut Vec<Waiting>) -> Result<(), StoreError> {
        // Single statements first: a savepoint after writes to the search tables makes those flush, so it should come rarely.
        batch.sort_by_key(|waiting| waiting.savepoint);
        while !batch.is_empty() {
            match self.statement("BEGIN IMMEDIATE") {
                Ok(()) => {}
                Err(StoreError::Write { source, .. }) if is_busy(&source) => {
                    self.expire(batch, &source);
                    return Ok(());
                }
                Err(error @ StoreError::Damaged { .. }) => return Err(error),
                Err(error) => {
                    self.trouble(Some(&error));
                    self.answer_all(batch, &error);
                    return Ok(());
                }
            }
            if let Some(newer) = schema::newer(&self.db, &self.path).map_err(|e| self.error(e))? {
                let _nothing_written = self.db.execute_batch("ROLLBACK");
                return Err(newer);
            }
            if let Err(source) = self.follow_schema() {
                let _nothing_written = self.db.execute_batch("ROLLBACK");
                let error = self.error(source);
                if matches!(error, StoreError::Damaged { .. }) {
                    return Err(error);
                }
                self.trouble(Some(&error));
                self.answer_all(batch, &error);
                return Ok(());
            }
            self.transaction(batch)?;
        }
        Ok(())
    }

    /// Where another program changed the schema since the last transaction: makes sure that rows can be written.
    fn follow_schema(&mut self) -> rusqlite::Result<()> {
        let cookie = schema::cookie(&self.db)?;
        if Some(cookie) == self.cookie {
            return Ok(());
        }
        let settled = schema::search::settle(&self.db)?;
        // After changes of ours the next transaction looks again: this one may be taken back.
        self.cookie = (settled == schema::search::Settled::default()).then_some(cookie);
        settled.log(self.path.as_str());
        Ok(())
    }

    /// Tells those who cannot wait any longer that the lock is another's.
    fn expire(&self, batch: &mut Vec<Waiting>, source: &Arc<rusqlite::Error>) {
        let error = StoreError::Write { path: self.path.clone(), source: Arc::clone(source) };
        let now = clock::now();
        let (mut expired, rest) = batch.drain(..).partition(|waiting| waiting.until <= now);
        *batch = rest;
        if !expired.is_empty() {
            self.trouble(Some(&error));
            self.answer_all(&mut expired, &error);
        }
        if !batch.is_empty() {
            std::thread::park_timeout(schema::jitter());
        }
    }

    /// As many jobs of the batch as one transaction takes: a full disk or an I/O error may end it early.
    fn transaction(&self, batch: &mut Vec<Waiting>) -> Result<(), StoreError> {
        let mut answers: Vec<(Box<dyn Job>, Option<StoreError>)> = Vec::with_capacity(batch.len());
        let (mut lost, mut fault) = (None, None);
        let mut waiting = batch.drain(..);
        for Waiting { mut job, savepoint, .. } in waiting.by_ref() {
            let own = self.run_one(job.as_mut(), savepoint).err();
            fault = own.clone().filter(|error| matches!(error, StoreError::Damaged { .. }));
            let over = self.db.is_autocommit() || fault.is_some();
            if over {
                lost = Some(own.clone().unwrap_or_else(|| self.error(aborted())));
            }
            answers.push((job, own));
            if over {
                break;
            }
        }
        let rest = waiting.collect();
        *batch = rest;
        if lost.is_none() {
            lost = self.end().err();
        } else if !self.db.is_autocommit() {
            let _already_failed = self.db.execute_batch("ROLLBACK");
        }
        // What went into a file that has no name any more is not on disk.
        if lost.is_none()
            && let Some(displaced) = self.files.displaced()
        {
            (lost, fault) = (Some(displaced.clone()), Some(displaced));
        }
        self.trouble(lost.as_ref());
        match &lost {
            Some(error) => {
                for (_, slot) in &mut answers {
                    slot.get_or_insert_with(|| error.clone());
                }
            }
            None => {
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.pulse.done(u64::try_from(answers.len()).unwrap_or_default());
        for (job, error) in answers {
            job.answer(error);
        }
        fault.or(lost.filter(|error| matches!(error, StoreError::Damaged { .. }))).map_or(Ok(()), Err)
    }

    /// Says what keeps this store from writing, or that nothing does.
    fn trouble(&self, error: Option<&StoreError>) {
        let now = error.filter(|error| error.is_of_machine()).map(StoreError::reason);
        self.trouble.send_if_modified(|told| {
            let news = *told != now;
            *told = now;
            news
        });
    }

    fn run_one(&self, job: &mut dyn Job, savepoint: bool) -> Result<(), StoreError> {
        let own = |failed: Failed| match failed.damage {
            Some(code) => self.error(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error { code, extended_code: rusqlite::ffi::SQLITE_CORRUPT },
                None,
            )),
            None => self.error(aborted()),
        };
        if !savepoint {
            return job.run(&self.db).map_err(own);
        }
        self.statement("SAVEPOINT job")?;
        let result = job.run(&self.db);
        if self.db.is_autocommit() {
            return Err(result.err().map_or_else(|| self.error(aborted()), own));
        }
        match result {
            Ok(()) => self.statement("RELEASE job"),
            Err(failed) => {
                self.statement("ROLLBACK TO job")?;
                self.statement("RELEASE job")?;
                Err(own(failed))
            }
        }
    }

    fn end(&self) -> Result<(), StoreError> {
        let result = self.patiently("COMMIT");
        if result.is_err() && !self.db.is_autocommit() {
            let _already_failed = self.db.execute_batch("ROLLBACK");
        }
        result
    }

    /// Only where there is no write-ahead log does a commit wait for readers.
    fn patiently(&self, sql: &'static str) -> Result<(), StoreError> {
        let started = clock::now();
        loop {
            match self.statement(sql) {
                Err(StoreError::Write { source, .. })
                    if is_busy(&source) && started.elapsed() < BUSY_PATIENCE =>
                {
                    std::thread::park_timeout(schema::jitter());
                }
                result => return result,
            }
        }
    }

    fn statement(&self, sql: &'static str) -> Result<(), StoreError> {
        self.db.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop).map_err(|e| self.error(e))
    }

    fn error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::writing(&self.path, source)
    }
}

/// Stands in where the job itself keeps the real error.
fn aborted() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT), None)
}
