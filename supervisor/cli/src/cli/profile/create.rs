//! `hermes profile create`.

use std::fmt::Write as _;

use hermes_wire::{ProfileName, RootHome, exit};

use super::super::output::Output;
use super::super::{Call, target};
use super::progress::Progress;
use super::{CreateArgs, alias_prefix, not_on_path, parse, tilde};
use crate::error::HermesError;
use crate::profile::alias::{AliasDir, AliasError, Created};
use crate::profile::create::{self, Extent, Made, Plan};
use crate::profile::error::ProfileError;
use crate::profile::notify;
use crate::profile::overview::Running;
use crate::profile::staging;
use crate::skills::sync::Synced;

pub(super) fn run(args: &CreateArgs, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let cloning = args.clone || args.clone_all || args.clone_from.is_some();
    if args.no_skills && cloning {
        return Err(ProfileError::NoSkillsWithClone.into());
    }
    if args.clone_channels && !cloning {
        return Err(ProfileError::ChannelsWithoutClone.into());
    }
    let name = parse(&args.name)?;
    if name.is_default() {
        return Err(ProfileError::CreateDefault.into());
    }
    // Only a copy of the selected profile needs that one to exist.
    let selection =
        if cloning && args.clone_from.is_none() { call.select_strict()? } else { call.select_and_warn()? };
    let root = &selection.root;
    let home = root.profile(&name);
    // What cannot be looked at is found out when the profile gets its name.
    if staging::is_taken(root, &name).unwrap_or(false) {
        return Err(ProfileError::Exists { name: args.name.clone(), path: home.path().to_owned() }.into());
    }
    let source = match &args.clone_from {
        Some(typed) => Some(parse(typed)?),
        None => cloning.then(|| selection.profile.clone()),
    };
    if let Some(source) = &source {
        must_be_there(root, source)?;
        if args.clone_channels {
            must_not_run(source, call, root)?;
        }
    }
    let extent = if args.clone_all { Extent::Everything } else { Extent::Essentials };
    let plan = Plan {
        root,
        name: &name,
        source: source.as_ref().map(|source| (source, extent)),
        channels: args.clone_channels,
        no_skills: args.no_skills,
        description: args.description.as_deref(),
    };
    let mut progress = Progress::new("copied", cloning);
    let made = create::create(&plan, &mut |bytes| progress.at(bytes));
    drop(progress);
    let made = made?;
    let alias = (!args.no_alias).then(|| make_alias(root, &name, call));
    let told = notify::announce(root, &call.env, &name);
    if args.json {
        let mut value = json(&name, &made, &plan, alias.as_ref().map(|a| a.as_ref().map(|(_, c)| c)));
        value["gateway"] = told.json();
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    let mut text = format!("\nProfile '{}' created at {}\n", args.name, made.home.path());
    let (lines, command) = about_alias(alias, &name);
    text += &about_content(&plan, &made, &command);
    text += &lines;
    if let Some(line) = told.line() {
        let _ = writeln!(text, "{line}");
    }
    text += &next_steps(&command, &made, cloning, call);
    out.write(&text)?;
    Ok(exit::OK)
}

/// What is in it, and what is not.
fn about_content(plan: &Plan<'_>, made: &Made, command: &str) -> String {
    let mut text = String::new();
    match plan.source {
        Some((source, Extent::Essentials)) => {
            let _ = writeln!(text, "Cloned config, .env, SOUL.md, and skills from {source}.");
        }
        Some((source, Extent::Everything)) => {
            let _ = writeln!(
                text,
                "Full copy from {source} (excluding session history, backups, and snapshots)."
            );
        }
        None => {}
    }
    match made.skills.as_ref() {
        Some(Synced::Done(outcome)) if outcome.errors.is_empty() => {
            let _ = writeln!(text, "{} bundled skills synced.", outcome.new.len());
        }
        Some(_) => {
            let _ = writeln!(text, "⚠ Skills could not be seeded. Run `{command} update` to retry.");
        }
        None => {}
    }
    if plan.no_skills {
        text += "No bundled skills seeded (--no-skills). Delete .no-bundled-skills in the profile to opt back in.\n";
    }
    if !made.not_copied.is_empty() {
        let _ = writeln!(text, "Not copied: {}", made.not_copied.join(", "));
    }
    text += &about_channels(made, plan.name);
    for warning in &made.warnings {
        let _ = writeln!(text, "⚠ {warning}");
    }
    text
}

/// Makes the alias of a profile that has just been made.
pub(super) fn make_alias(
    root: &RootHome,
    name: &ProfileName,
    call: &Call,
) -> Result<(AliasDir, Created), AliasError> {
    call.aliases().and_then(|dir| dir.create(root, name, None, &alias_prefix(root)).map(|made| (dir, made)))
}

/// Says what became of the alias; with the command that further hints name.
fn about_alias(
    alias: Option<Result<(AliasDir, Created), AliasError>>,
    name: &ProfileName,
) -> (String, String) {
    let mut text = String::new();
    let mut command = format!("hermes -p {name}");
    match alias {
        None => {}
        Some(Ok((dir, alias))) => {
            if let Some(why) = &alias.instead {
                let _ = writeln!(text, "⚠ {why}");
            }
            let _ = writeln!(text, "Wrapper created: {}", alias.path);
            if dir.is_on_path() {
                command = alias.name;
            } else {
                let _ = write!(text, "\n{}", not_on_path(dir.path()));
            }
        }
        Some(Err(why)) => {
            let _ = write!(
                text,
                "\n⚠ Cannot create alias '{name}' — {why}\n  \
                 Choose a custom alias:  hermes profile alias {name} --name <custom>\n  \
                 Or access via flag:     hermes -p {name} status\n"
            );
        }
    }
    (text, command)
}

/// Two that connect with the same credentials are worse than a copy that has to wait: what is not known counts as running.
fn must_not_run(source: &ProfileName, call: &Call, root: &RootHome) -> Result<(), ProfileError> {
    let running = Running::ask(root, &call.env);
    if running.is_running(source, &root.profile(source)) {
        return Err(ProfileError::ChannelsInUse(source.clone()));
    }
    if running.is_unsure(root) && (source.is_default() || target::is_multiplexer(root, &call.env)) {
        return Err(ProfileError::ChannelsPerhapsInUse(source.clone()));
    }
    Ok(())
}

fn must_be_there(root: &RootHome, source: &ProfileName) -> Result<(), ProfileError> {
    let home = root.profile(source);
    if home.path().is_dir() {
        return Ok(());
    }
    Err(ProfileError::SourceMissing { name: source.clone(), path: home.path().to_owned() })
}

fn about_channels(made: &Made, name: &ProfileName) -> String {
    let mut text = String::new();
    if !made.left_behind.is_empty() {
        let _ = writeln!(
            text,
            "Channels left behind: {} (a bot can serve one profile; set up its own, or use --clone-channels)",
            made.left_behind.join(", ")
        );
    }
    if !made.left_out.is_empty() {
        let _ = writeln!(text, "Left out with them: {}", made.left_out.join(", "));
    }
    for (variable, platform) in &made.shared {
        let _ = writeln!(
            text,
            "⚠ {variable} of {platform} is in both profiles now; change it in '{name}' before it runs"
        );
    }
    text
}

fn next_steps(command: &str, made: &Made, cloned: bool, call: &Call) -> String {
    let home = tilde(made.home.path(), &call.env);
    let width = (command.len() + " gateway start".len() + 4).max(25);
    let mut text = String::from("\nNext steps:\n");
    for (rest, what) in [
        ("setup", "Configure API keys and model"),
        ("status", "See whether it runs"),
        ("gateway start", "Start the messaging gateway"),
    ] {
        let line = format!("{command} {rest}");
        let _ = writeln!(text, "  {line:<width$}{what}");
    }
    text.push('\n');
    if !made.has_keys {
        let _ = writeln!(
            text,
            "  ⚠ This profile has no API keys yet. Run '{command} setup' first; its agent cannot answer without one."
        );
    }
    if cloned {
        let _ = write!(
            text,
            "  Edit {home}/.env for different API keys\n  Edit {home}/SOUL.md for different personality\n"
        );
    } else {
        let _ = writeln!(text, "  Edit {home}/SOUL.md to customize personality");
    }
    text
}

fn json(
    name: &ProfileName,
    made: &Made,
    plan: &Plan<'_>,
    alias: Option<Result<&Created, &AliasError>>,
) -> serde_json::Value {
    let (made_alias, refused) = match alias {
        Some(Ok(created)) => (Some(created), created.instead.as_ref().map(ToString::to_string)),
        Some(Err(why)) => (None, Some(why.to_string())),
        None => (None, None),
    };
    let shared: Vec<_> =
        made.shared.iter().map(|(v, p)| serde_json::json!({ "variable": v, "platform": p })).collect();
    serde_json::json!({
        "schema": 1,
        "name": name,
        "home": made.home.path(),
        "cloned_from": plan.source.map(|(source, _)| source),
        "everything": matches!(plan.source, Some((_, Extent::Everything))),
        "alias": made_alias.map(|created| &created.name),
        "alias_path": made_alias.map(|created| &created.path),
        "alias_refused": refused,
        "channels_left_behind": made.left_behind,
        "left_out": made.left_out,
        "not_copied": made.not_copied,
        "channels_shared": shared,
        "has_keys": made.has_keys,
        "skills": made.skills.as_ref().map(Synced::words),
        "warnings": made.warnings,
    })
}
