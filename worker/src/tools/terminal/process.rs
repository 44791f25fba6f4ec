//! The tool `process`: what is known of programs in the background, and what is done with them. A conversation knows its own.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::background::{Input, Process, State};
use super::{LONGEST, Shared, output};
use crate::tools::{Caller, Tool, ToolError, Work, arguments, toolset};

/// Lines of a log unless told.
const LINES: usize = 200;
/// Most bytes of an output that a look at how it is gives.
const PREVIEW: usize = 2000;
/// Most bytes that are written at once.
const LONGEST_INPUT: usize = 100_000;
/// Characters of a command in a list.
const SHORT: usize = 200;

#[derive(Debug, Deserialize)]
struct Arguments {
    action: String,
    session_id: Option<String>,
    data: Option<String>,
    timeout: Option<u64>,
    offset: Option<usize>,
    limit: Option<usize>,
}

/// The tool.
pub(in crate::tools) struct Look(pub(in crate::tools) Arc<Shared>);

fn entry(process: &Process) -> Value {
    let mut entry = json!({
        "session_id": process.id,
        "command": process.command.chars().take(SHORT).collect::<String>(),
        "pid": process.pid,
    });
    match process.state() {
        State::Running => {
            entry["status"] = "running".into();
            entry["uptime_seconds"] = process.started.elapsed().as_secs().into();
        }
        State::Ended { code, after, killed } => {
            entry["status"] = if killed { "killed" } else { "exited" }.into();
            entry["exit_code"] = code.into();
            entry["uptime_seconds"] = after.as_secs().into();
        }
    }
    entry
}

/// The end of a text, which says how much stands before it.
fn ending(text: &str, limit: usize) -> String {
    let from = text.ceil_char_boundary(text.len().saturating_sub(limit));
    if from == 0 { text.to_owned() } else { format!("… [{from} bytes before]\n{}", &text[from..]) }
}

impl Look {
    /// How it is, with the end of what it wrote.
    fn poll(&self, process: &Process, limit: usize) -> Value {
        let mut answer = entry(process);
        let (text, new) = process.look(|kept, new| (kept.shown(&self.0.secrets), new));
        answer["output"] = ending(&text, limit).into();
        answer["new_bytes"] = new.into();
        answer
    }

    async fn act(&self, arguments: Arguments, caller: &Caller) -> Result<Value, ToolError> {
        let registry = &self.0.registry;
        if arguments.action == "list" {
            let all: Vec<Value> =
                registry.of(&caller.conversation).iter().map(|process| entry(process)).collect();
            return Ok(json!({"processes": all}));
        }
        let id = arguments.session_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
        let id =
            id.ok_or_else(|| ToolError("`session_id` is missing; `list` shows those there are".to_owned()))?;
        let Some(process) = registry.find(&caller.conversation, id) else {
            return Ok(json!({
                "session_id": id,
                "status": "unknown",
                "error": "This conversation has no such program now. A program in the background ends with the worker that started it, so \
                          if this one was started before the worker's last start it has ended, and how it ended is not known; what it \
                          did until then is done. Otherwise it ended more than 30 minutes ago, or never was.",
            }));
        };
        let written = |is_taken: bool| {
            if is_taken {
                Ok(json!({"session_id": id, "status": "ok"}))
            } else {
                Err(ToolError(
                    "it does not take any input: it has ended, its input is closed, or it does not read"
                        .to_owned(),
                ))
            }
        };
        match arguments.action.as_str() {
            "poll" => Ok(self.poll(&process, PREVIEW)),
            "wait" => {
                let patience =
                    arguments.timeout.map_or(self.0.place.limits.timeout, Duration::from_secs).min(LONGEST);
                let state = process.wait(patience).await;
                let mut answer = self.poll(&process, self.0.place.limits.max_output_bytes);
                if state == State::Running {
                    answer["status"] = "timeout".into();
                    answer["note"] =
                        format!("It still runs after {} s of waiting.", patience.as_secs()).into();
                }
                Ok(answer)
            }
            "log" => {
                let text = process.look(|kept, _| kept.shown(&self.0.secrets));
                let limit = arguments.limit.unwrap_or(LINES).max(1);
                let (shown, first, all) = output::lines(&text, arguments.offset, limit);
                let shown = ending(&shown, self.0.place.limits.max_output_bytes);
                let mut answer = entry(&process);
                answer["output"] = shown.into();
                answer["total_lines"] = all.into();
                answer["first_line"] = first.into();
                Ok(answer)
            }
            "kill" => {
                if let State::Ended { .. } = process.state() {
                    return Ok(entry(&process));
                }
                process.kill().await;
                Ok(self.poll(&process, PREVIEW))
            }
            "write" | "submit" => {
                let mut data = arguments.data.unwrap_or_default();
                if data.len() > LONGEST_INPUT {
                    return Err(ToolError(format!(
                        "`data` is longer than {LONGEST_INPUT} bytes; write it in parts"
                    )));
                }
                if arguments.action == "submit" {
                    data.push('\n');
                }
                written(process.feed(Input::Bytes(data.into_bytes())).await)
            }
            "close" => written(process.feed(Input::End).await),
            other => Err(ToolError(format!(
                "there is no action `{other}`; there are list, poll, log, wait, kill, write, submit and close"
            ))),
        }
    }
}

impl Tool for Look {
    fn name(&self) -> &'static str {
        "process"
    }

    fn about(&self) -> &'static str {
        "Looks after programs that the tool terminal has started in the background: list shows all of this conversation; poll says how one \
         is, with the end of its output; log gives lines of its output; wait waits for its end; kill ends it with all that it has started; \
         write gives it input as it is, submit with a line end, close ends its input."
    }

    fn toolset(&self) -> &'static str {
        toolset::TERMINAL
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "action": {
                    "type": "string",
                    "enum": ["list", "poll", "log", "wait", "kill", "write", "submit", "close"]
                },
                "session_id": {"type": "string", "description": "Which program, as terminal said; not for list."},
                "data": {"type": "string", "description": "For write and submit: what it is to read."},
                "timeout": {"type": "integer", "minimum": 1, "maximum": LONGEST.as_secs(), "description": "For wait: seconds."},
                "offset": {"type": "integer", "minimum": 0, "description": "For log: the first line, from 0; without it the last ones are given."},
                "limit": {"type": "integer", "minimum": 1, "description": "For log: how many lines."}
            },
            "required": ["action"]
        })
    }

    fn longest(&self) -> usize {
        self.0.place.limits.max_output_bytes.saturating_mul(6).saturating_add(4096)
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let arguments: Arguments = arguments(given, &["timeout", "offset", "limit"])?;
            self.act(arguments, caller).await
        })
    }
}
