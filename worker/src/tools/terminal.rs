//! The tools `terminal` and `process`: commands of a shell, in front of the turn or beside the conversation.
//!
//! ```text
//!   terminal ─▶ gate (may it run?) ─▶ shell: one command, to its end ─▶ output, as it may be shown
//!                                └──▶ background: a registry owns it ◀── process: list, poll, log, wait, kill, write
//! ```
//!
//! A command runs in `bash`, else in `sh`, with an environment by allow-list ([`crate::children::Surroundings`]) and the session's
//! `HERMES_SESSION_*`, in the directory where the session's last command ended, at first the workspace; a sub-agent has a place of its own. That directory is all that is kept
//! from one command to the next, in memory: after a new start of the worker, sessions begin in the workspace again. Nothing that a
//! command starts outlives it, and nothing in the background outlives the worker.

mod allowed;
mod background;
mod gate;
mod output;
mod process;
mod shell;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{ProfileConfig, Secret};
use hermes_wire::ProfileHome;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::place::Place;
use super::{Caller, Given, Shell, Tool, ToolError, Work, arguments, blocking, toolset};
use crate::children::{Surroundings, Variables};
use crate::danger::Setting;
use crate::fence::Fence;
use background::{NotStarted, Registry};
use gate::{Gate, Refused};
use shell::Command;

pub(crate) use gate::{Case, Reviewer, Reviewing, Verdict};

/// Longest time that a command may ask for, as in 0.19.0.
const LONGEST: Duration = Duration::from_secs(600);
/// Longest command, in bytes.
const LONGEST_COMMAND: usize = 100_000;
/// Sessions whose directory is remembered.
const SESSIONS: usize = 256;
/// What a command that did not run is said to have ended with.
const NOT_RUN: i32 = -1;

/// What both tools of a profile share.
pub(super) struct Shared {
    place: Arc<Place>,
    home: ProfileHome,
    root: Utf8PathBuf,
    surroundings: Surroundings,
    fence: Fence,
    gate: Gate,
    secrets: Vec<Secret>,
    registry: Registry,
    /// Where each session's last command ended.
    dirs: Mutex<BTreeMap<String, Utf8PathBuf>>,
    keeps_dir: bool,
    /// Why commands cannot run at all.
    refusal: Option<String>,
}

impl Shared {
    pub(super) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        place: &Arc<Place>,
        given: Given<'_>,
    ) -> Arc<Self> {
        let Given { inherited, secrets, reviewer, fence, post: _ } = given;
        let settings = &config.tools;
        let root = home.path().parent().filter(|parent| parent.file_name() == Some("profiles"));
        let root = root.and_then(Utf8Path::parent).unwrap_or(home.path()).to_owned();
        Arc::new(Self {
            place: Arc::clone(place),
            home: home.clone(),
            root,
            surroundings: Surroundings::new(config, home, inherited),
            fence,
            gate: Gate {
                mode: settings.approvals,
                denied: settings.denied.clone(),
                allowed: settings.allowed.clone(),
                timeout: settings.approval_timeout,
                home: home.path().to_owned(),
                reviewer,
                sessions: Mutex::default(),
            },
            secrets,
            registry: Registry::default(),
            dirs: Mutex::default(),
            keeps_dir: settings.persistent_shell,
            refusal: settings.backend.as_ref().map(|backend| {
                format!(
                    "commands cannot run: `terminal.backend: {backend}` in config.yaml is not supported by this program, which runs them on \
                     its own machine only; `terminal.backend: local` says that this is wanted"
                )
            }),
        })
    }

    /// Whether something runs in the background.
    pub(super) fn is_busy(&self) -> bool {
        self.registry.is_busy()
    }

    /// Ends what runs in the background.
    pub(super) async fn close(&self) {
        self.registry.close().await;
    }

    /// The directory that a command of this session begins in, and the workspace.
    async fn dirs(
        &self,
        caller: &Caller,
        asked: Option<&str>,
    ) -> Result<(Utf8PathBuf, Utf8PathBuf), ToolError> {
        let (place, asked) = (Arc::clone(&self.place), asked.map(str::to_owned));
        // A sub-agent begins where the conversation is.
        let own = caller.shell.as_ref().and_then(Shell::dir);
        let last = own.or_else(|| self.lock_dirs().get(&caller.conversation).cloned());
        blocking(move |_| {
            let workspace = place.workspace()?;
            // One that is gone meanwhile is none.
            let last = last.filter(|dir| dir.is_dir()).unwrap_or_else(|| workspace.clone());
            let dir = match asked.as_deref().map(str::trim).filter(|asked| !asked.is_empty()) {
                None => last,
                Some(asked) => {
                    let dir = last.join(place.expanded(asked));
                    dir.canonicalize_utf8()
                        .ok()
                        .filter(|dir| dir.is_dir())
                        .ok_or_else(|| ToolError(format!("`workdir` is no directory: {dir}")))?
                }
            };
            Ok((dir, workspace))
        })
        .await
    }

    fn lock_dirs(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Utf8PathBuf>> {
        self.dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, caller: &Caller, dir: &Utf8Path) {
        if let Some(shell) = &caller.shell {
            return shell.remember(dir);
        }
        let conversation = &caller.conversation;
        let mut dirs = self.lock_dirs();
        if dirs.len() >= SESSIONS && !dirs.contains_key(conversation) {
            dirs.pop_first();
        }
        dirs.insert(conversation.to_owned(), dir.to_owned());
    }

    fn environment(&self, caller: &Caller) -> Variables {
        let mut all = self.surroundings.of_commands();
        all.set("HERMES_QUIET", "1");
        let source = &caller.source;
        for (name, value) in [
            ("ID", Some(&caller.session_id)),
            ("KEY", Some(&caller.conversation)),
            ("PLATFORM", Some(&caller.platform)),
            ("SOURCE", Some(&caller.platform)),
            ("CHAT_ID", source.chat_id.as_ref()),
            ("CHAT_NAME", source.chat_name.as_ref()),
            ("THREAD_ID", source.thread_id.as_ref()),
            ("USER_ID", source.user_id.as_ref()),
            ("USER_NAME", source.user_name.as_ref()),
        ] {
            // A variable cannot hold it.
            if let Some(value) = value.filter(|value| !value.is_empty() && !value.contains('\0')) {
                all.set(&format!("HERMES_SESSION_{name}"), value);
            }
        }
        all
    }

    async fn terminal(&self, arguments: Terminal, caller: &Caller) -> Result<Value, ToolError> {
        let Terminal { command, background, timeout, workdir } = arguments;
        if let Some(refusal) = &self.refusal {
            return Err(ToolError(refusal.clone()));
        }
        if command.trim().is_empty() || command.contains('\0') {
            return Err(ToolError("`command` is empty or no text".to_owned()));
        }
        if command.len() > LONGEST_COMMAND {
            return Err(ToolError(format!(
                "`command` is longer than {LONGEST_COMMAND} bytes; write a script to a file and run that"
            )));
        }
        let (dir, workspace) = self.dirs(caller, workdir.as_deref()).await?;
        let setting = Setting {
            dir: &dir,
            workspace: &workspace,
            user: self.place.user(),
            home: self.home.path(),
            root: &self.root,
        };
        if let Err(Refused { status, why }) = self.gate.permit(&command, setting, caller).await {
            tracing::info!(session = caller.session_id, status, "a command did not run");
            return Ok(json!({"output": "", "exit_code": NOT_RUN, "error": why, "status": status}));
        }
        let environment = self.environment(caller);
        let cannot =
            |error: std::io::Error| ToolError(format!("the shell cannot be started in `{dir}`: {error}"));
        if background {
            let started = self.registry.start(&self.fence, &caller.conversation, &command, &dir, environment);
            let process = started.await.map_err(|error| match error {
                NotStarted::TooMany => ToolError(format!(
                    "{} programs of this profile run in the background, and no more may; end one with the tool `process`",
                    background::MOST
                )),
                NotStarted::Closed => ToolError("this worker is ending; try again".to_owned()),
                NotStarted::Io(error) => cannot(error),
            })?;
            return Ok(json!({
                "output": "It runs in the background; the tool `process` says how it is.",
                "session_id": process.id,
                "pid": process.pid,
                "exit_code": 0,
                "error": null,
            }));
        }
        let patience = timeout.map_or(self.place.limits.timeout, Duration::from_secs).min(LONGEST);
        let limit = self.place.limits.max_output_bytes;
        let ended =
            shell::run(&self.fence, Command { text: &command, dir: &dir, environment, limit }, patience)
                .await;
        let ended = ended.map_err(cannot)?;
        let mut answer = json!({
            "output": ended.output.shown(&self.secrets),
            "exit_code": ended.code,
            "error": null,
        });
        if ended.timed_out {
            answer["error"] = format!(
                "it ran longer than {} s and was ended with all that it had started; `background: true` is for what takes longer",
                patience.as_secs()
            )
            .into();
        } else if ended.left_something {
            answer["note"] =
                "What it left running was ended with it; `background: true` is for what is to go on.".into();
        }
        if let Some(now) = ended.dir.filter(|now| self.keeps_dir && workdir.is_none() && *now != dir) {
            answer["cwd"] = now.as_str().into();
            self.remember(caller, &now);
        }
        Ok(answer)
    }
}

#[derive(Debug, Deserialize)]
struct Terminal {
    command: String,
    #[serde(default)]
    background: bool,
    timeout: Option<u64>,
    workdir: Option<String>,
}

/// The tool `terminal`.
pub(super) struct Run(pub(super) Arc<Shared>);

impl Tool for Run {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn about(&self) -> &'static str {
        "Runs a command in a shell, in the workspace, and gives its output (standard output and errors together), its exit code, and an \
         error if it could not be run to its end. The next command of the conversation begins in the directory where this one ended; \
         variables and functions are not kept. Nothing is there to be typed into it, so use options that ask nothing. What it leaves \
         running is ended with it: use background for servers and whatever takes longer than the timeout, and the tool process to look \
         after that. For reading, writing and searching files use read_file, write_file, patch and search_files. A dangerous command may \
         need the user's approval; one that was denied must not be tried in another way."
    }

    fn toolset(&self) -> &'static str {
        toolset::TERMINAL
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command, as it would be typed into a shell."},
                "background": {
                    "type": "boolean",
                    "description": "Start it and do not wait: for what goes on beside the conversation. Gives a session_id for the tool process.",
                    "default": false
                },
                "timeout": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": LONGEST.as_secs(),
                    "description": "Seconds after which it is ended."
                },
                "workdir": {"type": "string", "description": "Where to run this one command, instead of where the last one ended."}
            },
            "required": ["command"]
        })
    }

    fn longest(&self) -> usize {
        // The output as JSON, in which a byte may take several.
        self.0.place.limits.max_output_bytes.saturating_mul(6).saturating_add(4096)
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let arguments: Terminal = arguments(given, &["timeout"])?;
            if arguments.timeout == Some(0) {
                return Err(ToolError("`timeout` is 0; it is in seconds, from 1".to_owned()));
            }
            self.0.terminal(arguments, caller).await
        })
    }
}

pub(super) use process::Look;
