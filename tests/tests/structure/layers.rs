//! The order that a crate states for its top-level modules.
//!
//! It stands in the documentation of `lib.rs`, under a heading `# Layers`, in the first fenced block: a line a layer, the names
//! of its modules with commas between, and after two spaces what a reader should know. A module may name modules of lower lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::path;
use crate::tree::Tree;

/// Every module out of order, missing, or stated and not there.
pub(crate) fn check(tree: &Tree) -> Vec<String> {
    let Some(lines) = stated(&tree.top) else {
        let none = || {
            format!(
                "lib.rs states no layers; these would do:
{}",
                possible(tree)
            )
        };
        return if tree.top_level().is_empty() { Vec::new() } else { vec![none()] };
    };
    let mut problems = Vec::new();
    let mut level: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        for name in line {
            if level.insert(name, at).is_some() {
                problems.push(format!("`{name}` stands twice under Layers"));
            }
        }
    }
    let there = tree.top_level();
    problems.extend(
        there
            .iter()
            .filter(|name| !level.contains_key(*name))
            .map(|name| format!("`{name}` is missing under Layers")),
    );
    problems.extend(
        level
            .keys()
            .filter(|name| !there.contains(*name))
            .map(|name| format!("`{name}` under Layers is no module")),
    );
    for arrow in tree.arrows() {
        let (Some(from), Some(to)) = (arrow.from.first(), arrow.to.first()) else { continue };
        if from != to
            && level.get(from.as_str()).zip(level.get(to.as_str())).is_some_and(|(from, to)| from >= to)
        {
            problems.push(format!(
                "{} names `{}` of {}, which is not below it",
                path(&arrow.from),
                arrow.said,
                path(&arrow.to)
            ));
        }
    }
    problems
}

/// An order that the modules keep as they are, the lowest possible for each. Modules of a circle end where they met.
fn possible(tree: &Tree) -> String {
    let arrows = tree.arrows();
    let edges: BTreeSet<(&str, &str)> = arrows
        .iter()
        .filter_map(|arrow| Some((arrow.from.first()?.as_str(), arrow.to.first()?.as_str())))
        .filter(|(from, to)| from != to)
        .collect();
    let mut level: BTreeMap<&str, usize> = tree.top_level().into_iter().map(|name| (name, 0)).collect();
    for _ in 0..level.len() {
        for (from, to) in &edges {
            let above = level[to] + 1;
            level.entry(from).and_modify(|at| *at = above.max(*at));
        }
    }
    let highest = level.values().copied().max().unwrap_or_default();
    let line = |at| {
        level.iter().filter(|(_, level)| **level == at).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    (0..=highest)
        .rev()
        .map(line)
        .filter(|line| !line.is_empty())
        .map(|line| format!("//! {line}\n"))
        .collect()
}

fn stated(top: &str) -> Option<Vec<Vec<&str>>> {
    let mut lines =
        top.lines().skip_while(|line| *line != "# Layers").skip_while(|line| !line.starts_with("```"));
    lines.next()?;
    let block = lines.take_while(|line| !line.starts_with("```"));
    Some(block.map(|line| names(line.trim_start())).filter(|names| !names.is_empty()).collect())
}

fn names(line: &str) -> Vec<&str> {
    let names = line.split_once("  ").map_or(line, |(names, _)| names);
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    const TOP: &str = "//! A crate.\n//!\n//! # Layers\n//!\n//! ```text\n//! top  which acts\n//! left, right\n//! base\n//! ```\n";

    #[test]
    fn downwards_is_allowed_and_nothing_else() {
        let with = |left: &str, base: &str| {
            check(&tree(&[
                ("", TOP),
                ("top", "use crate::left;"),
                ("left", left),
                ("right", ""),
                ("base", base),
            ]))
        };
        assert_eq!(with("use crate::base::x;", ""), Vec::<String>::new());
        assert_eq!(
            with("use crate::right;", ""),
            ["left names `crate::right` of right, which is not below it"]
        );
        assert_eq!(
            with("", "use crate::top::x;"),
            ["base names `crate::top::x` of top, which is not below it"]
        );
    }

    #[test]
    fn the_list_is_whole() {
        let problems = check(&tree(&[("", TOP), ("top", ""), ("left", ""), ("base", ""), ("new", "")]));
        assert_eq!(problems, ["`new` is missing under Layers", "`right` under Layers is no module"]);
        let none = check(&tree(&[("", "//! Nothing."), ("a", "use crate::b;"), ("b", ""), ("c", "")]));
        assert_eq!(none, ["lib.rs states no layers; these would do:\n//! a\n//! b, c\n"]);
        assert_eq!(
            check(&tree(&[("", "//! # Layers\n//! ```text\n//! a, a\n//! ```"), ("a", "")])),
            ["`a` stands twice under Layers"]
        );
    }
}
