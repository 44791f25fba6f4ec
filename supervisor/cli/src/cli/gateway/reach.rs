//! Which gateway a verb goes to, and what is said where none is.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::client::{Client, ClientError};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_host::{clock, wait};
use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::{GatewayStatus, Profile, state};

use super::super::target;
use crate::error::{CommandError, HermesError};
use crate::home::{Selection, Surroundings};
use crate::service;
use crate::settings::judge;

/// Time between two looks at something that is awaited.
pub(super) const LOOK: Duration = Duration::from_millis(25);
/// Time a gateway that has just taken its lock has until it answers.
const STARTING: Duration = Duration::from_secs(3);

/// Connects to the gateway of `home`; `None` when none runs. One that has just begun is waited for.
pub(super) fn connect(home: &Utf8Path, env: &Surroundings) -> Result<Option<Client>, HermesError> {
    let deadline = clock::now() + STARTING;
    loop {
        match Client::connect(home, &env.sockets) {
            Ok(client) => return Ok(Some(client)),
            Err(ClientError::NobodyThere { .. }) => {
                if let Some(predecessor) = Predecessor::find(home) {
                    return Err(HermesError::Predecessor(Box::new(predecessor)));
                }
                let Liveness::Running { record } = instance::probe(home) else { return Ok(None) };
                if clock::now() >= deadline {
                    return Err(silent(home, record.map(|record| record.pid)));
                }
                wait::pause(LOOK);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn silent(home: &Utf8Path, pid: Option<u32>) -> HermesError {
    HermesError::Silent { home: home.to_string(), pid, flag: instance::flag_of(home) }
}

/// The gateway a command about `selection` goes to: a profile's own where it has one, else the root home's.
pub(super) fn gateway_of(
    selection: &Selection,
    env: &Surroundings,
) -> Result<(Client, Utf8PathBuf), HermesError> {
    find(selection, env)?.ok_or_else(|| not_running(selection, env))
}

/// The same; `None` where neither runs.
pub(super) fn find(
    selection: &Selection,
    env: &Surroundings,
) -> Result<Option<(Client, Utf8PathBuf)>, HermesError> {
    let own = selection.home();
    let root = selection.root.path();
    if own.path() != root
        && let Some(client) = connect(own.path(), env)?
    {
        return Ok(Some((client, own.path().to_owned())));
    }
    Ok(connect(root, env)?.map(|client| (client, root.to_owned())))
}

/// The home of the gateway that a verb about `selection` would end as a whole, where it holds its lock and does not answer: `error`
/// is what asking it ended with. A profile that another gateway serves is no reason to end that one.
pub(super) fn unanswered(selection: &Selection, error: &HermesError) -> Option<Utf8PathBuf> {
    let silent = match error {
        HermesError::Silent { .. } => true,
        HermesError::Client(error) => matches!(
            error,
            ClientError::Timeout { .. }
                | ClientError::CutShort
                | ClientError::Io(_)
                | ClientError::NobodyThere { .. }
        ),
        _ => false,
    };
    let runs = |home: &Utf8Path| matches!(instance::probe(home), Liveness::Running { .. });
    let own = selection.home();
    let mine = own.path() != selection.root.path() || !selection.is_named() || selection.profile.is_default();
    (silent && mine && runs(own.path())).then(|| own.path().to_owned())
}

/// No gateway runs; the hint is what starts one.
pub(super) fn not_running(selection: &Selection, env: &Surroundings) -> HermesError {
    let name = &selection.profile;
    let alone = !name.is_default() && !target::is_multiplexer(&selection.root, env);
    let whose = if alone { name.clone() } else { ProfileName::default_profile() };
    let service = service::Owner::new(&selection.root, &whose);
    let flag = service.flag();
    let foreground = format!(
        "`hermes gateway start{flag}` starts it, `hermes gateway run{flag}` runs it in the foreground"
    );
    let hint = match service::find(&service, None, env) {
        Ok(Some(service)) => format!("`{}` starts it; {foreground}", service.command("start")),
        // What cannot be read is named by what would start it.
        Ok(None) | Err(_) => foreground,
    };
    let home = if alone { selection.home().path().to_string() } else { selection.root.path().to_string() };
    HermesError::NotRunning { home, hint }
}

/// What is said of a gateway that is, or was, there: `gateway of profile 'coder' (PID 7)`.
pub(super) fn shown(home: &Utf8Path, selection: &Selection, pid: Option<u32>) -> String {
    let own = home == selection.home().path() && !selection.profile.is_default();
    let of = if own { format!(" of profile '{}'", selection.profile) } else { String::new() };
    let pid = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
    format!("gateway{of}{pid}")
}

/// Whether a gateway of that status serves the profile.
pub(super) fn is_served(status: &GatewayStatus, name: &ProfileName) -> bool {
    mine(status, name)
        .is_some_and(|p| !matches!(p.state.as_str(), state::DETACHED | state::CONFLICT | state::STANDALONE))
}

/// What a status says of a profile.
pub(super) fn mine<'a>(status: &'a GatewayStatus, name: &ProfileName) -> Option<&'a Profile> {
    status.profiles.iter().find(|profile| profile.name == name.as_str())
}

/// Who serves a profile of which nobody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The gateway of the root home.
    Root,
    /// One of its own.
    Own,
}

/// Whose gateway has to run so that the selected profile is served, by the files.
pub(super) fn owner(selection: &Selection, env: &Surroundings) -> Owner {
    let name = &selection.profile;
    if name.is_default() {
        return Owner::Root;
    }
    let settings = judge::settings(&selection.root, env);
    let listed = settings.as_ref().is_none_or(|settings| {
        settings.allowlist.as_ref().is_none_or(|list| list.iter().any(|listed| listed == name.as_str()))
    });
    let multiplex = target::is_multiplexer(&selection.root, env);
    if multiplex && listed && !judge::stands_alone(&selection.root, name, env) {
        Owner::Root
    } else {
        Owner::Own
    }
}

/// The gateway that runs does not have this profile, and its files do not say why.
pub(super) fn not_served(name: &ProfileName, status: &GatewayStatus) -> HermesError {
    let why = "it is not among the profiles that can be served";
    CommandError::NotServed { pid: status.gateway.pid, profile: name.clone(), why, is_odd: true }.into()
}
