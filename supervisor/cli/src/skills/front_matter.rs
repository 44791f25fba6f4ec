//! The head of a `SKILL.md`: YAML between two `---` lines, read line by line where it is not YAML, as 0.19.0 does.

use hermes_wire::text::is_unseen;

/// Longest name and description that are shown, in characters; 0.19.0's limits.
const NAME: usize = 64;
const DESCRIPTION: usize = 1024;

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FrontMatter {
    pub(crate) name: Option<String>,
    /// On one line, without control characters.
    pub(crate) description: Option<String>,
    /// Why readers cannot use it.
    pub(crate) problem: Option<&'static str>,
}

/// Reads the beginning of a file. Never fails: a flaw is in `problem`.
pub(crate) fn read(bytes: &[u8]) -> FrontMatter {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let block = match block(text) {
        Ok(block) => block,
        Err(problem) => return FrontMatter { problem: Some(problem), ..FrontMatter::default() },
    };
    let field = |key: &str, most: usize| {
        let value = hermes_config::text_at(block.as_bytes(), &[key]).or_else(|| by_line(&block, key))?;
        let clean: String = value.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect();
        let words: Vec<&str> = clean.split_whitespace().collect();
        Some(words.join(" ").chars().take(most).collect::<String>()).filter(|text| !text.is_empty())
    };
    let (name, description) = (field("name", NAME), field("description", DESCRIPTION));
    let problem = description.is_none().then_some("its front matter has no `description`");
    FrontMatter { name, description, problem }
}

/// What is between the two lines.
fn block(text: &str) -> Result<String, &'static str> {
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Err("it does not begin with a line `---`");
    }
    let mut block = String::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(block);
        }
        block.push_str(line);
        block.push('\n');
    }
    Err("its front matter is not closed by a line `---`")
}

fn by_line(block: &str, key: &str) -> Option<String> {
    let value = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(text: &str) -> (Option<String>, Option<String>, bool) {
        let front = read(text.as_bytes());
        (front.name, front.description, front.problem.is_some())
    }

    #[test]
    fn what_authors_write() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(seen("---\nname: a\ndescription: \"b: c\"\n---\n# T\n"), (some("a"), some("b: c"), false));
        assert_eq!(
            seen("\u{feff}---\r\nname: a\r\ndescription: b\r\n---\r\n"),
            (some("a"), some("b"), false)
        );
        assert_eq!(seen("---\nname: a\ndescription: >\n  b\n  c\n---\n"), (some("a"), some("b c"), false));
        assert_eq!(
            seen("---\nname: a\ndescription: not: yaml\n---\n"),
            (some("a"), some("not: yaml"), false)
        );
        assert_eq!(seen("---\ndescription: x\u{1b}[31m\n---\n"), (None, some("x [31m"), false));
        for broken in ["", "# T\n", "---\nname: a\ndescription: b\n", "---\nname: a\n---\n"] {
            assert!(seen(broken).2, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_short_clean_text(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut file = b"---\nname: ".to_vec();
            file.extend(&bytes);
            for bytes in [&bytes, &file] {
                let front = read(bytes);
                for text in [front.name, front.description].into_iter().flatten() {
                    prop_assert!(!text.chars().any(char::is_control) && text.chars().count() <= DESCRIPTION);
                }
            }
        }
    }
}
