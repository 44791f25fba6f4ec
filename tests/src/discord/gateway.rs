//! The gateway: HELLO, IDENTIFY or RESUME, heartbeats, events in order, and a close for everything that is wrong.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket, accept_hdr};

use super::session::{Out, Session, Socket};
use super::state::State;
use super::{APPLICATION, Shared, lock};
use crate::wait;

/// Pause between two looks of a socket.
const STEP: Duration = Duration::from_millis(5);

/// Serves one connection.
#[expect(clippy::result_large_err, reason = "the callback of a handshake is as the library wants it")]
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let mut query = String::new();
    let accepted = accept_hdr(stream, |request: &Request, response: Response| {
        request.uri().query().unwrap_or_default().clone_into(&mut query);
        Ok(response)
    });
    let Ok(mut ws) = accepted else { return };
    let mut zlib =
        query.contains("compress=zlib-stream").then(|| Compress::new(Compression::default(), true));
    let number = {
        let mut state = lock(&shared.state);
        state.next_socket += 1;
        let number = state.next_socket;
        state.sockets.insert(number, Socket::default());
        number
    };
    let hello =
        json!({"op": 10, "s": null, "t": null, "d": {"heartbeat_interval": lock(&shared.state).beat}});
    let is_right = query.contains("v=10") && query.contains("encoding=json");
    if !is_right {
        let _ = close(&mut ws, 4012, "Invalid API version");
    } else if say(&mut ws, &mut zlib, &hello).is_ok() {
        ws.get_ref().set_read_timeout(Some(STEP)).unwrap();
        let _ = talk(&mut ws, &mut zlib, number, shared);
    }
    let mut state = lock(&shared.state);
    state.sockets.remove(&number);
    for session in state.sessions.values_mut().filter(|session| session.socket == Some(number)) {
        session.socket = None;
    }
}

fn talk(
    ws: &mut WebSocket<TcpStream>,
    zlib: &mut Option<Compress>,
    number: u64,
    shared: &Shared,
) -> Result<(), Error> {
    while !shared.stop.load(Ordering::SeqCst) {
        let (outs, is_mute) = {
            let mut state = lock(&shared.state);
            let Some(socket) = state.sockets.get_mut(&number) else { return Ok(()) };
            let outs = if socket.is_mute { VecDeque::new() } else { std::mem::take(&mut socket.outbox) };
            (outs, socket.is_mute)
        };
        for out in outs {
            match out {
                Out::Say(frame) => say(ws, zlib, &frame)?,
                Out::Close(code, why) => return close(ws, code, why),
                Out::Cut => return Ok(()),
            }
        }
        let message = match ws.read() {
            Ok(message) => message,
            Err(Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        if is_mute {
            continue;
        }
        match message {
            Message::Text(text) => {
                let Ok(frame) = serde_json::from_str::<Value>(text.as_str()) else {
                    return close(ws, 4002, "Error while decoding payload");
                };
                if let Some((code, why)) = hear(&frame, number, shared) {
                    return close(ws, code, why);
                }
            }
            Message::Close(frame) => {
                let code = frame.map_or(1005, |frame| frame.code.into());
                let mut state = lock(&shared.state);
                state.closes.push(code);
                // As the real one: these two end a session.
                let session = state.sockets.get(&number).and_then(|socket| socket.session.clone());
                if let Some(session) = session.filter(|_| matches!(code, 1000 | 1001)) {
                    state.sessions.remove(&session);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn say(ws: &mut WebSocket<TcpStream>, zlib: &mut Option<Compress>, frame: &Value) -> Result<(), Error> {
    let text = frame.to_string();
    let message = match zlib {
        None => Message::text(text),
        Some(zlib) => {
            let mut out = Vec::with_capacity(text.len() + 1024);
            zlib.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
            Message::binary(out)
        }
    };
    ws.send(message)
}

fn close(ws: &mut WebSocket<TcpStream>, code: u16, why: &'static str) -> Result<(), Error> {
    ws.close(Some(CloseFrame { code: CloseCode::from(code), reason: why.into() }))?;
    // Until the other side has heard it, for a moment.
    for _ in 0..200 {
        match ws.read() {
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => wait::pass(STEP),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Takes what a client says; a close, where it is wrong.
fn hear(frame: &Value, number: u64, shared: &Shared) -> Option<(u16, &'static str)> {
    let mut state = lock(&shared.state);
    let data = &frame["d"];
    match frame["op"].as_u64() {
        Some(1) => {
            state.beats += 1;
            answer(&mut state, number, json!({"op": 11, "d": null, "s": null, "t": null}));
            None
        }
        Some(op @ (2 | 6)) => {
            if state.sockets[&number].session.is_some() {
                return Some((4005, "Already authenticated"));
            }
            let token = data["token"].as_str().unwrap_or_default();
            if token.trim_start_matches("Bot ") != state.token {
                return Some((4004, "Authentication failed"));
            }
            if op == 6 {
                resume(&mut state, number, data)
            } else {
                identify(&mut state, number, data, shared)
            }
        }
        Some(3 | 4 | 8) => None,
        _ => Some((4001, "Unknown opcode")),
    }
}

fn answer(state: &mut State, number: u64, frame: Value) {
    if let Some(socket) = state.sockets.get_mut(&number) {
        socket.outbox.push_back(Out::Say(frame));
    }
}

fn resume(state: &mut State, number: u64, data: &Value) -> Option<(u16, &'static str)> {
    state.resumes += 1;
    let id = data["session_id"].as_str().unwrap_or_default().to_owned();
    let Some(session) = state.sessions.get_mut(&id) else {
        answer(state, number, json!({"op": 9, "d": false, "s": null, "t": null}));
        return None;
    };
    let Some(behind) = data["seq"].as_u64().filter(|behind| *behind <= session.number) else {
        return Some((4007, "Invalid seq"));
    };
    if let Some(other) = session.socket.filter(|other| state.sockets.contains_key(other)) {
        state.overlaps += 1;
        state.sockets.get_mut(&other).unwrap().outbox.push_back(Out::Close(4000, "Resumed elsewhere"));
    }
    session.socket = Some(number);
    let missed: Vec<Value> =
        session.said.iter().filter(|(number, _)| *number > behind).map(|(_, frame)| frame.clone()).collect();
    let socket = state.sockets.get_mut(&number).unwrap();
    socket.session = Some(id.clone());
    socket.outbox.extend(missed.into_iter().map(Out::Say));
    let (sessions, sockets) = (&mut state.sessions, &mut state.sockets);
    sessions.get_mut(&id).unwrap().dispatch("RESUMED", &json!({"_trace": ["test"]}), sockets);
    None
}

fn identify(state: &mut State, number: u64, data: &Value, shared: &Shared) -> Option<(u16, &'static str)> {
    let Some(intents) = data["intents"].as_u64().filter(|intents| *intents < 1 << 26) else {
        return Some((4013, "Invalid intent(s)"));
    };
    if intents & state.disallowed != 0 {
        return Some((4014, "Disallowed intent(s)"));
    }
    if let Some(shard) = data["shard"].as_array()
        && (shard.len() != 2 || shard[0].as_u64() >= shard[1].as_u64())
    {
        return Some((4010, "Invalid shard"));
    }
    state.identifies += 1;
    let id = format!("session-{}", state.identifies);
    let live = state.sessions.values().any(|session| session.socket.is_some());
    state.overlaps += u32::from(live);
    let mut session = Session { intents, socket: Some(number), ..Session::default() };
    state.sockets.get_mut(&number).unwrap().session = Some(id.clone());
    let guilds: Vec<Value> = state.guilds.values().cloned().collect();
    let unavailable: Vec<Value> =
        guilds.iter().map(|guild| json!({"id": guild["id"], "unavailable": true})).collect();
    let ready = json!({
        "v": 10, "user": state.me(), "session_id": id, "resume_gateway_url": format!("ws://{}", shared.gateway),
        "guilds": unavailable, "private_channels": [], "relationships": [], "session_type": "normal",
        "application": {"id": APPLICATION.to_string(), "flags": (1 << 19) | (1 << 15)},
    });
    session.dispatch("READY", &ready, &mut state.sockets);
    for guild in &guilds {
        if intents & 1 != 0 {
            let whole = state.guild_object(guild);
            session.dispatch("GUILD_CREATE", &whole, &mut state.sockets);
        }
    }
    state.sessions.insert(id, session);
    None
}
