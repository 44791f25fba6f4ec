//! Which messages are for the bot. Pure.
//!
//! In a private chat all are, in a server those that pass this gate, in this order: the bot's own; what is no message of somebody (joins,
//! pins); other bots; messages that mention others only; channels that are listened to; channels where everything is for the bot, threads
//! that it takes part in, or all without `require_mention`; a mention, or an answer to the bot. Who may talk to the bot is another question,
//! and asked behind this one.

use hermes_config::access::Bots;

use super::settings::Settings;
use super::wire::{Id, Message, User};

/// Kinds of messages that somebody wrote: an ordinary one, and a reply.
const WRITTEN: [u8; 2] = [0, 19];

/// Why a message is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// Nobody did.
    System,
    /// Another bot wrote it.
    Bot,
    /// It mentions others.
    Others,
    /// Not listened to.
    Channel,
    /// Nobody spoke to the bot.
    Unmentioned,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// The channel, and what it belongs to.
    pub(super) channels: Vec<String>,
    /// It is a thread that the bot takes part in.
    pub(super) takes_part: bool,
}

impl Place {
    fn ids(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(String::as_str)
    }
}

/// The gate of one bot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate<'s> {
    pub(super) settings: &'s Settings,
    pub(super) bots: Bots,
    pub(super) me: Id,
}

impl Gate<'_> {
    /// Lets a message through as far as it says by itself, or says why not.
    pub(super) fn knows(&self, message: &Message) -> Result<(), Passed> {
        let author = message.author.as_ref().ok_or(Passed::System)?;
        if author.id == self.me {
            return Err(Passed::Own);
        }
        if !WRITTEN.contains(&message.kind) {
            return Err(Passed::System);
        }
        let is_bot = author.bot || message.webhook_id.is_some();
        let is_heard = match self.bots {
            _ if !is_bot => true,
            Bots::None => false,
            Bots::Mentions => self.is_addressed(message),
            Bots::All => true,
        };
        if !is_heard || (is_bot && self.settings.bots_require_inline && !self.is_named(message)) {
            return Err(Passed::Bot);
        }
        Ok(())
    }

    /// Lets a message of a server through, or says why not.
    pub(super) fn judge(&self, message: &Message, place: &Place) -> Result<(), Passed> {
        self.knows(message)?;
        if message.guild_id.is_none() {
            return Ok(());
        }
        let is_free = self.settings.free_channels.holds_any(place.ids());
        let is_addressed = self.is_addressed(message);
        let others = message.mentions.iter().any(|user| user.id != self.me);
        if self.settings.ignore_no_mention && !is_free && !is_addressed && others {
            return Err(Passed::Others);
        }
        self.listens(place)?;
        if self.is_open(place) || is_addressed { Ok(()) } else { Err(Passed::Unmentioned) }
    }

    /// Whether everything that is said somewhere is for the bot.
    pub(super) fn is_open(&self, place: &Place) -> bool {
        !self.settings.require_mention
            || self.settings.free_channels.holds_any(place.ids())
            || (place.takes_part && !self.settings.thread_require_mention)
    }

    /// Whether a message was said to people around the bot, or to it.
    pub(super) fn is_said(&self, message: &Message) -> bool {
        let is_bot = message.author.as_ref().is_some_and(|author| author.bot) || message.webhook_id.is_some();
        WRITTEN.contains(&message.kind) && (!is_bot || self.bots != Bots::None)
    }

    /// Whether the bot said something itself.
    pub(super) fn is_own(&self, message: &Message) -> bool {
        WRITTEN.contains(&message.kind) && message.author.as_ref().is_some_and(|author| author.id == self.me)
    }

    /// Whether a channel is listened to.
    pub(super) fn listens(&self, place: &Place) -> Result<(), Passed> {
        let allowed = &self.settings.allowed_channels;
        let is_listened = allowed.is_empty() || allowed.holds_any(place.ids());
        if !is_listened || self.settings.ignored_channels.holds_any(place.ids()) {
            return Err(Passed::Channel);
        }
        Ok(())
    }

    /// Whether a message is for the bot by what it says, or by where it says it.
    pub(super) fn is_addressed(&self, message: &Message) -> bool {
        let answered = message.referenced_message.as_ref().and_then(|to| to.author.as_ref());
        message.guild_id.is_none()
            || message.mentions.iter().any(|user| user.id == self.me)
            || self.is_named(message)
            || answered.is_some_and(|author| author.id == self.me)
    }

    fn is_named(&self, message: &Message) -> bool {
        mentions(&message.content).any(|(_, id)| id == self.me)
    }

    /// Whether a thread is to be begun for the answer to a message of a channel.
    pub(super) fn begins_thread(&self, message: &Message, kind: u8, place: &Place) -> bool {
        self.settings.auto_thread
            && message.guild_id.is_some()
            && kind == super::TEXT
            && message.kind == WRITTEN[0]
            && !self.settings.free_channels.holds_any(place.ids())
            && !self.settings.no_thread_channels.holds_any(place.ids())
    }

    /// What a message says to the bot: without the bot's own name, and with the others' as people see them.
    pub(super) fn words(&self, content: &str, mentioned: &[User]) -> String {
        let mut words = String::new();
        let mut at = 0;
        for (range, id) in mentions(content) {
            words.push_str(&content[at..range.start]);
            at = range.end;
            if id == self.me {
                let rest = content[at..].trim_start_matches([',', ':', ' ']);
                at = content.len() - rest.len();
                continue;
            }
            match mentioned.iter().find(|user| user.id == id) {
                Some(user) => words.extend(["@", user.name()]),
                None => words.push_str(&content[range]),
            }
        }
        words.push_str(&content[at..]);
        words.trim().to_owned()
    }
}

/// The mentions of people in a text: `<@1>` and `<@!1>`.
fn mentions(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, Id)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text[from..].find("<@")?;
            from = start + 2;
            let inner = text[from..].strip_prefix('!').unwrap_or(&text[from..]);
            let Some(end) = inner.find('>') else { continue };
            let Some(id) = Id::parse(&inner[..end]) else { continue };
            from = text.len() - inner.len() + end + 1;
            return Some((start..from, id));
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::settings;
    use super::*;

    fn message(content: &str, more: &Value) -> Message {
        let mut message = json!({"id": "5", "channel_id": "10", "guild_id": "1", "author": {"id": "7", "username": "ann"}, "content": content});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    fn place(ids: &[&str], takes_part: bool) -> Place {
        Place { channels: ids.iter().map(|id| (*id).to_owned()).collect(), takes_part }
    }

    fn judge(extra: &str, bots: Bots, content: &str, more: &Value, place: &Place) -> Result<(), Passed> {
        let settings = settings(extra);
        Gate { settings: &settings, bots, me: Id(42) }.judge(&message(content, more), place)
    }

    #[test]
    fn messages_pass_in_the_order_of_the_gate() {
        let here = place(&["10"], false);
        let none = json!({});
        let ann = |content: &str, more: Value| judge("", Bots::None, content, &more, &here);
        assert_eq!(ann("hi", json!({})), Err(Passed::Unmentioned));
        assert_eq!(ann("<@42> hi", json!({})), Ok(()));
        assert_eq!(ann("<@!42> hi", json!({})), Ok(()));
        assert_eq!(ann("hi", json!({"mentions": [{"id": "42"}]})), Ok(()));
        let answer = json!({"type": 19, "referenced_message": {"id": "4", "channel_id": "10", "author": {"id": "42"}}});
        assert_eq!(ann("hi", answer), Ok(()));
        assert_eq!(ann("hi", json!({"guild_id": null})), Ok(()));
        assert_eq!(ann("<@42>", json!({"author": {"id": "42", "bot": true}})), Err(Passed::Own));
        assert_eq!(ann("<@42>", json!({"author": null})), Err(Passed::System));
        assert_eq!(ann("<@42>", json!({"type": 7})), Err(Passed::System));
        assert_eq!(ann("<@42>", json!({"author": {"id": "8", "bot": true}})), Err(Passed::Bot));
        assert_eq!(ann("<@42>", json!({"webhook_id": "9"})), Err(Passed::Bot));
        assert_eq!(ann("hi", json!({"mentions": [{"id": "8"}]})), Err(Passed::Others));
        let judge_in =
            |extra: &str, content: &str, place: &Place| judge(extra, Bots::None, content, &none, place);
        assert_eq!(judge_in("require_mention: false", "hi", &here), Ok(()));
        assert_eq!(judge_in("free_response_channels: [10]", "hi", &here), Ok(()));
        assert_eq!(judge_in("free_response_channels: ['*']", "hi", &here), Ok(()));
        assert_eq!(judge_in("allowed_channels: [11]", "<@42>", &here), Err(Passed::Channel));
        assert_eq!(judge_in("ignored_channels: [10]", "<@42>", &here), Err(Passed::Channel));
        let thread = place(&["99", "10"], true);
        assert_eq!(judge_in("", "hi", &thread), Ok(()));
        assert_eq!(judge_in("thread_require_mention: true", "hi", &thread), Err(Passed::Unmentioned));
        assert_eq!(
            judge_in("allowed_channels: [10]", "hi", &thread),
            Ok(()),
            "a thread is listened to with its channel"
        );
        let mentions = json!({"mentions": [{"id": "8"}]});
        let free = judge("free_response_channels: [10]", Bots::None, "hi", &mentions, &here);
        assert_eq!(free, Ok(()), "everything there is for the bot");
        let heard =
            judge("require_mention: false, ignore_no_mention: false", Bots::None, "hi", &mentions, &here);
        assert_eq!(heard, Ok(()));
    }

    #[test]
    fn other_bots_are_heard_as_far_as_they_are_let() {
        let here = place(&["10"], false);
        let bot = |extra: &str, bots, content: &str, more: Value| {
            let mut all = json!({"author": {"id": "8", "bot": true}});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            judge(extra, bots, content, &all, &here)
        };
        let open = "require_mention: false";
        assert_eq!(bot(open, Bots::None, "hi", json!({})), Err(Passed::Bot));
        assert_eq!(bot(open, Bots::Mentions, "hi", json!({})), Err(Passed::Bot));
        assert_eq!(bot(open, Bots::Mentions, "<@42> hi", json!({})), Ok(()));
        assert_eq!(bot(open, Bots::All, "hi", json!({})), Ok(()));
        let inline = "require_mention: false, bots_require_inline_mention: true";
        let reply = json!({"mentions": [{"id": "42"}]});
        assert_eq!(bot(inline, Bots::All, "hi", reply.clone()), Err(Passed::Bot));
        assert_eq!(bot(inline, Bots::All, "<@42> hi", reply), Ok(()));
    }

    #[test]
    fn threads_are_begun_in_channels_only() {
        let begins = |extra: &str, kind: u8, more: Value| {
            let settings = settings(extra);
            let gate = Gate { settings: &settings, bots: Bots::None, me: Id(42) };
            gate.begins_thread(&message("<@42>", &more), kind, &place(&["10"], false))
        };
        assert!(begins("", 0, json!({})));
        assert!(
            !begins("", 11, json!({}))
                && !begins("", 0, json!({"type": 19}))
                && !begins("", 1, json!({"guild_id": null}))
        );
        assert!(
            !begins("auto_thread: false", 0, json!({})) && !begins("no_thread_channels: [10]", 0, json!({}))
        );
        assert!(!begins("free_response_channels: [10]", 0, json!({})));
    }

    #[test]
    fn what_is_said_is_without_the_bots_name() {
        let settings = settings("");
        let gate = Gate { settings: &settings, bots: Bots::None, me: Id(42) };
        let bob = User { id: Id(8), username: "bob".to_owned(), ..User::default() };
        for (content, expected) in [
            ("<@42> hi", "hi"),
            ("<@!42>, /new", "/new"),
            ("ask <@42> and <@8>", "ask and @bob"),
            ("<@9> stays", "<@9> stays"),
            ("<@42>", ""),
            ("a <@x> <@ <@", "a <@x> <@ <@"),
        ] {
            assert_eq!(gate.words(content, std::slice::from_ref(&bob)), expected, "{content}");
        }
    }
}
