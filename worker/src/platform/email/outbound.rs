//! The way out to people's mailboxes.

use std::sync::Arc;

use hermes_config::network::Network;
use hermes_host::blocking;

use super::address;
use super::letter::{self, Answered, Carried};
use super::settings::{NAME, Settings};
use super::smtp::{self, Failure, Step};
use super::state::State;
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Unsent, chat_of,
};
use crate::inbound::DeliveryTarget;

/// Keys of a target's parameters: what the mail was called that is answered, its name, and those before it.
pub(super) const SUBJECT: &str = "subject";
pub(super) const MESSAGE_ID: &str = "message_id";
pub(super) const REFERENCES: &str = "references";

/// Longest text, in characters, as in 0.19.0.
const LONGEST: usize = 50_000;
/// The same, with room for the shorter of the two marks.
const MOST: usize = LONGEST - 4;
/// Largest file, in bytes: in a mail it is a third longer, and most servers take 25 MB.
const FILE: u64 = 18 << 20;
/// Most mails under way at once.
const AT_ONCE: usize = 2;

/// The mailbox, as it writes.
pub(super) struct Mailboxes {
    settings: Settings,
    network: Network,
    state: Arc<State>,
}

impl Mailboxes {
    pub(super) fn new(settings: Settings, network: Network, state: Arc<State>) -> Self {
        Self { settings, network, state }
    }

    async fn post(
        &self,
        target: &DeliveryTarget,
        key: &str,
        text: &str,
        file: Option<Carried<'_>>,
    ) -> Result<Sent, Unsent> {
        if let Some(fault) = &self.settings.fault {
            return Err(Unsent::later(fault.message.clone()));
        }
        // The password is known to be refused: a mail server may lock who tries it again and again.
        if let Some(reason) = self.state.refusal() {
            return Err(Unsent::later(reason));
        }
        let chat = chat_of(target)?;
        let to = address::of(chat).ok_or_else(|| Unsent::never("the chat is no address of mail"))?;
        if !to.is_ascii() {
            return Err(Unsent::never("addresses with other than ASCII letters are not written to"));
        }
        let of = |name: &str| target.extra.get(name).map(String::as_str).unwrap_or_default();
        let answered = Answered { subject: of(SUBJECT), id: of(MESSAGE_ID), references: of(REFERENCES) };
        let id = letter::id(key, &to, &self.settings.password, self.settings.domain());
        let addresses = (self.settings.login.as_str(), to.as_str());
        let mail = letter::write(addresses, answered, id.clone(), text, file).map_err(Unsent::never)?;
        match smtp::send(&self.settings, &self.network, &to, &mail).await {
            Ok(()) => Ok(Sent { id: Some(id) }),
            Err(failure) => {
                if let Failure::Login(_) = &failure {
                    self.state.refuse(failure.to_string());
                }
                Err(unsent(&failure))
            }
        }
    }
}

impl Outbound for Mailboxes {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: MOST,
            format: Format::Plain,
            at_once: AT_ONCE,
            files: Some(FILE),
            ..Abilities::LEAST
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            // Who keeps mails by their names shows the first one alone; others show both, and the mark says why.
            let text = message.marked(|text| text.chars().count() <= LONGEST);
            self.post(target, message.key, &text, None).await
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let path = file.path.to_owned();
            let read = blocking::run(move || {
                let length = fs_err::metadata(&path)?.len();
                if length > FILE {
                    return Ok(None);
                }
                fs_err::read(&path).map(Some)
            });
            let bytes = match read.await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Err(Unsent::never("the file is larger than 18 MiB")),
                Ok(Err(error)) => return Err(Unsent::never(format!("the file cannot be read: {error}"))),
                Err(lost) => return Err(Unsent::later(lost.to_string())),
            };
            let said = Message { text: "", key: file.key, repeated: file.repeated }.marked(|_| true);
            let carried = Carried { name: file.name, media_type: file.media_type, bytes };
            self.post(target, file.key, said.trim_end(), Some(carried)).await
        })
    }
}

/// What a failed try is to the mail.
fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong: the next worker may have better ones.
        // A server that takes nobody at all says nothing of this mail.
        Failure::Unusable(_)
        | Failure::Unsent(_)
        | Failure::Login(_)
        | Failure::Refused { step: Step::Greeting | Step::Tls, .. } => Unsent::later(reason),
        Failure::Lost(_) => Unsent::unsure(reason),
        Failure::Refused { reply, .. } if reply.code < 500 => Unsent::later(reason),
        // There is no such mailbox, or no such domain (RFC 3463).
        Failure::Refused { step: Step::To, reply }
            if ["5.1.1", "5.1.2", "5.1.10", "5.1.6", "5.2.1"]
                .iter()
                .any(|code| reply.text.starts_with(&format!("{code} "))) =>
        {
            Unsent::gone(reason)
        }
        Failure::Refused { .. } => Unsent::never(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::super::smtp::Reply;
    use super::*;

    #[test]
    fn what_a_server_says_decides_about_another_try() {
        let refused = |step, code, text: &str| {
            unsent(&Failure::Refused { step, reply: Reply { code, text: text.to_owned() } })
        };
        let is_later = |unsent: &Unsent| matches!(unsent, Unsent::Later { unsure: false, .. });
        let is_never = |unsent: &Unsent| matches!(unsent, Unsent::Never { gone: false, .. });
        assert!(is_later(&refused(Step::To, 450, "4.2.0 greylisted")));
        assert!(is_later(&refused(Step::Data, 451, "")));
        assert!(is_later(&refused(Step::Greeting, 554, "no")));
        assert!(matches!(refused(Step::To, 550, "5.1.1 no such user"), Unsent::Never { gone: true, .. }));
        assert!(is_never(&refused(Step::To, 550, "5.7.1 policy")));
        assert!(is_never(&refused(Step::Data, 554, "5.7.1 spam")));
        assert!(is_later(&unsent(&Failure::Login(Reply { code: 535, text: String::new() }))));
        assert!(is_later(&unsent(&Failure::Unsent(String::new()))));
        assert!(matches!(unsent(&Failure::Lost(String::new())), Unsent::Later { unsure: true, .. }));
    }
}
