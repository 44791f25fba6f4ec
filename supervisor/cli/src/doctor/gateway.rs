//! The gateway itself: does the lock tell the same as the PID record, the socket and the status; are its addresses free.

use hermes_gateway::client::ClientError;
use hermes_gateway::desired::Desired;
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_gateway::premises::Premises;
use hermes_gateway::status_files;
use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::{Profile, state};
use hermes_wire::latest::{ListenerSetting, Problem, Severity};

use super::profiles::Examined;
use super::{Finding, Grade, Patient, Repair, Section};

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Gateway, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let root = &patient.root;
    let mut findings = Vec::new();
    if let Some(predecessor) = Predecessor::find(root.path()) {
        let next = "`hermes gateway run --replace` takes over";
        findings.push(finding(Grade::Warning, "foreign_gateway", format!("{predecessor} runs")).next(next));
        return findings;
    }
    match instance::probe(root.path()) {
        Liveness::Running { record } => {
            let pid = record.as_ref().map(|r| format!(" (PID {})", r.pid)).unwrap_or_default();
            match &patient.status {
                Ok(status) => findings.extend(answering(patient, status, &pid)),
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
    if !patient.gateway_runs() {
        let only = patient.only.then(|| patient.profiles.first()).flatten();
        findings.extend(hermes_gateway::app::unseen(&patient.homes, only).iter().map(of_gateway));
        findings.extend(Desired::load(root).problem().iter().map(of_gateway));
    }
    findings
}

/// A problem of the gateway as a whole.
fn of_gateway(problem: &Problem) -> Finding {
    let grade = if problem.severity == Severity::Warning { Grade::Warning } else { Grade::Failure };
    let mut found = finding(grade, "gateway_problem", problem.message.clone());
    if !problem.file.is_empty() {
        found = found.at(&problem.file);
    }
    found.next.clone_from(&problem.fix);
    found
}

/// Whether the kernel keeps a profile to its limits, where it has any and runs; the gateway is the judge, as in its status.
fn of_limits(profile: &Profile) -> Option<Finding> {
    let unkept = profile.problems.iter().find(|problem| problem.code == "limits_unkept");
    let has_some = profile.pid.is_some() && profile.upkeep.is_some_and(|upkeep| upkeep.limits.is_any());
    let kept = has_some.then(|| finding(Grade::Good, "limits", "the kernel keeps it to `gateway.limits`"));
    let mut found = unkept.map(of_gateway).or(kept)?;
    found.code = "limits";
    found.profile = profile.name.parse().ok();
    Some(found)
}

fn answering(
    patient: &Patient<'_>,
    status: &hermes_wire::contract::gateway_status::GatewayStatus,
    pid: &str,
) -> Vec<Finding> {
    let gateway = &status.gateway;
    let ready = format!("the gateway runs{pid}, {}", gateway.readiness("profile"));
    let mut findings = vec![finding(Grade::Good, "running", ready)];
    if gateway.version.as_deref().is_some_and(|v| v != env!("CARGO_PKG_VERSION")) {
        let version = gateway.version.as_deref().unwrap_or_default();
        let message =
            format!("the gateway is version {version}, this command is {}", env!("CARGO_PKG_VERSION"));
        let next = "restart the gateway to run the new version";
        findings.push(finding(Grade::Warning, "version", message).next(next));
    }
    findings.extend(gateway.problems.iter().map(of_gateway));
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
    findings.extend(status.profiles.iter().filter(|p| asked(&p.name)).filter_map(of_limits));
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
            if status_files::read(&home).is_some_and(|s| s.gateway_state.as_deref() == Some("running")) {
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
    let nobody = matches!(patient.status, Err(ClientError::NobodyThere { .. }));
    let places = patient.env.sockets.of(root.path()).into_iter().filter(|_| nobody);
    for socket in places.map(|place| place.supervisor_socket()).filter(|socket| socket.exists()) {
        let found = finding(Grade::Warning, "stale_socket", "a socket nobody listens on").at(&socket);
        findings.push(found.next("remove it; a start does that too").repair(Repair::Remove(socket)));
    }
    findings
}

fn unknown_stopped(patient: &Patient<'_>) -> Vec<Finding> {
    let desired = Desired::load(&patient.root);
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

/// What a start would meet beside the files: the judge of `gateway check`.
pub(super) fn premises(patient: &Patient<'_>, examined: &[Examined]) -> Vec<Finding> {
    let settings_of =
        |one: &Examined| one.config.as_ref()?.gateway.clone().map(|settings| (one.name.clone(), settings));
    let multiplexed = examined
        .iter()
        .filter_map(settings_of)
        .any(|(name, settings)| name.is_default() && settings.multiplex);
    let mut findings = Vec::new();
    for (name, settings) in examined.iter().filter_map(settings_of) {
        if multiplexed && !name.is_default() {
            continue;
        }
        let premises = Premises {
            root: &patient.root,
            profile: &name,
            sockets: &patient.env.sockets,
            host: patient.env.rendezvous.host.as_deref(),
        };
        let mut problems = if name.is_default() { premises.problems() } else { Vec::new() };
        let addresses = premises.addresses(&settings);
        if addresses.is_empty() && !patient.gateway_runs() && !settings.listeners.is_empty() {
            let port = |l: &ListenerSetting| format!("{}:{}", l.host.as_deref().unwrap_or("*"), l.port);
            let all: Vec<_> = settings.listeners.iter().map(port).collect();
            findings.push(finding(Grade::Good, "port", format!("free: {}", all.join(", "))).of(&name));
        }
        problems.extend(addresses);
        problems.extend(premises.another_host(&settings));
        for problem in problems {
            let code = if problem.platform.is_some() { "port" } else { "premises" };
            let mut found = finding(Grade::Failure, code, problem.message).of(&name).at(&problem.file);
            found.next = problem.fix;
            findings.push(found);
        }
    }
    findings
}
