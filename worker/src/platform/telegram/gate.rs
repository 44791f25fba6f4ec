//! Which messages are for the bot. Pure.
//!
//! In a private chat all are, in a group those that pass this gate, in this order: topics that are listened to; messages for other bots;
//! chats that are listened to; chats and topics where everything is for the bot, or all groups without `require_mention`; an answer to the
//! bot, a mention, one of the patterns. Who may talk to the bot is another question, and asked behind this one.

use std::collections::BTreeSet;

use regex::{RegexSet, RegexSetBuilder};

use super::settings::Settings;
use super::wire::{Entity, Me, Message};

/// Largest set of patterns, compiled.
const PATTERNS: usize = 8 << 20;

/// Why a message is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// A command of another bot.
    Command,
    /// Not listened to.
    Topic,
    /// It mentions another bot.
    Others,
    /// Not listened to.
    Chat,
    /// Nobody spoke to the bot.
    Unmentioned,
}

/// The gate of one bot.
pub(super) struct Gate<'s> {
    settings: &'s Settings,
    me: &'s Me,
    patterns: RegexSet,
}

impl<'s> Gate<'s> {
    pub(super) fn new(settings: &'s Settings, me: &'s Me) -> Self {
        let patterns = RegexSetBuilder::new(&settings.mention_patterns)
            .case_insensitive(true)
            .size_limit(PATTERNS)
            .build();
        // Each was compiled when the settings were read; all together they may be too many.
        let patterns = patterns.unwrap_or_else(|error| {
            tracing::warn!(%error, "[telegram] the mention patterns are too many, and none counts");
            RegexSet::empty()
        });
        Self { settings, me, patterns }
    }

    /// Lets a message through, or says why not.
    pub(super) fn judge(&self, message: &Message) -> Result<(), Passed> {
        if message.from.as_ref().is_some_and(|from| from.id == self.me.id) {
            return Err(Passed::Own);
        }
        if command_of(message).is_some_and(|bot| !self.is_me(bot)) {
            return Err(Passed::Command);
        }
        let chat = message.chat.id.to_string();
        let is_listened =
            self.settings.allowed_chats.is_empty() || self.settings.allowed_chats.contains(&chat);
        match message.chat.kind.as_str() {
            "group" | "supergroup" => self.group(message, &chat, is_listened),
            "channel" if !is_listened => Err(Passed::Chat),
            _ => Ok(()),
        }
    }

    fn group(&self, message: &Message, chat: &str, is_listened: bool) -> Result<(), Passed> {
        let settings = self.settings;
        let thread = thread(message);
        let lists = |topics: &BTreeSet<String>| {
            thread.is_some_and(|thread| {
                topics.contains(&thread.to_string()) || topics.contains(&format!("{chat}:{thread}"))
            })
        };
        if !settings.allowed_topics.is_empty() && !lists(&settings.allowed_topics) {
            return Err(Passed::Topic);
        }
        if lists(&settings.ignored_threads) {
            return Err(Passed::Topic);
        }
        let is_mentioned = self.is_mentioned(message);
        if settings.exclusive_bot_mentions && !is_mentioned && Self::mentions_another_bot(message) {
            return Err(Passed::Others);
        }
        if settings.guest_mode && is_mentioned {
            return Ok(());
        }
        if !is_listened {
            return Err(Passed::Chat);
        }
        let is_free = !settings.require_mention
            || settings.free_response_chats.contains(chat)
            || lists(&settings.free_response_topics);
        if is_free || self.answers_me(message) || is_mentioned || self.patterns.is_match(message.said().0) {
            Ok(())
        } else {
            Err(Passed::Unmentioned)
        }
    }

    /// Whether a message is for the bot by what it says, or by where it says it.
    pub(super) fn is_addressed(&self, message: &Message) -> bool {
        message.chat.kind == "private" || self.answers_me(message) || self.is_mentioned(message)
    }

    fn answers_me(&self, message: &Message) -> bool {
        let to = message.answered().and_then(|to| to.from.as_ref());
        to.is_some_and(|to| to.id == self.me.id)
    }

    fn is_me(&self, name: &str) -> bool {
        !self.me.username.is_empty() && name.eq_ignore_ascii_case(&self.me.username)
    }

    /// By name, by a link to the bot, or by a command that names it.
    fn is_mentioned(&self, message: &Message) -> bool {
        let (_, entities) = message.said();
        entities.iter().any(|entity| self.is_mention(message, entity))
            || command_of(message).is_some_and(|bot| self.is_me(bot))
    }

    fn is_mention(&self, message: &Message, entity: &Entity) -> bool {
        match entity.kind.as_str() {
            "mention" => message
                .part(entity)
                .and_then(|part| part.strip_prefix('@'))
                .is_some_and(|name| self.is_me(name)),
            "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == self.me.id),
            _ => false,
        }
    }

    /// The names of bots end so.
    fn mentions_another_bot(message: &Message) -> bool {
        let (_, entities) = message.said();
        entities.iter().any(|entity| match entity.kind.as_str() {
            "mention" => message.part(entity).is_some_and(|name| name.to_lowercase().ends_with("bot")),
            "text_mention" => entity.user.as_ref().is_some_and(|user| user.is_bot),
            _ => false,
        })
    }

    /// What a message says to the bot: without the bot's own name, which is no part of what is said.
    pub(super) fn words(&self, message: &Message) -> String {
        let (text, entities) = message.said();
        let mut words = String::new();
        let mut taken = 0;
        let is_named = |entity: &&Entity| entity.kind == "bot_command" || self.is_mention(message, entity);
        for entity in entities.iter().filter(is_named) {
            let Some(span) = message.span(entity).filter(|span| span.start >= taken) else { continue };
            let part = &text[span.clone()];
            if entity.kind == "bot_command" {
                let (command, bot) = part.split_once('@').unwrap_or((part, ""));
                words.push_str(&text[taken..span.start]);
                words.push_str(if self.is_me(bot) { command } else { part });
                taken = span.end;
            } else if entity.kind == "mention" {
                words.push_str(&text[taken..span.start]);
                let rest = text[span.end..].trim_start_matches([',', ':', '-']).trim_start();
                taken = text.len() - rest.len();
            }
        }
        words.push_str(&text[taken..]);
        let words = words.trim();
        if words.is_empty() { text.to_owned() } else { words.to_owned() }
    }
}

/// The bot that a message's first word, a command, is for; none: it names none.
fn command_of(message: &Message) -> Option<&str> {
    let (_, entities) = message.said();
    let command = entities.iter().find(|entity| entity.kind == "bot_command" && entity.offset == 0)?;
    message.part(command)?.split_once('@').map(|(_, bot)| bot)
}

/// The topic that a message is in. Where there are none, a reply is in a thread of Telegram's own, which is no conversation by itself.
pub(super) fn thread(message: &Message) -> Option<i64> {
    let is_topic = message.is_topic_message || message.reply_to_message.is_none();
    let topic = message.message_thread_id.filter(|_| is_topic);
    if message.chat.is_forum { topic.or(Some(GENERAL)) } else { topic }
}

/// The topic of everything that is in none.
pub(super) const GENERAL: i64 = 1;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::settings;
    use super::*;

    fn me() -> Me {
        Me { id: 42, username: "hermes_bot".to_owned(), ..Me::default() }
    }

    /// A message of a group, with the entities that Telegram finds.
    fn message(text: &str, more: &Value) -> Message {
        let mut message = json!({
            "message_id": 5, "chat": {"id": -100, "type": "supergroup"}, "from": {"id": 7, "first_name": "Ann"}, "text": text,
        });
        let mut entities = Vec::new();
        for word in text.split(' ') {
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let offset = text[..at].encode_utf16().count();
            let length = word.trim_end_matches([',', '.']).encode_utf16().count();
            if word.starts_with('@') {
                entities.push(json!({"type": "mention", "offset": offset, "length": length}));
            } else if word.starts_with('/') {
                entities.push(json!({"type": "bot_command", "offset": offset, "length": length}));
            }
        }
        message["entities"] = entities.into();
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    fn judge(extra: &str, text: &str, more: &Value) -> Result<(), Passed> {
        let settings = settings(extra);
        Gate::new(&settings, &me()).judge(&message(text, more))
    }

    #[test]
    fn in_groups_the_gate_decides_in_its_order() {
        let mention = "require_mention: true";
        for (extra, text, more, expected) in [
            ("", "hello all", json!({}), Ok(())),
            (mention, "hello all", json!({}), Err(Passed::Unmentioned)),
            (mention, "😀 @Hermes_Bot hello", json!({}), Ok(())),
            (mention, "/status@hermes_bot", json!({}), Ok(())),
            (mention, "/status", json!({}), Err(Passed::Unmentioned)),
            (
                mention,
                "yes",
                json!({"reply_to_message": {"message_id": 1, "chat": {"id": -100}, "from": {"id": 42}}}),
                Ok(()),
            ),
            (
                mention,
                "yes",
                json!({"reply_to_message": {"message_id": 1, "chat": {"id": -100}, "from": {"id": 8}}}),
                Err(Passed::Unmentioned),
            ),
            ("require_mention: true, mention_patterns: ['^hermes\\b']", "HERMES, wake up", json!({}), Ok(())),
            ("require_mention: true, free_response_chats: [-100]", "hi", json!({}), Ok(())),
            (
                "require_mention: true, free_response_topics: ['-100:9']",
                "hi",
                json!({"message_thread_id": 9}),
                Ok(()),
            ),
            (
                "require_mention: true, free_response_topics: ['-200:9']",
                "hi",
                json!({"message_thread_id": 9}),
                Err(Passed::Unmentioned),
            ),
            (
                mention,
                "in a topic that the bot has made",
                json!({"message_thread_id": 3, "is_topic_message": true,
                    "reply_to_message": {"message_id": 3, "chat": {"id": -100}, "from": {"id": 42}}}),
                Err(Passed::Unmentioned),
            ),
            ("", "@other_bot do it", json!({}), Err(Passed::Others)),
            ("", "@ann do it", json!({}), Ok(())),
            ("exclusive_bot_mentions: false", "@other_bot do it", json!({}), Ok(())),
            ("", "@other_bot and @hermes_bot do it", json!({}), Ok(())),
            ("allowed_chats: [-7]", "hi", json!({}), Err(Passed::Chat)),
            ("allowed_chats: [-100]", "hi", json!({}), Ok(())),
            ("allowed_chats: [-7], guest_mode: true", "@hermes_bot hi", json!({}), Ok(())),
            ("allowed_topics: [3]", "hi", json!({"message_thread_id": 9}), Err(Passed::Topic)),
            ("allowed_topics: [9]", "hi", json!({"message_thread_id": 9}), Ok(())),
            ("ignored_threads: [9]", "@hermes_bot hi", json!({"message_thread_id": 9}), Err(Passed::Topic)),
            (
                "ignored_threads: [1]",
                "hi",
                json!({"chat": {"id": -100, "type": "supergroup", "is_forum": true}}),
                Err(Passed::Topic),
            ),
            ("", "/status@other_bot", json!({}), Err(Passed::Command)),
            ("", "hi", json!({"from": {"id": 42}}), Err(Passed::Own)),
            (mention, "hi", json!({"chat": {"id": 7, "type": "private"}}), Ok(())),
            ("", "/x@other_bot", json!({"chat": {"id": 7, "type": "private"}}), Err(Passed::Command)),
            (
                "allowed_chats: [-7]",
                "hi",
                json!({"chat": {"id": -100, "type": "channel"}}),
                Err(Passed::Chat),
            ),
        ] {
            assert_eq!(judge(extra, text, &more), expected, "{extra}: {text} {more}");
        }
    }

    #[test]
    fn the_bot_s_own_name_is_no_part_of_what_is_said() {
        let settings = settings("");
        let me = me();
        let gate = Gate::new(&settings, &me);
        for (text, said) in [
            ("@hermes_bot, what is up?", "what is up?"),
            ("hey @Hermes_bot how are you", "hey how are you"),
            ("/status@hermes_bot now", "/status now"),
            ("/status now", "/status now"),
            ("@ann and @hermes_bot", "@ann and"),
            ("@hermes_bot", "@hermes_bot"),
            ("😀 @hermes_bot 😀", "😀 😀"),
            ("👩‍👩‍👧 /status@hermes_bot 𝕏", "👩‍👩‍👧 /status 𝕏"),
        ] {
            assert_eq!(gate.words(&message(text, &json!({}))), said, "{text}");
        }
        // What looks the same and is marked as something else stays; a place that is none says nothing.
        let text = "`@hermes_bot` is @hermes_bot";
        let mention = |offset: i64| json!({"type": "mention", "offset": offset, "length": 11});
        let of = |entities: Value| gate.words(&message(text, &json!({"entities": entities})));
        assert_eq!(of(json!([mention(17)])), "`@hermes_bot` is");
        assert_eq!(of(json!([mention(200), {"type": "mention", "offset": 27, "length": u32::MAX}])), text);
        // A caption is what a picture says.
        let entities = json!([{"type": "bot_command", "offset": 0, "length": 18}]);
        let picture = json!({"text": null, "entities": [], "caption": "/status@hermes_bot now", "caption_entities": entities});
        assert_eq!(gate.words(&message("", &picture)), "/status now");
        assert_eq!(gate.judge(&message("", &picture)), Ok(()));
    }

    #[test]
    fn a_reply_makes_no_topic_where_there_are_none() {
        let of = |more: Value| thread(&message("hi", &more));
        let forum = json!({"id": -100, "type": "supergroup", "is_forum": true});
        let reply = json!({"message_id": 1, "chat": {"id": -100}});
        assert_eq!(of(json!({})), None);
        assert_eq!(of(json!({"chat": forum})), Some(GENERAL));
        assert_eq!(of(json!({"chat": forum, "message_thread_id": 9, "is_topic_message": true})), Some(9));
        assert_eq!(of(json!({"message_thread_id": 9, "reply_to_message": reply})), None);
        let in_general = json!({"chat": forum, "message_thread_id": 9, "reply_to_message": reply});
        assert_eq!(of(in_general), Some(GENERAL));
        let private = json!({"id": 7, "type": "private"});
        let topic = json!({"chat": private, "message_thread_id": 9, "is_topic_message": true, "reply_to_message": reply});
        assert_eq!(of(topic), Some(9), "private chats have topics too");
        assert_eq!(of(json!({"message_thread_id": 9})), Some(9));
    }
}
