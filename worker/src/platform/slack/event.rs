//! What somebody said or called, as the worker takes it: who says it where, and where an answer goes. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::{NAME, Settings};
use super::text;
use super::wire::{Message, Press, Slash};
use crate::access::Facts;
use crate::commands::is_command;
use crate::delivery::outbound::CHAT_ID;
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};

/// Key of a target's parameters: the thread, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";
/// Likewise: the message that began the turn.
pub(super) const MESSAGE: &str = "message_id";
/// Likewise: which of the bot's tokens it came by.
pub(super) const BOT: &str = "bot";
/// Likewise: where a command is answered, for its caller's eyes; since when; and who that is.
pub(super) const RESPONSE_URL: &str = "response_url";
/// See [`RESPONSE_URL`].
pub(super) const RESPONSE_AT: &str = "response_at";
/// See [`RESPONSE_URL`].
pub(super) const CALLER: &str = "caller";
/// Slack's own bot.
const SLACKBOT: &str = "USLACKBOT";

/// What is kept until it is handed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Held {
    /// Somebody wrote.
    Message {
        /// What.
        message: Box<Message>,
        /// It says so itself that it is for the bot.
        addressed: bool,
        /// It is the first that the bot hears of its thread.
        first: bool,
    },
    /// Somebody called a command, at this time.
    Slash(Box<Slash>, f64),
}

impl Held {
    /// The same for the same event, however it comes.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Message { message, .. } => format!("{} {}", message.channel, message.ts),
            Self::Slash(slash, _) => format!("{} {}", slash.channel_id, slash.trigger_id),
        }
    }

    /// Whether files came with it, which may take a while.
    pub(super) fn has_files(&self) -> bool {
        matches!(self, Self::Message { message, .. } if !message.files.is_empty())
    }

    /// The workspace.
    pub(super) fn team(&self) -> &str {
        match self {
            Self::Message { message, .. } => &message.team,
            Self::Slash(slash, _) => &slash.team_id,
        }
    }
}

fn chat_type(is_private: bool) -> String {
    if is_private { "dm" } else { "group" }.to_owned()
}

/// The thread that answers stand in, and that the conversation is.
fn thread(message: &Message, settings: &Settings) -> Option<String> {
    if let Some(thread) = message.thread() {
        return Some(thread.to_owned());
    }
    let own = if message.is_private() { settings.dm_threads } else { settings.reply_in_thread };
    own.then(|| message.ts.clone())
}

/// Where a message is, and who wrote it.
pub(super) fn source(message: &Message, settings: &Settings, name: Option<String>) -> Source {
    Source {
        platform: NAME.to_owned(),
        chat_type: chat_type(message.is_private()),
        chat_id: Some(message.channel.clone()),
        thread_id: thread(message, settings),
        user_id: message.user.clone().or_else(|| message.bot_id.clone()),
        user_name: name,
        ..Source::default()
    }
}

/// Where a button was pressed, and who did.
pub(super) fn source_of_press(press: &Press) -> Source {
    Source {
        platform: NAME.to_owned(),
        chat_type: chat_type(press.channel.starts_with('D')),
        chat_id: Some(press.channel.clone()),
        thread_id: press.thread.clone(),
        user_id: Some(press.user.clone()),
        user_name: Some(press.user_name.clone()).filter(|name| !name.is_empty()),
        ..Source::default()
    }
}

/// Where an answer to what a press says goes; `bot` names the token of its workspace.
pub(super) fn target_of_press(press: &Press, bot: Option<&str>) -> DeliveryTarget {
    let all = [(CHAT_ID, Some(press.channel.as_str())), (BOT, bot), (THREAD_ID, press.thread.as_deref())];
    let extra = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    DeliveryTarget { kind: NAME.to_owned(), extra: extra.collect() }
}

/// What is known of whoever wrote a message.
pub(super) fn facts(message: &Message, addressed: bool) -> Facts {
    let is_bot = message.bot_id.is_some()
        || message.subtype.as_deref() == Some("bot_message")
        || message.user.as_deref() == Some(SLACKBOT);
    Facts { is_bot, addressed, ..Facts::default() }
}

/// A message to the bot whose own id is `me`. `before` is what was said before it. None: there is nothing in it that anybody could answer.
pub(super) fn inbound(
    message: &Message,
    settings: &Settings,
    (me, bot): (&str, &str),
    name: Option<String>,
    before: &str,
) -> Option<Inbound> {
    let said = text::said(message, me);
    if said.is_empty() && message.files.is_empty() {
        return None;
    }
    let is_command = said.starts_with(['/', '!']);
    let text = if is_command { said } else { format!("{before}{said}") };
    let source = source(message, settings, name);
    let mut extra = BTreeMap::from([
        (CHAT_ID.to_owned(), message.channel.clone()),
        (MESSAGE.to_owned(), message.ts.clone()),
        (BOT.to_owned(), bot.to_owned()),
    ]);
    extra.extend(source.thread_id.clone().map(|thread| (THREAD_ID.to_owned(), thread)));
    Some(Inbound {
        source,
        text,
        dedup: Some(DedupKey { scope: message.channel.clone(), id: message.ts.clone() }),
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    })
}

/// A command that was called at `at`, as a message that says it.
pub(super) fn called(slash: &Slash, at: f64, bot: &str) -> Inbound {
    let extra = BTreeMap::from([
        (CHAT_ID.to_owned(), slash.channel_id.clone()),
        (BOT.to_owned(), bot.to_owned()),
        (RESPONSE_URL.to_owned(), slash.response_url.clone()),
        (RESPONSE_AT.to_owned(), format!("{at:.0}")),
        (CALLER.to_owned(), slash.user_id.clone()),
    ]);
    Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: chat_type(slash.is_private()),
            chat_id: Some(slash.channel_id.clone()),
            user_id: Some(slash.user_id.clone()),
            user_name: Some(slash.user_name.clone()).filter(|name| !name.is_empty()),
            ..Source::default()
        },
        text: command(slash),
        dedup: Some(DedupKey { scope: slash.channel_id.clone(), id: slash.trigger_id.clone() }),
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
        context: None,
        end_session: None,
        busy: Busy::Wait,
    }
}

/// What a command says: its own name, or, as `/hermes status`, the word behind a name that is none. Behind `/hermes` a message may stand
/// as well.
fn command(slash: &Slash) -> String {
    let name = slash.command.trim_start_matches('/').to_lowercase();
    let text = text::read(&slash.text, "");
    if is_command(&name) {
        return format!("/{name} {text}").trim_end().to_owned();
    }
    let first = text.split_whitespace().next().unwrap_or_default();
    match first.strip_prefix(['/', '!']) {
        Some(word) if is_command(word) => format!("/{}", &text[1..]),
        Some(_) => text,
        None if first.is_empty() => "/help".to_owned(),
        None if is_command(first) => format!("/{text}"),
        None if name == "hermes" => text,
        None => format!("/{name} {text}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::settings;
    use super::*;

    fn message(more: &Value) -> Message {
        let mut message = json!({"type": "message", "channel": "C1", "channel_type": "channel", "user": "U7", "text": "hi", "ts": "2.0"});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn a_conversation_is_a_thread_where_the_files_do_not_say_otherwise() {
        let of = |extra: &str, more: &Value| {
            let source = source(&message(more), &settings(extra).0.unwrap(), None);
            (source.chat_type, source.thread_id)
        };
        let is = |kind: &str, thread: Option<&str>| (kind.to_owned(), thread.map(str::to_owned));
        let (none, inside) = (json!({}), json!({"thread_ts": "1.0"}));
        let (private, private_inside) = (
            json!({"channel": "D1", "channel_type": "im"}),
            json!({"channel": "D1", "channel_type": "im", "thread_ts": "1.0"}),
        );
        assert_eq!(of("", &none), is("group", Some("2.0")));
        assert_eq!(of("", &inside), is("group", Some("1.0")));
        assert_eq!(of("reply_in_thread: false", &none), is("group", None));
        assert_eq!(of("reply_in_thread: false", &inside), is("group", Some("1.0")));
        assert_eq!(of("", &private), is("dm", Some("2.0")));
        assert_eq!(of("dm_top_level_threads_as_sessions: false", &private), is("dm", None));
        assert_eq!(of("dm_top_level_threads_as_sessions: false", &private_inside), is("dm", Some("1.0")));
        assert_eq!(of("", &json!({"channel": "D1", "channel_type": null})), is("dm", Some("2.0")));
        assert_eq!(of("", &json!({"channel_type": "mpim"})), is("group", Some("2.0")));
    }

    #[test]
    fn commands_are_called_by_their_names_or_behind_another() {
        let of = |command: &str, text: &str| {
            super::command(&Slash { command: command.into(), text: text.into(), ..Slash::default() })
        };
        for (command, text, expected) in [
            ("/status", "", "/status"),
            ("/queue", "do it", "/queue do it"),
            ("/hermes", "status", "/status"),
            ("/hermes", "approve session", "/approve session"),
            ("/hermes", "/new", "/new"),
            ("/hermes", "!stop", "/stop"),
            ("/hermes", "", "/help"),
            ("/hermes", "what is the time?", "what is the time?"),
            ("/hermes", "/review it", "/review it"),
            ("/coder", "status", "/status"),
            ("/coder", "do it", "/coder do it"),
            ("/hermes", "1 &lt; 2", "1 < 2"),
        ] {
            assert_eq!(of(command, text), expected, "{command} {text}");
        }
    }

    #[test]
    fn what_was_said_before_stands_before_a_message_and_not_before_a_command() {
        let settings = settings("").0.unwrap();
        let of = |text: &str| {
            let message = message(&json!({"text": text}));
            inbound(&message, &settings, ("UBOT", "b"), None, "before\n").map(|event| event.text)
        };
        assert_eq!(of("<@UBOT> hi").as_deref(), Some("before\nhi"));
        assert_eq!(of("<@UBOT> !stop").as_deref(), Some("!stop"));
        assert_eq!(of("<@UBOT>"), None);
    }
}
