//! The writer thread: takes what waits, one transaction, then the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use camino::Utf8PathBuf;
use hermes_protocol::ProfileHome;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::{BUSY_PATIENCE, StoreError};
use crate::pulse::Pulse;

/// Most jobs in one transaction: bounds how long the first of them waits for its answer.
const BATCH: usize = 512;

/// SQLite's own needs are some tens of kilobytes; jobs are shallow. Pages that are never touched cost nothing.
const STACK: usize = 512 * 1024;

/// What the thread is asked to do.
pub(super) enum Message {
    /// Part of the next transaction.
    Job { job: Box<dyn Job>, savepoint: bool },
    /// Between transactions.
    Aside(Box<dyn FnOnce(&Connection) + Send>),
    /// The end.
    Close(oneshot::Sender<()>),
}

/// A job whose result type is known only to its caller.
pub(super) trait Job: Send {
    /// Does the work and keeps the result. `Err` = take the changes back.
    fn run(&mut self, db: &Connection) -> Result<(), Failed>;
    /// Tells the caller, after the commit or its failure.
    fn answer(self: Box<Self>, error: Option<StoreError>);
}

/// A job's own failure, kept in the job.
pub(super) struct Failed;

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
        let failed = result.is_err();
        self.result = Some(result);
        if failed { Err(Failed) } else { Ok(()) }
    }

    fn answer(self: Box<Self>, error: Option<StoreError>) {
        let answer = match (self.result, error) {
            (Some(Ok(value)), None) => Ok(value),
            (Some(Err(source)), Some(StoreError::Write { path, .. })) => {
                Err(StoreError::Write { path, source: Arc::new(source) })
            }
            (_, Some(error)) => Err(error),
            // Unreachable: a job without a result is always answered with an error.
            (_, None) => return,
        };
        let _gone = self.reply.send(answer);
    }
}

pub(super) struct Writer {
    db: Connection,
    jobs: mpsc::Receiver<Message>,
    path: Utf8PathBuf,
    commits: Arc<AtomicU64>,
    pulse: Pulse,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        jobs: mpsc::Receiver<Message>,
        path: Utf8PathBuf,
        commits: Arc<AtomicU64>,
        pulse: Pulse,
    ) -> Self {
        Self { db, jobs, path, commits, pulse }
    }

    /// Starts the thread. It ends when the queue closes or a `Close` arrives; a panic in it ends the worker.
    pub(super) fn start(self, home: &ProfileHome) -> std::io::Result<()> {
        let (pulse, home) = (self.pulse.clone(), home.clone());
        let work = move || pulse.of_thread(|| self.run(&home));
        std::thread::Builder::new().name("store".to_owned()).stack_size(STACK).spawn(work)?;
        Ok(())
    }

    fn run(mut self, home: &ProfileHome) {
        let mut batch = Vec::new();
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.jobs.blocking_recv() else { break };
            self.pulse.thread_door(home);
            let mut taken = 1;
            closing = self.sort(first, &mut batch);
            while batch.len() < BATCH && closing.is_none() {
                let Ok(next) = self.jobs.try_recv() else { break };
                taken += 1;
                closing = self.sort(next, &mut batch);
            }
            self.commit(&mut batch);
            self.pulse.done(taken);
        }
        self.jobs.close();
        while let Ok(left) = self.jobs.try_recv() {
            // Their callers learn from the dropped reply that the store is closed.
            drop(left);
        }
        if let Err(error) = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(%error, "no checkpoint at close");
        }
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(path = %self.path, %error, "cannot close the database");
        }
        if let Some(reply) = closing {
            let _gone = reply.send(());
        }
    }

    fn sort(&self, message: Message, batch: &mut Vec<(Box<dyn Job>, bool)>) -> Option<oneshot::Sender<()>> {
        match message {
            Message::Job { job, savepoint } => batch.push((job, savepoint)),
            Message::Aside(work) => work(&self.db),
            Message::Close(reply) => return Some(reply),
        }
        None
    }

    /// One transaction for the whole batch, then the answers.
    fn commit(&mut self, batch: &mut Vec<(Box<dyn Job>, bool)>) {
        if batch.is_empty() {
            return;
        }
        // Single statements first: a savepoint after writes to the search tables makes those flush, so it should come rarely.
        batch.sort_by_key(|(_, savepoint)| *savepoint);
        let mut answers: Vec<(Box<dyn Job>, Option<StoreError>)> = Vec::with_capacity(batch.len());
        let mut waiting = batch.drain(..);
        loop {
            // Index of the first answer that depends on the transaction begun here.
            let from = answers.len();
            let mut lost = self.begin().err();
            for (mut job, savepoint) in waiting.by_ref() {
                if lost.is_some() {
                    answers.push((job, None));
                    continue;
                }
                let own = self.run_one(job.as_mut(), savepoint).err();
                // A full disk or an I/O error may end the whole transaction, not just one statement.
                if self.db.is_autocommit() {
                    lost = Some(own.clone().unwrap_or_else(|| self.error(aborted())));
                    answers.push((job, own));
                    break;
                }
                answers.push((job, own));
            }
            if lost.is_none() {
                lost = self.end().err();
            }
            if let Some(error) = lost {
                for (_, slot) in &mut answers[from..] {
                    slot.get_or_insert_with(|| error.clone());
                }
            } else {
                self.commits.fetch_add(1, Ordering::Relaxed);
            }
            if waiting.len() == 0 {
                break;
            }
        }
        drop(waiting);
        for (job, error) in answers {
            job.answer(error);
        }
    }

    fn run_one(&self, job: &mut dyn Job, savepoint: bool) -> Result<(), StoreError> {
        if !savepoint {
            return job.run(&self.db).map_err(|Failed| self.error(aborted()));
        }
        self.statement("SAVEPOINT job")?;
        let result = job.run(&self.db);
        if self.db.is_autocommit() {
            return Err(self.error(aborted()));
        }
        if result.is_ok() {
            return self.statement("RELEASE job");
        }
        self.statement("ROLLBACK TO job")?;
        self.statement("RELEASE job")?;
        Err(self.error(aborted()))
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.patiently("BEGIN IMMEDIATE")
    }

    fn end(&self) -> Result<(), StoreError> {
        let result = self.patiently("COMMIT");
        if result.is_err() && !self.db.is_autocommit() {
            let _already_failed = self.db.execute_batch("ROLLBACK");
        }
        result
    }

    fn patiently(&self, sql: &'static str) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            match self.db.prepare_cached(sql).and_then(|mut s| s.execute([])) {
                Ok(_) => return Ok(()),
                Err(e) if is_busy(&e) && started.elapsed() < BUSY_PATIENCE => {
                    std::thread::park_timeout(super::schema::jitter());
                }
                Err(e) => return Err(self.error(e)),
            }
        }
    }

    fn statement(&self, sql: &'static str) -> Result<(), StoreError> {
        self.db.prepare_cached(sql).and_then(|mut s| s.execute([])).map(drop).map_err(|e| self.error(e))
    }

    fn error(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Write { path: self.path.clone(), source: Arc::new(source) }
    }
}

/// Another process holds the lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Stands in where the job itself keeps the real error.
fn aborted() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT), None)
}
