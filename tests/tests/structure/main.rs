//! How the source is built, read from the source itself: which crate may depend on which, and which module may name which.
//!
//! Four rules:
//!
//! 1. A crate depends on the crates of `dependencies::ALLOWED` and on no other of ours.
//! 2. Modules form no circle. Siblings are compared: the top-level modules of a crate, and the modules of each folder. A folder
//!    `foo/` and its `foo.rs` are one module to the outside; between the two, a child may use what its parent holds and the parent
//!    its children. `lib.rs` stands above all: it declares and re-exports, and no module uses what it would define itself.
//! 3. The top-level modules keep the order that stands under "Layers" in the crate's `lib.rs`: a module names only modules of
//!    lines below its own.
//! 4. A crate that calls itself pure reads no clock, file, variable or socket, and starts nothing.
//!
//! And `docs/architecture.md` leads to files that are there, `docs/acceptance.md` to tests.
//!
//! Tests inside a crate may name anything. `cargo-modules` draws such graphs, but it carries the analyser of an editor, wants a
//! particular compiler, and knows neither rule 3 nor the exception for parents; reading paths token by token needs neither.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod dependencies;
mod graph;
mod layers;
mod map;
mod names;
mod pure;
mod tree;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Every crate and its modules.
fn trees() -> impl Iterator<Item = (String, tree::Tree)> {
    dependencies::members(&repository()).into_iter().map(|(name, folder)| (name, tree::Tree::read(&folder)))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn crates_depend_on_what_they_may() {
    let found = dependencies::check(&repository());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn modules_form_no_circle() {
    let mut wrong = String::new();
    for (name, tree) in trees() {
        for circle in graph::circles(&tree.arrows()) {
            writeln!(wrong, "{name}: a circle of {}\n{}", circle.title(), circle.arrows.join("\n")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn modules_keep_the_order_that_their_crate_states() {
    let mut wrong = String::new();
    for (name, tree) in trees() {
        for problem in layers::check(&tree) {
            writeln!(wrong, "{name}: {problem}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_map_leads_somewhere() {
    let text = fs_err::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let gone = map::gone(&text, |path| repository().join(path).exists());
    assert!(gone.is_empty(), "docs/architecture.md names what is not there: {gone:?}");
    assert!(map::rows(&text) >= 30, "the table has {} rows", map::rows(&text));
}

/// What is promised number by number is proved by tests that exist.
#[test]
fn the_tests_that_prove_are_there() {
    let text = fs_err::read_to_string(repository().join("docs/acceptance.md")).unwrap();
    let mut known = std::collections::HashSet::new();
    let mut folders: Vec<PathBuf> =
        ["protocol", "supervisor", "worker", "tests"].map(|folder| repository().join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let source = fs_err::read_to_string(path).unwrap();
                let names = source.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
                known.extend(names.map(|(name, _)| name.to_owned()));
            }
        }
    }
    let named = map::tests(&text);
    assert!(named.len() >= 100, "the table names {} tests", named.len());
    let gone: Vec<&str> = named.into_iter().filter(|name| !known.contains(*name)).collect();
    assert!(gone.is_empty(), "docs/acceptance.md names tests that are not there: {gone:?}");
}

#[test]
fn pure_crates_ask_nobody() {
    let pure = trees().filter(|(name, _)| pure::CRATES.contains(&name.as_str()));
    let found: Vec<String> = pure.flat_map(|(name, tree)| pure::acts(&name, tree.said())).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
