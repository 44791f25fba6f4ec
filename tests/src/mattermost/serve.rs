//! What is answered at which address: the REST API, files, and the socket.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::state::Socket;
use super::{Call, Refusal, Shared, TOKEN, lock};
use crate::asked::{self, Asked, decoded, position};
use crate::upgraded::{self, Next, say};
use crate::wait;

/// Largest body.
const MOST: usize = 128 * 1024 * 1024;
/// Time for who listens to say who he is.
const CHALLENGE: Duration = Duration::from_secs(5);

/// Serves one client's connection.
pub(super) fn serve(mut stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(asked) = asked::read(&mut stream, &mut buffer, MOST)? {
        if asked.path == "/api/v4/websocket" {
            return socket(stream, &asked, shared);
        }
        if !answer(&mut stream, &asked, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

fn socket(mut stream: TcpStream, asked: &Asked, shared: &Arc<Shared>) -> std::io::Result<()> {
    let number = {
        let mut state = lock(&shared.state);
        if state.is_closed {
            drop(state);
            return say(&mut stream, 502, &[], b"<html>nothing here</html>");
        }
        state.opened += 1;
        let number = state.opened;
        state.sockets.insert(number, Socket::default());
        number
    };
    let since = wait::now();
    let next = || {
        let mut state = lock(&shared.state);
        let Some(own) = state.sockets.get_mut(&number) else { return vec![Next::Close] };
        let is_late = !own.is_known && since.elapsed() > CHALLENGE;
        if shared.stop.load(Ordering::SeqCst) || own.is_over || is_late {
            return vec![Next::Close];
        }
        if own.is_mute {
            return vec![Next::Nothing];
        }
        std::mem::take(&mut own.out).into_iter().map(|what| Next::Say(what.to_string())).collect()
    };
    let ended = upgraded::serve(stream, asked, next, |text| lock(&shared.state).hear(number, text, TOKEN));
    lock(&shared.state).sockets.remove(&number);
    ended
}

/// `false`: the connection is to be closed.
fn answer(stream: &mut TcpStream, asked: &Asked, shared: &Arc<Shared>) -> std::io::Result<bool> {
    let path = decoded(&asked.path);
    let Some(below) = path.strip_prefix("/api/v4/") else {
        return refuse(stream, &Refusal::page(404)).map(|()| true);
    };
    let what = format!("{} {below}", asked.method);
    let parts: Vec<&str> = below.split('/').collect();
    let query: Map<String, Value> = asked
        .query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, text)| (decoded(name), Value::String(decoded(&text.replace('+', " ")))))
        .collect();
    let is_known = asked.header("authorization").is_some_and(|said| {
        said.split_once(' ')
            .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token == TOKEN)
    });
    let done = {
        let mut state = lock(&shared.state);
        state.calls.push(Call { what: what.clone(), at: wait::now() });
        let refusal = state.refusals.get_mut(&what).and_then(std::collections::VecDeque::pop_front);
        match refusal {
            Some(refusal) => Err(refusal),
            None if !is_known || state.is_revoked => {
                Err(Refusal::error(401, "api.context.session_expired.app_error"))
            }
            None => match (asked.method.as_str(), parts.as_slice()) {
                ("GET", ["files", id]) => match state.files.get(*id).cloned() {
                    Some((_, bytes)) => {
                        drop(state);
                        return say(
                            stream,
                            200,
                            &[("Content-Type", "application/octet-stream".to_owned())],
                            &bytes,
                        )
                        .map(|()| true);
                    }
                    None => Err(Refusal::error(404, "app.file_info.get.app_error")),
                },
                ("POST", ["files"]) => {
                    let (name, bytes) = uploaded(asked, &query);
                    let id = state.file(&name, bytes);
                    let info = state.info(&id);
                    Ok(json!({"file_infos": [info], "client_ids": []}))
                }
                (method, parts) => {
                    let fields = serde_json::from_slice(&asked.body).unwrap_or_default();
                    state.answer(method, parts, &query, &fields)
                }
            },
        }
    };
    while lock(&shared.state).stuck.contains(&what) {
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        wait::pass(Duration::from_millis(5));
    }
    match done {
        Ok(answer) => {
            let status = if asked.method == "POST" { 201 } else { 200 };
            let headers = [("Content-Type", "application/json".to_owned())];
            say(stream, status, &headers, answer.to_string().as_bytes()).map(|()| true)
        }
        Err(refusal) => refuse(stream, &refusal).map(|()| true),
    }
}

fn refuse(stream: &mut TcpStream, refusal: &Refusal) -> std::io::Result<()> {
    let Refusal { status, id, reset } = refusal;
    if let Some(seconds) = reset {
        let headers = [("X-Ratelimit-Reset", seconds.to_string()), ("X-Ratelimit-Remaining", "0".to_owned())];
        return say(stream, *status, &headers, b"limit exceeded");
    }
    if id.is_empty() {
        return say(
            stream,
            *status,
            &[("Content-Type", "text/html".to_owned())],
            b"<html>nothing here</html>",
        );
    }
    let body =
        json!({"id": id, "message": "no", "detailed_error": "", "request_id": "r", "status_code": status});
    say(stream, *status, &[("Content-Type", "application/json".to_owned())], body.to_string().as_bytes())
}

/// A file that is brought: a body with its name in the query, or a form of one.
fn uploaded(asked: &Asked, query: &Map<String, Value>) -> (String, Vec<u8>) {
    let kind = asked.header("content-type").unwrap_or_default();
    let Some((_, boundary)) = kind.split_once("boundary=") else {
        let name = query.get("filename").and_then(Value::as_str).unwrap_or_default();
        return (name.to_owned(), asked.body.clone());
    };
    let mark = format!("--{boundary}").into_bytes();
    let mut rest = asked.body.as_slice();
    while let Some(at) = position(rest, &mark) {
        let part = &rest[at + mark.len()..];
        let end = position(part, &mark).unwrap_or(part.len());
        let piece = &part[..end];
        if let Some(head) = position(piece, b"\r\n\r\n") {
            let said = String::from_utf8_lossy(&piece[..head]).into_owned();
            if let Some((_, name)) = said.split_once("filename=\"") {
                let name = name.split('"').next().unwrap_or_default().to_owned();
                return (
                    name,
                    piece[head + 4..].strip_suffix(b"\r\n").unwrap_or(&piece[head + 4..]).to_vec(),
                );
            }
        }
        rest = part;
    }
    (String::new(), Vec::new())
}
