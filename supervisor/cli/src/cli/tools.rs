//! `hermes tools`: which tools the model of a profile is offered, by whom it is asked, and why not.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hermes_config::{ProfileConfig, Toolsets};
use hermes_wire::exit;
use hermes_worker::REGISTRY;
use hermes_worker::tools::catalogue::{self, Edit, Group};
use serde_json::json;

use super::output::{self, Output};
use super::{Call, config};
use crate::columns::{pad, width};
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::settings::As;
use crate::settings::judge::Part;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hermes tools\n  hermes -p coder tools list --platform webhook\n  hermes tools disable web --platform telegram"
)]
pub(super) struct ToolsArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(subcommand)]
    command: Option<ToolsCommand>,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Who asks: `telegram`, `webhook`, `api_server`, `cli`, …
    #[arg(long, value_name = "NAME", value_hint = clap::ValueHint::Other)]
    platform: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// The group: `web`, `file`, `delegation`, …
    #[arg(value_name = "TOOLSET", value_hint = clap::ValueHint::Other)]
    name: String,
    /// For who asks this way only.
    #[arg(long, value_name = "NAME", value_hint = clap::ValueHint::Other)]
    platform: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ToolsCommand {
    /// List the groups of tools, and who is offered them.
    #[command(
        after_help = "Examples:\n  hermes tools list\n  hermes -p coder tools list --platform webhook --json"
    )]
    List(ListArgs),
    /// Offer a group of tools to the model.
    #[command(
        after_help = "Examples:\n  hermes tools enable messaging\n  hermes tools enable web --platform webhook"
    )]
    Enable(ChangeArgs),
    /// Offer a group of tools to the model no more.
    #[command(
        after_help = "Examples:\n  hermes tools disable terminal\n  hermes -p coder tools disable web --platform telegram"
    )]
    Disable(ChangeArgs),
}

/// `hermes tools`.
pub(super) fn run(args: &ToolsArgs, call: &Call) -> Result<u8, HermesError> {
    match &args.command {
        None => list(&args.list, call),
        Some(ToolsCommand::List(list_args)) => list(list_args, call),
        Some(ToolsCommand::Enable(change)) => turn(change, true, call),
        Some(ToolsCommand::Disable(change)) => turn(change, false, call),
    }
}

/// What a start would make of the profile's files.
fn settings(selection: &Selection, call: &Call) -> ProfileConfig {
    let home = selection.home();
    let loaded = Part::of(&selection.root, &selection.profile, &call.env).look(&selection.profile, &home);
    loaded.config.unwrap_or_else(|| {
        output::warn(&format!("`{}` cannot be used; shown is what holds without it", home.config()));
        ProfileConfig::new(selection.profile.clone())
    })
}

fn groups(config: &ProfileConfig, selection: &Selection) -> Vec<Group> {
    let takes_messages = |platform: &str| REGISTRY.find(platform).is_some_and(|declared| declared.target);
    catalogue::groups(config, &selection.home(), takes_messages)
}

/// Who may ask: what is configured, what has a list of its own, and what every profile has.
fn platforms(config: &ProfileConfig) -> Vec<String> {
    let configured =
        config.platforms.iter().filter(|platform| platform.supported).map(|platform| &platform.name);
    let mut all: Vec<String> = configured.chain(config.toolsets.platforms.keys()).cloned().collect();
    all.extend(["api_server", "webhook"].map(str::to_owned));
    all.sort();
    all.dedup();
    all
}

fn list(args: &ListArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let selection = call.select_and_warn()?;
    let config = settings(&selection, call);
    if let Some(platform) = &args.platform {
        known(platform)?;
    }
    let asked = args.platform.clone().map_or_else(|| platforms(&config), |platform| vec![platform]);
    let groups = groups(&config, &selection);
    let without = catalogue::without_tools(&config.toolsets, &groups);
    if args.json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "home": selection.home().path(),
            "toolsets": groups.iter().map(|group| entry(group, &config.toolsets, &asked)).collect::<Vec<_>>(),
            "without_tools": without,
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    out.write(&table(&groups, &config.toolsets, &asked))?;
    if !without.is_empty() {
        out.line(&format!("\nNamed in config.yaml, without tools here: {}.", without.join(", ")))?;
    }
    Ok(exit::OK)
}

/// Why a group is not offered; none: it is.
fn reason(group: &Group, choice: &Toolsets, platform: &str) -> Option<String> {
    group
        .lacks
        .map(str::to_owned)
        .or_else(|| catalogue::judge(choice, group, platform).err().map(|why| why.to_string()))
}

fn entry(group: &Group, choice: &Toolsets, asked: &[String]) -> serde_json::Value {
    let state = |platform: &String| {
        let reason = reason(group, choice, platform);
        (platform.clone(), json!({"enabled": reason.is_none(), "reason": reason}))
    };
    let platforms: serde_json::Map<_, _> = asked.iter().map(state).collect();
    json!({"name": group.name, "tools": group.tools, "platforms": platforms})
}

/// A column a platform, and below it why something is off; for one platform the reason stands beside.
fn table(groups: &[Group], choice: &Toolsets, asked: &[String]) -> String {
    let mut rows = vec![vec!["TOOLSET".to_owned(), "TOOLS".to_owned()]];
    rows[0].extend(asked.iter().map(|platform| platform.to_uppercase()));
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for group in groups {
        let mut row = vec![group.name.clone(), group.tools.join(", ")];
        for platform in asked {
            let off = reason(group, choice, platform);
            row.push(match (&off, asked) {
                (None, _) => "on".to_owned(),
                (Some(why), [_]) => format!("off: {why}"),
                (Some(_), _) => "off".to_owned(),
            });
            if let Some(why) = off.filter(|_| asked.len() > 1) {
                let at = format!("{} on {platform}", group.name);
                match reasons.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, places)) => places.push(at),
                    None => reasons.push((why, vec![at])),
                }
            }
        }
        rows.push(row);
    }
    let columns = rows[0].len();
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width, false)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for (at, (why, places)) in reasons.iter().enumerate() {
        let _ = writeln!(text, "{}{}: {why}", if at == 0 { "\n" } else { "" }, shortened(places));
    }
    text
}

/// The first places, and how many more there are.
fn shortened(places: &[String]) -> String {
    const SHOWN: usize = 3;
    match places.len().saturating_sub(SHOWN) {
        0 => places.join(", "),
        more => format!("{} and {more} more", places[..SHOWN].join(", ")),
    }
}

/// Refuses a name that is nobody's.
fn known(platform: &str) -> Result<(), HermesError> {
    let others = ["cli", "cron", "acp"];
    if others.contains(&platform) || REGISTRY.find(platform).is_some() {
        return Ok(());
    }
    Err(CommandError::NoSuchPlatform { name: platform.to_owned() }.into())
}

fn turn(args: &ChangeArgs, on: bool, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let config = settings(&selection, call);
    let groups = groups(&config, &selection);
    let ChangeArgs { name, platform } = args;
    if let Some(platform) = platform {
        known(platform)?;
    }
    let Some(group) = groups.iter().find(|group| group.name == *name) else {
        let known = groups.into_iter().map(|group| group.name).collect();
        return Err(CommandError::NoSuchToolset { name: name.clone(), known }.into());
    };
    let choice = &config.toolsets;
    let edits = match platform {
        Some(platform) => catalogue::edits(choice, group, on, platform),
        None => catalogue::edits_everywhere(choice, group, on),
    };
    let mut out = Output::stdout();
    let word = if on { "enabled" } else { "disabled" };
    let whom = platform.as_ref().map(|platform| format!(" on {platform}")).unwrap_or_default();
    let Some((last, before)) = edits.split_last() else {
        out.line(&format!("Toolset '{name}' of profile '{}' is {word}{whom} already.", selection.profile))?;
        return Ok(exit::OK);
    };
    if on && let Some(platform) = platform {
        let after = applied(choice, &edits);
        if let Err(why) = catalogue::judge(&after, group, platform) {
            return Err(CommandError::StaysOff {
                name: name.clone(),
                platform: platform.clone(),
                why: why.to_string(),
            }
            .into());
        }
    }
    config::change(&selection, call, |draft| {
        let mut set = |edit: &Edit| draft.set(&edit.key, &json!(edit.names).to_string(), As::Json);
        before.iter().try_for_each(|edit| set(edit).map(drop))?;
        set(last)
    })?;
    out.line(&format!("✓ Toolset '{name}' of profile '{}' is {word}{whom}.", selection.profile))?;
    for Edit { key, names } in &edits {
        out.line(&format!("  {key}: [{}]", names.join(", ")))?;
    }
    if let Some(lacks) = group.lacks.filter(|_| on) {
        output::warn(&format!("it has no tool here yet: {lacks}"));
    }
    Ok(exit::OK)
}

/// The lists as they are to be.
fn applied(choice: &Toolsets, edits: &[Edit]) -> Toolsets {
    let mut after = choice.clone();
    for Edit { key, names } in edits {
        match key.strip_prefix("platform_toolsets.") {
            Some(platform) => drop(after.platforms.insert(platform.to_owned(), names.clone())),
            None if key == "toolsets" => after.everywhere = Some(names.clone()),
            None => after.disabled.clone_from(names),
        }
    }
    after
}
