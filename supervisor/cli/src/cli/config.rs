//! `hermes config`: what can be typed, and what is printed.

mod check;
mod edit;
pub(super) mod secret;
mod show;

use std::io::{IsTerminal as _, Read as _};

use clap::{Args, Subcommand, ValueHint};
use hermes_config::edit::block;
use hermes_config::schema;
use hermes_host::refusal::Io;
use hermes_wire::exit;
use hermes_worker::REGISTRY;
use serde_json::Value as Json;

use super::output::Output;
use super::{Call, json};
use crate::error::{HermesError, ValueError};
use crate::home::Selection;
use crate::profile::overview::Running;
use crate::settings::{As, Change, Draft, SettingsError};

/// How often a change is tried again when another command was faster.
const TRIES: usize = 50;
/// Longest value that is read from standard input, in bytes.
const MAX_INPUT: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show what is configured (also: plain `hermes config`).
    Show {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of config.yaml.
    Path,
    /// Print the path of .env.
    EnvPath,
    /// Print one value, secrets as they are.
    #[command(after_help = "Exit codes: 0, 1 if nobody sets it and it has no default.\n\n\
        Examples:\n  hermes config get model.default\n  hermes config get gateway --json\n  \
        hermes config get 'platforms.discord.channel_prompts.\"1.5\"'")]
    Get {
        /// Such as `model.default`.
        #[arg(value_hint = ValueHint::Other)]
        key: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set one value; keys and tokens go to .env.
    #[command(after_help = "The rest of the file stays as it is, comments and order included. \
        A name with a dot in it stands in quotes: 'a.\"b.c\".d'.\n\n\
        Examples:\n  hermes config set model.default anthropic/claude-sonnet-4\n  \
        hermes config set gateway.multiplex_profiles true\n  \
        hermes config set gateway.shared_env --json '[\"OPENAI_API_KEY\"]'\n  \
        hermes config set openrouter_api_key -      read it from standard input")]
    Set {
        /// Such as `model.default`.
        #[arg(value_hint = ValueHint::Other)]
        key: String,
        /// The value; `-` reads it from standard input. Without one it is asked for, unseen.
        #[arg(allow_hyphen_values = true, value_hint = ValueHint::Other)]
        value: Option<String>,
        /// The value is JSON.
        #[arg(long, conflicts_with = "string")]
        json: bool,
        /// The value is text, whatever it looks like.
        #[arg(long)]
        string: bool,
        /// Write it even where a start would refuse it, and say nothing about keys that are not known.
        #[arg(long)]
        force: bool,
    },
    /// Remove one value.
    #[command(after_help = "Example:\n  hermes config unset model.base_url")]
    Unset {
        /// Such as `model.default`.
        #[arg(value_hint = ValueHint::Other)]
        key: String,
    },
    /// Open config.yaml in your editor, and check it before it is used.
    #[command(after_help = "The editor is $EDITOR, else $VISUAL, else nano, vim, vi or code. \
        You edit a copy; what does not parse is never put in place, and never lost.")]
    Edit,
    /// Say everything that is wrong with the configuration (exit 78 if something is).
    Check {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of config.yaml, for editors.
    #[command(after_help = "Example:\n  hermes config schema > ~/.hermes/config.schema.json\n  \
        and as the first line of config.yaml:\n  # yaml-language-server: $schema=config.schema.json")]
    Schema,
    /// Print the page about configuration.
    #[command(hide = true)]
    Docs,
}

/// `hermes config …`.
pub(super) fn run(args: ConfigArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    match args.command.unwrap_or(ConfigCommand::Show { json: false }) {
        ConfigCommand::Show { json } => show::run(json, call, out),
        ConfigCommand::Path => {
            out.line(call.select_strict()?.home().config().as_str())?;
            Ok(exit::OK)
        }
        ConfigCommand::EnvPath => {
            out.line(call.select_strict()?.home().env_file().as_str())?;
            Ok(exit::OK)
        }
        ConfigCommand::Get { key, json } => get(&key, json, call, out),
        ConfigCommand::Set { key, value, json, string, force } => {
            let how = match (json, string) {
                (true, _) => As::Json,
                (_, true) => As::Text,
                _ => As::Schema,
            };
            set(&key, value, how, force, call, out)
        }
        ConfigCommand::Unset { key } => {
            let selection = call.select_strict()?;
            let change = change(&selection, call, |draft| draft.unset(&key))?;
            out.line(&change.farewell())?;
            say(&change, false, &selection, call, &mut out)
        }
        ConfigCommand::Edit => edit::run(call, out),
        ConfigCommand::Check { json } => check::run(json, call, out),
        ConfigCommand::Schema => {
            out.line(&format!("{:#}", schema::json::schema(&REGISTRY)))?;
            Ok(exit::OK)
        }
        ConfigCommand::Docs => {
            out.write(&schema::docs::page(&REGISTRY))?;
            Ok(exit::OK)
        }
    }
}

fn open(selection: &Selection, call: &Call) -> Result<Draft, SettingsError> {
    Draft::open(&selection.root, &selection.profile, &call.env)
}

fn get(key: &str, as_json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let draft = open(&call.select_strict()?, call)?;
    let Some(settled) = draft.get(key)? else {
        return Err(SettingsError::NotSet { key: key.to_owned(), instead: None }.into());
    };
    let text = match settled.value {
        value if as_json => format!("{}\n", json::compact(&value)),
        Json::String(text) => format!("{text}\n"),
        value => block(&value),
    };
    out.write(&text)?;
    Ok(exit::OK)
}

fn set(
    key: &str,
    value: Option<String>,
    how: As,
    force: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    // Whether the key may be set at all is said before anybody is asked for a value.
    open(&selection, call)?.may_change()?;
    let value = match value {
        Some(value) if value == "-" => from_stdin(key)?,
        Some(value) => value,
        None => secret::ask(key)?,
    };
    let change = change(&selection, call, |draft| {
        let change = draft.set(key, &value, how)?;
        match draft.refused_by_a_start(&change).filter(|_| !force) {
            Some(problem) => Err(SettingsError::Refused { key: change.key, why: problem.message }),
            None => Ok(change),
        }
    })?;
    out.line(&change.echo())?;
    say(&change, force, &selection, call, &mut out)
}

/// Makes one change and writes it. It depends on nothing but the files, so it is simply made again when they changed meanwhile.
pub(super) fn change(
    selection: &Selection,
    call: &Call,
    make: impl Fn(&mut Draft) -> Result<Change, SettingsError>,
) -> Result<Change, SettingsError> {
    let mut tries = 0;
    loop {
        let mut draft = open(selection, call)?;
        let change = make(&mut draft)?;
        match draft.commit() {
            Ok(_) => return Ok(change),
            Err(SettingsError::Changed(_)) if tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What else there is to know about a change.
fn say(
    change: &Change,
    force: bool,
    selection: &Selection,
    call: &Call,
    out: &mut Output,
) -> Result<u8, HermesError> {
    for note in change.notes.iter().filter(|note| !(force && note.is_about_an_unknown_key())) {
        out.line(&note.to_string())?;
        if note.is_about_an_unknown_key() {
            out.line("  Use --force to skip this check.")?;
        }
    }
    // Asked, not guessed: a gateway may run and not serve this profile.
    if Running::ask(&selection.root, &call.env).is_running(&selection.profile, &selection.home()) {
        out.line(if change.key == "gateway.admin" {
            "Note: the running gateway takes it over when it is restarted."
        } else {
            "Note: the running gateway takes it over by itself; `hermes status` shows it."
        })?;
    }
    Ok(exit::OK)
}

/// The whole of standard input, one line end at its end dropped.
pub(super) fn from_stdin(key: &str) -> Result<String, HermesError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Ok(secret::ask(key)?);
    }
    let mut bytes = Vec::new();
    let read = input.lock().take(MAX_INPUT + 1).read_to_end(&mut bytes);
    read.map_err(Io::at("read", "standard input"))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(SettingsError::TooLong(key.to_owned()).into());
    }
    // What should have printed the value has failed.
    if bytes.is_empty() {
        return Err(ValueError::Empty { key: key.to_owned() }.into());
    }
    let text = String::from_utf8(bytes).map_err(|_| ValueError::NotUtf8 { key: key.to_owned() })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
