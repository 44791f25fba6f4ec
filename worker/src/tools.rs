//! The worker's own tools: what a model may have done here, by name.
//!
//! A tool gets its arguments as the JSON object they must be and answers with JSON, which the model reads as text. Whatever goes wrong
//! is an answer too (`{"error": …}`): the model hears it and decides. A tool is interrupted by dropping its future, so what it does
//! must be whole or not begun at every await; whether it was done when a process died nobody knows, and the model is told that.
//!
//! Who may call what is decided in one place, [`toolset`]: a tool that is not offered cannot be called either.

mod approval;
pub mod asking;
pub mod catalogue;
mod clarify;
pub mod crew;
mod delegate;
pub mod desk;
mod guard;
mod memory;
pub(crate) mod outbox;
mod patch;
mod place;
pub mod post;
mod read_file;
mod search_files;
pub(crate) mod send_message;
pub(crate) mod session_search;
mod skill_manage;
mod skills;
mod terminal;
mod todo;
mod toolset;
mod trial;
mod web;
mod write_file;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::FutureExt as _;
use hermes_config::network::Network;
use hermes_config::{Guardrails, ProfileConfig, Secret, Toolsets};
use hermes_wire::ProfileHome;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::fence::Fence;
use crate::inbound::Source;
use crate::skills::Library;
use crate::web::Web;

use asking::Asker;
use crew::Crew;
use desk::Desk;
use place::Place;
use post::Post;

pub(crate) use terminal::{Case, Reviewer, Reviewing, Verdict};

/// Longest result that a model is shown of a tool that sets no limit of its own, in bytes.
const MAX_RESULT: usize = 50_000;

/// Why a tool did not do what it was asked to; the text is for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// A tool at work.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<Value, ToolError>> + Send + 'a>>;

/// What tools need of the worker beside the profile's files.
#[derive(Default)]
pub(crate) struct Given<'a> {
    /// What it was started with.
    pub(crate) inherited: &'a [(String, String)],
    /// What no output may show.
    pub(crate) secrets: Vec<Secret>,
    /// Who looks at a dangerous command before somebody is asked.
    pub(crate) reviewer: Option<Box<dyn Reviewer>>,
    /// The way to other chats.
    pub(crate) post: Option<Arc<dyn Post>>,
    /// What is around programs.
    pub(crate) fence: Fence,
}

/// The directory in which the last command of a sub-agent ended. Others work beside it, each in its own.
#[derive(Debug, Clone, Default)]
pub struct Shell(Arc<Mutex<Option<Utf8PathBuf>>>);

impl Shell {
    fn dir(&self) -> Option<Utf8PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, dir: &Utf8Path) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(dir.to_owned());
    }
}

/// For whom a tool works.
#[derive(Clone, Default)]
pub struct Caller {
    /// The session whose turn it is.
    pub session_id: String,
    /// Where the question came from.
    pub platform: String,
    /// What stays the same as long as the conversation does: the session's key, or its id where it has none.
    pub conversation: String,
    /// Who asked, and where.
    pub source: Source,
    /// Who can be asked; none where nobody can.
    pub asker: Option<Arc<dyn Asker>>,
    /// Nobody is to be asked before something dangerous: who asked has said so for this turn.
    pub unasked: bool,
    /// The id of the call.
    pub call_id: String,
    /// Whoever runs children of the turn.
    pub crew: Option<Crew>,
    /// Whoever can be asked something; none where nobody can.
    pub desk: Option<Arc<dyn Desk>>,
    /// Where a sub-agent's own commands are; without one it is the conversation's.
    pub shell: Option<Shell>,
    /// How often the turn has failed to find room in a memory.
    pub memory_failures: Arc<AtomicU32>,
    /// What whoever looks on is shown of the call, besides its result.
    pub shown: Shown,
}

/// What a call has changed in files: put there by the tool, taken by whoever tells of the call. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<Mutex<Option<String>>>);

impl Shown {
    /// Shows a difference.
    pub fn put(&self, diff: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(diff).filter(|diff| !diff.is_empty());
    }

    /// What is shown.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { session_id, platform, call_id, .. } = self;
        write!(f, "{call_id} of {session_id} by {platform}")
    }
}

/// Something a model can have done.
pub trait Tool: Send + Sync {
    /// What the model calls it.
    fn name(&self) -> &str;

    /// What it does, for the model.
    fn about(&self) -> &str;

    /// The group that it is turned on and off with.
    fn toolset(&self) -> &str;

    /// Whether somebody else made it: its group's name is then no word of ours, whatever it is.
    fn is_foreign(&self) -> bool {
        false
    }

    /// The JSON Schema of its arguments.
    fn parameters(&self) -> Value;

    /// Longest result that the model is shown, in bytes.
    fn longest(&self) -> usize {
        MAX_RESULT
    }

    /// Does it.
    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a>;
}

/// Where tools come from that come and go while a worker runs.
pub(crate) trait Supply: Send + Sync {
    /// Waits until those are there that are on their way, and never for long.
    fn gathered(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Those that are there now.
    fn tools(&self) -> Vec<Arc<dyn Tool>>;

    /// The groups that they are in, there or not.
    fn toolsets(&self) -> Vec<String>;

    /// Why a tool of this name is not there, where this is where it would come from.
    fn absent(&self, tool: &str) -> Option<String>;
}

/// The tools of a profile, in the order of their names: the same ones make the same prompt. Cloning shares them.
#[derive(Clone, Default)]
pub struct Tools {
    all: Arc<Vec<Arc<dyn Tool>>>,
    choice: Arc<Toolsets>,
    guardrails: Guardrails,
    /// What has something that is to be ended.
    terminal: Option<Arc<terminal::Shared>>,
    source: Option<Arc<dyn Supply>>,
    /// Names of those that are not offered here, whoever asks.
    lacks: &'static [&'static str],
    /// Those of servers are not either.
    without_servers: bool,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|tool| tool.name())).finish()
    }
}

impl Tools {
    /// These tools.
    pub fn new(mut tools: Vec<Box<dyn Tool>>) -> Self {
        tools.sort_by(|a, b| a.name().cmp(b.name()));
        let all = tools.into_iter().map(Arc::from).collect();
        Self { all: Arc::new(all), ..Self::default() }
    }

    /// And those that come from there.
    #[must_use]
    pub(crate) fn and(mut self, source: Option<Arc<dyn Supply>>) -> Self {
        self.source = source;
        self
    }

    /// Waits for tools that are on their way, and never for long.
    pub(crate) async fn gathered(&self) {
        if let Some(source) = &self.source {
            source.gathered().await;
        }
    }

    /// Those that a profile's files ask for.
    pub(crate) fn from_config(
        config: &ProfileConfig,
        home: &ProfileHome,
        skills: &Library,
        mut given: Given<'_>,
    ) -> Self {
        let trial = config.agent.trial_tool.as_ref().map(|file| trial::Trial::new(home, file));
        let mut all: Vec<Box<dyn Tool>> = Vec::new();
        all.extend(trial.map(|tool| Box::new(tool) as Box<dyn Tool>));
        all.extend(memory::Memory::new(home, config).map(|tool| Box::new(tool) as Box<dyn Tool>));
        all.push(Box::new(session_search::SessionSearch::new(home)));
        all.push(Box::new(todo::Todo::new(home)));
        all.push(Box::new(skills::List(skills.clone())));
        all.push(Box::new(skills::View(skills.clone())));
        let approval = config.skills.write_approval.then_some(config.tools.approval_timeout);
        all.push(Box::new(skill_manage::Manage { library: skills.clone(), approval }));
        let place = Arc::new(Place::new(config, home));
        all.push(Box::new(read_file::ReadFile::new(&place)));
        all.push(Box::new(write_file::WriteFile::new(&place)));
        all.push(Box::new(patch::Patch::new(&place)));
        all.push(Box::new(search_files::SearchFiles::new(&place)));
        let network = Network::of(&config.env).over(given.inherited);
        all.push(Box::new(web::Extract(Web::new(network, config.allow_private_urls))));
        let post = given.post.take().filter(|post| post.is_any());
        all.extend(post.map(|post| Box::new(send_message::SendMessage(post)) as Box<dyn Tool>));
        all.push(Box::new(delegate::Delegate(config.delegation)));
        all.push(Box::new(clarify::Clarify { patience: config.agent.clarify_timeout }));
        let terminal = terminal::Shared::new(config, home, &place, given);
        all.push(Box::new(terminal::Run(Arc::clone(&terminal))));
        all.push(Box::new(terminal::Look(Arc::clone(&terminal))));
        Self {
            choice: Arc::new(config.toolsets.clone()),
            guardrails: config.tools.guardrails,
            terminal: Some(terminal),
            ..Self::new(all)
        }
    }

    /// When a model is told that it goes round in circles.
    pub(crate) fn guardrails(&self) -> Guardrails {
        self.guardrails
    }

    /// Whether something that a tool has started runs beside the conversation.
    pub(crate) fn are_busy(&self) -> bool {
        self.terminal.as_ref().is_some_and(|terminal| terminal.is_busy())
    }

    /// Ends what tools have left running.
    pub(crate) async fn close(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.close().await;
        }
    }

    /// The same without these.
    pub(crate) fn without(&self, lacks: &'static [&'static str], with_servers: bool) -> Self {
        Self { lacks, without_servers: !with_servers, ..self.clone() }
    }

    /// Whether there are none, and none will come.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.source.is_none()
    }

    /// Those that may be called by who comes from `platform`.
    fn offered(&self, platform: &str) -> Vec<Arc<dyn Tool>> {
        let mut all = self.all.to_vec();
        if let Some(source) = &self.source {
            all.extend(source.tools());
            all.sort_by(|a, b| a.name().cmp(b.name()));
        }
        all.retain(|tool| {
            let is_lacking = self.lacks.contains(&tool.name()) || (self.without_servers && tool.is_foreign());
            !is_lacking && self.offers(tool.toolset(), tool.is_foreign(), platform)
        });
        all
    }

    fn offers(&self, toolset: &str, is_foreign: bool, platform: &str) -> bool {
        if is_foreign {
            toolset::offers_foreign(&self.choice, toolset, platform)
        } else {
            toolset::offers(&self.choice, toolset, platform)
        }
    }

    /// The names of those, and of the groups that they are in.
    pub(crate) fn names(&self, platform: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut names: (BTreeSet<String>, BTreeSet<String>) = self
            .offered(platform)
            .iter()
            .map(|tool| (tool.name().to_owned(), tool.toolset().to_owned()))
            .unzip();
        // A server that is still being started is no reason for another prompt.
        let coming = self.source.iter().flat_map(|source| source.toolsets());
        names.1.extend(coming.filter(|toolset| self.offers(toolset, true, platform)));
        names
    }

    /// What a request offers, as the chat-completions wire has it.
    pub fn declarations(&self, platform: &str) -> Vec<Value> {
        let declare = |tool: &Arc<dyn Tool>| {
            let function =
                json!({"name": tool.name(), "description": tool.about(), "parameters": tool.parameters()});
            json!({"type": "function", "function": function})
        };
        self.offered(platform).iter().map(declare).collect()
    }

    /// Runs a tool to its end and gives the text of its result.
    pub async fn run(&self, name: &str, arguments: &str, caller: &Caller) -> String {
        let tool = self.offered(&caller.platform).into_iter().find(|tool| tool.name() == name);
        let longest = tool.as_ref().map_or(MAX_RESULT, |tool| tool.longest());
        let result = match tool {
            None => {
                let absent = self.source.as_ref().and_then(|source| source.absent(name));
                Err(ToolError(absent.unwrap_or_else(|| format!("there is no tool `{name}`"))))
            }
            Some(tool) => match parse(arguments) {
                Err(error) => Err(error),
                // Nothing of the tool's own state is used by this turn after a panic.
                Ok(arguments) => {
                    AssertUnwindSafe(tool.run(arguments, caller)).catch_unwind().await.unwrap_or_else(|_| {
                        Err(ToolError("the tool failed; its worker's log says how".to_owned()))
                    })
                }
            },
        };
        let value = result.unwrap_or_else(|error| {
            tracing::info!(tool = name, %error, "a tool failed");
            json!({"error": error.to_string()})
        });
        bounded(value.to_string(), longest)
    }
}

/// The arguments of a tool, read. Numbers that a model wrote as texts are numbers.
fn arguments<T: DeserializeOwned>(
    mut arguments: Map<String, Value>,
    numbers: &[&str],
) -> Result<T, ToolError> {
    for name in numbers {
        if let Some(value) = arguments.get_mut(*name)
            && let Some(number) = value.as_str().and_then(|text| text.trim().parse::<i64>().ok())
        {
            *value = number.into();
        }
    }
    // `null` says nothing, like a name that is not there.
    arguments.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| ToolError(format!("wrong arguments: {error}")))
}

/// Whether nobody waits any more for work that blocks.
#[derive(Debug, Clone, Default)]
struct Stopped(Arc<AtomicBool>);

impl Stopped {
    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Says so when it is dropped.
struct Stopper(Stopped);

/// Does what blocks on a thread that may. Work that takes long asks whether anybody still waits.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Stopped) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let stopped = Stopped::default();
    let _stopper = Stopper(stopped.clone());
    let done = hermes_host::blocking::run(move || work(&stopped)).await;
    done.unwrap_or_else(|lost| Err(ToolError(lost.to_string())))
}

fn parse(arguments: &str) -> Result<Map<String, Value>, ToolError> {
    // A model that has nothing to say says nothing.
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(ToolError("the arguments are not a JSON object".to_owned())),
        Err(error) => Err(ToolError(format!("the arguments are not JSON: {error}"))),
    }
}

fn bounded(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        let length = text.len();
        text.truncate(text.floor_char_boundary(longest));
        // Writing to a string cannot fail.
        let _ = write!(text, "… [cut: {longest} of {length} bytes are shown]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Odd;

    impl Tool for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        fn about(&self) -> &'static str {
            "Fails in every way."
        }

        fn parameters(&self) -> Value {
            json!({"type": "object"})
        }

        fn toolset(&self) -> &'static str {
            "odd"
        }

        fn run<'a>(&'a self, arguments: Map<String, Value>, _: &'a Caller) -> Work<'a> {
            Box::pin(async move {
                match arguments.get("how").and_then(Value::as_str) {
                    Some("panic") => panic!("as meant by this test"),
                    Some("long") => Ok(Value::String("ü".repeat(MAX_RESULT))),
                    Some("error") => Err(ToolError("no".to_owned())),
                    _ => Ok(json!({"ok": true})),
                }
            })
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_result_that_says_so() {
        let tools = Tools::new(vec![Box::new(Odd)]);
        let caller = Caller::default();
        for (name, arguments, expected) in [
            ("odd", "", r#"{"ok":true}"#),
            ("odd", r#"{"how": "error"}"#, r#"{"error":"no"}"#),
            ("even", "{}", r#"{"error":"there is no tool `even`"}"#),
            ("odd", "[]", r#"{"error":"the arguments are not a JSON object"}"#),
            ("odd", r#"{"how": "panic"}"#, r#"{"error":"the tool failed; its worker's log says how"}"#),
        ] {
            assert_eq!(tools.run(name, arguments, &caller).await, expected, "{name} {arguments}");
        }
        assert!(
            tools.run("odd", "{", &caller).await.starts_with(r#"{"error":"the arguments are not JSON: "#)
        );
        let long = tools.run("odd", r#"{"how": "long"}"#, &caller).await;
        assert!(long.len() < MAX_RESULT + 100 && long.ends_with("bytes are shown]"), "{}", long.len());
        let declared = tools.declarations("");
        assert_eq!(declared[0]["function"]["name"], "odd");
        assert_eq!(declared.len(), 1);
    }
}
