//! Updates that are brought to a webhook, as the real one does it: those of one chat one after the other, each again until it is taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::{STEP, Shared, lock};
use crate::{http, wait};

/// Pause before an update is brought again.
const AGAIN: Duration = Duration::from_millis(200);
/// Most that are brought at once.
const AT_ONCE: usize = 8;

/// The chat of an update, or its number where it is of none.
fn chat(id: i64, update: &Value) -> i64 {
    let mut kinds = update.as_object().into_iter().flatten();
    let found = kinds
        .find_map(|(_, what)| what["chat"]["id"].as_i64().or_else(|| what["message"]["chat"]["id"].as_i64()));
    found.unwrap_or(id)
}

/// Begins to bring updates to whatever webhook is set, at the door that stands for its host.
pub(super) fn begin(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let on_the_way: Arc<std::sync::Mutex<BTreeSet<i64>>> = Arc::default();
        while !shared.stop.load(Ordering::SeqCst) {
            wait::pass(STEP);
            let state = lock(&shared.state);
            let path = state
                .webhook
                .strip_prefix("https://")
                .and_then(|rest| Some(rest[rest.find('/')?..].to_owned()));
            let (Some(path), Some(address)) = (path, state.door.clone()) else { continue };
            let secret = state.secret.clone();
            for (id, update) in &state.updates {
                let chat = chat(*id, update);
                let mut busy = lock(&on_the_way);
                if busy.len() >= AT_ONCE || !busy.insert(chat) {
                    continue;
                }
                let (id, body) = (*id, update.to_string());
                let (shared, busy) = (Arc::clone(&shared), Arc::clone(&on_the_way));
                let (address, path, secret) = (address.clone(), path.clone(), secret.clone());
                std::thread::spawn(move || {
                    let headers = [
                        ("Content-Type", "application/json"),
                        ("X-Telegram-Bot-Api-Secret-Token", secret.as_str()),
                    ];
                    let answered = http::request(&address, "POST", &path, &headers, body.as_bytes());
                    let mut state = lock(&shared.state);
                    *state.given.entry(id).or_default() += 1;
                    match answered {
                        Ok(answer) if answer.status == 200 => {
                            state.updates.remove(&id);
                            state.confirmed = state.confirmed.max(id + 1);
                        }
                        answered => {
                            let why = match answered {
                                Ok(answer) => format!("Wrong response from the webhook: {} X", answer.status),
                                Err(_) => "Connection refused".to_owned(),
                            };
                            let count = state.missed.as_ref().map_or(1_700_000_000, |(at, _)| at + 1);
                            state.missed = Some((count, why));
                            drop(state);
                            wait::pass(AGAIN);
                        }
                    }
                    lock(&busy).remove(&chat);
                });
            }
        }
    });
}
