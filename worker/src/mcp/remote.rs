//! A server that is reached by HTTP: with which headers, certificates and token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::servers::ToolServer;
use http::{HeaderName, HeaderValue};
use reqwest::{Client, Url};
use rmcp::service::{ClientInitializeError, RoleClient, RunningService};
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationManager, OAuthClientConfig, OAuthHttpClient, OAuthHttpClientFuture,
    OAuthHttpRedirectPolicy, OAuthHttpRequest,
};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransport, StreamableHttpClientTransportConfig,
};

use super::Premises;
use super::beginning::Beginning;
use super::fault::{self, Fault, shown};
use super::handler::Handler;
use super::reader::LONGEST;
use super::tokens::Tokens;
use crate::engine::native::client::{self, Special};

/// Longest answer of a server of tokens, in bytes.
const OAUTH_ANSWER: usize = 1 << 20;
/// Redirects that are followed while it is looked for.
const REDIRECTS: usize = 5;
/// Time for one of its answers.
const OAUTH_TIME: Duration = Duration::from_secs(30);

/// Path of the address that a browser comes back to.
pub(super) const PATH: &str = "/callback";

/// Begins the conversation with a server at an address.
pub(super) async fn begin(
    server: &ToolServer,
    premises: &Premises,
    begin: Beginning,
) -> Result<RunningService<RoleClient, Handler>, Fault> {
    let url = address(server)?;
    let client = http(server, premises, &url)?;
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
        .custom_headers(headers(server)?)
        .max_sse_event_size(LONGEST)
        .max_json_response_size(LONGEST);
    let running = if server.oauth {
        let manager = authorized(server, premises, &url, client.clone()).await?;
        serve(AuthClient::new(client, manager), config, begin).await
    } else {
        serve(client, config, begin).await
    };
    running.map_err(|error| fault::of_beginning(&error, server, &premises.flag))
}

async fn serve<C>(
    client: C,
    config: StreamableHttpClientTransportConfig,
    begin: Beginning,
) -> Result<RunningService<RoleClient, Handler>, ClientInitializeError>
where
    C: StreamableHttpClient + Send + Sync + 'static,
{
    begin.serve(StreamableHttpClientTransport::with_client(client, config)).await
}

/// Where a server is.
pub(super) fn address(server: &ToolServer) -> Result<Url, Fault> {
    let text = server.url.as_ref().map_or("", |url| url.expose());
    // What the library says of an address may repeat it.
    Url::parse(text).map_err(|_| Fault::lasting("its `url` is no http or https address"))
}

/// What requests to a server go out with.
pub(super) fn http(server: &ToolServer, premises: &Premises, url: &Url) -> Result<Client, Fault> {
    let path = |path: &str| premises.home.path().join(path);
    let special = Special {
        verify: &server.verify,
        base: premises.home.path(),
        certificate: server.client_cert.as_deref().map(path),
        key: server.client_key.as_deref().map(path),
    };
    client::specially(url, &premises.network, &special)
        .map_err(|error| Fault::lasting(shown(&error.to_string(), server)))
}

fn headers(server: &ToolServer) -> Result<HashMap<HeaderName, HeaderValue>, Fault> {
    let mut all = HashMap::new();
    for (name, value) in &server.headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Fault::lasting(format!("`{}` is no name of a header", name.escape_debug())))?;
        // A value is never repeated.
        let mut value = HeaderValue::from_str(value.expose().trim())
            .map_err(|_| Fault::lasting(format!("the value of the header `{name}` cannot be sent")))?;
        value.set_sensitive(true);
        all.insert(header, value);
    }
    Ok(all)
}

/// What knows the tokens of a server, and gets new ones while it may.
async fn authorized(
    server: &ToolServer,
    premises: &Premises,
    url: &Url,
    client: Client,
) -> Result<AuthorizationManager, Fault> {
    let tokens = Tokens::of(&premises.home, &server.name);
    let known = tokens.read().map_err(|error| Fault::new(error.to_string()))?;
    let Some(known) = known.filter(|known| known.token_response.is_some()) else {
        return Err(Fault::login(server, &premises.flag));
    };
    let mut manager = manager(url, client).await.map_err(|error| of_auth(&error, server, &premises.flag))?;
    manager.set_credential_store(tokens);
    let ready =
        manager.initialize_from_store().await.map_err(|error| of_auth(&error, server, &premises.flag))?;
    if !ready {
        return Err(Fault::login(server, &premises.flag));
    }
    if let Some(secret) = &server.client.secret {
        let config = OAuthClientConfig::new(known.client_id, redirect(0)).with_client_secret(secret.expose());
        manager.configure_client(config).map_err(|error| of_auth(&error, server, &premises.flag))?;
    }
    Ok(manager)
}

/// Where the browser comes back to after a login.
pub(super) fn redirect(port: u16) -> String {
    format!("http://127.0.0.1:{port}{PATH}")
}

/// What gets tokens, by requests that go out like all others of the profile.
pub(super) async fn manager(url: &Url, client: Client) -> Result<AuthorizationManager, AuthError> {
    AuthorizationManager::new_with_oauth_http_client(url.clone(), Arc::new(Carrier(client))).await
}

/// Why there is no token.
pub(super) fn of_auth(error: &AuthError, server: &ToolServer, flag: &str) -> Fault {
    match error {
        AuthError::AuthorizationRequired | AuthError::TokenExpired | AuthError::TokenRefreshRejected(_) => {
            Fault::login(server, flag)
        }
        error => Fault::new(shown(&error.to_string(), server)),
    }
}

/// Carries what the library asks a server of tokens. The client follows no redirects by itself.
struct Carrier(Client);

#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error("the answer is longer than {OAUTH_ANSWER} bytes")]
    TooLong,
    #[error("it leads somewhere else {REDIRECTS} times")]
    TooFar,
    #[error("it leads to an address that is not encrypted")]
    Unsafe,
}

impl OAuthHttpClient for Carrier {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let OAuthHttpRequest { request, redirect_policy, timeout, .. } = request;
            let mut request = reqwest::Request::try_from(request)?;
            *request.timeout_mut() = Some(timeout.unwrap_or(OAUTH_TIME).min(OAUTH_TIME));
            let may_follow =
                redirect_policy == OAuthHttpRedirectPolicy::Follow && request.method() == http::Method::GET;
            for _ in 0..=REDIRECTS {
                let next = request.try_clone();
                let mut response = self.0.execute(request).await?;
                let location = response.headers().get(http::header::LOCATION);
                let location = location.and_then(|to| response.url().join(to.to_str().ok()?).ok());
                if let (true, true, Some(to), Some(mut next)) =
                    (may_follow, response.status().is_redirection(), location, next)
                {
                    if response.url().scheme() == "https" && to.scheme() != "https" {
                        return Err(CarryError::Unsafe.into());
                    }
                    *next.url_mut() = to;
                    request = next;
                    continue;
                }
                let mut answer = http::Response::builder().status(response.status());
                for (name, value) in response.headers() {
                    answer = answer.header(name, value);
                }
                let mut body = Vec::new();
                while let Some(piece) = response.chunk().await? {
                    if body.len() + piece.len() > OAUTH_ANSWER {
                        return Err(CarryError::TooLong.into());
                    }
                    body.extend_from_slice(&piece);
                }
                return Ok(answer.body(body)?);
            }
            Err(CarryError::TooFar.into())
        })
    }
}
