//! `hermes update --skills-only`: the bundled skills of every profile, and the `.env` that each should have.

use std::fmt::Write as _;
use std::io;

use hermes_wire::{ProfileName, RootHome};
use serde_json::{Value, json};

use super::super::output::{self, Output};
use super::{Profiles, code};
use crate::error::HermesError;
use crate::profile::skeleton;
use crate::skills::bundle;
use crate::skills::sync::{self, LIMIT, Synced};

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Report {
    check: bool,
    profiles: Vec<(ProfileName, Synced)>,
    /// Profiles that got a placeholder `.env`.
    seeded: Vec<ProfileName>,
    /// Those that could not get one, with why.
    unseeded: Vec<(ProfileName, io::Error)>,
}

pub(super) fn run(all: &Profiles, check: bool, as_json: bool, mut out: Output) -> Result<u8, HermesError> {
    if as_json {
        let report = sync_all(all, check, |_, _| {});
        out.line(&format!("{:#}", report.json()))?;
        return Ok(code(report.is_good()));
    }
    if all.names.is_empty() {
        out.line("No profiles found.")?;
        return Ok(code(true));
    }
    let head = if check {
        "→ Skills that a sync would bring:"
    } else {
        "→ Syncing bundled skills to all profiles..."
    };
    // A home that hangs is named before it is waited for. Whoever stops reading does not stop the work.
    let mut printed = out.line(head);
    let report = sync_all(all, check, |name, synced| {
        if printed.is_ok() {
            printed = match synced {
                None => out.write(&format!("  {name}: ")),
                Some(synced) => out.line(&synced.words()),
            };
        }
    });
    printed?;
    out.write(&report.about_env())?;
    report.warn();
    Ok(code(report.is_good()))
}

/// Goes through all of them; `say` is told each before and after.
pub(super) fn sync_all(
    all: &Profiles,
    check: bool,
    mut say: impl FnMut(&ProfileName, Option<&Synced>),
) -> Report {
    let mut report = Report { check, profiles: Vec::new(), seeded: Vec::new(), unseeded: Vec::new() };
    for name in &all.names {
        say(name, None);
        let home = all.root.profile(name);
        let synced =
            if check { sync::preview(&home, bundle::all()) } else { sync::sync(&home, bundle::all()) };
        say(name, Some(&synced));
        report.profiles.push((name.clone(), synced));
    }
    for name in all.names.iter().filter(|name| lacks_env(&all.root, name)) {
        let path = all.root.profile(name).env_file();
        match if check { Ok(()) } else { skeleton::seed_file(&path, skeleton::ENV, 0o600) } {
            Ok(()) => report.seeded.push(name.clone()),
            Err(e) => report.unseeded.push((name.clone(), e)),
        }
    }
    report
}

/// The root home may do without: there the shell's variables are meant to count.
fn lacks_env(root: &RootHome, name: &ProfileName) -> bool {
    let path = root.profile(name).env_file();
    let there = fs_err::symlink_metadata(path);
    !name.is_default() && there.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

impl Report {
    pub(super) fn is_good(&self) -> bool {
        self.unseeded.is_empty() && self.profiles.iter().all(|(_, synced)| synced.is_good())
    }

    fn about_env(&self) -> String {
        let mut text = String::new();
        if !self.seeded.is_empty() {
            let names: Vec<&str> = self.seeded.iter().map(ProfileName::as_str).collect();
            let verb = if self.check { "Would seed" } else { "Seeded" };
            let _ = write!(
                text,
                "→ {verb} .env for {} profile(s) (placeholder without keys): {}\n  \
                 ⚠ Keys are never copied from another profile. Put each one's own into its .env.\n",
                names.len(),
                names.join(", ")
            );
        }
        text
    }

    /// What does not fit into a profile's line.
    fn warn(&self) {
        for (name, synced) in &self.profiles {
            match synced {
                Synced::Late => output::warn(&format!(
                    "{name}: its home did not answer within {} s; `hermes update --skills-only` finishes it",
                    LIMIT.as_secs()
                )),
                Synced::Done(outcome) => {
                    for path in &outcome.kept {
                        output::warn(&format!(
                            "{name}: an interrupted sync had left `{path}`; look whether something of yours is in it"
                        ));
                    }
                    if !outcome.yours.is_empty() {
                        output::warn(&format!(
                            "{name}: not brought, because you have skills of that name: {}",
                            outcome.yours.join(", ")
                        ));
                    }
                }
                Synced::OptedOut | Synced::Failed(_) => {}
            }
        }
        for (name, why) in &self.unseeded {
            output::warn(&format!("{name}: its .env could not be written: {why}"));
        }
    }

    pub(super) fn json(&self) -> Value {
        let profiles: Vec<Value> = self.profiles.iter().map(|(name, synced)| entry(name, synced)).collect();
        let failed: Vec<Value> = self
            .unseeded
            .iter()
            .map(|(name, why)| json!({ "name": name, "error": why.to_string() }))
            .collect();
        json!({
            "schema": 1,
            "check": self.check,
            "ok": self.is_good(),
            "profiles": profiles,
            "env_seeded": self.seeded,
            "env_failed": failed,
        })
    }
}

fn entry(name: &ProfileName, synced: &Synced) -> Value {
    let mut value = json!({ "name": name, "words": synced.words() });
    let more = match synced {
        Synced::OptedOut => json!({ "status": "opted_out" }),
        Synced::Late => json!({ "status": "failed", "error": "timed out" }),
        Synced::Failed(why) => json!({ "status": "failed", "error": why }),
        Synced::Done(outcome) => json!({
            "status": if outcome.errors.is_empty() { "synced" } else { "incomplete" },
            "new": outcome.new,
            "updated": outcome.updated,
            "user_modified": outcome.modified,
            "yours": outcome.yours,
            "kept": outcome.kept,
            "errors": outcome.errors,
        }),
    };
    if let (Value::Object(to), Value::Object(from)) = (&mut value, more) {
        to.extend(from);
    }
    value
}
