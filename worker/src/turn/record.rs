//! Writes down what happens in a run, while it happens.
//!
//! A task of its own takes what the engine says, and commits what has gathered about ten times a second; a database that is slow slows
//! the engine down. The end of a run is written after everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Inner, asking};
use crate::engine::Event;
use crate::runs;
use crate::session::epoch;

/// Pieces that wait to be written.
const EVENTS: usize = 256;
/// Time between two writings.
const PACE: Duration = Duration::from_millis(100);
/// Pause while the database cannot be written.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of a piece of the answer after which the next one begins.
const PIECE: usize = 16 << 10;

/// Whoever writes down one run.
pub(super) struct Recorder {
    events: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins with a run.
    pub(super) fn of(inner: &Arc<Inner>, run: &str) -> Self {
        let (events, said) = mpsc::channel(EVENTS);
        let task = inner.tasks.spawn(write_down(Arc::clone(inner), run.to_owned(), said));
        Self { events, task }
    }

    /// Where to say what happens.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }

    /// Everything was said: returns when it is written.
    pub(super) async fn end(self) {
        drop(self.events);
        // A panic in it is in the log; what came of the run is written all the same.
        let _ = self.task.await;
    }
}

async fn write_down(inner: Arc<Inner>, run: String, mut said: mpsc::Receiver<Event>) {
    let mut scribe = Scribe::default();
    let mut is_over = false;
    while !is_over {
        let mut events = Vec::new();
        match said.recv().await {
            Some(event) => scribe.hear(event, Instant::now(), &mut events),
            None => is_over = true,
        }
        while let Ok(event) = said.try_recv() {
            scribe.hear(event, Instant::now(), &mut events);
        }
        if is_over {
            scribe.flush(&mut events);
        }
        if events.is_empty() {
            continue;
        }
        let events = Arc::new(events);
        loop {
            let (id, events) = (run.clone(), Arc::clone(&events));
            match inner.store.write(move |db| runs::append(db, &id, &events, epoch())).await {
                Ok(()) => break,
                Err(error) if error.is_of_machine() && !inner.stop.is_cancelled() => {
                    tracing::error!(run, %error, "what happens in a run waits to be written");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(run, %error, "what happened in a run is not written");
                    break;
                }
            }
        }
        inner.note_happening();
        if !is_over {
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Makes events for clients of what the engine says.
#[derive(Debug, Default)]
struct Scribe {
    /// When tools began that are not done.
    began: HashMap<String, Instant>,
    /// Thought, and not yet told.
    thought: String,
}

type Events = Vec<Map<String, Value>>;

impl Scribe {
    fn hear(&mut self, event: Event, now: Instant, events: &mut Events) {
        match event {
            Event::Thought(text) => {
                self.thought.push_str(&text);
                if self.thought.len() >= PIECE {
                    self.flush(events);
                }
                return;
            }
            Event::Alive | Event::Retrying { .. } => return,
            Event::Delta(ref text) if text.is_empty() => return,
            _ => self.flush(events),
        }
        match event {
            Event::Delta(text) => say(text, events),
            Event::Tool { name, id, done: false, preview, .. } => {
                self.began.insert(id, now);
                let mut started = runs::event("tool.started");
                started.insert("tool".to_owned(), name.into());
                started.insert("preview".to_owned(), preview.into());
                events.push(started);
            }
            Event::Tool { name, id, done: true, failed, .. } => {
                let lasted = self.began.remove(&id).map_or(Duration::ZERO, |began| now.duration_since(began));
                let mut completed = runs::event("tool.completed");
                completed.insert("tool".to_owned(), name.into());
                completed.insert("duration".to_owned(), rounded(lasted).into());
                completed.insert("error".to_owned(), failed.into());
                events.push(completed);
            }
            Event::Asked { run, details } => {
                if let Value::Object(asked) = asking::described(&run, details) {
                    events.push(asked);
                }
            }
            Event::Heard { choice, .. } => {
                let mut heard = runs::event("approval.responded");
                heard.insert("choice".to_owned(), choice.into());
                heard.insert("resolved".to_owned(), 1.into());
                events.push(heard);
            }
            Event::Thought(_) | Event::Alive | Event::Retrying { .. } => {}
        }
    }

    /// Tells what was thought.
    fn flush(&mut self, events: &mut Events) {
        let thought = std::mem::take(&mut self.thought);
        if !thought.trim().is_empty() {
            let mut available = runs::event("reasoning.available");
            available.insert("text".to_owned(), thought.into());
            events.push(available);
        }
    }
}

/// A piece of the answer, behind the one before it where nothing is between them.
fn say(text: String, events: &mut Events) {
    if let Some(last) = events.last_mut()
        && last.get("event").and_then(Value::as_str) == Some("message.delta")
        && let Some(Value::String(said)) = last.get_mut("delta")
        && said.len() < PIECE
    {
        said.push_str(&text);
        return;
    }
    let mut delta = runs::event("message.delta");
    delta.insert("delta".to_owned(), text.into());
    events.push(delta);
}

/// Seconds with three digits.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_are_put_together_and_tools_are_timed() {
        let mut scribe = Scribe::default();
        let mut events = Vec::new();
        let tool = |done, failed| Event::Tool {
            name: "terminal".to_owned(),
            id: "c1".to_owned(),
            done,
            preview: "ls".to_owned(),
            text: String::new(),
            failed,
            diff: None,
        };
        let begun = Instant::now();
        for (event, after) in [
            (Event::Thought("hm".to_owned()), 0),
            (Event::Thought(", so".to_owned()), 0),
            (Event::Delta("a".to_owned()), 0),
            (Event::Delta(String::new()), 0),
            (Event::Delta("b".to_owned()), 0),
            (Event::Alive, 0),
            (tool(false, false), 0),
            (tool(true, true), 1500),
            (Event::Delta("c".to_owned()), 2000),
            (Event::Thought("end".to_owned()), 2000),
        ] {
            scribe.hear(event, begun + Duration::from_millis(after), &mut events);
        }
        scribe.flush(&mut events);
        let told: Vec<Value> = events.into_iter().map(Value::Object).collect();
        assert_eq!(
            Value::Array(told),
            json!([
                {"event": "reasoning.available", "text": "hm, so"},
                {"event": "message.delta", "delta": "ab"},
                {"event": "tool.started", "tool": "terminal", "preview": "ls"},
                {"event": "tool.completed", "tool": "terminal", "duration": 1.5, "error": true},
                {"event": "message.delta", "delta": "c"},
                {"event": "reasoning.available", "text": "end"},
            ])
        );
    }
}
