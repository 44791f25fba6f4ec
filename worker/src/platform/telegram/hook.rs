//! The loop behind the door: has the service bring updates, and takes them the way that polled ones go.
//!
//! # Guarantees
//!
//! - What the door calls stored is in the inbox, or, where it waits for its other parts, in the mark. What is brought again is known by its
//!   number, and its message in the inbox.
//! - Where the service does not get through, or goes elsewhere, the connection says so: `getWebhookInfo` is asked as often as a poll ends.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::door::{Door, Post};
use super::errands::Errands;
use super::gather::HELD;
use super::polling::Connection;
use super::service::{Failure, Service, WANTED};
use super::settings::{Hook, PATHS};
use super::wire::{Update, WebhookInfo};
use crate::platform::Down;

/// Updates that wait behind the door.
const QUEUE: usize = 64;
/// Most that are brought at once. Those of one chat come one after the other all the same.
const AT_ONCE: u32 = 16;
/// Numbers of updates that are known to be stored.
const KNOWN: usize = 4096;
/// A connection that stands for so long is alone.
const ALONE: Duration = Duration::from_mins(2);

/// The numbers of the last updates that are stored.
#[derive(Debug, Default)]
struct Known(BTreeSet<i64>);

impl Known {
    fn add(&mut self, id: i64) {
        self.0.insert(id);
        if self.0.len() > KNOWN {
            self.0.pop_first();
        }
    }

    fn has(&self, id: i64) -> bool {
        self.0.contains(&id)
    }
}

/// What a look at the webhook found, compared with the one before.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Well,
    /// Updates go elsewhere.
    Elsewhere,
    /// The service does not get through.
    Blocked,
}

/// `before`: when the service last did not get through, by the look before; `called`: it got through since then.
fn judge(info: &WebhookInfo, url: &str, before: Option<i64>, called: bool) -> Look {
    if info.url != url {
        return Look::Elsewhere;
    }
    let is_new = info.last_error_date.is_some_and(|date| before != Some(date));
    if info.pending_update_count > 0 && is_new && !called { Look::Blocked } else { Look::Well }
}

type Looking<'a> = Pin<Box<dyn Future<Output = Result<WebhookInfo, Failure>> + Send + 'a>>;

/// What was brought, and who waits for it to be stored.
#[derive(Default)]
struct Brought {
    known: Known,
    waiting: Vec<(i64, oneshot::Sender<bool>)>,
}

impl Brought {
    /// The updates of those who knock that are new here, in order. `held`: so many messages are held already.
    fn new_of(&mut self, posts: impl Iterator<Item = Post>, held: usize) -> Vec<Update> {
        let mut updates = Vec::new();
        for Post { update, stored } in posts {
            if self.known.has(update.id) {
                // Nobody waits any more, or he hears it.
                let _ = stored.send(true);
            } else if held >= HELD {
                let _ = stored.send(false);
            } else {
                self.waiting.push((update.id, stored));
                updates.push(update);
            }
        }
        updates.sort_by_key(|update| update.id);
        updates.dedup_by_key(|update| update.id);
        updates
    }

    /// Says who is stored: what is not held is, and what is held if that is written down.
    fn answer(&mut self, is_held: impl Fn(i64) -> bool, is_marked: bool) {
        for (id, stored) in self.waiting.drain(..) {
            if !is_held(id) {
                self.known.add(id);
            }
            let _ = stored.send(is_marked || !is_held(id));
        }
    }
}

impl Connection<'_> {
    /// Has the service bring updates, and takes them, until told otherwise.
    pub(super) async fn be_called(mut self, hook: &Hook, door: &Door) -> Result<(), Down> {
        let info = tokio::select! {
            biased;
            _ = self.link.told() => return Ok(()),
            info = self.set(hook) => info?,
        };
        let since = Instant::now();
        let (sender, mut posts) = mpsc::channel(QUEUE);
        door.open(sender);
        self.link.up_by("webhook");
        self.polling.failures.stands();
        let mut errands = Errands::default();
        self.prepare(&mut errands);
        let every = self.polling.settings.poll;
        let mut looks = interval_at(since + every, every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let service = self.service.clone();
        let mut looking: Option<Looking<'_>> = None;
        let (mut before, mut called) = (info.last_error_date, false);
        let mut brought = Brought::default();
        let mut marked = self.gather.held();
        let lost = loop {
            let due = self.gather.next();
            let is_looking = looking.is_some();
            let is_due = async { sleep_until(due.unwrap_or(since)).await };
            let look = async {
                match looking.as_mut() {
                    Some(looking) => looking.await,
                    None => std::future::pending().await,
                }
            };
            let mut updates = Vec::new();
            tokio::select! {
                biased;
                _ = self.link.told() => break None,
                failure = service.refused() => break Some(self.polling.failures.down(&failure)),
                (held, accepted) = errands.settled() => {
                    if let Err(down) = self.settle(held, accepted, &mut errands).await {
                        break Some(down);
                    }
                }
                info = look => {
                    looking = None;
                    let date = match self.looked(hook, info, before, called) {
                        Ok(date) => date,
                        Err(down) => break Some(down),
                    };
                    (before, called) = (date, false);
                    if since.elapsed() >= ALONE {
                        self.polling.failures.alone();
                    }
                    continue;
                }
                _ = looks.tick(), if !is_looking => {
                    looking = Some(Box::pin(info_of(&service)));
                    continue;
                }
                () = is_due, if due.is_some() => {}
                Some(post) = posts.recv() => {
                    called = true;
                    let more = std::iter::from_fn(|| posts.try_recv().ok());
                    updates = brought.new_of(std::iter::once(post).chain(more), self.gather.count());
                }
            }
            match self.take(0, updates, &mut errands).await {
                Ok(true) => {}
                Ok(false) => break None,
                Err(down) => break Some(down),
            }
            let held = self.gather.held();
            if held != marked {
                // Which of them are stored the service knows, whoever asks it next.
                self.write_down(0, held.clone()).await;
                if self.is_marked {
                    marked = held;
                }
            }
            brought.answer(|id| self.gather.has(id), self.is_marked);
        };
        door.shut(lost.as_ref());
        if lost.is_none() {
            errands.finish().await;
            self.keep(0).await;
            brought.answer(|id| self.gather.has(id), self.is_marked);
        }
        lost.map_or(Ok(()), Err)
    }

    /// Tells the service where to bring updates, and looks whether it will.
    async fn set(&self, hook: &Hook) -> Result<WebhookInfo, Down> {
        let down = |failure: &Failure| self.polling.failures.down(failure);
        let url = hook.url.as_str();
        let body = json!({
            "url": url,
            "secret_token": hook.secret.expose(),
            "allowed_updates": WANTED,
            "max_connections": AT_ONCE,
            "drop_pending_updates": false,
        });
        let set = self.service.call::<Value>("setWebhook", &body).await;
        set.map_err(|failure| refused(&failure, down(&failure)))?;
        let info = info_of(&self.service).await.map_err(|failure| down(&failure))?;
        if info.url == url { Ok(info) } else { Err(self.polling.failures.elsewhere()) }
    }

    /// What a look found: when the service last did not get through.
    fn looked(
        &self,
        hook: &Hook,
        info: Result<WebhookInfo, Failure>,
        before: Option<i64>,
        called: bool,
    ) -> Result<Option<i64>, Down> {
        let info = info.map_err(|failure| self.polling.failures.down(&failure))?;
        match judge(&info, hook.url.as_str(), before, called) {
            Look::Elsewhere => return Err(self.polling.failures.elsewhere()),
            Look::Blocked => self.link.ails(blocked(hook, &self.service.clean(&info.error()))),
            Look::Well if info.pending_update_count == 0 || called => self.link.up_by("webhook"),
            Look::Well => self.link.progress(),
        }
        Ok(info.last_error_date)
    }
}

async fn info_of(service: &Service) -> Result<WebhookInfo, Failure> {
    service.call("getWebhookInfo", &json!({})).await
}

/// What it is to the connection that the service takes no webhook.
fn refused(failure: &Failure, down: Down) -> Down {
    match failure {
        Failure::Refused { refusal, .. } if refusal.status == 400 => {
            let message = format!("Telegram does not take TELEGRAM_WEBHOOK_URL: {failure}");
            Down { code: "telegram_webhook_refused".to_owned(), message, ..down }
        }
        _ => down,
    }
}

fn blocked(hook: &Hook, why: &str) -> Down {
    let host = hook.url.host_str().unwrap_or_default();
    let message = format!(
        "Telegram does not get through to the webhook at {host}: {why}. Its requests must reach the gateway's listener, below {}",
        PATHS[0]
    );
    Down::retrying("telegram_webhook_blocked", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://h.example/telegram";

    #[test]
    fn a_look_says_what_changed_since_the_one_before() {
        let info = |url: &str, pending, error| WebhookInfo {
            url: url.to_owned(),
            pending_update_count: pending,
            last_error_date: error,
            last_error_message: None,
        };
        for (info, before, called, expected) in [
            (info(URL, 0, None), None, false, Look::Well),
            (info("", 0, None), None, false, Look::Elsewhere),
            (info("https://other.example/", 9, Some(1)), None, false, Look::Elsewhere),
            (info(URL, 9, Some(7)), Some(1), false, Look::Blocked),
            (info(URL, 9, Some(7)), None, false, Look::Blocked),
            // It was so before, and nothing new is known.
            (info(URL, 9, Some(7)), Some(7), false, Look::Well),
            (info(URL, 9, Some(7)), Some(1), true, Look::Well),
            (info(URL, 0, Some(7)), Some(1), false, Look::Well),
        ] {
            assert_eq!(judge(&info, URL, before, called), expected, "{info:?} {before:?} {called}");
        }
    }

    #[test]
    fn so_many_numbers_are_known_and_no_more() {
        let mut known = Known::default();
        (0..5000).for_each(|id| known.add(id));
        assert!(known.0.len() == KNOWN && known.has(4999) && !known.has(0));
    }
}
