//! One exchange with the provider, and what a failure of it is called. What a provider says enters here, and holds no secret afterwards.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use hermes_config::network::Proxy;
use hermes_config::{Secret, redact};
use hermes_host::clock;
use http::header::CONTENT_ENCODING;
use reqwest::Response;

use super::answer::Answer;
use super::chat::Audience;
use super::coding::{self, Coder};
use super::retry::{self, Failure};
use super::{address, client, lenient};
use crate::provider::said::Said;
use crate::provider::{Endpoint, Fault, NO_KEY};

/// The one status that a proxy answers for itself (RFC 9110, 15.5.8).
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// Most of an error body that is read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Most of a provider's message that is shown, in characters.
pub(super) const MAX_MESSAGE: usize = 500;

/// Time an error body has.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// One call, from the request to the last byte of the answer. A failure holds no secret: what a provider says enters here.
pub(super) async fn call(
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
pub(super) fn unsent(error: &reqwest::Error, endpoint: &Endpoint) -> Failure {
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
pub(super) async fn refused(response: Response, endpoint: &Endpoint) -> Failure {
    let status = response.status();
    let asked = retry::asked(response.headers(), clock::utc());
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
pub(super) async fn body_of(response: Response, limit: usize) -> BytesMut {
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
pub(super) fn cleaned(mut failure: Failure, endpoint: &Endpoint) -> Failure {
    let proxys = endpoint.network.secrets(&endpoint.base_url);
    let secrets = endpoint.extra_headers.values().chain([&endpoint.key]).chain(&proxys).map(Secret::expose);
    let secrets: Vec<&str> = secrets.map(str::trim).filter(|secret| *secret != NO_KEY).collect();
    let message = failure.message.split_whitespace().collect::<Vec<_>>().join(" ");
    failure.message = redact::prose(&message, &secrets);
    failure
}

/// A message of a length that fits a line.
pub(super) fn brief(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}
