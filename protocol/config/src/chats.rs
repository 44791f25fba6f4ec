//! What a profile's files say of single chats: another model, another prompt, skills; and of all chats of a platform.

use std::collections::BTreeMap;

/// What answers in one chat instead of the profile's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOverride {
    /// `channel_overrides.<id>.model`
    pub model: Option<String>,
    /// `channel_overrides.<id>.provider`
    pub provider: Option<String>,
    /// `channel_overrides.<id>.system_prompt`
    pub system_prompt: Option<String>,
}

/// What one platform's section says of its chats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatSettings {
    /// `channel_overrides`, by the id of a chat or of a thread.
    pub overrides: BTreeMap<String, ChatOverride>,
    /// `channel_prompts`, likewise: said to the model with each message, and never stored.
    pub prompts: BTreeMap<String, String>,
    /// `channel_skill_bindings`, likewise: skills that a new conversation begins with.
    pub skills: BTreeMap<String, Vec<String>>,
    /// `typing_indicator`: chats are shown that an answer is being made. Default true.
    pub typing: bool,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self { overrides: BTreeMap::new(), prompts: BTreeMap::new(), skills: BTreeMap::new(), typing: true }
    }
}

/// The entry of a thread, else that of its chat.
pub fn of<'m, T>(map: &'m BTreeMap<String, T>, chat: Option<&str>, thread: Option<&str>) -> Option<&'m T> {
    [thread, chat].into_iter().flatten().find_map(|id| map.get(id))
}

/// Those of every platform whose section says anything, by name.
pub type AllChats = BTreeMap<&'static str, ChatSettings>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_comes_before_its_chat() {
        let map = BTreeMap::from([("c".to_owned(), 1), ("t".to_owned(), 2)]);
        assert_eq!(of(&map, Some("c"), Some("t")), Some(&2));
        assert_eq!(of(&map, Some("c"), Some("other")), Some(&1));
        assert_eq!(of(&map, Some("x"), None), None);
    }
}
