//! The message that the invocation of a skill becomes: the skill's text, and behind it what was asked.

use super::scan::PARTS;
use super::view::{bounded, files, slug};
use super::{Library, Skill};

/// Longest description in a menu, in characters.
const ABOUT: usize = 100;

impl Library {
    /// What a message of a chat becomes: `/name words` of a skill's name is its invocation, anything else stays. Blocks.
    pub(crate) fn expanded(&self, text: &str, platform: &str) -> Option<String> {
        let (command, rest) = command(text)?;
        let all = self.usable(platform);
        let skill = all.iter().find(|skill| slug(&skill.name) == command)?;
        self.invocation(skill, rest)
    }

    /// The names by which whoever comes by `platform` invokes skills. Blocks.
    pub(crate) fn commands(&self, platform: &str) -> Vec<String> {
        let mut all: Vec<String> = self.usable(platform).iter().map(|skill| slug(&skill.name)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same with what each is for, in one line. Blocks.
    pub(crate) fn menu(&self, platform: &str) -> Vec<(String, String)> {
        let line = |text: &str| -> String {
            let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            plain.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(ABOUT).collect()
        };
        let about = |skill: &Skill| {
            let about = line(skill.front.description.as_deref().unwrap_or_default());
            if about.is_empty() { skill.name.clone() } else { about }
        };
        let mut all: Vec<_> =
            self.usable(platform).iter().map(|skill| (slug(&skill.name), about(skill))).collect();
        all.sort_unstable();
        all.dedup_by(|a, b| a.0 == b.0);
        all
    }

    /// The invocation of the first of these skills that there is, with `text` as what is asked; of the others it is said that they are not
    /// there. Blocks.
    pub(crate) fn first_of(&self, names: &[String], text: &str, platform: &str) -> Option<String> {
        let all = self.usable(platform);
        for name in names {
            let wanted = slug(name);
            let invoked = all
                .iter()
                .find(|skill| slug(&skill.name) == wanted)
                .and_then(|skill| self.invocation(skill, text));
            if invoked.is_some() {
                return invoked;
            }
            tracing::warn!(skill = name, platform, "a skill that is asked for is not there, or turned off");
        }
        None
    }

    /// The instructions of these skills, for a system prompt; else the names of those that are not there. Blocks.
    pub(crate) fn preloaded(&self, names: &[String], platform: &str) -> Result<String, Vec<String>> {
        let all = self.usable(platform);
        let (mut texts, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            let wanted = slug(name);
            let found = all.iter().find(|skill| slug(&skill.name) == wanted);
            match found.and_then(|skill| Some((skill, self.text(skill, None)?))) {
                Some((skill, text)) => texts.push(format!(
                    "[The user has preloaded the skill \"{}\": follow its instructions in this conversation unless the user says otherwise. \
                     Its directory is {}.]\n\n{}",
                    skill.name,
                    skill.dir,
                    bounded(text).trim()
                )),
                None => missing.push(name.clone()),
            }
        }
        if missing.is_empty() { Ok(texts.join("\n\n")) } else { Err(missing) }
    }

    fn invocation(&self, skill: &Skill, asked: &str) -> Option<String> {
        let mut parts = vec![
            format!(
                "[IMPORTANT: The user has invoked the \"{}\" skill, indicating they want you to follow its instructions. The full skill \
                 content is loaded below.]",
                skill.name
            ),
            String::new(),
            bounded(self.text(skill, None)?).trim().to_owned(),
            String::new(),
            format!("[Skill directory: {}]", skill.dir),
            "Relative paths in this skill are below that directory.".to_owned(),
        ];
        let files: Vec<String> = PARTS.iter().flat_map(|part| files(skill, part)).collect();
        if !files.is_empty() {
            parts.extend([String::new(), "[This skill has supporting files:]".to_owned()]);
            parts.extend(files.iter().map(|file| format!("- {file}")));
            let name = if skill.is_own { skill.place.as_str() } else { &skill.name };
            parts.push(format!("Load any of these with skill_view(name=\"{name}\", file_path=\"<path>\")."));
        }
        if !asked.trim().is_empty() {
            let asked = asked.trim();
            parts.extend([
                String::new(),
                format!(
                    "The user has provided the following instruction alongside the skill invocation: {asked}"
                ),
            ]);
        }
        Some(parts.join("\n"))
    }
}

/// The command that a message begins with, and what follows it.
fn command(text: &str) -> Option<(String, &str)> {
    let rest = text.trim_start().strip_prefix('/')?;
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let command = slug(name);
    // `/a/b` is a path and no command.
    (!command.is_empty() && !name.contains('/')).then_some((command, rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_command() {
        let read = |text| command(text).map(|(name, rest)| (name, rest.to_owned()));
        let some = |name: &str, rest: &str| Some((name.to_owned(), rest.to_owned()));
        assert_eq!(read("/My_Skill do  it "), some("my-skill", "do  it"));
        assert_eq!(read("/a\nb"), some("a", "b"));
        for text in ["a /b", "/", "/ a", "/usr/bin is full", "//", "x"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(slug("Git  Helper++"), "git-helper");
    }
}
