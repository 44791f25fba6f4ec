//! A tool for trials (`agent.trial_tool`): appends a line to a file of the home, and waits where it is told to.
//!
//! It shows how often a tool was run, and lets whoever tries turns out decide when: with `before` it waits for a file of that name in
//! the home before it appends, with `after` when it has appended.

use std::io::Write as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use serde_json::{Map, Value, json};

use super::{Caller, Tool, ToolError, Work, toolset};

/// Between two looks at a file that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Trial {
    home: Utf8PathBuf,
    file: Utf8PathBuf,
}

impl Trial {
    /// Appends to `file` in `home`.
    pub(super) fn new(home: &ProfileHome, file: &str) -> Self {
        Self { home: home.path().to_owned(), file: home.path().join(file) }
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let file = fs_err::OpenOptions::new().create(true).append(true).open(&self.file);
        file?.write_all(format!("{line}\n").as_bytes())
    }

    async fn wait_for(&self, name: Option<&Value>) -> Result<(), ToolError> {
        let Some(name) = name.and_then(Value::as_str) else { return Ok(()) };
        if !is_name(name) {
            return Err(ToolError(format!("`{name}` is not the name of a file")));
        }
        while !self.home.join(name).exists() {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Whether it names a file and no path.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

impl Tool for Trial {
    fn name(&self) -> &'static str {
        "note"
    }

    fn about(&self) -> &'static str {
        "Appends a line to a file."
    }

    fn parameters(&self) -> Value {
        let text = json!({"type": "string"});
        json!({
            "type": "object",
            "properties": {"line": text, "before": text, "after": text},
            "required": ["line"],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::TRIAL
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let line = arguments.get("line").and_then(Value::as_str);
            let line = line.filter(|line| !line.contains('\n'));
            let line = line.ok_or_else(|| ToolError("`line` is not a line of text".to_owned()))?;
            self.wait_for(arguments.get("before")).await?;
            self.append(line).map_err(|error| ToolError(error.to_string()))?;
            self.wait_for(arguments.get("after")).await?;
            Ok(json!({"appended": line}))
        })
    }
}
