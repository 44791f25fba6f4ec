//! `write_file`: a whole file, in one step.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::Intent;
use super::place::Place;
use super::{Caller, Shown, Tool, ToolError, Work, arguments, blocking};

/// Longest difference that is shown, in bytes.
const MAX_DIFF: usize = 20_000;
/// Longest text whose change is shown, in bytes.
const COMPARED: usize = 256 * 1024;

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct WriteFile(Arc<Place>);

impl WriteFile {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self(Arc::clone(place))
    }
}

#[derive(Debug, Deserialize)]
struct Arguments {
    path: String,
    content: String,
}

impl Tool for WriteFile {
    fn name(&self) -> &'static str {
        "write_file"
    }

    fn about(&self) -> &'static str {
        "Writes a file: what was in it is replaced, directories that are missing are made. `patch` changes a part of one."
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "The file: absolute, relative to the workspace, or ~/…"},
                "content": {"type": "string", "description": "All that is to be in it"},
            },
            "required": ["path", "content"],
        })
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let asked: Arguments = arguments(given, &[])?;
            let (place, shown) = (Arc::clone(&self.0), caller.shown.clone());
            blocking(move |_| write(&place, &asked, &shown)).await
        })
    }
}

fn write(place: &Place, asked: &Arguments, shown: &Shown) -> Result<Value, ToolError> {
    let judged = place.judge(&asked.path, &[Intent::Write])?;
    let _changing = place.changing();
    // What is no text is replaced as well, and not shown.
    let before = if Place::exists(&judged)? { place.text(&judged).ok() } else { Some(String::new()) };
    let shape = before.as_deref().map(|text| Shape::take(text).0).unwrap_or_default();
    let text = shape.give(&asked.content);
    let made = place.write(&judged, &text)?;
    if let Some(before) = before.filter(|before| before.len().max(text.len()) <= COMPARED) {
        shown.put(bounded(difference(judged.path.as_str(), &before, &text)));
    }
    Ok(json!({
        "bytes_written": text.len(),
        "dirs_created": made,
        "resolved_path": judged.path,
        "files_modified": [judged.path],
    }))
}

/// As much of a difference as is shown.
pub(super) fn bounded(mut diff: String) -> String {
    if diff.len() > MAX_DIFF {
        diff.truncate(diff.floor_char_boundary(MAX_DIFF));
        diff.push_str("\n… [the rest of the difference is not shown]");
    }
    diff
}

/// What becomes of a text.
pub(super) fn difference(path: &str, before: &str, after: &str) -> String {
    let mut config = similar::TextDiff::configure();
    config.timeout(std::time::Duration::from_secs(1));
    let diff = config.diff_lines(before, after);
    diff.unified_diff().header(&format!("a/{path}"), &format!("b/{path}")).to_string()
}

/// How a text file is written: what a model does not see of it, and what stays as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// It begins with a byte-order mark.
    mark: bool,
    /// Every line ends as on Windows.
    crlf: bool,
}

const MARK: char = '\u{feff}';

impl Shape {
    /// The shape of a file and its text without it.
    pub(super) fn take(text: &str) -> (Self, String) {
        let bare = text.strip_prefix(MARK).unwrap_or(text);
        let breaks = bare.matches('\n').count();
        let crlf = breaks > 0 && bare.matches("\r\n").count() == breaks;
        let shape = Self { mark: bare.len() != text.len(), crlf };
        (shape, if crlf { bare.replace("\r\n", "\n") } else { bare.to_owned() })
    }

    /// A text in that shape.
    pub(super) fn give(self, text: &str) -> String {
        let bare = text.strip_prefix(MARK).unwrap_or(text);
        let lines =
            if self.crlf { bare.replace("\r\n", "\n").replace('\n', "\r\n") } else { bare.to_owned() };
        if self.mark || (bare.len() != text.len()) { format!("{MARK}{lines}") } else { lines }
    }
}
