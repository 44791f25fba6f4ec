//! Crates that only compute: the same bytes give the same answer, at any time and on any machine.

use crate::graph;
use crate::tree::Module;

/// They say so at the top of their `lib.rs`.
pub(crate) const CRATES: [&str; 2] = ["hermes-wire", "hermes-config"];

/// Ends of paths that read a clock, and beginnings of those that reach out of the process.
const CLOCKS: [&[&str]; 4] =
    [&["Instant", "now"], &["SystemTime", "now"], &["Timestamp", "now"], &["Zoned", "now"]];
const REACHES: [&[&str]; 9] = [
    &["fs_err"],
    &["nix"],
    &["rustix"],
    &["tokio"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
];
/// Types and constants of the reached that only describe.
const HARMLESS: [&[&str]; 3] =
    [&["std", "net", "IpAddr"], &["std", "net", "Ipv4Addr"], &["std", "net", "Ipv6Addr"]];

/// What the crate does that a pure one does not.
pub(crate) fn acts<'a>(name: &str, said: impl Iterator<Item = (&'a Module, &'a [String])>) -> Vec<String> {
    let is = |path: &[String], word: &[&str]| path.iter().map(String::as_str).eq(word.iter().copied());
    let begins =
        |path: &[String], word: &&[&str]| path.get(..word.len()).is_some_and(|start| is(start, word));
    let ends = |path: &[String], word: &&[&str]| {
        path.len().checked_sub(word.len()).is_some_and(|at| is(&path[at..], word))
    };
    let wrong = |path: &[String]| {
        CLOCKS.iter().any(|word| ends(path, word))
            || REACHES.iter().any(|word| begins(path, word))
                && !HARMLESS.iter().any(|word| begins(path, word))
    };
    let found = said.filter(|(_, path)| wrong(path));
    found
        .map(|(module, path)| format!("{name}: {} names `{}`", graph::path(module), path.join("::")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    #[test]
    fn clocks_files_and_the_like_are_found() {
        let found = |text: &str| acts("x", tree(&[("a", text)]).said());
        assert_eq!(found("fn f() { Instant::now(); }"), ["x: a names `Instant::now`"]);
        assert_eq!(
            found("fn f() { std::time::SystemTime::now(); }"),
            ["x: a names `std::time::SystemTime::now`"]
        );
        assert_eq!(found("use std::fs;"), ["x: a names `std::fs`"]);
        assert_eq!(found("fn f() { fs_err::read(x) }"), ["x: a names `fs_err::read`"]);
        assert_eq!(found("use std::net::{IpAddr, TcpStream};"), ["x: a names `std::net::TcpStream`"]);
        assert_eq!(found("use std::time::{Duration, Instant}; fn f(now: Instant) {}"), Vec::<String>::new());
    }
}
