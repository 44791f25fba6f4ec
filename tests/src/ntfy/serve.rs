//! One client's connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::state::piece;
use super::{Refusal, Shared, lock};
use crate::asked::{self, Asked, decoded};

/// Largest body.
const MOST: usize = 64 * 1024 * 1024;
/// Largest file.
const FILE: usize = 15 * 1024 * 1024;

/// Serves it to its end.
pub(super) fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(asked) = asked::read(&mut stream, &mut buffer, MOST)? {
        lock(&shared.state).requests += 1;
        if !answer(&mut stream, shared, &asked)? {
            return Ok(());
        }
    }
    Ok(())
}

/// `false`: the connection is over.
fn answer(stream: &mut TcpStream, shared: &Shared, asked: &Asked) -> std::io::Result<bool> {
    let parts: Vec<String> = asked.path.split('/').skip(1).map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_allowed = {
        let state = lock(&shared.state);
        state.required.is_none() || asked.header("authorization") == state.required
    };
    let what = if asked.method == "GET" { "subscribe" } else { "publish" };
    if let Some(refusal) =
        lock(&shared.state).refusals.get_mut(what).and_then(std::collections::VecDeque::pop_front)
    {
        return refuse(stream, &refusal);
    }
    if !is_allowed {
        let is_anonymous = asked.header("authorization").is_none();
        return refuse(
            stream,
            &if is_anonymous { Refusal::own(403, 40301) } else { Refusal::own(401, 40101) },
        );
    }
    match (asked.method.as_str(), &parts[..]) {
        ("GET", ["file", name]) => {
            let file = lock(&shared.state).files.get(*name).cloned();
            match file {
                Some(bytes) => say(stream, 200, None, &bytes),
                None => refuse(stream, &Refusal::own(404, 40401)),
            }
        }
        ("GET", [topic, "json"]) if is_topic(topic) => subscribe(stream, shared, asked, topic),
        ("POST" | "PUT", [topic]) if is_topic(topic) => publish(stream, shared, asked, topic),
        _ => refuse(stream, &Refusal::own(404, 40401)),
    }
}

fn is_topic(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A parameter: a header with `X-` or without, or a part of the address.
fn param(asked: &Asked, names: &[&str]) -> Option<String> {
    let header =
        names.iter().find_map(|name| asked.header(&format!("x-{name}")).or_else(|| asked.header(name)));
    header.or_else(|| {
        let pairs = asked.query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(name, _)| names.contains(name));
        found.next().map(|(_, value)| decoded(&value.replace('+', " ")))
    })
}

fn subscribe(stream: &mut TcpStream, shared: &Shared, asked: &Asked, topic: &str) -> std::io::Result<bool> {
    let mut state = lock(&shared.state);
    state.asked.push(asked.query.clone());
    let since = param(asked, &["since", "si"]).unwrap_or_default();
    let is_poll =
        param(asked, &["poll", "po"]).is_some_and(|poll| matches!(poll.as_str(), "1" | "true" | "yes"));
    let since = if is_poll && since.is_empty() { "all" } else { &since };
    if is_poll {
        let lines: String = state.since(topic, since).iter().map(|message| format!("{message}\n")).collect();
        drop(state);
        return say(stream, 200, None, lines.as_bytes());
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    stream.write_all(&piece(&state.event("open", topic)))?;
    for message in state.since(topic, since) {
        stream.write_all(&piece(&message))?;
    }
    state.readers.push((topic.to_owned(), stream.try_clone()?));
    drop(state);
    // The end is the reader's, or that of a cut.
    stream.read(&mut [0; 1]).map(|_| false)
}

fn publish(stream: &mut TcpStream, shared: &Shared, asked: &Asked, topic: &str) -> std::io::Result<bool> {
    let filename = param(asked, &["filename", "file", "f"]);
    let is_kept = param(asked, &["cache"]).is_none_or(|cache| cache != "no");
    let mut more = json!({"cache": is_kept});
    for (key, names) in [("title", &["title", "t"][..]), ("message", &["message", "m"])] {
        if let Some(text) = param(asked, names) {
            more[key] = text.into();
        }
    }
    if let Some(tags) = param(asked, &["tags", "tag", "ta"]) {
        more["tags"] = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    }
    if param(asked, &["markdown", "md"]).is_some_and(|is| matches!(is.as_str(), "1" | "true" | "yes")) {
        more["content_type"] = "text/markdown".into();
    }
    let text = std::str::from_utf8(&asked.body).ok().filter(|_| filename.is_none());
    if asked.body.len() > FILE {
        return refuse(stream, &Refusal::own(413, 41301));
    }
    let mut state = lock(&shared.state);
    let id = match (text, filename) {
        (Some(text), _) => state.publish(topic, text.trim_end(), &more),
        (None, name) => {
            let name = name.unwrap_or_else(|| "attachment.bin".to_owned());
            state.attach(topic, &name, kind(&name), &asked.body, &more)
        }
    };
    let message = state.published(topic).into_iter().find(|message: &Value| message["id"] == id.as_str());
    let is_lost = std::mem::take(&mut state.is_lost);
    drop(state);
    if is_lost {
        return Ok(false);
    }
    say(stream, 200, None, message.unwrap_or_default().to_string().as_bytes())
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn refuse(stream: &mut TcpStream, refusal: &Refusal) -> std::io::Result<bool> {
    let Refusal { status, code, after } = refusal;
    let error = match code {
        40301 => "forbidden",
        40101 => "unauthorized",
        40401 => "page not found",
        42901 => "limit reached: too many requests",
        50701 => "cannot publish to UnifiedPush topic without previously active subscriber",
        _ => "refused",
    };
    let own =
        json!({"code": code, "http": status, "error": error, "link": "https://ntfy.sh/docs/"}).to_string();
    let body = if *code == 0 { "<html>bad gateway</html>" } else { &own };
    say(stream, *status, *after, body.as_bytes())
}

fn say(stream: &mut TcpStream, status: u16, after: Option<u64>, body: &[u8]) -> std::io::Result<bool> {
    let after = after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let head = format!("HTTP/1.1 {status} X\r\n{after}Content-Length: {}\r\n\r\n", body.len());
    // In one piece: the second of two waits until the client has confirmed the first.
    stream.write_all(&[head.as_bytes(), body].concat())?;
    Ok(true)
}
