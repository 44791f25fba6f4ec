//! The inbox dispatcher: one task that claims, starts and ends inbox turns.
//!
//! Each step is one job of the store: it writes the ends of all turns that finished since the last step and claims as many items as
//! there is room for. While a step is being committed, turns run and finish; so under load a commit carries many turns. Items
//! are taken from the table a roomful at a time, whatever the backlog.
//!
//! Idle, it sleeps until the inbox rings. Whether another process wrote to the database (one `stat`) it looks once a second for a while
//! after its start and after every change, because the other generation of this worker may have left an item, or died; else rarely.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::blocking;
use hermes_host::cause::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::claim::{Claimed, Claims, Look, claim};
use super::finish::{Ending, Finished, Kept, finish, finish_or_give_up};
use super::{Inner, Reply, busy, held, item, title};
use crate::clock;
use crate::delivery::after_turn;
use crate::inbox::prune::prune;
use crate::inbox::recover::{Recovered, recover};
use crate::inbox::{self, life, postpone};
use crate::session::{Now, Opening, Prompts, epoch, history, mirror};
use crate::store::StoreError;

/// Most items that one step claims, also where nothing limits how many run. Each holds its prompt until it is over: more at once is
/// more memory, and no faster.
const MOST_AT_ONCE: usize = 256;
/// How often other processes' traces are looked for while there may be some.
const TICK: Duration = Duration::from_secs(1);
/// How often in a worker that has been quiet for a while. What this process writes itself rings.
const QUIET_TICK: Duration = Duration::from_secs(15);
/// After a start another generation may still finish its turns, and leave an item or a lease.
const OVERLAP: Duration = Duration::from_secs(60);
/// After something was written, until nothing more is expected to be.
const EXPECTANT: Duration = Duration::from_secs(3);
/// Pause after a step that could not be committed.
const RETRY: Duration = Duration::from_secs(1);
/// Shortest time between two writings of the mirror; a slow one lengthens it.
const MIRROR: Duration = Duration::from_secs(5);
/// Time between two rounds of forgetting.
const PRUNE: Duration = Duration::from_mins(10);
/// After a start, how long suspects of the last death have the inbox to themselves.
const APART: Duration = Duration::from_secs(30);

#[expect(clippy::struct_excessive_bools, reason = "each says on its own that something is to be looked at")]
pub(super) struct Dispatcher {
    inner: Arc<Inner>,
    finished: mpsc::Receiver<Finished>,
    report: mpsc::Sender<Finished>,
    /// Items may be waiting.
    look: bool,
    /// Leases of other processes are to be checked.
    sweep: bool,
    burst: Burst,
    log: Log,
    mirror: Mirror,
    prune_at: Instant,
    /// Something may be waiting that ends a turn which runs.
    interrupts: bool,
    /// When a turn may be old enough to be ended for what waits.
    interrupts_at: Option<Instant>,
    /// The last step failed over some item's data: the next one finds it and sets it aside.
    careful: bool,
    /// Until then suspects run alone. Set by the first step, which also notes that this process runs turns.
    apart_until: Option<Instant>,
    /// Until then other processes' traces are looked for at every [`TICK`].
    expectant_until: Instant,
    /// When to look again without being asked: a postponed item is due, or the suspects had their time.
    look_at: Option<Instant>,
    told: busy::Told,
}

/// Whether a burst is coming in. Its senders wait for an acknowledgement and give up after seconds; its turns are on disk and can
/// wait. So for a short while all of the processor goes to accepting.
struct Burst {
    window: Instant,
    seen: u64,
    since: Option<Instant>,
}

impl Burst {
    /// How often the rate is looked at.
    const WINDOW: Duration = Duration::from_millis(20);
    /// Accepted items per second that make a burst.
    const RATE: u64 = 1000;
    /// A flood that lasts longer than this shares with its turns.
    const LONGEST: Duration = Duration::from_millis(2500);

    /// Whether claims wait now. `accepts` counts everything accepted so far.
    fn holds(&mut self, accepts: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.window);
        if elapsed >= Self::WINDOW {
            let fresh = accepts.saturating_sub(self.seen);
            let burst = u128::from(fresh) * 1000 >= u128::from(Self::RATE) * elapsed.as_millis();
            self.since = if burst { self.since.or(Some(now)) } else { None };
            (self.window, self.seen) = (now, accepts);
        }
        self.since.is_some_and(|since| now.saturating_duration_since(since) < Self::LONGEST)
    }
}

/// The database's write-ahead log: any process's commit shows there.
struct Log {
    path: Utf8PathBuf,
    seen: Option<(u64, std::time::SystemTime)>,
    /// It changed since the page cache was last emptied.
    warm: bool,
}

struct Mirror {
    path: Option<Utf8PathBuf>,
    dirty: bool,
    next: Instant,
}

/// What one step did.
struct Step {
    /// What became of each end.
    kept: Vec<Kept>,
    claims: Claims,
    recovered: Recovered,
    /// Sessions whose turn is not wanted any more.
    unwanted: Vec<busy::Unwanted>,
    /// When the next postponed item is due, in seconds since the epoch.
    due: Option<f64>,
}

impl Dispatcher {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        let (report, finished) = mpsc::channel(inner.settings.max_concurrent_sessions.clamp(1, MOST_AT_ONCE));
        let path = inner.settings.write_sessions_json.then(|| inner.store.home().sessions_json());
        let now = Instant::now();
        Self {
            finished,
            report,
            look: true,
            sweep: true,
            burst: Burst { window: now, seen: 0, since: None },
            log: Log {
                path: Utf8PathBuf::from(format!("{}-wal", inner.store.path())),
                seen: None,
                warm: true,
            },
            mirror: Mirror { path, dirty: false, next: now + MIRROR },
            prune_at: now + PRUNE,
            interrupts: true,
            interrupts_at: None,
            careful: false,
            apart_until: None,
            expectant_until: now + OVERLAP,
            look_at: None,
            told: busy::Told::default(),
            inner,
        }
    }

    /// Runs until told to stop and everything that ran is written.
    pub(super) async fn run(mut self) {
        self.import().await;
        let mut ended: Arc<Vec<Finished>> = Arc::default();
        let pulse = self.inner.store.inbox().clone();
        loop {
            let wanted = pulse.wanted();
            pulse.door(self.inner.store.home()).await;
            self.gather(&mut ended);
            let held = self.burst.holds(self.inner.store.accepts(), Instant::now());
            let room = if held { 0 } else { self.room(ended.len()) };
            self.interrupts |= self.inner.store.take_interrupts();
            if !ended.is_empty() || self.sweep || self.interrupts || (self.look && room > 0) {
                let prompts = match self.prompts(room).await {
                    Ok(prompts) => prompts,
                    Err(lost) => {
                        tracing::error!(error = %lost, "the profile's files cannot be read; turns wait");
                        pulse.serve(wanted);
                        self.pause().await;
                        continue;
                    }
                };
                match self.step(Arc::clone(&ended), room, prompts).await {
                    Ok(mut step) => {
                        let looked = std::mem::take(&mut self.interrupts);
                        self.careful = false;
                        let (unwanted, next) = busy::ripe(std::mem::take(&mut step.unwanted), epoch());
                        if looked {
                            self.interrupts_at = next.map(|wait| Instant::now() + wait);
                        }
                        self.took(step, &std::mem::take(&mut ended), room);
                        busy::make_way(&self.inner, &mut self.told, unwanted).await;
                    }
                    Err(StoreError::Closed { .. }) => return,
                    Err(error) if error.is_about_data() && !self.careful => self.careful = true,
                    Err(error) => {
                        tracing::error!(error = %chain(&error), turns = ended.len(), "turns wait to be written");
                        if self.inner.stop.is_cancelled() {
                            return;
                        }
                        pulse.serve(wanted);
                        self.pause().await;
                    }
                }
                continue;
            }
            pulse.serve(wanted);
            // A claim may have been under way when the end was decided: its turns are interrupted, and written too.
            let idle = self.inner.inbox_turns() == 0;
            if idle && self.inner.stop.is_cancelled() {
                break;
            }
            let pace = self.pace();
            tokio::select! {
                biased;
                Some(one) = self.finished.recv() => ended = Arc::new(vec![one]),
                () = self.inner.store.arrived().notified(), if !held => self.look = true,
                () = tokio::time::sleep(Burst::WINDOW), if held => self.look = true,
                () = clock::until(self.interrupts_at) => (self.interrupts, self.interrupts_at) = (true, None),
                () = clock::until(self.look_at) => (self.look, self.look_at) = (true, None),
                () = self.inner.stop.cancelled(), if idle => {}
                () = tokio::time::sleep(pace) => self.tick().await,
            }
            self.housekeep().await;
        }
        self.write_mirror().await;
    }

    /// Takes every end that is already there.
    fn gather(&mut self, ended: &mut Arc<Vec<Finished>>) {
        let mut more = Vec::new();
        while let Ok(one) = self.finished.try_recv() {
            more.push(one);
        }
        if !more.is_empty() {
            // The job that held the other reference is over, so this does not copy.
            let mut all = Arc::try_unwrap(std::mem::take(ended)).unwrap_or_default();
            all.append(&mut more);
            *ended = Arc::new(all);
        }
    }

    /// Turns that may be started once those that ended are written.
    fn room(&self, ended: usize) -> usize {
        if self.inner.is_quiesced() || self.inner.leaving.load(Ordering::Relaxed) {
            return 0;
        }
        let taken = self.inner.active.borrow().inbox.taken().saturating_sub(ended);
        self.inner.settings.max_concurrent_sessions.max(1).saturating_sub(taken).min(MOST_AT_ONCE)
    }

    /// What turns that begin need of files; none where there is no room for one.
    async fn prompts(&self, room: usize) -> Result<Option<Prompts>, blocking::Lost> {
        if room == 0 { Ok(None) } else { self.inner.read_prompts().await.map(Some) }
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = self.inner.stop.cancelled() => {}
        }
    }

    async fn step(
        &self,
        ended: Arc<Vec<Finished>>,
        room: usize,
        prompts: Option<Prompts>,
    ) -> Result<Step, StoreError> {
        let ctx = Arc::clone(&self.inner.session);
        let (sweep, careful, is_first) = (self.sweep, self.careful, self.apart_until.is_none());
        let apart = self.apart_until.is_none_or(|until| Instant::now() < until);
        let look = Look { room, careful, apart };
        let supervisor = self.inner.settings.supervisor;
        let interrupts = self.interrupts;
        self.inner
            .store
            .write(move |db| {
                let mut kept = Vec::with_capacity(ended.len());
                for turn in ended.iter() {
                    let finish = if careful { finish_or_give_up } else { finish };
                    kept.push(finish(db, &ctx, turn)?);
                }
                // A turn claimed below may be the next one of a session that just got its answer.
                history::publish(db)?;
                let recovered = if sweep { recover(db, &ctx)? } else { Recovered::default() };
                if sweep {
                    ctx.leases.look(db, ctx.owner, epoch())?;
                }
                if is_first {
                    life::begin(db, ctx.owner, supervisor)?;
                    postpone::hurry(db, epoch())?;
                }
                if room > 0 {
                    postpone::wake(db, epoch())?;
                }
                let claims = match &prompts {
                    Some(prompts) => {
                        let now = Now::in_zone(&ctx.zone);
                        claim(db, Opening { ctx: &ctx, prompts, now: &now, model: None }, look)?
                    }
                    None => Claims::default(),
                };
                history::publish(db)?;
                // Of what was put off just now too.
                let due = if room > 0 { postpone::next_due(db)? } else { None };
                let unwanted = if interrupts {
                    let mut all = busy::unwanted(db, ctx.owner)?;
                    let runs = inbox::run::unwanted(db, ctx.owner.columns())?;
                    all.extend(runs.into_iter().map(busy::Unwanted::stopped));
                    all
                } else {
                    Vec::new()
                };
                drop(ended);
                Ok(Step { kept, claims, recovered, unwanted, due })
            })
            .await
    }

    /// Starts what was claimed and says what ended.
    fn took(&mut self, step: Step, ended: &[Finished], room: usize) {
        if self.sweep {
            self.sweep = step.recovered.others_alive;
            let Recovered { resumed, suspected, given_up, .. } = step.recovered;
            if resumed > 0 || given_up > 0 {
                tracing::info!(resumed, suspected, given_up, "recovered turns of a process that died");
            }
            if given_up > 0 {
                tracing::error!(
                    given_up,
                    "turns that killed the worker every time are given up; they are kept as dead letters and run again when sent again"
                );
            }
        }
        self.apart_until.get_or_insert_with(|| Instant::now() + APART);
        if room > 0 {
            self.look_at = self.next_look(&step);
        }
        let Claims { claimed, full, .. } = step.claims;
        // A turn that ended may have let the next item of its session wait; a full room may hide more.
        self.look = !ended.is_empty() || full || (self.look && room == 0);
        self.mirror.dirty |= !claimed.is_empty() || !ended.is_empty();
        let mut deliver = false;
        for (turn, kept) in ended.iter().zip(step.kept) {
            deliver |= Self::announce(turn, kept);
            if let (Ending::Answered(outcome), Some(question), Kept::Yes) =
                (&turn.ending, &turn.untitled, kept)
            {
                let place = match &turn.reply {
                    Reply::Ledger(item) => Some(&item.delivery),
                    Reply::Stream => None,
                };
                title::give(&self.inner, &turn.session_id, question, &outcome.text, place);
            }
        }
        if deliver {
            self.inner.deliveries.ring();
        }
        if !ended.is_empty() {
            self.inner.lease_freed.notify_waiters();
        }
        let runs = claimed.iter().filter(|claimed| claimed.item.run.is_some()).count();
        let ended_runs = ended.iter().filter(|turn| turn.reply.item().is_some_and(|item| item.run.is_some()));
        let ended_runs = ended_runs.count();
        if ended_runs > 0 {
            self.inner.note_happening();
        }
        self.inner.count_inbox((claimed.len(), runs), (ended.len(), ended_runs));
        for Claimed { prompt, lease, item } in claimed {
            let (inner, report) = (Arc::clone(&self.inner), self.report.clone());
            let told = inner.running.begin(&lease.key, &prompt.session_id, &inner.interrupt);
            held::begin(&inner, &lease, &told);
            self.inner.tasks.spawn(async move {
                let (target, waits) = (item.delivery.clone(), item.waits.clone());
                let is_typed =
                    inner.settings.chats.get(item.platform.as_str()).is_none_or(|chats| chats.typing);
                let sign = item
                    .is_answered_there(&inner.deliveries)
                    .then(|| inner.deliveries.seen(&inner.tasks, &target))
                    .flatten();
                let running = item::turn(&inner, prompt, lease, item, told);
                let finished = if is_typed {
                    inner.deliveries.typing_while(&target, &waits, running).await
                } else {
                    running.await
                };
                if let Some((sign, end)) = sign.zip(finished.ending.sign()) {
                    sign.end(end);
                }
                inner.store.inbox().want();
                // Refused only when the dispatcher is gone; the next process resumes the item then.
                let _gone = report.send(finished).await;
            });
        }
        // Sweeping again at once would be a busy loop; the tick asks for it.
        if self.sweep {
            self.sweep = false;
            self.log.seen = None;
        }
    }

    /// When there will be something to claim without a sign of it.
    fn next_look(&self, step: &Step) -> Option<Instant> {
        let now = Instant::now();
        let due = step.due.map(|at| now + Duration::from_secs_f64((at - epoch()).clamp(0.01, 3600.0)));
        let apart = self.apart_until.filter(|_| step.claims.held).map(|until| until.max(now));
        due.into_iter().chain(apart).min()
    }

    /// Logs the end of a turn. Returns whether there is something to deliver.
    fn announce(turn: &Finished, kept: Kept) -> bool {
        let Some(inbox) = turn.reply.item() else { return false };
        if kept == Kept::Taken {
            tracing::warn!(
                session = %turn.session_id,
                "[{}] turn of {} came to nothing: another program took over its session; it goes on when that is done",
                inbox.platform,
                inbox.chat_id
            );
            return false;
        }
        match &turn.ending {
            Ending::Answered(_) | Ending::Said(_) if inbox.run.is_some() => false,
            Ending::Answered(outcome) => {
                after_turn(&inbox.platform, &inbox.chat_id, &inbox.delivery, &outcome.text)
            }
            Ending::Said(text) => after_turn(&inbox.platform, &inbox.chat_id, &inbox.delivery, text),
            Ending::Failed { error, .. } => {
                tracing::warn!(session = %turn.session_id, "[{}] No response for {}: {error}", inbox.platform, inbox.chat_id);
                false
            }
            Ending::Postponed { fault, error, wait, .. } => {
                let (fault, secs) = (fault.code(), wait.as_secs());
                let text = format!("[{}] No response for {} yet: {error}", inbox.platform, inbox.chat_id);
                // The first time is news; the others are many.
                if inbox.postponed.times == 0 {
                    tracing::warn!(session = %turn.session_id, fault, "{text}; trying again in {secs} s, for hours");
                } else {
                    tracing::info!(session = %turn.session_id, fault, "{text}; trying again in {secs} s");
                }
                false
            }
            Ending::Superseded(_) => {
                tracing::info!(session = %turn.session_id, "[{}] turn of {} ended for a newer message", inbox.platform, inbox.chat_id);
                false
            }
            Ending::Released | Ending::Left => {
                tracing::info!(session = %turn.session_id, "turn interrupted; the next start resumes it");
                false
            }
        }
    }

    /// Time until the next look at what other processes do.
    fn pace(&self) -> Duration {
        let may_happen = Instant::now() < self.expectant_until || self.log.warm || self.mirror.dirty;
        let pace = if may_happen || self.inner.inbox_turns() > 0 { TICK } else { QUIET_TICK };
        pace.min(self.prune_at.saturating_duration_since(Instant::now()))
    }

    async fn tick(&mut self) {
        let now = log_state(&self.log.path).or_else(|| log_state(self.inner.store.path()));
        if now != self.log.seen {
            self.log.seen = now;
            self.look = true;
            self.sweep = true;
            // Another process may have accepted it.
            self.interrupts = true;
            self.log.warm = true;
            self.expectant_until = self.expectant_until.max(Instant::now() + EXPECTANT);
        } else if self.log.warm {
            self.log.warm = false;
            let emptied = self.inner.store.aside(|db| db.execute_batch("PRAGMA shrink_memory")).await;
            if let Err(error) = emptied {
                tracing::debug!(error = %chain(&error), "page cache kept");
            }
        }
    }

    async fn housekeep(&mut self) {
        let now = Instant::now();
        if self.mirror.dirty && now >= self.mirror.next {
            self.write_mirror().await;
        }
        if now >= self.prune_at {
            let ctx = Arc::clone(&self.inner.session);
            let more = self.inner.store.write(move |db| prune(db, &ctx.scopes, epoch())).await;
            match more {
                Ok(true) => self.prune_at = now + TICK / 4,
                Ok(false) => self.prune_at = now + PRUNE,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cannot forget old inbox items");
                    self.prune_at = now + PRUNE;
                }
            }
        }
    }

    async fn import(&self) {
        let ctx = Arc::clone(&self.inner.session);
        let path = self.inner.store.home().sessions_json();
        match self.inner.store.write(move |db| mirror::import(db, &ctx.scopes, &path)).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "routing entries taken over from sessions.json"),
            Err(error) => tracing::warn!(error = %chain(&error), "cannot take over sessions.json"),
        }
    }

    async fn write_mirror(&mut self) {
        let Some(path) = self.mirror.path.clone().filter(|_| self.mirror.dirty) else { return };
        let started = Instant::now();
        let ctx = Arc::clone(&self.inner.session);
        let written = self.inner.store.aside(move |db| mirror::write(db, &ctx.scopes, &path)).await;
        if let Err(error) = written {
            tracing::warn!(error = %chain(&error), "cannot mirror the routing index");
        }
        self.mirror.dirty = false;
        // Never more than a hundredth of the time.
        self.mirror.next = started + MIRROR.max(started.elapsed() * 100);
    }
}

/// Size and time of the write-ahead log: any process's commit changes them.
fn log_state(path: &Utf8Path) -> Option<(u64, std::time::SystemTime)> {
    let metadata = fs_err::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Owner;
    use crate::turn::tests::{Home, Scripted, accept, event};

    /// What is put off in a step is looked at again when it is due, also where nothing else happens any more.
    #[tokio::test]
    async fn what_was_put_off_just_now_is_due_soon() {
        let home = Home::new();
        let process = home.start(Owner::current(), Scripted::open());
        accept(&process, event("c", "1", "one")).await;
        home.db().execute_batch("ALTER TABLE session_turn_leases RENAME COLUMN holder TO owner").unwrap();
        let inner = Arc::clone(&process.turns.0);
        let prompts = Some((inner.prompts)());
        let step = Dispatcher::new(inner).step(Arc::default(), 4, prompts).await.unwrap();
        assert!(step.claims.claimed.is_empty());
        assert_eq!(home.count("hermes_inbox WHERE state = 'postponed'"), 1);
        let due: f64 = home.db().query_row("SELECT due_at FROM hermes_inbox", [], |row| row.get(0)).unwrap();
        assert_eq!(step.due, Some(due));
        process.store.close().await;
    }

    #[test]
    fn claims_wait_through_a_burst_but_not_through_a_flood() {
        let start = Instant::now();
        let mut burst = Burst { window: start, seen: 0, since: None };
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!burst.holds(1, at(1000)), "one message is no burst");
        assert!(burst.holds(101, at(1020)), "5000 a second are");
        assert!(burst.holds(102, at(1030)), "until the next look");
        let (mut accepts, mut now) = (201, 1040);
        while burst.holds(accepts, at(now)) {
            (accepts, now) = (accepts + 100, now + 20);
            assert!(now < 5000, "held for ever");
        }
        assert!(now >= 1020 + 2500);
        assert!(!burst.holds(accepts + 100, at(now + 20)), "still the same flood");
        assert!(!burst.holds(accepts + 101, at(now + 1000)));
        assert!(burst.holds(accepts + 300, at(now + 1040)), "a new one after calm");
    }
}
