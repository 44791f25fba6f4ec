//! Personalities: texts under names, of which one may be told to the model behind its system prompt in every chat of a profile.
//!
//! Which one is in force stands in `config.yaml`, in one of two shapes. 0.19.0 keeps the text itself, in `agent.system_prompt`; newer
//! programs keep the name, in `display.personality`, and leave `agent.system_prompt` to whoever writes the file. What is told is no part
//! of a session's prompt and is never stored.

/// Words that mean: none of them.
const NEUTRAL: [&str; 4] = ["", "none", "default", "neutral"];
/// Longest part of a text that is shown in a list, in characters.
const SHOWN: usize = 50;

/// Those that are there without anybody writing them, under the names that newer programs have.
const BUILT_IN: [(&str, &str); 14] = [
    ("helpful", "Be friendly and helpful: kind in tone, and of use before anything else."),
    ("concise", "Be concise: as few words as the matter allows, and nothing that was not asked for."),
    (
        "technical",
        "Speak as an engineer to engineers: exact, with versions, commands, limits and costs. Do not make simple what is not.",
    ),
    ("creative", "Be inventive: offer more than the obvious answer, and say which idea you would try first."),
    (
        "teacher",
        "Be a patient teacher: one step after another, an example for each, and a question at the end.",
    ),
    (
        "kawaii",
        "Be cute and full of joy: warm words, stars, notes and kaomoji like (◕‿◕). Facts and commands stay as they are.",
    ),
    (
        "catgirl",
        "Be a playful cat girl: say nya, use cat kaomoji like (=^･ω･^=). Facts and commands stay as they are.",
    ),
    (
        "pirate",
        "Talk like a pirate at sea, arr: every problem is a treasure to be dug up. Facts and commands stay as they are.",
    ),
    (
        "shakespeare",
        "Speak as somebody in a play of Shakespeare's would, with his words and his flourish. Facts and commands stay as they are.",
    ),
    ("surfer", "Talk like a relaxed surfer: easy, sunny, dude. Facts and commands stay as they are."),
    (
        "noir",
        "Tell it like a detective in a black-and-white film: rain, short sentences, dry wit. Facts and commands stay as they are.",
    ),
    (
        "uwu",
        "Wite wike this, uwu: soft, pwayful, with OwO here and there. Facts and commands stay as they are.",
    ),
    ("philosopher", "Be a thinker: answer, and then ask what lies behind the question."),
    ("hype", "BE THRILLED: big words, capitals, all in. Facts and commands stay as they are."),
];

/// A personality that stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personality {
    /// In lower case.
    pub name: String,
    /// What it is, for people; none: its text says it.
    pub about: Option<String>,
    /// What the model is told.
    pub text: String,
}

/// The personalities of a profile, and what is told to its model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Personalities {
    /// `agent.personalities`, and `personalities` where it names others.
    pub own: Vec<Personality>,
    /// `agent.system_prompt`
    pub text: Option<String>,
    /// `display.personality`, where a program newer than 0.19.0 wrote the file.
    pub name: Option<String>,
    /// Such a program did: the choice is kept by its name.
    pub by_name: bool,
    /// `HERMES_EPHEMERAL_SYSTEM_PROMPT`, which stands above all.
    pub fixed: Option<String>,
}

/// Which personality somebody means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant<'a> {
    /// None.
    Nothing,
    /// This one: name and text.
    This(&'a str, &'a str),
    /// One that is not there.
    Unknown,
}

impl Personalities {
    /// All that can be chosen, in the order of their names: name, and what it is.
    pub fn all(&self) -> Vec<(&str, String)> {
        let own = self.own.iter().map(|one| (one.name.as_str(), one.about.as_deref().unwrap_or(&one.text)));
        let is_own = |name: &str| self.own.iter().any(|one| one.name == name);
        let built_in = BUILT_IN.into_iter().filter(|(name, _)| !is_own(name));
        let mut all: Vec<_> = own.chain(built_in).map(|(name, about)| (name, shortened(about))).collect();
        all.sort_unstable();
        all
    }

    /// Which one a word means.
    pub fn meant(&self, word: &str) -> Meant<'_> {
        let word = word.trim().to_lowercase();
        if NEUTRAL.contains(&word.as_str()) {
            return Meant::Nothing;
        }
        let own =
            self.own.iter().find(|one| one.name == word).map(|one| (one.name.as_str(), one.text.as_str()));
        let found = own.or_else(|| BUILT_IN.into_iter().find(|(name, _)| *name == word));
        found.map_or(Meant::Unknown, |(name, text)| Meant::This(name, text))
    }

    /// The one that has this text.
    pub fn of_text(&self, text: &str) -> Option<&str> {
        let own = self.own.iter().find(|one| one.text == text.trim()).map(|one| one.name.as_str());
        own.or_else(|| BUILT_IN.into_iter().find(|(_, other)| *other == text.trim()).map(|(name, _)| name))
    }

    /// What the model is told.
    pub fn told(&self) -> Option<&str> {
        if self.fixed.is_some() {
            return self.fixed.as_deref();
        }
        match self.name.as_deref().map(|name| self.meant(name)) {
            Some(Meant::This(_, text)) => Some(text),
            _ => self.text.as_deref(),
        }
    }

    /// Which one that is, where it is one.
    pub fn chosen(&self) -> Option<&str> {
        self.told().and_then(|text| self.of_text(text))
    }
}

/// Whether a word can be the name of one.
pub(super) fn is_name(word: &str) -> bool {
    !NEUTRAL.contains(&word)
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str, text: &str) -> Personality {
        Personality { name: name.to_owned(), about: None, text: text.to_owned() }
    }

    #[test]
    fn ones_own_stand_before_those_that_are_there_anyway() {
        let all = Personalities {
            own: vec![own("pirate", "Yarr."), own("zen", &"calm ".repeat(20))],
            ..Personalities::default()
        };
        assert_eq!(all.meant(" PIRATE "), Meant::This("pirate", "Yarr."));
        assert!(matches!(all.meant("noir"), Meant::This("noir", text) if text.contains("rain")));
        assert_eq!((all.meant("none"), all.meant("Default")), (Meant::Nothing, Meant::Nothing));
        assert_eq!(all.meant("nobody"), Meant::Unknown);
        let list = all.all();
        assert_eq!(list.len(), BUILT_IN.len() + 1);
        assert!(list.contains(&("pirate", "Yarr.".to_owned())) && list.last().unwrap().0 == "zen");
        assert!(list.last().unwrap().1.ends_with('…') && list.last().unwrap().1.chars().count() <= SHOWN + 1);
    }

    #[test]
    fn a_name_is_told_before_a_text_and_a_variable_before_both() {
        let mut all = Personalities {
            own: vec![own("zen", "Be calm.")],
            text: Some("Be brief.".to_owned()),
            ..Personalities::default()
        };
        assert_eq!((all.told(), all.chosen()), (Some("Be brief."), None));
        all.name = Some("gone".to_owned());
        assert_eq!(all.told(), Some("Be brief."), "one that is not there is none");
        all.name = Some("Zen".to_owned());
        assert_eq!((all.told(), all.chosen()), (Some("Be calm."), Some("zen")));
        all.fixed = Some("Be loud.".to_owned());
        assert_eq!((all.told(), all.chosen()), (Some("Be loud."), None));
    }
}
