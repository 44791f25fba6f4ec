//! `hermes config show`: a summary for people, and everything that holds for programs. No secret is shown by either.

use std::fmt::Write as _;

use hermes_config::document::{Origin, Settled};
use hermes_config::mask::{is_secret, mask, masked};
use hermes_config::{Env, platform_of_variable, schema};
use hermes_wire::exit;
use hermes_wire::latest::Severity;
use hermes_wire::text::is_unseen;
use hermes_worker::REGISTRY;
use serde_json::{Value as Json, json};

use super::super::Call;
use super::super::output::Output;
use crate::error::HermesError;
use crate::home::Selection;
use crate::settings::Draft;

/// Variables that are shown even where they are not set, and what for.
const USUAL: [(&str, &str); 4] = [
    ("OPENROUTER_API_KEY", "OpenRouter"),
    ("OPENAI_API_KEY", "OpenAI"),
    ("ANTHROPIC_API_KEY", "Anthropic"),
    ("API_SERVER_KEY", "API server"),
];

/// Platforms that are shown even where they are not configured.
const PLATFORMS: [(&str, &str); 7] = [
    ("telegram", "Telegram"),
    ("discord", "Discord"),
    ("slack", "Slack"),
    ("whatsapp", "WhatsApp"),
    ("signal", "Signal"),
    ("webhook", "Webhooks"),
    ("api_server", "API server"),
];

pub(super) fn run(as_json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let draft = super::open(&selection, call)?;
    if as_json {
        out.line(&format!("{:#}", everything(&draft, &selection)))?;
    } else {
        out.write(&summary(&draft, &selection))?;
    }
    Ok(exit::OK)
}

/// What is printed of a value, secrets masked.
fn shown(draft: &Draft, path: &str) -> Option<String> {
    let Settled { value, .. } = draft.at(path)?;
    let last = path.rsplit('.').next().unwrap_or(path);
    match masked(last, &value) {
        Json::Null => None,
        Json::String(text) if text.is_empty() => None,
        Json::String(text) => Some(text.replace(is_unseen, "␣")),
        other => Some(other.to_string()),
    }
}

fn summary(draft: &Draft, selection: &Selection) -> String {
    let mut text = format!("⚕ Hermes Configuration: profile '{}'\n", selection.profile);
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        let _ = writeln!(text, "\n◆ {title}");
        let width = rows.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0).max(13);
        for (name, value) in rows {
            let _ = writeln!(text, "  {:<width$} {value}", format!("{name}:"));
        }
    };
    let row = |name: &str, path: &str, absent: &str| {
        (name.to_owned(), shown(draft, path).unwrap_or_else(|| absent.to_owned()))
    };
    let install = std::env::current_exe().map_or_else(|_| "?".to_owned(), |path| path.display().to_string());
    let or_missing = |path: &camino::Utf8Path| {
        if path.exists() { path.to_string() } else { format!("{path} (not there yet)") }
    };
    let mut paths = vec![
        ("Config".to_owned(), or_missing(draft.config_file())),
        ("Secrets".to_owned(), or_missing(draft.env_file())),
        ("Install".to_owned(), install),
    ];
    for file in draft.administrators_files() {
        paths.push(("Administrator".to_owned(), format!("{file} (in force: what it sets wins)")));
    }
    section("Paths", paths);
    section("API Keys", keys(&draft.variables()));
    section(
        "Model",
        vec![
            row("Model", "model.default", "(not set)"),
            row("Provider", "model.provider", "(follows from the keys)"),
            row("Base URL", "model.base_url", "(the provider's)"),
            row("Engine", "agent.engine", ""),
            row("Max turns", "agent.max_turns", ""),
        ],
    );
    if selection.profile.is_default() {
        section(
            "Gateway",
            vec![
                row("Multiplexing", "gateway.multiplex_profiles", ""),
                row("Listen", "gateway.listen", "(each platform its own)"),
                row("Admin", "gateway.admin", "(off)"),
            ],
        );
    }
    section(
        "Display",
        vec![
            row("Streaming", "display.streaming", "false"),
            row("Busy input", "display.busy_input_mode", "interrupt"),
            row("Language", "display.language", ""),
        ],
    );
    section(
        "Terminal",
        vec![
            row("Backend", "terminal.backend", ""),
            row("Working dir", "terminal.cwd", ""),
            row("Timeout", "terminal.timeout", ""),
        ],
    );
    section("Timezone", vec![row("Timezone", "timezone", "(the system's)")]);
    section(
        "Context Compression",
        vec![row("Enabled", "compression.enabled", ""), row("Threshold", "compression.threshold", "")],
    );
    section("Messaging Platforms", platforms(draft));
    let problems = draft.problems();
    let warnings = problems.iter().filter(|problem| problem.severity == Severity::Warning).count();
    let errors = problems.len() - warnings;
    if !problems.is_empty() {
        let stops = problems.iter().any(|problem| problem.severity.stops_profile());
        let mark = if stops { '✗' } else { '⚠' };
        let _ = writeln!(
            text,
            "\n{mark} problems: {errors}, warnings: {warnings}; `hermes config check` lists them"
        );
    }
    text += "\n  hermes config edit              edit config.yaml\n  hermes config set KEY VALUE     set one value\n  \
             hermes config get KEY           print one value\n";
    text
}

/// Credentials that are no platform's.
fn keys(env: &Env) -> Vec<(String, String)> {
    let value = |name: &str| env.get(name).map_or_else(|| "(not set)".to_owned(), mask);
    let mut rows: Vec<_> = USUAL.iter().map(|(name, label)| ((*label).to_owned(), value(name))).collect();
    for (name, value) in env.iter() {
        let usual = USUAL.iter().any(|(known, _)| *known == name);
        if !usual && !value.is_empty() && is_secret(name) && platform_of_variable(&REGISTRY, name).is_none() {
            rows.push((name.to_owned(), mask(value)));
        }
    }
    rows
}

fn platforms(draft: &Draft) -> Vec<(String, String)> {
    let configured = draft.platforms();
    let state = |name: &str| {
        let found = configured.iter().find(|platform| platform.name == name);
        match found {
            Some(platform) if platform.supported => "configured".to_owned(),
            Some(_) => "configured; this build has no adapter for it".to_owned(),
            None => "not configured".to_owned(),
        }
    };
    let mut rows: Vec<_> = PLATFORMS.iter().map(|(name, label)| ((*label).to_owned(), state(name))).collect();
    for platform in configured.iter().filter(|p| PLATFORMS.iter().all(|(name, _)| *name != p.name)) {
        rows.push((platform.name.clone(), state(&platform.name)));
    }
    rows
}

/// Every key that has a value, and who says so.
fn everything(draft: &Draft, selection: &Selection) -> Json {
    let mut keys = serde_json::Map::new();
    let paths = schema::groups(&REGISTRY)
        .into_iter()
        .flat_map(|group| group.keys)
        .filter(|key| !key.path.contains('*') && key.is_read())
        .map(|key| key.path.to_owned());
    for path in paths.chain(draft.own_keys()) {
        let Some(Settled { value, origin }) = draft.at(&path) else { continue };
        if value.is_object() || keys.contains_key(&path) {
            continue;
        }
        let last = path.rsplit('.').next().unwrap_or(&path).trim_matches(['"', '\'']);
        let (from, at) = match origin {
            Origin::Administrator => ("administrator", None),
            Origin::Variable(name) => (".env", Some(name.to_owned())),
            Origin::File(place) => ("config.yaml", Some(place.to_string()).filter(|place| *place != path)),
            Origin::Default => ("default", None),
        };
        let mut entry = json!({ "value": masked(last, &value), "from": from });
        if let (Some(map), Some(at)) = (entry.as_object_mut(), at) {
            map.insert("at".to_owned(), at.into());
        }
        keys.insert(path, entry);
    }
    let variables: serde_json::Map<_, _> =
        draft.variables().iter().map(|(name, value)| (name.to_owned(), mask(value).into())).collect();
    json!({
        "schema": 1,
        "profile": selection.profile,
        "config": draft.config_file(),
        "env_file": draft.env_file(),
        "administrator": draft.administrators_files(),
        "keys": keys,
        "variables": variables,
        "problems": draft.problems(),
    })
}
