//! Wires 10: files as users have them (`tests/fixtures/config`). Every value in each is set, given a neighbour and removed; what comes
//! out is read by the parser and compared with the same change made to the parsed tree, and every byte elsewhere is what it was.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::yaml::{Node as Parsed, Value as ParsedValue};

/// A document as the parser reads it, scalars with whether they stood without quotes.
#[derive(Debug, Clone, PartialEq)]
enum Read {
    Scalar(String, bool),
    Seq(Vec<Read>),
    Map(BTreeMap<String, Read>),
}

fn of(node: &Parsed) -> Read {
    match &node.value {
        ParsedValue::Scalar { text, plain } => Read::Scalar(text.clone(), *plain),
        ParsedValue::Seq(items) => Read::Seq(items.iter().map(|item| of(item)).collect()),
        ParsedValue::Map(entries) => {
            Read::Map(entries.iter().map(|entry| (entry.key.clone(), of(&entry.value))).collect())
        }
    }
}

fn parsed(text: &str) -> Read {
    let (node, flaws) = yaml::parse(text.as_bytes());
    assert!(flaws.iter().all(|flaw| !flaw.fatal), "{flaws:?}\n{text}");
    node.map_or(Read::Map(BTreeMap::new()), |node| of(&node))
}

/// The place of every value below a node.
fn paths(node: &Read, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    let below: Vec<(String, &Read)> = match node {
        Read::Scalar(..) => return,
        Read::Seq(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        Read::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value)).collect(),
    };
    for (key, node) in below {
        at.push(key);
        all.push(at.clone());
        paths(node, at, all);
        at.pop();
    }
}

fn get<'r>(node: &'r Read, path: &[&str]) -> &'r Read {
    path.iter().fold(node, |node, key| match node {
        Read::Map(entries) => &entries[*key],
        Read::Seq(items) => &items[key.parse::<usize>().unwrap()],
        Read::Scalar(..) => panic!("{path:?}"),
    })
}

/// The same with another value at a place, or with none; mappings that are empty without it go along.
fn changed(node: &Read, path: &[&str], value: Option<&Read>) -> Option<Read> {
    let Some((first, rest)) = path.split_first() else { return value.cloned() };
    match node {
        Read::Map(entries) => {
            let mut entries = entries.clone();
            let below = entries.remove(*first).unwrap_or(Read::Map(BTreeMap::new()));
            let new = changed(&below, rest, value);
            entries.extend(new.map(|new| ((*first).to_owned(), new)));
            (value.is_some() || !entries.is_empty()).then_some(Read::Map(entries))
        }
        Read::Seq(items) => {
            let (mut items, n) = (items.clone(), first.parse::<usize>().unwrap());
            match changed(&items[n], rest, value) {
                Some(new) => items[n] = new,
                // An item stays, or the others would move up.
                None if !rest.is_empty() => items[n] = Read::Map(BTreeMap::new()),
                None => {
                    items.remove(n);
                }
            }
            Some(Read::Seq(items))
        }
        Read::Scalar(..) => Some(Read::Map(
            [((*first).to_owned(), changed(&Read::Map(BTreeMap::new()), rest, value)?)].into(),
        )),
    }
}

/// Plain text and quoted text are the same where nobody takes the plain one for anything else.
fn same(a: &Read, b: &Read) -> bool {
    match (a, b) {
        (Read::Scalar(a, p), Read::Scalar(b, q)) => {
            a == b
                && (p == q
                    || !(a.is_empty()
                        || a.starts_with(|c: char| c.is_ascii_digit() || "-+.~".contains(c))
                        || ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]
                            .contains(&a.to_lowercase().as_str())))
        }
        (Read::Seq(a), Read::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Read::Map(a), Read::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        _ => false,
    }
}

/// What went and what came in its place.
fn difference<'t>(before: &'t str, after: &'t str) -> (&'t str, &'t str) {
    let mut from: usize = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    while !before.is_char_boundary(from) || !after.is_char_boundary(from) {
        from -= 1;
    }
    let (a, b) = (&before[from..], &after[from..]);
    let mut to = a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(a.len() - to) || !b.is_char_boundary(b.len() - to) {
        to -= 1;
    }
    (&a[..a.len() - to], &b[..b.len() - to])
}

fn files() -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/config");
    let mut files: Vec<_> = fs_err::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs_err::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 20);
    files
}

/// Places that have another one: an edit of exactly these may be refused, and nothing else.
fn is_entangled(file: &str, path: &[&str]) -> bool {
    let shared: &[&[&str]] = match file {
        // What aliases and merge keys use, and what came from there.
        "anchors.yaml" => &[
            &["defaults"],
            &["limits"],
            &["model"],
            &["agent", "budget"],
            &["terminal", "timeout"],
            &["terminal", "retries"],
            &["terminal", "max_turns"],
            &["terminal", "budget"],
            &["terminal", "docker_image"],
            &["auxiliary", "vision"],
            &["auxiliary", "compression", "timeout"],
            &["auxiliary", "compression", "retries"],
            // Without its own, the merged one would count.
            &["agent", "max_turns"],
        ],
        // Keys without a colon.
        "explicit-keys.yaml" => &[&["lone"], &["display", "streaming"]],
        _ => &[],
    };
    // It holds an anchor that is used elsewhere.
    let holds = file == "anchors.yaml" && path == ["terminal"];
    holds || shared.iter().any(|shared| path.starts_with(shared))
}

fn lone_line_feeds(text: &str) -> usize {
    text.matches('\n').count() - text.matches("\r\n").count()
}

#[test]
fn every_value_is_set_and_nothing_else() {
    for (file, text) in files() {
        let before = parsed(&text);
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        paths(&before, &mut Vec::new(), &mut all);
        for path in &all {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            for (value, read) in [
                (json!(4711), Read::Scalar("4711".to_owned(), true)),
                (json!("a: b # c?"), Read::Scalar("a: b # c?".to_owned(), false)),
                (
                    json!(["x", {"y": null}]),
                    Read::Seq(vec![
                        Read::Scalar("x".to_owned(), true),
                        Read::Map([("y".to_owned(), Read::Scalar("null".to_owned(), true))].into()),
                    ]),
                ),
            ] {
                let edited = match set(&text, &path, &Value::from(value)) {
                    Ok(edited) => edited.text,
                    Err(EditError::Entangled { .. }) if is_entangled(&file, &path) => {
                        refused.push(path.join("."));
                        continue;
                    }
                    Err(e) => panic!("{file} {path:?}: {e}"),
                };
                let intended = changed(&before, &path, Some(&read)).unwrap();
                assert!(same(&parsed(&edited), &intended), "{file} {path:?}\n{edited}");
                let (gone, new) = difference(&text, &edited);
                if let Read::Scalar(old, _) = get(&before, &path)
                    && !is_entangled(&file, &path)
                    && !old.contains(['\n', ' ', '#'])
                {
                    assert!(
                        !gone.contains(['\n', '#']) && !new.contains('\n'),
                        "{file} {path:?}: {gone:?} -> {new:?}"
                    );
                }
                assert_eq!(edited.starts_with(BOM), text.starts_with(BOM));
                assert!(lone_line_feeds(new) == 0 || lone_line_feeds(&text) > 0, "{file} {path:?}");
            }
        }
        let shared = all
            .iter()
            .filter(|path| is_entangled(&file, &path.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(refused.len() <= 3 * shared.count(), "{file}: {refused:?}");
    }
}

#[test]
fn a_new_key_goes_into_every_mapping_and_out_again() {
    for (file, text) in files() {
        let before = parsed(&text);
        let mut all = vec![Vec::new()];
        paths(&before, &mut Vec::new(), &mut all);
        for path in &all {
            let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
            let Read::Map(entries) = get(&before, &path) else { continue };
            let (empty, shared) = (entries.is_empty(), is_entangled(&file, &path));
            for more in [&["zz new"][..], &["zz", "deep"]] {
                path.extend(more);
                match set(&text, &path, &Value::from("v")) {
                    Ok(edited) => {
                        let intended = changed(&before, &path, Some(&Read::Scalar("v".to_owned(), true)));
                        assert!(
                            same(&parsed(&edited.text), &intended.unwrap()),
                            "{file} {path:?}\n{}",
                            edited.text
                        );
                        let (gone, new) = difference(&text, &edited.text);
                        assert!(gone.is_empty(), "{file} {path:?}: {gone:?} -> {new:?}");
                        assert!(lone_line_feeds(new) == 0 || lone_line_feeds(&text) > 0, "{file} {path:?}");
                        assert_eq!(text.ends_with('\n'), edited.text.ends_with('\n'), "{file}");
                        if !empty {
                            let back = unset(&edited.text, &path).unwrap().unwrap();
                            // A comma behind the last entry goes along.
                            assert_eq!(
                                back.replace(",}]", "}]"),
                                text.replace(",}]", "}]"),
                                "{file} {path:?}"
                            );
                        }
                    }
                    Err(EditError::Entangled { .. }) if shared => {}
                    Err(e) => panic!("{file} {path:?}: {e}"),
                }
                path.truncate(path.len() - more.len());
            }
        }
    }
}

#[test]
fn every_value_is_removed_and_nothing_else() {
    for (file, text) in files() {
        let before = parsed(&text);
        let mut all = Vec::new();
        paths(&before, &mut Vec::new(), &mut all);
        for path in &all {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let gone = match unset(&text, &path) {
                Ok(gone) => gone.unwrap(),
                Err(EditError::Entangled { .. }) if is_entangled(&file, &path) => continue,
                Err(e) => panic!("{file} {path:?}: {e}"),
            };
            let intended = changed(&before, &path, None).unwrap_or(Read::Map(BTreeMap::new()));
            assert!(same(&parsed(&gone), &intended), "{file} {path:?}\n{gone}");
            let (_, new) = difference(&text, &gone);
            // A key that stands twice goes in two places.
            assert!(
                file == "duplicates.yaml" || new.is_empty() || ["[]", "{}", " []", " {}"].contains(&new),
                "{file} {path:?}: {new:?}\n{gone}"
            );
        }
    }
}
