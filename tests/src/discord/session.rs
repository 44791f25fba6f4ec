//! Sessions of the gateway, and the sockets that they are connected to.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

/// Sockets by their numbers.
pub(super) type Sockets = BTreeMap<u64, Socket>;

/// Most events of a session that are repeated.
const KEPT: usize = 2000;

/// A session.
#[derive(Default)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) intents: u64,
    /// What was said, for whoever resumes.
    pub(super) said: VecDeque<(u64, Value)>,
    /// The socket that it is connected to.
    pub(super) socket: Option<u64>,
}

/// What a socket is told to do.
pub(super) enum Out {
    Say(Value),
    Close(u16, &'static str),
    /// It is cut, without a word.
    Cut,
}

/// A socket.
#[derive(Default)]
pub(super) struct Socket {
    pub(super) outbox: VecDeque<Out>,
    pub(super) session: Option<String>,
    /// Nothing comes any more, and nothing is heard.
    pub(super) is_mute: bool,
}

impl Session {
    /// Something happens in it.
    pub(super) fn dispatch(&mut self, name: &str, data: &Value, sockets: &mut Sockets) {
        self.number += 1;
        let frame = json!({"op": 0, "t": name, "s": self.number, "d": data});
        self.said.push_back((self.number, frame.clone()));
        if self.said.len() > KEPT {
            self.said.pop_front();
        }
        if let Some(socket) = self.socket.and_then(|socket| sockets.get_mut(&socket)) {
            socket.outbox.push_back(Out::Say(frame));
        }
    }
}
