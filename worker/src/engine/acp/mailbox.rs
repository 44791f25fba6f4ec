//! What an agent says in one turn, between the connection and whoever runs the turn.
//!
//! The connection serves all sessions and never waits for one of them, so what a turn has not taken yet is kept here: pieces of text as one,
//! and never more than [`MAX_HELD`]. A turn whose agent says more than its reader can take is over.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_client_protocol::v1::schema::{
    ContentBlock, ContentChunk, PromptResponse, SessionUpdate, ToolCallContent,
};
use tokio::sync::Notify;

use super::consent::Question;

/// Most that waits to be taken, in bytes.
const MAX_HELD: usize = 8 << 20;
/// Least that anything counts for, in bytes.
const LEAST: usize = 256;
/// Pieces of text are joined up to this length, in bytes.
const JOINED: usize = 64 << 10;

/// Something that an agent says in a turn.
#[expect(clippy::large_enum_variant, reason = "few wait at a time")]
#[derive(Debug)]
pub(super) enum Mail {
    /// An update that is understood.
    Update(Box<SessionUpdate>),
    /// One that is not; it shows that the agent works.
    Sign,
    /// It asks whether it may do something.
    Question(Question),
    /// The turn is over.
    Done(Box<Result<PromptResponse, agent_client_protocol::Error>>),
    /// The agent is gone.
    Gone(Arc<str>),
    /// It said more than could be taken.
    Flooded,
}

#[derive(Debug, Default)]
struct Held {
    mail: VecDeque<(Mail, usize)>,
    bytes: usize,
    /// Nothing is taken any more.
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<Held>,
    arrived: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // What is in it is whole at every moment.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where what comes is put.
#[derive(Debug, Clone)]
pub(super) struct Slot(Arc<Shared>);

/// Where it is taken from. Dropped, nothing is put any more.
#[derive(Debug)]
pub(super) struct Mailbox(Arc<Shared>);

/// Both ends.
pub(super) fn mailbox() -> (Slot, Mailbox) {
    let shared = Arc::new(Shared::default());
    (Slot(Arc::clone(&shared)), Mailbox(shared))
}

impl Slot {
    /// Puts something; what is refused is dropped.
    pub(super) fn put(&self, mail: Mail) {
        let mut held = self.0.lock();
        if held.closed {
            drop(held);
            // A question that nobody takes answers itself.
            drop(mail);
            return;
        }
        if let Some(more) = piece(&mail)
            && let Some((Mail::Update(last), _)) = held.mail.back_mut()
            && join(last, more)
        {
            let more = more.2.len();
            held.bytes += more;
            if let Some((_, size)) = held.mail.back_mut() {
                *size += more;
            }
        } else {
            let size = size(&mail);
            held.bytes += size;
            held.mail.push_back((mail, size));
        }
        if held.bytes > MAX_HELD {
            held.closed = true;
            held.mail.clear();
            held.bytes = 0;
            held.mail.push_back((Mail::Flooded, 0));
        }
        drop(held);
        self.0.arrived.notify_one();
    }
}

impl Mailbox {
    /// The next. Cancel safe.
    pub(super) async fn next(&mut self) -> Mail {
        loop {
            {
                let mut held = self.0.lock();
                if let Some((mail, size)) = held.mail.pop_front() {
                    held.bytes -= size;
                    return mail;
                }
            }
            self.0.arrived.notified().await;
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let left = {
            let mut held = self.0.lock();
            held.closed = true;
            std::mem::take(&mut held.mail)
        };
        drop(left);
    }
}

/// A piece of text: whether it is a thought, of which message, and itself.
type Piece<'a> = (bool, Option<&'a str>, &'a str);

fn piece(mail: &Mail) -> Option<Piece<'_>> {
    match mail {
        Mail::Update(update) => piece_of(update),
        _ => None,
    }
}

fn piece_of(update: &SessionUpdate) -> Option<Piece<'_>> {
    let (is_thought, chunk) = match update {
        SessionUpdate::AgentMessageChunk(chunk) => (false, chunk),
        SessionUpdate::AgentThoughtChunk(chunk) => (true, chunk),
        _ => return None,
    };
    match &chunk.content {
        ContentBlock::Text(text) => {
            Some((is_thought, chunk.message_id.as_ref().map(|id| &*id.0), &text.text))
        }
        _ => None,
    }
}

/// Appends a piece to one of the same kind and message.
fn join(last: &mut SessionUpdate, (is_thought, id, text): Piece<'_>) -> bool {
    match piece_of(last) {
        Some((kind, of, before)) if (kind, of) == (is_thought, id) && before.len() < JOINED => {}
        _ => return false,
    }
    if let SessionUpdate::AgentMessageChunk(ContentChunk { content: ContentBlock::Text(last), .. })
    | SessionUpdate::AgentThoughtChunk(ContentChunk { content: ContentBlock::Text(last), .. }) = last
    {
        last.text.push_str(text);
    }
    true
}

/// About how much memory it takes, in bytes.
fn size(mail: &Mail) -> usize {
    let size = match mail {
        Mail::Update(update) => match &**update {
            SessionUpdate::AgentMessageChunk(chunk) | SessionUpdate::AgentThoughtChunk(chunk) => {
                block(&chunk.content)
            }
            SessionUpdate::ToolCall(call) => {
                contents(&call.content) + values([&call.raw_input, &call.raw_output]) + call.title.len()
            }
            SessionUpdate::ToolCallUpdate(update) => {
                let fields = &update.fields;
                contents(fields.content.as_deref().unwrap_or_default())
                    + values([&fields.raw_input, &fields.raw_output])
                    + fields.title.as_ref().map_or(0, String::len)
            }
            SessionUpdate::Plan(plan) => plan.entries.iter().map(|entry| entry.content.len() + LEAST).sum(),
            _ => 0,
        },
        _ => 0,
    };
    size + LEAST
}

fn contents(all: &[ToolCallContent]) -> usize {
    let one = |content: &ToolCallContent| match content {
        ToolCallContent::Content(content) => block(&content.content),
        ToolCallContent::Diff(diff) => diff.new_text.len() + diff.old_text.as_ref().map_or(0, String::len),
        _ => 0,
    };
    all.iter().map(|content| one(content) + LEAST).sum()
}

fn block(block: &ContentBlock) -> usize {
    match block {
        ContentBlock::Text(text) => text.text.len(),
        ContentBlock::Image(image) => image.data.len(),
        ContentBlock::Audio(audio) => audio.data.len(),
        // A file as text or bytes; rare, and bounded by its line.
        _ => LEAST * 16,
    }
}

fn values(all: [&Option<serde_json::Value>; 2]) -> usize {
    all.into_iter().flatten().map(value).sum()
}

fn value(of: &serde_json::Value) -> usize {
    use serde_json::Value;
    const EACH: usize = 32;
    match of {
        Value::String(text) => text.len() + EACH,
        Value::Array(items) => items.iter().map(value).sum::<usize>() + EACH,
        Value::Object(map) => map.iter().map(|(key, of)| key.len() + value(of) + EACH).sum::<usize>() + EACH,
        _ => EACH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Mail {
        Mail::Update(Box::new(SessionUpdate::AgentMessageChunk(ContentChunk::new(text.into()))))
    }

    fn thought(text: &str) -> Mail {
        Mail::Update(Box::new(SessionUpdate::AgentThoughtChunk(ContentChunk::new(text.into()))))
    }

    #[tokio::test]
    async fn pieces_of_one_kind_are_taken_as_one() {
        let (slot, mut mailbox) = mailbox();
        for mail in [said("a"), said("b"), thought("c"), said("d")] {
            slot.put(mail);
        }
        let mut taken = Vec::new();
        for _ in 0..3 {
            let mail = mailbox.next().await;
            let (is_thought, _, text) = piece(&mail).unwrap();
            taken.push((is_thought, text.to_owned()));
        }
        assert_eq!(taken, [(false, "ab".to_owned()), (true, "c".to_owned()), (false, "d".to_owned())]);
        assert_eq!(mailbox.0.lock().bytes, 0);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_bounded() {
        let (slot, mut mailbox) = mailbox();
        let much = "x".repeat(1 << 20);
        for _ in 0..9 {
            slot.put(said(&much));
        }
        assert!(matches!(mailbox.next().await, Mail::Flooded));
        slot.put(said("more"));
        assert!(mailbox.0.lock().mail.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_kept_for_whom_nobody_waits() {
        let (slot, mailbox) = mailbox();
        slot.put(said("a"));
        let shared = Arc::clone(&mailbox.0);
        drop(mailbox);
        slot.put(said("b"));
        assert!(shared.lock().mail.is_empty());
    }
}
