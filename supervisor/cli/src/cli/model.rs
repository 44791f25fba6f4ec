//! `hermes model`: which model a profile talks to and why, which there are, and another choice. Keys are named, never shown.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use hermes_config::provider::{self, Endpoint, NO_KEY};
use hermes_config::{EngineKind, Model, ProfileConfig};
use hermes_host::child;
use hermes_wire::contract::provider_models::{Listed, Listing, Offered};
use hermes_wire::providers::{self, TABLE, Wire};
use hermes_wire::text::visible;
use hermes_wire::{ProfileHome, exit};
use serde_json::{Value, json};

use super::Call;
use super::output::Output;
use crate::columns;
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::profile::overview::Running;
use crate::settings::{As, Change, Draft, Note, SettingsError};

/// How often a change is tried again when another command was faster.
const TRIES: usize = 50;
/// Time that the helper has which asks for the list.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hermes model\n  hermes model list\n  hermes model anthropic/claude-sonnet-4\n  \
        hermes -p coder model set --provider deepseek deepseek-chat\n\n\
        Keys are set with `hermes setup model`, or `hermes config set`."
)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    command: Option<ModelCommand>,
    /// Talk to this model from now on; the same as `hermes model set`.
    #[arg(value_name = "MODEL", value_hint = ValueHint::Other)]
    model: Option<String>,
    /// Who serves it.
    #[arg(long, value_name = "NAME", requires = "model", value_hint = ValueHint::Other)]
    provider: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    /// Show the models that the provider offers, by its own list.
    List {
        /// Of this provider [default: the profile's].
        #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
        provider: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Talk to another model from now on.
    #[command(
        after_help = "`PROVIDER/MODEL` names both where PROVIDER is a provider, and the profile's own provider is none whose models \
        have such names; `--provider` always names it. What could not answer is not written."
    )]
    Set {
        /// Its id, as its provider has it.
        #[arg(value_name = "[PROVIDER/]MODEL", value_hint = ValueHint::Other)]
        model: String,
        /// Who serves it [default: the profile's provider].
        #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
        provider: Option<String>,
        /// Write it even where it could not answer.
        #[arg(long)]
        force: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show the providers that are known, and which of them the profile has a key for.
    Providers {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes model`.
pub(super) fn run(args: ModelArgs, call: &Call) -> Result<u8, HermesError> {
    let out = Output::stdout();
    match (args.command, args.model) {
        (None, None) => show(args.json, call, out),
        (None, Some(model)) => set(&model, args.provider, false, args.json, call, out),
        (Some(ModelCommand::Set { model, provider, force, json }), _) => {
            set(&model, provider, force, json, call, out)
        }
        (Some(ModelCommand::List { provider, json }), _) => list(provider.as_deref(), json, call, out),
        (Some(ModelCommand::Providers { json }), _) => show_providers(json, call, out),
    }
}

/// The profile's settings.
fn settings(selection: &Selection, call: &Call) -> Result<ProfileConfig, HermesError> {
    let draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
    Ok(config_of(&draft)?)
}

fn config_of(draft: &Draft) -> Result<ProfileConfig, CommandError> {
    draft.config().ok_or_else(|| {
        let worst = draft.problems().into_iter().find(|problem| problem.severity.stops_profile());
        let message = worst.map_or_else(|| "it is refused".to_owned(), |problem| problem.message);
        CommandError::Unusable { file: draft.config_file().to_owned(), message }
    })
}

fn show(as_json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let (home, config) = (selection.home(), settings(&selection, call)?);
    let found = provider::resolve(&config, &home);
    let is_native = config.agent.engine == EngineKind::Native;
    if as_json {
        let mut value = json!({"schema": 1, "profile": selection.profile, "engine": engine(&config)});
        match &found {
            Ok(endpoint) => value["endpoint"] = told(&config, &home, endpoint),
            Err(error) => {
                value["error"] = json!({"code": error.code(), "message": error.what(), "fix": error.fix()});
            }
        }
        let others = provider::fallbacks(&config, &home).into_iter();
        value["fallbacks"] = others
            .map(|other| other.map_or_else(|e| json!({"error": e.what()}), |e| told(&config, &home, &e)))
            .collect();
        out.line(&format!("{value:#}"))?;
        return Ok(if found.is_ok() || !is_native { exit::OK } else { exit::FAILURE });
    }
    let mut text = format!("Profile:   {}\n", selection.profile);
    // Writing to a string cannot fail.
    if !is_native {
        let _ = writeln!(text, "Engine:    {} (the model below is not asked)", engine(&config));
    }
    if let Ok(endpoint) = &found {
        let none = "(whichever the server has)".to_owned();
        let model = Some(endpoint.model.clone()).filter(|model| !model.is_empty()).unwrap_or(none);
        let _ = writeln!(text, "Model:     {}", visible(&model));
        let _ = writeln!(text, "Provider:  {}", endpoint.provider);
        let _ = writeln!(text, "Wire:      {}", wire(endpoint.wire));
        let _ = writeln!(text, "Endpoint:  {}", endpoint.shown_url());
        let _ = writeln!(text, "Key:       {}", key(&config, &home, endpoint));
        let _ = writeln!(text, "Chosen by: {}", endpoint.rule);
        for (at, other) in provider::fallbacks(&config, &home).iter().enumerate() {
            let label = if at == 0 { "Fallbacks:" } else { "" };
            let shown = match other {
                Ok(other) => format!("{} at {}", other.model, other.provider),
                Err(error) => format!("none: {}", error.what()),
            };
            let _ = writeln!(text, "{label:<10} {}", visible(&shown));
        }
    }
    out.write(&text)?;
    match found {
        Err(error) if is_native => {
            let (message, hint) = (error.what(), Some(error.fix()));
            Err(CommandError::NoModel { message, hint }.into())
        }
        _ => Ok(exit::OK),
    }
}

/// Everything about an endpoint but its key.
fn told(config: &ProfileConfig, home: &ProfileHome, endpoint: &Endpoint) -> Value {
    json!({
        "model": endpoint.model,
        "provider": endpoint.provider,
        "wire": wire(endpoint.wire),
        "base_url": endpoint.shown_url(),
        "key": key(config, home, endpoint),
        "rule": endpoint.rule,
    })
}

fn engine(config: &ProfileConfig) -> String {
    format!("{:?}", config.agent.engine).to_lowercase()
}

fn wire(wire: Wire) -> &'static str {
    match wire {
        Wire::Chat => "chat completions",
        Wire::Messages => "Anthropic Messages",
        Wire::Responses => "OpenAI Responses",
        Wire::Other(other) => other,
    }
}

/// Where the key of an endpoint stands; never the key.
fn key(config: &ProfileConfig, home: &ProfileHome, endpoint: &Endpoint) -> String {
    let key = endpoint.key.expose();
    if key == NO_KEY {
        return "none (a server of your own, which is asked without)".to_owned();
    }
    if let Some((name, _)) = config.env.iter().find(|(_, value)| *value == key) {
        return format!("{name} in {}", home.env_file());
    }
    let written = |model: &Model| model.api_key.as_ref().is_some_and(|own| own.expose() == key);
    if written(&config.model) {
        return format!("model.api_key in {}", home.config());
    }
    let declared =
        config.providers.iter().find(|p| p.api_key.as_ref().is_some_and(|own| own.expose() == key));
    match declared {
        Some(provider) => format!("providers.{}.api_key in {}", provider.name, home.config()),
        None => format!("in {}", home.config()),
    }
}

fn list(provider: Option<&str>, as_json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let listing = ask(&selection, provider, call)?;
    if as_json {
        let mut value = json!({
            "schema": 1, "profile": selection.profile, "provider": listing.provider, "base_url": listing.base_url, "current": listing.model,
        });
        if let Listed::Models(models) = &listing.outcome {
            value["models"] =
                models.iter().map(|m| json!({"id": m.id, "name": m.name, "context": m.context})).collect();
            out.line(&format!("{value:#}"))?;
            return Ok(exit::OK);
        }
    }
    let failed = |message: String, hint: &str| -> HermesError {
        CommandError::NoModel { message, hint: Some(hint.to_owned()) }.into()
    };
    match listing.outcome {
        Listed::Models(models) => {
            out.write(&table(&listing.provider, &listing.base_url, listing.model.as_deref(), &models))?;
            Ok(exit::OK)
        }
        Listed::NotAsked { why } => Err(failed(why, "`hermes model providers` shows which keys are there")),
        Listed::Fails { class, message, .. } => {
            let message = format!(
                "{} at {} gives no list of models ({class}): {message}",
                listing.provider, listing.base_url
            );
            Err(failed(message, "a model can be set without it: `hermes model set MODEL`"))
        }
    }
}

fn table(provider: &str, base_url: &str, current: Option<&str>, models: &[Offered]) -> String {
    let mut text = format!("{provider} at {base_url}: {} models\n", models.len());
    let width = models.iter().map(|model| columns::width(&model.id)).max().unwrap_or(0).min(60);
    for model in models {
        let mark = if current == Some(model.id.as_str()) { "*" } else { " " };
        let context = model.context.map(|tokens| format!("{:>6}k", tokens / 1000)).unwrap_or_default();
        let name = model.name.as_deref().unwrap_or_default();
        let line =
            format!("{mark} {}  {context:>7}  {name}", columns::pad(&visible(&model.id), width, false));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if let Some(current) = current.filter(|current| models.iter().all(|model| model.id != *current)) {
        let _ = writeln!(text, "\nThe profile's model is not among them: {}", visible(current));
    }
    text
}

/// A helper process of the profile's own asks: its key is in no other.
fn ask(selection: &Selection, provider: Option<&str>, call: &Call) -> Result<Listing, HermesError> {
    let mut command = child::own();
    command.args([
        "worker",
        "-p",
        selection.profile.as_str(),
        &format!("--ask-models={}", provider.unwrap_or_default()),
    ]);
    command
        .env(hermes_wire::env::HERMES_HOME, selection.root.path())
        .env(hermes_wire::env::MANAGED_DIR, &call.env.managed_dir);
    let failed = |why: String| -> HermesError {
        CommandError::NoModel { message: format!("the provider could not be asked: {why}"), hint: None }
            .into()
    };
    let output = child::run(command, PATIENCE).map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        failed(said.lines().next().unwrap_or("its helper gave no answer").to_owned())
    })
}

/// Providers whose models have names of the form `vendor/model`.
fn has_vendors(endpoint: &Endpoint) -> bool {
    const AGGREGATORS: [&str; 8] =
        ["openrouter", "huggingface", "kilocode", "deepinfra", "fireworks", "novita", "nvidia", "gmi"];
    // Nobody knows what a server of one's own calls its models.
    AGGREGATORS.contains(&endpoint.provider.as_str()) || providers::by_id(&endpoint.provider).is_none()
}

/// Provider and model as they were typed.
fn read(
    typed: &str,
    provider: Option<String>,
    config: &ProfileConfig,
    home: &ProfileHome,
) -> (Option<String>, String) {
    if provider.is_some() {
        return (provider, typed.to_owned());
    }
    let named = typed.split_once('/').filter(|(name, model)| {
        let is_known = providers::by_id(name).is_some()
            || providers::alias(name).is_some()
            || config.providers.iter().any(|declared| declared.name.eq_ignore_ascii_case(name));
        is_known && !model.is_empty()
    });
    match named {
        Some((name, model)) => match provider::resolve(config, home) {
            // `openrouter/x/y` at OpenRouter names itself.
            Ok(own) if own.provider == name => (None, model.to_owned()),
            Ok(own) if has_vendors(&own) => (None, typed.to_owned()),
            _ => (Some(name.to_owned()), model.to_owned()),
        },
        None => (None, typed.to_owned()),
    }
}

fn set(
    typed: &str,
    provider: Option<String>,
    force: bool,
    as_json: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    let typed = typed.trim();
    if typed.is_empty() {
        return Err(CommandError::NoModel {
            message: "a model without a name".to_owned(),
            hint: Some("`hermes model list` shows those there are".to_owned()),
        }
        .into());
    }
    let (provider, model) = read(typed, provider, &settings(&selection, call)?, &home);
    let mut tries = 0;
    let lines = loop {
        let mut draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
        let lines = choose(&mut draft, provider.as_deref(), &model)?;
        if !force {
            refuse_what_cannot_answer(&draft, &home)?;
        }
        match draft.commit() {
            Ok(_) => break lines,
            // It depends on nothing but the files, so it is simply made again.
            Err(SettingsError::Changed(_)) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    };
    if as_json {
        let config = settings(&selection, call)?;
        let endpoint = provider::resolve(&config, &home).ok().map(|endpoint| told(&config, &home, &endpoint));
        out.line(&format!("{:#}", json!({"schema": 1, "profile": selection.profile, "endpoint": endpoint})))?;
        return Ok(exit::OK);
    }
    for line in lines {
        out.line(&line)?;
    }
    if Running::ask(&selection.root, &call.env).is_running(&selection.profile, &home) {
        out.line("Note: the running gateway takes it over by itself; `hermes status` shows it.")?;
    }
    Ok(exit::OK)
}

/// Changes a draft; what is said about it.
fn choose(draft: &mut Draft, provider: Option<&str>, model: &str) -> Result<Vec<String>, HermesError> {
    let mut lines = Vec::new();
    let mut say = |change: &Change| {
        lines.push(change.echo());
        // What a start would say is asked after the last change: another may mend it.
        lines.extend(
            change.notes.iter().filter(|note| !matches!(note, Note::Problem(_))).map(ToString::to_string),
        );
    };
    if let Some(provider) = provider {
        let before = config_of(draft)?.model.provider;
        say(&draft.set("model.provider", provider, As::Text)?);
        if before.as_deref() != Some(provider) {
            // What was written for another provider would be sent to this one.
            for key in ["model.base_url", "model.api_key", "model.key_env", "model.api_mode"] {
                match draft.unset(key) {
                    Ok(change) => say(&change),
                    Err(SettingsError::NotSet { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    say(&draft.set("model.default", model, As::Text)?);
    Ok(lines)
}

/// Refuses a choice that could not answer, unless what there was could not either, for the same reason.
fn refuse_what_cannot_answer(draft: &Draft, home: &ProfileHome) -> Result<(), HermesError> {
    match provider::resolve(&config_of(draft)?, home) {
        Ok(_) => Ok(()),
        Err(error) => {
            let (message, fix) =
                (error.what(), Some(format!("{}; `--force` writes it all the same", error.fix())));
            Err(CommandError::NotWritten { place: String::new(), message, fix }.into())
        }
    }
}

fn show_providers(as_json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let config = settings(&selection, call)?;
    let current = provider::resolve(&config, &selection.home()).ok().map(|endpoint| endpoint.provider);
    let set = |name: &str| config.env.get(name).is_some_and(|value| !value.trim().is_empty());
    let built_in = TABLE.iter().map(|row| {
        let key = row.keys.iter().find(|name| set(name));
        json!({
            "name": row.id,
            "keys": row.keys,
            "key": key,
            "usable": !matches!(row.wire, Wire::Other(_)),
            "why_not": match row.wire {
                Wire::Other(what) => Some(format!("not spoken yet: {what}")),
                _ => None,
            },
            "base_url": row.base_url,
            "current": current.as_deref() == Some(row.id),
        })
    });
    let declared = config.providers.iter().map(|own| {
        let key = own.api_key.as_ref().map(|_| format!("providers.{}.api_key", own.name));
        json!({
            "name": own.name,
            "keys": [],
            "key": key,
            "usable": own.enabled,
            "why_not": (!own.enabled).then_some("turned off (enabled: false)"),
            "base_url": own.base_url,
            "current": current.as_deref() == Some(own.name.as_str()),
        })
    });
    let all: Vec<Value> = declared.chain(built_in).collect();
    if as_json {
        out.line(&format!("{:#}", json!({"schema": 1, "profile": selection.profile, "providers": all})))?;
        return Ok(exit::OK);
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let width = all.iter().map(|row| columns::width(&text(row, "name"))).max().unwrap_or(0);
    let mut shown = String::new();
    for row in &all {
        let mark = if row["current"] == true { "*" } else { " " };
        let key = if let Some(name) = row["key"].as_str() {
            format!("✓ {name}")
        } else {
            let names: Vec<&str> =
                row["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if names.is_empty() { "  no key".to_owned() } else { format!("  {}", names.join(" or ")) }
        };
        let place = match row["why_not"].as_str() {
            Some(why) => why.to_owned(),
            None => text(row, "base_url"),
        };
        let name = columns::pad(&visible(&text(row, "name")), width, false);
        let line = format!("{mark} {name}  {}  {place}", columns::pad(&columns::cut(&key, 44), 44, false));
        // Writing to a string cannot fail.
        let _ = writeln!(shown, "{}", line.trim_end());
    }
    shown.push_str("\n✓ marks the key that is there; `*` the provider in use. `custom` with model.base_url is any other server.\n");
    out.write(&shown)?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use hermes_config::{Env, Secret};

    use super::*;

    fn config(provider: Option<&str>, env: &[(&str, &str)]) -> ProfileConfig {
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        config.model.provider = provider.map(str::to_owned);
        config.model.default = "m".to_owned();
        config.env =
            env.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect::<Env>();
        config
    }

    /// A name before a slash is a provider's only where it cannot be a part of the model's own name.
    #[test]
    fn provider_and_model_are_told_apart_without_guessing() {
        let home = ProfileHome::new("/h");
        let read = |typed: &str, config: &ProfileConfig| {
            let (provider, model) = read(typed, None, config, &home);
            (provider.unwrap_or_default(), model)
        };
        let of = |provider: &str, model: &str| (provider.to_owned(), model.to_owned());
        let router = config(Some("openrouter"), &[("OPENROUTER_API_KEY", "k")]);
        assert_eq!(read("anthropic/claude", &router), of("", "anthropic/claude"));
        assert_eq!(read("openrouter/anthropic/claude", &router), of("", "anthropic/claude"));
        let deep = config(Some("deepseek"), &[("DEEPSEEK_API_KEY", "k")]);
        assert_eq!(read("anthropic/claude", &deep), of("anthropic", "claude"));
        assert_eq!(read("deepseek/chat", &deep), of("", "chat"));
        assert_eq!(read("vendor/claude", &deep), of("", "vendor/claude"));
        assert_eq!(read("openrouter/x/y", &config(None, &[])), of("openrouter", "x/y"));
    }

    #[test]
    fn a_key_is_named_and_not_shown() {
        let home = ProfileHome::new("/h");
        let config = config(Some("openrouter"), &[("OPENROUTER_API_KEY", "sk-secret")]);
        let endpoint = provider::resolve(&config, &home).unwrap();
        assert_eq!(key(&config, &home, &endpoint), "OPENROUTER_API_KEY in /h/.env");
        assert!(!told(&config, &home, &endpoint).to_string().contains("sk-secret"));
    }
}
