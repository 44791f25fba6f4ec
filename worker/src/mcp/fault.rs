//! Why a server is not there, or does not do what it is asked: in words, without a key.

use std::time::Duration;

use hermes_config::redact;
use hermes_config::servers::ToolServer;
use rmcp::model::ErrorCode;
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;

/// Most that is said of what a server said, in characters.
const MOST: usize = 600;

/// Why a server is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// For people.
    pub(super) reason: String,
    /// Trying again changes nothing.
    pub(super) is_final: bool,
    /// Somebody has to log in.
    pub(super) wants_login: bool,
}

impl Fault {
    /// One that may pass.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false, wants_login: false }
    }

    /// One that does not.
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(reason) }
    }

    /// Somebody has to log in.
    pub(super) fn login(server: &ToolServer, flag: &str) -> Self {
        let command = format!("hermes{flag} mcp login {}", quoted(&server.name));
        let reason = if server.oauth {
            format!("nobody is logged in, or the login is over: `{command}`")
        } else {
            format!("it wants a login: set `mcp_servers.{}.auth` to `oauth`, then `{command}`", server.name)
        };
        Self { wants_login: true, ..Self::lasting(reason) }
    }

    /// It did not come up in time.
    pub(super) fn late(after: Duration) -> Self {
        Self::new(format!("it was not ready within {} s", after.as_secs_f32()))
    }
}

/// A name as a shell reads it.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@' | ':');
    if name.chars().all(is_plain) { name.to_owned() } else { format!("'{name}'") }
}

/// What a server said, without what looks like a key.
pub(super) fn redacted(text: &str, server: &ToolServer) -> String {
    let known: Vec<&str> = server.secrets().map(hermes_config::Secret::expose).collect();
    // An address may hold a key anywhere.
    let text = match &server.url {
        Some(url) => text.replace(url.expose(), &server.place()),
        None => text.to_owned(),
    };
    redact::prose(text.trim(), &known).replace("***", "[REDACTED]")
}

/// The same, and not too much of it.
pub(super) fn shown(text: &str, server: &ToolServer) -> String {
    let text = redacted(text, server);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Why a conversation did not begin.
pub(super) fn of_beginning(error: &ClientInitializeError, server: &ToolServer, flag: &str) -> Fault {
    if error.is_authorization_required() || error.auth_challenge().is_some() {
        return Fault::login(server, flag);
    }
    let reason = match error {
        ClientInitializeError::ConnectionClosed(_) => "it ended before it answered".to_owned(),
        ClientInitializeError::JsonRpcError(error) => format!("it refuses: {}", error.message),
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            return Fault::lasting("it speaks no version of the protocol that is known here");
        }
        ClientInitializeError::TransportError { error, .. } => innermost(error.error.as_ref()),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            return of_beginning(fallback, server, flag);
        }
        _ => "it answers in a way that is none of the protocol's".to_owned(),
    };
    Fault::new(shown(&reason, server))
}

/// Why a call brought nothing, for the model.
pub(super) fn of_call(error: &ServiceError, server: &ToolServer, flag: &str) -> String {
    let text = match error {
        ServiceError::McpError(error) if error.code == ErrorCode::METHOD_NOT_FOUND => {
            "the server does not do that".to_owned()
        }
        ServiceError::McpError(error) => error.message.to_string(),
        ServiceError::TransportClosed | ServiceError::Cancelled { .. } => {
            "the server went while the call ran: whether it was done is not known".to_owned()
        }
        ServiceError::TransportSend(_)
            if error.is_authorization_required() || error.auth_challenge().is_some() =>
        {
            Fault::login(server, flag).reason
        }
        ServiceError::TransportSend(error) => {
            format!("the server cannot be reached: {}", innermost(error.error.as_ref()))
        }
        _ => "the server answers in a way that is none of the protocol's".to_owned(),
    };
    shown(&text, server)
}

/// What happened, of an error that is about other errors.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    type OverHttp = StreamableHttpError<reqwest::Error>;
    let chain = || std::iter::once(error).chain(hermes_host::cause::causes(error));
    // The library names this one as nobody's cause.
    if let Some(StreamableHttpError::Client(inner)) =
        chain().find_map(|error| error.downcast_ref::<OverHttp>())
    {
        let cause = hermes_host::cause::causes(inner).last();
        return cause.map_or_else(|| inner.to_string(), ToString::to_string);
    }
    chain().last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_holds_no_key() {
        let mut server = ToolServer::new("x");
        server.env.insert("K".to_owned(), hermes_config::Secret::new("a plain-looking value"));
        let text = "bad key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789, a plain-looking value, Authorization: Bearer abcdefghijklmnop1234";
        let text = shown(text, &server);
        assert!(text.contains("[REDACTED]"), "{text}");
        for part in ["abcdefghij", "plain-looking"] {
            assert!(!text.contains(part), "{text}");
        }
        assert!(shown(&"word ".repeat(1000), &server).chars().count() <= MOST + 1);
    }

    #[test]
    fn a_login_is_asked_for_by_the_command_that_does_it() {
        let mut server = ToolServer::new("my server");
        server.oauth = true;
        let fault = Fault::login(&server, " -p coder");
        assert!(fault.reason.contains("`hermes -p coder mcp login 'my server'`"), "{}", fault.reason);
        assert!(fault.is_final && fault.wants_login);
    }
}
