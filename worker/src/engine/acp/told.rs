//! From what an agent tells to what is shown and kept of a turn. Pure.
//!
//! An agent runs its tools itself and tells of them, several at once if it likes. What is kept has the shape of our own steps, so that it is
//! listed, searched and gone on with like theirs: calls, then all their results. A call that begins while nothing else runs is kept at
//! once; one that begins beside others is kept when their results are there. A call counts as begun when the agent says what it is
//! called with, asks for it, or says that it runs: before that there is nothing to keep.

use std::collections::HashSet;

use agent_client_protocol::v1::schema::{
    ContentBlock, EmbeddedResourceResource, Plan, PlanEntryStatus, SessionUpdate, ToolCall, ToolCallContent,
    ToolCallStatus, ToolCallUpdate, ToolKind,
};
use serde_json::{Value, json};

use crate::engine::{Cost, Event, Message, ModelId, Role, Step, preview};

/// Longest answer of one turn, in bytes.
const MAX_TEXT: usize = 4 << 20;
/// Most calls of tools in one turn.
const MAX_CALLS: usize = 2000;
/// Longest arguments that are kept of a call, in bytes.
const MAX_ARGUMENTS: usize = 64 << 10;
/// Longest title that is kept, in characters.
const MAX_TITLE: usize = 500;
/// Longest name of a tool, in characters: what providers take.
const MAX_NAME: usize = 64;

/// What follows from an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Shown to whoever listens.
    Show(Event),
    /// Kept before anything else.
    Keep(Step),
}

/// The agent tells more than a turn may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct TooMuch(String);

/// A call of a tool.
#[expect(clippy::struct_excessive_bools, reason = "each is so or not, whatever the others are")]
#[derive(Debug, Default)]
struct Call {
    /// The agent's id.
    theirs: String,
    /// The id that is kept: one that the conversation does not have yet.
    id: String,
    title: String,
    name: Option<String>,
    kind: ToolKind,
    status: ToolCallStatus,
    input: Option<Value>,
    content: Vec<ToolCallContent>,
    output: Option<Value>,
    /// It was asked for.
    asked: bool,
    begun: bool,
    is_kept: bool,
    is_answered: bool,
}

/// The state of a turn.
#[derive(Debug)]
pub(super) struct Telling {
    model: ModelId,
    /// Ids of calls that are taken.
    taken: HashSet<String>,
    /// Longest result that is kept, in bytes.
    longest: usize,
    /// What it said since the last step.
    text: String,
    /// The last that it said before.
    before: String,
    /// The message that the last piece belongs to.
    message: Option<String>,
    /// Bytes of all it said.
    said: usize,
    calls: Vec<Call>,
    /// Calls that are kept and have no results yet.
    open: Vec<usize>,
}

impl Telling {
    /// Of a turn in a conversation with calls of these ids.
    pub(super) fn new(model: ModelId, taken: HashSet<String>, longest: usize) -> Self {
        Self {
            model,
            taken,
            longest,
            text: String::new(),
            before: String::new(),
            message: None,
            said: 0,
            calls: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Whether anything was told that is part of an answer.
    pub(super) fn is_silent(&self) -> bool {
        self.said == 0 && self.calls.is_empty()
    }

    /// Takes an update in.
    pub(super) fn on(&mut self, update: SessionUpdate) -> Result<Vec<Act>, TooMuch> {
        let mut acts = Vec::new();
        match update {
            SessionUpdate::AgentMessageChunk(chunk) => {
                let text = text_of(&chunk.content);
                self.say(&text, chunk.message_id.map(|id| id.0.to_string()), &mut acts)?;
            }
            SessionUpdate::AgentThoughtChunk(chunk) => {
                let text = text_of(&chunk.content);
                acts.extend((!text.is_empty()).then_some(Act::Show(Event::Thought(text))));
            }
            SessionUpdate::Plan(plan) => acts.push(Act::Show(Event::Thought(plan_text(&plan)))),
            SessionUpdate::ToolCall(call) => self.called(call, &mut acts)?,
            SessionUpdate::ToolCallUpdate(update) => self.changed(update, false, &mut acts)?,
            // Modes, commands, titles and the like are the agent's own business.
            _ => {}
        }
        Ok(acts)
    }

    /// It asks whether it may.
    pub(super) fn asked(&mut self, call: ToolCallUpdate) -> Result<Vec<Act>, TooMuch> {
        let mut acts = Vec::new();
        self.changed(call, true, &mut acts)?;
        Ok(acts)
    }

    /// The turn is over: every call that is kept gets a result.
    pub(super) fn end(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        for call in &mut self.calls {
            if call.begun && !is_over(call.status) {
                call.status = ToolCallStatus::Failed;
                call.content.clear();
                call.output = Some("the turn ended before the agent said what came of this call".into());
            }
        }
        self.settle(&mut acts);
        acts
    }

    /// The answer: what it said last.
    pub(super) fn answer(self) -> String {
        let text = if self.text.trim().is_empty() { self.before } else { self.text };
        text.trim().to_owned()
    }

    fn say(&mut self, text: &str, message: Option<String>, acts: &mut Vec<Act>) -> Result<(), TooMuch> {
        if text.is_empty() {
            return Ok(());
        }
        self.said += text.len();
        if self.said > MAX_TEXT {
            return Err(TooMuch(format!("its answer is longer than {MAX_TEXT} bytes")));
        }
        let is_another = message.is_some() && self.message.is_some() && message != self.message;
        let apart =
            if is_another && !self.text.is_empty() && !self.text.ends_with('\n') { "\n\n" } else { "" };
        self.message = message.or(self.message.take());
        let text = format!("{apart}{text}");
        self.text.push_str(&text);
        acts.push(Act::Show(Event::Delta(text)));
        Ok(())
    }

    fn called(&mut self, call: ToolCall, acts: &mut Vec<Act>) -> Result<(), TooMuch> {
        let at = self.at(&call.tool_call_id.0)?;
        let known = &mut self.calls[at];
        known.title = call.title;
        known.name = call.name.or(known.name.take());
        known.kind = call.kind;
        known.status = further(known.status, call.status);
        known.input = call.raw_input.or(known.input.take());
        known.output = call.raw_output.or(known.output.take());
        if !call.content.is_empty() {
            known.content = call.content;
        }
        self.settle(acts);
        Ok(())
    }

    fn changed(&mut self, call: ToolCallUpdate, asked: bool, acts: &mut Vec<Act>) -> Result<(), TooMuch> {
        let at = self.at(&call.tool_call_id.0)?;
        let (known, fields) = (&mut self.calls[at], call.fields);
        known.asked |= asked;
        known.title = fields.title.unwrap_or(std::mem::take(&mut known.title));
        known.name = fields.name.or(known.name.take());
        known.kind = fields.kind.unwrap_or(known.kind);
        known.status = fields.status.map_or(known.status, |status| further(known.status, status));
        known.input = fields.raw_input.or(known.input.take());
        known.output = fields.raw_output.or(known.output.take());
        known.content = fields.content.unwrap_or(std::mem::take(&mut known.content));
        self.settle(acts);
        Ok(())
    }

    /// The call with the agent's id, new if it is not known.
    fn at(&mut self, theirs: &str) -> Result<usize, TooMuch> {
        if let Some(at) = self.calls.iter().rposition(|call| call.theirs == theirs) {
            return Ok(at);
        }
        if self.calls.len() == MAX_CALLS {
            return Err(TooMuch(format!("it calls more than {MAX_CALLS} tools")));
        }
        let mut id = theirs.to_owned();
        let mut more = 1_u32;
        while id.is_empty() || self.taken.contains(&id) {
            more += 1;
            id = format!("{theirs}-{more}");
        }
        self.taken.insert(id.clone());
        self.calls.push(Call { theirs: theirs.to_owned(), id, ..Call::default() });
        Ok(self.calls.len() - 1)
    }

    /// Tells of calls that begin, and keeps what can be kept.
    fn settle(&mut self, acts: &mut Vec<Act>) {
        for call in self.calls.iter_mut().filter(|call| !call.begun) {
            if has_begun(call) {
                call.begun = true;
                let input = call.input.as_ref().map(ToString::to_string).unwrap_or_default();
                acts.push(Act::Show(event(call, input, false)));
            }
        }
        loop {
            if self.open.is_empty() {
                let fresh = |call: &Call| call.begun && !call.is_kept;
                self.open = (0..self.calls.len()).filter(|at| fresh(&self.calls[*at])).collect();
                if self.open.is_empty() {
                    return;
                }
                acts.push(Act::Keep(self.step()));
            }
            let over: Vec<usize> =
                self.open.iter().copied().filter(|at| is_over(self.calls[*at].status)).collect();
            if over.is_empty() {
                return;
            }
            for at in over {
                self.open.retain(|open| *open != at);
                let (is_last, longest) = (self.open.is_empty(), self.longest);
                let call = &mut self.calls[at];
                call.is_answered = true;
                let text = result(call, longest);
                let message = Message::result(&call.id, &name(call), text.clone());
                // It is needed no more.
                (call.content, call.output, call.input) = (Vec::new(), None, None);
                acts.push(Act::Keep(Step::Result { message, is_last }));
                acts.push(Act::Show(event(call, text, true)));
            }
        }
    }

    /// The step of the calls that are open.
    fn step(&mut self) -> Step {
        let text = std::mem::take(&mut self.text);
        if !text.trim().is_empty() {
            self.before.clone_from(&text);
        }
        let mut tool_calls = Vec::with_capacity(self.open.len());
        for at in &self.open {
            let call = &mut self.calls[*at];
            call.is_kept = true;
            let function = json!({"name": name(call), "arguments": arguments(call)});
            tool_calls.push(json!({"id": call.id, "type": "function", "function": function}));
        }
        let message =
            Message { tool_calls, ..Message::new(Role::Assistant, Value::String(text.trim().to_owned())) };
        let ModelId { model, provider } = self.model.clone();
        Step::Calls { message, cost: Cost { model, provider, ..Cost::default() } }
    }
}

fn is_over(status: ToolCallStatus) -> bool {
    matches!(status, ToolCallStatus::Completed | ToolCallStatus::Failed)
}

/// What is over stays over, whatever comes late.
fn further(known: ToolCallStatus, told: ToolCallStatus) -> ToolCallStatus {
    if is_over(known) { known } else { told }
}

fn has_begun(call: &Call) -> bool {
    let says_something = |input: &Value| match input {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        _ => true,
    };
    call.asked || call.status != ToolCallStatus::Pending || call.input.as_ref().is_some_and(says_something)
}

fn event(call: &Call, text: String, done: bool) -> Event {
    let preview = match (&call.input, done) {
        (Some(input), false) => preview::of(&input.to_string()),
        _ => String::new(),
    };
    let failed = done && call.status == ToolCallStatus::Failed;
    Event::Tool { name: name(call), id: call.id.clone(), done, preview, text, failed, diff: None }
}

/// The tool's name, or what kind of tool it is; in letters that every provider takes.
fn name(call: &Call) -> String {
    let kind = || serde_json::to_value(call.kind).ok().and_then(|kind| Some(kind.as_str()?.to_owned()));
    let name = call.name.clone().filter(|name| !name.trim().is_empty()).or_else(kind);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.unwrap_or_else(|| "tool".to_owned()).trim().chars().take(MAX_NAME).map(plain).collect()
}

/// What it was called with, as the JSON object that arguments are.
fn arguments(call: &Call) -> String {
    let title: String = call.title.chars().take(MAX_TITLE).collect();
    let whole = match &call.input {
        Some(Value::Object(map)) if !map.is_empty() => Value::Object(map.clone()),
        None | Some(Value::Null | Value::Object(_)) => json!({"title": title}),
        Some(other) => json!({"title": title, "input": other}),
    };
    let text = whole.to_string();
    if text.len() <= MAX_ARGUMENTS {
        return text;
    }
    let part = &text[..text.floor_char_boundary(MAX_ARGUMENTS / 2)];
    json!({"title": title, "cut": true, "input": part}).to_string()
}

/// What came of it, as text.
fn result(call: &Call, longest: usize) -> String {
    let parts: Vec<String> =
        call.content.iter().map(content_text).filter(|text| !text.trim().is_empty()).collect();
    let mut text = parts.join("\n");
    if text.is_empty() {
        text = match &call.output {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
    }
    if text.len() > longest {
        let length = text.len();
        text.truncate(text.floor_char_boundary(longest));
        text = format!("{text}… [cut: {longest} of {length} bytes are kept]");
    }
    match (call.status, text.is_empty()) {
        (ToolCallStatus::Failed, true) => json!({"error": "it failed"}).to_string(),
        (ToolCallStatus::Failed, false) => json!({"error": text}).to_string(),
        (_, true) => json!({"status": "completed"}).to_string(),
        (_, false) => text,
    }
}

fn content_text(content: &ToolCallContent) -> String {
    match content {
        ToolCallContent::Content(content) => text_of(&content.content),
        ToolCallContent::Diff(diff) => {
            let what = if diff.old_text.is_some() { "changed" } else { "wrote" };
            format!("{what} {}:\n{}", diff.path.display(), diff.new_text)
        }
        _ => String::new(),
    }
}

/// The text of a block; what is none is named in brackets.
pub(super) fn text_of(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(_) => "[image]".to_owned(),
        ContentBlock::Audio(_) => "[audio]".to_owned(),
        ContentBlock::ResourceLink(link) => format!("[{}]({})", link.name, link.uri),
        ContentBlock::Resource(resource) => match &resource.resource {
            EmbeddedResourceResource::TextResourceContents(text) => text.text.clone(),
            _ => "[file]".to_owned(),
        },
        _ => String::new(),
    }
}

fn plan_text(plan: &Plan) -> String {
    let line = |status: &PlanEntryStatus, content: &str| {
        let mark = match status {
            PlanEntryStatus::Completed => "x",
            PlanEntryStatus::InProgress => "~",
            _ => " ",
        };
        format!("- [{mark}] {content}\n")
    };
    plan.entries.iter().map(|entry| line(&entry.status, &entry.content)).collect()
}

#[cfg(test)]
mod tests;
