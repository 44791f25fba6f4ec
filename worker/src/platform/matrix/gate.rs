//! Which messages are for the bot, and in which thread they are answered. Pure.
//!
//! In a private room all are, elsewhere those that pass this gate, in this order: rooms that are listened to; rooms where everything is for
//! the bot, or all of them without `require_mention`; commands; a mention, an answer to the bot; a thread in which the bot has spoken. Who
//! may talk to the bot is another question, and asked behind this one.

use regex::{RegexSet, RegexSetBuilder};

use super::settings::{Scope, Settings};
use super::wire::Said;
use crate::commands;

/// Largest set of patterns, compiled.
const PATTERNS: usize = 8 << 20;

/// Why a message is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// A bridge's, or one of those that are never answered.
    Ignored,
    /// Sent by a program that wants no answer.
    Notice,
    /// Another text for what was said before.
    Replacement,
    /// Not listened to.
    Room,
    /// Nobody spoke to the bot.
    Unmentioned,
}

/// What decides beside the message itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) room: &'a str,
    pub(super) is_private: bool,
    /// It answers a message of the bot.
    pub(super) answers_me: bool,
}

/// Where the answer stands, and which conversation it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Threads {
    pub(super) answer: Option<String>,
    pub(super) session: Option<String>,
}

/// The gate of one account.
pub(super) struct Gate<'s> {
    settings: &'s Settings,
    me: &'s str,
    /// The account's name for people.
    name: Option<&'s str>,
    ignored: RegexSet,
}

impl<'s> Gate<'s> {
    pub(super) fn new(settings: &'s Settings, me: &'s str, name: Option<&'s str>) -> Self {
        let ignored = RegexSetBuilder::new(&settings.ignored).size_limit(PATTERNS).build();
        // Each was compiled when the settings were read; all together they may be too many.
        let ignored = ignored.unwrap_or_else(|error| {
            tracing::warn!(%error, "[matrix] the patterns for ids are too many, and none counts");
            RegexSet::empty()
        });
        Self { settings, me, name, ignored }
    }

    /// Whether nothing of this sender is for anybody.
    pub(super) fn is_deaf_to(&self, sender: &str) -> Option<Passed> {
        if self.is_me(sender) {
            return Some(Passed::Own);
        }
        let is_bridge = sender.starts_with("@_");
        (is_bridge || self.ignored.is_match(sender)).then_some(Passed::Ignored)
    }

    /// Why a message is for nobody, whatever the room.
    pub(super) fn is_for_nobody(&self, said: &Said) -> Option<Passed> {
        if said.is_replacement {
            return Some(Passed::Replacement);
        }
        (said.is_notice && !self.settings.notices).then_some(Passed::Notice)
    }

    /// Lets a message through, or says why not. [`Passed::Unmentioned`] in a thread is for [`may_follow`](Self::may_follow) to judge.
    pub(super) fn judge(&self, said: &Said, place: Place<'_>) -> Result<(), Passed> {
        if place.is_private {
            return Ok(());
        }
        let settings = self.settings;
        if !settings.allowed_rooms.is_empty() && !settings.allowed_rooms.holds(place.room) {
            return Err(Passed::Room);
        }
        let is_free = !settings.require_mention || settings.free_rooms.holds(place.room);
        if is_free || self.is_command(said) || place.answers_me || self.is_mentioned(said) {
            Ok(())
        } else {
            Err(Passed::Unmentioned)
        }
    }

    /// Whether a thread in which the bot speaks needs no mention.
    pub(super) fn may_follow(&self) -> bool {
        !self.settings.thread_require_mention
    }

    pub(super) fn is_me(&self, who: &str) -> bool {
        who.eq_ignore_ascii_case(self.me)
    }

    /// By who is meant, by the whole id in the text, or by a link to it. What somebody is called is no mention: anybody may be called so.
    pub(super) fn is_mentioned(&self, said: &Said) -> bool {
        said.mentions.iter().any(|who| self.is_me(who))
            || names(&said.text, self.me)
            || self.is_linked(&said.html)
    }

    fn is_linked(&self, html: &str) -> bool {
        let html = html.to_ascii_lowercase();
        let me = self.me.to_ascii_lowercase();
        let encoded = me.replacen('@', "%40", 1).replace(':', "%3a");
        let half = me.replacen('@', "%40", 1);
        html.split("matrix.to/#/").skip(1).any(|rest| {
            [&me, &encoded, &half].iter().any(|id| {
                rest.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with(['"', '\'', '?']))
            })
        })
    }

    pub(super) fn is_command(&self, said: &Said) -> bool {
        said.file.is_none() && commands::is_one(&self.words(said), true)
    }

    /// What a message says to the bot: without the bot's own name in front, which is no part of what is said.
    pub(super) fn words(&self, said: &Said) -> String {
        let text = said.text.trim();
        let mut rest = text;
        if self.is_mentioned(said) {
            for name in [Some(self.me), self.name].into_iter().flatten() {
                let head = rest.strip_prefix('@').filter(|_| !name.starts_with('@')).unwrap_or(rest);
                if let Some((start, behind)) = head.split_at_checked(name.len())
                    && start.eq_ignore_ascii_case(name)
                    && behind.starts_with([':', ',', ' ', '\u{a0}', '\n'])
                {
                    rest = behind.trim_start_matches([':', ',']).trim_start();
                    break;
                }
            }
        }
        let words = if rest.is_empty() { text } else { rest };
        if said.is_emote { format!("* {words}") } else { words.to_owned() }
    }

    /// In which thread a message that passed is answered.
    pub(super) fn threads(&self, said: &Said, event: &str, is_private: bool) -> Threads {
        let settings = self.settings;
        let opens = if self.is_command(said) {
            // What it is about is the room itself.
            false
        } else if is_private {
            settings.dm_auto_thread || (settings.dm_mention_threads && self.is_mentioned(said))
        } else {
            settings.auto_thread
        };
        let opens = opens || (settings.scope == Scope::Thread && !self.is_command(said));
        let answer = said.thread.clone().or_else(|| opens.then(|| event.to_owned()));
        let session = answer.clone().filter(|_| settings.scope != Scope::Room);
        Threads { answer, session }
    }
}

/// Whether a text names an id, and none that only begins so.
fn names(text: &str, id: &str) -> bool {
    let (text, id) = (text.to_ascii_lowercase(), id.to_ascii_lowercase());
    let of_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(&id).any(|(at, _)| {
        let mut behind = text[at + id.len()..].chars();
        let goes_on = match behind.next() {
            Some('.' | ':') => behind.next().is_some_and(of_id),
            Some(c) => of_id(c),
            None => false,
        };
        !goes_on && !text[..at].ends_with(of_id)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    const ME: &str = "@bot:hs.org";

    fn said(text: &str) -> Said {
        Said { text: text.to_owned(), ..Said::default() }
    }

    fn in_room(answers_me: bool) -> Place<'static> {
        Place { room: "!r:hs.org", is_private: false, answers_me }
    }

    #[test]
    fn in_a_room_somebody_has_to_speak_to_the_bot() {
        let settings = settings("");
        let gate = Gate::new(&settings, ME, Some("Hermes Bot"));
        let passes = |said: &Said| gate.judge(said, in_room(false)).is_ok();
        let linked = |html: &str| Said { html: html.to_owned(), ..said("x") };
        let meant = Said { mentions: vec!["@BOT:hs.org".to_owned()], ..said("you") };
        for (message, expected) in [
            (said("hello"), false),
            (said("bot: hello"), false),
            (said("Hermes Bot: hello"), false),
            (said("@bot:hs.org hello"), true),
            (said("hello @bot:hs.org."), true),
            (said("hello @bot:hs.org.uk"), false),
            (said("mail x@bot:hs.org"), false),
            (said("@bot:hs.org:8448 is another"), false),
            (said("/status"), true),
            (said("!status"), true),
            (said("!important"), false),
            (said("/usr/bin is a path"), false),
            (meant, true),
            (linked("<a href=\"https://matrix.to/#/@bot:hs.org\">Hermes Bot</a>"), true),
            (linked("<a href=\"https://matrix.to/#/%40bot%3Ahs.org\">Hermes Bot</a>"), true),
            (linked("<a href=\"https://matrix.to/#/@bot:hs.org.evil\">Hermes Bot</a>"), false),
        ] {
            assert_eq!(passes(&message), expected, "{message:?}");
        }
        assert!(gate.judge(&said("hello"), in_room(true)).is_ok());
        assert!(gate.judge(&said("hello"), Place { is_private: true, ..in_room(false) }).is_ok());
    }

    #[test]
    fn rooms_are_listened_to_as_they_are_listed() {
        let read = |extra: &str, private: bool| {
            let settings = settings(extra);
            let place = Place { is_private: private, ..in_room(false) };
            Gate::new(&settings, ME, None).judge(&said("hello"), place)
        };
        assert_eq!(read("free_response_rooms: ['!r:hs.org']", false), Ok(()));
        assert_eq!(read("free_response_rooms: ['*']", false), Ok(()));
        assert_eq!(read("require_mention: false", false), Ok(()));
        assert_eq!(
            read("require_mention: false, allowed_rooms: ['!other:hs.org']", false),
            Err(Passed::Room)
        );
        assert_eq!(read("allowed_rooms: ['!other:hs.org']", true), Ok(()));
    }

    #[test]
    fn some_are_never_answered() {
        let settings = settings("ignore_user_patterns: ['^@spam']");
        let gate = Gate::new(&settings, ME, None);
        let deaf = |who: &str| gate.is_deaf_to(who);
        assert_eq!(deaf("@Bot:hs.org"), Some(Passed::Own));
        assert_eq!(deaf("@_irc_ann:hs.org"), Some(Passed::Ignored));
        assert_eq!(deaf("@spammer:hs.org"), Some(Passed::Ignored));
        assert_eq!(deaf("@ann:hs.org"), None);
        let notice = Said { is_notice: true, ..said("x") };
        assert_eq!(gate.is_for_nobody(&notice), Some(Passed::Notice));
        assert_eq!(
            gate.is_for_nobody(&Said { is_replacement: true, ..said("x") }),
            Some(Passed::Replacement)
        );
    }

    #[test]
    fn the_bot_s_own_name_is_no_part_of_what_is_said() {
        let settings = settings("");
        let gate = Gate::new(&settings, ME, Some("Hermes Bot"));
        let meant = |text: &str| gate.words(&Said { mentions: vec![ME.to_owned()], ..said(text) });
        for (text, expected) in [
            ("@bot:hs.org: hello", "hello"),
            ("Hermes Bot: hello", "hello"),
            ("@Hermes Bot, hello", "hello"),
            ("hermes bot hello", "hello"),
            ("Hermes Bots are many", "Hermes Bots are many"),
            ("hello @bot:hs.org", "hello @bot:hs.org"),
            ("@bot:hs.org", "@bot:hs.org"),
            ("Hermes Bot: /status", "/status"),
        ] {
            assert_eq!(meant(text), expected, "{text}");
        }
        assert_eq!(gate.words(&said("Hermes Bot: hello")), "Hermes Bot: hello");
        assert_eq!(gate.words(&Said { is_emote: true, ..said("waves") }), "* waves");
    }

    #[test]
    fn answers_stand_in_threads_as_the_settings_say() {
        let of = |extra: &str, message: &Said, private: bool| {
            let settings = settings(extra);
            let Threads { answer, session } = Gate::new(&settings, ME, None).threads(message, "$e", private);
            (answer.unwrap_or_default(), session.unwrap_or_default())
        };
        let is = |answer: &str, session: &str| (answer.to_owned(), session.to_owned());
        let within = Said { thread: Some("$root".to_owned()), ..said("x") };
        assert_eq!(of("", &said("x"), false), is("$e", "$e"));
        assert_eq!(of("", &within, false), is("$root", "$root"));
        assert_eq!(of("", &said("/status"), false), is("", ""));
        assert_eq!(of("auto_thread: false", &said("x"), false), is("", ""));
        assert_eq!(of("", &said("x"), true), is("", ""));
        assert_eq!(of("", &within, true), is("$root", "$root"));
        assert_eq!(of("dm_auto_thread: true", &said("x"), true), is("$e", "$e"));
        assert_eq!(of("dm_mention_threads: true", &said("hey @bot:hs.org"), true), is("$e", "$e"));
        assert_eq!(of("session_scope: room", &said("x"), false), is("$e", ""));
        assert_eq!(of("session_scope: thread", &said("x"), true), is("$e", "$e"));
    }
}
