//! What parts of a worker are given of its profile's files and of its environment. Reads nothing itself but the zones of time.

use std::sync::Arc;

use hermes_config::platform::Settings;
use hermes_config::{ProfileConfig, Task, network, redact};
use hermes_host::zone;
use hermes_wire::{ProfileHome, env};
use jiff::tz::TimeZone;
use tracing::warn;

use crate::delivery::Deliveries;
use crate::delivery::post::Letters;
use crate::fence::Fence;
use crate::platform::REGISTRY;
use crate::process::Environment;
use crate::prompt;
use crate::session::{Overlay, PromptReader, Prompts};
use crate::skills::Library;
use crate::store::Owner;
use crate::tools::{self, Tools};
use crate::turn::{Review, TurnSettings};

/// Variables of the profile's own `.env` that the `gh` program of a delivery needs, and nothing else gets.
const DELIVERY_VARIABLES: [&str; 6] = [
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GH_HOST",
    "GH_CONFIG_DIR",
];

pub(super) fn given<'a>(
    config: &ProfileConfig,
    environment: &'a Environment,
    fence: &Fence,
    deliveries: &Deliveries,
    review: &Review,
) -> tools::Given<'a> {
    tools::Given {
        inherited: &environment.base,
        secrets: redact::values::of_profile(&REGISTRY, config),
        reviewer: Some(Box::new(review.clone())),
        fence: fence.clone(),
        post: Some(Arc::new(Letters::new(deliveries, config))),
    }
}

pub(super) fn child_env(
    config: &ProfileConfig,
    home: &ProfileHome,
    environment: &Environment,
) -> Vec<(String, String)> {
    let mut child_env = environment.base.clone();
    child_env.push((env::HERMES_HOME.to_owned(), home.path().to_string()));
    child_env.push((env::HERMES_PROFILE.to_owned(), config.name.to_string()));
    child_env
}

pub(super) fn delivery_env(config: &ProfileConfig, child_env: &[(String, String)]) -> Vec<(String, String)> {
    let own: Vec<(String, String)> = DELIVERY_VARIABLES
        .into_iter()
        .chain(network::variables())
        .filter_map(|name| Some((name.to_owned(), config.env.get(name)?.to_owned())))
        .collect();
    // Of a proxy's two spellings programs prefer one or the other: the profile's is left alone.
    let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    child_env.iter().filter(|(name, _)| !is_own(name)).cloned().chain(own.iter().cloned()).collect()
}

pub(super) fn turn_settings(
    config: &ProfileConfig,
    overlay: Overlay,
    supervisor: Option<Owner>,
) -> TurnSettings {
    // 0 is no limit, as configured.
    let limit = |most: u32| if most == 0 { usize::MAX } else { usize::try_from(most).unwrap_or(usize::MAX) };
    TurnSettings {
        busy_acks: config.busy_acks,
        max_turns: config.agent.max_turns,
        chats: config.chats.clone(),
        overlay,
        profile: config.name.clone(),
        max_concurrent_sessions: limit(config.max_concurrent_sessions),
        max_concurrent_runs: limit(config.settings.iter().find_map(Settings::direct_turns).unwrap_or(0)),
        inactivity_timeout: Some(config.agent.gateway_timeout).filter(|timeout| !timeout.is_zero()),
        postpone_timeout: config.agent.postpone_timeout,
        supervisor,
        write_sessions_json: true,
        timezone: timezone(&config.timezone),
        compression: config.compression,
        compression_timeout: config.auxiliary.timeout(Task::Compression),
        title_language: config.auxiliary.of(Task::TitleGeneration).and_then(|title| title.language.clone()),
    }
}

fn timezone(name: &str) -> TimeZone {
    if name.is_empty() {
        return zone::system();
    }
    zone::named(name).unwrap_or_else(|| {
        warn!(timezone = name, "unknown time zone; the system's is used");
        zone::system()
    })
}

pub(super) fn prompt_reader(
    config: &Arc<ProfileConfig>,
    home: &ProfileHome,
    skills: Library,
    tools: Tools,
) -> PromptReader {
    let (config, home) = (Arc::clone(config), home.clone());
    let reader = prompt::Reader::new(Arc::clone(&config), home.clone(), skills);
    Arc::new(move || -> Prompts {
        let (config, home, sources, tools) =
            (Arc::clone(&config), home.clone(), reader.read(), tools.clone());
        Arc::new(move |context| {
            let platform = &context.source.platform;
            let session = prompt::Session { platform, model: context.model, tools: &tools };
            sources.system_prompt(&config, &home, context.today, session)
        })
    })
}
