//! Whether the account can be connected as it is configured, looked at once: Node.js, the bridge, the session; and where a bridge runs, ours or
//! somebody else's, what it says of WhatsApp. No bridge is started for that: it would take the session from the one that has it.

use std::io;

use hermes_config::network::Network;
use hermes_host::{blocking, disk};
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::bridge::{self, NoNode, Plan};
use super::install::{self, Installed, Reach};
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::Health;
use crate::platform::{Outside, PlatformFuture};

/// What a bridge of somebody else's is called.
const THEIRS: &str = "the bridge at WHATSAPP_BRIDGE_URL";

/// What there is on this machine.
#[derive(Debug)]
struct Machine {
    node: Result<(u32, u32), NoNode>,
    bridge: Present,
    /// To whom the session is linked; `None`: to nobody.
    account: io::Result<Option<String>>,
    runs: Runs,
}

/// The bridge's program.
#[derive(Debug)]
enum Present {
    Packages(io::Result<Installed>),
    /// A script of the profile's own, and whether it is there.
    Script(String, io::Result<bool>),
}

/// Whether a bridge has the session.
#[derive(Debug)]
enum Runs {
    No,
    /// Ours, and what it says.
    Ours(Result<Health, Failure>),
    /// A process that this gateway did not start.
    Others(i32),
    /// Nobody can tell.
    Unknown(String),
}

/// Looks, where an account is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    let plan = Plan {
        settings,
        home: outside.home.path().to_owned(),
        environment: outside.inherited.to_vec(),
        most: None,
    };
    Some(Box::pin(async move { look(&plan, &network).await }))
}

async fn look(plan: &Plan, network: &Network) -> Trial {
    let settings = &plan.settings;
    if let Some(fault) = &settings.fault {
        return Trial::not_asked(NAME, &fault.message);
    }
    if let Some(url) = &settings.url {
        let health = match Service::new(url.clone(), settings.secret.clone(), network) {
            Ok(service) => service.health().await,
            Err(failure) => Err(failure),
        };
        return of_theirs(&health);
    }
    let node = bridge::node(plan).await;
    let looked = plan.clone();
    let found = blocking::run(move || on_disk(&looked)).await;
    let (present, account, reach, others) = match found {
        Ok(found) => found,
        Err(error) => return Trial::not_asked(NAME, error.to_string()),
    };
    let runs = match (reach, others) {
        (Ok(Some(reach)), _) => {
            let service = Service::local(reach.port, reach.secret.map(hermes_config::Secret::new));
            let health = match service {
                Ok(service) => service.health().await,
                Err(failure) => Err(failure),
            };
            if matches!(health, Err(Failure::Unsent(_))) { Runs::No } else { Runs::Ours(health) }
        }
        (Ok(None), Some(pid)) => Runs::Others(pid),
        (Ok(None), None) => Runs::No,
        (Err(error), _) => Runs::Unknown(error.to_string()),
    };
    judge(&Machine { node, bridge: present, account, runs })
}

/// The bridge's program, the account, the bridge of ours that runs, and whoever else has the session.
type OnDisk = (Present, io::Result<Option<String>>, io::Result<Option<Reach>>, Option<i32>);

/// What the files say. Blocks.
fn on_disk(plan: &Plan) -> OnDisk {
    let present = match &plan.settings.script {
        Some(own) => {
            let path = plan.home.join(own);
            let is_there = disk::is_there(&path);
            Present::Script(path.into_string(), is_there)
        }
        None => Present::Packages(install::look(install::root_of(&plan.home))),
    };
    let session = plan.session();
    // What was written down of one that has ended leads nowhere.
    let lives = |reach: &Reach| cfg!(not(target_os = "linux")) || reach.alive().is_some();
    let reach = install::reach(&plan.home).map(|reach| reach.filter(lives));
    (present, install::account(&session), reach, install::holder(&session))
}

/// What was found.
fn judge(machine: &Machine) -> Trial {
    let mut lacks = Vec::new();
    let node = match &machine.node {
        Ok((major, minor)) => format!("Node.js {major}.{minor}"),
        Err(NoNode::Missing(what) | NoNode::Unasked(what)) => {
            lacks.push(Lack::needed(what, bridge::get_node()));
            "no Node.js".to_owned()
        }
    };
    let program = match &machine.bridge {
        Present::Packages(Ok(Installed::Current)) => "the bridge is installed",
        Present::Packages(Ok(Installed::Other(version))) => {
            let what = format!("the bridge has other packages than it was made for ({})", shown(version));
            lacks.push(Lack::wanted(what, "`hermes whatsapp install` brings those of this build"));
            "the bridge is installed"
        }
        Present::Packages(Ok(Installed::Nothing)) => {
            lacks.push(Lack::needed(bridge::UNINSTALLED, bridge::INSTALL));
            bridge::UNINSTALLED
        }
        Present::Script(_, Ok(true)) => "the bridge is a script of this profile's own",
        Present::Script(path, Ok(false)) => {
            let what = format!("`{path}` is not there");
            lacks.push(Lack::needed(what, "correct platforms.whatsapp.bridge_script, or leave it out"));
            bridge::UNINSTALLED
        }
        Present::Packages(Err(error)) | Present::Script(_, Err(error)) => {
            let what = format!("the bridge cannot be looked at: {error}");
            lacks.push(Lack::needed(what, "see to it that the gateway's user can read it"));
            "the bridge is not known"
        }
    };
    let account = match &machine.account {
        Ok(Some(account)) => format!("{} is linked", shown(account)),
        Ok(None) => {
            lacks.push(Lack::needed(bridge::UNPAIRED, bridge::PAIR));
            bridge::UNPAIRED.to_owned()
        }
        Err(error) => {
            let what = format!("the session cannot be read: {error}");
            lacks.push(Lack::needed(what, "`hermes whatsapp pair --again` links the account anew"));
            "the account is not known".to_owned()
        }
    };
    let whatsapp = match &machine.runs {
        Runs::Ours(health) => {
            lacks.extend(of_health(
                health,
                "the bridge",
                "`hermes logs` says why; after `logged out`, `hermes whatsapp pair --again`",
            ));
            if health.as_ref().is_ok_and(Health::is_connected) {
                "WhatsApp is connected"
            } else {
                "WhatsApp is not"
            }
        }
        Runs::Others(pid) => {
            let what =
                format!("process {pid} runs a bridge with this session that this gateway did not start");
            let fix = "stop the gateway that started it, as the Python program's, or end the process";
            lacks.push(Lack::needed(what, fix));
            "another program has the session"
        }
        Runs::No => "no bridge runs, so WhatsApp was not asked",
        Runs::Unknown(error) => {
            let what = format!("where the running bridge is cannot be read: {error}");
            lacks.push(Lack::wanted(what, "see to it that the gateway's user can read it"));
            "WhatsApp was not asked"
        }
    };
    Trial::answered(NAME, format!("{node}, {program}, {account}; {whatsapp}"), lacks)
}

/// What a bridge that runs says.
fn of_theirs(health: &Result<Health, Failure>) -> Trial {
    match health {
        Err(Failure::Unusable(reason)) => Trial::not_asked(NAME, reason),
        Err(failure) if is_nobody(failure) => Trial::unreachable(
            NAME,
            format!("{THEIRS} does not answer ({failure}); start it, or correct the address"),
        ),
        health => {
            let fix =
                "its own log says why; link the account there again where WhatsApp has ended the session";
            let lack = of_health(health, THEIRS, fix);
            let message = match health {
                Ok(health) if health.is_connected() => format!("{THEIRS} answers, and WhatsApp is connected"),
                Ok(_) => format!("{THEIRS} answers"),
                Err(_) => "somebody answers".to_owned(),
            };
            Trial::answered(NAME, message, lack.into_iter().collect())
        }
    }
}

/// Nobody is there, or is not well.
fn is_nobody(failure: &Failure) -> bool {
    match failure {
        Failure::Unsent(_) | Failure::Lost(_) => true,
        Failure::Status { status, .. } => *status == 429 || *status >= 500,
        Failure::Unusable(_) | Failure::Garbled(_) | Failure::Refused(_) => false,
    }
}

/// What is not as it should be with a bridge that runs. `fix`: what to do where WhatsApp is away.
fn of_health(health: &Result<Health, Failure>, whose: &str, fix: &str) -> Option<Lack> {
    match health {
        Ok(health) if health.is_connected() => None,
        Ok(health) => {
            let what = format!("{whose} runs, and WhatsApp is not connected: it says `{}`", health.status);
            Some(Lack::needed(what, fix))
        }
        Err(Failure::Status { status: 401 | 403, .. }) if whose == THEIRS => Some(Lack::needed(
            format!("{whose} wants to hear another secret"),
            "set WHATSAPP_BRIDGE_SECRET to what it was started with",
        )),
        Err(failure) if whose == THEIRS => Some(Lack::needed(
            format!("what answers there is no bridge of WhatsApp ({failure})"),
            "correct WHATSAPP_BRIDGE_URL: it is where /health of the bridge answers",
        )),
        Err(failure) => Some(Lack::needed(
            format!("{whose} runs and does not answer ({failure})"),
            "`hermes gateway restart` starts it again",
        )),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::*;

    fn machine() -> Machine {
        Machine {
            node: Ok((20, 19)),
            bridge: Present::Packages(Ok(Installed::Current)),
            account: Ok(Some("4999".to_owned())),
            runs: Runs::No,
        }
    }

    fn said(trial: &Trial) -> String {
        trial.lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.fix)).collect::<Vec<_>>().join("; ")
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the bridge says it")]
    fn health(status: &str) -> Result<Health, Failure> {
        Ok(Health { status: status.to_owned(), ..Health::default() })
    }

    fn status(status: u16) -> Result<Health, Failure> {
        Err(Failure::Status { what: "health", status, text: String::new(), after: None })
    }

    #[test]
    fn what_is_there_is_said_with_what_was_not_asked() {
        let trial = judge(&machine());
        assert_eq!(
            (trial.verdict, trial.message.as_str(), said(&trial).as_str()),
            (
                Verdict::Fine,
                "Node.js 20.19, the bridge is installed, 4999 is linked; no bridge runs, so WhatsApp was not asked",
                ""
            )
        );
        let connected = judge(&Machine { runs: Runs::Ours(health("connected")), ..machine() });
        assert!(connected.verdict == Verdict::Fine && connected.message.ends_with("WhatsApp is connected"));
    }

    #[test]
    fn everything_that_is_missing_is_said_at_once() {
        let nothing = Machine {
            node: Err(NoNode::Missing("there is no `node`".to_owned())),
            bridge: Present::Packages(Ok(Installed::Nothing)),
            account: Ok(None),
            runs: Runs::No,
        };
        let trial = judge(&nothing);
        assert_eq!((trial.verdict, trial.lacks.len()), (Verdict::Lacking, 3));
        for fix in ["install Node.js 20", "hermes whatsapp install", "hermes whatsapp pair"] {
            assert!(said(&trial).contains(fix), "{trial:?}");
        }
        let gone = || io::Error::new(io::ErrorKind::PermissionDenied, "no");
        for (machine, verdict, says) in [
            (
                Machine { bridge: Present::Packages(Ok(Installed::Other("6.0".into()))), ..machine() },
                Verdict::Fine,
                "other packages",
            ),
            (
                Machine { bridge: Present::Script("/x".into(), Ok(false)), ..machine() },
                Verdict::Lacking,
                "`/x` is not there",
            ),
            (
                Machine { bridge: Present::Packages(Err(gone())), ..machine() },
                Verdict::Lacking,
                "cannot be looked at",
            ),
            (Machine { account: Err(gone()), ..machine() }, Verdict::Lacking, "pair --again"),
            (Machine { runs: Runs::Others(77), ..machine() }, Verdict::Lacking, "process 77"),
            (
                Machine { runs: Runs::Ours(health("connecting")), ..machine() },
                Verdict::Lacking,
                "it says `connecting`",
            ),
            (
                Machine { runs: Runs::Ours(status(401)), ..machine() },
                Verdict::Lacking,
                "hermes gateway restart",
            ),
        ] {
            let trial = judge(&machine);
            assert_eq!(trial.verdict, verdict, "{trial:?}");
            assert!(said(&trial).contains(says), "{trial:?}");
        }
    }

    #[test]
    fn a_bridge_of_somebody_else_is_told_from_what_is_none() {
        for (health, verdict, says) in [
            (health("connected"), Verdict::Fine, ""),
            (health("disconnected"), Verdict::Lacking, "it says `disconnected`"),
            (status(401), Verdict::Lacking, "WHATSAPP_BRIDGE_SECRET"),
            (status(404), Verdict::Lacking, "WHATSAPP_BRIDGE_URL"),
            (Err(Failure::Garbled("health")), Verdict::Lacking, "no bridge of WhatsApp"),
            (status(503), Verdict::Unreachable, ""),
            (Err(Failure::Unsent("x".into())), Verdict::Unreachable, ""),
            (Err(Failure::Unusable("x".into())), Verdict::NotAsked, ""),
        ] {
            let trial = of_theirs(&health);
            assert_eq!(trial.verdict, verdict, "{trial:?}");
            assert!(said(&trial).contains(says), "{trial:?}");
        }
    }
}
