//! `hermes profile rename`.

use std::fmt::Write as _;

use hermes_wire::{ProfileHome, ProfileName, exit};

use super::super::Call;
use super::super::output::Output;
use super::parse;
use crate::error::HermesError;
use crate::profile::describe;
use crate::profile::error::ProfileError;
use crate::profile::rename::{self, Renamed};
use crate::profile::staging;

pub(super) fn run(old: &str, new: &str, json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let root = &selection.root;
    let from = parse(old)?;
    let to = parse(new);
    if from.is_default() && !to.as_ref().is_ok_and(ProfileName::is_default) {
        return show_as(new, json, &root.profile(&from), out);
    }
    let to = to?;
    if to.is_default() {
        return Err(ProfileError::RenameToDefault.into());
    }
    if !root.profile(&from).path().is_dir() {
        return Err(ProfileError::Missing(from).into());
    }
    // What cannot be looked at is found out by the rename itself.
    if staging::is_taken(root, &to).unwrap_or(false) {
        return Err(ProfileError::Taken(to).into());
    }
    let done = rename::rename(root, &call.env, call.aliases().ok().as_ref(), &from, &to)?;
    if json {
        out.line(&format!("{:#}", value(&from, &to, &done)))?;
        return Ok(exit::OK);
    }
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    done.stopped.line().into_iter().for_each(&mut line);
    line(format!("✓ Renamed {from} → {to}"));
    if let Some(why) = &done.alias_refused {
        line(format!("⚠ Cannot create alias '{to}' — {why}"));
    }
    for alias in &done.aliases {
        line(format!("✓ Alias updated: {}", alias.name));
    }
    if let Some(unit) = &done.unit {
        line(format!("✓ Service moved: {unit}"));
    }
    if done.sticky {
        line(format!("✓ Active profile updated: {to}"));
    }
    done.told.line().into_iter().for_each(&mut line);
    for warning in &done.warnings {
        line(format!("⚠ {warning}"));
    }
    line(format!("\nProfile renamed: {old} → {new}\nPath: {}\n", done.home));
    out.write(&text)?;
    Ok(exit::OK)
}

/// The default profile keeps its name, which stands for the root home; what people are shown is another matter.
fn show_as(new: &str, json: bool, home: &ProfileHome, mut out: Output) -> Result<u8, HermesError> {
    let name = new.trim();
    describe::show_as(home.path(), name)?;
    if json {
        let value =
            serde_json::json!({ "schema": 1, "from": "default", "to": "default", "display_name": name });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    out.write(&format!(
        "✓ default is shown as '{name}'\n\nIts name stays 'default': `-p default`, files and services are as they were.\n\
         Path: {}\n\n",
        home.path()
    ))?;
    Ok(exit::OK)
}

fn value(from: &ProfileName, to: &ProfileName, done: &Renamed) -> serde_json::Value {
    serde_json::json!({
        "schema": 1,
        "from": from,
        "to": to,
        "home": done.home,
        "stopped_pid": done.stopped.pid(),
        "aliases": done.aliases.iter().map(|alias| &alias.name).collect::<Vec<_>>(),
        "alias_refused": done.alias_refused.as_ref().map(ToString::to_string),
        "unit": done.unit,
        "sticky": done.sticky,
        "gateway": done.told.json(),
        "warnings": done.warnings,
    })
}
