//! Which posts are for the bot, and what they say to it. Pure.
//!
//! In a private chat all are; elsewhere those that pass this gate, in this order: channels that are listened to; channels where everything is
//! for the bot, or all without `require_mention`; a mention. Who may talk to the bot is another question, and asked behind this one.

use super::settings::Settings;
use super::wire::Post;

/// Kinds of posts that somebody has written: as usual, with `/me`, and through a webhook.
const WRITTEN: [&str; 3] = ["", "me", "slack_attachment"];

/// Why a post is not for the bot; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The bot wrote it.
    Own,
    /// Nobody wrote it: somebody came or went, something was changed.
    Kind,
    /// It is gone already.
    Deleted,
    /// Its channel is not listened to.
    Channel,
    /// It does not mention the bot.
    Unmentioned,
}

/// The gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate<'g> {
    pub(super) settings: &'g Settings,
    /// The bot's id, and its name.
    pub(super) me: &'g str,
    pub(super) name: &'g str,
}

impl Gate<'_> {
    /// What can be said of a post wherever it stands.
    pub(super) fn knows(&self, post: &Post) -> Result<(), Passed> {
        if post.user == self.me {
            return Err(Passed::Own);
        }
        if !WRITTEN.contains(&post.kind.as_str()) {
            return Err(Passed::Kind);
        }
        if post.is_deleted {
            return Err(Passed::Deleted);
        }
        Ok(())
    }

    /// Whether a post is for the bot. `true`: it says so itself.
    pub(super) fn judge(&self, post: &Post, is_private: bool) -> Result<bool, Passed> {
        self.knows(post)?;
        if is_private {
            return Ok(true);
        }
        let settings = self.settings;
        let allowed = &settings.allowed_channels;
        if !allowed.is_empty() && !allowed.holds(&post.channel) {
            return Err(Passed::Channel);
        }
        let is_mentioned = mentions(&post.message, self.name).next().is_some();
        if is_mentioned || !settings.require_mention || settings.free_response_channels.holds(&post.channel) {
            Ok(is_mentioned)
        } else {
            Err(Passed::Unmentioned)
        }
    }

    /// What a post says, without the bot's name.
    pub(super) fn words(&self, message: &str) -> String {
        let mut words = String::with_capacity(message.len());
        let mut from = 0;
        for at in mentions(message, self.name) {
            words.push_str(message[from..at].trim_end_matches(' '));
            from = at + 1 + self.name.len();
        }
        words.push_str(&message[from..]);
        words.trim().to_owned()
    }
}

/// Where a text mentions somebody: `@name`, in any letter case, and no longer name. Names are of ASCII.
fn mentions<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = usize> {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices('@').map(|(at, _)| at).filter(move |at| {
        let (before, rest) = (&text[..*at], &text[at + 1..]);
        let is_named =
            !name.is_empty() && rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if !is_named || before.ends_with(is_of_name) {
            return false;
        }
        // A point ends a sentence, or goes on with a name.
        !rest[name.len()..].trim_start_matches('.').starts_with(is_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn post(message: &str) -> Post {
        Post { user: "u1".into(), channel: "c1".into(), message: message.into(), ..Post::default() }
    }

    #[test]
    fn a_mention_is_the_whole_name() {
        let at = |text: &str| mentions(text, "hermes").collect::<Vec<_>>();
        assert_eq!(at("@hermes hi, @Hermes."), [0, 12]);
        assert_eq!(at("(@hermes)"), [1]);
        for other in
            ["hermes", "@hermes2", "@hermes-two", "mail@hermes", "@hermes.two", "@herme", "@", "ö@hermes"]
        {
            assert_eq!(at(other), [0; 0], "{other}");
        }
    }

    #[test]
    fn in_channels_the_gate_decides_in_its_order() {
        let unmentioned = Err(Passed::Unmentioned);
        for (extra, text, expected) in [
            ("", "hello all", unmentioned),
            ("", "hey @hermes", Ok(true)),
            ("", "@channel look", unmentioned),
            ("require_mention: false", "hello all", Ok(false)),
            ("free_response_channels: [c1]", "hello all", Ok(false)),
            ("free_response_channels: ['*']", "hello all", Ok(false)),
            ("free_response_channels: [c2]", "hello all", unmentioned),
            ("allowed_channels: [c2]", "@hermes", Err(Passed::Channel)),
            ("allowed_channels: [c1]", "@hermes", Ok(true)),
        ] {
            let settings = settings(extra).0.unwrap();
            let gate = Gate { settings: &settings, me: "ubot", name: "hermes" };
            assert_eq!(gate.judge(&post(text), false), expected, "{extra}: {text}");
            assert_eq!(gate.judge(&post(text), true), Ok(true), "in private");
        }
        let settings = settings("").0.unwrap();
        let gate = Gate { settings: &settings, me: "ubot", name: "hermes" };
        let of = |change: fn(&mut Post)| {
            let mut post = post("@hermes");
            change(&mut post);
            gate.judge(&post, true)
        };
        assert_eq!(of(|post| post.user = "ubot".into()), Err(Passed::Own));
        assert_eq!(of(|post| post.kind = "system_join_channel".into()), Err(Passed::Kind));
        assert_eq!(of(|post| post.is_deleted = true), Err(Passed::Deleted));
        assert_eq!(of(|post| post.kind = "me".into()), Ok(true));
    }

    #[test]
    fn what_is_said_is_said_without_the_name() {
        let settings = settings("").0.unwrap();
        let gate = Gate { settings: &settings, me: "ubot", name: "hermes" };
        assert_eq!(gate.words("@hermes hello"), "hello");
        assert_eq!(gate.words("hello @Hermes, are you there?"), "hello, are you there?");
        assert_eq!(gate.words("@hermes"), "");
        assert_eq!(gate.words("@hermes !new"), "!new");
    }
}
