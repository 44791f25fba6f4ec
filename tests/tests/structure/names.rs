//! What one source file names: its imports and every path in it, token by token. Code for tests only is left out.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A path as it is written, `crate`, `super` and `self` included; as if nothing in the file were nested.
pub(crate) type Path = Vec<String>;

/// What a file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Name in this file and what it stands for; those of `pub use` too.
    pub(crate) imports: Vec<(String, Path)>,
    /// Every path of two or more parts, those of `use` included.
    pub(crate) paths: Vec<Path>,
    /// Modules that are declared for tests only.
    pub(crate) tests: Vec<String>,
}

/// Reads a whole file.
///
/// # Panics
/// When the text is not Rust; the compiler would have said so before.
pub(crate) fn read(source: &str) -> Names {
    let tokens: TokenStream = source.parse().expect("a source file of this workspace is Rust");
    let mut names = Names::default();
    scan(tokens, 0, &mut names);
    names
}

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

/// `nested`: in how many inline modules of the file these tokens stand.
fn scan(tokens: TokenStream, nested: usize, names: &mut Names) {
    let mut tokens = tokens.into_iter().peekable();
    let mut for_tests = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' => for_tests |= is_for_tests(&mut tokens),
            TokenTree::Group(group) => scan(group.stream(), nested, names),
            TokenTree::Ident(word) if word == "pub" => {
                // `pub(in crate::x)` uses nothing of `x`.
                let is_place = |group: &Group| {
                    let said = group.stream().to_string();
                    matches!(said.as_str(), "crate" | "super" | "self") || said.starts_with("in ")
                };
                tokens.next_if(|next| matches!(next, TokenTree::Group(group) if is_place(group)));
            }
            TokenTree::Ident(word) if for_tests => {
                let name = item_for_tests(&word.to_string(), &mut tokens);
                names.tests.extend(name);
                for_tests = false;
            }
            // `use<'a>` of a return type imports nothing.
            TokenTree::Ident(word)
                if word == "use" && tokens.peek().is_some_and(|next| is_mark(next, '<')) => {}
            TokenTree::Ident(word) if word == "use" => {
                let leading = skip_colons(&mut tokens);
                let mut tree = Vec::new();
                while let Some(next) = tokens.next_if(|next| !is_mark(next, ';')) {
                    tree.push(next);
                }
                // `::name` is another crate's.
                if !leading {
                    import(tree, &Vec::new(), nested, names);
                }
            }
            TokenTree::Ident(word) if word == "mod" => {
                let name = tokens.next();
                if let (Some(TokenTree::Ident(_)), Some(TokenTree::Group(body))) =
                    (name, tokens.peek().cloned())
                {
                    tokens.next();
                    scan(body.stream(), nested + 1, names);
                }
            }
            TokenTree::Ident(word) => {
                let mut path = vec![word.to_string()];
                while let Some(next) = next_part(&mut tokens) {
                    path.push(next);
                }
                if path.len() > 1 {
                    names.paths.push(outermost(path, nested));
                }
            }
            // A path that begins with `::` is another crate's, the tail of `<T as Trait>::name` nobody's.
            TokenTree::Punct(mark) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint => {
                tokens.next();
                while tokens.next_if(|next| matches!(next, TokenTree::Ident(_))).is_some() {
                    if !skip_colons(&mut tokens) {
                        break;
                    }
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// After a `#`: reads the attribute and says whether it keeps what follows for tests. An attribute of the file is none of ours.
fn is_for_tests(tokens: &mut Tokens) -> bool {
    let Some(TokenTree::Group(group)) = tokens.next_if(|next| matches!(next, TokenTree::Group(_))) else {
        return false;
    };
    let text = group.stream().to_string().replace(' ', "");
    text == "cfg(test)"
        || (text.starts_with("cfg(all(") && text[8..].split([',', ')']).any(|part| part == "test"))
}

/// Skips one item and, when it is a module, says its name.
fn item_for_tests(first: &str, tokens: &mut Tokens) -> Option<String> {
    let mut name = None;
    if first == "mod"
        && let Some(TokenTree::Ident(word)) = tokens.peek()
    {
        name = Some(word.to_string());
    }
    for token in tokens.by_ref() {
        match &token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            token if is_mark(token, ';') => break,
            _ => {}
        }
    }
    name
}

/// One level of a `use`: `prefix` stands before it.
fn import(tree: Vec<TokenTree>, prefix: &Path, nested: usize, names: &mut Names) {
    let mut path = prefix.clone();
    let mut tokens = tree.into_iter().collect::<TokenStream>().into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                if let Some(TokenTree::Ident(alias)) = tokens.next() {
                    bind(alias.to_string(), path.clone(), nested, names);
                }
                return;
            }
            TokenTree::Ident(word) if word == "self" && path.len() == prefix.len() && !prefix.is_empty() => {}
            TokenTree::Ident(word) => path.push(word.to_string()),
            TokenTree::Group(group) => {
                let mut branch = Vec::new();
                for token in group.stream() {
                    if is_mark(&token, ',') {
                        import(std::mem::take(&mut branch), &path, nested, names);
                    } else {
                        branch.push(token);
                    }
                }
                if !branch.is_empty() {
                    import(branch, &path, nested, names);
                }
                return;
            }
            TokenTree::Punct(mark) if mark.as_char() == '*' => {
                names.paths.push(outermost(path, nested));
                return;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    if let Some(last) = path.last().cloned() {
        bind(last, path, nested, names);
    }
}

fn bind(name: String, path: Path, nested: usize, names: &mut Names) {
    let path = outermost(path, nested);
    names.paths.push(path.clone());
    if nested == 0 {
        names.imports.push((name, path));
    }
}

/// The path as it would be written outside of the file's inline modules.
fn outermost(path: Path, nested: usize) -> Path {
    let climbs = path.iter().take_while(|part| *part == "super").count();
    if nested == 0 || climbs == 0 {
        return path;
    }
    let mut outer = match climbs.checked_sub(nested) {
        Some(left) if left > 0 => vec!["super".to_owned(); left],
        _ => vec!["self".to_owned()],
    };
    outer.extend(path.into_iter().skip(climbs));
    outer
}

/// After a part of a path: the next one, when `::name` follows. What stands before a `::<` ends there.
fn next_part(tokens: &mut Tokens) -> Option<String> {
    let mut ahead = tokens.clone();
    if !skip_colons(&mut ahead) {
        return None;
    }
    let Some(TokenTree::Ident(word)) = ahead.next() else { return None };
    *tokens = ahead;
    Some(word.to_string())
}

/// Takes a `::`, and says whether there was one.
fn skip_colons(tokens: &mut Tokens) -> bool {
    let joint = |next: &TokenTree| matches!(next, TokenTree::Punct(mark) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint);
    tokens.next_if(joint).is_some() && tokens.next().is_some()
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> Vec<String> {
        read(source).paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn imports_are_spread_out() {
        let names = read("pub use crate::a::{self, b::{C, D as E}, f::*}; use super::g;");
        let imports: Vec<_> =
            names.imports.iter().map(|(name, path)| format!("{name}={}", path.join("::"))).collect();
        assert_eq!(imports, ["a=crate::a", "C=crate::a::b::C", "E=crate::a::b::D", "g=super::g"]);
        assert!(names.paths.contains(&vec!["crate".to_owned(), "a".to_owned(), "f".to_owned()]));
    }

    #[test]
    fn paths_in_bodies_macros_and_types_are_seen_and_text_is_not() {
        let source = r#"
            /// See [`crate::doc::Link`].
            fn f(x: Vec<crate::a::T>) -> Result<(), super::b::E> {
                // crate::comment::X
                println!("crate::text::X {}", crate::c::d::<u8>(x));
                <T as crate::e::Trait>::call();
            }
        "#;
        assert_eq!(written(source), ["crate::a::T", "super::b::E", "crate::c::d", "crate::e::Trait"]);
    }

    #[test]
    fn what_is_for_tests_is_left_out() {
        let names = read(
            "#[cfg(test)] mod tests; #[cfg(test)] #[path = \"x.rs\"] pub(crate) mod more; #[cfg(test)] use crate::a::B;
             #[cfg(all(test, unix))] fn g() { crate::c::d() } #[cfg(unix)] fn h() { crate::e::f() }",
        );
        assert_eq!(names.tests, ["tests", "more"]);
        assert_eq!(names.paths, [["crate", "e", "f"]]);
        let names =
            read("fn f() -> impl Iterator<Item = u8> + use<> { crate::a::b() } #[cfg(test)] mod tests;");
        assert_eq!(
            (names.tests, names.paths),
            (
                vec!["tests".to_owned()],
                vec![vec!["crate", "a", "b"].into_iter().map(str::to_owned).collect()]
            )
        );
    }

    #[test]
    fn super_in_an_inline_module_is_the_file() {
        assert_eq!(
            written("mod inner { use super::x::Y; use super::super::z::W; }"),
            ["self::x::Y", "super::z::W"]
        );
    }

    #[test]
    fn where_something_is_visible_is_no_use() {
        assert_eq!(
            written("pub(in crate::a::b) struct T(pub(super) u8, pub (crate::c::D));"),
            ["crate::c::D"]
        );
    }

    #[test]
    fn another_crate_with_the_name_of_a_module_is_no_arrow() {
        assert_eq!(written("use ::http::Uri; fn f(u: ::url::Url) {}"), Vec::<String>::new());
    }
}
