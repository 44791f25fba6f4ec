//! Asks a provider once, on request: its list of models, and then one token.
//!
//! The list costs nothing and refuses a wrong key. That it is given says little: some give it to anybody, and to whoever has no
//! money left. So the smallest possible turn decides, unless no model is chosen.

use std::time::Duration;

use hermes_wire::contract::provider_trial::{Outcome, Trial};
use hermes_wire::providers::Wire;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exchange::{brief, cleaned, refused, unsent};
use super::retry::Failure;
use super::wire::headers;
use super::{Native, RetryPolicy, client};
use crate::engine::{Engine as _, EngineError, Message, Prompt, Role, Unrecorded};
use crate::provider::{Endpoint, Fault};

/// Time that one request has.
const PATIENCE: Duration = Duration::from_secs(15);

/// What asking came to.
pub(crate) async fn probe(endpoint: Endpoint) -> Trial {
    let (provider, model, base_url) =
        (endpoint.provider.clone(), endpoint.model.clone(), endpoint.shown_url());
    let outcome = match ask(endpoint).await {
        Ok(how) => Outcome::Answers { how: how.to_owned() },
        Err(Failure { fault, status, message, .. }) => {
            Outcome::Fails { class: fault.code().to_owned(), code: status, message }
        }
    };
    Trial { provider, model, base_url, outcome }
}

async fn ask(endpoint: Endpoint) -> Result<&'static str, Failure> {
    match list(&endpoint).await {
        Ok(()) if endpoint.model.is_empty() => return Ok("its list of models"),
        Ok(()) => {}
        // There may be none, or none for this key.
        Err(failure) if matches!(failure.status, Some(400 | 403 | 404 | 405 | 501)) => {}
        Err(failure) => {
            let failure = cleaned(failure, &endpoint);
            return Err(Failure { message: brief(failure.message), ..failure });
        }
    }
    call(endpoint).await.map(|()| "one token")
}

/// Whether it gives a list of its models.
async fn list(endpoint: &Endpoint) -> Result<(), Failure> {
    let setup = |e: &dyn std::fmt::Display| Failure::new(Fault::Setup, e.to_string());
    let client = client::build(endpoint, Some(PATIENCE)).map_err(|e| setup(&e))?;
    let request = client
        .get(endpoint.models_url())
        .timeout(PATIENCE)
        .headers(headers(endpoint).map_err(|e| setup(&e))?);
    let response = request.send().await.map_err(|e| unsent(&e, endpoint))?;
    if response.status().is_success() { Ok(()) } else { Err(refused(response, endpoint).await) }
}

/// The smallest turn there is.
async fn call(mut endpoint: Endpoint) -> Result<(), Failure> {
    // A response has sixteen at least.
    endpoint.max_tokens = Some(if endpoint.wire == Wire::Responses { 16 } else { 1 });
    let policy = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let engine = Native::new(Ok(endpoint), policy, Some(PATIENCE));
    let message = Message::new(Role::User, Value::String("ping".to_owned()));
    let prompt = Prompt { session_id: "probe".to_owned(), messages: vec![message], ..Prompt::default() };
    let (events, _pieces) = mpsc::channel(16);
    let turn = tokio::time::timeout(
        PATIENCE,
        engine.run(&prompt, &Unrecorded, events.into(), CancellationToken::new()),
    )
    .await;
    match turn {
        // One token may be nothing to show.
        Ok(Ok(_) | Err(EngineError::Provider { fault: Fault::Empty, .. })) => Ok(()),
        Ok(Err(EngineError::Provider { fault, status, message, .. })) => {
            Err(Failure { status, ..Failure::new(fault, message) })
        }
        Ok(Err(e)) => Err(Failure::new(Fault::Setup, e.to_string())),
        Err(_) => Err(Failure::new(Fault::Unreachable, format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
