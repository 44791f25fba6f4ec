//! The wizard's questions. Asks and returns answers; writes nothing.

use std::fmt;

use hermes_config::{ProfileConfig, Secret};
use hermes_wire::ProfileName;
use hermes_wire::providers;
use hermes_worker::platform::webhook;
use inquire::ui::RenderConfig;
use inquire::validator::{StringValidator, Validation};
use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};

use super::Section;
use crate::essentials::{self, Engine, Platforms};

/// Ports of 0.19.0's documentation.
const API_PORT: u16 = 8642;
const WEBHOOK_PORT: u16 = 8644;
/// Fewest characters of a key that callers send; the worker refuses shorter ones.
const KEY_LENGTH: usize = 16;

/// What is known before anything is asked.
pub(super) struct Known<'a> {
    pub(super) profile: &'a ProfileName,
    /// The settings as they are; all defaults where there are none that can be used.
    pub(super) config: &'a ProfileConfig,
    /// It has listeners of its own: it is `default`, or runs alone.
    pub(super) listeners: bool,
    pub(super) colors: bool,
}

/// What was answered; a part that was not asked for is absent.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) engine: Option<Engine>,
    pub(super) platforms: Option<Platforms>,
}

/// Has questions look as they are to.
pub(super) fn dress(known: &Known<'_>) {
    if !known.colors {
        inquire::set_global_render_config(RenderConfig::empty());
    }
}

/// Asks everything, or one section.
pub(super) fn ask(known: &Known<'_>, section: Option<Section>) -> Result<Answers, InquireError> {
    dress(known);
    let mut answers = Answers::default();
    if section.is_none_or(|section| section == Section::Model) {
        answers.engine = Some(engine(known)?);
    }
    if section.is_none_or(|section| section == Section::Gateway) {
        answers.platforms = Some(platforms(known)?);
    }
    Ok(answers)
}

/// Whether to go on.
pub(super) fn confirm(question: &str) -> Result<bool, InquireError> {
    Confirm::new(question).with_default(true).prompt()
}

/// One line of the list of providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Known(&'static str, &'static str),
    Custom,
    Echo,
}

impl Choice {
    fn name(self) -> &'static str {
        match self {
            Self::Known(id, _) => id,
            Self::Custom => "custom",
            Self::Echo => "echo",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match self {
            Self::Known(_, url) => url,
            Self::Custom => "any server that speaks chat completions: Ollama, vLLM, …",
            Self::Echo => "offline, repeats what it is sent; to try things out",
        };
        write!(f, "{:<20} {about}", self.name())
    }
}

fn engine(known: &Known<'_>) -> Result<Engine, InquireError> {
    let model = &known.config.model;
    let mut choices: Vec<Choice> =
        essentials::offered().map(|row| Choice::Known(row.id, row.base_url)).collect();
    choices.insert(choices.len().min(2), Choice::Custom);
    choices.push(Choice::Echo);
    let now = model.provider.as_deref().unwrap_or_default();
    let here = |choice: &Choice| match choice {
        Choice::Known(id, _) => *id == now || providers::alias(now) == Some(id),
        Choice::Custom => now == "custom",
        Choice::Echo => false,
    };
    let cursor = choices.iter().position(here).unwrap_or(0);
    let choice = Select::new("Who answers?", choices)
        .with_starting_cursor(cursor)
        .with_page_size(10)
        .with_formatter(&|chosen| chosen.value.name().to_owned())
        .with_help_message("arrows or typing to choose, Enter to take it, Ctrl-C to leave without changes")
        .prompt()?;
    let unchanged = here(&choice);
    match choice {
        Choice::Echo => Ok(Engine::Echo),
        Choice::Known(id, url) => {
            let variable = providers::by_id(id).and_then(|row| row.keys.first()).copied().unwrap_or_default();
            let base_url = if url.is_empty() {
                Some(address("Its address?", model.base_url.as_deref().filter(|_| unchanged))?)
            } else {
                None
            };
            let key = key(variable, known, true)?;
            Ok(Engine::Known { id, key, base_url, model: model_name(known, unchanged)? })
        }
        Choice::Custom => {
            let base_url = address("Its address?", model.base_url.as_deref().filter(|_| unchanged))?;
            let needed = !essentials::is_local(&base_url);
            let key = key(essentials::CUSTOM_KEY, known, needed)?;
            Ok(Engine::Custom { base_url, key, model: model_name(known, unchanged)? })
        }
    }
}

/// A key, typed without being shown. `None`: the one there is stays, or none is needed.
pub(super) fn key(variable: &str, known: &Known<'_>, needed: bool) -> Result<Option<Secret>, InquireError> {
    let there = known.config.env.get(variable).is_some();
    if there && Confirm::new(&format!("{variable} is set. Keep it?")).with_default(true).prompt()? {
        return Ok(None);
    }
    let help = if needed {
        "stored in .env, mode 0600; not shown"
    } else {
        "leave it empty if the server wants none"
    };
    let question = format!("The key ({variable})?");
    let mut prompt = Password::new(&question)
        .without_confirmation()
        .with_display_mode(PasswordDisplayMode::Masked)
        // An empty answer shows nothing; any other its being there, not its length.
        .with_formatter(&|typed| if typed.is_empty() { String::new() } else { "********".to_owned() })
        .with_help_message(help)
        .with_validator(no_blanks());
    if needed {
        prompt = prompt.with_validator(something());
    }
    let typed = prompt.prompt()?;
    let typed = typed.trim();
    Ok((!typed.is_empty()).then(|| Secret::new(typed)))
}

fn model_name(known: &Known<'_>, keep: bool) -> Result<String, InquireError> {
    let now = known.config.model.default.as_str();
    let mut prompt = Text::new("The model, as the provider calls it?")
        .with_validator(something())
        .with_validator(no_blanks());
    if keep && !now.is_empty() {
        prompt = prompt.with_default(now);
    }
    Ok(prompt.prompt()?.trim().to_owned())
}

fn address(question: &str, now: Option<&str>) -> Result<String, InquireError> {
    let mut prompt = Text::new(question).with_placeholder("http://127.0.0.1:11434/v1").with_validator(url());
    if let Some(now) = now {
        prompt = prompt.with_default(now);
    }
    Ok(prompt.prompt()?.trim().trim_end_matches('/').to_owned())
}

fn platforms(known: &Known<'_>) -> Result<Platforms, InquireError> {
    let config = known.config;
    let mut platforms = Platforms::default();
    let question = format!("Reach '{}' through an OpenAI-compatible API?", known.profile);
    if Confirm::new(&question).with_default(true).prompt()? {
        let there = config.env.get(essentials::API_KEY).is_some_and(|key| key.len() >= KEY_LENGTH);
        let now = config.settings.listener("api_server").map_or(API_PORT, |api| api.port);
        platforms.api =
            Some((new_secret(there)?, known.listeners.then(|| port("Its port?", now)).transpose()?));
    }
    let question = format!("Let webhooks wake '{}'?", known.profile);
    let hooks = config.settings.get(webhook::NAME);
    if Confirm::new(&question).with_default(hooks.is_some()).prompt()? {
        let there = config.env.get(essentials::WEBHOOK_SECRET).is_some() || webhook::has_secret(config);
        let now = config.settings.listener(webhook::NAME).map_or(WEBHOOK_PORT, |hooks| hooks.port);
        platforms.webhook =
            Some((new_secret(there)?, known.listeners.then(|| port("Its port?", now)).transpose()?));
        platforms.first_route = hooks.is_none_or(|hooks| !hooks.reaches());
    }
    if known.profile.is_default() {
        let now = config.gateway.as_ref().is_some_and(|gateway| gateway.multiplex);
        let on = Confirm::new("Serve every profile by this one gateway, under /p/<name>/?")
            .with_default(now)
            .prompt()?;
        platforms.multiplex = (on != now).then_some(on);
    }
    Ok(platforms)
}

/// A random one, unless there is one already.
fn new_secret(there: bool) -> Result<Option<Secret>, InquireError> {
    if there { Ok(None) } else { super::random_key().map(Some).map_err(InquireError::IO) }
}

fn port(question: &str, now: u16) -> Result<u16, InquireError> {
    let default = now.to_string();
    let typed = Text::new(question).with_default(&default).with_validator(a_port()).prompt()?;
    Ok(typed.trim().parse().unwrap_or(now))
}

/// A validator: whatever `good` accepts, everything else is answered with `otherwise`.
fn rule(good: fn(&str) -> bool, otherwise: &'static str) -> impl StringValidator + Clone + 'static {
    move |text: &str| -> Result<Validation, inquire::CustomUserError> {
        let valid = good(text.trim());
        Ok(if valid { Validation::Valid } else { Validation::Invalid(otherwise.into()) })
    }
}

pub(super) fn something() -> impl StringValidator + Clone + 'static {
    rule(|text| !text.is_empty(), "something is needed here")
}

fn no_blanks() -> impl StringValidator + Clone + 'static {
    rule(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control()), "no blanks are possible in it")
}

fn url() -> impl StringValidator + Clone + 'static {
    rule(is_url, "an address begins with http:// or https:// and a host")
}

fn is_url(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(['/', ':']) && !rest.contains(char::is_whitespace)
    })
}

fn a_port() -> impl StringValidator + Clone + 'static {
    rule(|text| text.parse::<u16>().is_ok_and(|port| port > 0), "a port is a number from 1 to 65535")
}
