//! Circles: between siblings, and only there.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Arrow, Module};

/// Modules of which each reaches each other.
#[derive(Debug)]
pub(crate) struct Circle {
    /// Paths of the siblings, in order.
    pub(crate) modules: Vec<String>,
    /// What ties them, for people.
    pub(crate) arrows: Vec<String>,
}

impl Circle {
    /// The modules, for people.
    pub(crate) fn title(&self) -> String {
        self.modules.join(", ")
    }
}

/// Every circle among siblings, and every use of what `lib.rs` itself defines.
pub(crate) fn circles(arrows: &[Arrow]) -> Vec<Circle> {
    let mut folders: BTreeMap<Module, BTreeMap<(String, String), Vec<&Arrow>>> = BTreeMap::new();
    let mut circles = Vec::new();
    for arrow in arrows {
        if arrow.to.is_empty() {
            circles.push(Circle {
                modules: vec![path(&arrow.from), "lib.rs".to_owned()],
                arrows: vec![format!("    {} names `{}` of lib.rs", path(&arrow.from), arrow.said)],
            });
        } else if let Some((folder, ends)) = siblings(arrow) {
            folders.entry(folder).or_default().entry(ends).or_default().push(arrow);
        }
    }
    for edges in folders.values() {
        for members in tied(edges.keys()) {
            let between =
                edges.iter().filter(|((from, to), _)| members.contains(from) && members.contains(to));
            let arrows = between.flat_map(|(_, said)| lines(said)).collect();
            circles.push(Circle { modules: members.into_iter().collect(), arrows });
        }
    }
    circles
}

/// Where two ends part: the folder in which they stand side by side, and the two siblings. `None` between parent and child.
fn siblings(arrow: &Arrow) -> Option<(Module, (String, String))> {
    let common = arrow.from.iter().zip(&arrow.to).take_while(|(a, b)| a == b).count();
    if common == arrow.from.len() || common == arrow.to.len() {
        return None;
    }
    Some((arrow.from[..common].to_vec(), (path(&arrow.from[..=common]), path(&arrow.to[..=common]))))
}

/// The sets of two or more names that reach each other.
fn tied<'a>(edges: impl Iterator<Item = &'a (String, String)>) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
        next.entry(to).or_default();
    }
    let reach = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start.to_owned()];
        while let Some(at) = open.pop() {
            for to in &next[at.as_str()] {
                if seen.insert((*to).to_owned()) {
                    open.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|name| (*name, reach(name))).collect();
    let mut sets: Vec<BTreeSet<String>> = Vec::new();
    for (name, seen) in &reached {
        if !seen.contains(*name) || sets.iter().any(|set| set.contains(*name)) {
            continue;
        }
        sets.push(seen.iter().filter(|other| reached[other.as_str()].contains(*name)).cloned().collect());
    }
    sets
}

/// A line for each pair of files, however much the one takes of the other.
fn lines(arrows: &[&Arrow]) -> Vec<String> {
    let mut ends: BTreeMap<(&Module, &Module), BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        ends.entry((&arrow.from, &arrow.to)).or_default().insert(&arrow.said);
    }
    let list = |said: BTreeSet<&str>| {
        said.into_iter().map(|said| format!("`{said}`")).collect::<Vec<_>>().join(", ")
    };
    ends.into_iter()
        .map(|((from, to), said)| format!("    {} names {} of {}", path(from), list(said), path(to)))
        .collect()
}

/// A module for people.
pub(crate) fn path(module: &[String]) -> String {
    if module.is_empty() { "lib.rs".to_owned() } else { module.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;

    fn titles(sources: &[(&str, &str)]) -> Vec<String> {
        circles(&tree(sources).arrows()).iter().map(Circle::title).collect()
    }

    #[test]
    fn a_circle_is_found_with_what_ties_it() {
        let sources = [
            ("", ""),
            ("a", "use crate::b::X;"),
            ("b", "fn f() { crate::c::g() }"),
            ("c", "use super::a;"),
            ("d", "use crate::a;"),
        ];
        assert_eq!(titles(&sources), ["a, b, c"]);
        let circle = circles(&tree(&sources).arrows()).remove(0);
        assert_eq!(
            circle.arrows,
            [
                "    a names `crate::b::X` of b",
                "    b names `crate::c::g` of c",
                "    c names `super::a` of a"
            ]
        );
    }

    #[test]
    fn a_circle_through_folders_counts_between_the_folders() {
        assert_eq!(
            titles(&[
                ("", ""),
                ("a", ""),
                ("a::x", "use crate::b::y::Z;"),
                ("b", ""),
                ("b::y", "use crate::a::W;")
            ]),
            ["a, b"]
        );
    }

    #[test]
    fn siblings_in_a_folder_are_compared() {
        assert_eq!(
            titles(&[("a", ""), ("a::x", "use super::y::Z;"), ("a::y", "use crate::a::x::W;")]),
            ["a::x, a::y"]
        );
    }

    #[test]
    fn parent_and_child_may_use_each_other() {
        assert_eq!(titles(&[("a", "use x::Z;"), ("a::x", "use super::W;")]), Vec::<String>::new());
    }

    #[test]
    fn what_lib_defines_is_used_by_no_module() {
        assert_eq!(titles(&[("", "mod a; pub fn f() {}"), ("a", "use crate::f;")]), ["a, lib.rs"]);
    }

    #[test]
    fn two_circles_are_two() {
        let sources = [
            ("a", "use crate::b;"),
            ("b", "use crate::a;"),
            ("c", "use crate::d; use crate::a;"),
            ("d", "use crate::c;"),
            ("", ""),
        ];
        assert_eq!(titles(&sources), ["a, b", "c, d"]);
    }
}
