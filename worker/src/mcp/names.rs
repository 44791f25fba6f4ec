//! What the tools of servers are called: `mcp__<server>__<tool>`, whatever either calls itself. Pure.
//!
//! A name has letters, digits and `_`, and 64 at most: that is what providers take. What is not so is made so, and where two come out
//! alike or too long, the one that was changed says by eight digits which it is. So the same configuration and the same list make
//! the same names, in whatever order they come.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest name of a tool, in bytes: what the providers take.
pub(super) const LONGEST: usize = 64;
/// How every one begins.
const BEGINNING: &str = "mcp__";
/// Between a server's name and its tool's.
const BETWEEN: &str = "__";
/// Digits that tell two apart.
const DIGITS: usize = 8;

/// A name with nothing in it but letters, digits and `_`.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Digits that belong to a text.
fn digits(text: &str) -> String {
    let mut out = String::with_capacity(DIGITS);
    for byte in Sha256::digest(text.as_bytes()).iter().take(DIGITS / 2) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// How the names of each server's tools begin, in the same order.
pub(super) fn prefixes<'a>(servers: impl Iterator<Item = &'a str>) -> Vec<String> {
    let servers: Vec<&str> = servers.collect();
    let names = apart(&servers, usize::MAX, plain);
    names.into_iter().map(|name| format!("{BEGINNING}{name}{BETWEEN}")).collect()
}

/// The name of each tool of a server, in the same order.
pub(super) fn tools(prefix: &str, tools: &[&str]) -> Vec<String> {
    apart(tools, LONGEST, |tool| format!("{prefix}{}", plain(tool)))
}

/// One name for each, no two alike.
fn apart(all: &[&str], longest: usize, name: impl Fn(&str) -> String) -> Vec<String> {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for original in all {
        *alike.entry(name(original)).or_default() += 1;
    }
    let is_exact = |original: &str, named: &str| named.ends_with(original);
    let named = all.iter().map(|original| {
        let named = name(original);
        let is_alone = alike.get(&named) == Some(&1) || is_exact(original, &named);
        if is_alone && named.len() <= longest {
            return named;
        }
        let room = longest.saturating_sub(DIGITS + 1).min(named.len());
        format!("{}_{}", &named[..room], digits(&format!("{named} {original}")))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_that_is_none_of_a_name_becomes_an_underscore() {
        let prefixes = prefixes(["my-server", "a/b"].into_iter());
        assert_eq!(prefixes, ["mcp__my_server__", "mcp__a_b__"]);
        assert_eq!(
            tools(&prefixes[0], &["get.time", "größe"]),
            ["mcp__my_server__get_time", "mcp__my_server__gr__e"]
        );
    }

    #[test]
    fn names_that_come_out_alike_are_told_apart_in_any_order() {
        let there = tools("mcp__s__", &["a.b", "a_b", "a-b"]);
        assert_eq!(there[1], "mcp__s__a_b", "the one that is called so keeps its name");
        assert!(there[0].starts_with("mcp__s__a_b_") && there[0] != there[2], "{there:?}");
        let back = tools("mcp__s__", &["a-b", "a_b", "a.b"]);
        assert_eq!(back, there.iter().rev().cloned().collect::<Vec<_>>());
        assert_eq!(prefixes(["a.b", "a_b"].into_iter())[1], "mcp__a_b__");
    }

    #[test]
    fn names_are_not_too_long() {
        let (one, two) = ("x".repeat(80), format!("{}y", "x".repeat(80)));
        let names = tools("mcp__s__", &[&one, &two]);
        assert!(names.iter().all(|name| name.len() == LONGEST) && names[0] != names[1], "{names:?}");
        let long = prefixes([&*"s".repeat(64)].into_iter());
        let names = tools(&long[0], &["a", "b"]);
        assert!(names.iter().all(|name| name.len() == LONGEST) && names[0] != names[1], "{names:?}");
    }
}
