//! One provider: its connections, what was learned of it, and the attempts of one call.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hermes_host::clock;
use http::header::CONTENT_TYPE;
use reqwest::Client;

use super::answer::Answer;
use super::chat::Audience;
use super::exchange::{brief, cleaned};
use super::keys::Keys;
use super::retry::{self, Failure, Next, RetryPolicy};
use super::shape::{Repair, Shape};
use super::window::Window;
use super::{Native, client, exchange, wire};
use crate::engine::steps::{Ask, Reply};
use crate::engine::{EngineError, EventSink, Outcome, Usage};
use crate::provider::health::Health;
use crate::provider::{Endpoint, Fault};

/// Most refused parts that one turn leaves out.
const MAX_REPAIRS: u32 = 8;

/// How a call is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// What follows its failures.
    pub(super) policy: RetryPolicy,
    /// Those that are the provider's are its last error.
    pub(super) reports: bool,
    /// The model is shown pictures, where it can see.
    pub(super) shows: bool,
}

/// One provider.
pub(super) struct Way {
    pub(super) endpoint: Endpoint,
    client: OnceLock<Client>,
    /// What the endpoint was found to accept.
    shape: Mutex<Shape>,
    window: Window,
    /// Where there are several.
    keys: Option<Keys>,
    /// The model was found to take no pictures.
    blind: AtomicBool,
}

impl Way {
    /// To `endpoint`; nothing is connected.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let keys = endpoint.pool.as_ref().map(Keys::new);
        Self {
            endpoint,
            client: OnceLock::new(),
            shape: Mutex::default(),
            window: Window::default(),
            keys,
            blind: AtomicBool::new(false),
        }
    }

    /// Whether asking `endpoint` would be asking this one again.
    pub(super) fn is_to(&self, endpoint: &Endpoint) -> bool {
        let own = &self.endpoint;
        (&own.provider, &own.model, &own.base_url)
            == (&endpoint.provider, &endpoint.model, &endpoint.base_url)
    }

    /// Whether a client was built.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.client.get().is_none()
    }

    fn client(&self, silence: Option<Duration>) -> Result<&Client, EngineError> {
        let endpoint = &self.endpoint;
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client::build(endpoint, silence).map_err(|error| {
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

    /// Puts the key of the next call into `endpoint`; gives its number, where there are several.
    fn take_key(&self, endpoint: &mut Cow<'_, Endpoint>) -> Option<usize> {
        let (at, key) = self.keys.as_ref()?.next();
        endpoint.to_mut().key = key;
        Some(at)
    }

    /// Whether the call is to be made again at once with another key, because this one is refused.
    fn rotates(
        &self,
        engine: &Native,
        session: &str,
        key: Option<usize>,
        failure: &Failure,
        rotations: &mut usize,
    ) -> bool {
        let (Some(keys), Some(refused)) = (&self.keys, key) else { return false };
        let (all, another) = (keys.len(), keys.failed(refused, failure));
        self.tell_keys(engine.health.as_ref());
        if !another || *rotations >= all {
            return false;
        }
        *rotations += 1;
        tracing::warn!(
            session,
            provider = self.endpoint.provider,
            key = refused + 1,
            keys = all,
            reason = failure.message,
            "the provider refuses one of several keys; the next one is used"
        );
        true
    }

    /// Tells how the keys are, where there are several.
    pub(super) fn tell_keys(&self, health: Option<&Health>) {
        if let (Some(keys), Some(health)) = (&self.keys, health) {
            health.keys(&self.endpoint.provider, keys.standing());
        }
    }

    /// Tokens of the model's window, for a request of about so many.
    pub(super) async fn window(&self, engine: &Native, tokens: u64) -> u64 {
        self.window.of(&self.endpoint, tokens, || self.client(engine.silence)).await
    }

    /// One call, and the attempts that follow its failures.
    #[expect(clippy::too_many_lines, reason = "one loop, whose branches say what follows a failure")]
    pub(super) async fn call(
        &self,
        engine: &Native,
        manner: Manner,
        ask: Ask<'_>,
        events: &EventSink,
        audience: &mut Audience,
    ) -> Result<Reply, EngineError> {
        let client = self.client(engine.silence)?;
        let mut endpoint = wire::for_turn(&self.endpoint, ask.options);
        let mut key = self.take_key(&mut endpoint);
        let mut headers = wire::headers(&endpoint)?;
        let mut shape = self.shape();
        // What the next turns do not have to learn again, once it has proved itself.
        let (mut lesson, mut passing) = (None, false);
        let mut usage = Usage::default();
        let mut calls = 0;
        let mut attempt = 1;
        let mut repairs = 0;
        let (mut rotations, mut next_key) = (0, false);
        let sees = manner.shows && !self.blind.load(Relaxed);
        let mut pictured = match engine.pictures.as_ref().filter(|_| sees) {
            Some(pictures) => super::pictures::shown(pictures, ask.messages).await,
            None => None,
        };
        let mut is_blind = false;
        loop {
            calls += 1;
            if std::mem::take(&mut next_key) {
                key = self.take_key(&mut endpoint);
                headers = wire::headers(&endpoint)?;
            }
            let endpoint = &*endpoint;
            let mut answer = Answer::new(endpoint.wire, ask.offers_tools());
            let asked = pictured.as_deref().map_or(ask, |messages| Ask { messages, ..ask });
            let body = wire::body(endpoint, &asked, &shape)?;
            let bytes = Bytes::from(body.to_string());
            engine.tap.sent(ask.session_id, endpoint, &headers, &bytes);
            let request = client.post(endpoint.turn_url()).headers(headers.clone());
            let request = request.header(CONTENT_TYPE, "application/json").body(bytes);
            let result = exchange::call(request, endpoint, &mut answer, audience).await;
            usage = usage.plus(answer.usage);
            let mut failure = match result {
                Ok(()) => {
                    if let Some(shape) = lesson {
                        self.learn(shape);
                    }
                    self.blind.fetch_or(is_blind, Relaxed);
                    return Ok(reply(endpoint, answer, usage, calls));
                }
                Err(failure) => failure,
            };
            if failure.fault == Fault::TooLong {
                self.window.refused(&failure.message);
            }
            let repair = shape.repaired(&failure, &body, endpoint, ask.options);
            failure.message = brief(failure.message);
            let failed_with = |fault: Fault, message: String| EngineError::Provider {
                fault,
                status: failure.status,
                retry_after: failure.asked.wait,
                is_final: failure.asked.again == Some(false),
                message,
                calls,
            };
            let failed = |message: String| failed_with(failure.fault, message);
            if audience.heard {
                // Whoever has heard a part must not hear it again.
                let fault = if failure.fault == Fault::TooLong { Fault::Request } else { failure.fault };
                return Err(failed_with(fault, format!("the answer broke off: {}", failure.message)));
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
            if pictured.is_some() && super::pictures::may_be_refused(&failure) {
                tracing::info!(
                    session = ask.session_id,
                    model = endpoint.model,
                    reason = failure.message,
                    "the provider refuses a request with pictures; it is told where they are instead"
                );
                // One that is only too long says nothing of what the model takes.
                (pictured, is_blind) = (None, !super::pictures::is_too_long(&failure));
                continue;
            }
            if self.rotates(engine, ask.session_id, key, &failure, &mut rotations) {
                next_key = true;
                continue;
            }
            let delay = match manner.policy.next(attempt, &failure, retry::jitter()) {
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
            if let Some(health) =
                engine.health.as_ref().filter(|_| manner.reports && failure.fault.is_providers())
            {
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

fn reply(endpoint: &Endpoint, mut answer: Answer, usage: Usage, calls: u32) -> Reply {
    let reasoning = answer.wanted_back().map(str::to_owned);
    let thoughts = answer.thoughts();
    let outcome = Outcome {
        finish_reason: answer.finish_reason().to_owned(),
        tool_calls: answer.calls.finish(),
        text: answer.text,
        model: answer.model.unwrap_or_else(|| endpoint.model.clone()),
        provider: endpoint.provider.clone(),
        base_url: endpoint.shown_url(),
        usage,
        calls,
        is_cut_short: false,
    };
    Reply { outcome, reasoning, thoughts }
}
