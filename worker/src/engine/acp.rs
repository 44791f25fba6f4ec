//! The engine that lets another program answer: any agent that speaks the Agent Client Protocol (version 1), over its standard input and output.
//!
//! # Theory of operation
//!
//! ```text
//!   turn ─▶ host ─▶ live (one process, many sessions) ─▶ prompt ─▶ mailbox ─▶ told ─▶ events, steps of the journal
//!            ▲                                             ▲
//!          launch (program, environment, directory)      compose ◀── known (what the agent has been told)
//! ```
//!
//! The agent has tools, files and a history of its own; what is kept here is ours all the same: the question, each call of a tool with
//! what came of it, and the answer, through the [`Journal`] like those of our own tools. So a session is listed, searched and resumed
//! as any other, and goes on with another engine or another agent: what that one does not know it is told ([`known`]).
//!
//! # Guarantees
//!
//! - Nothing is started before the first turn; a process that is not needed for an hour is ended, and none outlives the worker.
//! - The agent gets the environment of the profile's programs and the variables that `agent.acp.env` names, and nothing else of `.env`.
//! - What it writes is bounded: lines, messages that wait, answers, calls; what is no message is left out. It never speaks to a file or a terminal
//!   through us: we offer it none.
//! - The profile's tool servers are handed on to it ([`servers`]) with what their entries give them, and with nothing else.
//! - What it wants to be allowed is asked whoever is there, unless `approvals.mode` is `off`; where nobody can be asked the answer is no.
//! - A turn that is not wanted any more is cancelled at the agent, and its session is not used before the agent has said that it stopped.
//! - An agent that dies, hangs or floods ends its turns with a reason, and is started again, ever later.

mod compose;
mod consent;
mod fault;
mod heard;
mod host;
pub mod known;
mod launch;
mod live;
mod mailbox;
pub mod servers;
mod serving;
mod sessions;
mod told;
mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::schema::{PromptResponse, StopReason};
use hermes_config::{ApprovalMode, ProfileConfig};
use hermes_wire::ProfileHome;
use tokio_util::sync::CancellationToken;

use super::{
    Closing, Engine, EngineError, EngineFuture, Event, EventSink, Journal, Message, ModelId, Outcome, Prompt,
    Usage,
};
use crate::fence::Fence;
use crate::provider::Fault;
use consent::{Consent, Question};
use fault::{finish_reason, is_unknown_session};
use host::Host;
use known::{Gap, Known, Map, digest_of_answer, digest_of_text, gap};
use launch::Launch;
use live::{Live, Talk, is_lost};
use mailbox::Mail;
use told::{Act, Telling, TooMuch};

/// Who answers, by the name that sessions record.
const PROVIDER: &str = "acp";

/// What an agent is among.
pub(crate) struct Around {
    /// Where its sessions are kept.
    pub(crate) map: Arc<dyn Map>,
    /// It runs behind this.
    pub(crate) fence: Fence,
    /// Hears of the tool servers that it is given.
    pub(crate) hears: servers::Hears,
}

/// The engine; see the module.
pub(crate) struct Acp {
    host: Host,
    map: Arc<dyn Map>,
    model: ModelId,
    /// It may say nothing for so long.
    silence: Option<Duration>,
    instructions: bool,
    approvals: ApprovalMode,
    /// A question waits so long.
    patience: Duration,
    /// Longest result of a tool that is kept, in bytes.
    longest: usize,
}

/// What was wrong with a turn's prompt.
enum Lost {
    /// The agent has no such session: it may be told everything in a new one.
    Session,
    Turn(EngineError),
}

impl From<EngineError> for Lost {
    fn from(error: EngineError) -> Self {
        Self::Turn(error)
    }
}

impl Acp {
    /// The engine of a profile; `inherited` is what the gateway was started with.
    pub(crate) fn from_config(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: &[(String, String)],
        around: Around,
    ) -> Self {
        let Around { map, fence, hears } = around;
        let agent = Launch::name(&config.agent.acp.command).to_owned();
        Self {
            host: Host::new(Launch::new(config, home, inherited, &fence, hears)),
            map,
            model: ModelId { model: agent, provider: PROVIDER.to_owned() },
            silence: Some(config.agent.gateway_timeout).filter(|timeout| !timeout.is_zero()),
            instructions: config.agent.acp.instructions,
            approvals: config.tools.approvals,
            patience: config.tools.approval_timeout,
            longest: config.tools.max_output_bytes,
        }
    }

    async fn turn(
        &self,
        prompt: &Prompt,
        journal: &dyn Journal,
        events: &EventSink,
    ) -> Result<Outcome, EngineError> {
        let live = self.host.live().await?;
        let known = self.map.recall(&prompt.session_id).await?;
        let fingerprint = self.host.launch.fingerprint();
        let known = known.filter(|known| known.agent == fingerprint);
        let first = gap(&prompt.messages, known.as_ref());
        if let Some(known) = known.as_ref().filter(|_| first.knows)
            && live.attach(&known.session).await?
        {
            match self.ask(&live, prompt, &first, known.clone(), journal, events).await {
                Err(Lost::Session) => {
                    let session = &prompt.session_id;
                    tracing::info!(session, "the agent no longer has the session; a new one gets a recap");
                }
                Err(Lost::Turn(error)) => return Err(error),
                Ok(outcome) => return Ok(outcome),
            }
        }
        let all = gap(&prompt.messages, None);
        let instructions = self.instructions.then_some(prompt.system.as_str());
        let session = live.open(instructions).await?;
        // Those that are given with the session are not told again.
        let given = instructions.filter(|_| live.takes_instructions()).map(digest_of_text);
        let fresh = Known {
            agent: fingerprint,
            session,
            instructions: given.unwrap_or_default(),
            ..Known::default()
        };
        match self.ask(&live, prompt, &all, fresh, journal, events).await {
            Ok(outcome) => Ok(outcome),
            Err(Lost::Turn(error)) => Err(error),
            Err(Lost::Session) => Err(self
                .host
                .launch
                .faults
                .of(Fault::Unreachable, "does not know the session that it just opened")),
        }
    }

    /// Asks in a session that the agent has, and follows the turn to its end.
    async fn ask(
        &self,
        live: &Arc<Live>,
        prompt: &Prompt,
        gap: &Gap<'_>,
        before: Known,
        journal: &dyn Journal,
        events: &EventSink,
    ) -> Result<Outcome, Lost> {
        let digest = digest_of_text(&prompt.system);
        let instructions = (self.instructions && before.instructions != digest).then_some(&*prompt.system);
        let blocks = compose::prompt(gap, instructions, live.can.prompt_capabilities.image);
        let mut known = Known {
            texts: gap.texts,
            digest: gap.digest.clone(),
            answer: String::new(),
            instructions: if self.instructions { digest } else { String::new() },
            ..before.clone()
        };
        // First: after a crash it is known that the agent may have the question.
        let id = &prompt.session_id;
        self.map.keep(id, known.clone()).await.map_err(EngineError::from)?;
        let taken: HashSet<String> =
            prompt.messages.iter().flat_map(Message::call_ids).map(str::to_owned).collect();
        let mut telling = Telling::new(self.model.clone(), taken, self.longest);
        let talk = live.prompt(&known.session, blocks)?;
        let ended = self.follow(talk, &mut telling, journal, events).await?;
        // Of calls that run in an agent which is gone nobody knows what came.
        if let Err(error) = &ended
            && is_lost(error)
        {
            return Err(Lost::Turn(live.failed("gave no answer", error).await));
        }
        for act in telling.end() {
            perform(act, journal, events).await?;
        }
        let response = match ended {
            Ok(response) => response,
            Err(error) if telling.is_silent() => {
                // It has not begun: what it was given before is all that it knows.
                self.map.keep(id, before).await.map_err(EngineError::from)?;
                return Err(if is_unknown_session(&error) {
                    Lost::Session
                } else {
                    Lost::Turn(live.failed("gave no answer", &error).await)
                });
            }
            Err(error) => return Err(Lost::Turn(live.failed("gave no answer", &error).await)),
        };
        let outcome = self.outcome(&response, telling)?;
        known.answer = digest_of_answer(&outcome.text);
        self.map.keep(id, known).await.map_err(EngineError::from)?;
        Ok(outcome)
    }

    /// Takes what the agent says, until the end of its turn.
    async fn follow(
        &self,
        mut talk: Talk,
        telling: &mut Telling,
        journal: &dyn Journal,
        events: &EventSink,
    ) -> Result<Result<PromptResponse, agent_client_protocol::Error>, EngineError> {
        let faults = &self.host.launch.faults;
        let too_much = |error: TooMuch| faults.of(Fault::Request, &format!("is stopped: {error}"));
        loop {
            let mail = match self.silence {
                Some(limit) => match tokio::time::timeout(limit, talk.next()).await {
                    Ok(mail) => mail,
                    Err(_elapsed) => {
                        let text = format!("said nothing for {} s", limit.as_secs());
                        return Err(faults.of(Fault::Unreachable, &text));
                    }
                },
                None => talk.next().await,
            };
            let acts = match mail {
                Mail::Update(update) => telling.on(*update).map_err(too_much)?,
                Mail::Sign => Vec::new(),
                Mail::Question(question) => {
                    for act in telling.asked(question.request.tool_call.clone()).map_err(too_much)? {
                        perform(act, journal, events).await?;
                    }
                    self.consider(question, events).await;
                    Vec::new()
                }
                Mail::Done(result) => return Ok(*result),
                Mail::Gone(why) => return Err(faults.of(Fault::Unreachable, &why)),
                Mail::Flooded => {
                    return Err(faults.of(Fault::Request, "is stopped: it says more than can be taken in"));
                }
            };
            if acts.is_empty() {
                // It works, which whoever watches the turn wants to know.
                let _ = events.send(Event::Alive).await;
            }
            for act in acts {
                perform(act, journal, events).await?;
            }
        }
    }

    /// Answers what the agent asks, or has it answered.
    async fn consider(&self, question: Question, events: &EventSink) {
        let agent = &self.host.launch.faults.agent;
        let (answer, why) = match (self.approvals, events.asker()) {
            (ApprovalMode::Off, _) => (Consent::Once, ""),
            (_, None) => (Consent::No, "nobody can be asked, and `approvals.mode` is not `off`"),
            (_, Some(asker)) => {
                let wish = consent::question(agent, &question.request, self.patience);
                consent::heard(asker.ask(wish).await)
            }
        };
        let title = question.request.tool_call.fields.title.as_deref().unwrap_or_default();
        if answer == Consent::No {
            tracing::warn!(%agent, title, "what the agent wants to do is not allowed: {why}");
        }
        let outcome = consent::outcome(answer, &question.request.options);
        question.answer(outcome);
    }

    /// The answer of a turn that ended.
    fn outcome(&self, response: &PromptResponse, telling: Telling) -> Result<Outcome, EngineError> {
        let faults = &self.host.launch.faults;
        let text = telling.answer();
        let Some(finish_reason) = finish_reason(response.stop_reason) else {
            return Err(faults.of(Fault::Empty, "stopped its turn without being told to"));
        };
        if text.is_empty() {
            return Err(match finish_reason {
                "content_filter" => faults.of(Fault::Request, "refuses to answer"),
                _ => faults.of(Fault::Empty, "ended its turn without an answer"),
            });
        }
        let usage = response.usage.as_ref().map_or_else(Usage::default, |usage| Usage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cached_read_tokens.unwrap_or(0),
            cache_write_tokens: usage.cached_write_tokens.unwrap_or(0),
            reasoning_tokens: usage.thought_tokens.unwrap_or(0),
        });
        Ok(Outcome {
            text,
            tool_calls: Vec::new(),
            finish_reason: finish_reason.to_owned(),
            is_cut_short: response.stop_reason == StopReason::MaxTurnRequests,
            model: self.model.model.clone(),
            provider: self.model.provider.clone(),
            base_url: String::new(),
            usage,
            calls: 1,
        })
    }
}

/// Keeps and shows.
async fn perform(act: Act, journal: &dyn Journal, events: &EventSink) -> Result<(), EngineError> {
    match act {
        // Nobody has to listen.
        Act::Show(event) => {
            let _ = events.send(event).await;
        }
        Act::Keep(step) => {
            journal.keep(step).await?;
        }
    }
    Ok(())
}

impl Engine for Acp {
    fn name(&self) -> &'static str {
        "acp"
    }

    fn model(&self) -> ModelId {
        self.model.clone()
    }

    fn has_tools(&self) -> bool {
        true
    }

    fn is_steered(&self) -> bool {
        false
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Interrupted),
                result = self.turn(prompt, journal, &events) => result,
            }
        })
    }

    fn close(&self) -> Closing<'_> {
        Box::pin(self.host.close())
    }
}

#[cfg(test)]
mod tests;
