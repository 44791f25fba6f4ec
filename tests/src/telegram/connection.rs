//! One client's connection: polls, methods, files, and what is refused.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde_json::{Map, Value, json};

use super::request::{self, Request};
use super::state::{Poll, State};
use super::{Call, Refusal, STEP, Shared, error, lock};
use crate::wait;

const CONFLICT: &str =
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
const WEBHOOK: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";

/// One client's connection.
pub(super) struct Connection<'s> {
    pub(super) stream: TcpStream,
    pub(super) shared: &'s Shared,
}

impl Connection<'_> {
    /// Serves it to its end.
    pub(super) fn serve(mut self) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(request) = request::read(&mut self.stream, &mut buffer)? {
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
        let Some((token, method, is_file)) = parts(&request.path) else {
            return self.refuse(&error(404, "Not Found"));
        };
        if !is_file {
            let call = Call { method: method.clone(), fields: request.fields.clone(), at: wait::now() };
            self.state().calls.push(call);
        }
        let is_token = token.split_once(':').is_some_and(|(id, _)| id.parse::<u64>().is_ok());
        if !is_token {
            return self.refuse(&error(404, "Not Found"));
        }
        let refusal = self.state().refusals.get_mut(&method).and_then(VecDeque::pop_front);
        if let Some(refusal) = refusal {
            return self.refuse(&refusal);
        }
        if self.state().token != token {
            return self.refuse(&error(401, "Unauthorized"));
        }
        if is_file {
            let file = self.state().files.get(method.trim_start_matches("files/")).cloned();
            return match file {
                Some(bytes) => request::say(&mut self.stream, 200, None, &bytes).map(|()| true),
                None => self.refuse(&error(404, "Not Found")),
            };
        }
        let done = if method == "getUpdates" {
            match self.poll(&request.fields)? {
                Some(done) => done,
                None => return Ok(false),
            }
        } else {
            self.state().call(&method, &request.fields)
        };
        while self.state().stuck.contains(&method) {
            if is_gone(&self.stream) || self.shared.stop.load(Ordering::SeqCst) {
                return Ok(false);
            }
            wait::pass(STEP);
        }
        match done {
            Ok(result) => {
                let body = json!({"ok": true, "result": result}).to_string();
                request::say(&mut self.stream, 200, None, body.as_bytes()).map(|()| true)
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> std::io::Result<bool> {
        let Refusal { status, description, retry_after, is_page } = refusal;
        let mut body = json!({"ok": false, "error_code": status, "description": description});
        if let Some(seconds) = retry_after {
            body["parameters"] = json!({"retry_after": seconds});
        }
        if let Some(to) = description.strip_prefix("Bad Request: group chat was upgraded to ") {
            body["parameters"] = json!({"migrate_to_chat_id": to.parse::<i64>().unwrap()});
        }
        let body = if *is_page { "<html>nothing here</html>".to_owned() } else { body.to_string() };
        request::say(&mut self.stream, *status, *retry_after, body.as_bytes()).map(|()| true)
    }

    /// None: the connection is to be closed.
    fn poll(&self, fields: &Map<String, Value>) -> std::io::Result<Option<Result<Value, Refusal>>> {
        let of = |name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or_default();
        let (offset, limit) = (of("offset"), if of("limit") > 0 { of("limit") } else { 100 });
        let patience = Duration::from_secs(of("timeout").clamp(0, 50).unsigned_abs());
        let number = {
            let mut state = self.state();
            if !state.webhook.is_empty() {
                return Ok(Some(Err(error(409, WEBHOOK))));
            }
            state.polls += 1;
            if state.poll.as_ref().is_some_and(|poll| !is_gone(&poll.stream)) {
                state.overlaps += 1;
            }
            let number = state.polls;
            state.poll = Some(Poll { number, stream: self.stream.try_clone()? });
            if offset > 0 {
                state.confirmed = state.confirmed.max(offset);
                state.updates.retain(|id, _| *id >= offset);
            }
            number
        };
        let began = wait::now();
        let done = loop {
            if self.shared.stop.load(Ordering::SeqCst) || is_gone(&self.stream) {
                break None;
            }
            let mut state = self.state();
            if state.polls != number || state.rival {
                break Some(Err(error(409, CONFLICT)));
            }
            let found: Vec<(i64, Value)> = state
                .updates
                .iter()
                .take(usize::try_from(limit).unwrap_or(100))
                .map(|(id, update)| (*id, update.clone()))
                .collect();
            if !found.is_empty() || began.elapsed() >= patience {
                for (id, _) in &found {
                    *state.given.entry(*id).or_default() += 1;
                }
                break Some(Ok(found.into_iter().map(|(_, update)| update).collect()));
            }
            // Whether the client is still there is looked at once in a while.
            drop(self.shared.news.wait_timeout(state, STEP));
        };
        let mut state = self.state();
        if state.poll.as_ref().is_some_and(|poll| poll.number == number) {
            state.poll = None;
        }
        Ok(done)
    }
}

/// Token, method or path of a file, and whether it is one.
fn parts(path: &str) -> Option<(String, String, bool)> {
    let (rest, is_file) = match path.strip_prefix("/file/bot") {
        Some(rest) => (rest, true),
        None => (path.strip_prefix("/bot")?, false),
    };
    let (token, method) = rest.split_once('/')?;
    Some((token.to_owned(), method.to_owned(), is_file))
}

/// Whether the other end of a connection on which nothing is expected has closed it.
pub(super) fn is_gone(stream: &TcpStream) -> bool {
    let looked = recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    looked != Err(Errno::EAGAIN)
}
