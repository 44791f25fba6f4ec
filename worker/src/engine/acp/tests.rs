//! The engine with an agent in a process of its own, which does as it is told (`tests/src/agent.py`).

use std::collections::HashMap;
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::known::Mapped;
use super::*;
use crate::engine::{Booked, Cost, Kept, Role, Step};
use crate::fence::Fence;

mod faults;

const SCRIPT: &str = include_str!("../../../../tests/src/agent.py");

/// Sessions of agents, in memory.
#[derive(Debug, Default)]
struct InMemory(Mutex<HashMap<String, Known>>);

impl Map for InMemory {
    fn recall<'a>(&'a self, id: &'a str) -> Mapped<'a, Option<Known>> {
        let known = self.0.lock().unwrap().get(id).cloned();
        Box::pin(std::future::ready(Ok(known)))
    }

    fn keep<'a>(&'a self, id: &'a str, known: Known) -> Mapped<'a, ()> {
        self.0.lock().unwrap().insert(id.to_owned(), known);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The journal of a test: what was kept, in short.
#[derive(Debug, Default)]
struct Recorded(Mutex<Vec<String>>);

impl Journal for Recorded {
    fn keep(&self, step: Step) -> Kept<'_> {
        let (message, text) = match step {
            Step::Calls { message, .. } => {
                let ids: Vec<&str> = message.call_ids().collect();
                let text = format!("calls {}", ids.join(","));
                (message.clone(), text)
            }
            Step::Result { message, is_last } => {
                let end = if is_last { "!" } else { "" };
                let text = format!("{}{end}", message.content.as_str().unwrap());
                (message, text)
            }
        };
        self.0.lock().unwrap().push(text);
        Box::pin(std::future::ready(Ok(message)))
    }

    fn spend(&self, _: Cost, _: &'static str) -> Booked<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A home with the agent's program in it, and the sessions that outlive an engine.
struct Place {
    dir: tempfile::TempDir,
    map: Arc<InMemory>,
}

/// What a turn came to.
struct Ran {
    result: Result<Outcome, EngineError>,
    said: String,
    thought: String,
    steps: Vec<String>,
}

impl Ran {
    fn text(&self) -> &str {
        self.result.as_ref().map(|outcome| &*outcome.text).unwrap()
    }

    fn fault(&self) -> (Fault, &str) {
        match self.result.as_ref().unwrap_err() {
            EngineError::Provider { fault, message, .. } => (*fault, message),
            EngineError::Config(message) => (Fault::Setup, message),
            other => panic!("{other:?}"),
        }
    }
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("agent.py"), SCRIPT).unwrap();
        Self { dir, map: Arc::default() }
    }

    fn path(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.dir.path()).unwrap().to_owned()
    }

    fn config(&self, modes: &[&str]) -> ProfileConfig {
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        let script = self.path().join("agent.py").into_string();
        config.agent.acp.command = ["python3".to_owned(), script].into();
        config.agent.acp.command.extend(modes.iter().map(|mode| (*mode).to_owned()));
        config
    }

    fn engine(&self, config: &ProfileConfig) -> Acp {
        let inherited = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/nowhere"), ("RUST_LOG", "x")];
        let inherited = inherited.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let map: Arc<dyn Map> = Arc::clone(&self.map) as Arc<dyn Map>;
        let around = Around { map, fence: Fence::off(), hears: Box::new(|_, _| ()) };
        Acp::from_config(config, &ProfileHome::new(self.path()), &inherited, around)
    }

    /// What the agent wrote down.
    fn log(&self) -> Vec<Value> {
        let text = fs_err::read_to_string(self.dir.path().join("workspace/agent.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|line| line["what"] == what).count()
    }

    async fn wait_for(&self, what: &str) {
        wait_until(what, || self.count(what) > 0).await;
    }
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

fn asking(messages: &[(Role, &str)]) -> Prompt {
    let messages = messages.iter().map(|(role, text)| Message::new(*role, json!(text))).collect();
    Prompt { session_id: "s".to_owned(), system: "Be brief.".to_owned(), messages, ..Prompt::default() }
}

async fn run(engine: &Acp, prompt: &Prompt) -> Ran {
    run_until(engine, prompt, CancellationToken::new()).await
}

async fn run_until(engine: &Acp, prompt: &Prompt, cancel: CancellationToken) -> Ran {
    let (events, mut pieces) = mpsc::channel(16);
    let journal = Recorded::default();
    let listen = async {
        let (mut said, mut thought) = (String::new(), String::new());
        while let Some(event) = pieces.recv().await {
            match event {
                Event::Delta(text) => said.push_str(&text),
                Event::Thought(text) => thought.push_str(&text),
                _ => {}
            }
        }
        (said, thought)
    };
    let work = async { engine.run(prompt, &journal, events.into(), cancel).await };
    let (result, (said, thought)) = tokio::join!(work, listen);
    Ran { result, said, thought, steps: journal.0.into_inner().unwrap() }
}

async fn ask(engine: &Acp, text: &str) -> Ran {
    run(engine, &asking(&[(Role::User, text)])).await
}

fn is_alive(pid: i64) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
}

#[tokio::test]
async fn a_turn_streams_its_answer_and_keeps_its_steps() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "think hm\nsay I look\ntool a\ntool b\nsay It is 4\nusage").await;
    let outcome = ran.result.as_ref().unwrap();
    assert_eq!(outcome.text, "It is 4");
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (10, 20));
    assert_eq!((outcome.finish_reason.as_str(), outcome.provider.as_str()), ("stop", "acp"));
    assert_eq!(ran.said, "I look It is 4 ");
    assert_eq!(ran.thought, "hm");
    assert_eq!(ran.steps, ["calls call-a", "done a!", "calls call-b", "done b!"]);
    let ran = ask(&engine, "together\nsay ok").await;
    let expected = ["calls call-0", "done 0!", "calls call-1,call-2", "done 2", "done 1!"];
    assert_eq!(ran.steps[..2], expected[..2], "{:?}", ran.steps);
    assert_eq!(ran.steps.len(), expected.len());
    engine.close().await;
    assert_eq!(place.count("end"), 1, "it ended by itself when its input was closed");
}

#[tokio::test]
async fn it_is_told_who_it_is_once_and_each_question_once() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let first = ask(&engine, "told").await;
    assert!(first.text().contains("Be brief."), "{}", first.text());
    let second = [(Role::User, "told"), (Role::Assistant, first.text()), (Role::User, "told")];
    assert_eq!(run(&engine, &asking(&second)).await.text(), "[]");
    assert_eq!((place.count("session/new"), place.count("start")), (1, 1));
    engine.close().await;
}

#[tokio::test]
async fn another_process_loads_the_session_and_goes_on() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let first = ask(&engine, "say hello").await;
    engine.close().await;
    let engine = place.engine(&place.config(&[]));
    let prompt =
        asking(&[(Role::User, "say hello"), (Role::Assistant, first.text()), (Role::User, "recall")]);
    let second = run(&engine, &prompt).await;
    assert!(second.text().contains("say hello"), "{}", second.text());
    assert_eq!((place.count("session/new"), place.count("session/load")), (1, 1));
    assert_eq!(
        second.said.matches("say hello").count(),
        1,
        "what is told again is not answered: {}",
        second.said
    );
    engine.close().await;
}

#[tokio::test]
async fn an_agent_without_the_session_gets_a_recap() {
    for mode in ["forgetful", "lost"] {
        let place = Place::new();
        let engine = place.engine(&place.config(&[mode]));
        let first = ask(&engine, "say hello").await;
        engine.close().await;
        let engine = place.engine(&place.config(&[mode]));
        let prompt =
            asking(&[(Role::User, "say hello"), (Role::Assistant, first.text()), (Role::User, "told")]);
        let second = run(&engine, &prompt).await;
        let told = second.text();
        assert!(told.contains("user: say hello") && told.contains("assistant: hello"), "{mode}: {told}");
        assert!(told.contains("Be brief."), "{mode}: {told}");
        assert_eq!(place.count("session/new"), 2, "{mode}");
        engine.close().await;
    }
}

#[tokio::test]
async fn it_gets_the_variables_that_are_named_and_no_others() {
    let place = Place::new();
    let mut config = place.config(&[]);
    config.env = config.env.with("NAMED_KEY", "n-1").with("OTHER_KEY", "o-1");
    config.agent.acp.env = vec!["NAMED_KEY".to_owned()];
    let engine = place.engine(&config);
    let ran = ask(&engine, "env").await;
    let found: HashMap<String, String> = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(found["NAMED_KEY"], "n-1");
    assert_eq!(found["HERMES_HOME"], place.path().as_str());
    assert!(!found.contains_key("OTHER_KEY") && !found.contains_key("RUST_LOG"), "{:?}", found.keys());
    let ran = ask(&engine, "place").await;
    assert_eq!(ran.text(), place.path().join("workspace").canonicalize_utf8().unwrap());
    engine.close().await;
}

#[tokio::test]
async fn what_it_wants_to_do_is_allowed_where_nobody_is_asked_and_not_otherwise() {
    for (mode, answer, step) in [
        (ApprovalMode::Off, "answer: yes", "{\"status\":\"completed\"}!"),
        (ApprovalMode::Manual, "answer: no", "{\"error\":\"it failed\"}!"),
        (ApprovalMode::Smart, "answer: no", "{\"error\":\"it failed\"}!"),
    ] {
        let place = Place::new();
        let mut config = place.config(&[]);
        config.tools.approvals = mode;
        let engine = place.engine(&config);
        let ran = ask(&engine, "ask").await;
        assert_eq!(ran.text(), answer, "{mode:?}");
        assert_eq!(ran.steps, ["calls ask-0", step], "{mode:?}");
        engine.close().await;
    }
}

#[tokio::test]
async fn a_turn_that_is_not_wanted_any_more_is_cancelled_and_the_session_goes_on() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let cancel = CancellationToken::new();
    let prompt = asking(&[(Role::User, "hang")]);
    let (ran, ()) = tokio::join!(run_until(&engine, &prompt, cancel.clone()), async {
        place.wait_for("session/prompt").await;
        cancel.cancel();
    });
    assert_eq!(ran.result, Err(EngineError::Interrupted));
    let messages = [(Role::User, "hang"), (Role::Assistant, "[interrupted]"), (Role::User, "say next")];
    assert_eq!(run(&engine, &asking(&messages)).await.text(), "next");
    assert_eq!((place.count("session/cancel"), place.count("start"), place.count("session/new")), (1, 1, 1));
    engine.close().await;
}

#[tokio::test]
async fn many_sessions_run_in_one_process_at_once() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let prompts: Vec<Prompt> = (0..8)
        .map(|n| Prompt {
            session_id: format!("s{n}"),
            ..asking(&[(Role::User, &*format!("wait go\nsay {n}"))])
        })
        .collect();
    let turns = prompts.iter().map(|prompt| run(&engine, prompt));
    let (rans, ()) = tokio::join!(futures_util::future::join_all(turns), async {
        wait_until("all to be asked", || place.count("session/prompt") == 8).await;
        fs_err::write(place.dir.path().join("workspace/go"), "").unwrap();
    });
    let texts: Vec<&str> = rans.iter().map(Ran::text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!((place.count("start"), place.count("session/new")), (1, 8));
    engine.close().await;
}

#[tokio::test]
async fn what_it_started_ends_with_it() {
    let place = Place::new();
    let engine = place.engine(&place.config(&[]));
    let ran = ask(&engine, "child\npid").await;
    let pid: i64 = ran.text().parse().unwrap();
    // Of whichever thread started it.
    let threads = fs_err::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: String =
        threads.filter_map(|thread| fs_err::read_to_string(thread.path().join("children")).ok()).collect();
    engine.close().await;
    assert!(!is_alive(pid));
    if let Some(child) = children.split_whitespace().next() {
        let child: i64 = child.parse().unwrap();
        let gone = || {
            // Nobody collects it here.
            let state = fs_err::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        };
        wait_until("the child to be gone", gone).await;
    }
}

#[tokio::test]
async fn an_idle_process_is_ended_and_another_one_started_when_it_is_needed() {
    let place = Place::new();
    let mut engine = place.engine(&place.config(&[]));
    engine.host.launch.idle = Duration::from_millis(300);
    ask(&engine, "say one").await;
    place.wait_for("end").await;
    assert_eq!(ask(&engine, "say two").await.text(), "two");
    assert_eq!(place.count("start"), 2);
    engine.close().await;
}

#[tokio::test]
async fn an_agent_that_wants_to_be_signed_in_says_so_and_is() {
    let place = Place::new();
    let mut config = place.config(&["sign-in"]);
    let engine = place.engine(&config);
    let ran = ask(&engine, "say hello").await;
    let (fault, message) = ran.fault();
    assert_eq!(fault, Fault::Key);
    assert!(message.contains("one of `key` in `agent.acp.auth`"), "{message}");
    engine.close().await;
    config.agent.acp.auth = Some("key".to_owned());
    let engine = place.engine(&config);
    assert_eq!(ask(&engine, "say hello").await.text(), "hello");
    engine.close().await;
}
