//! Where answers go, and the ledger that keeps them until they got there.
//!
//! `log` is one line in the log, written after the turn's commit. Everything else is a row of `hermes_delivery`, written in the
//! transaction that stores the answer, and tried until it is done or cannot be: a worker that dies in between tries again (at
//! least once). Platform names are targets without an adapter so far: they fail with a message that says so.

mod github;
pub(crate) mod ledger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::inbound::DeliveryTarget;
use crate::pulse::Pulse;
use crate::session::epoch;
use crate::store::Store;

use ledger::Due;

/// Targets that are platforms.
const PLATFORMS: [&str; 18] = [
    "telegram",
    "discord",
    "slack",
    "signal",
    "sms",
    "whatsapp",
    "matrix",
    "mattermost",
    "homeassistant",
    "email",
    "dingtalk",
    "feishu",
    "wecom",
    "wecom_callback",
    "weixin",
    "bluebubbles",
    "qqbot",
    "yuanbao",
];

/// Characters of an answer in its log line.
const LOGGED: usize = 200;

/// Deliveries under way at once.
const AT_ONCE: u32 = 4;

/// Time for one look at the ledger, which waits for the store.
const DEADLINE: Duration = Duration::from_secs(30);

/// Pause after the ledger could not be read or written.
const RETRY: Duration = Duration::from_secs(5);

/// Why an answer did not get out. The texts of wrong parameters are those of 0.19.0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Wrong parameters, unknown target: a retry cannot help.
    #[error("{0}")]
    Permanent(String),
    /// Worth another try.
    #[error("{0}")]
    Temporary(String),
}

/// Ways out. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Deliveries(Arc<Inner>);

struct Inner {
    store: Store,
    child_env: Vec<(String, String)>,
    ring: Notify,
    pulse: Pulse,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment holds tokens.
        f.debug_struct("Inner").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Deliveries {
    /// `child_env` is the whole environment of programs that deliver (`gh`): the worker's allow-list plus the profile's own
    /// `GH_TOKEN`/`GITHUB_TOKEN` and the like. Nothing is inherited.
    pub fn new(store: Store, child_env: Vec<(String, String)>) -> Self {
        let pulse = Pulse::new("delivery", DEADLINE);
        Self(Arc::new(Inner { store, child_env, ring: Notify::new(), pulse }))
    }

    /// Delivers now and says how it went; nothing is written down (`deliver_only` of `webhook`). `chat_id` is that of the event.
    pub async fn deliver(
        &self,
        target: &DeliveryTarget,
        chat_id: &str,
        text: &str,
    ) -> Result<(), DeliveryError> {
        if !ledger::is_kept(target) {
            log("webhook", chat_id, text);
            return Ok(());
        }
        self.send(&target.kind, &target.extra, text).await
    }

    /// The ledger holds something new.
    pub(crate) fn ring(&self) {
        self.0.pulse.want();
        self.0.ring.notify_one();
    }

    /// How [`run`](Self::run) is.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Works the ledger off until `stop`. What is under way then is tried again by the next process.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.round() => {}
            }
        }
        let me = self.0.store.owner();
        if let Err(error) = self.0.store.write_one(move |db| ledger::give_back(db, me)).await {
            tracing::debug!(%error, "deliveries under way stay marked; the next start frees them");
        }
    }

    /// Tries what is due, or waits until something is. Cancel-safe: rows stay marked as being sent by this process.
    async fn round(&self) {
        let me = self.0.store.owner();
        let wanted = self.0.pulse.wanted();
        self.0.pulse.door(self.0.store.home()).await;
        let taken = self.0.store.write(move |db| ledger::take_due(db, me, AT_ONCE, epoch())).await;
        // What is taken has its own time limit.
        self.0.pulse.serve(wanted);
        let (due, next) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "cannot read the delivery ledger");
                return tokio::time::sleep(RETRY).await;
            }
        };
        if due.is_empty() {
            let wait = next.map(|at| Duration::from_secs_f64((at - epoch()).clamp(0.01, 3600.0)));
            let timer = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.ring.notified() => {}
                () = timer => {}
            }
            return;
        }
        let results = futures_util::future::join_all(due.into_iter().map(|due| self.attempt(due))).await;
        let recorded = self.0.store.write(move |db| {
            results.iter().try_for_each(|(due, result)| ledger::record(db, due, result, epoch()))
        });
        if let Err(error) = recorded.await {
            tracing::error!(%error, "the outcome of deliveries is not written; they will be repeated");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attempt(&self, due: Due) -> (Due, Result<(), DeliveryError>) {
        let result = self.send(&due.kind, &due.extra, &due.content).await;
        match &result {
            Ok(()) => {
                tracing::info!(kind = due.kind, "[{}] Delivered response for {}", due.platform, due.chat_id);
            }
            Err(error) => {
                let again = ledger::retry_in(due.attempts, error).is_some();
                tracing::warn!(
                    kind = due.kind,
                    again,
                    "[{}] Delivery failed for {}: {error}",
                    due.platform,
                    due.chat_id
                );
            }
        }
        (due, result)
    }

    async fn send(
        &self,
        kind: &str,
        extra: &BTreeMap<String, String>,
        text: &str,
    ) -> Result<(), DeliveryError> {
        match kind {
            "github_comment" => github::comment(&self.0.child_env, extra, text).await,
            platform if PLATFORMS.contains(&platform) => {
                Err(DeliveryError::Permanent(format!("Platform {platform} not connected")))
            }
            unknown => Err(DeliveryError::Permanent(format!("Unknown deliver type: {unknown}"))),
        }
    }
}

/// Called when a turn's end is committed. Returns whether the ledger holds something new.
pub(crate) fn after_turn(platform: &str, chat_id: &str, target: &DeliveryTarget, text: &str) -> bool {
    let kept = ledger::is_kept(target);
    if !kept {
        log(platform, chat_id, text);
    }
    kept
}

fn log(platform: &str, chat_id: &str, text: &str) {
    let shown = text.char_indices().nth(LOGGED).map_or(text, |(end, _)| &text[..end]);
    tracing::info!("[{platform}] Response for {chat_id}: {shown}");
}

#[cfg(test)]
mod tests;
