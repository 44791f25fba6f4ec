//! The modules of one crate, and who of them names whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::names::{self, Names};

/// A module's path below the crate; empty for `lib.rs`.
pub(crate) type Module = Vec<String>;

/// One file names something of another: where it is said and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: Module,
    pub(crate) to: Module,
    /// As written in the file, `::` between the parts.
    pub(crate) said: String,
}

/// A crate's library.
pub(crate) struct Tree {
    files: BTreeMap<Module, Names>,
    /// The documentation at the top of `lib.rs`.
    pub(crate) top: String,
}

impl Tree {
    /// Reads `src/` of the crate in `folder`. A crate without a library has no modules.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut sources = Vec::new();
        collect(&folder.join("src"), &mut Vec::new(), &mut sources);
        Self::of(sources.iter().map(|(module, text)| (module.clone(), text.as_str())))
    }

    /// The same from texts.
    pub(crate) fn of<'a>(sources: impl IntoIterator<Item = (Module, &'a str)>) -> Self {
        let mut top = String::new();
        let mut files: BTreeMap<Module, Names> = BTreeMap::new();
        for (module, text) in sources {
            if module.is_empty() {
                let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
                top = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
            }
            files.insert(module, names::read(text));
        }
        let tests: Vec<Module> = files
            .iter()
            .flat_map(|(module, names)| {
                names.tests.iter().map(|test| [module.as_slice(), std::slice::from_ref(test)].concat())
            })
            .collect();
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { files, top }
    }

    /// The modules directly below the crate.
    pub(crate) fn top_level(&self) -> BTreeSet<&str> {
        self.files.keys().filter_map(|module| module.first()).map(String::as_str).collect()
    }

    /// Everything that files name, of whatever crate.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&Module, &[String])> {
        let of = |(module, names)| (module, names);
        self.files.iter().map(of).flat_map(|(module, names): (&Module, &Names)| {
            names.paths.iter().map(move |path| (module, path.as_slice()))
        })
    }

    /// Every arrow from file to file, once for each thing named.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeSet::new();
        for (module, names) in &self.files {
            for path in &names.paths {
                if let Some(to) = self.resolve(module, module, path, 0)
                    && to != *module
                {
                    arrows.insert(Arrow { from: module.clone(), to, said: path.join("::") });
                }
            }
        }
        arrows.into_iter().collect()
    }

    /// The module that holds what `user` means by `path`, written in `scope`; `None` when it is not of this crate.
    ///
    /// A name that an enclosing module (or `lib.rs`) only re-exports is that of the module it comes from. A re-export of a module
    /// to the side counts as that module's own: who names it there depends on it.
    fn resolve(&self, user: &Module, scope: &Module, path: &[String], depth: usize) -> Option<Module> {
        const DEEPEST: usize = 16;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            _ if depth > DEEPEST => None,
            "crate" => self.walk(user, Vec::new(), rest, depth),
            "self" => self.walk(user, scope.clone(), rest, depth),
            "super" => {
                let climbs = path.iter().take_while(|part| *part == "super").count();
                let parent = &scope[..scope.len().checked_sub(climbs)?];
                self.walk(user, parent.to_vec(), &path[climbs..], depth)
            }
            name if self.has_child(scope, name) => self.walk(user, scope.clone(), path, depth),
            name => {
                let import = self.import(scope, name)?;
                // `use tokio::sync;` binds a name that begins with itself nowhere in this crate.
                if import.first() == Some(first) {
                    return None;
                }
                self.resolve(user, scope, &[import, rest].concat(), depth + 1)
            }
        }
    }

    fn walk(&self, user: &Module, mut at: Module, path: &[String], depth: usize) -> Option<Module> {
        let mut rest = path;
        while let Some((name, after)) = rest.split_first() {
            if self.has_child(&at, name) {
                at.push(name.clone());
                rest = after;
            } else if let Some(import) = self.import(&at, name).filter(|_| user.starts_with(&at)) {
                let target = self.resolve(user, &at, &[import, after].concat(), depth + 1);
                // What an enclosing module imports from another crate is nobody's of ours.
                return target;
            } else {
                break;
            }
        }
        Some(at)
    }

    fn has_child(&self, module: &[String], name: &str) -> bool {
        self.files.contains_key(&[module, &[name.to_owned()]].concat())
    }

    fn import(&self, module: &[String], name: &str) -> Option<&[String]> {
        let names = self.files.get(module)?;
        names.imports.iter().find(|(bound, _)| bound == name).map(|(_, path)| path.as_slice())
    }
}

fn collect(folder: &Path, above: &mut Module, sources: &mut Vec<(Module, String)>) {
    let Ok(entries) = fs_err::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            above.push(name);
            collect(&entry.path(), above, sources);
            above.pop();
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let text = fs_err::read_to_string(entry.path()).unwrap();
            match (above.is_empty(), stem) {
                (true, "lib") => sources.push((Vec::new(), text)),
                // The binary: it names the library as anybody from outside would.
                (true, "main") => {}
                _ => sources.push(([above.as_slice(), &[stem.to_owned()]].concat(), text)),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tree(sources: &[(&str, &str)]) -> Tree {
        let module =
            |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Tree::of(sources.iter().map(|(name, text)| (module(name), *text)))
    }

    fn arrows(sources: &[(&str, &str)]) -> Vec<String> {
        let arrows = tree(sources).arrows();
        arrows.iter().map(|arrow| format!("{} -> {}", arrow.from.join("::"), arrow.to.join("::"))).collect()
    }

    #[test]
    fn a_name_re_exported_by_the_crate_is_of_its_module() {
        let found =
            arrows(&[("", "mod a; mod b; pub use b::T;"), ("a", "use crate::T;"), ("b", "pub struct T;")]);
        assert_eq!(found, [" -> b", "a -> b"]);
    }

    #[test]
    fn a_re_export_to_the_side_is_of_the_side() {
        let found = arrows(&[("", ""), ("a", "use crate::b::T;"), ("b", "pub use crate::c::T;"), ("c", "")]);
        assert_eq!(found, ["a -> b", "b -> c"]);
    }

    #[test]
    fn aliases_and_what_a_parent_imported_are_followed() {
        let found = arrows(&[
            ("", ""),
            ("a", "use crate::b as other; use crate::c::T; fn f() { other::x() }"),
            ("a::in", "fn g(t: super::T) {}"),
            ("b", ""),
            ("c", ""),
        ]);
        assert_eq!(found, ["a -> b", "a -> b", "a -> c", "a::in -> c"]);
    }

    #[test]
    fn other_crates_and_modules_for_tests_are_no_part_of_it() {
        let found = arrows(&[
            ("", "#[cfg(test)] mod t;"),
            ("a", "use std::b::X; use serde_json as b2; fn f() { b2::c() }"),
            ("t", "use crate::a::Y;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
