//! The way out to the bot's channels.
//!
//! A message goes out under a name of its own: a server that got it already within half a minute does not show it twice. Beyond that, and on
//! servers of several nodes, it might; so what may be there already has a mark.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hermes_config::network::Network;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::desk::LONGEST;
use super::event::{MESSAGE, THREAD_ID};
use super::failures::{is_about_thread, unsent};
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::is_id;
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent, chat_of, made,
};
use crate::inbound::DeliveryTarget;
use crate::outgoing::file;
use crate::platform::wire::hex;

/// Longest message that every server takes, in characters.
const MOST: usize = 4000;
/// For how long clients show that somebody is writing.
const TYPING: Duration = Duration::from_secs(5);
/// Largest file, in bytes, where nobody changed the server's limit.
const FILE: u64 = 100 * 1024 * 1024;
/// Words that call everybody of a channel.
const CALLS: [&str; 3] = ["all", "channel", "here"];

/// The bot, as it speaks.
pub(super) struct Chats {
    settings: Settings,
    network: Network,
    service: Arc<OnceLock<Service>>,
}

impl Chats {
    pub(super) fn new(settings: Settings, network: Network, service: Arc<OnceLock<Service>>) -> Self {
        Self { settings, network, service }
    }

    fn service(&self) -> Result<&Service, Unsent> {
        let make = || Service::new(&self.settings, &self.network).map_err(|failure| unsent(&failure));
        made(&self.service, make)
    }

    /// Posts, and once more without the thread where that is not there any more.
    async fn post(&self, target: &DeliveryTarget, mut body: Value, key: &str) -> Result<Sent, Unsent> {
        let service = self.service()?;
        body["channel_id"] = channel(target)?.into();
        // One cache for all users of a server: nobody else has this name.
        let bot = hex(&Sha256::digest(service.token().expose())[..8]);
        body["pending_post_id"] = format!("{bot}:{key}").into();
        if let Some(thread) = target.extra.get(THREAD_ID).filter(|id| is_id(id)) {
            body["root_id"] = thread.as_str().into();
        }
        let mut posted = service.post(&body).await;
        if let Err(failure) = &posted
            && is_about_thread(failure)
            && body.get("root_id").is_some()
        {
            tracing::warn!("[{NAME}] the thread is not there any more; the message goes to the channel");
            body["root_id"] = "".into();
            posted = service.post(&body).await;
        }
        posted.map(|id| Sent { id: Some(id) }).map_err(|failure| unsent(&failure))
    }

    async fn carry(&self, target: &DeliveryTarget, file: File<'_>) -> Result<Sent, Unsent> {
        let (service, channel) = (self.service()?, channel(target)?);
        let opened = file::opened(file.path.to_owned()).await;
        let (open, length) =
            opened.map_err(|error| Unsent::never(format!("`{}` cannot be read: {error}", file.name)))?;
        if length > FILE {
            return Err(Unsent::never(format!("`{}` is larger than {FILE} bytes", file.name)));
        }
        let brought = service.upload(channel, file.name, length, file::pieces(open, length)).await;
        // Until it is shown nothing of it is there, however it breaks off; and a server that does not take it says nothing of the channel.
        let id = brought.map_err(|failure| match unsent(&failure) {
            Unsent::Later { after, reason, .. } => Unsent::Later { after, unsure: false, reason },
            Unsent::Never { gone, reason } => {
                let is_of_channel =
                    gone && matches!(&failure, Failure::Refused { refusal, .. } if refusal.status == 403);
                Unsent::Never { gone: is_of_channel, reason }
            }
        })?;
        let said = Message { text: "", key: file.key, repeated: file.repeated }.marked(|_| true);
        self.post(target, json!({"message": said.trim_end(), "file_ids": [id]}), file.key).await
    }

    async fn show(&self, target: &DeliveryTarget, sign: Sign) -> Result<(), Failure> {
        const SEEN: &str = "eyes";
        let (Ok(service), Some(post)) = (self.service(), target.extra.get(MESSAGE).filter(|id| is_id(id)))
        else {
            return Ok(());
        };
        let shown = match sign {
            Sign::Seen => SEEN,
            Sign::Done => "white_check_mark",
            Sign::Failed => "x",
            Sign::Nothing => "",
        };
        if sign != Sign::Seen {
            service.unsign(post, SEEN).await?;
        }
        if shown.is_empty() { Ok(()) } else { service.sign(post, shown).await }
    }
}

/// The channel that a target names.
fn channel(target: &DeliveryTarget) -> Result<&str, Unsent> {
    let chat = chat_of(target)?;
    if is_id(chat) { Ok(chat) } else { Err(Unsent::never(format!("`{chat}` is no id of a channel"))) }
}

/// A text that calls nobody but single people: a model's answer is no reason to wake a whole channel.
fn quiet(text: &str) -> String {
    let mut quiet = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, behind) = rest.split_at(at + 1);
        quiet.push_str(before);
        let end =
            behind.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(behind.len());
        if CALLS.iter().any(|call| behind[..end].eq_ignore_ascii_case(call)) {
            // Nobody sees it, and it is no name any more.
            quiet.push('\u{200b}');
        }
        rest = behind;
    }
    quiet.push_str(rest);
    quiet
}

impl Outbound for Chats {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: LONGEST,
            format: Format::Markdown,
            at_once: 8,
            edits: true,
            typing: self.settings.typing.then_some(TYPING),
            files: Some(FILE),
            reacts: self.settings.reactions,
            ..Abilities::LEAST
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let text = quiet(&message.marked(|text| quiet(text).chars().count() <= MOST));
            self.post(target, json!({"message": text}), message.key).await
        })
    }

    fn edit<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            if !is_id(id) {
                return Err(Unsent::never("no id of a post of Mattermost"));
            }
            let edited = self.service()?.patch(id, &quiet(text)).await;
            edited.map_err(|failure| of_post(&failure))
        })
    }

    fn take_back<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        id: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            if !is_id(id) {
                return Err(Unsent::never("no id of a post of Mattermost"));
            }
            match self.service()?.delete(id).await {
                Err(failure) if failure.refusal().is_none_or(|refusal| refusal.status != 404) => {
                    Err(of_post(&failure))
                }
                _ => Ok(()),
            }
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.carry(target, file))
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if !self.settings.reactions {
                return;
            }
            // Nobody misses it.
            if let Err(error) = self.show(target, sign).await {
                tracing::debug!(%error, "[{NAME}] a sign is not shown");
            }
        })
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async move {
            if let (Ok(service), Ok(chat)) = (self.service(), channel(target)) {
                let thread = target.extra.get(THREAD_ID).map(String::as_str);
                if let Err(error) = service.typing(chat, thread).await {
                    tracing::debug!(%error, "[{NAME}] it is not shown that an answer is being made");
                }
            }
        })
    }
}

/// What a failed request about one post is: what is wrong with a post is not wrong with its channel.
fn of_post(failure: &Failure) -> Unsent {
    match unsent(failure) {
        Unsent::Never { reason, .. } => Unsent::never(reason),
        later @ Unsent::Later { .. } => later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_channel_is_never_called() {
        assert_eq!(quiet("@all hi @Channel, @here."), "@\u{200b}all hi @\u{200b}Channel, @\u{200b}here.");
        for same in ["@ann", "@allison", "@here-is", "@", "mail@example.org", "no one"] {
            assert_eq!(quiet(same), same);
        }
    }

    #[test]
    fn a_target_is_the_id_of_a_channel() {
        let of = |chat: &str| {
            let extra = [("chat_id".to_owned(), chat.to_owned())].into();
            channel(&DeliveryTarget { kind: NAME.to_owned(), extra }).map(str::to_owned)
        };
        assert_eq!(of("abc123").unwrap(), "abc123");
        assert!(of("town-square").is_err() && of("../x").is_err() && of("").is_err());
    }
}
