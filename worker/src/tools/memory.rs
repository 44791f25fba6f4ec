//! The tool `memory`: the model keeps something for later sessions, or lets go of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hermes_config::{Memory as Settings, ProfileConfig};
use hermes_wire::ProfileHome;
use serde_json::{Map, Value, json};

use super::approval::{self, Wish};
use super::{Caller, Stopped, Tool, ToolError, Work, blocking, toolset};
use crate::memory;

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Memory {
    home: ProfileHome,
    settings: Settings,
    /// How long somebody has to approve of a change.
    patience: Duration,
}

impl Memory {
    /// For this home; `None` where the profile keeps nothing.
    pub(super) fn new(home: &ProfileHome, config: &ProfileConfig) -> Option<Self> {
        let settings = config.memory;
        let is_on = settings.notes.enabled || settings.user.enabled;
        is_on.then(|| Self { home: home.clone(), settings, patience: config.tools.approval_timeout })
    }
}

impl Tool for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn about(&self) -> &'static str {
        "Keeps facts beyond this session. What is kept is part of the prompt of every later session, so keep it short and worth its \
         place: what the user prefers or has corrected comes first, then the surroundings, then how things are done here. \
         Target `user` is who the user is; `memory` is your own notes. Make all changes in one call with `operations`: they are made \
         together or not at all, and only the size at the end counts, so a full memory is cleared and filled in one step. One change \
         alone may use `action`, `content` and `old_text` instead. A success is final; do not repeat it. Leave out what is trivial, \
         easily looked up, or only about the task at hand."
    }

    fn parameters(&self) -> Value {
        let action = json!({"type": "string", "enum": ["add", "replace", "remove"]});
        let content = json!({"type": "string", "description": "The entry, for add and replace."});
        let old = json!({
            "type": "string",
            "description": "For replace and remove: a short text that is part of that entry alone.",
        });
        json!({
            "type": "object",
            "properties": {
                "action": action,
                "target": {"type": "string", "enum": ["memory", "user"]},
                "content": content,
                "old_text": old,
                "operations": {
                    "type": "array",
                    "description": "Several changes at once, all or none.",
                    "items": {
                        "type": "object",
                        "properties": {"action": action, "content": content, "old_text": old},
                        "required": ["action"],
                    },
                },
            },
            "required": ["target"],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::MEMORY
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let (home, mut settings) = (self.home.clone(), self.settings);
            if settings.write_approval {
                let text = format!("{:#}", Value::Object(arguments.clone()));
                let wish = Wish {
                    setting: "memory.write_approval",
                    what: "the memory be changed",
                    text: &text,
                    patience: self.patience,
                };
                if let Err(ToolError(why)) = approval::of(wish, caller).await {
                    return Ok(json!({"success": false, "error": why}));
                }
                settings.write_approval = false;
            }
            let mut failures = caller.memory_failures.load(Ordering::Relaxed);
            let work = move |_: &Stopped| {
                let said = memory::change(&home, &settings, &arguments, &mut failures);
                Ok((said, failures))
            };
            let (said, failures) = blocking(work).await?;
            caller.memory_failures.store(failures, Ordering::Relaxed);
            Ok(said)
        })
    }
}
