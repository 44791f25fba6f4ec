//! Children of a turn, run beside the tool that asked for them.
//!
//! A child is a turn of its own, with the same model or that of `delegation`: a conversation that begins with its task, the tools of its parent but those that ask,
//! delegate, keep or send something, and a limit of calls. Nothing of it is stored but what it cost, which is its parent's; a process that
//! dies in the middle leaves a call whose result is unknown, and the model is told that. Nobody can be asked on a child's behalf.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Model, Own};
use crate::engine::{
    Booked, Cost, Delegated, EngineError, Event, EventSink, Journal, Kept, Message, Options, Outcome, Prompt,
    Role, Step, Unkept, Usage, Wishes,
};
use crate::tools::crew::{Errand, Report};

/// Under which name a child's cost is booked, as in 0.19.0.
const TASK: &str = "delegation";

/// Tools that a child lacks: as in 0.19.0, and the list of what its parent has to do.
const LACKS: [&str; 7] =
    ["clarify", "cronjob", "delegate_task", "execute_code", "memory", "send_message", "todo"];

/// How often a parent says that its children are at work.
const SIGN: Duration = Duration::from_secs(1);

/// Room for pieces that nobody looks at.
const EVENTS: usize = 16;

/// What a child is told about itself.
const SYSTEM: &str = "You are a sub-agent: you do one piece of work for another agent, which waits for you and sees nothing but your last \
     message. Nobody answers questions: decide yourself, and say what you took for granted. When you are done, report what was asked \
     for: what you did, what you found, which files you made or changed, and what went wrong. Be brief and exact; claim nothing that you \
     have not seen.";

/// What children have cost.
#[derive(Debug, Default)]
pub(super) struct Spent(Mutex<(Usage, u32)>);

impl Spent {
    fn add(&self, cost: &Cost) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *spent = (spent.0.plus(cost.usage), spent.1.saturating_add(cost.calls));
    }

    /// Tokens and calls.
    pub(super) fn sum(&self) -> (Usage, u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child at work.
type Child<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Whose children.
pub(super) struct Parent<'a, M> {
    pub(super) model: &'a M,
    pub(super) own: Own<'a>,
    pub(super) prompt: &'a Prompt,
    pub(super) journal: &'a dyn Journal,
    pub(super) events: &'a EventSink,
    pub(super) spent: &'a Spent,
}

impl<M> Clone for Parent<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Parent<'_, M> {}

/// Runs a tool, and beside it whatever it asks children to do.
pub(super) async fn beside<M: Model>(
    parent: Parent<'_, M>,
    work: impl Future<Output = String> + Send,
    errands: &mut mpsc::Receiver<Errand>,
) -> String {
    let mut work = pin!(work);
    let mut children = FuturesUnordered::new();
    let mut delegated: Delegated<'_> = None;
    loop {
        tokio::select! {
            biased;
            result = &mut work => {
                drop(delegated);
                return result;
            }
            Some(errand) = errands.recv() => {
                delegated = delegated.or_else(|| parent.journal.delegates());
                children.push(child(parent, errand));
            }
            Some(()) = children.next() => {}
        }
    }
}

/// A child, until it has reported or nobody waits for it.
fn child<M: Model>(parent: Parent<'_, M>, errand: Errand) -> Child<'_> {
    Box::pin(async move {
        let Errand { task, limit, with_servers, mut report } = errand;
        let prompt = Prompt {
            session_id: parent.prompt.session_id.clone(),
            platform: parent.prompt.platform.clone(),
            conversation: parent.prompt.conversation.clone(),
            source: parent.prompt.source.clone(),
            route: parent.prompt.route.clone(),
            system: SYSTEM.to_owned(),
            stored: SYSTEM.len(),
            last_tokens: 0,
            messages: vec![Message::new(Role::User, Value::String(task))],
            options: Options::new(),
            // Nobody has said that a child may do what is dangerous unasked.
            wishes: Wishes { model: parent.prompt.wishes.model.clone(), ..Wishes::default() },
        };
        let tools = parent.own.tools.without(&LACKS, with_servers);
        let own = Own { tools: &tools, limit, is_child: true };
        let journal = Account { parent: parent.journal, spent: parent.spent, booked: Mutex::default() };
        let (pieces, said) = mpsc::channel(EVENTS);
        let events = EventSink::unheard(pieces);
        let own_model = parent.model.of_children();
        let work = super::run(own_model.as_ref().unwrap_or(parent.model), own, &prompt, &journal, &events);
        let result = tokio::select! {
            biased;
            result = work => result,
            () = report.closed() => return,
            never = signs(said, parent.events) => match never {},
        };
        let (result, calls) = match result {
            Ok(outcome) => {
                let calls = outcome.calls;
                (journal.settle(&outcome).await.map(|()| outcome.text), calls)
            }
            Err(error) => {
                let calls = if let EngineError::Provider { calls, .. } = &error { *calls } else { 0 };
                (Err(error.to_string()), calls)
            }
        };
        // Nobody has to wait.
        let _ = report.send(Report { result, calls });
    })
}

/// Tells whoever listens to the parent that there is life.
async fn signs(mut said: mpsc::Receiver<Event>, events: &EventSink) -> std::convert::Infallible {
    let mut last: Option<Instant> = None;
    while said.recv().await.is_some() {
        if last.is_none_or(|last| last.elapsed() >= SIGN) {
            last = Some(Instant::now());
            // Nobody has to listen.
            let _ = events.send(Event::Alive).await;
        }
    }
    std::future::pending().await
}

/// The journal of a child: it keeps nothing but what the child costs.
struct Account<'a> {
    parent: &'a dyn Journal,
    spent: &'a Spent,
    booked: Mutex<(Usage, u32)>,
}

impl Account<'_> {
    async fn book(&self, cost: Cost) -> Result<(), Unkept> {
        {
            let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
            *booked = (booked.0.plus(cost.usage), booked.1.saturating_add(cost.calls));
        }
        self.spent.add(&cost);
        self.parent.spend(cost, TASK).await
    }

    /// Books what the last call cost.
    async fn settle(&self, outcome: &Outcome) -> Result<(), String> {
        let (usage, calls) = *self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Cost::of(outcome);
        let rest =
            Cost { usage: whole.usage.minus(usage), calls: whole.calls.saturating_sub(calls), ..whole };
        self.book(rest).await.map_err(|error| error.to_string())
    }
}

impl Journal for Account<'_> {
    fn keep(&self, step: Step) -> Kept<'_> {
        Box::pin(async move {
            match step {
                Step::Calls { message, cost } => {
                    self.book(cost).await?;
                    Ok(message)
                }
                Step::Result { message, .. } => Ok(message),
            }
        })
    }

    fn spend(&self, cost: Cost, _: &'static str) -> Booked<'_> {
        // A child has no children.
        Box::pin(self.book(cost))
    }
}
