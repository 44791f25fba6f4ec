//! The engine that calls a model.
//!
//! # Guarantees
//!
//! - A call is repeated only while nobody has been given any text; after that a failure ends the turn.
//! - `agent.api_max_retries` calls in total; waits follow the provider's `Retry-After`, else double, and end at once on
//!   cancellation, which also drops the connection. Nobody's place is held meanwhile. A longer wait than a minute is not begun.
//! - The key goes to the configured address only, and never into an error, an event or the log.
//! - Client and connections come into being with the first turn.
//!
//! Theory: `chat` says what is sent in which `shape`, and `answer` reads what comes, over `coding` (compression), `sse` (events), `lenient` (JSON),
//! `numbers`, `think`, `calls` and `finish`; `retry` decides what a failure means, `client` connects; here they are put together.

mod address;
mod answer;
mod calls;
mod chat;
pub(crate) mod client;
mod coding;
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

use bytes::BytesMut;
use futures_util::StreamExt;
use hermes_config::network::Proxy;
use hermes_config::{ProfileConfig, Secret, redact};
use hermes_wire::ProfileHome;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response};
use tokio_util::sync::CancellationToken;

pub use retry::RetryPolicy;
pub(crate) use retry::jitter;

use super::{Engine, EngineError, EngineFuture, EventSink, ModelId, Outcome, Prompt, Usage};
use crate::provider::health::Health;
use crate::provider::said::Said;
use crate::provider::{self, Endpoint, Fault, NO_KEY, ProviderError};
use answer::Answer;
use chat::Audience;
use coding::Coder;
use retry::{Failure, Next};
use shape::{Repair, Shape};

/// The one status that a proxy answers for itself (RFC 9110, 15.5.8).
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// Most of an error body that is read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Most of a provider's message that is shown, in characters.
const MAX_MESSAGE: usize = 500;

/// Most refused parts that one turn leaves out.
const MAX_REPAIRS: u32 = 8;

/// Time an error body has.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

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
        }
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

    async fn turn(&self, prompt: &Prompt, events: EventSink) -> Result<Outcome, EngineError> {
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
            let mut answer = Answer::new(prompt.options.contains_key("tools"));
            let request = client.post(endpoint.chat_url()).headers(headers.clone());
            let body = chat::body(endpoint, prompt, &shape);
            let request = request.json(&body);
            let result = call(request, endpoint, &mut answer, &mut audience).await;
            usage = sum(usage, answer.usage);
            let mut failure = match result {
                Ok(()) => {
                    if let Some(shape) = lesson {
                        self.learn(shape);
                    }
                    return Ok(outcome(endpoint, answer, usage, calls));
                }
                Err(failure) => failure,
            };
            let repair = shape.repaired(&failure, &body, endpoint, &prompt.options);
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
                    let when = retry::when(wait, jiff::Timestamp::now());
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
                session = prompt.session_id,
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

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Interrupted),
                result = self.turn(prompt, events) => result,
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

/// One call, from the request to the last byte of the answer. A failure holds no secret: what a provider says enters here.
async fn call(
    request: reqwest::RequestBuilder,
    endpoint: &Endpoint,
    answer: &mut Answer,
    audience: &mut Audience,
) -> Result<(), Failure> {
    exchange(request, endpoint, answer, audience).await.map_err(|failure| cleaned(failure, endpoint))
}

async fn exchange(
    request: reqwest::RequestBuilder,
    endpoint: &Endpoint,
    answer: &mut Answer,
    audience: &mut Audience,
) -> Result<(), Failure> {
    let response = request.send().await.map_err(|e| unsent(&e, endpoint))?;
    if !response.status().is_success() {
        return Err(refused(response, endpoint).await);
    }
    let coder = coder(&response)?;
    answer.read(coding::decoded(response.bytes_stream(), coder), audience).await
}

/// What takes the coding off a body.
fn coder(response: &Response) -> Result<Coder, Failure> {
    let header = response.headers().get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    Coder::of(header).map_err(|unknown| Failure::new(Fault::Setup, unknown.to_string()))
}

/// A request that got no answer.
fn unsent(error: &reqwest::Error, endpoint: &Endpoint) -> Failure {
    let proxy = client::proxy(endpoint).ok().flatten();
    let whom = endpoint.shown_url();
    let whom = match &proxy {
        Some(proxy) => format!("{whom}` through the proxy `{}` of `{}", proxy.shown, proxy.variable),
        None => whom,
    };
    if error.is_connect() && error.is_timeout() {
        return Failure::new(
            Fault::Unreachable,
            format!("connecting to `{whom}` took longer than {} s", client::CONNECT_TIMEOUT.as_secs()),
        );
    }
    if error.is_timeout() {
        return Failure::new(Fault::Unreachable, format!("`{whom}` said nothing for too long"));
    }
    if let Some(tls) = client::tls_error(error) {
        // Anything else may be a connection that was cut during the handshake.
        let final_word = matches!(tls, rustls::Error::InvalidCertificate(_) | rustls::Error::General(_));
        let fault = if final_word { Fault::Setup } else { Fault::Unreachable };
        let hint = match tls {
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
                "; a certificate of your own is trusted when SSL_CERT_FILE in `.env` names its file"
            }
            _ => "",
        };
        return Failure::new(fault, format!("no secure connection to `{whom}`: {tls}{hint}"));
    }
    let what = if error.is_connect() { "cannot connect to" } else { "cannot send a request to" };
    let mut why = client::innermost(error);
    let mut fault = if error.is_builder() { Fault::Setup } else { Fault::Unreachable };
    // The library's type is its own; its words are all there is.
    if let Some(proxy) = proxy.filter(|_| why.ends_with("proxy authorization required")) {
        fault = Fault::Setup;
        why.push_str(&wants_password(&proxy));
    }
    Failure::new(fault, format!("{what} `{whom}`: {why}"))
}

fn wants_password(proxy: &Proxy) -> String {
    format!(
        " (the proxy `{}` wants another name and password than those that stand before the host in {})",
        proxy.shown, proxy.variable
    )
}

/// A request that was answered with an error status.
async fn refused(response: Response, endpoint: &Endpoint) -> Failure {
    let status = response.status();
    let asked = retry::asked(response.headers(), jiff::Timestamp::now());
    let url = response.url().clone();
    let said = if status.is_redirection() {
        Said::text(
            "the address redirects elsewhere, which is never followed; set model.base_url to the final address",
        )
    } else {
        let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, body_of(response, MAX_ERROR_BODY))
            .await
            .unwrap_or_default();
        match lenient::from_body(&body) {
            Some(json) => Said::of(&json.value),
            // A web server's page says nothing that its status does not.
            None if body.trim_ascii_start().starts_with(b"<") => Said::text(""),
            None => Said::text(&String::from_utf8_lossy(&body)),
        }
    };
    let code = status.as_u16();
    let fault = Fault::of_answer(code, &said.word, &said.message);
    let message = lenient::settled(said.message.trim());
    let message =
        if message.is_empty() { status.canonical_reason().unwrap_or("no reason given") } else { &message };
    let mut message = format!("HTTP {code}: {message}");
    if address::is_in_question(code, &said.word, &message) {
        message.push_str(&address::advice(&url));
    }
    if code == PROXY_AUTHENTICATION_REQUIRED
        && let Ok(Some(proxy)) = client::proxy(endpoint)
    {
        message.push_str(&wants_password(&proxy));
    }
    Failure { fault, status: Some(code), message, asked }
}

/// A body without its coding, as far as it can be read and up to `limit` bytes: a part still says more than nothing.
async fn body_of(response: Response, limit: usize) -> BytesMut {
    let mut body = BytesMut::new();
    let Ok(coder) = coder(&response) else { return body };
    let mut bytes = coding::decoded(response.bytes_stream(), coder);
    while body.len() < limit {
        match bytes.next().await {
            Some(Ok(chunk)) => body.extend_from_slice(&chunk),
            Some(Err(_)) | None => break,
        }
    }
    body.truncate(limit);
    body
}

/// A failure on one line, without the key, parts of it, and whatever else looks like a credential.
fn cleaned(mut failure: Failure, endpoint: &Endpoint) -> Failure {
    let proxys = endpoint.network.secrets(&endpoint.base_url);
    let secrets = endpoint.extra_headers.values().chain([&endpoint.key]).chain(&proxys).map(Secret::expose);
    let secrets: Vec<&str> = secrets.map(str::trim).filter(|secret| *secret != NO_KEY).collect();
    let message = failure.message.split_whitespace().collect::<Vec<_>>().join(" ");
    failure.message = redact::prose(&message, &secrets);
    failure
}

/// A message of a length that fits a line.
fn brief(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn headers(endpoint: &Endpoint) -> Result<HeaderMap, EngineError> {
    let unusable = |what: &str| {
        EngineError::Config(format!(
            "{what} for provider '{}' holds characters that no header may have",
            endpoint.provider
        ))
    };
    let value = |text: &str, what: &str| {
        let mut value = HeaderValue::from_str(text).map_err(|_| unusable(what))?;
        value.set_sensitive(true);
        Ok::<_, EngineError>(value)
    };
    let mut headers = HeaderMap::new();
    // Where none is asked for, any would do.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(AUTHORIZATION, value(&format!("Bearer {}", endpoint.key.expose().trim()), "the key")?);
    for (name, text) in &endpoint.extra_headers {
        let what = format!("the extra header `{name}`");
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unusable(&what))?;
        headers.insert(name, value(text.expose(), &what)?);
    }
    Ok(headers)
}

fn outcome(endpoint: &Endpoint, answer: Answer, usage: Usage, calls: u32) -> Outcome {
    Outcome {
        finish_reason: answer.finish_reason().to_owned(),
        tool_calls: answer.calls.finish(),
        text: answer.text,
        model: answer.model.unwrap_or_else(|| endpoint.model.clone()),
        provider: endpoint.provider.clone(),
        base_url: endpoint.shown_url(),
        usage,
        calls,
    }
}

fn sum(a: Usage, b: Usage) -> Usage {
    Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cache_read_tokens: a.cache_read_tokens.saturating_add(b.cache_read_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        reasoning_tokens: a.reasoning_tokens.saturating_add(b.reasoning_tokens),
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
