//! How a verb that changes something says what came of it: lines for people, or one object for programs.
//!
//! What happens on the way is shown as it comes: on a terminal in one line that the next one replaces, elsewhere a line each; for
//! programs not at all. What somebody has to know (`⚠`) always stays.

use std::io::IsTerminal as _;

use hermes_gateway::client::Outcome;
use hermes_gateway::instance::{self, Liveness};
use hermes_wire::contract::gateway_status::Profile;
use hermes_wire::exit;
use serde_json::{Value, json};

use super::super::output::Output;
use super::super::status;
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};

/// What a verb led to, as it was observed.
#[derive(Debug)]
pub(super) struct Done {
    /// For people.
    line: String,
    /// Whether anything is another way than before.
    changed: bool,
    /// Whether the result was waited for: it is not where a turn asks that would wait for its own end.
    awaited: bool,
    code: u8,
}

impl Done {
    /// It came about.
    pub(super) fn changed(line: impl Into<String>) -> Self {
        Self { line: line.into(), changed: true, awaited: true, code: exit::OK }
    }

    /// It was so before.
    pub(super) fn unchanged(line: impl Into<String>) -> Self {
        Self { changed: false, ..Self::changed(line) }
    }

    /// It will be done.
    pub(super) fn accepted(line: impl Into<String>) -> Self {
        Self { awaited: false, ..Self::changed(line) }
    }

    /// Whether the result was waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// The same, which changes nothing where it `was` so before.
    #[must_use]
    pub(super) fn unless(self, was: bool) -> Self {
        Self { changed: self.changed && !was, ..self }
    }

    /// The same, after which this came about, too. What was so before is not worth a line then.
    #[must_use]
    pub(super) fn then(self, line: &str) -> Self {
        let line = if self.changed { format!("{}\n{line}", self.line) } else { line.to_owned() };
        Self { line, changed: true, ..self }
    }

    /// Whether anything is another way than before.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// It came about, and not all of it.
    pub(super) fn partly(line: impl Into<String>, code: u8) -> Self {
        Self { code, ..Self::changed(line) }
    }
}

/// What a gateway that was asked answers, as the result of a verb.
pub(super) fn outcome(outcome: Outcome, success: &str) -> Result<Done, HermesError> {
    match outcome {
        Outcome::Done(line) if line == hermes_gateway::app::UNAWAITED => {
            Ok(Done::accepted(format!("✓ {line}")))
        }
        Outcome::Done(line) => {
            let line = if line.is_empty() { success.to_owned() } else { line };
            Ok(Done::changed(if line.starts_with(['✓', '⚠']) { line } else { format!("✓ {line}") }))
        }
        Outcome::Refused { code, message, hint } => Err(HermesError::Refused { code, message, hint }),
    }
}

/// Where a verb says what happens on the way.
pub(super) struct Say {
    out: Output,
    json: bool,
    terminal: bool,
    /// A line of progress stands on the terminal.
    open: bool,
}

impl Say {
    pub(super) fn new(out: Output, json: bool) -> Self {
        Self { out, json, terminal: std::io::stdout().is_terminal(), open: false }
    }

    /// What happens.
    pub(super) fn progress(&mut self, line: &str) {
        if self.json {
            return;
        }
        // Output nobody reads any more stops nothing that was begun.
        if self.terminal && !line.starts_with('⚠') {
            let _ = self.out.replace_line(&format!("  {line}"));
            self.open = true;
        } else {
            self.close();
            let _ = self.out.line(&format!("  {line}"));
        }
    }

    /// A report on its own.
    pub(super) fn text(&mut self, text: &str) -> Result<(), HermesError> {
        if self.json {
            return Ok(());
        }
        self.close();
        Ok(self.out.write(text)?)
    }

    /// As it is, for programs.
    pub(super) fn raw(&mut self, text: &str) -> Result<(), HermesError> {
        Ok(self.out.write(text)?)
    }

    /// Takes the line of progress away.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            let _ = self.out.replace_line("");
        }
    }

    /// The last line; the exit code.
    fn end(&mut self, done: &Done) -> Result<u8, HermesError> {
        self.close();
        self.out.line(&done.line)?;
        Ok(done.code)
    }
}

/// Carries a verb out and says what came of it.
pub(super) fn answer(
    verb: &'static str,
    (selection, env): (&Selection, &Surroundings),
    mut say: Say,
    act: impl FnOnce(&mut Say) -> Result<Done, HermesError>,
) -> Result<u8, HermesError> {
    let result = act(&mut say);
    if !say.json {
        say.close();
        return say.end(&result?);
    }
    let code = code(&result);
    say.out.write(&pretty(&object(verb, selection, env, &result)))?;
    Ok(code)
}

/// The exit code of a result.
pub(super) fn code(result: &Result<Done, HermesError>) -> u8 {
    match result {
        Ok(done) => done.code,
        Err(error) => error.exit_code(),
    }
}

/// For people: the line of a result, or its error.
pub(super) fn print(say: &mut Say, result: &Result<Done, HermesError>) -> Result<(), HermesError> {
    match result {
        Ok(done) => say.end(done).map(drop),
        Err(error) => {
            say.close();
            crate::report::report(error);
            Ok(())
        }
    }
}

/// An object as text.
pub(super) fn pretty(object: &Value) -> String {
    format!("{object:#}\n")
}

/// The object for programs.
pub(super) fn object(
    verb: &str,
    selection: &Selection,
    env: &Surroundings,
    result: &Result<Done, HermesError>,
) -> Value {
    let named = selection.is_named().then_some(&selection.profile);
    let (ok, changed, awaited, message, hint) = match result {
        Ok(done) => (done.code == exit::OK, done.changed, done.awaited, bare(&done.line), None),
        Err(error) => (false, false, true, bare(&error.to_string()), error.hint()),
    };
    json!({
        "schema": 1,
        "asked": { "verb": verb, "profile": named, "home": selection.root.path() },
        "ok": ok,
        "changed": changed,
        "awaited": awaited,
        "exit_code": code(result),
        "message": message,
        "hint": hint,
        "observed": observed(selection, env),
    })
}

/// A line without its mark.
fn bare(line: &str) -> String {
    line.trim_start_matches(['✓', '⚠', '✗']).trim().to_owned()
}

/// What is there now: the gateway that the verb was about, and the profile where one was named.
fn observed(selection: &Selection, env: &Surroundings) -> Value {
    let named = selection.is_named().then_some(&selection.profile);
    let status = status::look(selection, named, env);
    let own = selection.home();
    let of_its_own = match instance::probe(own.path()) {
        Liveness::Running { record } if own.path() != selection.root.path() => Some(record.map(|r| r.pid)),
        _ => None,
    };
    let gateway = match of_its_own {
        Some(pid) => json!({ "home": own.path(), "state": "running", "pid": pid }),
        None => json!({
            "home": status.gateway.home,
            "state": status.gateway.state,
            "pid": status.gateway.pid,
            "profiles_ready": status.gateway.profiles_ready,
            "profiles_desired": status.gateway.profiles_desired,
        }),
    };
    let profile = named.and_then(|name| status.profiles.iter().find(|p| p.name == name.as_str()));
    json!({ "gateway": gateway, "profile": profile.map(of_profile) })
}

fn of_profile(profile: &Profile) -> Value {
    json!({
        "name": profile.name,
        "desired": profile.desired,
        "state": profile.state,
        "ready": profile.ready,
        "pid": profile.pid,
        "reason": profile.reason,
    })
}
