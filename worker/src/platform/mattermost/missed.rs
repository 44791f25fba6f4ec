//! What was said while the bot was away: of each channel in which something was, from where everything is stored.

use super::desk::{Desk, Item, place};
use super::service::Failure;
use super::settings::NAME;
use super::wire::{Post, WireError};

/// As many posts as a server gives at once; behind them there may be more.
const WHOLE: usize = 1000;
/// Most pages that are asked for instead.
const PAGES: usize = 100;

/// What is for the bot of all that. The first time nothing is: what was said before the bot was there is not for it.
pub(super) async fn missed(desk: &Desk<'_>) -> Result<Vec<Item>, Failure> {
    let (is_new, since) = {
        let mut mark = desk.mark();
        (mark.is_new(), mark.hold())
    };
    let mut channels = desk.service.channels().await?;
    for channel in &channels {
        desk.learn(&channel.id, place(channel));
    }
    if is_new {
        let last = channels.iter().map(|channel| channel.last_post_at).max();
        desk.mark().begin(last.unwrap_or_default());
        return Ok(Vec::new());
    }
    channels.retain(|channel| channel.last_post_at > since && channel.delete_at == 0);
    let mut items = Vec::new();
    for channel in channels {
        match of_channel(desk, &channel.id, since).await {
            Ok(posts) => items.extend(posts),
            // The bot was put out of it meanwhile.
            Err(failure) if failure.is_absence() => {
                tracing::debug!("[{NAME}] nothing is read of channel {}: {failure}", channel.id);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(items)
}

async fn of_channel(desk: &Desk<'_>, channel: &str, since: u64) -> Result<Vec<Item>, Failure> {
    match desk.service.since(channel, since).await {
        Ok(found) if found.named < WHOLE => {
            say_odd(channel, found.odd);
            return Ok(for_bot(desk, found.all, since));
        }
        Ok(_) | Err(Failure::Garbled(WireError::TooMuch(_))) => {}
        Err(failure) => return Err(failure),
    }
    let mut items = Vec::new();
    let mut before: Option<String> = None;
    for _ in 0..PAGES {
        let page = desk.service.before(channel, before.as_deref()).await?;
        say_odd(channel, page.odd);
        let Some(oldest) = page.all.first() else { return Ok(items) };
        let is_last = oldest.at <= since || before.as_ref() == Some(&oldest.id);
        before = Some(oldest.id.clone());
        let mut earlier = for_bot(desk, page.all, since);
        earlier.append(&mut items);
        items = earlier;
        if is_last {
            return Ok(items);
        }
    }
    tracing::warn!(
        "[{NAME}] so much was said in channel {channel} meanwhile that the beginning of it is left out"
    );
    Ok(items)
}

fn say_odd(channel: &str, odd: usize) {
    if odd > 0 {
        tracing::warn!(
            "[{NAME}] {odd} posts of channel {channel} are skipped: a part of them is missing or too long"
        );
    }
}

/// Old posts come along that were changed since then.
fn for_bot(desk: &Desk<'_>, posts: Vec<Post>, since: u64) -> Vec<Item> {
    let fresh = posts.into_iter().filter(|post| post.at > since);
    let item = |post: Post| {
        let is_private = desk.known(&post.channel).is_some_and(|place| place.is_private());
        let addressed = desk.gate.judge(&post, is_private).ok()?;
        Some(Item { post, addressed })
    };
    fresh.filter_map(item).collect()
}
