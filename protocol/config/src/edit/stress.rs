//! Documents of every style that people write, at any depth: an edit is made and proved, and no comment is lost.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A value and how it is written.
#[derive(Debug, Clone)]
enum Written {
    Scalar(&'static str),
    Block(Vec<(&'static str, Written)>, usize),
    Flow(Vec<(&'static str, Written)>, bool),
    List(Vec<Written>, bool),
    FlowList(Vec<Written>),
}

const KEYS: [&str; 8] = ["a", "b", "c", "\"d e\"", "'f'", "off", "ü", "x-1"];

fn written() -> impl Strategy<Value = Written> {
    let scalar = prop::sample::select(vec![
        "1",
        "''",
        "~",
        "",
        "text # no",
        "two words",
        "\"q: 'x' # y\"",
        "'it''s'",
        "http://h:1/x",
        "off",
        "2024-01-01",
        "|\n<one # text\n<two",
        "|-\n<one\n\n<  two",
        ">+\n<folded\n<text\n\n",
        "one\n<two",
        "!!str 5",
    ]);
    let leaf = scalar.prop_map(Written::Scalar);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = || prop::sample::subsequence(KEYS.to_vec(), 0..5);
        let entries = move |inner: BoxedStrategy<Written>| {
            keys().prop_flat_map(move |keys| {
                let values = prop::collection::vec(inner.clone(), keys.len());
                values.prop_map(move |values| keys.iter().copied().zip(values).collect::<Vec<_>>())
            })
        };
        let inner = inner.boxed();
        prop_oneof![
            (entries(inner.clone()), 1..4usize).prop_map(|(entries, indent)| Written::Block(entries, indent)),
            (entries(inner.clone()), any::<bool>())
                .prop_map(|(entries, lines)| Written::Flow(entries, lines)),
            (prop::collection::vec(inner.clone(), 0..3), any::<bool>())
                .prop_map(|(items, deep)| Written::List(items, deep)),
            prop::collection::vec(inner, 0..3).prop_map(Written::FlowList),
        ]
    })
}

/// Comments are numbered, so that each can be looked for.
struct Writer {
    text: String,
    comments: usize,
}

impl Writer {
    fn comment(&mut self, indent: usize) {
        self.comments += 1;
        let _ = writeln!(self.text, "{}# comment {}.", " ".repeat(indent), self.comments);
    }

    fn end(&mut self) {
        if self.comments.is_multiple_of(3) {
            self.comments += 1;
            let _ = write!(self.text, " # comment {}.", self.comments);
        }
        self.text.push('\n');
    }

    /// Behind `key:` or `-`, entries of it `indent` deep.
    fn value(&mut self, value: &Written, indent: usize) {
        match value {
            Written::Scalar("") => self.end(),
            Written::Scalar(text) if text.contains('\n') => {
                let text = text.replace('<', &" ".repeat(indent + 1));
                let _ = writeln!(self.text, " {text}");
            }
            Written::Scalar(text) => {
                let _ = write!(self.text, " {text}");
                self.end();
            }
            Written::Block(entries, _) if entries.is_empty() => self.flow(value),
            Written::List(items, _) if items.is_empty() => self.flow(value),
            Written::Block(entries, more) => {
                self.end();
                self.entries(entries, indent + more);
            }
            Written::List(items, deep) => {
                self.end();
                let indent = indent + usize::from(*deep) * 2;
                for item in items {
                    if self.text.len().is_multiple_of(5) {
                        self.comment(indent);
                    }
                    let _ = write!(self.text, "{}-", " ".repeat(indent));
                    self.value(item, indent + 1);
                }
            }
            Written::Flow(..) | Written::FlowList(_) => self.flow(value),
        }
    }

    fn entries(&mut self, entries: &[(&str, Written)], indent: usize) {
        for (key, value) in entries {
            if self.text.len().is_multiple_of(4) {
                self.comment(indent);
            }
            if self.text.len().is_multiple_of(7) {
                self.text.push('\n');
            }
            let _ = write!(self.text, "{}{key}:", " ".repeat(indent));
            self.value(value, indent);
        }
    }

    fn flow(&mut self, value: &Written) {
        self.text.push(' ');
        self.inner(value);
        self.end();
    }

    fn inner(&mut self, value: &Written) {
        match value {
            Written::Scalar(text) if text.contains('\n') || text.contains([':', '#', '!']) => {
                self.text.push_str("'s'");
            }
            Written::Scalar("") => self.text.push('~'),
            Written::Scalar(text) => self.text.push_str(text),
            Written::Block(entries, _) | Written::Flow(entries, _) => {
                let lines = matches!(value, Written::Flow(_, true));
                self.text.push('{');
                for (key, value) in entries {
                    if lines {
                        self.text.push_str("\n                ");
                    }
                    let _ = write!(self.text, "{key}: ");
                    self.inner(value);
                    self.text.push_str(if lines { "," } else { ", " });
                }
                self.text.push('}');
            }
            Written::List(items, _) | Written::FlowList(items) => {
                self.text.push('[');
                for (n, item) in items.iter().enumerate() {
                    self.text.push_str(if n > 0 { ", " } else { "" });
                    self.inner(item);
                }
                self.text.push(']');
            }
        }
    }
}

fn document() -> impl Strategy<Value = (String, usize)> {
    let value = prop::sample::subsequence(KEYS.to_vec(), 1..6).prop_flat_map(|keys| {
        prop::collection::vec(written(), keys.len())
            .prop_map(move |values| keys.iter().copied().zip(values).collect::<Vec<_>>())
    });
    (value, any::<bool>(), any::<bool>()).prop_map(|(entries, crlf, last)| {
        let mut writer = Writer { text: String::new(), comments: 0 };
        writer.comment(0);
        writer.entries(&entries, 0);
        let mut text = writer.text;
        if last && !text.contains(">+") {
            text = text.trim_end().to_owned();
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        (text, writer.comments)
    })
}

/// Every place in the tree, lists included.
fn places(tree: &Tree, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    let below: Vec<(String, &Tree)> = match tree {
        Tree::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Tree::Seq(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        _ => return,
    };
    for (key, value) in below {
        at.push(key);
        all.push(at.clone());
        places(value, at, all);
        at.pop();
    }
}

fn at<'t>(tree: &'t Tree, path: &[&str]) -> &'t Tree {
    path.iter().fold(tree, |tree, key| match tree {
        Tree::Map(entries) => &entries[*key],
        Tree::Seq(items) => &items[key.parse::<usize>().unwrap()],
        _ => panic!("{path:?}"),
    })
}

fn comments(text: &str, count: usize) -> Vec<usize> {
    (1..=count).filter(|n| text.contains(&format!("# comment {n}."))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_scalar_changes_and_nothing_else((text, count) in document(), pick in any::<prop::sample::Index>(), value in prop_oneof![Just(json!(7)), Just(json!("a: b # c")), Just(json!(["x", {"y": null}]))]) {
        let Ok(Some(tree)) = read(&text) else { return Err(TestCaseError::reject("not YAML")) };
        let mut all = Vec::new();
        places(&tree, &mut Vec::new(), &mut all);
        let path: Vec<&str> = pick.get(&all).iter().map(String::as_str).collect();
        let leaf = !matches!(at(&tree, &path), Tree::Map(_) | Tree::Seq(_));
        let edited = set(&text, &path, &Value::from(value)).unwrap_or_else(|e| panic!("{path:?} {e}\n{text}")).text;
        if leaf {
            prop_assert_eq!(comments(&edited, count), comments(&text, count), "{:?}\n{}\n->\n{}", path, text, edited);
        }
    }

    #[test]
    fn a_new_key_is_added_and_nothing_else((text, count) in document(), pick in any::<prop::sample::Index>()) {
        let Ok(Some(tree)) = read(&text) else { return Err(TestCaseError::reject("not YAML")) };
        let mut all = vec![Vec::new()];
        places(&tree, &mut Vec::new(), &mut all);
        let path = pick.get(&all);
        let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
        if !matches!(at(&tree, &path), Tree::Map(_)) { return Ok(()) }
        path.push("new");
        let edited = set(&text, &path, &Value::from("v")).unwrap_or_else(|e| panic!("{path:?} {e}\n{text}")).text;
        prop_assert_eq!(comments(&edited, count), comments(&text, count), "{:?}\n{}\n->\n{}", path, text, edited);
        // And taken away again, unless its mapping was empty without it and goes along.
        if *at(&tree, &path[..path.len() - 1]) == Tree::Map(std::collections::BTreeMap::new()) { return Ok(()) }
        let back = unset(&edited, &path).unwrap_or_else(|e| panic!("{path:?} {e}\n{edited}")).unwrap();
        prop_assert_eq!(comments(&back, count), comments(&text, count));
    }

    #[test]
    fn a_value_goes_and_comments_elsewhere_stay((text, count) in document(), pick in any::<prop::sample::Index>()) {
        let Ok(Some(tree)) = read(&text) else { return Err(TestCaseError::reject("not YAML")) };
        let mut all = Vec::new();
        places(&tree, &mut Vec::new(), &mut all);
        let path: Vec<&str> = pick.get(&all).iter().map(String::as_str).collect();
        let gone = match unset(&text, &path) {
            Ok(gone) => gone.unwrap(),
            // A block that keeps the empty lines behind it would get those behind what goes.
            Err(EditError::Entangled { .. }) if text.contains(">+") => return Ok(()),
            Err(e) => panic!("{path:?} {e}\n{text}"),
        };
        // What was said about another top-level key is not lost.
        let own = text.lines().position(|line| line.starts_with(path[0]) || line.starts_with(&format!("'{}'", path[0])));
        if let Some(first) = own {
            let before: usize = comments(&text.lines().take(first).collect::<Vec<_>>().join("\n"), count).len();
            prop_assert!(comments(&gone, count).len() >= before, "{:?}\n{}\n->\n{}", path, text, gone);
        }
    }
}
