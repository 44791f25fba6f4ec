//! The table as pages: `docs/configuration.md`, and the first `config.yaml` of a home.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::{Group, Key, Kind, Value, groups, kept, newer};
use crate::edit::block;
use crate::platform::Registry;

/// What stands before the tables.
const HEAD: &str = include_str!("docs/head.md");

/// `docs/configuration.md`.
pub fn page(registry: &Registry) -> String {
    let mut out = HEAD.to_owned();
    for group in groups(registry) {
        let _ = write!(out, "\n## {}\n\n", group.title);
        if !group.intro.is_empty() {
            let _ = write!(out, "{}\n\n", group.intro);
        }
        out.push_str(&table(group));
        if !group.outro.is_empty() {
            let _ = write!(out, "\n{}\n", group.outro);
        }
    }
    out.push_str("\n## Kept for 0.19.0\n\n");
    out.push_str(
        "These are known, so that nothing warns of them, and `hermes config set` gives them 0.19.0's types. Nothing here reads \
         them yet. `…` stands for keys that are not looked into.\n\n",
    );
    list(&mut out, &kept(registry).collect::<Vec<_>>());
    out.push_str("\n## Of newer releases\n\n");
    out.push_str(
        "Keys of 0.20 and later, up to version 51 of the configuration. They are known and kept as the ones above; `hermes doctor` names \
         those that a file sets.\n\n",
    );
    list(&mut out, &newer().collect::<Vec<_>>());
    out
}

/// Keys that are only kept, one line a section.
fn list(out: &mut String, kept: &[&Key]) {
    for key in kept.iter().filter(|key| !key.path.contains('.')) {
        out.push_str(&kept_line(key, kept));
    }
    // Below keys that are documented above.
    let mut done: Vec<&str> = kept.iter().map(|key| key.path).filter(|path| !path.contains('.')).collect();
    for key in kept {
        let above = key.path.split('.').next().unwrap_or_default();
        if !done.contains(&above) {
            done.push(above);
            let below: Vec<_> =
                kept.iter().filter(|key| is_below(key, above)).map(|key| code(key, above)).collect();
            let _ = writeln!(out, "- `{above}`: {}", below.join(", "));
        }
    }
}

fn table(group: &Group) -> String {
    let mut out = "| Key | Value | Default | Meaning |\n|---|---|---|---|\n".to_owned();
    for key in group.keys.iter().filter(|key| key.kind != Kind::Section) {
        let mut about = key.about.to_owned();
        if key.primary && group.title != "The gateway" {
            about.push_str(" (default profile only)");
        }
        if !key.env.is_empty() {
            let _ = write!(about, ". `{}` in `.env` beats it", key.env);
        }
        // The same key of a section that is read elsewhere too is said once, above the table.
        let last = key.path.rsplit('.').next();
        let other = |path: &&&str| !(path.contains('*') && path.rsplit('.').next() == last);
        let also: Vec<_> = key.also.iter().filter(other).map(|path| format!("`{}`", named(path))).collect();
        if !also.is_empty() {
            let _ = write!(about, ". Also read at {}", also.join(", "));
        }
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {about} |",
            named(key.path),
            kind(key.kind),
            default(key.default)
        );
    }
    out
}

/// A pattern as documentation writes it.
fn named(path: &str) -> String {
    path.replace('*', "<name>")
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Int(low, high) => format!("{low} – {high}"),
        Kind::Count(high) => format!("up to {high}"),
        Kind::Limit(high) => format!("up to {high}, `none`"),
        Kind::Seconds(_) => "seconds".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Address => "`host:port`".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Section | Kind::Any => "any".to_owned(),
    }
}

fn default(value: Value) -> String {
    value.json().map_or_else(|| "–".to_owned(), |json| format!("`{}`", block(&json).trim_end()))
}

fn is_below(key: &Key, above: &str) -> bool {
    key.path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}

/// A key below `above`, with its default where there is one.
fn code(key: &Key, above: &str) -> String {
    let name = named(key.path.strip_prefix(above).map_or(key.path, |rest| rest.trim_start_matches('.')));
    match key.default.json() {
        Some(json) => format!("`{name}` ({})", block(&json).trim_end()),
        None => format!("`{name}`"),
    }
}

fn kept_line(key: &Key, kept: &[&Key]) -> String {
    let mut below: Vec<_> =
        kept.iter().filter(|other| is_below(other, key.path)).map(|other| code(other, key.path)).collect();
    if key.kind == Kind::Any {
        below.push("…".to_owned());
    }
    let own = code(key, "");
    if below.is_empty() { format!("- {own}\n") } else { format!("- {own}: {}\n", below.join(", ")) }
}

/// A `config.yaml` that says nothing yet: every key that is read and has a default, as a comment.
pub fn template(registry: &Registry, primary: bool) -> String {
    let mut out = String::from(
        "# Settings of this profile. A key that is not here has its default, which is shown below as a comment.\n\
         # Secrets belong into .env beside this file. `hermes config check` says what is wrong.\n\
         # Completion in editors: `hermes config schema > config.schema.json`, and then as the first line:\n\
         # yaml-language-server: $schema=config.schema.json\n",
    );
    for group in groups(registry) {
        let shown =
            |key: &&Key| !key.path.contains('*') && key.default != Value::None && (primary || !key.primary);
        let keys: Vec<_> = group.keys.iter().filter(shown).collect();
        if keys.is_empty() {
            continue;
        }
        let _ = write!(out, "\n# --- {} ---\n", group.title);
        let mut above: Vec<&str> = Vec::new();
        for key in keys {
            let path: Vec<_> = key.path.split('.').collect();
            let (last, parents) = path.split_last().unwrap_or((&"", &[]));
            let same = above.iter().zip(parents).take_while(|(a, b)| a == b).count();
            for (depth, parent) in parents.iter().enumerate().skip(same) {
                let _ = writeln!(out, "# {}{parent}:", "  ".repeat(depth));
            }
            above = parents.to_vec();
            let value = key.default.json().unwrap_or(Json::Null);
            let indent = "  ".repeat(parents.len());
            let _ = writeln!(out, "# {indent}{last}: {}  # {}", block(&value).trim_end(), key.about);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn every_key_is_documented_once() {
        let page = page(&crate::REGISTRY);
        for key in groups(&crate::REGISTRY)
            .iter()
            .flat_map(|group| group.keys)
            .filter(|key| key.kind != Kind::Section)
        {
            let row = format!("| `{}` |", named(key.path));
            assert_eq!(page.matches(&row).count(), 1, "{row}");
        }
        for key in kept(&crate::REGISTRY) {
            let last = named(key.path.rsplit('.').next().unwrap());
            assert!(key.path.contains('*') || page.contains(&last), "{}", key.path);
        }
    }

    /// The template says nothing; without its marks it says exactly the defaults.
    #[test]
    fn the_template_is_valid_yaml_with_and_without_its_marks() {
        for primary in [true, false] {
            let text = template(&crate::REGISTRY, primary);
            assert_eq!(Document::parse(text.as_bytes()).unwrap().leaves(), Vec::new());
            let (_, body) = text.split_once("# --- ").unwrap();
            let body: String = body
                .lines()
                .filter(|line| !line.contains("--- ") && !line.ends_with(" ---"))
                .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
                .collect();
            let document = Document::parse(body.as_bytes()).unwrap();
            assert!(document.leaves().len() > 10, "{body}");
            for path in document.leaves() {
                let key = super::super::find(&crate::REGISTRY, path.texts()).unwrap().unwrap();
                let value = document.get(&crate::REGISTRY, &path, &crate::Env::default()).unwrap();
                assert_eq!(key.default.json(), Some(value), "{path}");
            }
        }
    }
}
