//! Logging in to a server that wants it: in the browser, which comes back to an address of this machine.

use std::time::Duration;

use hermes_config::servers::ToolServer;
use rmcp::transport::auth::{AuthError, AuthorizationRequest, AuthorizationSession};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Premises;
use super::fault::{Fault, shown};
use super::remote;
use super::tokens::Tokens;

/// Time to log in.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time for a browser to say what it wants.
const REQUEST: Duration = Duration::from_secs(10);
/// Longest head of its request, in bytes.
const HEAD: usize = 16 * 1024;

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// It is no server that one logs in to.
    #[error("`{0}` is a program: nobody logs in to it")]
    Program(String),
    /// It cannot be reached as it is configured.
    #[error("{0}")]
    Fault(String),
    /// The address to come back to cannot be had.
    #[error("no address of this machine to come back to can be opened (port {port}): {error}")]
    Listen {
        /// Which port.
        port: u16,
        /// Why.
        error: std::io::Error,
    },
    /// The server of tokens says no.
    #[error("{0}")]
    Refused(String),
    /// Nobody came back.
    #[error("nobody has logged in within {} minutes", PATIENCE.as_secs() / 60)]
    Late,
}

/// Logs in. `show` is given the address to open; `pasted` may give the address that the browser was led to, where it runs elsewhere.
pub(crate) async fn login(
    server: &ToolServer,
    premises: &Premises,
    show: impl FnOnce(&str),
    pasted: impl Future<Output = String>,
) -> Result<(), LoginError> {
    if server.url.is_none() {
        return Err(LoginError::Program(server.name.clone()));
    }
    let fault = |fault: Fault| LoginError::Fault(fault.reason);
    let refused = |error: &AuthError| LoginError::Refused(shown(&error.to_string(), server));
    let url = remote::address(server).map_err(fault)?;
    let client = remote::http(server, premises, &url).map_err(fault)?;
    let mut manager = remote::manager(&url, client).await.map_err(|error| refused(&error))?;
    manager.set_credential_store(Tokens::of(&premises.home, &server.name));
    let found = manager.resolve_metadata().await.map_err(|error| refused(&error))?;
    manager.set_metadata(found.metadata);
    let port = server.client.redirect_port.unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(|error| LoginError::Listen { port, error })?;
    let port = listener.local_addr().map_err(|error| LoginError::Listen { port, error })?.port();
    let mut request = AuthorizationRequest::new(remote::redirect(port))
        .with_client_name("Hermes")
        .with_initial_scope_selection();
    if !server.client.scopes.is_empty() {
        request = request.with_scopes(server.client.scopes.clone());
    }
    if let Some(id) = &server.client.id {
        request = request.with_preregistered_client(id);
    }
    if let Some(secret) = &server.client.secret {
        request = request.with_client_secret(secret.expose());
    }
    let session = AuthorizationSession::new(manager, request).await.map_err(|(_, error)| refused(&error))?;
    show(session.get_authorization_url());
    let back = async {
        tokio::pin!(pasted);
        tokio::select! {
            back = come_back(&listener, port) => back,
            pasted = &mut pasted => pasted,
        }
    };
    let back = tokio::time::timeout(PATIENCE, back).await.map_err(|_| LoginError::Late)?;
    if let Some(why) = refusal(&back) {
        return Err(LoginError::Refused(format!("the login was refused: {}", shown(&why, server))));
    }
    // What is being renewed meanwhile is not written over what this login gives.
    let tokens = Tokens::of(&premises.home, &server.name);
    let _alone = tokens.alone().await.map_err(|error| LoginError::Fault(error.to_string()))?;
    session.handle_callback_url(back.trim()).await.map_err(|error| refused(&error))?;
    Ok(())
}

/// What the server of tokens gives as the reason, where it refuses.
fn refusal(back: &str) -> Option<String> {
    let url = reqwest::Url::parse(back.trim()).ok()?;
    let of = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    of("error_description").or_else(|| of("error"))
}

/// The address that the browser is led to.
async fn come_back(listener: &TcpListener, port: u16) -> String {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if let Ok(Some(back)) = tokio::time::timeout(REQUEST, answer(stream, port)).await {
            return back;
        }
    }
}

/// Answers one request of a browser; the address, if it is the one that is waited for.
async fn answer(mut stream: TcpStream, port: u16) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let back = target
        .filter(|target| target.split('?').next() == Some(remote::PATH))
        .map(|target| format!("http://127.0.0.1:{port}{target}"));
    let (status, text) = match &back {
        Some(back) if refusal(back).is_some() => {
            ("200 OK", "The login was refused. You can close this page.")
        }
        Some(_) => ("200 OK", "You are logged in. You can close this page."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let page = format!("<!doctype html><meta charset=utf-8><title>Hermes</title><p>{text}</p>\n");
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    // Whoever is gone has been heard all the same.
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
    back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_browser_that_comes_back_is_heard_and_no_other_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ask = |target: &'static str| async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply
        };
        let browser = async {
            assert!(ask("/favicon.ico").await.starts_with("HTTP/1.1 404"));
            assert!(ask("/callback?code=c&state=s").await.contains("You are logged in"));
        };
        let (back, ()) = tokio::join!(come_back(&listener, port), browser);
        assert_eq!(back, format!("http://127.0.0.1:{port}/callback?code=c&state=s"));
        assert_eq!(refusal(&back), None);
        assert_eq!(
            refusal("http://127.0.0.1:1/callback?error=access_denied&state=s").as_deref(),
            Some("access_denied")
        );
    }
}
