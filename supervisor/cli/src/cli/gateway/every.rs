//! `--all`: each profile of one home, by its own list of profiles. No process is looked for by its name.
//!
//! A start is one for each profile: those that the gateway of the root home serves start there, the others get one of their own. A stop ends
//! each gateway of the home, a restart restarts each.

use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_gateway::watch;
use hermes_wire::{ProfileName, exit};
use serde_json::json;

use super::super::output::Output;
use super::answer::{self, Done, Say};
use super::{restart, start, stop};
use crate::error::HermesError;
use crate::home::{Chosen, Selection, Surroundings};

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    fn carry_out(self, one: &Selection, env: &Surroundings, say: &mut Say) -> Result<Done, HermesError> {
        match self {
            Self::Start => start::start(start::How::default(), one, env, say),
            Self::Stop => stop::stop(one, (None, env), say),
            Self::Restart => restart::restart(one, (None, env), say),
        }
    }
}

/// Does it to each, whatever comes of the others; the exit code is 0 where all of it came about, else the first other one.
pub(super) fn each(
    verb: Verb,
    selection: &Selection,
    env: &Surroundings,
    (json, mut out): (bool, Output),
) -> Result<u8, HermesError> {
    let whole = Selection { dangling: None, ..selection.clone() };
    let targets = targets(verb, &whole);
    if targets.is_empty() && !json {
        let line = format!(
            "✓ Nothing to {}: no gateway runs for any profile of `{}`",
            verb.name(),
            whole.root.path()
        );
        out.line(&line)?;
        return Ok(exit::OK);
    }
    let mut say = Say::new(out, json);
    let (mut code, mut changed, mut failed, mut objects) = (exit::OK, false, 0, Vec::new());
    for one in &targets {
        let result = verb.carry_out(one, env, &mut say);
        let own = answer::code(&result);
        changed |= result.as_ref().is_ok_and(Done::has_changed);
        failed += usize::from(own != exit::OK);
        code = if code == exit::OK { own } else { code };
        if json {
            objects.push(answer::object(verb.name(), one, env, &result));
        } else {
            answer::print(&mut say, &result)?;
        }
    }
    if json {
        let object = json!({
            "schema": 1,
            "asked": { "verb": verb.name(), "all": true, "home": whole.root.path() },
            "ok": code == exit::OK,
            "changed": changed,
            "exit_code": code,
            "results": objects,
        });
        say.raw(&answer::pretty(&object))?;
    } else if failed > 0 {
        return Err(HermesError::Refused {
            code,
            message: format!("{} of {} did not come about, as said above", failed, targets.len()),
            hint: None,
        });
    }
    Ok(code)
}

/// Whom it is about, the root home's gateway first, and last where it is ended.
fn targets(verb: Verb, selection: &Selection) -> Vec<Selection> {
    let homes = watch::scan(&selection.root);
    let root =
        Selection { profile: ProfileName::default_profile(), chosen: Chosen::Nobody, ..selection.clone() };
    let named = homes.names().chain(homes.silent_names()).filter(|name| !name.is_default());
    let named =
        named.map(|name| Selection { profile: name.clone(), chosen: Chosen::Flag, ..selection.clone() });
    let runs = |one: &Selection| {
        let home = one.home();
        !matches!(instance::probe(home.path()), Liveness::Stopped) || Predecessor::find(home.path()).is_some()
    };
    let all = std::iter::once(root).chain(named);
    match verb {
        Verb::Start => all.collect(),
        Verb::Restart => all.filter(runs).collect(),
        Verb::Stop => {
            let mut all: Vec<_> = all.filter(runs).collect();
            all.reverse();
            all
        }
    }
}
