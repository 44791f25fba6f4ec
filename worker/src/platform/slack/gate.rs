//! Which messages are for the bot. Pure.
//!
//! In a private chat all are; in a channel those that pass this gate, in this order: channels that are listened to; channels where
//! everything is for the bot, or all without `require_mention`; a mention, or one of the patterns; and, unless `strict_mention` says
//! otherwise, what is written in a thread that the bot takes part in, which is for its caller to find out. Who may talk to the bot is
//! another question, and asked behind this one.

use regex::{RegexSet, RegexSetBuilder};

use super::settings::Settings;
use super::text::is_mention;
use super::wire::{Me, Message};

/// Largest set of patterns, compiled.
const PATTERNS: usize = 8 << 20;
/// Kinds of messages that somebody has written just now.
const WRITTEN: [&str; 4] = ["file_share", "thread_broadcast", "me_message", "bot_message"];

/// Why a message is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// Nobody wrote it just now: somebody came or went, something was changed.
    Kind,
    /// Nobody is named as its writer.
    Nobody,
    /// Its channel is not listened to.
    Channel,
    /// It does not mention the bot.
    Unmentioned,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is for the bot. `addressed`: it says so itself.
    For { addressed: bool },
    /// It is where the bot takes part in its thread.
    InThread,
    /// It is not.
    Not(Passed),
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    settings: Settings,
    patterns: Option<RegexSet>,
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Self {
        let all = &settings.mention_patterns;
        let patterns = RegexSetBuilder::new(all).case_insensitive(true).size_limit(PATTERNS).build().ok();
        Self { settings: settings.clone(), patterns: patterns.filter(|patterns| !patterns.is_empty()) }
    }

    /// Whether a channel is listened to.
    pub(super) fn listens(&self, channel: &str) -> bool {
        let allowed = &self.settings.allowed_channels;
        allowed.is_empty() || allowed.contains("*") || allowed.contains(channel)
    }

    /// Judges a message to the bot that is `me` in its workspace.
    pub(super) fn judge(&self, message: &Message, me: &Me) -> Judged {
        let is_own = message.user.as_deref() == Some(me.user_id.as_str())
            || (message.bot_id.is_some() && message.bot_id == me.bot_id);
        if is_own {
            return Judged::Not(Passed::Own);
        }
        if message.subtype.as_deref().is_some_and(|kind| !WRITTEN.contains(&kind)) {
            return Judged::Not(Passed::Kind);
        }
        if message.user.is_none() && message.bot_id.is_none() {
            return Judged::Not(Passed::Nobody);
        }
        if message.is_private() {
            return Judged::For { addressed: true };
        }
        if !self.listens(&message.channel) {
            return Judged::Not(Passed::Channel);
        }
        let addressed = message.kind == "app_mention"
            || mentions(&message.text, &me.user_id)
            || self.is_called(&message.text);
        let free = &self.settings.free_response_channels;
        if addressed
            || !self.settings.require_mention
            || free.contains("*")
            || free.contains(&message.channel)
        {
            return Judged::For { addressed };
        }
        if self.settings.strict_mention || message.thread().is_none() {
            return Judged::Not(Passed::Unmentioned);
        }
        // Whoever answers the bot's own message speaks to it.
        if message.parent_user_id.as_deref() == Some(me.user_id.as_str()) {
            return Judged::For { addressed: true };
        }
        Judged::InThread
    }

    fn is_called(&self, text: &str) -> bool {
        self.patterns.as_ref().is_some_and(|patterns| patterns.is_match(text))
    }
}

fn mentions(text: &str, whom: &str) -> bool {
    text.split('<').skip(1).filter_map(|part| part.split_once('>')).any(|(sign, _)| is_mention(sign, whom))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::settings;
    use super::*;

    fn judge(extra: &str, text: &str, more: &Value) -> Judged {
        let mut message = json!({"type": "message", "channel": "C1", "channel_type": "channel", "user": "U7", "text": text, "ts": "2.0"});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        let me = Me { user_id: "UBOT".into(), bot_id: Some("BBOT".into()), ..Me::default() };
        Gate::new(&settings(extra).0.unwrap()).judge(&serde_json::from_value(message).unwrap(), &me)
    }

    #[test]
    fn in_channels_the_gate_decides_in_its_order() {
        let (yes, itself) = (Judged::For { addressed: true }, Judged::For { addressed: false });
        let unmentioned = Judged::Not(Passed::Unmentioned);
        let (none, thread) = (json!({}), json!({"thread_ts": "1.0"}));
        let own_thread = json!({"thread_ts": "1.0", "parent_user_id": "UBOT"});
        for (extra, text, more, expected) in [
            ("", "hello all", &none, unmentioned),
            ("", "hey <@UBOT> hello", &none, yes),
            ("", "hey <@UBOT|hermes>", &none, yes),
            ("", "&lt;@UBOT&gt;", &none, unmentioned),
            ("", "<@UBOTHER> hello", &none, unmentioned),
            ("", "hello", &json!({"type": "app_mention"}), yes),
            ("require_mention: false", "hello all", &none, itself),
            ("free_response_channels: [C1]", "hello all", &none, itself),
            ("free_response_channels: [C2]", "hello all", &none, unmentioned),
            ("allowed_channels: [C2]", "<@UBOT>", &none, Judged::Not(Passed::Channel)),
            ("allowed_channels: [C1]", "<@UBOT>", &none, yes),
            ("mention_patterns: ['^hermes\\b']", "HERMES, wake up", &none, yes),
            ("", "and more", &thread, Judged::InThread),
            ("", "and more", &own_thread, yes),
            ("strict_mention: true", "and more", &own_thread, unmentioned),
            ("strict_mention: true", "<@UBOT> and more", &thread, yes),
            ("", "begins a thread", &json!({"thread_ts": "2.0"}), unmentioned),
            ("", "<@UBOT>", &json!({"user": "UBOT"}), Judged::Not(Passed::Own)),
            ("", "<@UBOT>", &json!({"bot_id": "BBOT", "user": null}), Judged::Not(Passed::Own)),
            ("", "<@UBOT>", &json!({"bot_id": "B2", "user": null, "subtype": "bot_message"}), yes),
            ("", "<@UBOT>", &json!({"user": null}), Judged::Not(Passed::Nobody)),
            ("", "<@UBOT>", &json!({"subtype": "message_changed"}), Judged::Not(Passed::Kind)),
            ("", "<@UBOT>", &json!({"subtype": "channel_join"}), Judged::Not(Passed::Kind)),
            ("", "<@UBOT>", &json!({"subtype": "file_share"}), yes),
            ("allowed_channels: [C2]", "hi", &json!({"channel": "D1", "channel_type": "im"}), yes),
            ("", "hi", &json!({"channel": "G1", "channel_type": "mpim"}), unmentioned),
        ] {
            assert_eq!(judge(extra, text, more), expected, "{extra}: {text} {more}");
        }
    }
}
