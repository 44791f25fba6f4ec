//! Messages to other chats: through the ledger, like answers, so that each is sent until it is there, and once for the call that wants it.

use std::collections::BTreeMap;

use hermes_config::{ConfiguredPlatform, HomeChannel, ProfileConfig};

use super::files::{self, Outgoing};
use super::outbound::CHAT_ID;
use super::{Deliveries, ledger};
use crate::inbound::DeliveryTarget;
use crate::session::epoch;
use crate::session::routing::{self, Scopes};
use crate::store::StoreError;
use crate::tools::post::{Chat, Post, PostFuture};

/// Key of [`DeliveryTarget::extra`] that names a thread of the chat, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";

/// The post of a profile.
pub(crate) struct Letters {
    deliveries: Deliveries,
    scopes: Scopes,
    homes: Vec<Chat>,
}

impl Letters {
    pub(crate) fn new(deliveries: &Deliveries, config: &ProfileConfig) -> Self {
        let home = deliveries.0.store.home().path();
        let homes =
            config.platforms.iter().filter_map(home_of).filter(|chat| deliveries.reaches(&chat.platform));
        Self {
            scopes: Scopes::of(&config.name, home),
            homes: homes.collect(),
            deliveries: deliveries.clone(),
        }
    }
}

fn home_of(platform: &ConfiguredPlatform) -> Option<Chat> {
    let HomeChannel { chat_id, name, thread_id } = platform.home.clone()?;
    let kind = String::new();
    Some(Chat { platform: platform.name.clone(), chat_id, thread_id, name, kind, is_home: true })
}

impl Post for Letters {
    fn is_any(&self) -> bool {
        self.deliveries.reaches_chats()
    }

    fn chats(&self) -> PostFuture<'_, Vec<Chat>> {
        Box::pin(async move {
            let scopes = self.scopes.clone();
            let known = self.deliveries.0.store.aside(move |db| routing::chats(db, &scopes)).await;
            let known = known.map_err(|error: StoreError| error.reason())?;
            let mut all = self.homes.clone();
            for source in known {
                let Some(chat_id) = source.chat_id else { continue };
                let is_same = |chat: &Chat| {
                    (&chat.platform, &chat.chat_id, &chat.thread_id)
                        == (&source.platform, &chat_id, &source.thread_id)
                };
                if self.deliveries.reaches(&source.platform) && !all.iter().any(is_same) {
                    all.push(Chat {
                        platform: source.platform,
                        chat_id,
                        thread_id: source.thread_id,
                        name: source.chat_name.or(source.user_name),
                        kind: source.chat_type,
                        is_home: false,
                    });
                }
            }
            Ok(all)
        })
    }

    fn send<'a>(
        &'a self,
        session: &'a str,
        call: &'a str,
        to: &'a Chat,
        text: &'a str,
    ) -> PostFuture<'a, bool> {
        Box::pin(async move {
            let mut extra = BTreeMap::from([(CHAT_ID.to_owned(), to.chat_id.clone())]);
            extra.extend(to.thread_id.clone().map(|thread| (THREAD_ID.to_owned(), thread)));
            let target = DeliveryTarget { kind: to.platform.clone(), extra };
            let (key, session) = (ledger::key_of(session, call), session.to_owned());
            let (platform, chat_id) = (to.platform.clone(), to.chat_id.clone());
            if let Some(reason) = self.deliveries.is_gone(&platform, &chat_id).await {
                return Err(format!(
                    "nobody gets a message there until somebody writes from there again: {reason}"
                ));
            }
            let Outgoing { text, files } = self.deliveries.packed(&target, text).await;
            let written = self.deliveries.0.store.write(move |db| {
                if ledger::is_known(db, &key)? {
                    return Ok(false);
                }
                let letter = ledger::Letter {
                    session: &session,
                    platform: &platform,
                    chat_id: &chat_id,
                    target: &target,
                    text: &text,
                };
                files::add(db, Some(&key), &letter, &files, epoch())?;
                Ok(true)
            });
            let new = written
                .await
                .map_err(|error| format!("the message was not taken over: {}", error.reason()))?;
            self.deliveries.ring();
            Ok(new)
        })
    }
}
