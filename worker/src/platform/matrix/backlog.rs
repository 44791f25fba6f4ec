//! What was said in a room since the last sync, in order: what came with it, and what the server left out.
//!
//! A server gives the newest events of a room and says where those before them begin. They are fetched page by page, backwards, up to
//! where the last sync ended. Nothing that was said before the bot was asked into the room is for the bot.

use serde_json::{Value, json};

use super::account::Account;
use super::service::{Ask, Failure};
use super::settings::NAME;
use super::wire::{self, Event, Membership, News, What, WireError};

/// Events that are fetched at once, and pages of them, at most.
const PAGE: &str = "100";
const PAGES: usize = 20;

/// Kinds of events that are looked at.
pub(super) const KINDS: [&str; 8] = [
    "m.room.message",
    "m.sticker",
    "m.reaction",
    "m.room.encrypted",
    "m.room.encryption",
    "m.room.member",
    "m.room.name",
    "m.room.tombstone",
];

/// Where the bot's own time in a room begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// With this event, or behind it: what is before is not for the bot.
    Here,
    /// It was asked into the room here; it may have come later.
    Asked,
    Not,
}

fn begins(event: &Event, me: &str) -> Begins {
    match &event.what {
        What::Member { who, is, was, .. } if who.eq_ignore_ascii_case(me) => match (is, was) {
            (Membership::Invited, _) => Begins::Asked,
            // The first time, there is nothing before.
            (Membership::Out, _) | (Membership::Joined, None | Some(Membership::Out)) => Begins::Here,
            (Membership::Joined, Some(_)) => Begins::Not,
        },
        _ => Begins::Not,
    }
}

/// What of these is for the bot, and whether all that is before them is not.
pub(super) fn own(events: Vec<Event>, me: &str) -> (Vec<Event>, bool) {
    let mut asked = false;
    let mut cut = 0;
    for (n, event) in events.iter().enumerate() {
        match begins(event, me) {
            // Some servers do not say what was before a join: an invitation that was seen is it.
            Begins::Here
                if matches!(event.what, What::Member { is: Membership::Joined, was: None, .. }) && asked => {}
            Begins::Asked | Begins::Here => (cut, asked) = (n, true),
            Begins::Not => {}
        }
    }
    let mut events = events;
    (events.split_off(cut), asked)
}

/// All that is new in a room, in order. `since`: where the last sync ended.
pub(super) async fn whole(
    account: &Account,
    room: &str,
    news: News,
    since: &str,
    me: &str,
) -> Result<Vec<Event>, Failure> {
    let News { events, gap, .. } = news;
    let (mut events, mut is_whole) = own(events, me);
    let mut from = gap;
    for _ in 0..PAGES {
        let Some(start) = from.filter(|_| !is_whole) else { return Ok(events) };
        let Some((mut page, next)) = page(account, room, &start, since).await? else { return Ok(events) };
        page.append(&mut events);
        (events, is_whole) = own(page, me);
        from = next.filter(|next| *next != start);
    }
    if from.is_some() && !is_whole {
        tracing::warn!("[{NAME}] so much was said in {room} meanwhile that the beginning of it is left out");
    }
    Ok(events)
}

/// One page backwards, in order, and where the next one begins. `None`: the room is not the bot's any more.
async fn page(
    account: &Account,
    room: &str,
    from: &str,
    to: &str,
) -> Result<Option<(Vec<Event>, Option<String>)>, Failure> {
    let filter = json!({"types": KINDS}).to_string();
    let query = [("dir", "b"), ("from", from), ("to", to), ("limit", PAGE), ("filter", filter.as_str())];
    let path = ["client", "v3", "rooms", room, "messages"];
    let answer = match account.ask(&Ask::get("messages", &path).with(&query)).await {
        Ok(answer) => answer,
        Err(failure) if failure.is_absence() => {
            tracing::warn!(
                "[{NAME}] what was said in {room} meanwhile is not to be had, and left out: {failure}"
            );
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let chunk = answer["chunk"].as_array().ok_or(WireError::Garbled("messages"))?;
    let (mut events, odd) = wire::events(chunk);
    if odd > 0 {
        tracing::warn!("[{NAME}] {odd} events in {room} are skipped: a part of them is missing or too long");
    }
    events.reverse();
    let next = answer["end"].as_str().filter(|next| next.len() <= 4096).map(str::to_owned);
    // An empty page may be followed by others: what is filtered out fills pages as well.
    Ok(Some((events, next)))
}

/// What is asked for by `/sync`.
pub(super) fn filter(limit: u32) -> String {
    let none: [&str; 0] = [];
    let value: Value = json!({
        "presence": {"types": none},
        "account_data": {"types": ["m.direct"]},
        "room": {
            "ephemeral": {"types": none},
            "account_data": {"types": none},
            "timeline": {"limit": limit, "types": KINDS},
            "state": {"types": KINDS, "lazy_load_members": true, "include_redundant_members": true},
        },
    });
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "@bot:hs";

    fn message(id: &str) -> Event {
        let what = What::Message(Box::default());
        Event { id: id.to_owned(), sender: "@ann:hs".to_owned(), sent: 0, what }
    }

    fn member(is: Membership, was: Option<Membership>) -> Event {
        let what = What::Member { who: ME.to_owned(), is, was, name: None };
        Event { id: "$m".to_owned(), sender: "@ann:hs".to_owned(), sent: 0, what }
    }

    fn left(events: Vec<Event>) -> (String, bool) {
        let (events, is_whole) = own(events, ME);
        let ids: Vec<String> = events.into_iter().map(|event| event.id.replace('$', "")).collect();
        (ids.concat(), is_whole)
    }

    #[test]
    fn what_was_said_before_the_bot_was_asked_is_not_for_it() {
        use Membership::{Invited, Joined, Out};
        let [a, b, c] = ["$a", "$b", "$c"].map(message);
        let of = |events: &[&Event]| left(events.iter().map(|event| (*event).clone()).collect());
        assert_eq!(of(&[&a, &b]), ("ab".to_owned(), false));
        let (asked, joined) = (member(Invited, None), member(Joined, Some(Invited)));
        assert_eq!(
            of(&[&a, &asked, &b, &joined, &c]),
            ("mbmc".to_owned(), true),
            "said while it was on its way"
        );
        assert_eq!(of(&[&a, &asked, &b, &member(Joined, None), &c]), ("mbmc".to_owned(), true));
        assert_eq!(of(&[&a, &member(Joined, None), &c]), ("mc".to_owned(), true));
        assert_eq!(of(&[&a, &member(Joined, Some(Joined)), &c]), ("amc".to_owned(), false), "another name");
        assert_eq!(
            of(&[&a, &member(Out, Some(Joined)), &b, &member(Joined, Some(Out)), &c]),
            ("mc".to_owned(), true)
        );
    }
}
