//! The tools `skills_list` and `skill_view`: the model reads what it can be told about its work.

use serde_json::{Map, Value, json};

use super::{Caller, Tool, ToolError, Work, blocking, toolset};
use crate::skills::Library;

/// `skills_list`
#[derive(Debug)]
pub(super) struct List(pub(super) Library);

/// `skill_view`
#[derive(Debug)]
pub(super) struct View(pub(super) Library);

fn text(arguments: &Map<String, Value>, key: &str) -> Option<String> {
    arguments.get(key).and_then(Value::as_str).map(str::to_owned)
}

impl Tool for List {
    fn name(&self) -> &'static str {
        "skills_list"
    }

    fn about(&self) -> &'static str {
        "Lists the skills that there are, each with its name and what it is for. skill_view(name) gives one whole."
    }

    fn parameters(&self) -> Value {
        let category = json!({"type": "string", "description": "Only those of this category."});
        json!({"type": "object", "properties": {"category": category}, "required": []})
    }

    fn toolset(&self) -> &'static str {
        toolset::SKILLS
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        let (library, platform) = (self.0.clone(), caller.platform.clone());
        Box::pin(blocking(move |_| Ok(library.list(text(&arguments, "category").as_deref(), &platform))))
    }
}

impl Tool for View {
    fn name(&self) -> &'static str {
        "skill_view"
    }

    fn about(&self) -> &'static str {
        "Gives a skill whole: how one kind of work is done here, and which files belong to it (`linked_files`). With `file_path` it gives \
         one of those files."
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "The skill's name, or category/name."},
                "file_path": {
                    "type": "string",
                    "description": "A file of the skill, such as references/api.md; without it, the skill itself.",
                },
            },
            "required": ["name"],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::SKILLS
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        let (library, platform, session) =
            (self.0.clone(), caller.platform.clone(), caller.session_id.clone());
        Box::pin(async move {
            let name = text(&arguments, "name").ok_or_else(|| ToolError("`name` is missing".to_owned()))?;
            let file = text(&arguments, "file_path");
            blocking(move |_| Ok(library.view(&name, file.as_deref(), &platform, &session))).await
        })
    }
}
