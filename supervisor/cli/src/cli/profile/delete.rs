//! `hermes profile delete`: shows what would go, asks, and removes.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use hermes_wire::{ProfileName, exit};

use super::super::Call;
use super::super::output::Output;
use super::existing;
use crate::error::HermesError;
use crate::home::Selection;
use crate::profile::delete::{self, Deleted};
use crate::profile::error::ProfileError;
use crate::profile::overview::{self, Running};
use crate::skills::installed;

/// Longest answer that is read, in bytes.
const ANSWER: u64 = 1024;

pub(super) fn run(
    typed: &str,
    yes: bool,
    json: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let name = existing(typed, &selection.root)?;
    if name.is_default() {
        return Err(ProfileError::DeleteDefault.into());
    }
    if !json {
        out.write(&preview(&name, &selection, call))?;
    }
    if !yes && !confirmed(&name, &mut out)? {
        return Ok(exit::FAILURE);
    }
    let done = delete::delete(&selection.root, &call.env, call.aliases().ok().as_ref(), &name)?;
    if json {
        out.line(&format!("{:#}", value(&name, &done)))?;
    } else {
        out.write(&report(&name, &done))?;
    }
    Ok(if done.remains.is_some() { exit::FAILURE } else { exit::OK })
}

fn preview(name: &ProfileName, selection: &Selection, call: &Call) -> String {
    let running = Running::ask(&selection.root, &call.env);
    let aliases = call.aliases().map(|dir| dir.all()).unwrap_or_default();
    let facts = overview::look(&selection.root, name, &running, &aliases);
    let mut text = format!("\nProfile: {name}\nPath:    {}\n", facts.home);
    if let Some(model) = &facts.model {
        let provider = facts.provider.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
        let _ = writeln!(text, "Model:   {model}{provider}");
    }
    let skills = installed::count(&facts.home);
    if skills > 0 {
        let _ = writeln!(text, "Skills:  {skills}");
    }
    if let Some(distribution) = &facts.distribution {
        let _ = writeln!(text, "Distribution: {}", distribution.label());
    }
    text +=
        "\nThis will permanently delete:\n  • All config, API keys, memories, sessions, skills, cron jobs\n";
    for alias in aliases.iter().filter(|alias| alias.profile == name.as_str()) {
        let _ = writeln!(text, "  • Command alias ({})", alias.path);
    }
    if facts.running {
        text += "  ⚠ Gateway is running — it will be stopped.\n";
    }
    text.push('\n');
    text
}

/// Reads one line, from a person or a pipe.
fn confirmed(name: &ProfileName, out: &mut Output) -> Result<bool, HermesError> {
    out.write(&format!("Type '{name}' to confirm: "))?;
    let mut answer = String::new();
    let input = std::io::stdin();
    let terminal = input.is_terminal();
    let read = std::io::Read::take(input.lock(), ANSWER).read_line(&mut answer);
    if !terminal {
        out.line("")?;
    }
    match read {
        // A script that gave nothing to read made a mistake; a person who pressed Ctrl-D did not.
        Ok(0) | Err(_) if !terminal => Err(ProfileError::NoConfirmation.into()),
        Ok(0) | Err(_) => {
            out.line("\nCancelled.")?;
            Ok(false)
        }
        Ok(_) if answer.trim() == name.as_str() => Ok(true),
        Ok(_) => {
            out.line("Cancelled.")?;
            Ok(false)
        }
    }
}

fn report(name: &ProfileName, done: &Deleted) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    match &done.unit {
        Some(Ok(unit)) => line(format!("✓ Service {unit} removed")),
        Some(Err(why)) => line(format!("⚠ Service cleanup: {why}")),
        None => {}
    }
    done.stopped.line().into_iter().for_each(&mut line);
    if done.unrouted {
        line("✓ Gateway: the profile is no longer served".to_owned());
    }
    for alias in &done.aliases {
        line(format!("✓ Removed {}", alias.path));
    }
    match &done.link_to {
        Some(target) => {
            line(format!("✓ Removed the link {} (what it leads to, {target}, was not touched)", done.home));
        }
        None => line(format!("✓ Removed {}", done.home)),
    }
    if done.sticky {
        line("✓ Active profile reset to default".to_owned());
    }
    if let Some((path, why)) = &done.remains {
        line(format!(
            "⚠ Could not remove profile directory {path}: {why}\n  The profile is gone; the next command that makes one tries to remove the rest."
        ));
    }
    line(format!("\nProfile '{name}' deleted."));
    text
}

fn value(name: &ProfileName, done: &Deleted) -> serde_json::Value {
    let (unit, unit_error) = match &done.unit {
        Some(Ok(unit)) => (Some(unit), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    serde_json::json!({
        "schema": 1,
        "name": name,
        "home": done.home,
        "stopped_pid": done.stopped.pid(),
        "unit": unit,
        "unit_error": unit_error,
        "unrouted": done.unrouted,
        "aliases": done.aliases.iter().map(|alias| &alias.name).collect::<Vec<_>>(),
        "link_to": done.link_to,
        "sticky_reset": done.sticky,
        "remains": done.remains.as_ref().map(|(path, _)| path),
    })
}
