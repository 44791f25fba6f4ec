//! `hermes memory`: what a profile keeps between sessions.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hermes_config::{Input, MAX_FILE_LEN, Memory};
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::latest::Role;
use hermes_wire::text::visible;
use hermes_wire::{ProfileHome, ProfileName, exit};
use hermes_worker::REGISTRY;
use hermes_worker::memory::{self, Target};

use super::Call;
use super::output::{self, Output};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct MemoryArgs {
    #[command(subcommand)]
    command: MemoryCommand,
}

#[derive(Debug, Subcommand)]
enum MemoryCommand {
    /// Show what the selected profile keeps between sessions.
    #[command(
        after_help = "The files are memories/MEMORY.md and memories/USER.md in the profile's home, entries separated by a line of `§`.\n\n\
        Examples:\n  hermes memory show\n  hermes -p coder memory show --json"
    )]
    Show {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes memory`.
pub(super) fn run(args: &MemoryArgs, call: &Call) -> Result<u8, HermesError> {
    let MemoryCommand::Show { json } = args.command;
    let mut out = Output::stdout();
    let selection = call.select_and_warn()?;
    let home = selection.home();
    let settings = settings(&selection.profile, &home);
    let mut code = exit::OK;
    let mut read = |target: Target| match memory::read(&home, target, &settings) {
        Ok(contents) => Some(contents),
        Err(error) => {
            output::warn(&format!("`{}` cannot be read: {error}", memory::path(&home, target)));
            code = exit::FAILURE;
            None
        }
    };
    let all = Target::ALL.map(|target| (target, read(target)));
    if json {
        let stores: Vec<serde_json::Value> = all
            .iter()
            .filter_map(|(target, contents)| {
                let contents = contents.as_ref()?;
                let entry = |(text, blocked): &(String, Vec<String>)| serde_json::json!({"text": text, "blocked": blocked});
                Some(serde_json::json!({
                    "target": target.name(),
                    "path": memory::path(&home, *target),
                    "enabled": target.notes(&settings).enabled,
                    "limit": target.notes(&settings).limit,
                    "usage": contents.usage,
                    "entries": contents.entries.iter().map(entry).collect::<Vec<_>>(),
                }))
            })
            .collect();
        let value = serde_json::json!({"schema": 1, "profile": selection.profile, "home": home.path(), "memories": stores});
        out.line(&format!("{value:#}"))?;
        return Ok(code);
    }
    for (at, (target, contents)) in all.iter().enumerate() {
        let Some(contents) = contents else { continue };
        let gap = if at == 0 { "" } else { "\n" };
        out.write(&format!("{gap}{}", shown(&home, *target, &settings, contents)))?;
    }
    Ok(code)
}

fn shown(home: &ProfileHome, target: Target, settings: &Memory, contents: &memory::Contents) -> String {
    let off = if target.notes(settings).enabled { "" } else { ", turned off" };
    let mut text = format!("{} ({}{off})  {}\n", target.name(), contents.usage, memory::path(home, target));
    if contents.entries.is_empty() {
        text.push_str("  nothing\n");
    }
    for (entry, blocked) in &contents.entries {
        for (at, line) in entry.lines().enumerate() {
            let mark = if at == 0 { "-" } else { " " };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {mark} {}", visible(line));
        }
        if !blocked.is_empty() {
            let _ = writeln!(
                text,
                "    kept out of the prompt: it looks like an attack ({})",
                blocked.join(", ")
            );
        }
    }
    text
}

/// What the profile's files say; what holds without them where they cannot be used.
fn settings(profile: &ProfileName, home: &ProfileHome) -> Memory {
    let said = |why: &str| {
        output::warn(&format!("`{}` cannot be {why}; limits are those without it", home.config()));
    };
    let yaml = match disk::read_bounded(&home.config(), MAX_FILE_LEN).or_absent() {
        Ok(yaml) => yaml,
        Err(error) => {
            said(&format!("read ({error})"));
            return Memory::default();
        }
    };
    let loaded = hermes_config::load(Input {
        registry: &REGISTRY,
        profile,
        home,
        role: if profile.is_default() { Role::Primary } else { Role::Secondary },
        multiplex: None,
        listeners: &[],
        yaml: yaml.as_deref(),
        env: None,
    });
    if loaded.config.is_none() {
        said("used");
    }
    loaded.config.map(|config| config.memory).unwrap_or_default()
}
