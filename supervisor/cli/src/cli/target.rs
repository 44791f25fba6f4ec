//! Which gateway `hermes gateway …` is about.
//!
//! A profile that is named is meant. Otherwise: where the root home's gateway serves all profiles, that one as a whole, whatever
//! the sticky profile is; where it does not, the sticky profile, as with every other command. Whenever a sticky profile is set,
//! it is said which of the two was taken.

use hermes_gateway::client::Client;
use hermes_gateway::predecessor::Predecessor;
use hermes_wire::RootHome;

use super::Call;
use super::output;
use crate::error::HermesError;
use crate::home::{Chosen, Selection, Surroundings};
use crate::settings::judge;

/// The gateway a command is about; says so where a sticky profile is set.
pub(super) fn of(call: &Call) -> Result<Selection, HermesError> {
    let selection = call.select()?;
    let is_sticky = selection.chosen == Chosen::Sticky;
    if !is_sticky && selection.dangling.is_none() {
        return Ok(selection);
    }
    if is_multiplexer(&selection.root, &call.env) {
        // One that is gone is warned about.
        let selection = call.select_and_warn()?;
        if is_sticky {
            let name = &selection.profile;
            output::note(&format!(
                "this is about the gateway of all profiles; `-p {name}` is about the sticky profile '{name}' alone"
            ));
        }
        return Ok(selection.pinned());
    }
    let selection = selection.strict()?;
    output::note(&format!(
        "this is about the sticky profile '{}'; `-p default` is about the root home's gateway",
        selection.profile
    ));
    Ok(selection)
}

/// Whether the root home's gateway serves all profiles: the one that runs, else the one that would start.
pub(super) fn is_multiplexer(root: &RootHome, env: &Surroundings) -> bool {
    if let Ok(status) = Client::connect(root.path(), &env.sockets).and_then(|client| client.status(None)) {
        return status.gateway.mode.as_deref() == Some("multiplex");
    }
    if let Some(predecessor) = Predecessor::find(root.path()) {
        return predecessor.served.len() > 1;
    }
    judge::settings(root, env).is_some_and(|settings| settings.multiplex)
}
