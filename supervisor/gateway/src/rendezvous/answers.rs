//! What is answered without asking anybody: who this gateway is and how it is, by the board and by the status file in its home. Pure,
//! but for [`state_file`].

use std::time::SystemTime;

use camino::Utf8Path;
use hermes_host::{child, disk};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::{pid_record, runtime_status};
use hermes_wire::{ProfileHome, profile};
use serde_json::{Map, Value, json};

use super::request::PROTOCOL;
use crate::board::Board;
use crate::instance;

/// What the board says at one instant.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `starting`, `running`, `draining`, `stopped`.
    pub(super) state: &'static str,
    pub(super) multiplex: bool,
    pub(super) home: String,
    /// Whose settings are in force.
    pub(super) profile: String,
    /// Who is served, the primary first.
    pub(super) served: Vec<String>,
    /// Turns that run.
    pub(super) turns: u64,
}

impl Seen {
    pub(super) fn on(board: &Board) -> Self {
        let table = board.snapshot();
        let primary = table.workers.first().map(|worker| worker.name.to_string());
        Self {
            state: table.gateway.state,
            multiplex: table.gateway.multiplex,
            home: table.gateway.home.to_string(),
            profile: primary.unwrap_or_else(|| profile::DEFAULT.to_owned()),
            served: board.served().iter().map(ToString::to_string).collect(),
            turns: table.workers.iter().map(|worker| u64::from(worker.active_turns)).sum(),
        }
    }

    /// Whether it is known who is served: not before the primary's settings were read, and an empty list would count as an answer.
    fn is_settled(&self) -> bool {
        self.state != "starting"
    }

    /// Who is served, as members of an answer. A gateway of one profile says that it is no host of others.
    pub(super) fn serves(&self, into: &mut Map<String, Value>) {
        if self.is_settled() {
            into.insert("multiplex".to_owned(), self.multiplex.into());
            if self.multiplex {
                into.insert("served_profiles".to_owned(), json!(self.served));
            }
        }
    }
}

/// The answer to `identify`.
///
/// There is no `code_sha`: it names a state of the Python program's sources, which an updater compares with its own checkout. `null` is
/// "not known" to it, and so no gateway that was forgotten in an update.
pub(super) fn identify(seen: &Seen, supervisor: &str) -> Map<String, Value> {
    let pid = std::process::id();
    let mut answer = object(json!({
        "protocol": PROTOCOL,
        "kind": pid_record::KIND,
        "pid": pid,
        "start_time": instance::start_time(pid),
        "hermes_home": seen.home,
        "profile": seen.profile,
        "supervisor": supervisor,
        "code_sha": null,
        "code_version": env!("CARGO_PKG_VERSION"),
    }));
    seen.serves(&mut answer);
    answer
}

/// The answer to `status`: what the file says, and above it what this process knows better. The file is the primary's worker's; who
/// answers is the gateway, which may run while that worker does not.
pub(super) fn status(
    seen: &Seen,
    file: Result<Map<String, Value>, String>,
    now: SystemTime,
) -> Map<String, Value> {
    let pid = std::process::id();
    let (mut answer, trouble) = match file {
        Ok(file) => (file, None),
        Err(trouble) => (Map::new(), Some(trouble)),
    };
    let of_worker = answer.get("gateway_state").and_then(Value::as_str);
    let state = match (seen.state, of_worker) {
        ("running", Some("degraded")) => "degraded",
        (own, _) => own,
    };
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let known = object(json!({
        "kind": pid_record::KIND,
        "pid": pid,
        "argv": child::argv(),
        "start_time": instance::start_time(pid),
        "gateway_state": state,
        "active_agents": seen.turns,
        "protocol": PROTOCOL,
        "answered_at": since.as_secs_f64(),
        "answering_pid": pid,
    }));
    answer.extend(known);
    // What the file still says of them may be from before.
    answer.remove("served_profiles");
    seen.serves(&mut answer);
    if let Some(trouble) = trouble {
        answer.insert("status_file_error".to_owned(), trouble.into());
    }
    answer
}

/// What `gateway_state.json` of this home says; nothing where there is none.
pub(super) fn state_file(home: &Utf8Path) -> Result<Map<String, Value>, String> {
    let path = ProfileHome::new(home).gateway_state();
    match disk::read_own(&path, runtime_status::MAX_LEN).or_absent() {
        Ok(None) => Ok(Map::new()),
        Ok(Some(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|error| format!("`{path}` is no JSON object: {error}"))
        }
        Err(error) => Err(format!("`{path}` cannot be read: {}", hermes_wire::absence::words(&error))),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &'static str, multiplex: bool) -> Seen {
        Seen {
            state,
            multiplex,
            home: "/h".to_owned(),
            profile: "default".to_owned(),
            served: vec!["default".to_owned(), "coder".to_owned()],
            turns: 3,
        }
    }

    #[test]
    fn who_is_served_is_said_when_it_is_known() {
        let answer = identify(&seen("running", true), "manual");
        assert_eq!(answer["served_profiles"], json!(["default", "coder"]));
        assert_eq!((&answer["multiplex"], &answer["pid"]), (&json!(true), &json!(std::process::id())));
        assert_eq!((&answer["kind"], &answer["hermes_home"]), (&json!("hermes-gateway"), &json!("/h")));
        // A host that says "I am none" would get a second gateway beside it.
        let starting = identify(&seen("starting", false), "systemd");
        assert!(!starting.contains_key("multiplex") && !starting.contains_key("served_profiles"));
        let alone = identify(&seen("running", false), "systemd");
        assert!(alone["multiplex"] == false && !alone.contains_key("served_profiles"));
    }

    /// The process that answers is the one that is described, whoever wrote the file.
    #[test]
    fn the_status_is_the_files_but_for_what_is_known_better() {
        let file = object(json!({
            "pid": 7, "start_time": 1, "gateway_state": "degraded", "active_agents": 0, "unheard_of": {"a": [1]},
            "platforms": {"webhook": {"state": "connected"}}, "served_profiles": ["old"],
        }));
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        let answer = status(&seen("running", true), Ok(file.clone()), now);
        assert_eq!(answer["unheard_of"], json!({"a": [1]}));
        assert_eq!(answer["platforms"], file["platforms"]);
        assert_eq!((&answer["pid"], &answer["answering_pid"]), (&json!(std::process::id()), &answer["pid"]));
        assert_eq!((&answer["gateway_state"], &answer["active_agents"]), (&json!("degraded"), &json!(3)));
        assert_eq!(
            (&answer["answered_at"], &answer["served_profiles"]),
            (&json!(1.5), &json!(["default", "coder"]))
        );
        let draining = status(&seen("draining", true), Ok(file), now);
        assert_eq!(draining["gateway_state"], "draining");
        let alone = status(&seen("running", false), Err("it hangs".to_owned()), now);
        assert!(alone["gateway_state"] == "running" && !alone.contains_key("served_profiles"));
        assert_eq!(alone["status_file_error"], "it hangs", "an error is said, not read as absence");
    }

    #[test]
    fn a_file_that_is_no_status_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(state_file(home), Ok(Map::new()));
        fs_err::write(home.join("gateway_state.json"), "[1]").unwrap();
        assert!(state_file(home).unwrap_err().contains("no JSON object"));
        fs_err::remove_file(home.join("gateway_state.json")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", home.join("gateway_state.json")).unwrap();
        assert!(state_file(home).unwrap_err().contains("cannot be read"), "a link is not followed");
    }
}
