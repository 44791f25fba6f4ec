//! Patches in the V4A form: files that are added, changed, moved and deleted, in one text.
//!
//! Lines of a change begin with a space (kept), `-` (removed) or `+` (added); `@@ a line @@` stands before the part that it is near to.
//! What a part removes and keeps is looked for as [`super::replace`] does.

use camino::{Utf8Path, Utf8PathBuf};

use super::super::ToolError;
use super::super::guard::Intent;
use super::super::place::{Judged, Place};
use super::super::write_file::Shape;
use super::{Change, replace};

/// What is to become of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Add { path: String, text: String },
    Update { path: String, hunks: Vec<Hunk> },
    Delete { path: String },
    Move { path: String, to: String },
}

/// One part of a file that is changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Hunk {
    hint: Option<String>,
    before: Vec<String>,
    after: Vec<String>,
}

/// Reads a patch. Pure.
pub(super) fn parse(patch: &str) -> Result<Vec<Operation>, String> {
    let mut all: Vec<Operation> = Vec::new();
    for (at, line) in patch.lines().enumerate() {
        if let Some(header) = line.strip_prefix("***") {
            match self::header(header.trim()) {
                Some(Header::Operation(operation)) => all.push(operation),
                Some(Header::Begin) => all.clear(),
                Some(Header::End) => break,
                None => return Err(format!("line {} of the patch is no header: `{line}`", at + 1)),
            }
            continue;
        }
        match all.last_mut() {
            Some(Operation::Add { text, .. }) => {
                if let Some(line) = line.strip_prefix('+') {
                    text.push_str(line);
                    text.push('\n');
                } else if !line.trim().is_empty() && !line.starts_with("@@") && !line.starts_with('\\') {
                    return Err(format!("line {} of the patch: lines of a new file begin with `+`", at + 1));
                }
            }
            Some(Operation::Update { hunks, .. }) => add(hunks, line),
            _ if line.trim().is_empty() => {}
            _ => return Err(format!("line {} of the patch belongs to no file: `{line}`", at + 1)),
        }
    }
    if all.is_empty() {
        return Err("the patch names no file: `*** Update File: path`, `*** Add File: path`, …".to_owned());
    }
    for operation in &mut all {
        for path in operation.paths() {
            if Utf8Path::new(path).components().any(|part| part.as_str() == "..") {
                return Err(format!("`{path}`: a path in a patch has no `..`"));
            }
        }
        if let Operation::Update { path, hunks } = operation {
            hunks.iter_mut().for_each(Hunk::trim);
            hunks.retain(|hunk| hunk.before != hunk.after);
            if hunks.is_empty() {
                return Err(format!("`{path}`: nothing is added or removed"));
            }
        }
    }
    Ok(all)
}

/// A line that begins with `***`.
enum Header {
    /// What stands before it means nothing.
    Begin,
    Operation(Operation),
    End,
}

impl Hunk {
    /// Leaves empty lines at its end out: they separate it from what follows.
    fn trim(&mut self) {
        let is_empty = |lines: &[String]| lines.last().is_some_and(String::is_empty);
        while is_empty(&self.before) && is_empty(&self.after) {
            self.before.pop();
            self.after.pop();
        }
    }
}

fn header(text: &str) -> Option<Header> {
    match text.to_ascii_lowercase().as_str() {
        "begin patch" => return Some(Header::Begin),
        "end patch" => return Some(Header::End),
        _ => {}
    }
    let (kind, path) = text.split_once(':')?;
    let path = path.trim().to_owned();
    Some(Header::Operation(match kind.split_whitespace().collect::<Vec<_>>().join(" ").as_str() {
        "Add File" => Operation::Add { path, text: String::new() },
        "Update File" => Operation::Update { path, hunks: Vec::new() },
        "Delete File" => Operation::Delete { path },
        "Move File" => {
            let (from, to) = path.split_once("->")?;
            Operation::Move { path: from.trim().to_owned(), to: to.trim().to_owned() }
        }
        _ => return None,
    }))
}

fn add(hunks: &mut Vec<Hunk>, line: &str) {
    if let Some(hint) = line.strip_prefix("@@") {
        let hint = hint.trim().trim_end_matches("@@").trim();
        hunks.push(Hunk { hint: (!hint.is_empty()).then(|| hint.to_owned()), ..Hunk::default() });
        return;
    }
    if hunks.is_empty() {
        hunks.push(Hunk::default());
    }
    let Some(hunk) = hunks.last_mut() else { return };
    // A kept line may have lost its space; `\ No newline at end of file` is no line.
    match line.split_at_checked(1) {
        Some(("+", added)) => hunk.after.push(added.to_owned()),
        Some(("-", removed)) => hunk.before.push(removed.to_owned()),
        Some(("\\", _)) => {}
        Some((" ", kept)) => {
            hunk.before.push(kept.to_owned());
            hunk.after.push(kept.to_owned());
        }
        _ => {
            hunk.before.push(line.to_owned());
            hunk.after.push(line.to_owned());
        }
    }
}

impl Operation {
    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Add { path, .. } | Self::Update { path, .. } | Self::Delete { path } => vec![path],
            Self::Move { path, to } => vec![path, to],
        }
    }
}

/// What a text becomes by the parts of a patch, in their order. Pure.
fn updated(text: &str, hunks: &[Hunk]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (at, hunk) in hunks.iter().enumerate() {
        text = apply(&text, hunk).map_err(|error| format!("part {} of {}: {error}", at + 1, hunks.len()))?;
    }
    Ok(text)
}

fn apply(text: &str, hunk: &Hunk) -> Result<String, String> {
    let after = hunk.after.join("\n");
    if hunk.before.is_empty() {
        let Some(hint) = &hunk.hint else {
            let start = text.trim_end_matches('\n');
            return Ok(format!("{start}{}{after}\n", if start.is_empty() { "" } else { "\n" }));
        };
        return match text.matches(hint.as_str()).count() {
            1 => {
                let place = text.find(hint.as_str()).unwrap_or_default();
                let end = text[place..].find('\n').map_or(text.len(), |end| place + end);
                Ok(format!("{}\n{after}{}", &text[..end], &text[end..]))
            }
            many => {
                Err(format!("found {many} matches for `@@ {hint} @@`, after which lines are to be added"))
            }
        };
    }
    let before = hunk.before.join("\n");
    let (before, after) = if hunk.after.is_empty() {
        // A line that goes takes its end with it.
        (if text.contains(&format!("{before}\n")) { format!("{before}\n") } else { before }, after)
    } else {
        (before, after)
    };
    let whole = replace::replace(text, &before, &after, false);
    let (Err(error), Some(hint)) = (&whole, &hunk.hint) else { return whole };
    // Several places fit, and the hint says behind which line.
    match text.find(hint.as_str()).filter(|_| !error.contains("found 0 ")) {
        Some(place) => {
            let rest = &text[place..];
            let found = rest.find(&before).ok_or_else(|| error.clone())?;
            Ok(format!("{}{}{after}{}", &text[..place], &rest[..found], &rest[found + before.len()..]))
        }
        None => whole,
    }
}

/// Files as they will be, while a patch is planned.
#[derive(Debug, Default)]
struct Planned(Vec<Change>);

impl Planned {
    /// What an operation before this one made of a file.
    fn text(&mut self, path: &Utf8PathBuf) -> Option<&mut String> {
        self.0.iter_mut().rev().find_map(|change| match change {
            Change::Write { file, after, .. } if file.path == *path => Some(after),
            _ => None,
        })
    }
}

/// Reads every file and decides what becomes of it; all that is wrong is said at once.
pub(super) fn plan(place: &Place, operations: &[Operation]) -> Result<Vec<Change>, ToolError> {
    let mut planned = Planned::default();
    let mut wrong = Vec::new();
    for operation in operations {
        if let Err(ToolError(error)) = plan_one(place, operation, &mut planned) {
            wrong.push(format!("\n- {error}"));
        }
    }
    if wrong.is_empty() {
        return Ok(planned.0);
    }
    Err(ToolError(format!("the patch does not fit, and no file was changed:{}", wrong.concat())))
}

fn plan_one(place: &Place, operation: &Operation, planned: &mut Planned) -> Result<(), ToolError> {
    let both = [Intent::Read, Intent::Write];
    let free = |file: &Judged, fix: &str| {
        if Place::exists(file)? {
            return Err(ToolError(format!("{}: it exists already{fix}", file.path)));
        }
        Ok(())
    };
    let change = match operation {
        Operation::Add { path, text } => {
            let file = place.judge(path, &[Intent::Write])?;
            free(&file, "; change it with `*** Update File`")?;
            Change::Write { file, before: None, after: text.clone() }
        }
        Operation::Update { path, hunks } => {
            let file = place.judge(path, &both)?;
            let named = |error: String| ToolError(format!("{}: {error}", file.path));
            if let Some(text) = planned.text(&file.path) {
                let (shape, bare) = Shape::take(text);
                *text = shape.give(&updated(&bare, hunks).map_err(named)?);
                return Ok(());
            }
            let before = place.text(&file)?;
            let (shape, bare) = Shape::take(&before);
            let after = shape.give(&updated(&bare, hunks).map_err(named)?);
            Change::Write { file, before: Some(before), after }
        }
        Operation::Delete { path } => {
            let file = place.judge(path, &both)?;
            let before = place.text(&file)?;
            Change::Delete { file, before }
        }
        Operation::Move { path, to } => {
            let (file, to) = (place.judge(path, &both)?, place.judge(to, &both)?);
            place.open(&file)?;
            free(&to, "")?;
            Change::Move { file, to }
        }
    };
    planned.0.push(change);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunks(patch: &str) -> Vec<Hunk> {
        let all = parse(&format!("*** Begin Patch\n*** Update File: f\n{patch}\n*** End Patch\n")).unwrap();
        let found = all.into_iter().find_map(|operation| match operation {
            Operation::Update { path, hunks } if path == "f" => Some(hunks),
            _ => None,
        });
        found.unwrap()
    }

    #[test]
    fn parts_are_applied_in_order() {
        let text = "one\ntwo\nthree\ntwo\n";
        for (patch, expected) in [
            ("@@ one @@\n one\n-two\n+2\n three", "one\n2\nthree\ntwo\n"),
            ("-three", "one\ntwo\ntwo\n"),
            ("@@ three @@\n+3.5", "one\ntwo\nthree\n3.5\ntwo\n"),
            ("+four", "one\ntwo\nthree\ntwo\nfour\n"),
            ("@@ three @@\n-two\n+last", "one\ntwo\nthree\nlast\n"),
            ("@@\n-one\n+1\n@@\n-three\n+3\n\\ No newline at end of file", "1\ntwo\n3\ntwo\n"),
        ] {
            assert_eq!(updated(text, &hunks(patch)).as_deref(), Ok(expected), "{patch}");
        }
        assert!(updated(text, &hunks("-two\n+2")).unwrap_err().contains("found 2 matches"));
        assert!(updated(text, &hunks("-ten\n+10")).unwrap_err().contains("found 0 matches"));
        assert!(updated(text, &hunks("@@ two @@\n+x")).unwrap_err().contains("found 2 matches"));
    }

    #[test]
    fn what_is_no_patch_is_said_to_be_none() {
        for (patch, said) in [
            ("", "names no file"),
            ("*** Begin Patch\n*** Update File: ../x\n-a\n+b\n", "no `..`"),
            ("*** Update File: x\n a\n", "nothing is added or removed"),
            ("*** Add File: x\nno plus\n", "begin with `+`"),
            ("*** Shred File: x\n", "no header"),
            ("hello", "belongs to no file"),
        ] {
            let error = parse(patch).unwrap_err();
            assert!(error.contains(said), "{patch}: {error}");
        }
        let all =
            parse("*** Add File: a\n+x\n+\n*** Move File: b -> c\n*** Delete File: d\n*** End Patch\nrest")
                .unwrap();
        assert_eq!(all[0], Operation::Add { path: "a".into(), text: "x\n\n".into() });
        assert_eq!(all[1], Operation::Move { path: "b".into(), to: "c".into() });
        assert_eq!((all.len(), &all[2]), (3, &Operation::Delete { path: "d".into() }));
    }
}
