//! What is answered at which address: methods of the Web API, files, and where commands and buttons are answered.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::request::{self, Request};
use super::{Call, Refusal, Shared, lock, socket};
use crate::upgraded::say;
use crate::wait;

/// Serves one client's connection.
pub(super) fn serve(mut stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(request) = request::read(&mut stream, &mut buffer)? {
        if request.path.starts_with("/link/") {
            return socket::serve(stream, &request, shared);
        }
        if !answer(&mut stream, &request, shared)? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false`: the connection is to be closed.
fn answer(stream: &mut TcpStream, request: &Request, shared: &Arc<Shared>) -> std::io::Result<bool> {
    let html = [("Content-Type", "text/html; charset=utf-8".to_owned())];
    if let Some(id) = request.path.strip_prefix("/upload/") {
        let mut state = lock(&shared.state);
        let Some(upload) = state.uploads.get_mut(id) else {
            return say(stream, 404, &[], b"").map(|()| true);
        };
        upload.bytes = request.body().to_vec();
        return say(stream, 200, &[], b"OK").map(|()| true);
    }
    if let Some(rest) = request.path.strip_prefix("/files-pri/") {
        let state = lock(&shared.state);
        let is_known =
            state.apps.iter().any(|app| app.bot_token == request.token && app.scopes.contains("files:read"));
        if !is_known {
            return say(stream, 200, &html, b"<!DOCTYPE html><title>Sign in</title>").map(|()| true);
        }
        let file = state.files.get(rest.split('/').next().unwrap_or_default()).cloned();
        return match file {
            Some((file, bytes)) => {
                let kind = file["mimetype"].as_str().unwrap_or_default().to_owned();
                say(stream, 200, &[("Content-Type", kind)], &bytes).map(|()| true)
            }
            None => say(stream, 404, &[], b"").map(|()| true),
        };
    }
    if request.path.starts_with("/commands/") || request.path.starts_with("/actions/") {
        let mut state = lock(&shared.state);
        let name = request.path.rsplit('/').next().unwrap_or_default();
        if state.expired.contains(name) {
            return say(stream, 404, &html, b"expired_url").map(|()| true);
        }
        state.respond(&request.path, &Value::Object(request.fields.clone()));
        return say(stream, 200, &html, b"ok").map(|()| true);
    }
    let Some(method) = request.path.strip_prefix("/api/") else {
        return say(stream, 404, &html, b"nothing here").map(|()| true);
    };
    let call = Call { method: method.to_owned(), fields: request.fields.clone(), at: wait::now() };
    let (done, scopes) = {
        let mut state = lock(&shared.state);
        state.calls.push(call);
        let refusal = state.refusals.get_mut(method).and_then(std::collections::VecDeque::pop_front);
        let done = match refusal {
            Some(refusal) => Err(refusal),
            None => state.call(method, &request.token, &request.fields),
        };
        let app = state.apps.iter().find(|app| app.bot_token == request.token);
        (done, app.map(|app| app.scopes.clone()).unwrap_or_default())
    };
    while lock(&shared.state).stuck.contains(method) {
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        wait::pass(Duration::from_millis(5));
    }
    let mut headers =
        vec![("Content-Type", "application/json; charset=utf-8".to_owned()), ("x-oauth-scopes", scopes)];
    match done {
        Ok(mut answer) => {
            answer["ok"] = true.into();
            say(stream, 200, &headers, answer.to_string().as_bytes()).map(|()| true)
        }
        Err(Refusal { status, error, needed, retry_after }) => {
            headers.extend(retry_after.map(|seconds| ("Retry-After", seconds.to_string())));
            let mut body = json!({"ok": false, "error": error});
            if !needed.is_empty() {
                body["needed"] = needed.into();
            }
            let body =
                if error.is_empty() { "<html>nothing here</html>".to_owned() } else { body.to_string() };
            say(stream, status, &headers, body.as_bytes()).map(|()| true)
        }
    }
}
