//! The engine that calls a model.
//!
//! # Guarantees
//!
//! - A call is repeated, or made of the next provider of `fallback_providers`, only while nobody has been given any of its text; after
//!   that a failure ends the turn. The next turn begins with the first provider again.
//! - `agent.api_max_retries` calls in total; waits follow the provider's `Retry-After`, else double, and end at once on
//!   cancellation, which also drops the connection. Nobody's place is held meanwhile. A longer wait than a minute is not begun.
//! - The key goes to the configured address only, and never into an error, an event or the log.
//! - Client and connections come into being with the first turn.
//!
//! Theory: `wire` chooses what is sent (`chat`, `messages`, `responses`) in which `shape`, and `answer` reads what comes, over `coding` (compression), `sse` (events), `lenient` (JSON),
//! `numbers`, `think`, `calls` and `finish`; `retry` decides what a failure means, `client` connects, and `exchange` is one
//! request with its answer; a `way` puts them together for one provider, and here is which of them answers. `chores` is what a model does
//! beside turns.

mod address;
mod answer;
mod calls;
pub(crate) mod catalogue;
mod chat;
mod chores;
pub(crate) mod client;
mod coding;
mod exchange;
mod finish;
mod keys;
mod lenient;
mod messages;
mod numbers;
mod part;
mod pictures;
pub(crate) mod probe;
mod reader;
mod responses;
mod retry;
mod shape;
pub(crate) mod sse;
mod tap;
mod think;
mod way;
mod window;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hermes_config::platform::{ModelRoute, Settings};
use hermes_config::{Compression, ProfileConfig, Task};
use hermes_wire::ProfileHome;
use tokio_util::sync::CancellationToken;

pub use retry::RetryPolicy;
pub(crate) use retry::jitter;
pub(crate) use tap::{Request, Tap};

use super::length::Room;
use super::steps::{self, Ask, Model, Own, Reply};
use super::{Choice, Chore, Engine, EngineError, EngineFuture, EventSink, Journal, ModelId, Prompt};
use crate::media::Pictures;
use crate::provider::health::Health;
use crate::provider::{self, Endpoint, Fault, ProviderError};
use crate::tools::Tools;
use chat::Audience;
use chores::Chores;
use way::{Manner, Way};

/// Finds the endpoint of a model.
type Chooser = Box<dyn Fn(&Choice) -> Result<Endpoint, ProviderError> + Send + Sync>;

/// The engine; see the module.
pub struct Native {
    /// The provider, and those that take its place while it fails.
    ways: Result<Vec<Way>, ProviderError>,
    /// Other models that clients may ask for, by their aliases.
    routes: BTreeMap<String, Result<Way, ProviderError>>,
    /// Finds the endpoint of a model that somebody chose.
    chooser: Option<Chooser>,
    /// Tells what is sent to whoever wants to see it.
    tap: Tap,
    /// When conversations are made shorter.
    compression: Compression,
    /// Work beside conversations.
    chores: Chores,
    /// Whom sub-agents ask first; none: the model that their turn has.
    children: Option<Way>,
    /// What sessions record, also where there is no endpoint.
    model: ModelId,
    policy: RetryPolicy,
    silence: Option<Duration>,
    /// Told of a call that failed and is made again; of the last one whoever runs the turn knows.
    health: Option<Health>,
    tools: Tools,
    /// Most calls of a turn that may want tools called.
    max_rounds: u32,
    /// What came with messages of chats; none: models are shown no pictures.
    pictures: Option<Pictures>,
}

impl Native {
    /// The engine of a profile. Logs once which provider was chosen and why. `inherited` is what the gateway was started with.
    pub fn from_config(config: &ProfileConfig, home: &ProfileHome, inherited: &[(String, String)]) -> Self {
        let endpoint = provider::resolve(config, home).map(|endpoint| endpoint.inherits(inherited));
        // Why there is none is among the problems of the report, and in the log with them.
        if let Ok(endpoint) = &endpoint {
            tracing::info!(
                provider = endpoint.provider,
                model = endpoint.model,
                base_url = endpoint.shown_url(),
                rule = endpoint.rule,
                keys = endpoint.pool.as_ref().map_or(1, |pool| pool.keys.len()),
                "inference provider chosen"
            );
        }
        let silence = match &endpoint {
            Ok(endpoint) if endpoint.local => config.agent.stream_stale_timeout,
            _ => config.agent.gateway_timeout,
        };
        let mut policy =
            RetryPolicy { attempts: config.agent.api_max_retries.max(1), ..RetryPolicy::default() };
        // A turn that is silent for longer is taken for stuck.
        let patience = config.agent.gateway_timeout;
        if !patience.is_zero() {
            policy.longest_asked = policy.longest_asked.min(patience);
        }
        let mut engine = Self::new(endpoint, policy, (!silence.is_zero()).then_some(silence));
        for route in config.settings.iter().flat_map(Settings::model_routes) {
            let way = provider::routed(config, route, home).map(|e| Way::new(e.inherits(inherited)));
            engine.routes.insert(route.alias.clone(), way);
        }
        engine.compression = config.compression;
        engine.pictures = config.agent.shows_pictures.then(|| Pictures::of(home));
        engine.chores = Chores::from_config(config, home, inherited);
        // One that cannot be asked is among the problems of the report.
        let children = provider::delegation(config, home).and_then(Result::ok);
        engine.children = children.map(|endpoint| Way::new(endpoint.inherits(inherited)));
        let Ok(ways) = &mut engine.ways else {
            engine.model.model.clone_from(&config.model.default);
            engine.model.provider = config.model.provider.clone().unwrap_or_default();
            return engine;
        };
        // One that cannot be asked is among the problems of the report.
        let others = provider::fallbacks(config, home).into_iter().filter_map(Result::ok);
        for endpoint in others.map(|endpoint| endpoint.inherits(inherited)) {
            if ways.iter().all(|way| !way.is_to(&endpoint)) {
                ways.push(Way::new(endpoint));
            }
        }
        engine
    }

    /// An engine for one endpoint. `silence` is the time without a byte after which a call has failed.
    pub fn new(
        endpoint: Result<Endpoint, ProviderError>,
        policy: RetryPolicy,
        silence: Option<Duration>,
    ) -> Self {
        let model = endpoint.as_ref().map_or_else(
            |_| ModelId::default(),
            |e| ModelId { model: e.model.clone(), provider: e.provider.clone() },
        );
        Self {
            ways: endpoint.map(|endpoint| vec![Way::new(endpoint)]),
            routes: BTreeMap::new(),
            chooser: None,
            tap: Tap::default(),
            compression: Compression { enabled: false, ..Compression::default() },
            chores: Chores::default(),
            children: None,
            model,
            policy,
            silence,
            health: None,
            tools: Tools::default(),
            max_rounds: 0,
            pictures: None,
        }
    }

    /// Offers tools of the worker's own, in at most `max_rounds` calls to the model for one question.
    #[must_use]
    pub(crate) fn with_tools(mut self, tools: Tools, max_rounds: u32) -> Self {
        (self.tools, self.max_rounds) = (tools, max_rounds);
        self
    }

    /// Answers turns for which another model was chosen, too.
    #[must_use]
    pub(crate) fn choosing(
        mut self,
        config: Arc<ProfileConfig>,
        home: ProfileHome,
        inherited: Vec<(String, String)>,
    ) -> Self {
        self.chooser = Some(Box::new(move |choice: &Choice| {
            let route = ModelRoute {
                alias: String::new(),
                model: choice.model.clone(),
                provider: choice.provider.clone(),
                api_key: None,
                base_url: None,
            };
            provider::routed(&config, &route, &home).map(|endpoint| endpoint.inherits(&inherited))
        }));
        self
    }

    /// Tells `tap` what is sent.
    #[must_use]
    pub(crate) fn tapped(mut self, tap: Tap) -> Self {
        self.tap = tap;
        self
    }

    /// The way to a model that was chosen; `None` where it is one of `model_routes`, which are there already.
    fn chosen(&self, choice: &Choice) -> Option<Result<Way, ProviderError>> {
        if choice.provider.is_none() && self.routes.contains_key(&choice.model) {
            return None;
        }
        self.chooser.as_ref().map(|chooser| chooser(choice).map(Way::new))
    }

    /// Tells `health` of calls that fail and are made again, and how the keys are where there are several.
    #[must_use]
    pub(crate) fn reporting(mut self, health: Health) -> Self {
        let routes = self.routes.values().filter_map(|way| way.as_ref().ok());
        for way in self.ways.iter().flatten().chain(routes) {
            way.tell_keys(Some(&health));
        }
        self.health = Some(health);
        self
    }
}

/// One turn: whoever took the provider's place keeps it until the turn is over.
struct Attempt<'a> {
    engine: &'a Native,
    /// The way in use.
    at: AtomicUsize,
    /// The model that was asked for.
    route: Option<&'a str>,
    /// One that was chosen and has no name here.
    chosen: Option<Result<Way, ProviderError>>,
    work: Work,
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Work {
    /// A turn.
    Turn {
        /// It is of a chat, whose pictures the model is shown.
        shows: bool,
    },
    /// A piece of a turn that a sub-agent does, with a model of its own.
    Piece,
    /// A job beside turns.
    Job(Task),
}

impl Attempt<'_> {
    /// Who may be asked, in order.
    fn ways(&self) -> Result<Vec<&Way>, EngineError> {
        let unusable = |error: &ProviderError| EngineError::Config(error.to_string());
        let route = self.chosen.as_ref();
        let route = route.or_else(|| self.route.and_then(|alias| self.engine.routes.get(alias)));
        let first = match self.work {
            Work::Turn { .. } => None,
            Work::Piece => self.engine.children.as_ref(),
            Work::Job(task) => self.engine.chores.way(task),
        };
        if let Some(way) = first {
            let others = self.engine.ways.as_ref().map_or(&[][..], |ways| &ways[..]);
            return Ok(std::iter::once(way).chain(others).collect());
        }
        match (route, &self.engine.ways) {
            (Some(route), ways) => {
                let others = ways.as_ref().map_or(&[][..], |ways| &ways[1..]);
                Ok(std::iter::once(route.as_ref().map_err(unusable)?).chain(others).collect())
            }
            (None, ways) => Ok(ways.as_ref().map_err(unusable)?.iter().collect()),
        }
    }
}

impl Attempt<'_> {
    fn manner(&self) -> Manner {
        let policy = self.engine.policy;
        match self.work {
            Work::Job(_) => {
                Manner { policy: self.engine.chores.policy(policy), reports: false, shows: false }
            }
            Work::Turn { shows } => Manner { policy, reports: true, shows },
            Work::Piece => Manner { policy, reports: true, shows: false },
        }
    }

    /// Whether another provider may well answer what this one did not: all but a request that any of them would refuse. Who does a job
    /// instead of the profile's own model may have refused what that one takes.
    fn falls_back(&self, error: &EngineError) -> bool {
        matches!(error, EngineError::Provider { fault, .. }
            if !matches!(self.work, Work::Turn { .. }) || !matches!(fault, Fault::Request | Fault::TooLong))
    }
}

impl Model for Attempt<'_> {
    async fn ask(&self, ask: Ask<'_>, events: &EventSink) -> Result<Reply, EngineError> {
        let ways = self.ways()?;
        let mut audience = Audience::new(events.clone());
        let mut before = 0_u32;
        loop {
            let at = self.at.load(Relaxed);
            let way = ways[at];
            let failed = match way.call(self.engine, self.manner(), ask, events, &mut audience).await {
                Ok(mut reply) => {
                    reply.outcome.calls = reply.outcome.calls.saturating_add(before);
                    return Ok(reply);
                }
                Err(error) => steps::with_calls(error, before),
            };
            let Some(next) = ways.get(at + 1).filter(|_| !audience.heard && self.falls_back(&failed)) else {
                return Err(failed);
            };
            if let EngineError::Provider { calls, .. } = &failed {
                before = *calls;
            }
            tracing::warn!(
                session = ask.session_id,
                reason = %failed,
                from = way.endpoint.provider,
                to = next.endpoint.provider,
                model = next.endpoint.model,
                "the provider fails; the next of fallback_providers answers this turn"
            );
            audience.retrying(before.saturating_add(1), &failed.to_string()).await;
            self.at.store(at + 1, Relaxed);
        }
    }

    fn of_children(&self) -> Option<Self> {
        let Self { engine, .. } = self;
        engine.children.as_ref()?;
        Some(Attempt { engine, at: AtomicUsize::new(0), route: None, chosen: None, work: Work::Piece })
    }

    async fn room(&self, tokens: u64) -> Option<Room> {
        let settings = &self.engine.compression;
        let way = *self.ways().ok().filter(|_| settings.enabled)?.get(self.at.load(Relaxed))?;
        let window = way.window(self.engine, tokens).await;
        let threshold = settings.threshold(window, way.endpoint.max_tokens);
        Some(Room { threshold, tail: settings.tail(threshold), most_messages: settings.most_messages })
    }
}

impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn model(&self) -> ModelId {
        self.model.clone()
    }

    fn model_of(&self, choice: Option<&Choice>) -> ModelId {
        let Some(choice) = choice else { return self.model() };
        let of = |endpoint: &Endpoint| ModelId {
            model: endpoint.model.clone(),
            provider: endpoint.provider.clone(),
        };
        let known = match self.chosen(choice) {
            Some(way) => way.ok().map(|way| of(&way.endpoint)),
            None => {
                self.routes.get(&choice.model).and_then(|way| way.as_ref().ok()).map(|way| of(&way.endpoint))
            }
        };
        known.unwrap_or_else(|| ModelId {
            model: choice.model.clone(),
            provider: choice.provider.clone().unwrap_or_else(|| self.model.provider.clone()),
        })
    }

    fn takes_options(&self) -> bool {
        true
    }

    fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    fn does(&self, task: Task) -> bool {
        self.ways.is_ok() && self.chores.does(task)
    }

    fn assist(&self, chore: Chore) -> EngineFuture<'_> {
        Box::pin(chores::run(self, chore))
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        let own = Own { tools: &self.tools, limit: self.max_rounds, is_child: false };
        let choice = prompt.wishes.model.as_ref();
        let chosen = choice.and_then(|choice| self.chosen(choice));
        let route = prompt.route.as_deref().or_else(|| choice.map(|choice| choice.model.as_str()));
        let work = Work::Turn { shows: pictures::are_shown(prompt) };
        let attempt = Attempt { engine: self, at: AtomicUsize::new(0), route, chosen, work };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Interrupted),
                result = steps::run(&attempt, own, prompt, journal, &events) => result,
            }
        })
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
