//! `gateway_state.json` of the gateway's own home: what the Python program's commands, dashboards and scripts read about the gateway as a
//! whole ([`hermes_wire::contract::gateway_state`]).
//!
//! One task writes it: when the gateway, a worker or a platform is in another state or turns have begun or ended, at most
//! once a second, and otherwise every [`STAMP`], because readers take an older file for that of a gateway that hangs (after 120 s).
//! What workers' platforms are is read from their own files, and only then; [`compose`] is pure. The last word is [`Writer::finish`]'s,
//! after the task has ended. A file system that hangs keeps nobody: the task waits for it alone, the end of a gateway for a moment.
//!
//! What a newer release of this program wrote is left alone. `desired_state`, which a container's first process puts there, is kept.

use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_host::{blocking, child, clock, disk, file};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::gateway_state::{GatewayState, Platform, SCHEMA};
use hermes_wire::contract::gateway_status::state;
use hermes_wire::contract::pid_record::KIND;
use hermes_wire::contract::runtime_status::MAX_LEN;
use hermes_wire::{ProfileHome, ProfileName};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::generation::Generation;
use crate::instance;
use crate::status_files::{Found, StatusFiles};
use crate::supervise::{WorkerTable, WorkerView};

/// Shortest time between two looks at what is known.
const LOOK: Duration = Duration::from_secs(1);
/// Time after which an unchanged file is written again.
const STAMP: Duration = Duration::from_secs(60);
/// How long a changed state is read again, as a worker says so before or after it has written its file.
const ECHO: Duration = Duration::from_secs(3);
/// Time the last word may take.
const LAST: Duration = Duration::from_secs(2);
/// What a container's first process writes beside us.
const THEIRS: &str = "desired_state";

/// Writes the file.
#[derive(Clone)]
pub(crate) struct Writer {
    board: Board,
    profile: ProfileName,
    argv: Vec<String>,
    files: StatusFiles,
}

/// What, changed, is written at once.
#[derive(PartialEq, Eq)]
struct Signs {
    gateway: &'static str,
    served: Vec<ProfileName>,
    listeners: usize,
    workers: Vec<Sign>,
}

/// Of one worker: its state, its process, and what is not connected.
#[derive(PartialEq, Eq)]
struct Sign {
    name: ProfileName,
    state: &'static str,
    process: (Generation, Option<u32>),
    degraded: Vec<String>,
}

impl Signs {
    fn of(table: &WorkerTable, served: &[ProfileName]) -> Self {
        let sign = |worker: &WorkerView| Sign {
            name: worker.name.clone(),
            state: worker.state,
            process: (worker.generation, worker.pid),
            degraded: worker.degraded.clone(),
        };
        Self {
            gateway: table.gateway.state,
            served: served.to_vec(),
            listeners: table.gateway.listeners.len(),
            workers: table.workers.iter().map(sign).collect(),
        }
    }
}

impl Writer {
    pub(crate) fn new(board: Board, profile: ProfileName) -> Self {
        Self { board, profile, argv: child::argv(), files: StatusFiles::default() }
    }

    /// Keeps it true until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        let mut news = self.board.news();
        let (mut known, mut turns, mut found) = (None, 0, Found::default());
        let (mut changed, mut written, mut next) = (Instant::now(), Instant::now(), Instant::now());
        let mut failing = false;
        loop {
            let is_echoing = changed.elapsed() <= ECHO;
            let due = async {
                sleep_until(next).await;
                if !is_echoing {
                    let _ = timeout_at(written + STAMP, news.changed()).await;
                }
            };
            tokio::select! {
                () = due => {}
                () = stop.cancelled() => return,
            }
            news.mark_unchanged();
            next = Instant::now() + LOOK;
            let table = self.board.snapshot();
            let (signs, now) = (Signs::of(&table, &self.board.served()), Instant::now());
            let is_other = known.as_ref() != Some(&signs);
            if is_other {
                (known, changed) = (Some(signs), now);
            }
            let again = now.duration_since(changed) <= ECHO || now.duration_since(written) >= STAMP;
            let running = active(&table);
            if !again && running == turns {
                continue;
            }
            if again {
                found = self.files.read(homes(&table)).await;
            }
            turns = running;
            written = now;
            let result = self.write(&table, &found, None, is_other).await;
            if let Err(error) = &result
                && !failing
            {
                tracing::warn!(path = %self.path(), "the state of the gateway is not written: {error}");
            }
            failing = result.is_err();
        }
    }

    /// The last word: how it ended, why, and whether it is to come back.
    pub(crate) async fn finish(&self, failure: Option<String>, restart: bool) {
        let table = self.board.snapshot();
        let found = Found::default();
        let last = self.write(&table, &found, Some((failure, restart)), true);
        if !matches!(tokio::time::timeout(LAST, last).await, Ok(Ok(()))) {
            tracing::warn!(path = %self.path(), "the last state of the gateway is not written");
        }
    }

    fn path(&self) -> Utf8PathBuf {
        ProfileHome::new(self.board.home()).gateway_state()
    }

    async fn write(
        &self,
        table: &WorkerTable,
        found: &Found,
        end: Option<(Option<String>, bool)>,
        durable: bool,
    ) -> std::io::Result<()> {
        let mut state = compose(table, self.board.served(), found, (&self.profile, &self.argv));
        if let Some((failure, restart)) = end {
            state.restart_requested = restart;
            let word = if failure.is_some() { "startup_failed" } else { state::STOPPED };
            (state.gateway_state, state.exit_reason) = (word.to_owned(), failure);
        }
        let path = self.path();
        blocking::run(move || put(&path, &state, durable)).await.map_err(std::io::Error::other)?
    }
}

/// Replaces the file. Blocks.
fn put(path: &camino::Utf8Path, state: &GatewayState, durable: bool) -> std::io::Result<()> {
    let path = file::resolve(path)?;
    let mut text = serde_json::to_string(state).map_err(std::io::Error::other)?;
    if let Some(bytes) = disk::read_own(&path, MAX_LEN).or_absent()?
        && let Ok(serde_json::Value::Object(before)) = serde_json::from_slice(&bytes)
    {
        let schema = before.get("schema").and_then(serde_json::Value::as_u64);
        if schema.is_some_and(|schema| schema > u64::from(SCHEMA)) {
            return Err(std::io::Error::other("a newer release wrote it, it is left alone"));
        }
        if let (Some(theirs), Some(open)) = (before.get(THEIRS), text.strip_suffix('}')) {
            text = format!(r#"{open},"{THEIRS}":{theirs}}}"#);
        }
    }
    disk::write_atomic(&path, text.as_bytes(), durable)
}

/// The homes whose files say what the platforms of a process that runs are.
fn homes(table: &WorkerTable) -> Vec<ProfileHome> {
    let running = table.workers.iter().filter(|worker| worker.pid.is_some());
    running.map(|worker| worker.home.clone()).collect()
}

fn active(table: &WorkerTable) -> u64 {
    table.workers.iter().map(|worker| u64::from(worker.active_turns)).sum()
}

/// What is known, in the words of the file.
fn compose(
    table: &WorkerTable,
    served: Vec<ProfileName>,
    found: &Found,
    (profile, argv): (&ProfileName, &[String]),
) -> GatewayState {
    let (pid, gateway) = (std::process::id(), &table.gateway);
    let start_time = instance::start_time(pid);
    let of_listener = |name: &str| gateway.listeners.iter().find(|l| l.platforms.iter().any(|p| p == name));
    let mut platforms = std::collections::BTreeMap::new();
    for worker in &table.workers {
        // A file of an earlier process says nothing about this one.
        let own = found.of(worker.home.path()).filter(|file| worker.pid.is_some() && file.pid == worker.pid);
        let is_primary = worker.name == *profile;
        for (name, status) in own.iter().flat_map(|file| &file.platforms) {
            let listener = of_listener(name);
            if !is_primary && listener.is_some() {
                continue;
            }
            let key = if is_primary { name.clone() } else { format!("{}:{name}", worker.name) };
            let platform = Platform {
                state: status.state.clone(),
                error_code: status.error_code.clone(),
                error_message: status.error_message.clone(),
                updated_at: status.updated_at.clone(),
                needs_attention: status.state == "fatal",
                writer_pid: pid,
                writer_start_time: start_time,
                listener_base: listener.map(|listener| base(&listener.address)),
            };
            platforms.insert(key, platform);
        }
    }
    let primary = table.workers.iter().find(|worker| worker.name == *profile);
    // Before the primary's settings are in force it is not known who is served, and an empty list would be an answer.
    let served = (gateway.state != "starting").then_some(served).filter(|_| profile.is_default());
    let is_degraded = gateway.state == "running" && primary.is_some_and(|w| w.state == state::DEGRADED);
    GatewayState {
        pid,
        kind: KIND.to_owned(),
        argv: argv.to_vec(),
        start_time,
        gateway_state: if is_degraded { state::DEGRADED } else { gateway.state }.to_owned(),
        exit_reason: None,
        restart_requested: false,
        active_agents: active(table),
        platforms,
        updated_at: clock::utc().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
        multiplex_standalone_reason: (!gateway.multiplex && served.is_some())
            .then(|| "`gateway.multiplex_profiles` is off".to_owned()),
        served_profiles: served.map(|names| names.iter().map(ToString::to_string).collect()),
        schema: SCHEMA,
        profile: profile.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Where a listener is reached on this machine.
fn base(address: &str) -> String {
    let address = match address.parse::<std::net::SocketAddr>() {
        Ok(at) if at.ip().is_unspecified() && at.is_ipv4() => format!("127.0.0.1:{}", at.port()),
        Ok(at) if at.ip().is_unspecified() => format!("[::1]:{}", at.port()),
        _ => address.to_owned(),
    };
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::table;
    use hermes_wire::latest::BoundListener;

    fn write(home: &ProfileHome, platforms: &str) {
        fs_err::create_dir_all(home.path()).unwrap();
        let text = format!(r#"{{"pid":{},"platforms":{{{platforms}}}}}"#, std::process::id());
        fs_err::write(home.runtime_status(), text).unwrap();
    }

    #[test]
    fn everybodys_platforms_stand_in_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let homes = camino::Utf8Path::from_path(dir.path()).unwrap();
        let mut table = table(homes, 3);
        let listener =
            BoundListener { address: "0.0.0.0:8644".into(), host: None, platforms: vec!["webhook".into()] };
        table.gateway.listeners = vec![listener];
        let both =
            r#""webhook":{"state":"connected"},"telegram":{"state":"fatal","error_code":"unauthorized"}"#;
        for worker in &table.workers {
            write(&worker.home, both);
        }
        // A process that is gone, and its file.
        table.workers[2].pid = None;
        let found = Found::read(table.workers.iter().map(|worker| &worker.home));
        let primary = table.workers[0].name.clone();
        let state = compose(&table, Vec::new(), &found, (&primary, &["hermes".to_owned()]));
        assert_eq!(state.platforms.keys().collect::<Vec<_>>(), ["p001:telegram", "telegram", "webhook"]);
        assert_eq!(state.platforms["webhook"].listener_base.as_deref(), Some("http://127.0.0.1:8644"));
        assert!(
            state.platforms["p001:telegram"].needs_attention && !state.platforms["webhook"].needs_attention
        );
        assert_eq!((state.active_agents, state.gateway_state.as_str()), (6, "running"));
        table.workers[0].state = state::DEGRADED;
        assert_eq!(compose(&table, Vec::new(), &found, (&primary, &[])).gateway_state, "degraded");
        assert_eq!(base("[::]:1"), "http://[::1]:1");
    }

    #[test]
    fn what_others_put_there_is_kept_and_a_newer_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let homes = camino::Utf8Path::from_path(dir.path()).unwrap();
        let path = homes.join("gateway_state.json");
        let table = table(homes, 1);
        let state = compose(&table, Vec::new(), &Found::default(), (&table.workers[0].name, &[]));
        fs_err::write(&path, r#"{"desired_state":"running","gateway_state":"x","old":1}"#).unwrap();
        put(&path, &state, false).unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.contains(r#""desired_state":"running""#) && !text.contains("old"), "{text}");
        assert_eq!(serde_json::from_str::<GatewayState>(&text).unwrap(), state);
        fs_err::write(&path, r#"{"schema":9}"#).unwrap();
        assert!(put(&path, &state, false).is_err());
        assert_eq!(fs_err::read_to_string(&path).unwrap(), r#"{"schema":9}"#);
    }
}
