//! The head of a `SKILL.md`: YAML between two `---` lines, read line by line where it is not YAML, as 0.19.0 does.

use hermes_wire::text::is_unseen;

/// Longest name and description that are shown, in characters; 0.19.0's limits.
const NAME: usize = 64;
const DESCRIPTION: usize = 1024;

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrontMatter {
    /// What it is called.
    pub name: Option<String>,
    /// On one line, without control characters.
    pub description: Option<String>,
    /// Why readers cannot use it.
    pub problem: Option<&'static str>,
    /// `platforms`: systems that it is for; none named: all.
    pub platforms: Vec<String>,
    /// Words for it, and others that go with it.
    pub tags: Vec<String>,
    /// `related_skills`
    pub related: Vec<String>,
    /// `required_environment_variables`, or `prerequisites.env_vars`: their names.
    pub variables: Vec<String>,
    /// `requires_tools`: without one of them it is of no use.
    pub requires_tools: Vec<String>,
    /// `requires_toolsets`
    pub requires_toolsets: Vec<String>,
    /// `fallback_for_tools`: where one of them is there it is not needed.
    pub fallback_for_tools: Vec<String>,
    /// `fallback_for_toolsets`
    pub fallback_for_toolsets: Vec<String>,
}

impl FrontMatter {
    /// Whether it is for the system that this program runs on.
    pub fn is_for_this_machine(&self) -> bool {
        let is_this = |name: &String| match name.to_lowercase().trim() {
            "macos" | "darwin" => cfg!(target_os = "macos"),
            "windows" | "win32" => cfg!(target_os = "windows"),
            other => other == std::env::consts::OS,
        };
        self.platforms.is_empty() || self.platforms.iter().any(is_this)
    }
}

/// Reads the beginning of a file. Never fails: a flaw is in `problem`.
pub fn read(bytes: &[u8]) -> FrontMatter {
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
    let bytes = block.as_bytes();
    let words = |key: &str| {
        let all = [&["metadata", "hermes", key][..], &[key]].map(|path| hermes_config::list_at(bytes, path));
        let listed = all.into_iter().find(|list| !list.is_empty()).unwrap_or_default();
        let words = listed.iter().flat_map(|text| text.split(',')).map(|word| word.trim().to_owned());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    let hermes = |key: &str| hermes_config::list_at(bytes, &["metadata", "hermes", key]);
    let mut variables = hermes_config::names_at(bytes, &["required_environment_variables"]);
    variables.extend(hermes_config::list_at(bytes, &["prerequisites", "env_vars"]));
    FrontMatter {
        name,
        description,
        problem,
        platforms: hermes_config::list_at(bytes, &["platforms"]),
        tags: words("tags"),
        related: words("related_skills"),
        variables,
        requires_tools: hermes("requires_tools"),
        requires_toolsets: hermes("requires_toolsets"),
        fallback_for_tools: hermes("fallback_for_tools"),
        fallback_for_toolsets: hermes("fallback_for_toolsets"),
    }
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

    #[test]
    fn what_it_needs_and_is_for() {
        let text = "---\ndescription: d\nplatforms: [macos, linux, windows]\ntags: 'a, b'\n\
            required_environment_variables: [{name: A_KEY}, B_KEY]\nprerequisites: {env_vars: [C]}\n\
            metadata: {hermes: {requires_tools: [terminal], fallback_for_toolsets: [web], related_skills: [x]}}\n---\n";
        let front = read(text.as_bytes());
        assert_eq!(front.tags, ["a", "b"]);
        assert_eq!(front.variables, ["A_KEY", "B_KEY", "C"]);
        assert_eq!(
            (front.requires_tools, front.fallback_for_toolsets),
            (vec!["terminal".to_owned()], vec!["web".to_owned()])
        );
        assert_eq!(front.related, ["x"]);
        let of = |platforms: &[&str]| {
            let platforms = platforms.iter().map(|name| (*name).to_owned()).collect();
            FrontMatter { platforms, ..FrontMatter::default() }.is_for_this_machine()
        };
        assert!(of(&[]) && of(&["macos", "linux", "windows"]) && !of(&["amiga"]));
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
