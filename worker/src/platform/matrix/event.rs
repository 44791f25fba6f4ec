//! A message of a room as the worker takes it: who says it where, what it says, and what came with it.

use super::account::{Account, Room};
use super::gate::Threads;
use super::settings::NAME;
use super::target::target;
use super::wire::{File, Said};
use crate::access::Facts;
use crate::handover::{Arrived, Attached, Unfetched};
use crate::inbound::{Busy, DedupKey, Inbound, Source};

/// Characters of a message that is replied to.
const QUOTED: usize = 500;

/// What a message answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quoted {
    /// Who said it; none: the bot did.
    pub(super) whom: Option<String>,
    pub(super) text: String,
}

/// A message, and all that was found out about it.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) room: String,
    pub(super) about: Room,
    pub(super) is_private: bool,
    /// The event's id.
    pub(super) id: String,
    pub(super) sender: String,
    /// When, as the sender's server says, in milliseconds.
    pub(super) sent: u64,
    pub(super) said: Said,
    /// The text, without the bot's name in front.
    pub(super) words: String,
    pub(super) is_command: bool,
    pub(super) threads: Threads,
    pub(super) addressed: bool,
    /// What its sender is called.
    pub(super) name: Option<String>,
    pub(super) quoted: Option<Quoted>,
}

impl Heard {
    /// Whether this person says it there.
    pub(super) fn is_at(&self, room: &str, sender: &str, thread: Option<&str>) -> bool {
        self.room == room && self.sender == sender && self.said.thread.as_deref() == thread
    }

    /// What it is to whoever sends it again.
    pub(super) fn key(&self) -> DedupKey {
        DedupKey { scope: self.room.clone(), id: self.id.clone() }
    }

    /// Who says it where.
    pub(super) fn source(&self) -> Source {
        source(&self.room, self.is_private, self.threads.session.clone(), &self.sender)
    }
}

/// Who speaks where.
pub(super) fn source(room: &str, is_private: bool, thread: Option<String>, user: &str) -> Source {
    Source {
        platform: NAME.to_owned(),
        chat_type: if is_private { "dm" } else { "group" }.to_owned(),
        chat_id: Some(room.to_owned()),
        thread_id: thread,
        user_id: Some(user.to_owned()),
        ..Source::default()
    }
}

/// Messages that belong together, as one event. `None`: there is nothing in them that anybody could answer.
pub(super) async fn arrived(all: &[&Heard], account: &Account) -> Option<Arrived> {
    let first = *all.first()?;
    let words: Vec<&str> =
        all.iter().map(|heard| heard.words.as_str()).filter(|words| !words.is_empty()).collect();
    let files: Vec<&File> = all.iter().filter_map(|heard| heard.said.file.as_ref()).collect();
    let words = words.join("\n");
    if words.is_empty() && files.is_empty() {
        return None;
    }
    let is_command = words.starts_with('/') || words.starts_with('!');
    let text = if is_command { words } else { reply(first.quoted.as_ref()) + &words };
    let name = all.iter().find_map(|heard| heard.name.clone());
    let named = name.or_else(|| first.sender[1..].split(':').next().map(str::to_owned));
    let inbound = Inbound {
        source: Source { chat_name: first.about.name.clone(), user_name: named, ..first.source() },
        text,
        dedup: Some(first.key()),
        delivery: target(&first.room, first.threads.answer.clone(), &first.id, &first.sender),
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let mut attachments = Vec::new();
    for file in files {
        attachments.push(attached(file, account).await);
    }
    let addressed = first.is_private || all.iter().any(|heard| heard.addressed);
    let facts = Facts { addressed, ..Facts::default() };
    let server = first.room.split_once(':').map(|(_, server)| server.to_owned());
    let also = all[1..].iter().map(|heard| heard.id.clone()).collect();
    Some(Arrived { attachments, facts, guild_id: server, also, ..Arrived::from(inbound) })
}

/// What a message replies to, for who does not see it.
fn reply(quoted: Option<&Quoted>) -> String {
    let Some(Quoted { whom, text }) = quoted else { return String::new() };
    let mut cut: String = text.trim().chars().take(QUOTED).collect();
    if cut.is_empty() {
        return String::new();
    }
    if cut.len() < text.trim().len() {
        cut.push('…');
    }
    let whom = whom.as_deref().unwrap_or("your message");
    format!("[Replying to {whom}: \"{cut}\"]\n\n")
}

/// A file as the worker takes it. How long it is, the server says: what its sender says may be anything. So it is asked for at once, and read
/// when it is wanted.
async fn attached(file: &File, account: &Account) -> Attached {
    let most = account.settings.largest;
    let found = match &file.place {
        None => Err(Unfetched::Gone("it is encrypted, and this build has no encryption".to_owned())),
        Some(_) if file.length.is_some_and(|length| length > most) => Err(too_large(most)),
        Some((server, name)) => match account.both().await {
            Ok((service, token)) => service.file(&token, (server, name)).await,
            Err(failure) => Err(Unfetched::Away(failure.to_string())),
        },
    };
    let (length, opened) = match found {
        Ok((length, bytes)) => match length.or(file.length) {
            Some(length) if length > most => (length, Err(too_large(most))),
            Some(length) => (length, Ok(bytes)),
            None => (0, Err(Unfetched::Gone("nobody says how long it is".to_owned()))),
        },
        Err(error) => (file.length.unwrap_or(0).min(most), Err(error)),
    };
    Attached {
        name: file.name.clone(),
        media_type: file.media_type.clone(),
        length,
        open: Box::new(move || Box::pin(std::future::ready(opened))),
    }
}

fn too_large(most: u64) -> Unfetched {
    Unfetched::Gone(format!("it is larger than {most} bytes (platforms.matrix.max_media_bytes)"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Something that somebody says in a room of two.
    pub(in super::super) fn heard(sender: &str, said: Said) -> Heard {
        Heard {
            room: "!r:hs".to_owned(),
            about: Room { people: 2, is_encrypted: false, name: None },
            is_private: true,
            id: "$e".to_owned(),
            sender: sender.to_owned(),
            sent: 0,
            words: said.text.clone(),
            is_command: false,
            threads: Threads::default(),
            addressed: false,
            name: None,
            quoted: None,
            said,
        }
    }

    #[test]
    fn a_reply_says_to_what() {
        let of = |whom: Option<&str>, text: &str| {
            reply(Some(&Quoted { whom: whom.map(str::to_owned), text: text.to_owned() }))
        };
        assert_eq!(reply(None), "");
        assert_eq!(of(Some("Ann"), "is it?"), "[Replying to Ann: \"is it?\"]\n\n");
        assert_eq!(of(None, "it is"), "[Replying to your message: \"it is\"]\n\n");
        assert_eq!(of(None, &"x".repeat(600)).matches('x').count(), 500);
        assert_eq!(of(None, " "), "");
    }
}
