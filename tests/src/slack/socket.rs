//! Socket Mode from Slack's side: envelopes go through one of the sockets that are open, and again where nobody acknowledges them.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::request::Request;
use super::state::{Socket, State};
use super::{Shared, lock};
use crate::upgraded::say;
use crate::wait;

/// Pause between two looks at what is to be sent.
const STEP: Duration = Duration::from_millis(3);
/// Time between two pings.
const PING: Duration = Duration::from_secs(5);

/// Sends what is due, through any socket of its app.
pub(super) fn pump(state: &mut State) {
    let now = wait::now();
    let State { envelopes, sockets, ack_within, turn, .. } = state;
    for envelope in envelopes.iter_mut().filter(|one| one.acknowledged.is_none() && one.due <= now) {
        let mut open: Vec<&mut Socket> =
            sockets.iter_mut().filter(|socket| socket.app == envelope.app && !socket.told).collect();
        if open.is_empty() {
            continue;
        }
        *turn += 1;
        let at = *turn % open.len();
        let mut what = envelope.what.clone();
        what["envelope_id"] = envelope.id.clone().into();
        if what["type"] == "events_api" {
            what["retry_attempt"] = envelope.sent.into();
            what["retry_reason"] = if envelope.sent == 0 { "" } else { "timeout" }.into();
        }
        envelope.first.get_or_insert(now);
        envelope.sent += 1;
        envelope.due = now + *ack_within;
        envelope.through = open[at].number;
        open[at].out.push(what);
    }
}

/// Serves a socket until it ends.
pub(super) fn serve(mut stream: TcpStream, request: &Request, shared: &Arc<Shared>) -> std::io::Result<()> {
    let ticket = request.query.get("ticket").and_then(Value::as_str).unwrap_or_default();
    let app = lock(&shared.state).tickets.remove(ticket);
    let (Some(app), Some(key)) = (app, request.header("sec-websocket-key")) else {
        return say(&mut stream, 401, &[], b"");
    };
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, head.as_bytes())?;
    stream.set_read_timeout(Some(STEP))?;
    let raw = stream.try_clone()?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let number = {
        let mut state = lock(&shared.state);
        state.opened += 1;
        let number = state.opened;
        let app_id = state.apps[app].app_id.clone();
        let hello = json!({"type": "hello", "num_connections": 1, "connection_info": {"app_id": app_id},
            "debug_info": {"host": "applink", "approximate_connection_time": 18060}});
        let out = if state.says_nothing { Vec::new() } else { vec![hello] };
        state.sockets.push(Socket { number, app, out, told: false, close_at: None, muted: false });
        number
    };
    let ended = talk(&mut socket, number, shared);
    let mut state = lock(&shared.state);
    state.sockets.retain(|socket| socket.number != number);
    let left = state.sockets.iter().filter(|socket| !socket.muted).count();
    state.fewest = state.fewest.min(left);
    for envelope in state.envelopes.iter_mut().filter(|one| one.through == number) {
        envelope.due = wait::now();
    }
    drop(state);
    let _ = raw.shutdown(Shutdown::Both);
    ended
}

fn talk(socket: &mut WebSocket<TcpStream>, number: u64, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut pinged = wait::now();
    loop {
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        let out = {
            let mut state = lock(&shared.state);
            pump(&mut state);
            let Some(own) = state.sockets.iter_mut().find(|one| one.number == number) else { return Ok(()) };
            if own.muted {
                drop(state);
                wait::pass(STEP);
                continue;
            }
            if own.close_at.is_some_and(|at| at <= wait::now()) {
                drop(state);
                let _ = socket.close(None);
                let _ = socket.flush();
                return Ok(());
            }
            std::mem::take(&mut own.out)
        };
        for what in out {
            socket.send(Message::text(what.to_string())).map_err(std::io::Error::other)?;
        }
        if pinged.elapsed() > PING {
            pinged = wait::now();
            socket.send(Message::Ping("Ping from applink".into())).map_err(std::io::Error::other)?;
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                let said: Value = serde_json::from_str(text.as_str()).unwrap_or_default();
                let mut state = lock(&shared.state);
                let id = said["envelope_id"].as_str().unwrap_or_default();
                if let Some(envelope) = state.envelopes.iter_mut().find(|one| one.id == id) {
                    let since = envelope.first.map_or(Duration::ZERO, |first| first.elapsed());
                    envelope.acknowledged.get_or_insert(since);
                    let address = envelope.what["payload"]["response_url"].as_str().map(str::to_owned);
                    if let (Some(address), true) = (address, said["payload"]["text"].is_string()) {
                        state.respond(&address, &said["payload"]);
                    }
                }
            }
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(()),
        }
    }
}
