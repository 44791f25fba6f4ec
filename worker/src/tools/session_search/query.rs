//! What somebody looks for, as the search index understands it: pure, and right for every text.
//!
//! Words and phrases are quoted, so that nothing in them is an operator. `OR`, `NOT` and `AND` in capitals stand between two of them, and
//! mean nothing elsewhere; a word that ends with `*` is a prefix.

/// The expression; `None` where there is nothing to look for.
pub(crate) fn expression(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut operator: Option<&str> = None;
    for part in parts(text) {
        match part {
            Part::Operator(name) => operator = Some(name),
            Part::Words { text, prefix } => {
                if !text.chars().any(char::is_alphanumeric) {
                    continue;
                }
                if !out.is_empty() {
                    out.push(' ');
                    out.push_str(operator.unwrap_or("AND"));
                    out.push(' ');
                }
                operator = None;
                out.push('"');
                out.push_str(&text.replace('"', "\"\"").replace('\0', " "));
                out.push('"');
                if prefix {
                    out.push('*');
                }
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

enum Part<'a> {
    Operator(&'a str),
    Words { text: &'a str, prefix: bool },
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('"') {
            // A phrase that does not end goes on to the end.
            let (phrase, after) = inner.split_once('"').unwrap_or((inner, ""));
            parts.push(Part::Words { text: phrase, prefix: false });
            rest = after.trim_start();
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        parts.push(match word {
            "OR" | "AND" | "NOT" => Part::Operator(word),
            _ => Part::Words { text: word.trim_end_matches('*'), prefix: word.ends_with('*') },
        });
        rest = after.trim_start();
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_becomes_of_it() {
        for (text, wanted) in [
            ("auth refactor", Some(r#""auth" AND "refactor""#)),
            ("a OR b NOT c", Some(r#""a" OR "b" NOT "c""#)),
            ("NOT a AND", Some(r#""a""#)),
            (r#"say "docker net" x"#, Some(r#""say" AND "docker net" AND "x""#)),
            ("deploy* foo-bar:baz", Some(r#""deploy"* AND "foo-bar:baz""#)),
            (r#"open "phrase"#, Some(r#""open" AND "phrase""#)),
            ("( ) ^ *", None),
            ("", None),
        ] {
            assert_eq!(expression(text).as_deref(), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_an_error_of_syntax(text in r#"([a-z"*():^+\- üOR]|AND|NOT|NEAR|\PC){0,40}"#) {
            let db = rusqlite::Connection::open_in_memory().unwrap();
            db.execute_batch("CREATE VIRTUAL TABLE f USING fts5(content); INSERT INTO f VALUES ('a b c')").unwrap();
            if let Some(expression) = expression(&text) {
                let count = db.query_row("SELECT count(*) FROM f WHERE f MATCH ?1", [&expression], |row| row.get::<_, i64>(0));
                prop_assert!(count.is_ok(), "{expression}: {count:?}");
            }
        }
    }
}
