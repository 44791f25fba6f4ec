//! Changes one variable of a `.env` text and leaves everything else as it is: comments, order, `export`, line ends.
//!
//! A statement is what [`dotenv`] takes for one, over however many lines. The new one reads back as exactly the value, and every other
//! variable says what it said; both are checked before the text is handed out.

use super::dotenv::{self, Statement, Value, statements};
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
    #[error("{0}")]
    NotText(&'static str),
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

/// The text of a file, and what it was where it was not UTF-8. Written back, it is UTF-8.
pub fn text(bytes: &[u8]) -> Result<(String, Option<&'static str>), DotenvError> {
    let (text, encoding) = dotenv::decode(bytes).map_err(DotenvError::NotText)?;
    Ok((text.into_owned(), encoding.name()))
}

/// Sets `name`; line ends in the value are dropped, as 0.19.0 does. The first statement that sets it is rewritten, its comment kept;
/// later ones, which would win over it, are removed.
pub fn set(text: &str, name: &str, value: &str) -> Result<String, DotenvError> {
    check_name(name)?;
    let refused = || DotenvError::Value(name.to_owned());
    if value.contains('\0') {
        return Err(refused());
    }
    let value: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let others = written_but(text, name);
    // In the order of how usual they are; a quote that an earlier line opened and never closed spoils all that hold its like.
    let forms = [quoted(&value), single(&value), bare(&value)];
    let edits = forms.iter().map(|written| place(text, name, written));
    edits
        .chain([above_what_is_open(text, name, &forms[0])])
        .find(|edited| {
            dotenv::parse(edited.as_bytes()).env.raw(name) == Some(value.as_str())
                && written_but(edited, name) == others
        })
        .ok_or_else(refused)
}

/// The text with `name=written` in the place of what sets `name`, or at its end.
fn place(text: &str, name: &str, written: &str) -> String {
    let (bom, body) = split_bom(text);
    let mut out = String::with_capacity(text.len() + name.len() + written.len() + 4);
    out.push_str(bom);
    let (mut done, mut at) = (false, 0);
    for statement in statements(body).iter().filter(|statement| is_about(statement, name, body)) {
        let line = line_start(body, statement.start);
        out.push_str(&body[at..line]);
        at = statement.end;
        if done {
            continue;
        }
        done = true;
        let whole = &body[line..statement.end];
        let before = body[statement.start..statement.name_end].strip_prefix("export");
        let export = before.is_some_and(|rest| rest.starts_with(dotenv::is_space));
        let indent = &body[line..statement.start];
        out.extend([indent, if export { "export " } else { "" }, name, "=", written]);
        // Not behind what was read as nothing: it may be a part of what somebody meant.
        let behind = match &statement.value {
            Value::Text(_, range) => body[range.end..statement.end].trim_end_matches(['\r', '\n']),
            _ => "",
        };
        let comment = behind.trim_start();
        if comment.starts_with('#') {
            // Behind nothing at all, `#` begins no comment for every reader.
            out.push_str(if written.is_empty() { "\"\"" } else { "" });
            let gap = &behind[..behind.len() - comment.len()];
            out.extend([if gap.is_empty() { " " } else { gap }, comment]);
        }
        out.push_str(&whole[whole.trim_end_matches(['\r', '\n']).len()..]);
    }
    out.push_str(&body[at..]);
    if !done {
        let newline = if body.trim_end_matches('\n').ends_with('\r') { "\r\n" } else { "\n" };
        if !body.is_empty() && !out.ends_with(['\n', '\r']) {
            out.push_str(newline);
        }
        out.extend([name, "=", written, newline]);
    }
    out
}

/// The text with `name=written` above the first line with a quote that is not closed, so that it closes there no longer.
fn above_what_is_open(text: &str, name: &str, written: &str) -> String {
    let without = unset(text, name);
    let (bom, body) = split_bom(without.as_deref().unwrap_or(text));
    let all = statements(body);
    // A name may be quoted too.
    let open = all.iter().find(|statement| match statement.value {
        Value::Broken(dotenv::Fault::Unclosed) => true,
        Value::Broken(dotenv::Fault::Name) => body[statement.name_end..].starts_with('\''),
        _ => false,
    });
    let at = open.map_or(body.len(), |statement| line_start(body, statement.start));
    let newline = if body.contains("\r\n") { "\r\n" } else { "\n" };
    format!("{bom}{}{name}={written}{newline}{}", &body[..at], &body[at..])
}

/// Removes every statement that sets `name`, whatever its lines; `None` where there is none.
pub fn unset(text: &str, name: &str) -> Option<String> {
    let (bom, body) = split_bom(text);
    let (mut kept, mut at, mut found) = (String::with_capacity(body.len()), 0, false);
    for statement in statements(body).iter().filter(|statement| is_about(statement, name, body)) {
        kept.push_str(&body[at..line_start(body, statement.start)]);
        (at, found) = (statement.end, true);
    }
    kept.push_str(&body[at..]);
    // A mark in the middle is part of a broken line; at the start it would be none, and that line would count.
    let gap = if bom.is_empty() && kept.starts_with(BOM) { "\n" } else { "" };
    found.then(|| format!("{bom}{gap}{kept}"))
}

/// Whether a statement is to be changed with `name`: it sets it, or means to in one line that is broken.
fn is_about(statement: &Statement, name: &str, text: &str) -> bool {
    let broken = matches!(statement.value, Value::Broken(_));
    let lines = text[statement.start..statement.end].trim_end_matches(['\r', '\n']).contains(['\r', '\n']);
    statement.name.as_deref() == Some(name) && !(broken && lines)
}

/// Every variable but one with the text that stands for it, references not replaced.
fn written_but(text: &str, name: &str) -> Vec<(String, Option<String>)> {
    let mut all = written(text.as_bytes());
    all.retain(|(found, _)| found != name);
    all
}

/// Every variable in the order of the names, with what is written of its value: references stand as they are. `None`: it has no `=`.
pub fn written(bytes: &[u8]) -> Vec<(String, Option<String>)> {
    let Ok((text, _)) = dotenv::decode(bytes) else { return Vec::new() };
    let mut all = std::collections::BTreeMap::new();
    for Statement { name, value, .. } in statements(text.strip_prefix(BOM).unwrap_or(&text)) {
        let Some(name) = name else { continue };
        match value {
            Value::Text(value, _) => all.insert(name, Some(value)),
            Value::Absent => all.insert(name, None),
            Value::Broken(_) => continue,
        };
    }
    all.into_iter().collect()
}

/// The variables of a file by itself.
pub fn read(bytes: &[u8]) -> Env {
    dotenv::parse(bytes).env
}

/// The variables of a file among others, which it may refer to.
pub fn read_in(bytes: &[u8], surroundings: &Env) -> Env {
    dotenv::parse_in(bytes, surroundings).env
}

/// The value of `name`, an empty one included.
pub fn get(bytes: &[u8], name: &str) -> Option<String> {
    dotenv::parse(bytes).env.raw(name).map(str::to_owned)
}

/// The names a text sets to something, sorted.
pub fn names(bytes: &[u8]) -> Vec<String> {
    dotenv::parse(bytes)
        .env
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |n| n + 1)
}

/// As 0.19.0 writes it: bare, or in double quotes.
fn quoted(value: &str) -> String {
    let plain = !value.contains(|c: char| dotenv::is_space(c) || matches!(c, '#' | '"' | '\''));
    if plain { literal(value) } else { in_quotes(value, '"') }
}

fn single(value: &str) -> String {
    in_quotes(value, '\'')
}

fn in_quotes(value: &str, quote: char) -> String {
    let escaped = value.replace('\\', "\\\\").replace(quote, &format!("\\{quote}"));
    // Readers before python-dotenv 1.2.3 take a backslash before the quote for an escaped quote.
    let end = if value.ends_with('\\') { "${:-}" } else { "" };
    format!("{quote}{}{end}{quote}", literal(&escaped))
}

/// Without quotes, what would end or change it spelled as the default of a variable without a name.
fn bare(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    let len = value.chars().count();
    for (n, c) in value.chars().enumerate() {
        let edge = n == 0 || n + 1 == len;
        if (edge && (dotenv::is_space(c) || matches!(c, '"' | '\''))) || c == '#' {
            out.extend(["${:-", c.encode_utf8(&mut [0; 4]), "}"]);
        } else {
            out.push(c);
        }
    }
    if value.contains("${") { String::new() } else { out }
}

/// `${` begins no reference.
fn literal(value: &str) -> String {
    value.replace("${", "${:-$}{")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Wires 11: a value that is emptied twice is written once, whatever stood behind it.
    #[test]
    fn nothing_is_written_alike_each_time() {
        let once = set("\nI=<I\u{1})\u{1c}", "I", "").unwrap();
        assert_eq!((once.as_str(), set(&once, "I", "").as_ref()), ("\nI=", Ok(&once)));
    }

    #[test]
    fn lines_around_it_stay() {
        let text = "# keys\nA=1\n\nexport B='old' # note\nC=3\nB=later\n";
        assert_eq!(set(text, "B", "new").unwrap(), "# keys\nA=1\n\nexport B=new # note\nC=3\n");
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

    /// Wires 11: an edit takes the whole value, whatever its lines, and a removed one leaves no byte.
    #[test]
    fn values_over_several_lines_are_one_value() {
        let text = "A=1\r\nexport KEY=\"-----BEGIN\r\nsecret=1\r\n# no comment\r\n-----END\" # pem\r\nB='two\r\nlines'\r\n";
        let edited = set(text, "KEY", "new").unwrap();
        assert_eq!(edited, "A=1\r\nexport KEY=new # pem\r\nB='two\r\nlines'\r\n");
        assert_eq!(unset(text, "KEY").unwrap(), "A=1\r\nB='two\r\nlines'\r\n");
        assert_eq!(unset(text, "B").unwrap().len(), text.len() - "B='two\r\nlines'\r\n".len());
        assert_eq!(unset(text, "secret"), None);
        assert_eq!(set(text, "C", "3").unwrap(), format!("{text}C=3\r\n"));
    }

    /// Wires 11: what is written is read back whatever is in it, by every version of the old reader.
    #[test]
    fn values_are_written_so_that_they_read_back() {
        for (value, line) in [
            ("a\\", "Z=a\\\n"),
            ("a # \\", "Z=\"a # \\\\${:-}\"\n"),
            ("p${x}y", "Z=p${:-$}{x}y\n"),
            ("it's", "Z=\"it's\"\n"),
            (" edge ", "Z=\" edge \"\n"),
            ("", "Z=\n"),
        ] {
            assert_eq!(set("", "Z", value).as_deref(), Ok(line));
        }
        assert_eq!(set("exported=1\nexport\tB=2\n", "exported", "2").unwrap(), "exported=2\nexport\tB=2\n");
        // An open quote above would be closed by the next one.
        assert_eq!(set("Q=\"open\n", "Z", "a b").unwrap(), "Q=\"open\nZ='a b'\n");
        assert_eq!(set("Q=\"o\nR='p\n", "Z", " a#").unwrap(), "Q=\"o\nR='p\nZ=${:- }a${:-#}\n");
        assert_eq!(set("Q=\"o\nR='p\n", "Z", "\"'").unwrap(), "Z=\"\\\"'\"\nQ=\"o\nR='p\n");
        assert_eq!(set("A=1\n'n\n", "Z", "'").unwrap(), "A=1\nZ=\"'\"\n'n\n");
        assert_eq!(set("#\r'\n", "Z", "'").unwrap(), "#\rZ=\"'\"\n'\n");
        // A broken line that means the variable is corrected; one that swallowed others is not touched.
        assert_eq!(set("Z=\"open\nB=1\n", "Z", "x").unwrap(), "Z=x\nB=1\n");
        assert_eq!(set("Z=\"open\nB=\"1\"\n", "Z", "x").unwrap(), "Z=\"open\nB=\"1\"\nZ=x\n");
        assert_eq!(set("Z= # none\n", "Z", "").unwrap(), "Z=\"\" # none\n");
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(lines in prop::collection::vec("(#.{0,8}|[A-D]=[a-z\"' #]{0,6}|export [A-D]=x|)", 0..6), value in "[^\0]{0,20}") {
            let text = lines.iter().filter(|l| !l.starts_with('Z')).map(|l| format!("{l}\n")).collect::<String>();
            let edited = set(&text, "Z_KEY", &value).unwrap();
            let expected: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
            prop_assert_eq!(get(edited.as_bytes(), "Z_KEY"), Some(expected));
            prop_assert_eq!(written_but(&edited, "Z_KEY"), written_but(&text, "Z_KEY"));
            prop_assert_eq!(unset(&edited, "Z_KEY").unwrap(), text);
        }
    }
}
