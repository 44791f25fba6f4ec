//! The gateway itself: does the lock tell the same as the PID record, the socket and the status; are its addresses free.

use std::net::{TcpListener, ToSocketAddrs as _};

use hermes_protocol::ProfileName;
use hermes_protocol::contract::gateway_status::state;
use hermes_protocol::latest::Severity;

use super::profiles::Examined;
use super::{Finding, Grade, Patient, Repair, Section};
use crate::client::ClientError;
use crate::desired::Desired;
use crate::instance::{self, Liveness};
use crate::status::collect::read_status;

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Gateway, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let root = &patient.root;
    let mut findings = Vec::new();
    match instance::probe(root.path()) {
        Liveness::Running { record } => {
            let pid = record.as_ref().map(|r| format!(" (PID {})", r.pid)).unwrap_or_default();
            let foreign = record.as_ref().is_some_and(|r| r.schema.is_none());
            match &patient.status {
                Ok(status) => findings.extend(answering(patient, status, &pid)),
                Err(_) if foreign => {
                    let message = format!("a gateway of the Python program holds the lock{pid}");
                    let next = "stop it (`systemctl --user stop hermes-gateway`, or its terminal) before starting this one";
                    findings.push(finding(Grade::Warning, "foreign_gateway", message).next(next));
                }
                Err(e) => {
                    let message = format!("a gateway holds the lock{pid} and does not answer: {e}");
                    findings.push(finding(Grade::Failure, "no_answer", message).next(e.hint()));
                }
            }
        }
        Liveness::Stopped => {
            findings.push(finding(Grade::Good, "stopped", "no gateway runs"));
            findings.extend(stale(patient));
        }
        Liveness::Unknown { reason } => {
            let message = format!("whether a gateway runs cannot be seen: {reason}");
            findings.push(finding(Grade::Failure, "lock_unreadable", message).at(root.gateway_lock()));
        }
    }
    if !patient.only {
        findings.extend(unknown_stopped(patient));
    }
    findings
}

fn answering(
    patient: &Patient<'_>,
    status: &hermes_protocol::contract::gateway_status::GatewayStatus,
    pid: &str,
) -> Vec<Finding> {
    let gateway = &status.gateway;
    let ready = format!(
        "the gateway runs{pid}, {} of {} profiles ready",
        gateway.profiles_ready, gateway.profiles_desired
    );
    let mut findings = vec![finding(Grade::Good, "running", ready)];
    if gateway.version.as_deref().is_some_and(|v| v != env!("CARGO_PKG_VERSION")) {
        let version = gateway.version.as_deref().unwrap_or_default();
        let message =
            format!("the gateway is version {version}, this command is {}", env!("CARGO_PKG_VERSION"));
        let next = "restart the gateway to run the new version";
        findings.push(finding(Grade::Warning, "version", message).next(next));
    }
    for problem in &gateway.problems {
        let grade = if problem.severity == Severity::Warning { Grade::Warning } else { Grade::Failure };
        let mut found = finding(grade, "gateway_problem", problem.message.clone());
        if !problem.file.is_empty() {
            found = found.at(&problem.file);
        }
        found.next.clone_from(&problem.fix);
        findings.push(found);
    }
    let bad = |p: &str| matches!(p, state::FAILED | state::CRASH_LOOP | state::BACKOFF | state::CONFLICT);
    let asked = |name: &str| patient.profiles.iter().any(|p| p.as_str() == name);
    for profile in status.profiles.iter().filter(|p| bad(&p.state) && asked(&p.name)) {
        let why = profile.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        let mut found =
            finding(Grade::Failure, "worker", format!("its worker is in state {}{why}", profile.state))
                .next(format!("`hermes status -p {}` shows more", profile.name));
        found.profile = profile.name.parse::<ProfileName>().ok();
        found.place.clone_from(&profile.file);
        findings.push(found);
    }
    findings
}

/// What a gateway that is gone left behind and readers could take for life.
fn stale(patient: &Patient<'_>) -> Vec<Finding> {
    let root = &patient.root;
    let mut findings = Vec::new();
    for name in &patient.profiles {
        let home = root.profile(name);
        if name.is_default() || matches!(instance::probe(home.path()), Liveness::Stopped) {
            if home.gateway_pid().exists() {
                let alive = instance::record(home.path()).is_some_and(|record| instance::is_alive(&record));
                let message = "a PID record of a gateway that is gone";
                let found = finding(Grade::Warning, "stale_pid", message).of(name).at(home.gateway_pid());
                // A process that lives and holds no lock may be a gateway of the Python program at its start.
                findings.push(if alive {
                    found.next(
                        "the process it names lives and holds no lock: look at it before removing the file",
                    )
                } else {
                    found.next("remove the file").repair(Repair::Remove(home.gateway_pid()))
                });
            }
            if read_status(&home).is_some_and(|s| s.gateway_state.as_deref() == Some("running")) {
                let message = "its status file says `running`, and nothing runs: the process was killed";
                let next =
                    "nothing to do: `hermes status` does not believe it, and the next start writes it anew";
                let found = finding(Grade::Warning, "stale_status", message).of(name);
                let file =
                    if home.runtime_status().exists() { home.runtime_status() } else { home.gateway_state() };
                findings.push(found.at(file).next(next));
            }
        }
    }
    if let Ok(socket) = patient.env.runtime_dir(root.path()).supervisor_socket()
        && socket.exists()
        && matches!(patient.status, Err(ClientError::NobodyThere { .. }))
    {
        let found = finding(Grade::Warning, "stale_socket", "a socket nobody listens on").at(&socket);
        findings.push(found.next("remove it; a start does that too").repair(Repair::Remove(socket)));
    }
    findings
}

fn unknown_stopped(patient: &Patient<'_>) -> Vec<Finding> {
    let desired = Desired::peek(&patient.root);
    let gone = |name: &&ProfileName| !patient.homes.contains(name);
    let names: Vec<_> = desired.stopped().filter(gone).map(ProfileName::as_str).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let message = format!("profiles that do not exist are noted as stopped: {}", names.join(", "));
    let next =
        "nothing to do: a profile made under that name stays stopped until `hermes gateway start -p NAME`";
    vec![finding(Grade::Warning, "stopped_unknown", message).at(patient.root.desired_state()).next(next)]
}

/// Whether the configured addresses can be bound; not asked while our own gateway holds them.
pub(super) fn ports(patient: &Patient<'_>, examined: &[Examined]) -> Vec<Finding> {
    if patient.gateway_runs() {
        return Vec::new();
    }
    let settings = examined.iter().filter_map(|e| Some((&e.name, e.config.as_ref()?.gateway.as_ref()?)));
    let mut findings = Vec::new();
    let mut seen = Vec::new();
    for (name, settings) in settings {
        for listener in settings.listeners.iter().filter(|l| l.port != 0) {
            let host = listener.host.clone().unwrap_or_else(|| "0.0.0.0".to_owned());
            if seen.contains(&(host.clone(), listener.port)) {
                continue;
            }
            seen.push((host.clone(), listener.port));
            let address = format!("{host}:{}", listener.port);
            let bound = match (host.as_str(), listener.port).to_socket_addrs().map(|mut all| all.next()) {
                Ok(Some(address)) => TcpListener::bind(address).map(drop),
                Ok(None) => Err(std::io::Error::from(std::io::ErrorKind::AddrNotAvailable)),
                Err(e) => Err(e),
            };
            let found = match bound {
                Ok(()) => {
                    finding(Grade::Good, "port", format!("{address} is free for {}", listener.platform))
                        .of(name)
                }
                Err(e) => finding(
                    Grade::Failure,
                    "port",
                    format!("{address} cannot be bound for {}: {e}", listener.platform),
                )
                .of(name)
                .at(&listener.source)
                .next(format!(
                    "find who holds it (`ss -ltnp 'sport = :{}'`), or choose another port",
                    listener.port
                )),
            };
            findings.push(found);
        }
    }
    findings
}
