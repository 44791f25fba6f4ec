//! Answers of a service of the tests, and WebSockets from its side.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use crate::asked::Asked;
use crate::wait;

/// Pause between two looks at what is to be sent.
const STEP: Duration = Duration::from_millis(3);

/// What is done next with a socket.
pub(crate) enum Next {
    /// This is sent.
    Say(String),
    /// Nothing is read or sent: the network is gone, and nobody says so.
    Nothing,
    /// It is closed.
    Close,
}

/// Answers a request.
pub(crate) fn say(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    // In one piece: the second of two waits until the client has confirmed the first.
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// Switches protocols, and serves the socket until it ends. `next`: what is done with it now; `hear`: what came.
pub(crate) fn serve(
    mut stream: TcpStream,
    asked: &Asked,
    mut next: impl FnMut() -> Vec<Next>,
    mut hear: impl FnMut(&str),
) -> std::io::Result<()> {
    let Some(key) = asked.header("sec-websocket-key") else { return say(&mut stream, 400, &[], b"") };
    let accept = derive_accept_key(key.as_bytes());
    let switched = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(switched.as_bytes())?;
    stream.set_read_timeout(Some(STEP))?;
    let raw = stream.try_clone()?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let ended = talk(&mut socket, &mut next, &mut hear);
    // It may be gone already.
    let _ = raw.shutdown(Shutdown::Both);
    ended
}

fn talk(
    socket: &mut WebSocket<TcpStream>,
    next: &mut impl FnMut() -> Vec<Next>,
    hear: &mut impl FnMut(&str),
) -> std::io::Result<()> {
    loop {
        let mut is_silent = false;
        for what in next() {
            match what {
                Next::Say(text) => socket.send(Message::text(text)).map_err(std::io::Error::other)?,
                Next::Nothing => is_silent = true,
                Next::Close => {
                    // Who does not listen is left without a word.
                    let _ = socket.close(None);
                    let _ = socket.flush();
                    return Ok(());
                }
            }
        }
        if is_silent {
            wait::pass(STEP);
            continue;
        }
        match socket.read() {
            Ok(Message::Text(text)) => hear(text.as_str()),
            Ok(_) => {}
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(()),
        }
    }
}
