//! What a profile has stored, changed by whoever may: the worker of a gateway that serves the profile, else this command.
//!
//! # Theory of operation
//!
//! Reading is [`hermes_worker::stored::Look`]'s, and needs nobody. A change is asked for over the data socket where a gateway serves the profile;
//! a sleeping worker is woken by that. Otherwise the command does it by itself, by the same code, in one transaction. Who serves the
//! profile may change at that moment; both ways look for turns that run, in the same transaction, so that nothing is taken from under one.
//! Where the Python program's gateway serves the profile nothing is changed: its turns cannot be seen.

mod error;

use hermes_gateway::client::ClientError;
use hermes_gateway::predecessor::Predecessor;
use hermes_wire::stored::{CHANGE, Change, Changed, MOST, Order, SCHEMA};
use hermes_wire::terminal::Said;
use hermes_worker::stored::{self, Look};

use crate::chat::line::{Heard, Line};
use crate::chat::way::Way;
use crate::chat::{self, ChatError};
use crate::home::{Selection, Surroundings};

pub use error::StoredError;

/// Workers that may be gone when they are asked.
const TRIES: u32 = 3;

/// The selected profile's database, to read; `None`: nothing was ever stored.
pub(crate) fn look(selection: &Selection) -> Result<Option<Look>, StoredError> {
    Ok(Look::into(&selection.home())?)
}

/// Whether a gateway serves the profile.
pub(crate) fn is_served(selection: &Selection, env: &Surroundings) -> Result<bool, StoredError> {
    Ok(Way::if_served(selection, env)?.is_some())
}

/// Refuses where the Python program's gateway serves the profile.
pub(crate) fn refuse_beside_predecessor(selection: &Selection) -> Result<(), StoredError> {
    let profile = &selection.profile;
    let own = selection.home();
    let root = Predecessor::find(selection.root.path()).filter(|found| found.serves(profile));
    let found = root.or_else(|| Predecessor::find(own.path()).filter(|found| found.serves(profile)));
    match found {
        Some(found) => Err(StoredError::Predecessor {
            profile: profile.clone(),
            pid: found.pid,
            take_over: found.take_over(),
        }),
        None => Ok(()),
    }
}

/// Has a change made.
pub(crate) fn change(
    selection: &Selection,
    env: &Surroundings,
    change: &Change,
) -> Result<Changed, StoredError> {
    for _ in 0..TRIES {
        let Some(way) = Way::if_served(selection, env)? else { break };
        // One that went before it was asked has done nothing; whoever is there now is asked, if anybody is.
        if let Some(changed) = ask(way, selection, change)? {
            return Ok(changed);
        }
    }
    refuse_beside_predecessor(selection)?;
    Ok(stored::change(&selection.home(), change)?)
}

/// Has the same change made of any number of things, some at a time, so that nobody waits for long.
pub(crate) fn change_each<T: Clone>(
    selection: &Selection,
    env: &Surroundings,
    all: &[T],
    of: impl Fn(Vec<T>) -> Change,
) -> Result<Changed, StoredError> {
    let mut whole = Changed::default();
    for some in all.chunks(MOST) {
        let changed = change(selection, env, &of(some.to_vec()))?;
        whole.done.extend(changed.done);
        whole.kept.extend(changed.kept);
    }
    Ok(whole)
}

/// Asks a gateway's worker; `None`: nobody is there any more, and nothing was asked.
fn ask(mut way: Way<'_>, selection: &Selection, change: &Change) -> Result<Option<Changed>, StoredError> {
    let profile = selection.profile.clone();
    let stream = match way.connect() {
        Ok(stream) => stream,
        Err(ClientError::NobodyThere { .. }) => return Ok(None),
        Err(source) => return Err(ChatError::Gateway { profile, source }.into()),
    };
    let order = Order { schema: SCHEMA, change: change.clone() };
    let body = serde_json::to_vec(&order).expect("texts and numbers always serialise");
    let mut line = Line::ask(stream, "POST", CHANGE, &body);
    loop {
        match chat::next(&mut line, &mut way, &mut || false)? {
            Heard::Line(Said::Changed(changed)) => return Ok(Some(changed)),
            Heard::Line(Said::Failed { code, message, hint, .. }) => {
                return Err(ChatError::Failed { code, message, hint }.into());
            }
            Heard::Line(_) => {}
            Heard::NotFound => return Err(ChatError::Older { profile }.into()),
            Heard::End | Heard::Nothing => return Err(StoredError::Lost { profile }),
        }
    }
}
