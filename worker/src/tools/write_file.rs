//! `write_file`: a whole file, in one step.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::Intent;
use super::place::{Judged, Place};
use super::{Caller, Tool, ToolError, Work, arguments, blocking};

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

    fn run<'a>(&'a self, given: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let asked: Arguments = arguments(given, &[])?;
            let place = Arc::clone(&self.0);
            blocking(move |_| write(&place, &asked)).await
        })
    }
}

fn write(place: &Place, asked: &Arguments) -> Result<Value, ToolError> {
    let judged = place.judge(&asked.path, &[Intent::Write])?;
    let _changing = place.changing();
    let shape = if Place::exists(&judged)? { shape(place, &judged) } else { Shape::default() };
    let text = shape.give(&asked.content);
    let made = place.write(&judged, &text)?;
    Ok(json!({
        "bytes_written": text.len(),
        "dirs_created": made,
        "resolved_path": judged.path,
        "files_modified": [judged.path],
    }))
}

/// That of a file which is replaced; one that is no text has none.
fn shape(place: &Place, judged: &Judged) -> Shape {
    place.text(judged).map(|text| Shape::take(&text).0).unwrap_or_default()
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
