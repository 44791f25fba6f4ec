//! The engine that calls a model.
//!
//! # Guarantees
//!
//! - A call is repeated only while nobody has been given any of its text; after that a failure ends the turn.
//! - `agent.api_max_retries` calls in total; waits follow the provider's `Retry-After`, else double, and end at once on
//!   cancellation, which also drops the connection. Nobody's place is held meanwhile. A longer wait than a minute is not begun.
//! - The key goes to the configured address only, and never into an error, an event or the log.
//! - Client and connections come into being with the first turn.
//!
//! Theory: `chat` says what is sent in which `shape`, and `answer` reads what comes, over `coding` (compression), `sse` (events), `lenient` (JSON),
//! `numbers`, `think`, `calls` and `finish`; `retry` decides what a failure means, `client` connects, and `exchange` is one
//! request with its answer; here they are put together.

mod address;
mod answer;
mod calls;
mod chat;
pub(crate) mod client;
mod coding;
mod exchange;
mod finish;
mod lenient;
mod numbers;
pub(crate) mod probe;
mod retry;
mod shape;
mod sse;
mod think;
mod trust;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_host::clock;
use hermes_wire::ProfileHome;
use reqwest::Client;
use tokio_util::sync::CancellationToken;

pub use retry::RetryPolicy;
pub(crate) use retry::jitter;

use super::steps::{self, Ask, Model, Own, Reply};
use super::{Engine, EngineError, EngineFuture, EventSink, Journal, ModelId, Outcome, Prompt, Usage};
use crate::provider::health::Health;
use crate::provider::{self, Endpoint, Fault, ProviderError};
use crate::tools::Tools;
use answer::Answer;
use chat::Audience;
use exchange::{brief, cleaned, headers};
use retry::{Failure, Next};
use shape::{Repair, Shape};

/// Most refused parts that one turn leaves out.
const MAX_REPAIRS: u32 = 8;

/// The engine; see the module.
pub struct Native {
    endpoint: Result<Endpoint, ProviderError>,
    /// What sessions record, also where there is no endpoint.
    model: ModelId,
    policy: RetryPolicy,
    silence: Option<Duration>,
    client: OnceLock<Client>,
    /// What the endpoint was found to accept.
    shape: Mutex<Shape>,
    /// Told of a call that failed and is made again; of the last one whoever runs the turn knows.
    health: Option<Health>,
    tools: Tools,
    /// Most calls of a turn that may want tools called.
    max_rounds: u32,
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
        if engine.endpoint.is_err() {
            engine.model.model.clone_from(&config.model.default);
            engine.model.provider = config.model.provider.clone().unwrap_or_default();
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
            endpoint,
            model,
            policy,
            silence,
            client: OnceLock::new(),
            shape: Mutex::default(),
            health: None,
            tools: Tools::default(),
            max_rounds: 0,
        }
    }

    /// Offers tools of the worker's own, in at most `max_rounds` calls to the model for one question.
    #[must_use]
    pub(crate) fn with_tools(mut self, tools: Tools, max_rounds: u32) -> Self {
        (self.tools, self.max_rounds) = (tools, max_rounds);
        self
    }

    /// Tells `health` of calls that fail and are made again.
    #[must_use]
    pub(crate) fn reporting(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    fn client(&self, endpoint: &Endpoint) -> Result<&Client, EngineError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client::build(endpoint, self.silence).map_err(|error| {
            let message = format!("no connection to `{}`: {error}", endpoint.shown_url());
            let Failure { fault, message, .. } = cleaned(Failure::new(Fault::Setup, message), endpoint);
            EngineError::Provider {
                fault,
                status: None,
                retry_after: None,
                is_final: false,
                message: brief(message),
                calls: 0,
            }
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// What was learned of the endpoint.
    fn shape(&self) -> Shape {
        self.shape.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, shape: Shape) {
        *self.shape.lock().unwrap_or_else(PoisonError::into_inner) = shape;
    }

    /// One call, and the attempts that follow its failures.
    async fn call(&self, ask: Ask<'_>, events: &EventSink) -> Result<Reply, EngineError> {
        let endpoint = self.endpoint.as_ref().map_err(|e| EngineError::Config(e.to_string()))?;
        let client = self.client(endpoint)?;
        let headers = headers(endpoint)?;
        let mut audience = Audience::new(events.clone());
        let mut shape = self.shape();
        // What the next turns do not have to learn again, once it has proved itself.
        let (mut lesson, mut passing) = (None, false);
        let mut usage = Usage::default();
        let mut calls = 0;
        let mut attempt = 1;
        let mut repairs = 0;
        loop {
            calls += 1;
            let mut answer = Answer::new(ask.offers_tools());
            let request = client.post(endpoint.chat_url()).headers(headers.clone());
            let body = chat::body(endpoint, &ask, &shape);
            let request = request.json(&body);
            let result = exchange::call(request, endpoint, &mut answer, &mut audience).await;
            usage = usage.plus(answer.usage);
            let mut failure = match result {
                Ok(()) => {
                    if let Some(shape) = lesson {
                        self.learn(shape);
                    }
                    return Ok(reply(endpoint, answer, usage, calls));
                }
                Err(failure) => failure,
            };
            let repair = shape.repaired(&failure, &body, endpoint, ask.options);
            failure.message = brief(failure.message);
            let failed = |message: String| EngineError::Provider {
                fault: failure.fault,
                status: failure.status,
                retry_after: failure.asked.wait,
                is_final: failure.asked.again == Some(false),
                message,
                calls,
            };
            if audience.heard {
                return Err(failed(format!("the answer broke off: {}", failure.message)));
            }
            if let Some(repair) = repair.filter(|_| repairs < MAX_REPAIRS) {
                repairs += 1;
                repair_said(&repair, &failure.message);
                passing |= !repair.lasting;
                shape = repair.shape;
                if !passing {
                    lesson = Some(shape.clone());
                }
                continue;
            }
            let delay = match self.policy.next(attempt, &failure, retry::jitter()) {
                Next::Call(delay) => delay,
                Next::Never => return Err(failed(failure.message.clone())),
                Next::Enough => {
                    let message = format!("API call failed after {attempt} retries: {}", failure.message);
                    return Err(failed(message));
                }
                Next::TooLong(wait) => {
                    let when = retry::when(wait, clock::utc());
                    return Err(failed(format!(
                        "{}; the provider asks to come back {when}",
                        failure.message
                    )));
                }
            };
            if let Some(health) = self.health.as_ref().filter(|_| failure.fault.is_providers()) {
                health.failed(&endpoint.provider, failure.fault, failure.status, &failure.message);
            }
            attempt += 1;
            tracing::warn!(
                session = ask.session_id,
                attempt,
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                reason = failure.message,
                "calling the provider again"
            );
            audience.retrying(attempt, &failure.message).await;
            events.wait(delay).await;
        }
    }
}

impl Model for Native {
    async fn ask(&self, ask: Ask<'_>, events: &EventSink) -> Result<Reply, EngineError> {
        self.call(ask, events).await
    }
}

impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn model(&self) -> ModelId {
        self.model.clone()
    }

    fn takes_options(&self) -> bool {
        true
    }

    fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        let own = Own { tools: &self.tools, limit: self.max_rounds };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Interrupted),
                result = steps::run(self, own, prompt, journal, &events) => result,
            }
        })
    }
}

/// Says that a part of a request is left out: where somebody configured it, loud enough to be found.
fn repair_said(repair: &Repair, reason: &str) {
    let part = repair.part.as_str();
    match repair.renamed {
        Some(name) => {
            tracing::info!(part, name, reason, "the provider refused a part of the request; renaming it");
        }
        None if repair.configured => {
            tracing::warn!(
                part,
                reason,
                "the provider refused what is configured; sending the request without it"
            );
        }
        None => {
            tracing::info!(part, reason, "the provider refused a part of the request; sending it without");
        }
    }
}

fn reply(endpoint: &Endpoint, answer: Answer, usage: Usage, calls: u32) -> Reply {
    let reasoning = answer.wanted_back().map(str::to_owned);
    let outcome = Outcome {
        finish_reason: answer.finish_reason().to_owned(),
        tool_calls: answer.calls.finish(),
        text: answer.text,
        model: answer.model.unwrap_or_else(|| endpoint.model.clone()),
        provider: endpoint.provider.clone(),
        base_url: endpoint.shown_url(),
        usage,
        calls,
    };
    Reply { outcome, reasoning }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
