//! What is in a file of a memory, and what becomes of it: pure.
//!
//! Entries are separated by a line of `§`. Sizes are characters of everything with its separators, as 0.19.0 counts.

use serde_json::{Map, Value, json};

use crate::threats;

/// Between two entries.
pub(super) const SEPARATOR: &str = "\n§\n";

/// Longest beginning of an entry that is shown where several are meant.
const PREVIEW: usize = 80;

/// The entries of a text, each once.
pub(super) fn parse(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for entry in text.split(SEPARATOR).map(str::trim).filter(|entry| !entry.is_empty()) {
        if entries.iter().all(|known| known != entry) {
            entries.push(entry.to_owned());
        }
    }
    entries
}

pub(super) fn text(entries: &[String]) -> String {
    entries.join(SEPARATOR)
}

pub(super) fn size(entries: &[String]) -> usize {
    text(entries).chars().count()
}

/// Whether the memory's own program wrote this: what it reads from it and would write again is the same, and no entry is larger than a
/// whole memory may be.
pub(super) fn is_whole(file: &str, limit: usize) -> bool {
    let all: Vec<String> =
        file.split(SEPARATOR).map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    file.trim() == text(&all) && all.iter().all(|entry| entry.chars().count() <= limit)
}

/// How full it is: `1% — 36/2,200 chars`.
pub(super) fn usage(size: usize, limit: usize) -> String {
    format!("{}% — {} chars", percent(size, limit), share(size, limit))
}

fn share(size: usize, limit: usize) -> String {
    format!("{}/{}", grouped(size), grouped(limit))
}

/// With a comma before every three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn percent(size: usize, limit: usize) -> usize {
    size.saturating_mul(100).checked_div(limit).unwrap_or(0).min(100)
}

/// What a model wants done, as far as its arguments can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A new entry.
    Add(String),
    /// Another text for the entry that this is part of.
    Replace(String, String),
    /// The entry that this is part of goes.
    Remove(String),
    /// All of these or none.
    Batch(Vec<Map<String, Value>>),
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// What the model is told, beside `success`.
    pub(super) said: Map<String, Value>,
    /// The model is asked to try again in this turn.
    pub(super) again: bool,
}

impl Refusal {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self { said: Map::from_iter([("error".to_owned(), Value::String(error.into()))]), again: false }
    }

    /// One that shows what there is.
    pub(super) fn showing(error: String, entries: &[String], limit: Option<usize>) -> Self {
        let mut refusal = Self { again: true, ..Self::new(error) };
        refusal.said.insert("current_entries".to_owned(), json!(entries));
        if let Some(limit) = limit {
            refusal.said.insert("usage".to_owned(), share(size(entries), limit).into());
        }
        refusal
    }
}

/// What a change made of the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) entries: Vec<String>,
    /// What the model is told.
    pub(super) message: String,
}

/// Reads a change out of the arguments. What is missing is said with the entries that there are.
pub(super) fn change(
    arguments: &Map<String, Value>,
    entries: &[String],
    limit: usize,
) -> Result<Change, Refusal> {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = arguments.get("operations").filter(|list| !list.is_null());
    match list {
        Some(Value::Array(all)) if !all.is_empty() => {
            return Ok(Change::Batch(
                all.iter().map(|item| item.as_object().cloned().unwrap_or_default()).collect(),
            ));
        }
        None | Some(Value::Array(_)) => {}
        Some(_) => {
            return Err(Refusal::new("operations must be a list of {action, content?, old_text?} objects."));
        }
    }
    let (action, content, old) = (text("action"), text("content"), text("old_text"));
    let nameless = |action: &str| {
        let error = format!(
            "'{action}' needs old_text -- a short unique substring of the entry to {action}. None was provided. Reissue the \
             {action} with old_text set to part of one of the current_entries below."
        );
        Refusal { again: false, ..Refusal::showing(error, entries, Some(limit)) }
    };
    match action.as_str() {
        "add" if content.is_empty() => Err(Refusal::new("Content is required for 'add' action.")),
        "add" => Ok(Change::Add(content)),
        "replace" | "remove" if old.is_empty() => Err(nameless(&action)),
        "replace" if content.is_empty() => Err(Refusal::new("content is required for 'replace' action.")),
        "replace" => Ok(Change::Replace(old, content)),
        "remove" => Ok(Change::Remove(old)),
        _ => Err(Refusal::new(format!("Unknown action '{action}'. Use: add, replace, remove"))),
    }
}

/// Makes a change.
pub(super) fn apply(change: &Change, entries: &[String], limit: usize) -> Result<Changed, Refusal> {
    let mut new = entries.to_vec();
    let message = match change {
        Change::Add(content) => {
            let content = content.trim();
            if content.is_empty() {
                return Err(Refusal::new("Content cannot be empty."));
            }
            scanned(content)?;
            if new.iter().any(|entry| entry == content) {
                let message = "Entry already exists (no duplicate added).".to_owned();
                return Ok(Changed { entries: new, message });
            }
            new.push(content.to_owned());
            if size(&new) > limit {
                let error = format!(
                    "Memory at {} chars. Adding this entry ({} chars) would exceed the limit. Consolidate now: use 'replace' to \
                     merge overlapping entries into shorter ones or 'remove' stale or less important entries (see current_entries \
                     below), then retry this add — all in this turn.",
                    share(size(entries), limit),
                    content.chars().count()
                );
                return Err(Refusal::showing(error, entries, Some(limit)));
            }
            "Entry added.".to_owned()
        }
        Change::Replace(old, content) => {
            let (old, content) = (old.trim(), content.trim());
            if old.is_empty() {
                return Err(Refusal::new("old_text cannot be empty."));
            }
            if content.is_empty() {
                return Err(Refusal::new("new_content cannot be empty. Use 'remove' to delete entries."));
            }
            scanned(content)?;
            content.clone_into(&mut new[one(entries, old, "replace")?]);
            if size(&new) > limit {
                let error = format!(
                    "Replacement would put memory at {} chars. Shorten the new content, or 'remove' other stale or less important \
                     entries to make room (see current_entries below), then retry — all in this turn.",
                    share(size(&new), limit)
                );
                return Err(Refusal::showing(error, entries, Some(limit)));
            }
            "Entry replaced.".to_owned()
        }
        Change::Remove(old) => {
            let old = old.trim();
            if old.is_empty() {
                return Err(Refusal::new("old_text cannot be empty."));
            }
            new.remove(one(entries, old, "remove")?);
            "Entry removed.".to_owned()
        }
        Change::Batch(all) => {
            batch(all, &mut new).map_err(|refused| match refused {
                Step::Poisoned(refusal) => refusal,
                Step::Wrong(error) => {
                    let error = format!("{error} No operations were applied (batch is all-or-nothing).");
                    Refusal::showing(error, entries, Some(limit))
                }
            })?;
            if size(&new) > limit {
                let error = format!(
                    "After applying all {} operations, memory would be at {} chars -- over the limit. Remove or shorten more \
                     entries in the same batch (see current_entries below), then retry.",
                    all.len(),
                    share(size(&new), limit)
                );
                return Err(Refusal::showing(error, entries, Some(limit)));
            }
            format!("Applied {} operation(s).", all.len())
        }
    };
    Ok(Changed { entries: new, message })
}

/// Why a text must not be kept.
fn refusal(content: &str) -> Option<String> {
    let separates = content.lines().any(|line| line.trim() == "§");
    let error = || "Content must not have a line that is only '§': it separates entries.".to_owned();
    if separates { Some(error()) } else { threats::refusal(content) }
}

fn scanned(content: &str) -> Result<(), Refusal> {
    refusal(content).map_or(Ok(()), |why| Err(Refusal::new(why)))
}

/// The one entry that a text is part of.
fn one(entries: &[String], old: &str, action: &str) -> Result<usize, Refusal> {
    let mut matches = entries.iter().enumerate().filter(|(_, entry)| entry.contains(old));
    let Some((first, _)) = matches.next() else {
        let error = format!(
            "No entry matched '{old}'. Check current_entries below and retry with the exact text of the entry you want to {action}."
        );
        return Err(Refusal::showing(error, entries, None));
    };
    let others: Vec<&String> = matches.map(|(_, entry)| entry).collect();
    if others.is_empty() {
        return Ok(first);
    }
    let preview = |entry: &String| {
        let end = entry.char_indices().nth(PREVIEW).map(|(at, _)| at);
        end.map_or_else(|| entry.clone(), |end| format!("{}...", &entry[..end]))
    };
    let mut refusal = Refusal::new(format!("Multiple entries matched '{old}'. Be more specific."));
    let previews: Vec<String> = std::iter::once(&entries[first]).chain(others).map(preview).collect();
    refusal.said.insert("matches".to_owned(), json!(previews));
    Err(refusal)
}

enum Step {
    /// Something in it must not be kept.
    Poisoned(Refusal),
    /// It cannot be done.
    Wrong(String),
}

fn batch(all: &[Map<String, Value>], entries: &mut Vec<String>) -> Result<(), Step> {
    let text = |op: &Map<String, Value>, key: &str| {
        op.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    for (at, op) in all.iter().enumerate() {
        let content = text(op, "content");
        let is_kept = matches!(text(op, "action").as_str(), "add" | "replace");
        if let Some(why) = is_kept.then(|| refusal(&content)).flatten() {
            return Err(Step::Poisoned(Refusal::new(format!("Operation {}: {why}", at + 1))));
        }
    }
    for (at, op) in all.iter().enumerate() {
        let (action, content, old) = (text(op, "action"), text(op, "content"), text(op, "old_text"));
        let shown = if action.is_empty() { "unknown" } else { &action };
        let wrong = |why: String| Err(Step::Wrong(format!("Operation {} ({shown}): {why}", at + 1)));
        let find = |entries: &[String]| {
            let matches: Vec<usize> = (0..entries.len()).filter(|at| entries[*at].contains(&old)).collect();
            match matches.as_slice() {
                [] => Err(format!("no entry matched '{old}'.")),
                [one] => Ok(*one),
                _ => Err(format!("'{old}' matched multiple distinct entries -- be more specific.")),
            }
        };
        match action.as_str() {
            "add" if content.is_empty() => return wrong("content is required.".to_owned()),
            "add" if entries.contains(&content) => {}
            "add" => entries.push(content),
            "replace" | "remove" if old.is_empty() => return wrong("old_text is required.".to_owned()),
            "replace" if content.is_empty() => {
                return wrong("content is required (use action='remove' to delete).".to_owned());
            }
            "replace" => match find(entries) {
                Ok(at) => entries[at] = content,
                Err(why) => return wrong(why),
            },
            "remove" => match find(entries) {
                Ok(at) => drop(entries.remove(at)),
                Err(why) => return wrong(why),
            },
            _ => return wrong("unknown action. Use add, replace, or remove.".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
