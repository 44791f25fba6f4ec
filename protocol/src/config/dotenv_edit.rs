//! Changes one variable of a `.env` text and leaves every other line as it is: comments, order, `export`, line ends.
//!
//! The new line reads back as exactly the value, here and in 0.19.0; that is checked before the text is handed out.

use super::dotenv;
use super::edit::{BOM, split_bom};
use super::secret::Env;

/// Why a variable was not written. No text carries the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    /// Not a name.
    #[error("Invalid environment variable name '{0}'")]
    Name(String),
    /// A name that would change how programs run instead of configuring this one.
    #[error("'{0}' may not be set in .env")]
    Denied(String),
    /// A zero byte, or a text that cannot be quoted.
    #[error("the value of '{0}' cannot be written to .env")]
    Value(String),
    /// The file is not text.
    #[error("the file is not UTF-8")]
    NotText,
}

/// Names that decide how programs are found, loaded or edited; a `.env` with one of them could run somebody else's code.
const DENIED: [&str; 22] = [
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "ENV",
    "BASH_ENV",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PERL5LIB",
    "RUBYLIB",
    "RUBYOPT",
    "GIT_SSH_COMMAND",
    "GIT_EXEC_PATH",
    "HERMES_HOME",
    "HERMES_PROFILE",
    "HERMES_MANAGED",
];

/// Whether `name` may be written.
pub fn check_name(name: &str) -> Result<(), DotenvError> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(first) || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(DotenvError::Name(name.to_owned()));
    }
    let loader = name.starts_with("LD_") || name.starts_with("DYLD_");
    if loader || DENIED.contains(&name) { Err(DotenvError::Denied(name.to_owned())) } else { Ok(()) }
}

/// Sets `name`; line ends in the value are dropped, as 0.19.0 does. The first line that sets it is rewritten, later ones, which
/// would win over it, are removed.
pub fn set(text: &str, name: &str, value: &str) -> Result<String, DotenvError> {
    check_name(name)?;
    if value.contains('\0') {
        return Err(DotenvError::Value(name.to_owned()));
    }
    let value: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let line = format!("{name}={}", quoted(&value));
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let (bom, body) = split_bom(text);
    let mut out = String::with_capacity(text.len() + line.len() + 2);
    out.push_str(bom);
    let mut done = false;
    for raw in body.split_inclusive('\n') {
        match assignment(raw) {
            Some((found, export)) if found == name => {
                if !done {
                    done = true;
                    out.push_str(if export { "export " } else { "" });
                    out.push_str(&line);
                    out.push_str(&raw[raw.trim_end_matches(['\r', '\n']).len()..]);
                }
            }
            _ => out.push_str(raw),
        }
    }
    if !done {
        if !body.is_empty() && !out.ends_with('\n') {
            out.push_str(newline);
        }
        out.push_str(&line);
        out.push_str(newline);
    }
    let read = dotenv::parse(out.as_bytes());
    if read.env.raw(name) == Some(value.as_str()) {
        Ok(out)
    } else {
        Err(DotenvError::Value(name.to_owned()))
    }
}

/// Removes every line that sets `name`; `None` where there is none.
pub fn unset(text: &str, name: &str) -> Option<String> {
    let mut found = false;
    let (bom, body) = split_bom(text);
    let kept: String = body
        .split_inclusive('\n')
        .filter(|raw| {
            let ours = assignment(raw).is_some_and(|(n, _)| n == name);
            found |= ours;
            !ours
        })
        .collect();
    // A mark in the middle is part of a broken line; at the start it would be none, and that line would count.
    let gap = if bom.is_empty() && kept.starts_with(BOM) { "\n" } else { "" };
    found.then(|| format!("{bom}{gap}{kept}"))
}

/// The variables of a file.
pub fn read(bytes: &[u8]) -> Env {
    dotenv::parse(bytes).env
}

/// The value of `name`, an empty one included.
pub fn get(bytes: &[u8], name: &str) -> Option<String> {
    dotenv::parse(bytes).env.raw(name).map(str::to_owned)
}

/// The names a text sets to something, in file order of their last lines' names.
pub fn names(bytes: &[u8]) -> Vec<String> {
    dotenv::parse(bytes)
        .env
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The variable a line sets, and whether `export` stands before it.
fn assignment(raw: &str) -> Option<(&str, bool)> {
    let line = raw.trim();
    if line.starts_with('#') {
        return None;
    }
    let (line, export) = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => (rest.trim_start(), true),
        _ => (line, false),
    };
    Some((line.split_once('=')?.0.trim_end(), export))
}

fn quoted(value: &str) -> String {
    let plain = !value.contains(|c: char| c.is_whitespace() || matches!(c, '#' | '"' | '\'' | '\\'));
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_around_it_stay() {
        let text = "# keys\nA=1\n\nexport B='old' # note\nC=3\nB=later\n";
        assert_eq!(set(text, "B", "new").unwrap(), "# keys\nA=1\n\nexport B=new\nC=3\n");
        assert_eq!(set("A=1", "B", "x y").unwrap(), "A=1\nB=\"x y\"\n");
        assert_eq!(set("A=1\r\n", "B", "x").unwrap(), "A=1\r\nB=x\r\n");
        assert_eq!(set("", "B", "a\"b\\c").unwrap(), "B=\"a\\\"b\\\\c\"\n");
        assert_eq!(unset(text, "B").unwrap(), "# keys\nA=1\n\nC=3\n");
        assert_eq!(unset(text, "X"), None);
        assert_eq!(set("# A=1\n", "A", "2").unwrap(), "# A=1\nA=2\n");
        assert_eq!(set("\u{feff}", "A", "#").unwrap(), "\u{feff}A=\"#\"\n");
        assert_eq!(set("\u{feff}A=1\n", "A", "2").unwrap(), "\u{feff}A=2\n");
        assert_eq!(unset("\u{feff}A=1\nB=2\n", "A").unwrap(), "\u{feff}B=2\n");
        assert_eq!(unset("A=1\n\u{feff}B=2\n", "A").unwrap(), "\n\u{feff}B=2\n");
    }

    #[test]
    fn names_that_would_do_harm() {
        assert_eq!(check_name("BAD-X_TOKEN"), Err(DotenvError::Name("BAD-X_TOKEN".to_owned())));
        for name in ["PATH", "LD_PRELOAD", "PYTHONPATH", "HERMES_HOME"] {
            assert!(matches!(check_name(name), Err(DotenvError::Denied(_))), "{name}");
        }
        assert_eq!(check_name("OPENAI_API_KEY"), Ok(()));
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(lines in prop::collection::vec("(#.{0,8}|[A-D]=[a-z\"' #]{0,6}|export [A-D]=x|)", 0..6), value in "[^\0]{0,20}") {
            let text = lines.iter().filter(|l| !l.starts_with('Z')).map(|l| format!("{l}\n")).collect::<String>();
            let edited = set(&text, "Z_KEY", &value).unwrap();
            let expected: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            prop_assert_eq!(get(edited.as_bytes(), "Z_KEY"), Some(expected));
            prop_assert!(edited.starts_with(&text));
            prop_assert_eq!(unset(&edited, "Z_KEY").unwrap(), text);
        }
    }
}
