//! What looks like a slip in a `.env`: said, never corrected. No message quotes a value.

use super::grammar::{Fault, Statement, Value};
use super::{Flaw, is_name};
use crate::platform::Registry;
use crate::{mask, schema};
use hermes_wire::providers::TABLE;
use hermes_wire::text::is_unseen;

/// Ends of names that are worth a look where they stand in a value.
const ENDINGS: [&str; 6] = ["_API_KEY", "_TOKEN", "_SECRET", "_KEY", "_PASSWORD", "_BASE_URL"];

const FORM: &str = "Write NAME=VALUE, one a line.";

/// Every slip.
pub(super) fn find(registry: &'static Registry, statements: &[Statement]) -> Vec<Flaw> {
    statements.iter().flat_map(|statement| of(registry, statement)).collect()
}

fn of(registry: &'static Registry, statement: &Statement) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut add = |code, message, fix| {
        flaws.push(Flaw { fatal: false, code, line: statement.line, name: None, message, fix });
    };
    if let Value::Broken(fault) = &statement.value {
        let message = match fault {
            Fault::Name => "no name stands before `=`; the line was skipped",
            Fault::Equals => "the line is not NAME=VALUE and was skipped",
            Fault::Unclosed => "the value's opening quote has no closing quote; the line was skipped",
            Fault::Behind => {
                "something stands behind the value's closing quote; what begins in this line was skipped, up to that line's end"
            }
        };
        add("env_line", message.to_owned(), FORM);
        return flaws;
    }
    let Some(name) = statement.name.as_deref() else { return flaws };
    if let Some(unseen) = unseen(name) {
        let message = format!(
            "the name before `=` holds a character that cannot be seen ({unseen}), so nobody finds it"
        );
        add("env_unseen", message, "Type the name anew.");
    } else if !is_name(name) {
        let message =
            "the text before `=` is not a usual name of a variable, so nobody looks for it".to_owned();
        add("env_line", message, FORM);
    }
    let Value::Text(value, _) = &statement.value else {
        add("env_line", "the line has no `=` and sets nothing".to_owned(), FORM);
        return flaws;
    };
    let shown = if is_name(name) { name } else { "a variable" };
    if mask::is_secret(name)
        && let Some(unseen) = unseen(value)
    {
        let message = format!("the value of `{shown}` holds a character that cannot be seen ({unseen})");
        add("env_unseen", message, "Copy the value anew, or type what stands around it.");
    }
    if let Some(second) = glued(registry, value) {
        let message = format!("{second} stands within the value of `{shown}`: two lines may have become one");
        add("env_glued", message, "Begin a new line before the second name.");
    }
    flaws
}

/// The first character that nobody sees, as its number. Line ends and tabs are meant.
fn unseen(text: &str) -> Option<String> {
    let found = text.chars().find(|c| is_unseen(*c) && !matches!(c, '\n' | '\t'))?;
    Some(format!("U+{:04X}", u32::from(found)))
}

/// The second assignment of a line that has lost its line end: `xOPENAI_API_KEY=y`. By its name, where it is one that is known.
fn glued(registry: &'static Registry, value: &str) -> Option<String> {
    value.match_indices('=').find_map(|(at, _)| {
        let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let head = value[..at].trim_end_matches(is_of_name);
        let run = &value[head.len()..at];
        // Of an address or a sentence it is a part.
        if head.contains(['?', '&']) || head.contains("://") || head.contains(char::is_whitespace) {
            return None;
        }
        let looks =
            || ENDINGS.iter().any(|end| run.len() > end.len() && run.ends_with(end)) && !head.is_empty();
        match known(registry, run) {
            Some(known) => Some(format!("`{known}=`")),
            None => looks().then(|| "another NAME=".to_owned()),
        }
    })
}

/// The longest known name that a text ends with.
fn known(registry: &'static Registry, run: &str) -> Option<&'static str> {
    let fields = registry.variables().map(|(name, _)| name);
    let providers = TABLE.iter().flat_map(|row| row.keys.iter().copied().chain(row.url_env));
    let names = schema::variables(registry).map(|(name, _)| name).chain(fields).chain(providers);
    names.filter(|name| !name.is_empty() && run.ends_with(name)).max_by_key(|name| name.len())
}
