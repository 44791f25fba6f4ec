//! YAML text as a tree of raw scalars, each with its place; typing is left to whoever knows what a key means.
//!
//! That is why a route may be called `off` and `enabled: off` still means false. Guarantees: bounded work (input, nodes and depth
//! are limited, aliases counted as if written out), one document only, no error text that quotes a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::types::MAX_FILE_LEN;

/// Most nodes a document may have, aliases written out.
pub(super) const MAX_NODES: usize = 200_000;
/// Deepest nesting.
pub(super) const MAX_DEPTH: usize = 64;

/// One node and where it starts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: u32,
    pub(super) column: u32,
    /// Nodes in this subtree, aliases written out.
    size: usize,
    /// Levels in this subtree.
    depth: usize,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    /// Text as written; `plain` when it stood without quotes, so that it may also be null, a number or a boolean.
    Scalar { text: String, plain: bool },
    /// A sequence.
    Seq(Vec<Rc<Node>>),
    /// A mapping in file order, keys unique.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) value: Rc<Node>,
    /// It stands in an administrator's file.
    pub(super) pinned: bool,
}

impl Node {
    /// Another value in this place.
    pub(super) fn with(&self, value: Value) -> Self {
        Self { value, line: self.line, column: self.column, size: self.size, depth: self.depth }
    }

    /// The value under `key`, for a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// Whether this is nothing: an empty plain scalar, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Something wrong in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Whether the document cannot be used.
    pub(super) fatal: bool,
    pub(super) code: &'static str,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) message: String,
}

/// Reads a document. No node: it is empty, or one of the flaws is fatal.
pub(super) fn parse(bytes: &[u8]) -> (Option<Rc<Node>>, Vec<Flaw>) {
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(flaw) => return (None, vec![flaw]),
    };
    let mut builder = Builder::default();
    let root = builder.run(text);
    let mut flaws = builder.flaws;
    match root {
        Ok(root) => (root, flaws),
        Err(flaw) => {
            flaws.push(flaw);
            (None, flaws)
        }
    }
}

fn decode(bytes: &[u8]) -> Result<&str, Flaw> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(fatal("yaml_limit", 1, 1, format!("the file is larger than {} MiB", MAX_FILE_LEN >> 20)));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = place_of(&bytes[..error.valid_up_to()]);
        fatal("yaml_encoding", line, column, "the text is not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The scanner takes NUL for the end of the text: everything behind it would be dropped without a word.
    let forbidden = |b: &u8| (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || *b == 0x7f;
    if let Some(at) = text.as_bytes().iter().position(forbidden) {
        let (line, column) = place_of(&text.as_bytes()[..at]);
        return Err(fatal("yaml_syntax", line, column, "control characters are not allowed".to_owned()));
    }
    Ok(text)
}

fn place_of(before: &[u8]) -> (u32, u32) {
    let lines = before.split(|b| *b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count();
    (to_u32(lines), to_u32(column + 1))
}

fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn fatal(code: &'static str, line: u32, column: u32, message: String) -> Flaw {
    Flaw { fatal: true, code, line, column, message }
}

#[derive(Default)]
struct Builder {
    stack: Vec<Frame>,
    /// Finished anchored nodes.
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
    flaws: Vec<Flaw>,
}

struct Frame {
    anchor: usize,
    line: u32,
    column: u32,
    kind: Kind,
}

enum Kind {
    Seq(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, index: HashMap<String, usize>, key: Option<Key>, merges: Vec<Rc<Node>> },
}

struct Key {
    text: String,
    line: u32,
    column: u32,
    merge: bool,
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<Option<Rc<Node>>, Flaw> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| {
                let (line, column) = place(error.marker());
                fatal("yaml_syntax", line, column, format!("not valid YAML: {}", error.info()))
            })?;
            let (line, column) = place(&span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(fatal(
                            "yaml_documents",
                            line,
                            column,
                            "only one document is allowed".to_owned(),
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !is_tag(tag.as_deref(), line, column)?;
                    let value = Value::Scalar { text: text.into_owned(), plain };
                    self.finish(anchor, Node { value, line, column, size: 1, depth: 1 })?;
                }
                Event::SequenceStart(anchor, tag) => {
                    is_tag(tag.as_deref(), line, column)?;
                    self.open(Frame { anchor, line, column, kind: Kind::Seq(Vec::new()) })?;
                }
                Event::MappingStart(anchor, tag) => {
                    is_tag(tag.as_deref(), line, column)?;
                    let kind = Kind::Map {
                        entries: Vec::new(),
                        index: HashMap::new(),
                        key: None,
                        merges: Vec::new(),
                    };
                    self.open(Frame { anchor, line, column, kind })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor).cloned() else {
                        return Err(fatal(
                            "yaml_alias",
                            line,
                            column,
                            "an alias stands for itself".to_owned(),
                        ));
                    };
                    self.count(node.size, line, column)?;
                    self.attach(node, line, column)?;
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(self.root.take().filter(|root| !root.is_null()))
    }

    fn open(&mut self, frame: Frame) -> Result<(), Flaw> {
        if let Some(Frame { kind: Kind::Map { key: None, .. }, .. }) = self.stack.last() {
            let message = "a key must be plain text".to_owned();
            return Err(fatal("yaml_key", frame.line, frame.column, message));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(frame.line, frame.column));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Flaw> {
        let Some(Frame { anchor, line, column, kind }) = self.stack.pop() else { return Ok(()) };
        let (value, size, depth) = match kind {
            Kind::Seq(items) => {
                let (size, depth) = measure(items.iter());
                (Value::Seq(items), size, depth)
            }
            Kind::Map { mut entries, index, merges, .. } => {
                merge(&mut entries, index, &merges);
                let (size, depth) = measure(entries.iter().map(|entry| &entry.value));
                (Value::Map(entries), size, depth)
            }
        };
        self.finish(anchor, Node { value, line, column, size, depth })
    }

    fn finish(&mut self, anchor: usize, node: Node) -> Result<(), Flaw> {
        let (line, column) = (node.line, node.column);
        self.count(1, line, column)?;
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node, line, column)
    }

    fn count(&mut self, more: usize, line: u32, column: u32) -> Result<(), Flaw> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(fatal("yaml_limit", line, column, format!("more than {MAX_NODES} values, aliases included")))
    }

    fn attach(&mut self, node: Rc<Node>, line: u32, column: u32) -> Result<(), Flaw> {
        if self.stack.len() + node.depth > MAX_DEPTH {
            return Err(too_deep(line, column));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.kind {
            Kind::Seq(items) => items.push(node),
            Kind::Map { entries, index, key, merges } => match key.take() {
                None => {
                    let Value::Scalar { text, plain } = &node.value else {
                        return Err(fatal("yaml_key", line, column, "a key must be plain text".to_owned()));
                    };
                    *key = Some(Key { text: text.clone(), line, column, merge: *plain && text == "<<" });
                }
                Some(key) if key.merge => {
                    let maps = match &node.value {
                        Value::Map(_) => vec![node],
                        Value::Seq(items) => items.clone(),
                        Value::Scalar { .. } => Vec::new(),
                    };
                    if maps.is_empty() || maps.iter().any(|n| !matches!(n.value, Value::Map(_))) {
                        let message = "`<<` needs a mapping, or a list of mappings".to_owned();
                        return Err(fatal("yaml_merge", line, column, message));
                    }
                    merges.extend(maps);
                }
                Some(Key { text, line, column, .. }) => {
                    let entry = Entry { key: text, line, column, value: node, pinned: false };
                    if let Some(&at) = index.get(&entry.key) {
                        let first = entries[at].line;
                        let message = format!(
                            "the key `{}` is already in line {first}; this later one counts",
                            shorten(&entry.key)
                        );
                        self.flaws.push(Flaw { fatal: false, code: "duplicate_key", line, column, message });
                        entries[at] = entry;
                    } else {
                        index.insert(entry.key.clone(), entries.len());
                        entries.push(entry);
                    }
                }
            },
        }
        Ok(())
    }
}

/// Adds what `<<` brings in: explicit keys win, then earlier mappings.
fn merge(entries: &mut Vec<Entry>, mut index: HashMap<String, usize>, merges: &[Rc<Node>]) {
    for node in merges {
        let Value::Map(more) = &node.value else { continue };
        for entry in more {
            if !index.contains_key(&entry.key) {
                index.insert(entry.key.clone(), entries.len());
                entries.push(entry.clone());
            }
        }
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    let (size, depth) = children
        .fold((1usize, 0), |(size, depth), child| (size.saturating_add(child.size), depth.max(child.depth)));
    (size, depth + 1)
}

/// Whether a scalar's tag makes it text. Tags outside YAML's own are refused: they would change what a value means.
fn is_tag(tag: Option<&Tag>, line: u32, column: u32) -> Result<bool, Flaw> {
    match tag {
        None => Ok(false),
        Some(tag)
            if tag.is_yaml_core_schema()
                && matches!(
                    tag.suffix.as_str(),
                    "str" | "int" | "float" | "bool" | "null" | "map" | "seq"
                ) =>
        {
            Ok(tag.suffix == "str")
        }
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => Ok(true),
        Some(_) => Err(fatal("yaml_tag", line, column, "tags (`!…`) are not supported".to_owned())),
    }
}

fn too_deep(line: u32, column: u32) -> Flaw {
    fatal("yaml_limit", line, column, format!("nested more than {MAX_DEPTH} levels"))
}

fn place(mark: &Marker) -> (u32, u32) {
    (to_u32(mark.line().max(1)), to_u32(mark.col() + 1))
}

/// A key as it may appear in a message.
pub fn shorten(key: &str) -> Cow<'_, str> {
    match key.char_indices().nth(80) {
        None => key.into(),
        Some((end, _)) => format!("{}…", &key[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Rc<Node> {
        let (root, flaws) = parse(text.as_bytes());
        assert_eq!(flaws, Vec::new(), "{text}");
        root.expect("a document")
    }

    fn flaw(text: &[u8]) -> (&'static str, u32, u32) {
        let (root, flaws) = parse(text);
        assert!(root.is_none() && flaws.last().is_some_and(|f| f.fatal), "{flaws:?}");
        let flaw = flaws.last().expect("checked");
        (flaw.code, flaw.line, flaw.column)
    }

    fn scalar(node: &Node) -> (&str, bool) {
        match &node.value {
            Value::Scalar { text, plain } => (text, *plain),
            other => panic!("not a scalar: {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_style_and_place() {
        let root = tree("a: off\nb: 'off'\noff: 010\nc: !!str 1\nd:\n");
        let at = |key: &str| root.get(key).expect("key");
        assert_eq!(scalar(&at("a").value), ("off", true));
        assert_eq!(scalar(&at("b").value), ("off", false));
        assert_eq!(scalar(&at("off").value), ("010", true));
        assert_eq!(scalar(&at("c").value), ("1", false));
        assert!(at("d").value.is_null());
        assert_eq!(
            (at("off").line, at("off").column, at("off").value.line, at("off").value.column),
            (3, 1, 3, 6)
        );
    }

    #[test]
    fn nothing_is_no_document() {
        for text in ["", "# only a comment\n", "---\n", "~", "\u{feff}"] {
            let (root, flaws) = parse(text.as_bytes());
            assert!(root.is_none() && flaws.is_empty(), "{text:?}: {flaws:?}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_written_out() {
        let root = tree("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nmany: {<<: [*b, {z: 4}]}\n");
        let used = &root.get("use").expect("use").value;
        assert_eq!(scalar(&used.get("x").expect("x").value), ("1", true));
        assert_eq!(scalar(&used.get("y").expect("y").value), ("3", true));
        assert!(root.get("many").expect("many").value.get("z").is_some());
    }

    #[test]
    fn a_duplicate_key_is_noted_and_the_later_one_counts() {
        let (root, flaws) = parse(b"a: 1\nb: 2\na: 3\n");
        assert_eq!(flaws.len(), 1);
        assert_eq!((flaws[0].fatal, flaws[0].code, flaws[0].line), (false, "duplicate_key", 3));
        assert_eq!(scalar(&root.expect("document").get("a").expect("a").value), ("3", true));
    }

    #[test]
    fn broken_text_names_its_place() {
        assert_eq!(flaw(b"a: [1, 2\nb: 3\n").0, "yaml_syntax");
        assert_eq!(flaw(b"a:\n\t- b\n"), ("yaml_syntax", 2, 2));
        assert_eq!(flaw(b"a: 1\n---\nb: 2\n"), ("yaml_documents", 2, 1));
        assert_eq!(flaw(b"a: 1\nb: \xff\n"), ("yaml_encoding", 2, 4));
        assert_eq!(flaw(b"a: 1\nb: \0c: 1\n"), ("yaml_syntax", 2, 4));
        assert_eq!(flaw(b"? [a, b]\n: c\n").0, "yaml_key");
        assert_eq!(flaw(b"a: !!python/object:os.system x\n").0, "yaml_tag");
        assert_eq!(flaw(b"a: &x [*x]\n").0, "yaml_alias");
        assert_eq!(flaw(b"a: *nowhere\n").0, "yaml_syntax");
    }

    #[test]
    fn flow_collections_may_be_laid_out_like_json() {
        for text in [
            "a: {\n  b: [\n    1,\n  2\n  ],\n}\n",
            "{\"a\": {\"b\": [1, 2]}}",
            "a: {b: [1,\n 2]}\n",
            "a: {\n  b: [1]\n}\n",
        ] {
            assert!(tree(text).get("a").expect("a").value.get("b").is_some(), "{text}");
        }
    }

    #[test]
    fn bombs_are_refused_quickly() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let refs = vec![format!("*a{}", n - 1); 9].join(", ");
            bomb = format!("{bomb}a{n}: &a{n} [{refs}]\n");
        }
        assert_eq!(flaw(bomb.as_bytes()).0, "yaml_limit");
        assert_eq!(flaw("[".repeat(100).as_bytes()).0, "yaml_limit");
        assert_eq!(flaw(&vec![b'a'; MAX_FILE_LEN + 1]).0, "yaml_limit");
        let merge =
            format!("a: &a {{{}}}\n", (0..1000).map(|n| format!("k{n}: 1")).collect::<Vec<_>>().join(", "));
        let merges = (0..1000).map(|n| format!("m{n}: {{<<: *a}}\n")).collect::<String>();
        assert_eq!(flaw((merge + &merges).as_bytes()).0, "yaml_limit");
    }
}
