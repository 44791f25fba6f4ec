//! Merges what the supervisor knows first hand with what each worker's status file and the kernel say of it.
//!
//! The supervisor's knowledge (child handle, heartbeat) comes first; a file only adds what the supervisor cannot know (platforms,
//! their errors), and only while it was written by the very process that is running. The files were read before ([`crate::status_files`]);
//! nothing is cached and nothing is awaited: with 100 profiles the whole takes a few milliseconds.

use std::time::{Duration, Instant, SystemTime};

use hermes_host::clock;
use hermes_wire::contract::gateway_status::{
    Gateway, GatewayStatus, KeepAwake, Listener, Profile, SCHEMA, Takeover, state,
};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use hermes_wire::{ProfileHome, ProfileName};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::instance;
use crate::program;
use crate::status_files::Found;
use crate::supervise::{GatewayView, WorkerTable, WorkerView};

/// Heartbeats that may be missing before a worker's values count as stale.
const STALE_AFTER: u64 = 3;

/// Memory and CPU time of known processes.
#[derive(Debug)]
pub struct Processes(Option<System>);

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}

impl Processes {
    /// Knows nothing yet and holds nothing open.
    pub fn new() -> Self {
        Self(System::new().ok())
    }

    /// Looks at exactly these processes.
    fn refresh(&mut self, pids: &[Pid]) {
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        if let Some(system) = &mut self.0 {
            system.refresh_processes_specifics(ProcessesToUpdate::Some(pids), true, what);
        }
    }

    /// Resident bytes and milliseconds of CPU time.
    fn usage(&self, pid: u32) -> Option<(u64, u64)> {
        let process = self.0.as_ref()?.process(Pid::from_u32(pid))?;
        Some((process.memory(), process.accumulated_cpu_time()))
    }
}

/// The whole status, or with `only` the gateway and that profile.
pub fn collect(
    table: &WorkerTable,
    only: Option<&ProfileName>,
    files: &Found,
    processes: &mut Processes,
    now: Instant,
) -> GatewayStatus {
    let own = std::process::id();
    let wanted = || of(table, only);
    let mut pids: Vec<Pid> =
        wanted().filter_map(|w| w.pid).chain(std::iter::once(own)).map(Pid::from_u32).collect();
    // A process asked for twice would count as gone.
    pids.sort_unstable();
    pids.dedup();
    processes.refresh(&pids);
    let mut gateway = gateway(&table.gateway, now);
    if let Some((rss, cpu)) = processes.usage(own) {
        gateway.rss_bytes = Some(rss);
        gateway.cpu_ms = Some(cpu);
    }
    for worker in table.workers.iter().filter(|w| w.desired_running) {
        gateway.profiles_desired += 1;
        gateway.profiles_ready += u32::from(serves(worker));
        gateway.profiles_degraded += u32::from(is_degraded(worker));
    }
    let profiles = wanted().map(|worker| profile(worker, &table.gateway, files, processes, now)).collect();
    GatewayStatus { schema: SCHEMA, gateway, profiles }
}

/// Whether it takes requests: now, or as soon as there is one.
pub(crate) fn serves(worker: &WorkerView) -> bool {
    worker.ready || worker.state == state::SLEEPING
}

/// Whether it serves, but cannot do all that is asked of it.
pub(crate) fn is_degraded(worker: &WorkerView) -> bool {
    worker.ready && worker.state == state::DEGRADED
}

/// The workers that a status is about.
fn of<'a>(table: &'a WorkerTable, only: Option<&ProfileName>) -> impl Iterator<Item = &'a WorkerView> {
    table.workers.iter().filter(move |worker| only.is_none_or(|name| *name == worker.name))
}

/// The homes whose status files have something to say.
pub(crate) fn homes(table: &WorkerTable, only: Option<&ProfileName>) -> Vec<ProfileHome> {
    of(table, only).map(|worker| worker.home.clone()).collect()
}

fn gateway(view: &GatewayView, now: Instant) -> Gateway {
    let own = std::process::id();
    let sleepy = view.awake.iter().filter_map(|awake| awake.problem.as_ref());
    Gateway {
        state: view.state.to_owned(),
        stale: false,
        pid: Some(own),
        start_time: instance::start_time(own),
        started_at: Some(iso(view.started)),
        uptime_secs: Some(now.saturating_duration_since(view.started_at).as_secs()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        mode: Some(if view.multiplex { "multiplex" } else { "single" }.to_owned()),
        home: view.home.to_string(),
        runtime_dir: Some(view.runtime_dir.to_string()),
        listeners: view
            .listeners
            .iter()
            .map(|l| Listener { address: l.address.clone(), platforms: l.platforms.clone() })
            .collect(),
        admin: view.admin.clone(),
        profiles_ready: 0,
        profiles_desired: 0,
        rss_bytes: None,
        cpu_ms: None,
        problems: view
            .problems
            .iter()
            .chain(&view.limited)
            .chain(&view.returned)
            .chain(sleepy)
            .cloned()
            .collect(),
        max_connections: view.max_connections,
        profiles_degraded: 0,
        keep_awake: view.awake.as_ref().map(|awake| KeepAwake {
            held: awake.held,
            by: awake.by.to_owned(),
            reason: awake.problem.as_ref().map(|problem| problem.message.clone()),
        }),
        program: program::own(),
    }
}

fn profile(
    worker: &WorkerView,
    gateway: &GatewayView,
    files: &Found,
    processes: &Processes,
    now: Instant,
) -> Profile {
    let file = files.of(worker.home.path());
    let reason = reason(worker, file);
    // A file of an earlier process says nothing about this one.
    let file = worker.pid.and_then(|pid| file.filter(|file| file.pid == Some(pid)));
    let usage = worker.pid.and_then(|pid| processes.usage(pid));
    let heartbeat_age = worker.heartbeat.map(|at| now.saturating_duration_since(at));
    // One of those that may be missing may be a late one.
    let usual = worker.heartbeat_ms.max(1);
    let limit = Duration::from_millis(usual * (STALE_AFTER - 1) + worker.next_beat_ms.max(usual));
    let (platforms, tool_servers, updated_at, fence) = file
        .map(|f| (f.platforms.clone(), f.tool_servers.clone(), f.updated_at.clone(), f.fence.clone()))
        .unwrap_or_default();
    let approvals = file.and_then(|file| file.approvals.clone());
    // What one that sleeps has said last is still so.
    let known = files.of(worker.home.path()).filter(|file| worker.pid.is_none() || file.pid == worker.pid);
    let gone_chats = known.and_then(|file| file.gone_chats.clone());
    let key_pools = file.map(|f| f.key_pools.clone()).unwrap_or_default();
    Profile {
        name: worker.name.to_string(),
        home: worker.home.path().to_string(),
        desired: if worker.desired_running { "running" } else { "stopped" }.to_owned(),
        state: worker.state.to_owned(),
        ready: serves(worker),
        since: Some(iso(worker.since)),
        since_secs: clock::system().duration_since(worker.since).ok().map(|d| d.as_secs()),
        pid: worker.pid,
        generation: worker.generation.get(),
        restarts: worker.restarts,
        last_exit: worker.last_exit.clone(),
        reason,
        file: worker.file.clone(),
        next_attempt_ms: worker
            .next_attempt
            .map(|at| millis(at.saturating_duration_since(now)))
            .filter(|_| matches!(worker.state, state::BACKOFF | state::CRASH_LOOP)),
        platforms,
        tool_servers,
        key_pools,
        active_agents: u64::from(worker.active_turns),
        inbox_waiting: worker.inbox_waiting,
        requests: worker.requests,
        requests_active: worker.requests_active,
        requests_per_sec: worker.lately.per_sec,
        latency_p99_ms: worker.lately.p99_ms,
        rss_bytes: usage.map(|(rss, _)| rss),
        cpu_ms: usage.map(|(_, cpu)| cpu),
        heartbeat_age_ms: heartbeat_age.map(millis),
        stale: worker.pid.is_some() && heartbeat_age.is_some_and(|age| age > limit),
        updated_at,
        problems: worker.problems.clone(),
        // In the directory of this moment, which may have changed since the worker was last published.
        data_socket: worker
            .data_socket
            .as_ref()
            .and_then(|socket| socket.file_name())
            .map(|name| gateway.runtime_dir.join(name).to_string()),
        inbox_postponed: worker.inbox_postponed,
        inbox_failed: worker.inbox_failed,
        inbox_reason: worker.inbox_reason.clone(),
        undelivered: worker.undelivered,
        last_error_secs: worker.last_error.as_ref().and_then(|error| secs_since(&error.at)),
        last_error: worker.last_error.clone(),
        config_at: worker.config_at.map(iso),
        refused_at: worker.refused_at.map(iso),
        takeover: worker.takeover.as_ref().map(|takeover| Takeover {
            platforms: takeover.platforms.clone(),
            from_generation: takeover.from.get(),
            generation: takeover.generation.get(),
            pause_ms: millis(takeover.pause),
            at: iso(takeover.at),
        }),
        upkeep: worker.upkeep,
        awake: worker.awake.clone(),
        fence,
        approvals_secs: approvals.as_ref().and_then(|approvals| secs_since(&approvals.since)),
        approvals,
        gone_chats,
    }
}

/// Why a profile is not running: the supervisor's word, and the last words of the process if it left any.
fn reason(worker: &WorkerView, file: Option<&RuntimeStatus>) -> Option<String> {
    let gone =
        worker.pid.is_none() && matches!(worker.state, state::FAILED | state::BACKOFF | state::CRASH_LOOP);
    let last_words = file
        .filter(|file| gone && file.supervisor_pid == Some(std::process::id()))
        .and_then(|file| file.exit_reason.clone());
    match (worker.reason.clone(), last_words) {
        (Some(reason), Some(words)) if !reason.contains(&words) => Some(format!("{reason}: {words}")),
        (reason, words) => reason.or(words),
    }
}

/// Whole seconds since a moment in ISO 8601.
pub fn secs_since(at: &str) -> Option<u64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    Some(u64::try_from(clock::utc().duration_since(at).as_secs()).unwrap_or(0))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// ISO 8601 in UTC with milliseconds.
fn iso(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(stamp) => format!("{stamp:.3}"),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::generation::Generation;

    pub(crate) fn table(homes: &camino::Utf8Path, n: usize) -> WorkerTable {
        let now = hermes_host::clock::now();
        let workers = (0..n)
            .map(|i| {
                let home = ProfileHome::new(homes.join(format!("p{i:03}")));
                WorkerView {
                    name: format!("p{i:03}").parse().unwrap(),
                    home,
                    desired_running: true,
                    state: state::READY,
                    ready: true,
                    since: hermes_host::clock::system(),
                    pid: Some(std::process::id()),
                    generation: Generation::FIRST,
                    restarts: 0,
                    last_exit: None,
                    reason: None,
                    file: None,
                    next_attempt: Some(now + Duration::from_secs(5)),
                    heartbeat: Some(now),
                    heartbeat_ms: 1000,
                    next_beat_ms: 0,
                    active_turns: 2,
                    inbox_waiting: 3,
                    inbox_postponed: 1,
                    inbox_failed: 0,
                    inbox_reason: None,
                    undelivered: 0,
                    degraded: Vec::new(),
                    last_error: None,
                    problems: Vec::new(),
                    requests: 7,
                    requests_active: 1,
                    lately: crate::proxy::Lately::default(),
                    data_socket: Some("/run/x.sock".into()),
                    config_at: None,
                    refused_at: None,
                    takeover: None,
                    upkeep: None,
                    awake: None,
                }
            })
            .collect();
        WorkerTable {
            gateway: GatewayView {
                state: "running",
                started: hermes_host::clock::system(),
                started_at: now,
                multiplex: true,
                home: homes.to_owned(),
                runtime_dir: "/run/h".into(),
                listeners: Vec::new(),
                admin: None,
                problems: Vec::new(),
                max_connections: None,
                limited: None,
                returned: None,
                awake: None,
            },
            workers,
        }
    }

    fn write_status(home: &ProfileHome, pid: u32) {
        fs_err::create_dir_all(home.path()).unwrap();
        let text = format!(
            r#"{{"pid":{pid},"gateway_state":"running","platforms":{{"webhook":{{"state":"connected"}}}},"updated_at":"2026-11-21T00:00:00Z"}}"#
        );
        fs_err::write(home.runtime_status(), text).unwrap();
    }

    #[test]
    fn files_count_only_while_their_writer_runs() {
        let dir = tempfile::tempdir().unwrap();
        let homes = camino::Utf8Path::from_path(dir.path()).unwrap();
        let mut table = table(homes, 3);
        write_status(&table.workers[0].home, std::process::id());
        write_status(&table.workers[1].home, 1);
        table.workers[2].heartbeat =
            Some(hermes_host::clock::now().checked_sub(Duration::from_secs(4)).unwrap());
        table.workers[2].ready = false;
        let files = Found::read(table.workers.iter().map(|worker| &worker.home));
        let status = collect(&table, None, &files, &mut Processes::new(), hermes_host::clock::now());
        assert_eq!(status.profiles[0].platforms["webhook"].state, "connected");
        assert!(status.profiles[1].platforms.is_empty());
        assert!(status.profiles[2].stale && !status.profiles[0].stale);
        assert!(status.profiles[0].rss_bytes.unwrap() > 100_000);
        assert_eq!(status.profiles[0].next_attempt_ms, None, "only while waiting");
        assert_eq!((status.gateway.profiles_ready, status.gateway.profiles_desired), (2, 3));
        let only = Some(&table.workers[1].name);
        let one = collect(&table, only, &files, &mut Processes::new(), hermes_host::clock::now());
        assert_eq!(one.profiles.len(), 1);
        assert_eq!(one.gateway.profiles_desired, 3, "the gateway's part stays whole");
    }

    #[test]
    fn a_hundred_profiles_are_all_shown() {
        let dir = tempfile::tempdir().unwrap();
        let homes = camino::Utf8Path::from_path(dir.path()).unwrap();
        let table = table(homes, 100);
        for worker in &table.workers {
            write_status(&worker.home, std::process::id());
        }
        let files = Found::read(table.workers.iter().map(|worker| &worker.home));
        let status = collect(&table, None, &files, &mut Processes::new(), hermes_host::clock::now());
        assert_eq!((status.profiles.len(), status.gateway.profiles_desired), (100, 100));
        assert!(status.profiles.iter().all(|profile| profile.updated_at.is_some()));
    }
}
