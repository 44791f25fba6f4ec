//! What a line can be completed with: commands and skills where it begins with a slash, files everywhere else. Pure but for the listing of
//! a directory, which is the caller's.

use hermes_wire::terminal::Offered;

/// Most that is offered.
const MOST: usize = 100;

/// Something that can stand in place of the bytes `from..` of the line up to the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Completion {
    pub(super) from: usize,
    pub(super) value: String,
    pub(super) about: String,
    /// Nothing more belongs to it.
    pub(super) is_whole: bool,
}

/// What a directory has: names, and whether each is a directory itself.
pub(super) type Names = Vec<(String, bool)>;

/// What the line up to the cursor can go on with.
pub(super) fn complete(line: &str, offered: &[Offered], list: impl Fn(&str) -> Names) -> Vec<Completion> {
    let from = line
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let word = &line[from..];
    if from == 0
        && let Some(name) = word.strip_prefix('/').filter(|name| !name.contains('/'))
    {
        let mut all: Vec<Completion> = offered
            .iter()
            .filter(|one| one.name.starts_with(name))
            .map(|one| Completion {
                from,
                value: format!("/{}", one.name),
                about: one.about.clone(),
                is_whole: true,
            })
            .collect();
        all.truncate(MOST);
        if !all.is_empty() {
            return all;
        }
    }
    if word.is_empty() {
        return Vec::new();
    }
    let (directory, start) = word.rfind('/').map_or(("", word), |at| word.split_at(at + 1));
    let mut names = list(directory);
    names.retain(|(name, _)| {
        name.starts_with(start)
            && (start.starts_with('.') || !name.starts_with('.'))
            && !name.contains(|c: char| c.is_control() || c.is_whitespace())
    });
    names.sort();
    names.truncate(MOST);
    let whole = |(name, is_directory): (String, bool)| {
        let end = if is_directory { "/" } else { "" };
        Completion {
            from,
            value: format!("{directory}{name}{end}"),
            about: String::new(),
            is_whole: !is_directory,
        }
    };
    names.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(line: &str) -> Vec<String> {
        let one = |name: &str, is_skill| Offered { name: name.to_owned(), about: "x".to_owned(), is_skill };
        let offered = [one("new", false), one("status", false), one("stop", false), one("review", true)];
        let list = |directory: &str| match directory {
            "" => vec![("notes.md".to_owned(), false), ("src".to_owned(), true), (".env".to_owned(), false)],
            "src/" => vec![("main.rs".to_owned(), false), ("a b".to_owned(), false)],
            _ => Vec::new(),
        };
        complete(line, &offered, list).into_iter().map(|one| format!("{}:{}", one.from, one.value)).collect()
    }

    #[test]
    fn commands_come_first_and_files_where_words_are() {
        assert_eq!(values("/st"), ["0:/status", "0:/stop"]);
        assert_eq!(values("/rev"), ["0:/review"]);
        assert_eq!(values("see no"), ["4:notes.md"]);
        assert_eq!(values("see s"), ["4:src/"]);
        assert_eq!(values("see src/"), ["4:src/main.rs"]);
        assert_eq!(values("."), ["0:.env"]);
        for nothing in ["", "see ", "/usr", "see /st", "zzz"] {
            assert_eq!(values(nothing), [""; 0], "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn what_is_replaced_is_a_word_of_the_line(line in "\\PC{0,30}") {
            for one in complete(&line, &[], |_| vec![("a".to_owned(), false)]) {
                prop_assert!(line.is_char_boundary(one.from));
            }
        }
    }
}
