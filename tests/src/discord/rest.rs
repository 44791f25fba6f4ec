//! REST: a request after the other, with their limits and everything that can go wrong.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::json;

use super::request::{self, Request};
use super::state::State;
use super::{Call, Refusal, Shared, error, lock};
use crate::wait;

/// Pause between two looks of somebody who waits.
const STEP: Duration = Duration::from_millis(5);

/// Serves one connection.
pub(super) fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    Connection { stream, shared }.serve()
}

struct Connection<'s> {
    stream: TcpStream,
    shared: &'s Shared,
}

impl Connection<'_> {
    fn serve(mut self) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(mut request) = request::read(&mut self.stream, &mut buffer)? {
            for prefix in ["/api/v10", "/api/v9", "/api"] {
                if let Some(rest) = request.path.strip_prefix(prefix) {
                    request.path = rest.to_owned();
                    break;
                }
            }
            if !self.answer(&request)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// `false`: the connection is to be closed.
    fn answer(&mut self, request: &Request) -> std::io::Result<bool> {
        if let Some(id) = request.path.strip_prefix("/files/") {
            let file = id.parse().ok().and_then(|id: u64| self.state().files.get(&id).cloned());
            return match file {
                Some(bytes) => request::say(&mut self.stream, 200, &[], &bytes).map(|()| true),
                None => self.refuse(&error(404, 0, "404: Not Found"), Vec::new()),
            };
        }
        let route = format!("{} {}", request.method, named(&request.path));
        let call = Call {
            route: route.clone(),
            path: format!("{}?{}", request.path, request.query),
            body: request.body.clone(),
            at: wait::now(),
        };
        self.state().calls.push(call);
        let refusal = self.state().refusals.get_mut(&route).and_then(VecDeque::pop_front);
        if let Some(refusal) = refusal {
            return self.refuse(&refusal, Vec::new());
        }
        let is_apart = request.path.starts_with("/interactions") || request.path.starts_with("/webhooks");
        if !is_apart && request.token != format!("Bot {}", self.state().token) {
            return self.refuse(&error(401, 0, "401: Unauthorized"), Vec::new());
        }
        let (headers, over) = self.state().limited(&route, &request.path);
        if let Some(wait) = over {
            return self.refuse(&Refusal::flood(wait, false), headers);
        }
        let done = self.state().call(request);
        while self.state().stuck.contains(&route) {
            if is_gone(&self.stream) || self.shared.stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            wait::pass(STEP);
        }
        match done {
            Ok(Some(result)) => {
                request::say(&mut self.stream, 200, &headers, result.to_string().as_bytes()).map(|()| true)
            }
            Ok(None) => request::say(&mut self.stream, 204, &headers, b"").map(|()| true),
            Err(refusal) => self.refuse(&refusal, headers),
        }
    }

    fn refuse(&mut self, refusal: &Refusal, mut headers: Vec<(String, String)>) -> std::io::Result<bool> {
        let Refusal { status, code, message, retry_after, is_global, is_page } = refusal;
        let mut body = json!({"message": message, "code": code});
        if let Some(seconds) = retry_after {
            body["retry_after"] = (*seconds).into();
            body["global"] = (*is_global).into();
            headers.push(("Retry-After".to_owned(), seconds.ceil().to_string()));
        }
        let body = if *is_page { "<html>nothing here</html>".to_owned() } else { body.to_string() };
        request::say(&mut self.stream, *status, &headers, body.as_bytes()).map(|()| true)
    }
}

/// What a path is about, without ids and tokens.
fn named(path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["interactions", ..] => "callback".to_owned(),
        ["webhooks", ..] => "webhooks".to_owned(),
        ["applications", _, "commands", ..] => "commands".to_owned(),
        ["channels", _, "threads"] => "posts".to_owned(),
        ["channels", _, "messages", _, "threads"] => "threads".to_owned(),
        ["channels", _, "messages", _, "reactions", ..] => "reactions".to_owned(),
        ["channels", _, rest, ..] => (*rest).to_owned(),
        ["guilds", _, "members", ..] => "members".to_owned(),
        ["channels" | "guilds", ..] => parts[0].to_owned(),
        _ => parts.join("/"),
    }
}

/// Whether the other end of a connection on which nothing is expected has closed it.
fn is_gone(stream: &TcpStream) -> bool {
    let looked = recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    looked != Err(Errno::EAGAIN)
}
