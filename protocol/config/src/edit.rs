//! Changes one value of a YAML text and leaves every other byte as it is: comments, order, quoting, line ends.
//!
//! # Theory of operation
//!
//! The text is parsed into [`layout`]: every node with the bytes it occupies. An edit is one splice: a value's bytes are
//! replaced, or an entry's are inserted or removed. What the splice did is then proved, not assumed: the new text is read again,
//! and unless its tree is exactly the old tree with the one value changed, the edit is refused and nothing was written. So an
//! anchor with other users or an alias can cost the edit of that very value, never another one, and never data.
//!
//! Why not a ready-made editor: the two maintained ones rewrite what they do not model (quoting of neighbours, indentless
//! sequences) or bring a C parser of their own, whose idea of YAML would differ from the reader's. The parser is the reader's.

mod layout;
mod render;
mod tree;

use std::collections::BTreeMap;

pub use render::{Value, block};

use layout::{Item, Kind, Layout, Node};
use tree::Tree;

use super::path::index;
use super::yaml;

/// Spaces by which nested keys are indented where the file shows no other habit.
const INDENT: usize = 2;

/// Why an edit was refused. The text is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not YAML, or not YAML that a profile may have.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// 1-based.
        line: u32,
        /// 1-based.
        column: u32,
        /// What is wrong; quotes no value.
        message: String,
    },
    /// A list stands where a key was named, or is too short, or there is none.
    #[error("`{path}` is not an item of an existing list")]
    NoSuchItem {
        /// As far as the item.
        path: String,
    },
    /// Something else would change with it, or the text has a form that cannot be edited in place.
    #[error(
        "`{path}` cannot be changed without changing something else (an alias, an anchor or a merge key is in the way)"
    )]
    Entangled {
        /// The key.
        path: String,
    },
}

/// An edit that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The whole new text.
    pub text: String,
    /// A value that was not a mapping had to give way to one: its key.
    pub replaced: Option<String>,
}

/// Sets the value at `path`; missing mappings are created. A segment that is a number is an index where a list is.
pub fn set(text: &str, path: &[&str], value: &Value) -> Result<Edited, EditError> {
    let (bom, body) = split_bom(text);
    let before = read(body)?;
    let layout = Layout::read(body).ok_or_else(|| entangled(path))?;
    let mut replaced = None;
    let new = splice_set(body, &layout, path, value, &mut replaced)?;
    let intended = tree::with(before, path, value).ok_or_else(|| entangled(path))?;
    prove(&new, &intended, path)?;
    Ok(Edited { text: format!("{bom}{new}"), replaced })
}

/// Removes the value at `path` and the mappings that are empty without it. `None`: it is not there.
pub fn unset(text: &str, path: &[&str]) -> Result<Option<String>, EditError> {
    let (bom, body) = split_bom(text);
    let before = read(body)?;
    let Some(intended) = before.and_then(|tree| tree::without(tree, path)) else { return Ok(None) };
    let mut new = body.to_owned();
    loop {
        let layout = Layout::read(&new).ok_or_else(|| entangled(path))?;
        new = splice_unset(&new, &layout, path).ok_or_else(|| entangled(path))?;
        let proof = prove(&new, &intended, path);
        // A key that stands twice: the later one counted, and the earlier one would now.
        let again = proof.is_err()
            && read(&new).ok().flatten().is_some_and(|tree| tree::without(tree, path).is_some());
        if !again || new.is_empty() {
            return proof.map(|()| Some(format!("{bom}{new}")));
        }
    }
}

/// A byte order mark.
pub(super) const BOM: &str = "\u{feff}";

/// The mark at the start of a text, if there is one, and the text.
pub(super) fn split_bom(text: &str) -> (&str, &str) {
    text.strip_prefix(BOM).map_or(("", text), |rest| (BOM, rest))
}

fn read(text: &str) -> Result<Option<Tree>, EditError> {
    let (node, flaws) = yaml::parse(text.as_bytes());
    match flaws.into_iter().find(|flaw| flaw.fatal) {
        Some(flaw) => Err(EditError::Syntax { line: flaw.line, column: flaw.column, message: flaw.message }),
        None => Ok(node.map(|node| Tree::of(&node))),
    }
}

fn entangled(path: &[&str]) -> EditError {
    EditError::Entangled { path: path.join(".") }
}

/// The new text says what was meant, and nothing else changed.
fn prove(new: &str, intended: &Tree, path: &[&str]) -> Result<(), EditError> {
    let now = read(new).map_err(|_| entangled(path))?;
    // A text without anything left in it is as good as an empty mapping.
    let same = now.unwrap_or(Tree::Map(BTreeMap::new())) == *intended;
    if same { Ok(()) } else { Err(entangled(path)) }
}

fn splice(text: &str, from: usize, to: usize, with: &str) -> String {
    [&text[..from], with, &text[to..]].concat()
}

/// The line end that lines around byte `at` have: the one before it, else the first of the text.
fn newline(text: &str, at: usize) -> &'static str {
    let end = text[..at].rfind('\n').or_else(|| text.find('\n'));
    if end.is_some_and(|end| text[..end].ends_with('\r')) { "\r\n" } else { "\n" }
}

/// Where the line that holds byte `at` ends, its line end excluded.
fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    if text[..end].ends_with('\r') && end > at { end - 1 } else { end }
}

/// Where the next line begins.
fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |n| at + n + 1)
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |n| n + 1)
}

fn splice_set(
    text: &str,
    layout: &Layout,
    path: &[&str],
    value: &Value,
    replaced: &mut Option<String>,
) -> Result<String, EditError> {
    let Some(root) = &layout.root else { return Ok(first_entry(text, layout.end, path, value)) };
    let mut node = root;
    // The colon of the entry that `node` is the value of.
    let mut colon = None;
    let mut column = 0;
    let mut within_flow = false;
    for (depth, segment) in path.iter().enumerate() {
        within_flow |= matches!(node.kind, Kind::Map { flow: true, .. } | Kind::Seq { flow: true, .. });
        let here = || path[..=depth].join(".");
        match &node.kind {
            Kind::Map { flow, entries } => match entries.iter().rev().find(|e| e.key == *segment) {
                Some(entry) => {
                    (node, colon, column) = (&entry.value, Some(entry.colon), entry.column);
                }
                None => return Ok(insert(text, node, *flow, entries, &path[depth..], value)),
            },
            Kind::Seq { items, .. } => {
                let item = index(segment).and_then(|n| items.get(n));
                let item = item.ok_or_else(|| EditError::NoSuchItem { path: here() })?;
                (node, colon) = (&item.value, None);
            }
            Kind::Alias | Kind::Pair => return Err(entangled(path)),
            Kind::Scalar { .. } => {
                if !node.is_null(text) {
                    *replaced = Some(path[..depth].join("."));
                }
                return nest(text, node, colon, column, &path[depth..], value).ok_or_else(|| entangled(path));
            }
        }
    }
    let style = match node.kind {
        Kind::Scalar { quote, .. } => quote,
        _ => None,
    };
    let new = if within_flow && style.is_none() { value.render_flow() } else { value.render(style) };
    Ok(put(text, node, colon, &new))
}

/// Replaces a value; a collection and an absent one too. A tag before it spoke of the old value and goes along.
fn put(text: &str, node: &Node, colon: Option<usize>, new: &str) -> String {
    // A block that keeps the line ends behind it takes them along.
    let end = if text[..node.end].ends_with('\n') { newline(text, node.end) } else { "" };
    if let Some(tag) = node.tag {
        return splice(text, tag, node.end, &format!("{new}{end}"));
    }
    // `key:` or `-` with nothing behind it.
    if matches!(node.kind, Kind::Scalar { .. }) && node.start == node.end {
        return splice(text, node.start, node.start, &format!(" {new}"));
    }
    match (colon, &node.kind) {
        // A block below its key moves up beside it; what stands behind the key stays there.
        (Some(colon), Kind::Map { flow: false, .. } | Kind::Seq { flow: false, .. })
            if line_end(text, colon) < node.start =>
        {
            let beside = &text[colon..line_end(text, colon)];
            let rest = if beside.trim_start().starts_with('#') { beside } else { "" };
            splice(text, colon, node.end, &format!(" {new}{rest}{end}"))
        }
        _ => splice(text, node.start, node.end, &format!("{new}{end}")),
    }
}

/// The entry `path: value`, indented by `column`, as lines.
fn entry_lines(path: &[&str], value: &Value, column: usize, newline: &str) -> String {
    let mut lines = String::new();
    for (depth, key) in path.iter().enumerate() {
        let indent = " ".repeat(column + depth * INDENT);
        let last = depth + 1 == path.len();
        let rest = if last { format!(" {}", value.render(None)) } else { String::new() };
        lines.extend([indent.as_str(), &render::key(key), ":", &rest, newline]);
    }
    lines
}

/// The same within `{}`.
fn entry_flow(path: &[&str], value: &Value) -> String {
    let (first, rest) = path.split_first().expect("an entry has a key");
    if rest.is_empty() {
        format!("{}: {}", render::key(first), value.render_flow())
    } else {
        format!("{}: {{{}}}", render::key(first), entry_flow(rest, value))
    }
}

/// Into a text without any value.
fn first_entry(text: &str, at: usize, path: &[&str], value: &Value) -> String {
    let newline = newline(text, at);
    let gap = if at == 0 || text[..at].ends_with('\n') { "" } else { newline };
    splice(text, at, at, &format!("{gap}{}", entry_lines(path, value, 0, newline)))
}

/// A new entry of an existing mapping, behind its last one.
fn insert(
    text: &str,
    map: &Node,
    flow: bool,
    entries: &[layout::Entry],
    path: &[&str],
    value: &Value,
) -> String {
    if flow {
        let new = entry_flow(path, value);
        let close = map.end - 1;
        let Some(last) = entries.last() else { return splice(text, close, close, &new) };
        let at = last.end();
        let behind = &text[at..close];
        let comma =
            if behind.trim_start().starts_with(',') { at + behind.find(',').unwrap_or(0) + 1 } else { at };
        let new = if comma > at { format!(" {new}") } else { format!(", {new}") };
        return splice(text, comma, comma, &new);
    }
    let column = entries.first().map_or(0, |e| e.column);
    below(text, map.end, path, value, column)
}

/// New lines behind the line that holds byte `at`.
fn below(text: &str, at: usize, path: &[&str], value: &Value, column: usize) -> String {
    let newline = newline(text, at);
    // A block scalar's end is the end of its line already.
    let at = if at > 0 && text[..at].ends_with('\n') { at } else { next_line(text, at) };
    let gap = if at == 0 || text[..at].ends_with('\n') { "" } else { newline };
    let mut lines = entry_lines(path, value, column, newline);
    if !gap.is_empty() {
        // The text had no line end at its end, and keeps none.
        lines.truncate(lines.len() - newline.len());
    }
    splice(text, at, at, &format!("{gap}{lines}"))
}

/// A mapping in the place of a scalar, or of nothing.
fn nest(
    text: &str,
    node: &Node,
    colon: Option<usize>,
    column: usize,
    path: &[&str],
    value: &Value,
) -> Option<String> {
    let Kind::Scalar { flow, .. } = node.kind else { return None };
    let Some(colon) = colon.filter(|_| !flow) else {
        let new = format!("{{{}}}", entry_flow(path, value));
        return Some(put(text, node, colon, &new));
    };
    // Without the scalar; a comment behind it stays in its line.
    let bare = if node.start == node.end { text.to_owned() } else { splice(text, colon, node.end, "") };
    Some(below(&bare, colon, path, value, column + INDENT))
}

fn splice_unset(text: &str, layout: &Layout, path: &[&str]) -> Option<String> {
    let mut node = layout.root.as_ref()?;
    let mut colon = None;
    // The outermost entry that holds nothing but the way to the value.
    let mut removed: Option<(&Node, usize)> = None;
    // It is an item of a list, which keeps its items: an emptied mapping in it stays as one.
    let mut in_list = false;
    for (depth, segment) in path.iter().enumerate() {
        match &node.kind {
            Kind::Map { entries, .. } => {
                let at = entries.iter().rposition(|e| e.key == *segment)?;
                if entries.len() > 1 || removed.is_none() || depth == 0 {
                    in_list = removed.is_none() && depth > 0;
                    removed = Some((node, at));
                }
                (node, colon) = (&entries[at].value, Some(entries[at].colon));
            }
            Kind::Seq { items, flow } => {
                let at = index(segment).filter(|n| *n < items.len())?;
                if depth + 1 == path.len() && items.len() == 1 && !flow {
                    return Some(put(text, node, colon, "[]"));
                }
                removed = (depth + 1 == path.len()).then_some((node, at));
                (node, colon) = (&items[at].value, None);
            }
            Kind::Alias | Kind::Pair | Kind::Scalar { .. } => return None,
        }
    }
    let (holder, at) = removed?;
    Some(match &holder.kind {
        Kind::Map { flow: true, entries } => {
            let spans: Vec<_> = entries.iter().map(|e| (e.start, e.end())).collect();
            remove_flow(text, &spans, at)
        }
        Kind::Seq { flow: true, items } => {
            let spans: Vec<_> = items.iter().map(|item| (item.start, item.value.end)).collect();
            remove_flow(text, &spans, at)
        }
        Kind::Map { flow: false, entries } => {
            let entry = &entries[at];
            if in_list && entries.len() == 1 {
                return Some(put(text, holder, None, "{}"));
            }
            remove_block(text, entry.start, entry.end(), entries.get(at + 1).map(|e| e.start))
        }
        Kind::Seq { flow: false, items } => {
            let Item { start, value } = &items[at];
            remove_block(text, *start, value.end.max(start + 1), items.get(at + 1).map(|next| next.start))
        }
        Kind::Alias | Kind::Pair | Kind::Scalar { .. } => return None,
    })
}

/// Out of `{}` or `[]`, with one comma.
fn remove_flow(text: &str, spans: &[(usize, usize)], at: usize) -> String {
    let (start, end) = spans[at];
    match (spans.get(at + 1), at.checked_sub(1).map(|n| spans[n])) {
        (Some((next, _)), _) => splice(text, start, *next, ""),
        (None, Some((_, before))) => splice(text, before, end, ""),
        (None, None) => {
            // A comma may stand behind the last one; alone it is not allowed.
            let behind = text[end..].trim_start();
            let comma = behind.starts_with(',');
            splice(text, start, if comma { text.len() - behind.len() + 1 } else { end }, "")
        }
    }
}

/// Whole lines, or the part of one behind a `- `.
fn remove_block(text: &str, start: usize, end: usize, next: Option<usize>) -> String {
    let line = line_start(text, start);
    let alone = text[line..start].trim().is_empty();
    if alone {
        let behind = if text[..end].ends_with('\n') { end } else { next_line(text, end) };
        let rest = splice(text, line, behind, "");
        // The last line of a text without a final line end takes the one before it along.
        if behind == text.len() && !text.ends_with('\n') && rest.ends_with('\n') {
            return rest.trim_end_matches(['\n', '\r']).to_owned();
        }
        return rest;
    }
    let line_end = line_end(text, end);
    match next {
        // Comments between the two belong to the next one; it then begins below the dash.
        Some(next) if line_end < next && !text[line_end..next].trim().is_empty() => {
            splice(text, text[..start].trim_end().len(), line_end, "")
        }
        Some(next) => splice(text, start, next, ""),
        _ => splice(text, start, line_end, "{}"),
    }
}

#[cfg(test)]
#[path = "edit/corpus.rs"]
mod corpus;
#[cfg(test)]
#[path = "edit/stress.rs"]
mod stress;
#[cfg(test)]
#[path = "edit/tests.rs"]
mod tests;
