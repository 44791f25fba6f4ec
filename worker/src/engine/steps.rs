//! A turn with tools: the model, the tools that it calls, the model again, until it answers.
//!
//! Every call for tools and every result is kept by the journal before anything follows from it, so a turn whose process died goes on
//! from its last step: a tool whose result was kept is not run again. How many calls to the model a turn has is counted by what is
//! kept, over all processes. At the limit one more call, without tools, asks for a summary.
//!
//! **Length.** Before each call the conversation's length is compared with what the model takes, and made shorter by the journal where
//! it comes near the end; so it is after a refusal as too long, which then is no failure.
//!
//! **Whose tools.** A client that brings tools of its own gets exactly those, and runs them itself: nobody has to guess who runs a
//! call. The worker's own are offered in every other turn.

mod children;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value, json};

use super::circles::{Circles, is_failure};
use super::length::{Length, Room};
use super::{
    Cost, EngineError, Event, EventSink, Journal, Message, Options, Outcome, Prompt, Role, Step, Usage,
    call_kind, preview,
};
use crate::provider::Fault;
use crate::tools::crew::Crew;
use crate::tools::{Caller, Shell, Tools};
use children::{Parent, Spent};

/// What the model is told when its calls are used up, as 0.19.0 tells it.
const SUMMARISE: &str = "You've reached the maximum number of tool-calling iterations allowed. Please provide a final response \
     summarizing what you've found and accomplished so far, without calling any more tools.";

/// One call to the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// For logs.
    pub(super) session_id: &'a str,
    /// The system prompt.
    pub(super) system: &'a str,
    /// The conversation.
    pub(super) messages: &'a [Message],
    /// What the client asks for.
    pub(super) options: &'a Options,
    /// The worker's tools, as the wire has them.
    pub(super) tools: &'a [Value],
}

impl<'a> Ask<'a> {
    /// The whole of `prompt`, without tools of the worker's.
    pub(super) fn of(prompt: &'a Prompt) -> Self {
        let Prompt { session_id, system, messages, options, .. } = prompt;
        Self { session_id, system, messages, options, tools: &[] }
    }

    /// Whether the model may call any tool.
    pub(super) fn offers_tools(&self) -> bool {
        !self.tools.is_empty() || brings_tools(self.options)
    }
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Its answer, or the tools it wants called; usage and calls are of this call to the model alone.
    pub(super) outcome: Outcome,
    /// What it thought, where its provider wants that back.
    pub(super) reasoning: Option<String>,
    /// The same in its provider's own form.
    pub(super) thoughts: Vec<Value>,
}

/// Whatever answers one call.
pub(super) trait Model: Send + Sync {
    /// Asks once; attempts after failures are part of it.
    fn ask(
        &self,
        ask: Ask<'_>,
        events: &EventSink,
    ) -> impl Future<Output = Result<Reply, EngineError>> + Send;

    /// The model that sub-agents have instead; none: this one.
    fn of_children(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// What the model takes that is asked next, for a request of about so many tokens; `None`: conversations stay as they are.
    fn room(&self, _tokens: u64) -> impl Future<Output = Option<Room>> + Send {
        std::future::ready(None)
    }
}

/// Whether the client runs the tools of this turn.
fn brings_tools(options: &Options) -> bool {
    options.contains_key("tools")
}

/// The worker's own part in a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    /// Its tools.
    pub(super) tools: &'a Tools,
    /// Most calls to the model that may want tools called.
    pub(super) limit: u32,
    /// It is a sub-agent's.
    pub(super) is_child: bool,
}

/// Runs a turn to its answer.
#[expect(clippy::too_many_lines, reason = "one loop, whose steps share what the turn has come to")]
pub(super) async fn run<M: Model>(
    model: &M,
    own: Own<'_>,
    prompt: &Prompt,
    journal: &dyn Journal,
    events: &EventSink,
) -> Result<Outcome, EngineError> {
    let offered = if brings_tools(&prompt.options) {
        Vec::new()
    } else {
        own.tools.gathered().await;
        own.tools.declarations(&prompt.platform)
    };
    let (crew, mut errands) = Crew::new();
    let spent = Spent::default();
    let parent = Parent { model, own, prompt, journal, events, spent: &spent };
    let mut caller = Caller {
        session_id: prompt.session_id.clone(),
        platform: prompt.platform.clone(),
        conversation: prompt.conversation.clone(),
        source: prompt.source.clone(),
        asker: events.asker(),
        unasked: prompt.wishes.unasked,
        desk: events.desk().cloned(),
        crew: Some(crew),
        shell: own.is_child.then(Shell::default),
        ..Caller::default()
    };
    let mut circles = Circles::new(own.tools.guardrails());
    let (mut system, mut messages) = (Cow::Borrowed(&*prompt.system), Cow::Borrowed(&prompt.messages[..]));
    let mut length = Length::of(prompt);
    let mut used = rounds(&messages);
    let limit = prompt.wishes.max_rounds.unwrap_or(own.limit);
    let (mut usage, mut calls) = (Usage::default(), 0_u32);
    loop {
        let is_over = !offered.is_empty() && used >= limit;
        let tools = if is_over { &[] } else { &offered[..] };
        let tokens = length.tokens(&system, &messages, tools);
        let room = model.room(tokens).await;
        if let Some(squeeze) = room.and_then(|room| length.before(tokens, messages.len(), &room)) {
            match journal.shorten(squeeze).await? {
                Ok(shorter) => {
                    (system, messages) = (Cow::Owned(shorter.system), Cow::Owned(shorter.messages));
                    length.shortened();
                }
                Err(why) => {
                    tracing::info!(
                        session = prompt.session_id,
                        tokens,
                        why,
                        "a long conversation is not made shorter"
                    );
                    length.stuck();
                }
            }
        }
        if is_over {
            tracing::warn!(session = prompt.session_id, limit, "a turn has used up its calls for tools");
            let summarise = Value::String(SUMMARISE.to_owned());
            messages.to_mut().push(Message::new(Role::User, summarise));
        }
        let ask = Ask { system: &system, messages: &messages, tools, ..Ask::of(prompt) };
        let reply = match model.ask(ask, events).await {
            Ok(reply) => reply,
            Err(error) => {
                let error = with_calls(error, calls);
                if error.fault() != Some(Fault::TooLong) {
                    return Err(error);
                }
                // What it takes may be known better by now.
                let room = model.room(tokens).await;
                let Some(squeeze) = room.and_then(|room| length.after_refusal(tokens, &room)) else {
                    return Err(error);
                };
                match journal.shorten(squeeze).await? {
                    Ok(shorter) => {
                        (system, messages) = (Cow::Owned(shorter.system), Cow::Owned(shorter.messages));
                        length.shortened();
                        calls = calls_of(&error);
                        continue;
                    }
                    Err(why) => return Err(with_reason(error, &why)),
                }
            }
        };
        length.answered(reply.outcome.usage, messages.len());
        let Reply { mut outcome, reasoning, thoughts } = reply;
        usage = usage.plus(outcome.usage);
        calls = calls.saturating_add(outcome.calls);
        if outcome.tool_calls.is_empty() || ask.tools.is_empty() {
            let (of_children, calls_of_children) = spent.sum();
            (outcome.usage, outcome.calls, outcome.is_cut_short) =
                (usage.plus(of_children), calls.saturating_add(calls_of_children), is_over);
            return Ok(outcome);
        }
        name_apart(&mut outcome.tool_calls, &messages);
        let cost = Cost::of(&outcome);
        let message = Message {
            tool_calls: outcome.tool_calls,
            reasoning,
            thoughts,
            ..Message::new(Role::Assistant, Value::String(outcome.text))
        };
        let message = journal.keep(Step::Calls { message, cost }).await?;
        let wanted: Vec<Call> = message.tool_calls.iter().map(Call::of).collect();
        messages.to_mut().push(message);
        used = used.saturating_add(1);
        for (at, call) in wanted.iter().enumerate() {
            // Nobody has to listen.
            let _ = events.send(call.begins()).await;
            caller.call_id.clone_from(&call.id);
            let mut failed = true;
            let result = if let Some(refusal) = circles.refuses(&call.name, &call.arguments) {
                json!({"error": refusal}).to_string()
            } else {
                let work = own.tools.run(&call.name, &call.arguments, &caller);
                let mut result = children::beside(parent, work, &mut errands).await;
                failed = is_failure(&result);
                result.push_str(&circles.note(&call.name, &call.arguments, &result).unwrap_or_default());
                result
            };
            let message = Message::result(&call.id, &call.name, result.clone());
            let is_last = at + 1 == wanted.len();
            messages.to_mut().push(journal.keep(Step::Result { message, is_last }).await?);
            let _ = events.send(call.is_done(result, failed, caller.shown.take())).await;
        }
    }
}

/// Calls for tools since the last question, whichever process made them.
fn rounds(messages: &[Message]) -> u32 {
    let turn = messages.iter().rev().take_while(|message| message.role != Role::User);
    u32::try_from(turn.filter(|message| !message.tool_calls.is_empty()).count()).unwrap_or(u32::MAX)
}

/// The failure of a turn that made calls before.
pub(super) fn with_calls(error: EngineError, before: u32) -> EngineError {
    match error {
        EngineError::Provider { fault, status, retry_after, is_final, message, calls } => {
            let calls = calls.saturating_add(before);
            EngineError::Provider { fault, status, retry_after, is_final, message, calls }
        }
        other => other,
    }
}

fn calls_of(error: &EngineError) -> u32 {
    if let EngineError::Provider { calls, .. } = error { *calls } else { 0 }
}

/// A refusal, and why nothing could be done about it.
fn with_reason(error: EngineError, why: &str) -> EngineError {
    match error {
        EngineError::Provider { fault, status, retry_after, is_final, message, calls } => {
            let message = format!("{message}; the conversation could not be made shorter: {why}");
            EngineError::Provider { fault, status, retry_after, is_final, message, calls }
        }
        other => other,
    }
}

/// Gives ids that the conversation has already, as servers do that number the calls of each answer from 0, new ones: results are told
/// apart by them.
fn name_apart(calls: &mut [Value], messages: &[Message]) {
    let mut taken: HashSet<String> = messages.iter().flat_map(Message::call_ids).map(str::to_owned).collect();
    let salt = RandomState::new();
    for (at, call) in calls.iter_mut().enumerate() {
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let is_new = !id.is_empty() && !taken.contains(id);
        let id = if is_new { id.to_owned() } else { format!("call_{:016x}", salt.hash_one((at, id))) };
        call["id"] = Value::String(id.clone());
        taken.insert(id);
    }
}

/// A call of a tool, read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Call {
    fn of(call: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let inner = call.as_object().map(call_kind).and_then(|(kind, key)| Some((call.get(kind)?, key)));
        Self {
            id: text(call.get("id")),
            name: text(inner.and_then(|(inner, _)| inner.get("name"))),
            arguments: text(inner.and_then(|(inner, key)| inner.get(key))),
        }
    }

    /// It is about to be run.
    fn begins(&self) -> Event {
        let preview = preview::of(&self.arguments);
        let (name, id, text) = (self.name.clone(), self.id.clone(), self.arguments.clone());
        Event::Tool { name, id, done: false, preview, text, failed: false, diff: None }
    }

    /// It was.
    fn is_done(&self, result: String, failed: bool, diff: Option<String>) -> Event {
        let (name, id, preview) = (self.name.clone(), self.id.clone(), String::new());
        Event::Tool { name, id, done: true, preview, text: result, failed, diff }
    }
}

#[cfg(test)]
mod tests;
