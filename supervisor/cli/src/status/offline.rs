//! The status when nobody answers: liveness from the lock, the rest from files, everything marked as stale.
//!
//! A file that says `running` proves nothing: its writer may have been killed. So no profile is ever shown as serving here
//! unless a process that answers says so. Nor as stopped while its process lives, or while the gateway that would know holds its
//! lock and does not answer: that is `unknown`, with what files and processes show.

use hermes_gateway::client::{Client, ClientError};
use hermes_gateway::desired::{self, Rest};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_gateway::status::secs_since;
use hermes_gateway::{status_files, watch};
use hermes_host::homes::Parked;
use hermes_wire::contract::gateway_status::{Gateway, GatewayStatus, Profile, SCHEMA, state};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileName, RootHome};

use crate::home::Surroundings;

/// The gateway's part from the lock and the PID record. `why` is what asking it ended with.
pub(crate) fn gateway(root: &RootHome, why: &ClientError) -> GatewayStatus {
    let liveness = instance::probe(root.path());
    let mut gateway = Gateway {
        state: "stopped".to_owned(),
        stale: true,
        pid: None,
        start_time: None,
        started_at: None,
        uptime_secs: None,
        version: None,
        mode: None,
        home: root.path().to_string(),
        runtime_dir: None,
        listeners: Vec::new(),
        admin: None,
        profiles_ready: 0,
        profiles_desired: 0,
        rss_bytes: None,
        cpu_ms: None,
        problems: Vec::new(),
        max_connections: None,
        profiles_degraded: 0,
        keep_awake: None,
        program: None,
    };
    let problem = |code: &str, message: String, fix: Option<String>| Problem {
        severity: Severity::Warning,
        code: code.to_owned(),
        platform: None,
        file: root.gateway_lock().to_string(),
        line: None,
        column: None,
        key: None,
        message,
        fix,
    };
    if let Some(predecessor) = Predecessor::find(root.path()) {
        "running".clone_into(&mut gateway.state);
        (gateway.pid, gateway.version) = (Some(predecessor.pid), Some("the Python program".to_owned()));
        let fix = format!("`{}` takes over from it", predecessor.take_over());
        gateway.problems.push(problem(
            "foreign_gateway",
            format!("{predecessor} runs for this home"),
            Some(fix),
        ));
        return GatewayStatus { schema: SCHEMA, gateway, profiles: Vec::new() };
    }
    match liveness {
        Liveness::Stopped => {}
        Liveness::Running { record } => {
            // Held, and yet no answer: starting, stuck, or of another user. Not stopped, whatever else it is.
            "running".clone_into(&mut gateway.state);
            if let Some(record) = record {
                gateway.pid = Some(record.pid);
                gateway.start_time = record.start_time;
                gateway.version = record.version;
                gateway.runtime_dir = record.runtime_dir.map(Into::into);
            }
            let record_lives = gateway.pid.is_some_and(|pid| instance::start_time(pid).is_some());
            let foreign =
                instance::Holder::of_home(root.path()).filter(|who| !record_lives && !who.is_gateway());
            if let Some(who) = foreign {
                // No gateway runs, and none can start.
                "stopped".clone_into(&mut gateway.state);
                gateway.pid = None;
                let message = format!("{who} holds the gateway's lock and is no gateway: none can start");
                let fix = format!("end it (`kill {}`), or let it finish", who.pid);
                gateway.problems.push(problem("foreign_lock", message, Some(fix)));
                return GatewayStatus { schema: SCHEMA, gateway, profiles: Vec::new() };
            }
            if let ClientError::Elsewhere(elsewhere) = why {
                // The number is another process's here, or nobody's.
                gateway.pid = None;
                let message = format!("{why}, and cannot be asked from here");
                gateway.problems.push(problem("elsewhere", message, Some(elsewhere.hint())));
                return GatewayStatus { schema: SCHEMA, gateway, profiles: Vec::new() };
            }
            let message = format!("the gateway holds its lock and does not answer: {why}");
            gateway.problems.push(problem("no_answer", message, Some(why.hint_while_running(root))));
        }
        Liveness::Unknown { reason } => {
            let message = format!("whether a gateway runs cannot be seen: {reason}");
            gateway.problems.push(problem("lock_unreadable", message, None));
        }
    }
    GatewayStatus { schema: SCHEMA, gateway, profiles: Vec::new() }
}

/// Adds what the gateway did not mention: every profile on disk, and profiles that have a gateway of their own. With `only`,
/// that profile alone remains. `stands_alone` says whether a profile's files want no part in the gateway of all.
pub(crate) fn complete(
    status: &mut GatewayStatus,
    root: &RootHome,
    only: Option<&ProfileName>,
    env: &Surroundings,
    stands_alone: &dyn Fn(&ProfileName) -> bool,
) {
    let offline = status.gateway.stale;
    let silent = |problem: &Problem| matches!(problem.code.as_str(), "no_answer" | "lock_unreadable");
    let unsure = offline && status.gateway.problems.iter().any(silent);
    let homes = watch::scan(root);
    let wanted = desired::Desired::load(root);
    let rest = |name: &ProfileName| {
        let home = if name.is_default() { Parked::No } else { homes.parked(name) };
        wanted.rest(name, home)
    };
    let names: Vec<ProfileName> = match only {
        Some(name) => vec![name.clone()],
        None => homes.names().chain(homes.silent_names()).cloned().collect(),
    };
    if let Some(name) = only {
        status.profiles.retain(|p| p.name == name.as_str());
    }
    for name in names {
        let known = status.profiles.iter().position(|p| p.name == name.as_str());
        let has_worker = known.is_some_and(|at| status.profiles[at].pid.is_some());
        if homes.is_silent(&name) {
            if known.is_none() {
                status.profiles.push(unanswered(root, &name, offline && rest(&name).is_none()));
            }
        } else if !has_worker && let Some(own) = own_gateway(root, &name, env) {
            match known {
                // What the gateway says of it (`detached`, `conflict`) stands; the process is its own gateway's.
                Some(at) => {
                    let profile = &mut status.profiles[at];
                    if profile.state == state::CONFLICT && stands_alone(&name) {
                        // The gateway does not read its files; that it has one of its own is as it should be.
                        state::STANDALONE.clone_into(&mut profile.state);
                        profile.reason.clone_from(&own.reason);
                    }
                    profile.reason.get_or_insert_with(|| own.reason.clone().unwrap_or_default());
                }
                None => status.profiles.push(own),
            }
        } else if known.is_none() {
            let rest = rest(&name);
            let alone = stands_alone(&name);
            let desired = offline && rest.is_none() && !alone;
            let mut profile = from_files(root, &name, desired, unsure && desired);
            if profile.state == state::STOPPED {
                if alone {
                    state::STANDALONE.clone_into(&mut profile.state);
                } else if rest == Some(Rest::Parked) {
                    state::PARKED.clone_into(&mut profile.state);
                }
            }
            status.profiles.push(profile);
        }
    }
    if offline && only.is_none() {
        let wanted = status.profiles.iter().filter(|p| p.desired == "running").count();
        status.gateway.profiles_desired = u32::try_from(wanted).unwrap_or(u32::MAX);
    }
    if offline {
        status.gateway.problems.extend(hermes_gateway::app::unseen(&homes, only));
        status.gateway.problems.extend(wanted.problem());
    }
    for odd in if offline { homes.odd } else { Vec::new() } {
        status.gateway.problems.push(Problem {
            severity: Severity::Warning,
            code: "not_a_profile".to_owned(),
            platform: None,
            file: odd.path.to_string(),
            line: None,
            column: None,
            key: None,
            message: format!("not served: {}", odd.why),
            fix: None,
        });
    }
    status.profiles.sort_by_key(|p| (p.name != hermes_wire::profile::DEFAULT, p.name.clone()));
}

/// A named profile that runs as a gateway of its own, as that gateway tells it.
fn own_gateway(root: &RootHome, name: &ProfileName, env: &Surroundings) -> Option<Profile> {
    if name.is_default() {
        return None;
    }
    let home = root.profile(name);
    let (pid, reason) = match (Predecessor::find(home.path()), instance::probe(home.path())) {
        (Some(predecessor), _) => {
            let fix = predecessor.take_over();
            (Some(predecessor.pid), format!("has a gateway of its own, {predecessor}; `{fix}` takes over"))
        }
        (None, Liveness::Running { record }) => {
            let pid = record.map(|r| r.pid);
            let who = pid.map(|p| format!(" (PID {p})")).unwrap_or_default();
            (pid, format!("has a gateway of its own{who}"))
        }
        (None, _) => return None,
    };
    let told = Client::connect(home.path(), &env.sockets).and_then(|client| client.status(Some(name)));
    let mut profile = if let Ok(status) = told {
        status.profiles.into_iter().find(|p| p.name == name.as_str())?
    } else {
        // A gateway of 0.19.0 has no socket: its lock is held, its file tells the rest.
        let mut profile = from_files(root, name, true, false);
        state::DETACHED.clone_into(&mut profile.state);
        profile.pid = pid;
        profile
    };
    profile.reason.get_or_insert(reason);
    Some(profile)
}

/// Of a home that does not answer nothing is known, and nothing is asked.
fn unanswered(root: &RootHome, name: &ProfileName, desired_running: bool) -> Profile {
    let mut profile = shown(root, name, None, desired_running, true);
    profile.reason = Some(watch::NO_ANSWER.to_owned());
    profile
}

/// What the files and the processes they name show. `unsure`: somebody else would know, and does not answer.
fn from_files(root: &RootHome, name: &ProfileName, desired_running: bool, unsure: bool) -> Profile {
    shown(root, name, status_files::read(&root.profile(name)), desired_running, unsure)
}

fn shown(
    root: &RootHome,
    name: &ProfileName,
    file: Option<RuntimeStatus>,
    desired_running: bool,
    unsure: bool,
) -> Profile {
    let home = root.profile(name);
    // A file of 0.19.0 names its gateway, which is no worker of ours.
    let ours = file.as_ref().filter(|f| f.schema.is_some());
    let alive = |pid: &u32| instance::lives(*pid, ours.and_then(|f| f.start_time));
    let pid = ours.and_then(|f| f.pid).filter(alive);
    let unknown = match (pid, unsure) {
        (Some(pid), _) => {
            let said = ours.and_then(|f| f.gateway_state.as_deref()).unwrap_or("nothing");
            Some(format!("nobody answers for it; its process {pid} lives, and its file says `{said}`"))
        }
        (None, true) => {
            Some("the gateway does not answer, and no process of this profile is seen".to_owned())
        }
        (None, false) => None,
    };
    let last_error = file.as_ref().and_then(|f| f.last_error.clone()).filter(|_| pid.is_some());
    let inbox = file.as_ref().and_then(|f| f.inbox.clone()).unwrap_or_default();
    let gone_chats = file.as_ref().and_then(|f| f.gone_chats.clone());
    let (platforms, tool_servers, updated_at, reason) = match file {
        Some(f) => (f.platforms, f.tool_servers, f.updated_at, f.exit_reason),
        None => Default::default(),
    };
    Profile {
        name: name.to_string(),
        home: home.path().to_string(),
        desired: if desired_running { "running" } else { "stopped" }.to_owned(),
        state: if unknown.is_some() { state::UNKNOWN } else { state::STOPPED }.to_owned(),
        ready: false,
        since: None,
        since_secs: None,
        pid,
        generation: 0,
        restarts: 0,
        last_exit: None,
        reason: unknown.or(reason),
        file: None,
        next_attempt_ms: None,
        platforms,
        tool_servers,
        // What only a process that runs knows.
        key_pools: std::collections::BTreeMap::new(),
        active_agents: 0,
        inbox_waiting: inbox.waiting,
        requests: 0,
        requests_active: 0,
        requests_per_sec: None,
        latency_p99_ms: None,
        rss_bytes: None,
        cpu_ms: None,
        heartbeat_age_ms: None,
        stale: true,
        updated_at,
        problems: Vec::new(),
        data_socket: None,
        inbox_postponed: inbox.postponed,
        inbox_failed: inbox.failed,
        inbox_reason: inbox.reason,
        undelivered: inbox.undelivered,
        last_error_secs: last_error.as_ref().and_then(|error| secs_since(&error.at)),
        last_error,
        config_at: None,
        refused_at: None,
        takeover: None,
        upkeep: None,
        awake: None,
        fence: None,
        approvals: None,
        approvals_secs: None,
        gone_chats,
    }
}

#[cfg(test)]
mod tests {
    use hermes_gateway::runtime::SocketPlaces;

    use super::*;

    fn place() -> (tempfile::TempDir, RootHome, Surroundings) {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let env = Surroundings {
            sockets: SocketPlaces { xdg_runtime_dir: Some(path.join("run")), uid: 1 },
            temp_dir: path.clone(),
            current_dir: path.clone(),
            ..Surroundings::bare()
        };
        let root = RootHome::new(path.join("root"));
        let coder = root.profile(&"coder".parse().unwrap());
        fs_err::create_dir_all(coder.path()).unwrap();
        fs_err::write(coder.config(), "").unwrap();
        (dir, root, env)
    }

    fn nobody() -> ClientError {
        ClientError::NobodyThere { path: "/run/x".into() }
    }

    #[test]
    fn files_that_say_running_are_not_believed() {
        let (_dir, root, env) = place();
        let coder = root.profile(&"coder".parse().unwrap());
        let lie = r#"{"pid":1,"gateway_state":"running","platforms":{"webhook":{"state":"connected"}},"updated_at":"2026-11-21T00:00:00Z"}"#;
        fs_err::write(coder.runtime_status(), lie).unwrap();
        fs_err::write(root.gateway_pid(), r#"{"pid":1,"kind":"hermes-gateway","argv":[],"start_time":1}"#)
            .unwrap();
        let mut status = gateway(&root, &nobody());
        complete(&mut status, &root, None, &env, &|_| false);
        assert_eq!((status.gateway.state.as_str(), status.gateway.pid), ("stopped", None));
        assert_eq!(status.profiles.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["default", "coder"]);
        let coder = &status.profiles[1];
        assert!(coder.stale && !coder.ready && coder.pid.is_none());
        assert_eq!((coder.state.as_str(), coder.desired.as_str()), ("stopped", "running"));
        assert_eq!(coder.updated_at.as_deref(), Some("2026-11-21T00:00:00Z"));
    }

    /// 32: where a process lives, or somebody who knows does not answer, nothing is said to be stopped.
    #[test]
    fn c32_what_nobody_answers_for_is_unknown_not_stopped() {
        let (_dir, root, env) = place();
        let coder = root.profile(&"coder".parse().unwrap());
        let own = std::process::id();
        let started = instance::start_time(own).unwrap();
        let file = |started: u64| {
            format!(
                r#"{{"pid":{own},"start_time":{started},"gateway_state":"running","platforms":{{}},"schema":1}}"#
            )
        };
        let look = || {
            let mut status = gateway(&root, &nobody());
            complete(&mut status, &root, None, &env, &|_| false);
            let of = |at: usize| (status.profiles[at].state.clone(), status.profiles[at].pid);
            (of(0), of(1))
        };
        fs_err::write(coder.runtime_status(), file(started)).unwrap();
        assert_eq!(look(), (("stopped".to_owned(), None), ("unknown".to_owned(), Some(own))));
        // Another process has its number now.
        fs_err::write(coder.runtime_status(), file(started + 1)).unwrap();
        assert_eq!(look().1, ("stopped".to_owned(), None));
        let default = ProfileName::default_profile();
        let held = instance::Instance::acquire(root.path(), &default, vec![], "/run/x".into());
        assert_eq!(look(), (("unknown".to_owned(), None), ("unknown".to_owned(), None)));
        drop(held);
    }

    #[test]
    fn a_held_lock_without_an_answer_is_not_stopped() {
        let (_dir, root, _env) = place();
        let held = instance::Instance::acquire(
            root.path(),
            &ProfileName::default_profile(),
            vec![],
            "/run/x".into(),
        );
        let status = gateway(&root, &nobody());
        assert_eq!((status.gateway.state.as_str(), status.gateway.stale), ("running", true));
        assert_eq!(status.gateway.pid, Some(std::process::id()));
        assert_eq!(status.gateway.problems[0].code, "no_answer");
        drop(held);
    }

    #[test]
    fn a_profile_with_a_gateway_of_its_own_is_shown() {
        let (_dir, root, env) = place();
        let coder: ProfileName = "coder".parse().unwrap();
        let home = root.profile(&coder);
        let _held = instance::Instance::acquire(home.path(), &coder, vec![], "/run/x".into()).unwrap();
        let mut status = gateway(&root, &nobody());
        complete(&mut status, &root, Some(&coder), &env, &|_| false);
        assert_eq!(status.profiles.len(), 1);
        assert_eq!(status.profiles[0].pid, Some(std::process::id()));
        assert!(status.profiles[0].reason.as_deref().unwrap().contains("gateway of its own"));
    }
}
