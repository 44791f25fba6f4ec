//! `hermes gateway stop|start|restart` of a profile that the root home's gateway serves: the marker `gateway.parked` in its home.
//!
//! A stop puts the marker there before it asks anybody, so that neither this gateway nor the Python program's serves the profile
//! again by itself; a start or restart takes it away first. It works as well where no gateway runs. Profiles with a gateway of their
//! own, and the default profile, have none: their processes are ended instead. The texts are those of the Python program (0.21.4).

use hermes_gateway::client::{Client, Outcome};
use hermes_host::homes;
use hermes_host::refusal::Io;
use hermes_wire::ProfileName;
use hermes_wire::latest::ClientRequest;

use super::ONE;
use super::answer::{Done, Say, outcome};
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::settings::judge;

/// Whether it is a profile that can be parked.
pub(super) fn concerns(selection: &Selection, env: &Surroundings) -> bool {
    let name = &selection.profile;
    selection.is_named() && !name.is_default() && !judge::stands_alone(&selection.root, name, env)
}

/// Whether it is parked, as far as can be seen.
pub(super) fn is_parked(selection: &Selection, env: &Surroundings) -> bool {
    concerns(selection, env) && homes::is_parked(&selection.home()).unwrap_or(false)
}

/// Puts the marker there.
pub(super) fn begin(selection: &Selection) -> Result<bool, HermesError> {
    let home = selection.home();
    Ok(homes::park(&home).map_err(Io::at("make", home.parked()))?)
}

/// Takes the marker away. Whether there was one.
pub(super) fn end(selection: &Selection, env: &Surroundings) -> Result<bool, HermesError> {
    if !concerns(selection, env) {
        return Ok(false);
    }
    let home = selection.home();
    Ok(homes::unpark(&home).map_err(Io::at("remove", home.parked()))?)
}

/// What is said of a profile that is parked now.
pub(super) fn parked(name: &ProfileName) -> String {
    format!(
        "✓ Profile '{name}' parked; its bots and cron are stopped. Start again with: hermes -p {name} gateway start"
    )
}

/// What is said of one that is not parked any more.
pub(super) fn served(name: &ProfileName) -> String {
    format!("✓ Profile '{name}' served by the host gateway.")
}

/// Asks, and says `text` once it is done; from inside a turn, which is not waited for, what the gateway says.
pub(super) fn ask(
    client: Client,
    request: &ClientRequest,
    text: &str,
    say: &mut Say,
) -> Result<Done, HermesError> {
    match client.ask(request, ONE, |line| say.progress(line))? {
        Outcome::Done(line) if line.starts_with("profile '") => Ok(Done::changed(text)),
        other => outcome(other, text),
    }
}
