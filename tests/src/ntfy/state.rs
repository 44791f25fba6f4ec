//! What a server of ntfy holds.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::Refusal;
use crate::wait;

/// Longest message, in bytes.
const MESSAGE: usize = 4096;

#[derive(Default)]
pub(super) struct State {
    pub(super) address: String,
    /// Every message, and whether it is kept.
    messages: Vec<(Value, bool)>,
    pub(super) readers: Vec<(String, TcpStream)>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) required: Option<String>,
    pub(super) refusals: BTreeMap<&'static str, VecDeque<Refusal>>,
    pub(super) is_lost: bool,
    pub(super) is_quiet: bool,
    pub(super) asked: Vec<String>,
    pub(super) requests: u64,
    number: u64,
}

/// One line of a stream, as a piece of a body that comes in pieces.
pub(super) fn piece(line: &Value) -> Vec<u8> {
    let line = format!("{line}\n");
    format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
}

impl State {
    /// An event of the server's own.
    pub(super) fn event(&mut self, kind: &str, topic: &str) -> Value {
        json!({"id": self.id(), "time": now(), "event": kind, "topic": topic})
    }

    fn id(&mut self) -> String {
        self.number += 1;
        format!("id{:010}", self.number)
    }

    pub(super) fn publish(&mut self, topic: &str, text: &str, more: &Value) -> String {
        if text.len() > MESSAGE {
            return self.attach(topic, "attachment.txt", "text/plain; charset=utf-8", text.as_bytes(), more);
        }
        let mut message = self.event("message", topic);
        message["expires"] = (now() + 12 * 3600).into();
        message["message"] = if text.is_empty() { "triggered".into() } else { text.into() };
        self.add(message, more)
    }

    pub(super) fn attach(
        &mut self,
        topic: &str,
        name: &str,
        media_type: &str,
        bytes: &[u8],
        more: &Value,
    ) -> String {
        let mut message = self.event("message", topic);
        let ending = name.rsplit_once('.').map_or("bin", |(_, ending)| ending);
        let file = format!("{}.{ending}", message["id"].as_str().unwrap());
        let url = format!("http://{}/file/{file}", self.address);
        self.files.insert(file, bytes.to_vec());
        message["message"] = format!("You received a file: {name}").into();
        let expires = now() + 3 * 3600;
        message["attachment"] =
            json!({"name": name, "type": media_type, "size": bytes.len(), "expires": expires, "url": url});
        self.add(message, more)
    }

    fn add(&mut self, mut message: Value, more: &Value) -> String {
        for (key, value) in more.as_object().unwrap() {
            if key != "cache" {
                message[key] = value.clone();
            }
        }
        let topic = message["topic"].as_str().unwrap().to_owned();
        if !self.is_quiet {
            let piece = piece(&message);
            self.readers.retain_mut(|(of, reader)| *of != topic || reader.write_all(&piece).is_ok());
        }
        let id = message["id"].as_str().unwrap().to_owned();
        self.messages.push((message, more["cache"] != false));
        id
    }

    pub(super) fn keep_alive(&mut self) {
        if self.is_quiet {
            return;
        }
        let mut readers = std::mem::take(&mut self.readers);
        readers
            .retain_mut(|(topic, reader)| reader.write_all(&piece(&self.event("keepalive", topic))).is_ok());
        self.readers = readers;
    }

    pub(super) fn published(&self, topic: &str) -> Vec<Value> {
        let all = self.messages.iter().map(|(message, _)| message);
        all.filter(|message| message["topic"] == topic).cloned().collect()
    }

    /// What is kept of a topic, from there on; an id that is not known is the beginning of everything.
    pub(super) fn since(&self, topic: &str, since: &str) -> Vec<Value> {
        let kept = self.messages.iter().filter(|(message, is_kept)| *is_kept && message["topic"] == topic);
        let kept: Vec<Value> = kept.map(|(message, _)| message.clone()).collect();
        if matches!(since, "" | "none") {
            return Vec::new();
        }
        if let Ok(time) = since.parse::<u64>().map(|time| time.min(u64::MAX / 2)) {
            return kept.into_iter().filter(|message| message["time"].as_u64().unwrap() >= time).collect();
        }
        let at = kept.iter().position(|message| message["id"] == since);
        kept.into_iter().skip(at.map_or(0, |at| at + 1)).collect()
    }
}

fn now() -> u64 {
    wait::system().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
