//! A post as the worker takes it: who says it where, and where an answer goes. Pure.

use std::collections::BTreeMap;

use super::settings::NAME;
use super::wire::Post;
use crate::access::Facts;
use crate::delivery::outbound::CHAT_ID;
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};

/// Key of a target's parameters: the thread, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";
/// Likewise: the post that began the turn.
pub(super) const MESSAGE: &str = "message_id";

/// What is known of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// As Mattermost says it: `O`, `P`, `G`, `D`.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) team: String,
}

impl Place {
    /// Nobody else reads along.
    pub(super) fn is_private(&self) -> bool {
        self.kind == "D"
    }

    fn chat_type(&self) -> &'static str {
        match self.kind.as_str() {
            "D" => "dm",
            "O" => "channel",
            // Private channels and groups; of an unknown kind it is not known who reads along.
            _ => "group",
        }
    }
}

/// What is known of whoever wrote.
pub(super) fn facts(post: &Post, addressed: bool) -> Facts {
    Facts { is_bot: post.is_bot, addressed, ..Facts::default() }
}

/// Who says something where. `threads`: a message of a channel begins a thread.
pub(super) fn source(post: &Post, place: &Place, name: Option<String>, threads: bool) -> Source {
    let own = (threads && !place.is_private()).then(|| post.id.clone());
    let name_of = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    Source {
        platform: NAME.to_owned(),
        chat_type: place.chat_type().to_owned(),
        chat_id: Some(post.channel.clone()),
        chat_name: name_of(&place.name),
        thread_id: post.root.clone().or(own),
        user_id: Some(post.user.clone()),
        user_name: name,
        ..Source::default()
    }
}

/// What somebody says, in these words. None: there is nothing in it that anybody could answer.
pub(super) fn inbound(post: &Post, source: Source, words: String) -> Option<Inbound> {
    if words.is_empty() && post.files.is_empty() {
        return None;
    }
    let mut extra =
        BTreeMap::from([(CHAT_ID.to_owned(), post.channel.clone()), (MESSAGE.to_owned(), post.id.clone())]);
    extra.extend(source.thread_id.clone().map(|thread| (THREAD_ID.to_owned(), thread)));
    Some(Inbound {
        source,
        text: words,
        dedup: Some(DedupKey { scope: post.channel.clone(), id: post.id.clone() }),
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_where_it_is_held() {
        let post = |root: Option<&str>| Post {
            id: "p1".into(),
            channel: "c1".into(),
            user: "u1".into(),
            root: root.map(str::to_owned),
            ..Post::default()
        };
        let of = |kind: &str, root: Option<&str>, threads| {
            let place = Place { kind: kind.into(), ..Place::default() };
            let source = source(&post(root), &place, None, threads);
            (source.chat_type, source.thread_id)
        };
        let is = |kind: &str, thread: Option<&str>| (kind.to_owned(), thread.map(str::to_owned));
        assert_eq!(of("D", None, false), is("dm", None));
        assert_eq!(of("D", None, true), is("dm", None));
        assert_eq!(of("D", Some("r1"), true), is("dm", Some("r1")));
        assert_eq!(of("O", None, false), is("channel", None));
        assert_eq!(of("O", None, true), is("channel", Some("p1")));
        assert_eq!(of("O", Some("r1"), false), is("channel", Some("r1")));
        assert_eq!(
            (of("P", None, false).0, of("G", None, false).0),
            ("group".to_owned(), "group".to_owned())
        );
        assert_eq!(of("", None, false).0, "group");
    }

    #[test]
    fn an_answer_goes_to_where_it_was_asked() {
        let post = Post { id: "p1".into(), channel: "c1".into(), root: Some("r1".into()), ..Post::default() };
        let source = source(&post, &Place::default(), None, false);
        let event = inbound(&post, source.clone(), "hi".to_owned()).unwrap();
        let extra: Vec<_> = event.delivery.extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(extra, [("chat_id", "c1"), ("message_id", "p1"), ("thread_id", "r1")]);
        assert_eq!(inbound(&post, source, String::new()), None);
    }
}
