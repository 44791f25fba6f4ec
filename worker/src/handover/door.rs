//! Who comes in: every message that a bot received is judged here, once, for all platforms, by the files of the profile that answers.
//!
//! A message that is turned away is confirmed to its platform and leaves one line in the log. What its sender hears goes through the
//! ledger, like every answer, at most once in ten minutes. Where the files of pairing cannot be read nobody is taken for a stranger: the
//! message waits with its platform.

use std::sync::Arc;

use hermes_config::ProfileConfig;
use hermes_config::access::{AccessSettings, AllAccess};
use hermes_host::blocking::{self, Lost};
use hermes_host::cause::chain;
use hermes_host::pairing::{Issued, Pairing, PairingError};
use hermes_wire::{ProfileHome, ProfileName};

use super::named::name_of;
use crate::access::{Access, Facts, Verdict, ids};
use crate::delivery::{Deliveries, ledger};
use crate::inbound::{Inbound, Source};
use crate::session::epoch;
use crate::store::{Store, StoreError};

/// What is said where nobody can be let in now.
const REFUSED: &str = "Too many pairing requests right now~ Please try again later!";

/// Why nobody knows whether a message is to be taken. For people; holds no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error("{}", chain(.0))]
    Pairing(#[from] PairingError),
    #[error("{0}")]
    Lost(#[from] Lost),
    #[error("the answer to a stranger is not kept: {}", .0.reason())]
    Store(#[from] StoreError),
}

/// The door. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Door(Arc<Inner>);

struct Inner {
    profile: ProfileName,
    access: AllAccess,
    pairing: Pairing,
    store: Store,
    deliveries: Deliveries,
}

impl Door {
    /// The door of the profile with these settings.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        store: &Store,
        deliveries: &Deliveries,
    ) -> Self {
        Self(Arc::new(Inner {
            profile: config.name.clone(),
            access: config.access.clone(),
            pairing: Pairing::of(home),
            store: store.clone(),
            deliveries: deliveries.clone(),
        }))
    }

    /// Whether a message comes in. Who stays outside has heard what he is to hear.
    pub(super) async fn admits(&self, event: &Inbound, facts: &Facts) -> Result<bool, DoorError> {
        let source = &event.source;
        self.0.deliveries.revive(&event.delivery).await;
        let verdict = self.judge(source, facts).await?;
        if verdict == Verdict::Allowed {
            return Ok(true);
        }
        tracing::warn!("Unauthorized user: {}", described(source));
        if let Some(text) = self.answer(verdict, source).await? {
            self.say(event, text).await?;
        }
        Ok(false)
    }

    /// Whether whoever acts may do so; without a word to him.
    pub(super) async fn knows(&self, source: &Source, facts: &Facts) -> Result<bool, DoorError> {
        Ok(self.judge(source, facts).await? == Verdict::Allowed)
    }

    async fn judge(&self, source: &Source, facts: &Facts) -> Result<Verdict, DoorError> {
        let closed = AccessSettings::default();
        let settings = self.0.access.get(source.platform.as_str());
        let access = Access::new(settings.unwrap_or(&closed));
        let verdict = access.judge(source, facts, false);
        let may_if_paired = || access.judge(source, facts, true) == Verdict::Allowed;
        if verdict != Verdict::Allowed && may_if_paired() && self.is_paired(source, facts).await? {
            return Ok(Verdict::Allowed);
        }
        Ok(verdict)
    }

    async fn is_paired(&self, source: &Source, facts: &Facts) -> Result<bool, DoorError> {
        let all: Vec<String> = ids(source, facts).map(str::to_owned).collect();
        let platform = source.platform.clone();
        self.with_files(move |files| files.is_approved(&platform, all.iter().map(String::as_str))).await
    }

    /// What a stranger hears.
    async fn answer(&self, verdict: Verdict, source: &Source) -> Result<Option<String>, DoorError> {
        let (platform, name) = (source.platform.clone(), source.user_name.clone().unwrap_or_default());
        let Some(id) = source.user_id.clone().or_else(|| source.user_id_alt.clone()) else { return Ok(None) };
        match verdict {
            Verdict::Allowed | Verdict::Silent => Ok(None),
            Verdict::Decline(text) => {
                let may = self.with_files(move |files| files.may_answer(&platform, &id, epoch())).await?;
                Ok(may.then_some(text))
            }
            Verdict::Pair => {
                let issued =
                    self.with_files(move |files| files.issue(&platform, &id, &name, epoch())).await?;
                Ok(match issued {
                    Issued::Code(code) => Some(offer(&self.0.profile, &source.platform, &code)),
                    Issued::Refused => Some(REFUSED.to_owned()),
                    Issued::Silence => None,
                })
            }
        }
    }

    async fn with_files<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Pairing) -> Result<T, PairingError> + Send + 'static,
    ) -> Result<T, DoorError> {
        let files = self.0.pairing.clone();
        Ok(blocking::run(move || look(&files)).await??)
    }

    /// Answers where the message came from.
    async fn say(&self, event: &Inbound, text: String) -> Result<(), DoorError> {
        if !ledger::is_kept(&event.delivery) {
            return Ok(());
        }
        let (platform, target) = (event.source.platform.clone(), event.delivery.clone());
        let key = ledger::key_of("pairing", &name_of(&platform, event.dedup.as_ref()));
        let chat_id = event.source.chat_id.clone().unwrap_or_default();
        let written = self.0.store.write(move |db| {
            let letter = ledger::Letter {
                session: "",
                platform: &platform,
                chat_id: &chat_id,
                target: &target,
                text: &text,
            };
            ledger::add_once(db, &key, &letter, epoch())
        });
        written.await?;
        self.0.deliveries.ring();
        Ok(())
    }
}

/// What is said to whoever may be let in.
fn offer(profile: &ProfileName, platform: &str, code: &str) -> String {
    let whose = if profile.is_default() { String::new() } else { format!("-p {profile} ") };
    format!(
        "Hi~ I don't recognize you yet!\n\nHere's your pairing code: `{code}`\n\nAsk the bot owner to run: \
         `hermes {whose}pairing approve {platform} {code}`"
    )
}

/// Who it was, in one short line.
fn described(source: &Source) -> String {
    let plain = |text: Option<&str>, otherwise: &str| -> String {
        let text: String = text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(64).collect();
        if text.is_empty() { otherwise.to_owned() } else { text }
    };
    let id = plain(source.user_id.as_deref().or(source.user_id_alt.as_deref()), "without an id");
    let name = plain(source.user_name.as_deref(), "without a name");
    format!("{id} ({name}) on {}", source.platform)
}

#[cfg(test)]
mod tests {
    //! What strangers and logs are told.

    use super::*;

    #[test]
    fn the_command_names_the_profile_that_answers() {
        let coder: ProfileName = "coder".parse().unwrap();
        let text = offer(&coder, "telegram", "6PWQY2UH");
        assert!(text.starts_with("Hi~ I don't recognize you yet!\n"), "{text}");
        assert!(text.contains("\nHere's your pairing code: `6PWQY2UH`\n"), "{text}");
        assert!(text.ends_with("`hermes -p coder pairing approve telegram 6PWQY2UH`"), "{text}");
        let text = offer(&ProfileName::default_profile(), "slack", "C");
        assert!(text.ends_with(": `hermes pairing approve slack C`"), "{text}");
    }

    #[test]
    fn a_stranger_writes_no_lines_into_the_log() {
        let source = Source {
            platform: "telegram".into(),
            user_id: Some("7".into()),
            user_name: Some(format!("Ann\nERROR {}", "x".repeat(999))),
            ..Source::default()
        };
        let line = described(&source);
        assert!(line.starts_with("7 (AnnERROR xx") && line.len() < 100 && !line.contains('\n'), "{line}");
        assert_eq!(described(&Source::default()), "without an id (without a name) on ");
    }
}
