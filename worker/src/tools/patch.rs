//! `patch`: a part of a file, or of several, becomes another.
//!
//! One text is replaced ([`replace`]), or a patch in the V4A form is applied ([`v4a`]). Either way every file is read and every change made
//! in memory first; files are only written when all of it fits. What fits nowhere, or in several places, changes nothing, and the model is
//! told how many there were.

pub(super) mod replace;
mod v4a;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard::Intent;
use super::place::{Judged, Place};
use super::write_file::{Shape, bounded, difference};
use super::{Caller, Tool, ToolError, Work, arguments, blocking};

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Patch(Arc<Place>);

impl Patch {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self(Arc::clone(place))
    }
}

#[derive(Debug, Deserialize)]
struct Arguments {
    mode: Option<String>,
    path: Option<String>,
    old_string: Option<String>,
    new_string: Option<String>,
    #[serde(default)]
    replace_all: bool,
    patch: Option<String>,
}

impl Tool for Patch {
    fn name(&self) -> &'static str {
        "patch"
    }

    fn about(&self) -> &'static str {
        "Changes a part of a file. mode `replace` (the default) needs path, old_string and new_string: old_string must be in the file \
         exactly once, unless replace_all; white space may differ. mode `patch` needs patch, a text in the V4A form, for several \
         places or files at once. Answers with the difference; what does not fit changes nothing."
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn parameters(&self) -> Value {
        let text = |about: &str| json!({"type": "string", "description": about});
        json!({
            "type": "object",
            "properties": {
                "mode": {"type": "string", "enum": ["replace", "patch"], "default": "replace"},
                "path": text("The file, for `replace`"),
                "old_string": text("What is replaced, with enough around it to be unique"),
                "new_string": text("What stands there afterwards; empty to delete"),
                "replace_all": {"type": "boolean", "default": false, "description": "Replace every occurrence"},
                "patch": text(
                    "*** Begin Patch\n*** Update File: path\n@@ a line above @@\n kept line\n-removed line\n+added line\n\
                     *** Add File: path\n+line\n*** Delete File: path\n*** Move File: path -> new path\n*** End Patch",
                ),
            },
            "required": ["mode"],
        })
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let asked: Arguments = arguments(given, &[])?;
            let (place, shown) = (Arc::clone(&self.0), caller.shown.clone());
            blocking(move |_| {
                let _changing = place.changing();
                let planned = plan(&place, &asked);
                Ok(match planned.and_then(|changes| carry_out(&place, changes)) {
                    Ok(done) => {
                        shown.put(done["diff"].as_str().unwrap_or_default().to_owned());
                        done
                    }
                    Err(ToolError(error)) => json!({"success": false, "error": error}),
                })
            })
            .await
        })
    }
}

/// What becomes of one file.
#[derive(Debug)]
enum Change {
    Write { file: Judged, before: Option<String>, after: String },
    Delete { file: Judged, before: String },
    Move { file: Judged, to: Judged },
}

/// Reads everything, decides everything, changes nothing.
fn plan(place: &Place, asked: &Arguments) -> Result<Vec<Change>, ToolError> {
    let missing = |what: &str| ToolError(format!("{what} is missing"));
    match asked.mode.as_deref().unwrap_or("replace") {
        "replace" => {
            let path = asked.path.as_deref().ok_or_else(|| missing("`path`"))?;
            let old = asked.old_string.as_deref().ok_or_else(|| missing("`old_string`"))?;
            let new = asked.new_string.as_deref().ok_or_else(|| missing("`new_string`"))?;
            let file = place.judge(path, &[Intent::Read, Intent::Write])?;
            let before = place.text(&file)?;
            let (shape, text) = Shape::take(&before);
            let (old, new) = (old.replace("\r\n", "\n"), new.replace("\r\n", "\n"));
            let text = replace::replace(&text, &old, &new, asked.replace_all)
                .map_err(|error| ToolError(format!("{}: {error}", file.path)))?;
            Ok(vec![Change::Write { file, after: shape.give(&text), before: Some(before) }])
        }
        "patch" => {
            let patch = asked.patch.as_deref().ok_or_else(|| missing("`patch`"))?;
            v4a::plan(place, &v4a::parse(patch).map_err(ToolError)?)
        }
        other => Err(ToolError(format!("there is no mode `{other}`: `replace` or `patch`"))),
    }
}

/// Writes what was planned.
fn carry_out(place: &Place, changes: Vec<Change>) -> Result<Value, ToolError> {
    let (mut modified, mut created, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    let mut diff = String::new();
    for change in changes {
        let done = match &change {
            Change::Write { file, after, .. } => place.write(file, after).map(|_| ()),
            Change::Delete { file, .. } => place.remove(file),
            Change::Move { file, to } => place.rename(file, to),
        };
        if let Err(ToolError(error)) = done {
            let before = modified.len() + created.len() + deleted.len();
            return Err(ToolError(if before == 0 {
                error
            } else {
                let done: Vec<&String> = modified.iter().chain(&created).chain(&deleted).collect();
                format!("{error}; done before that and not undone: {done:?}")
            }));
        }
        match change {
            Change::Write { file, before, after } => {
                diff.push_str(&difference(file.path.as_str(), before.as_deref().unwrap_or_default(), &after));
                let list = if before.is_some() { &mut modified } else { &mut created };
                list.push(file.path.into_string());
            }
            Change::Delete { file, before } => {
                diff.push_str(&difference(file.path.as_str(), &before, ""));
                deleted.push(file.path.into_string());
            }
            Change::Move { file, to } => modified.push(format!("{} -> {}", file.path, to.path)),
        }
    }
    let diff = bounded(diff);
    let mut result = json!({"success": true, "diff": diff});
    for (name, list) in [("files_modified", modified), ("files_created", created), ("files_deleted", deleted)]
    {
        if let ([one], "files_modified") = (list.as_slice(), name) {
            result["resolved_path"] = one.clone().into();
        }
        if !list.is_empty() {
            result[name] = list.into();
        }
    }
    Ok(result)
}
