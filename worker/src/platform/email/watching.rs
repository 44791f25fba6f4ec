//! The connection: reads what is new in the inbox, hands it in, and writes down how far it got.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hermes_config::network::Network;
use hermes_host::blocking::{self, Lost};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::gate::Gate;
use super::mark::{Mark, Marked};
use super::outbound::{self, Mailboxes};
use super::postbox::{Failure, Fetched, LARGEST, Opened, Postbox};
use super::quote::{is_forward, without_history};
use super::settings::{NAME, Settings};
use super::state::State;
use super::wire::{self, File, Mail, Person};
use crate::access::Facts;
use crate::delivery::outbound::{CHAT_ID, Message, Outbound as _};
use crate::handover::{Arrived, Attached, ByteStream, Reception, TOO_MANY, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::{Inbox, REMEMBERED};
use crate::platform::backoff::Backoff;
use crate::platform::{Adapter, Down, Link, PlatformFuture};
use crate::session::epoch;
use crate::store::StoreError;
use crate::web::markdown;

/// Time for which a server is let to say by itself that something came, before it is asked.
const IDLE: Duration = Duration::from_secs(120);
/// Silence that a connection does not survive: a server that answers nothing is found out before.
const WINDOW: Duration = Duration::from_secs(300);
/// Pause before a mail is offered again that cannot be stored now.
const AGAIN: Duration = Duration::from_secs(1);
/// Most mails that are looked at again where their numbers hold no more.
const MOST: usize = 500;

/// The adapter.
pub(super) struct Watching {
    pub(super) settings: Settings,
    pub(super) network: Network,
    pub(super) reception: Reception,
    pub(super) inbox: Inbox,
    pub(super) state: Arc<State>,
    pub(super) gate: Gate,
    pub(super) backoff: Backoff,
}

impl Adapter for Watching {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = tokio::select! {
                biased;
                // What is under way then is read again by whoever comes next.
                _ = link.told() => return Ok(()),
                reason = self.state.refused() => Err(invalid(&reason)),
                ended = self.watch(&link) => ended,
            };
            ended.map_err(|down| self.backoff.after(down))
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(WINDOW)
    }
}

impl Watching {
    async fn watch(&self, link: &Link) -> Result<(), Down> {
        let mut postbox =
            Postbox::open(&self.settings, &self.network).await.map_err(|failure| self.down(failure))?;
        let opened = postbox.select().await.map_err(|failure| self.down(failure))?;
        let mark = Mark::of(&self.settings);
        let beginning = link.during(WINDOW, self.begin(&mut postbox, &mark, opened, link)).await;
        let Some(begun) = beginning else { return Ok(()) };
        let mut marked = begun?;
        let how = if postbox.idles() { "waits for the server's word" } else { "asks again and again" };
        tracing::info!("[{NAME}] reads the inbox of {}, and {how}", self.settings.address);
        link.up();
        self.backoff.stands();
        loop {
            let found = postbox.after(marked.uid).await.map_err(|failure| self.down(failure))?;
            for uid in found {
                let Some(dealt) = link.during(WINDOW, self.deal(&mut postbox, uid, None)).await else {
                    return Ok(());
                };
                marked = marked.behind(uid, dealt?, epoch());
                mark.write(&self.inbox, marked).await.map_err(|error| not_stored(&error))?;
            }
            link.progress();
            if postbox.idles() {
                postbox = postbox.idle(IDLE).await.map_err(|failure| self.down(failure))?;
            } else {
                sleep(self.settings.poll).await;
            }
            link.progress();
        }
    }

    /// Where to go on. What is there before the first start of all is left alone; what came while its numbers changed is not.
    async fn begin(
        &self,
        postbox: &mut Postbox,
        mark: &Mark,
        opened: Opened,
        link: &Link,
    ) -> Result<Marked, Down> {
        let Opened { validity, last } = opened;
        let marked = match mark.read(&self.inbox).await.map_err(|error| not_stored(&error))? {
            Some(marked) if marked.validity == validity => return Ok(marked),
            Some(marked) => {
                tracing::warn!(
                    "[{NAME}] the server has given the mails of the inbox new numbers; what came since the last one that was read is looked at \
                     again"
                );
                link.progress();
                let came = self.renumbered(postbox, marked).await?;
                Marked { validity, uid: last, came, at: epoch() }
            }
            None => {
                if last > 0 {
                    tracing::info!("[{NAME}] what is in the inbox already is left alone");
                }
                let came = postbox.came(last).await.map_err(|failure| self.down(failure))?;
                let came = came.unwrap_or(if last == 0 { 0 } else { seconds(epoch()) });
                Marked { validity, uid: last, came, at: epoch() }
            }
        };
        mark.write(&self.inbox, marked).await.map_err(|error| not_stored(&error))?;
        Ok(marked)
    }

    /// Deals with the mails that came since the last one that was dealt with, whose number nobody knows any more; when the last one came.
    async fn renumbered(&self, postbox: &mut Postbox, marked: Marked) -> Result<i64, Down> {
        let found = postbox.since(&day(marked.came)).await.map_err(|failure| self.down(failure))?;
        let skipped = found.len().saturating_sub(MOST);
        if skipped > 0 {
            tracing::warn!("[{NAME}] {skipped} of them are too many, and are left alone");
        }
        let mut last = marked.came;
        for uid in found.into_iter().skip(skipped) {
            let came = self.deal(postbox, uid, Some(marked)).await?;
            last = last.max(came.unwrap_or(last));
        }
        Ok(last)
    }

    /// Deals with one mail: it is stored, or not for the bot; when it came. `since`: one that came before is left alone.
    async fn deal(
        &self,
        postbox: &mut Postbox,
        uid: u32,
        since: Option<Marked>,
    ) -> Result<Option<i64>, Down> {
        if let Some(marked) = since {
            let came = postbox.came(uid).await.map_err(|failure| self.down(failure))?;
            if !came.is_some_and(|came| marked.is_behind(came, epoch())) {
                return Ok(came);
            }
        }
        let fetched = match postbox.fetch(uid).await {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return Ok(None),
            Err(failure @ Failure::Refused { .. }) if self.state.gives_up(uid) => {
                tracing::error!("[{NAME}] mail {uid} cannot be read, and is left alone: {failure}");
                return Ok(None);
            }
            Err(failure) => return Err(self.down(failure)),
        };
        let Fetched { bytes, is_cut, at } = fetched;
        let read = blocking::run(move || {
            let mail = wire::mail(&bytes, |html| markdown::read(html, None).text);
            mail.map(|mail| Read { name: mail.id.clone().unwrap_or_else(|| hash(&bytes)), mail, is_cut })
        });
        let read = match read.await {
            Ok(read) => read,
            Err(Lost::Busy) => {
                return Err(Down::retrying("email_busy", "too much waits here already").after(Some(AGAIN)));
            }
            Err(Lost::Failed) => None,
        };
        let Some(read) = read else {
            tracing::warn!("[{NAME}] mail {uid} is skipped: it is not understood");
            return Ok(at);
        };
        let from = match self.gate.judge(&read.mail) {
            Ok(from) => from,
            Err(why) => {
                let from = read.mail.from.as_ref().map_or("somebody", |from| from.address.as_str());
                tracing::warn!("[{NAME}] mail {uid} of {from} is not taken: {why}");
                return Ok(at);
            }
        };
        if !self.gate.counts(&from.address, epoch()) {
            tracing::warn!(
                "[{NAME}] mail {uid} of {} is not taken: {} in an hour are answered, and no more",
                from.address,
                self.settings.per_hour
            );
            return Ok(at);
        }
        if self.hand_in(&read, from).await?
            && let Err(failure) = postbox.show_read(uid).await
        {
            tracing::debug!("[{NAME}] nobody sees that mail {uid} was read: {failure}");
        }
        Ok(at)
    }

    /// Stores a mail, however long that takes. False: nobody will answer it.
    async fn hand_in(&self, read: &Read, from: &Person) -> Result<bool, Down> {
        loop {
            let arrived = arrived(read, from, self.settings.skips_attachments);
            let target = arrived.event.delivery.clone();
            let (after, reason) = match self.reception.accept(arrived, None).await {
                Ok(Taken::New | Taken::Known) => {
                    tracing::info!("[{NAME}] New message from {}", from.address);
                    return Ok(true);
                }
                Ok(Taken::Buried | Taken::TurnedAway) => return Ok(false),
                Ok(Taken::Full) => {
                    self.say(&target, &format!("full {}", read.name), TOO_MANY).await;
                    return Ok(false);
                }
                Err(not) => not.wait().map_err(|error| not_stored(&error))?,
            };
            tracing::info!("[{NAME}] a mail of {} waits: {reason}", from.address);
            sleep(after).await;
        }
    }

    /// Says something that is no answer.
    async fn say(&self, target: &DeliveryTarget, key: &str, text: &str) {
        let out = Mailboxes::new(self.settings.clone(), self.network.clone(), Arc::clone(&self.state));
        if let Err(error) = out.send(target, Message { text, key, repeated: false }).await {
            tracing::warn!(%error, "[{NAME}] nobody could be told that a mail was not taken");
        }
    }

    /// What a failed command is to the connection.
    fn down(&self, failure: Failure) -> Down {
        match failure {
            Failure::Unusable(text) => match &self.settings.fault {
                Some(fault) => Down::fatal(fault.code.clone(), fault.message.clone()),
                None => Down::fatal("email_unusable", text),
            },
            Failure::Login(_) => {
                let text = failure.to_string();
                // The way out has the same password.
                self.state.refuse(text.clone());
                invalid(&text)
            }
            Failure::Lost(_) | Failure::Refused { .. } => {
                Down::retrying("email_network_error", failure.to_string())
            }
        }
    }
}

/// A mail that was read.
struct Read {
    mail: Mail,
    /// What it is known by.
    name: String,
    is_cut: bool,
}

/// What a connection is whose password is refused.
fn invalid(reason: &str) -> Down {
    Down::fatal("email_invalid_auth", format!("{reason}; correct EMAIL_ADDRESS and EMAIL_PASSWORD"))
}

fn not_stored(error: &StoreError) -> Down {
    Down::retrying("email_store", error.reason()).after(Some(AGAIN))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
fn seconds(epoch: f64) -> i64 {
    epoch as i64
}

/// The day before a time, as searches want it: whose day it is, the server says, wherever it is.
fn day(came: i64) -> String {
    let before = came.saturating_sub(24 * 3600).max(0);
    let time = jiff::Timestamp::from_second(before).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%-d-%b-%Y").to_string()
}

impl Marked {
    /// The same, behind a mail that is dealt with at this time.
    fn behind(self, uid: u32, came: Option<i64>, now: f64) -> Self {
        Self { uid, came: came.map_or(self.came, |came| came.max(self.came)), at: now, ..self }
    }

    /// Whether a mail that came at this time was not dealt with yet, or is known to the inbox if it was.
    fn is_behind(&self, came: i64, now: f64) -> bool {
        came > self.came || (came == self.came && now - self.at < REMEMBERED.as_secs_f64())
    }
}

/// What a mail says to the bot.
fn text(read: &Read) -> String {
    let mail = &read.mail;
    let subject = mail.subject.as_str();
    let is_answer = subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    let has_history = (is_answer || !mail.references.is_empty()) && !is_forward(subject, &mail.text);
    let body = if has_history { without_history(&mail.text) } else { mail.text.trim_end() };
    let mut text = match (subject, body.trim()) {
        // A command is one whatever the mail is called.
        (_, body) if body.starts_with('/') => body.to_owned(),
        ("", _) => body.to_owned(),
        _ if is_answer => body.to_owned(),
        (subject, "") => format!("[Subject: {subject}]"),
        (subject, _) => format!("[Subject: {subject}]\n\n{body}"),
    };
    let mut note = |note: String| {
        text = if text.is_empty() { note } else { format!("{text}\n\n{note}") };
    };
    if read.is_cut {
        note(format!(
            "[The mail is larger than {} MiB: only its beginning was read, and none of its files.]",
            LARGEST >> 20
        ));
    }
    if mail.left_out > 0 && !read.is_cut {
        note(format!("[{} more files of the mail were left out: they are too many.]", mail.left_out));
    }
    text
}

/// A mail, as the worker takes it.
fn arrived(read: &Read, from: &Person, skips_files: bool) -> Arrived {
    let mail = &read.mail;
    let mut extra: std::collections::BTreeMap<String, String> =
        [(CHAT_ID.to_owned(), from.address.clone())].into();
    for (key, value) in [
        (outbound::SUBJECT, mail.subject.clone()),
        (outbound::MESSAGE_ID, mail.id.clone().unwrap_or_default()),
        (outbound::REFERENCES, mail.references.join(" ")),
    ] {
        if !value.is_empty() {
            extra.insert(key.to_owned(), value);
        }
    }
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: "dm".to_owned(),
            chat_id: Some(from.address.clone()),
            chat_name: from.name.clone(),
            user_id: Some(from.address.clone()),
            user_name: from.name.clone(),
            ..Source::default()
        },
        text: text(read),
        dedup: Some(DedupKey { scope: from.address.clone(), id: read.name.clone() }),
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let takes_files = !skips_files && !read.is_cut;
    let attachments = mail.files.iter().filter(|_| takes_files).map(attached).collect();
    Arrived { attachments, facts: Facts { addressed: true, ..Facts::default() }, ..Arrived::from(event) }
}

fn attached(file: &File) -> Attached {
    let bytes: Bytes = file.bytes.clone();
    Attached {
        name: file.name.clone(),
        media_type: file.media_type.clone(),
        length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        open: Box::new(move || {
            Box::pin(async move {
                let whole: Option<Result<Bytes, String>> = (!bytes.is_empty()).then_some(Ok(bytes));
                let stream: ByteStream = Box::pin(stream::iter(whole));
                Ok(stream)
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mail: &str, is_cut: bool) -> Read {
        let mail = wire::mail(mail.replace('\n', "\r\n").as_bytes(), str::to_owned).unwrap();
        Read { mail, name: "n".to_owned(), is_cut }
    }

    #[test]
    fn a_mail_says_its_subject_once() {
        let of = |subject: &str, body: &str| text(&read(&format!("Subject: {subject}\n\n{body}\n"), false));
        assert_eq!(of("Plans", "hello"), "[Subject: Plans]\n\nhello");
        assert_eq!(of("Re: Plans", "hello"), "hello");
        assert_eq!(of("RE: Plans", "hello\n\nOn Monday, Bot wrote:\n> hi"), "hello");
        assert_eq!(of("Plans", "/new"), "/new");
        assert_eq!(of("Plans", ""), "[Subject: Plans]");
        let forwarded = "look\n\n---------- Forwarded message ---------\nFrom: a\nDate: b\nTo: c\n\nwords";
        assert_eq!(of("Re: Plans", forwarded), forwarded);
        assert!(text(&read("Subject: x\n\nhello\n", true)).contains("only its beginning was read"));
    }

    #[test]
    fn an_answer_goes_where_the_mail_came_from() {
        let read = read(
            "From: Ann <a@x.test>\nSubject: S\nMessage-ID: <2@x>\nReferences: <0@x> <1@x>\n\nhi\n",
            false,
        );
        let from = read.mail.from.clone().unwrap();
        let arrived = arrived(&read, &from, false);
        let extra = &arrived.event.delivery.extra;
        assert_eq!(extra[CHAT_ID], "a@x.test");
        assert_eq!(
            (extra["subject"].as_str(), extra["message_id"].as_str(), extra["references"].as_str()),
            ("S", "2@x", "0@x 1@x")
        );
    }

    #[test]
    fn what_was_dealt_with_under_other_numbers_is_known() {
        let marked = Marked { validity: 1, uid: 7, came: 100, at: 1000.0 };
        assert!(marked.is_behind(101, 1e9) && !marked.is_behind(99, 1000.0));
        assert!(marked.is_behind(100, 1000.0) && !marked.is_behind(100, 1e9));
        let next = marked.behind(8, Some(90), 2000.0);
        assert_eq!((next.uid, next.came, next.validity), (8, 100, 1));
        assert_eq!(day(0), "1-Jan-1970");
        assert_eq!(day(1_770_000_000), "1-Feb-2026");
    }
}
