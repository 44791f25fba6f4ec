//! `hermes profile`, `list`, `show` and `use`.

use std::fmt::Write as _;

use hermes_gateway::watch;
use hermes_host::disk;
use hermes_wire::{ProfileName, exit};

use super::super::Call;
use super::super::output::{self, Output};
use super::{existing, parse, tilde};
use crate::columns::{cut, pad, width};
use crate::error::HermesError;
use crate::home;
use crate::home::Selection;
use crate::profile::alias::Alias;
use crate::profile::error::ProfileError;
use crate::profile::overview::{self, Overview, Running};
use crate::settings::Draft;
use crate::skills::installed;

/// Characters of a model's name in the list, as 0.19.0 cuts it.
const MODEL: usize = 26;
/// Characters of a distribution in the list.
const DISTRIBUTION: usize = 30;
/// No column of the list gets narrower, however narrow the terminal is.
const NARROWEST: usize = 8;

/// Names of the platforms that a start of the profile would turn on; `None` where its files cannot be read.
fn platforms(selection: &Selection, name: &ProfileName, call: &Call) -> Option<Vec<String>> {
    let draft = Draft::open(&selection.root, name, &call.env).ok()?;
    Some(draft.platforms().into_iter().map(|platform| platform.name).collect())
}

fn aliases(call: &Call) -> Vec<Alias> {
    call.aliases().map(|dir| dir.all()).unwrap_or_default()
}

/// Plain `hermes profile`.
pub(super) fn active(json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let running = Running::ask(&selection.root, &call.env);
    let facts = overview::look(&selection.root, &selection.profile, &running, &aliases(call));
    if json {
        let platforms = platforms(&selection, &facts.name, call);
        out.line(&format!("{:#}", detail(&facts, &selection, platforms)))?;
        return Ok(exit::OK);
    }
    let mut text = format!("\nActive profile: {}\n", facts.name);
    let _ = writeln!(text, "Path:           {}", tilde(&facts.home, &call.env));
    if let Some(model) = model(&facts) {
        let _ = writeln!(text, "Model:          {model}");
    }
    let _ = writeln!(text, "Gateway:        {}", gateway(&facts));
    let _ = writeln!(text, "Skills:         {} installed", installed::count(&facts.home));
    if let Some(alias) = &facts.alias {
        let _ = writeln!(text, "Alias:          {} → hermes -p {}", alias.name, facts.name);
    }
    text.push('\n');
    out.write(&text)?;
    Ok(exit::OK)
}

fn model(facts: &Overview) -> Option<String> {
    if facts.invalid_config {
        return Some("(invalid config)".to_owned());
    }
    let model = facts.model.clone()?;
    Some(match &facts.provider {
        Some(provider) => format!("{model} ({provider})"),
        None => model,
    })
}

fn gateway(facts: &Overview) -> &'static str {
    match (facts.running, facts.parked) {
        (true, _) => "running",
        (false, true) => "parked",
        (false, false) => "stopped",
    }
}

/// `hermes profile list`.
pub(super) fn list(json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let root = &selection.root;
    let homes = watch::scan(root);
    let mut names: Vec<ProfileName> = homes.names().chain(homes.bare_directories()).cloned().collect();
    names.sort_by(|a, b| (!a.is_default(), a).cmp(&(!b.is_default(), b)));
    if !root.path().exists() {
        names.clear();
    }
    for problem in hermes_gateway::app::unseen(&homes, None) {
        output::warn(&format!("{} (`{}`)", problem.message, problem.file));
    }
    let running = Running::ask(root, &call.env);
    let all = overview::look_at_all(root, &names, &running, &aliases(call));
    if json {
        let profiles: Vec<_> = all.iter().map(|facts| summary(facts, &selection)).collect();
        let value = serde_json::json!({ "schema": 1, "root": root.path(), "profiles": profiles });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if all.is_empty() {
        out.line("No profiles found.")?;
        return Ok(exit::OK);
    }
    out.write(&table(&all, &selection, out.width()))?;
    Ok(exit::OK)
}

/// Columns are as wide as 0.19.0's, or wider where something is longer; on a terminal that is too narrow for that, as narrow as
/// what is in them, and then the longest are cut.
fn table(all: &[Overview], selection: &Selection, terminal: Option<usize>) -> String {
    let sticky = home::sticky_profile(&selection.root);
    let mut rows = vec![["Profile", "Model", "Gateway", "Alias", "Distribution"].map(str::to_owned)];
    rows.extend(all.iter().map(|facts| {
        let chosen = facts.name == selection.profile;
        let mark = if chosen { "◆" } else { " " };
        let star = if !chosen && sticky.as_ref() == Some(&facts.name) { " (sticky)" } else { "" };
        let shown = facts.display_name.as_ref().map(|name| format!(" “{name}”")).unwrap_or_default();
        let model =
            if facts.invalid_config { Some("(invalid config)".to_owned()) } else { facts.model.clone() };
        let first = |text: String, n| text.chars().take(n).collect::<String>();
        [
            format!("{mark}{}{shown}{star}", facts.name),
            model.map_or_else(|| "—".to_owned(), |text| first(text, MODEL)),
            gateway(facts).to_owned(),
            facts.alias.as_ref().map_or_else(|| "—".to_owned(), |alias| alias.name.clone()),
            facts.distribution.as_ref().map_or_else(|| "—".to_owned(), |d| first(d.label(), DISTRIBUTION)),
        ]
    }));
    let longest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0);
    let widths = widths([0, 1, 2, 3, 4].map(longest), terminal);
    rows.insert(1, widths.map(|width| "─".repeat(width)));
    let mut text = String::from("\n");
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| pad(&cut(cell, width), width, false)).collect();
        let _ = writeln!(text, " {}", cells.join("  ").trim_end());
    }
    text.push('\n');
    text
}

/// How wide the columns get, whose longest cells are so wide. Two blanks stand between them, one before the first.
fn widths(longest: [usize; 5], terminal: Option<usize>) -> [usize; 5] {
    let usual = [15, 27, 11, 11, 19];
    let total = |widths: &[usize; 5]| widths.iter().sum::<usize>() + 1 + 2 * 4;
    let mut widths = [0, 1, 2, 3, 4].map(|i| longest[i].max(usual[i]));
    let Some(most) = terminal.filter(|&most| total(&widths) > most) else { return widths };
    widths = longest;
    while total(&widths) > most
        && let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST)
    {
        *widest -= 1;
    }
    widths
}

fn summary(facts: &Overview, selection: &Selection) -> serde_json::Value {
    serde_json::json!({
        "name": facts.name,
        "home": facts.home,
        "active": facts.name == selection.profile,
        "sticky": home::sticky_profile(&selection.root).as_ref() == Some(&facts.name),
        "model": facts.model,
        "provider": facts.provider,
        "invalid_config": facts.invalid_config,
        "gateway": gateway(facts),
        "alias": facts.alias.as_ref().map(|a| &a.name),
        "distribution": facts.distribution.as_ref().map(overview::Distribution::label),
        "description": facts.description,
        "display_name": facts.display_name,
    })
}

fn detail(facts: &Overview, selection: &Selection, platforms: Option<Vec<String>>) -> serde_json::Value {
    let mut value = summary(facts, selection);
    if let Some(map) = value.as_object_mut() {
        map.insert("schema".to_owned(), 1.into());
        map.insert("skills".to_owned(), installed::count(&facts.home).into());
        map.insert("config".to_owned(), selection.root.profile(&facts.name).config().as_str().into());
        map.insert("platforms".to_owned(), platforms.into());
        map.insert("env".to_owned(), facts.home.join(".env").exists().into());
        map.insert("soul".to_owned(), facts.home.join("SOUL.md").exists().into());
        map.insert("alias_path".to_owned(), facts.alias.as_ref().map(|a| a.path.as_str()).into());
    }
    value
}

/// `hermes profile show`.
pub(super) fn show(typed: &str, json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let name = existing(typed, &selection.root)?;
    let running = Running::ask(&selection.root, &call.env);
    let facts = overview::look(&selection.root, &name, &running, &aliases(call));
    let platforms = platforms(&selection, &name, call);
    if json {
        out.line(&format!("{:#}", detail(&facts, &selection, platforms)))?;
        return Ok(exit::OK);
    }
    let there = |file: &str| if facts.home.join(file).exists() { "exists" } else { "not configured" };
    let mut text = format!("\nProfile: {typed}\n");
    if let Some(shown) = &facts.display_name {
        let _ = writeln!(text, "Shown as: {shown}");
    }
    let _ = writeln!(text, "Path:    {}", facts.home);
    if let Some(model) = model(&facts) {
        let _ = writeln!(text, "Model:   {model}");
    }
    let _ = writeln!(text, "Gateway: {}", gateway(&facts));
    let _ = writeln!(text, "Skills:  {}", installed::count(&facts.home));
    let config = selection.root.profile(&name).config();
    let _ = writeln!(text, "Config:  {config}{}", if config.exists() { "" } else { " (not configured)" });
    let _ = match platforms.as_deref() {
        Some([]) => writeln!(text, "Platforms: none configured"),
        Some(names) => writeln!(text, "Platforms: {}", names.join(", ")),
        None => writeln!(text, "Platforms: unknown; `hermes -p {name} config check` says why"),
    };
    let _ = writeln!(text, ".env:    {}", there(".env"));
    let _ = writeln!(text, "SOUL.md: {}", there("SOUL.md"));
    if let Some(description) = &facts.description {
        let _ = writeln!(text, "About:   {description}");
    }
    if let Some(distribution) = &facts.distribution {
        let _ = writeln!(text, "Distribution: {}", distribution.label());
        if let Some(source) = &distribution.source {
            let _ = writeln!(text, "Installed from: {source}");
        }
    }
    if let Some(alias) = &facts.alias {
        let _ = writeln!(text, "Alias:   {} → hermes -p {name}  ({})", alias.name, alias.path);
    }
    text.push('\n');
    out.write(&text)?;
    Ok(exit::OK)
}

/// `hermes profile use`.
pub(super) fn switch(typed: &str, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    // The sticky profile that is about to be replaced does not matter.
    let selection = call.select()?;
    let name = parse(typed)?;
    let file = selection.root.active_profile();
    if name.is_default() {
        match fs_err::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(ProfileError::io("remove", file)(e).into());
            }
            _ => {}
        }
        let exact = if typed == "default" { "default (~/.hermes)" } else { typed };
        out.line(&format!("Switched to: {exact}"))?;
        return Ok(exit::OK);
    }
    if !selection.root.profile(&name).path().is_dir() {
        return Err(ProfileError::MissingToUse(name).into());
    }
    disk::write_public(&file, format!("{name}\n").as_bytes()).map_err(ProfileError::io("write", &file))?;
    out.line(&format!("Switched to: {typed}"))?;
    Ok(exit::OK)
}
