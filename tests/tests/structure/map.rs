//! Paths in a page for people who work on this program.

/// Folders in which everything is.
const TOP: [&str; 6] = ["protocol/", "supervisor/", "worker/", "tests/", "docs/", "deploy/"];

/// The paths in back-ticks that lead nowhere. `proxy/conn.rs` is short for one that was named in full before it.
pub(crate) fn gone(text: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut gone = Vec::new();
    for path in text.split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
        let full = if TOP.iter().any(|top| path.starts_with(top)) {
            Some(path.to_owned())
        } else {
            let first = path.split('/').next().unwrap_or_default();
            let folder = |known: &String| Some(known[..known.find(&format!("/{first}/"))?].to_owned());
            seen.iter().rev().find_map(folder).map(|folder| format!("{folder}/{path}"))
        };
        match full {
            Some(full) if is_there(&full) => seen.push(full),
            _ => gone.push(path.to_owned()),
        }
    }
    gone
}

/// Rows of the table that begins with "To find".
pub(crate) fn rows(text: &str) -> usize {
    let table = text.lines().skip_while(|line| !line.starts_with("| To find")).skip(2);
    table.take_while(|line| line.starts_with('|')).count()
}

/// Names of tests that the page about what is promised gives in its last table, each by itself: words in back-ticks with a line below.
pub(crate) fn tests(text: &str) -> Vec<&str> {
    let table = text.rsplit("\n## ").next().unwrap_or_default();
    let cells = table.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next());
    let is_name = |word: &&str| {
        word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(is_name).collect()
}

/// A relative path of two or more parts: no address, no absolute path, no words.
fn is_path(word: &str) -> bool {
    word.contains('/')
        && !word.starts_with(['/', '~'])
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        let text = "see `worker/src/a.rs`, then `src/b.rs` and `src/c.rs`; `POST /p/x`, `~/.x/y` and `name` are no paths";
        assert_eq!(gone(text, |path| path != "worker/src/c.rs"), ["src/c.rs"]);
        assert_eq!(gone("`elsewhere/x.rs`", |_| true), ["elsewhere/x.rs"]);
    }

    #[test]
    fn names_of_tests_are_those_in_the_last_column_of_the_last_table() {
        let text = "# A\n\n| a | `no_test` |\n\n## B\n\n| N. | what |\n|---|---|\n| 1 | `not_here` | `a_test`, `b_2`; `FOO_BAR`, `x` |\n";
        assert_eq!(tests(text), ["a_test", "b_2"]);
    }

    #[test]
    fn rows_are_counted() {
        assert_eq!(rows("| To find | Look in |\n|---|---|\n| a | `b` |\n| c | `d` |\n\n| e |"), 2);
    }
}
