//! Edits by example, by property and by hostile text: the intended value, every other byte as it was.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn set_json(text: &str, path: &str, value: serde_json::Value) -> Result<String, EditError> {
    let path: Vec<&str> = path.split('.').collect();
    set(text, &path, &Value::from(value)).map(|edited| edited.text)
}

fn set_text(text: &str, path: &str, value: &str) -> String {
    set_json(text, path, json!(value)).unwrap()
}

fn removed(text: &str, path: &str) -> String {
    let path: Vec<&str> = path.split('.').collect();
    unset(text, &path).unwrap().unwrap()
}

#[test]
fn values_change_in_place_and_comments_stay() {
    let text = "# top\nmodel:  # which\n  default: a/b   # the one\n  base_url: \"http://x\"\n\n# end\n";
    assert_eq!(
        set_text(text, "model.default", "c/d"),
        "# top\nmodel:  # which\n  default: c/d   # the one\n  base_url: \"http://x\"\n\n# end\n"
    );
    assert_eq!(
        set_text(text, "model.base_url", "http://y"),
        "# top\nmodel:  # which\n  default: a/b   # the one\n  base_url: \"http://y\"\n\n# end\n"
    );
    assert_eq!(
        set_text(text, "model.provider", "x"),
        "# top\nmodel:  # which\n  default: a/b   # the one\n  base_url: \"http://x\"\n  provider: x\n\n# end\n"
    );
    assert_eq!(
        set_json(text, "agent.max_turns", json!(5)).unwrap(),
        "# top\nmodel:  # which\n  default: a/b   # the one\n  base_url: \"http://x\"\nagent:\n  max_turns: 5\n\n# end\n"
    );
}

#[test]
fn every_way_to_write_a_value() {
    for (before, path, value, after) in [
        ("", "a.b", json!(1), "a:\n  b: 1\n"),
        ("# only\n", "a", json!("x"), "# only\na: x\n"),
        ("---\n# c\n", "a", json!("x"), "---\n# c\na: x\n"),
        ("a: 1", "b", json!(2), "a: 1\nb: 2"),
        ("a:\n", "a", json!("x"), "a: x\n"),
        ("a:  # none\nb: 1\n", "a.c", json!(true), "a:  # none\n  c: true\nb: 1\n"),
        ("a: ~\n", "a.c", json!(true), "a:\n  c: true\n"),
        ("a: x # was\nb: 1\n", "a.c", json!(2), "a: # was\n  c: 2\nb: 1\n"),
        ("{a: 1}\n", "b", json!("x, y"), "{a: 1, b: 'x, y'}\n"),
        ("a: {}\n", "a.b", json!(1), "a: {b: 1}\n"),
        ("a: {x: 1, }\n", "a.b.c", json!(1), "a: {x: 1, b: {c: 1} }\n"),
        ("a: {x: 1}\n", "a.x.z", json!(1), "a: {x: {z: 1}}\n"),
        ("a: [1, 2]\n", "a.1", json!(3), "a: [1, 3]\n"),
        ("a:\n- 1\n- 2\nb: 1\n", "a.0", json!("q"), "a:\n- q\n- 2\nb: 1\n"),
        ("a:\n- 1\n- 2\nb: 1\n", "a", json!("q"), "a: q\nb: 1\n"),
        ("a:\n  - x: 1\n    y: 2\n", "a.0.z", json!(3), "a:\n  - x: 1\n    y: 2\n    z: 3\n"),
        ("a: |\n  one\n  two\nb: 1\n", "a", json!("x"), "a: x\nb: 1\n"),
        ("a: >-\n  one\n\n  two\n\nb: 1\n", "c", json!("x"), "a: >-\n  one\n\n  two\n\nb: 1\nc: x\n"),
        ("b: 1\na: |\n  one\n", "c", json!("x"), "b: 1\na: |\n  one\nc: x\n"),
        ("a: 'x'\n", "a", json!("it's"), "a: 'it''s'\n"),
        ("a: \"x\"\n", "a", json!("l\nm"), "a: \"l\\nm\"\n"),
        ("a: 1\r\nb:\r\n  c: 2\r\n", "b.d", json!(3), "a: 1\r\nb:\r\n  c: 2\r\n  d: 3\r\n"),
        ("\u{feff}a: 1\n", "a", json!(2), "\u{feff}a: 2\n"),
        ("ü: ö # ä\nb: 1\n", "b", json!("é"), "ü: ö # ä\nb: 'é'\n"),
        ("\"a b\": 1\n", "a b", json!(2), "\"a b\": 2\n"),
        ("a: 1\na: 2\n", "a", json!(3), "a: 1\na: 3\n"),
        ("a: off\n", "a", json!("off"), "a: 'off'\n"),
        ("a: one\n  two\nb: 1\n", "a", json!("x"), "a: x\nb: 1\n"),
        ("x: &k {a: 1}\ny: *k\n", "y", json!(1), "x: &k {a: 1}\ny: 1\n"),
        (
            "d: &d\n  a: 1\nm:\n  <<: *d\n  b: 2\n",
            "m.a",
            json!(9),
            "d: &d\n  a: 1\nm:\n  <<: *d\n  b: 2\n  a: 9\n",
        ),
        ("a:\n    b: 1\n", "a.c.d", json!([1, "x"]), "a:\n    b: 1\n    c:\n      d: [1, x]\n"),
        ("a: 1\n...\n", "b", json!(2), "a: 1\nb: 2\n...\n"),
        ("a:\n  o: {x: 1, }\n  y: one\n   two\n", "a.o", json!(7), "a:\n  o: 7\n  y: one\n   two\n"),
        ("a: {x: , y: 1}\n", "a.x", json!(2), "a: {x: 2 , y: 1}\n"),
        ("a: {x: 1, y}\nb: 1\n", "b", json!(2), "a: {x: 1, y}\nb: 2\n"),
        ("a:\n- []\n- {}\n", "a.1.k", json!(7), "a:\n- []\n- {k: 7}\n"),
        ("a:\n- # none\n- 1\n", "a.0", json!(7), "a:\n- 7 # none\n- 1\n"),
        ("a: \"x # y\" # why\n", "a", json!("z"), "a: \"z\" # why\n"),
        ("a: >+\n  t\n\nb: 1\n", "a", json!(1), "a: 1\nb: 1\n"),
        ("b:\n  a: >+\n    t\n\n", "b.c", json!(1), "b:\n  a: >+\n    t\n\n  c: 1\n"),
    ] {
        assert_eq!(set_json(before, path, value).as_deref(), Ok(after), "{before:?} {path}");
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    for (text, path) in [
        ("x: &k {a: 1}\ny: *k\n", "x.a"),
        ("x: &k {a: 1}\ny: *k\n", "y.a"),
        ("d: &d {s: {a: 1}}\nm:\n  <<: *d\n", "m.s.b"),
    ] {
        assert!(
            matches!(set_json(text, path, json!(2)), Err(EditError::Entangled { .. })),
            "{text:?} {path}"
        );
    }
    assert!(matches!(set_json("a: [1]\n", "a.1", json!(2)), Err(EditError::NoSuchItem { .. })));
    assert!(matches!(set_json("a: [1]\n", "a.x", json!(2)), Err(EditError::NoSuchItem { .. })));
    let anchored = unset("a: &x 1\nb: *x\n", &["a"]);
    assert!(matches!(anchored, Err(EditError::Entangled { .. })), "{anchored:?}");
    let broken = set_json("a: 1\nb: [\n", "a", json!(2)).unwrap_err();
    assert!(matches!(broken, EditError::Syntax { line: 2.., .. }), "{broken:?}");
}

#[test]
fn removal_takes_the_lines_and_empty_parents() {
    for (before, path, after) in [
        ("a: 1\nb: 2 # two\nc: 3\n", "b", "a: 1\nc: 3\n"),
        ("a:\n  b:\n    c: 1\nd: 2\n", "a.b.c", "d: 2\n"),
        ("a:\n  b:\n    c: 1\n  e: 1\nd: 2\n", "a.b.c", "a:\n  e: 1\nd: 2\n"),
        ("# keep\na: |\n  x\n  y\nb: 1\n", "a", "# keep\nb: 1\n"),
        ("a: {x: 1, y: 2}\n", "a.x", "a: {y: 2}\n"),
        ("a: {x: 1, y: 2}\n", "a.y", "a: {x: 1}\n"),
        ("a: {x: 1}\nb: 1\n", "a.x", "b: 1\n"),
        ("a:\n- x: 1\n  y: 2\n", "a.0.x", "a:\n- y: 2\n"),
        ("a:\n- 1\n- 2\n- 3\n", "a.1", "a:\n- 1\n- 3\n"),
        ("a: [1, 2, 3]\n", "a.2", "a: [1, 2]\n"),
        ("a: 1\nb: 2", "b", "a: 1"),
        ("a: 1\na: 2\nb: 1\n", "a", "b: 1\n"),
        ("a: 1\n", "a", ""),
        ("a:\nb: 1\n", "a", "b: 1\n"),
        ("a: {x: 1, }\nb: 1\n", "a.x", "b: 1\n"),
        ("a:\n- 1\nb: 1\n", "a.0", "a: []\nb: 1\n"),
        ("a:\n-\n  # a-b\n  x: 1\nb: 1\n", "a.0.x", "a:\n-\n  # a-b\n  {}\nb: 1\n"),
        ("a:\n-\n  # a-b\n  x: 1\n- 2\n", "a.0", "a:\n- 2\n"),
    ] {
        assert_eq!(removed(before, path), after, "{before:?} {path}");
    }
    assert_eq!(unset("a: 1\n", &["b"]), Ok(None));
    assert_eq!(unset("a: 1\n", &["a", "b"]), Ok(None));
    assert_eq!(unset("", &["a"]), Ok(None));
}

#[test]
fn a_scalar_in_the_way_is_said() {
    let edited = set("model: x\n", &["model", "default"], &Value::from("z")).unwrap();
    assert_eq!((edited.text.as_str(), edited.replaced.as_deref()), ("model:\n  default: z\n", Some("model")));
    assert_eq!(set("model:\n", &["model", "default"], &Value::from("y")).unwrap().replaced, None);
}

/// Wires 10: a question mark at the end of a line is no explicit key, wherever it stands, and explicit keys, anchors, merge keys and
/// tags cost no edit of anything else.
#[test]
fn what_looks_like_an_indicator_is_none() {
    for (before, path, value, after) in [
        ("# why?\na: 1\n", "a", json!(2), "# why?\na: 2\n"),
        ("u: http://x/?\na: 1\n", "a", json!(2), "u: http://x/?\na: 2\n"),
        ("p: |\n  who?\na: 1\n", "b", json!(2), "p: |\n  who?\na: 1\nb: 2\n"),
        ("p:\n  q: who?\n  # ?\n  r: 1\n", "p.r", json!(2), "p:\n  q: who?\n  # ?\n  r: 2\n"),
        ("? x\n: 1\na: 1\n", "a", json!(2), "? x\n: 1\na: 2\n"),
        ("? x\n# c?\n: 1\na: 1\n", "x", json!(2), "? x\n# c?\n: 2\na: 1\n"),
        (
            "d: &d {x: 1, y: 2}\nm:\n  <<: *d\n  b: 1\n",
            "m.k",
            json!(2),
            "d: &d {x: 1, y: 2}\nm:\n  <<: *d\n  b: 1\n  k: 2\n",
        ),
        ("d: &d {x: 1, y: 2}\nm:\n  <<: *d\n", "m.x", json!(3), "d: &d {x: 1, y: 2}\nm:\n  <<: *d\n  x: 3\n"),
        ("a: &x-1 1\nl:\n- &y-1 2\n", "l.0", json!(3), "a: &x-1 1\nl:\n- &y-1 3\n"),
        ("a: !!str 5\n", "a", json!(7), "a: 7\n"),
        ("a: &n\nb: 1\n", "a", json!(7), "a: &n 7\nb: 1\n"),
        ("a: &n | # > ?\n  t\nb: 1\n", "a", json!(7), "a: &n 7\nb: 1\n"),
        ("a: # why\n  b: 1\nc: 1\n", "a", json!(7), "a: 7 # why\nc: 1\n"),
        ("n: &n a\n*n : 1\n", "a", json!(2), "n: &n a\n*n : 2\n"),
        ("a: [b: c, d]\ne: 1\n", "e", json!(2), "a: [b: c, d]\ne: 2\n"),
        ("---\n...\n", "a", json!(2), "---\na: 2\n...\n"),
        ("a: 1\r\nb:\n  c: 1\n", "b.d", json!(2), "a: 1\r\nb:\n  c: 1\n  d: 2\n"),
    ] {
        assert_eq!(set_json(before, path, value).as_deref(), Ok(after), "{before:?} {path}");
    }
    for (before, path, after) in [
        ("# why?\na: 1\nb: 2\n", "a", "# why?\nb: 2\n"),
        ("? x\n: 1\na: 1\n", "x", "a: 1\n"),
        ("a: 1\n&k b: 2\n", "b", "a: 1\n"),
        ("l:\n- &y-1 2\n- 3\n", "l.0", "l:\n- 3\n"),
        ("l:\n- a: 1\n  # of b\n  b: 2\n", "l.0.a", "l:\n-\n  # of b\n  b: 2\n"),
    ] {
        assert_eq!(removed(before, path), after, "{before:?} {path}");
    }
}

/// Documents as people write them: nested mappings with comments, several styles of values.
fn document() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("1"),
        Just("true"),
        Just("plain text"),
        Just("'single # q'"),
        Just("\"double \\\" q\""),
        Just("~"),
        Just(""),
        Just("[1, two]"),
        Just("{x: 1, y: {z: 2}}"),
        Just("|\n      block # text\n\n      more"),
        Just(">-\n      folded\n      text")
    ];
    let comment = prop_oneof![Just(""), Just("  # why"), Just("\t# tab")];
    let line = (0..3usize, "[a-e]", scalar, comment);
    (proptest::collection::vec(line, 0..8), any::<bool>(), any::<bool>()).prop_map(|(lines, crlf, last)| {
        let mut text = String::from("# head\n");
        let mut depth = 0;
        for (n, (level, key, value, comment)) in lines.into_iter().enumerate() {
            let level = level.min(depth);
            let indent = "  ".repeat(level);
            if value.is_empty() && level < 2 {
                writeln!(text, "{indent}{key}{n}:{comment}").unwrap();
                depth = level + 1;
                writeln!(text, "{indent}  inner: {n}").unwrap();
            } else {
                let block = value.starts_with(['|', '>']);
                let space = if value.is_empty() { "" } else { " " };
                let comment = if block { "" } else { comment };
                writeln!(text, "{indent}{key}{n}:{space}{value}{comment}").unwrap();
                depth = level;
            }
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if last {
            text = text.trim_end().to_owned();
        }
        text
    })
}

fn paths(tree: &Tree, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    if let Tree::Map(entries) = tree {
        for (key, value) in entries {
            at.push(key.clone());
            all.push(at.clone());
            paths(value, at, all);
            at.pop();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever is set reads back, and every line that does not belong to the value is there byte for byte, in order.
    #[test]
    fn set_then_read(text in document(), pick in any::<prop::sample::Index>(), fresh in any::<bool>(), value in "\\PC{0,12}") {
        let Ok(Some(tree)) = read(&text) else { return Ok(()) };
        let mut all = Vec::new();
        paths(&tree, &mut Vec::new(), &mut all);
        if all.is_empty() { return Ok(()) }
        let mut path = pick.get(&all).clone();
        if fresh { path.push("new".to_owned()); path.push("deep".to_owned()); }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let new = Value::from(value.as_str());
        let edited = match set(&text, &path, &new) {
            Ok(edited) => edited.text,
            // Below a list only its items can be named.
            Err(EditError::NoSuchItem { .. }) if fresh => return Ok(()),
            Err(e) => panic!("{e}: {text:?}"),
        };
        let intended = tree::with(Some(tree), &path, &new);
        prop_assert_eq!(read(&edited).unwrap(), intended);
        // Lines of the new text that are not in the old one: the edited line and at most the ones added below it.
        let old: Vec<&str> = text.lines().collect();
        let changed = edited.lines().filter(|line| !old.contains(line)).count();
        prop_assert!(changed <= 3, "{}\n->\n{}", text, edited);
        for comment in old.iter().filter(|l| l.trim_start().starts_with('#')) {
            prop_assert!(edited.contains(comment));
        }
    }

    /// What was added can be taken away again, and then the text is what it was.
    #[test]
    fn set_then_unset_is_nothing(text in document(), value in "\\PC{1,12}") {
        let Ok(before) = read(&text) else { return Ok(()) };
        if !matches!(before, Some(Tree::Map(_))) { return Ok(()) }
        let with = set(&text, &["brand", "new"], &Value::from(value.as_str())).unwrap().text;
        let without = unset(&with, &["brand", "new"]).unwrap().unwrap();
        prop_assert_eq!(without.trim_end(), text.trim_end());
    }

    /// No input makes it panic, and whatever it accepts it can read.
    #[test]
    fn hostile_text(text in "[a-c:{}\\[\\],&*!|> \\-\n#'\"?]{0,40}", key in "[a-c]", value in "\\PC{0,4}") {
        if let Ok(edited) = set(&text, &[&key], &Value::from(value.as_str())) {
            prop_assert!(read(&edited.text).is_ok());
        }
        let _ = unset(&text, &[&key]);
    }
}
