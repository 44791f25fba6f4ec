//! The menu of commands, as Telegram shows it. Nothing depends on it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::service::{Failure, Service};
use super::settings::NAME;
use crate::handover::Reception;
use crate::inbox::Inbox;

/// Most commands of the menu: the service takes a hundred, and their texts have some kilobytes together.
const MENU: usize = 60;
/// How often it is offered while the service wants none of it for a while.
const TRIES: u32 = 5;

/// Tells the service which commands there are, where it does not know: what it knows stands under `key`.
pub(super) async fn offer(reception: &Reception, inbox: &Inbox, service: Service, key: String) {
    let commands = commands(reception.menu(NAME, MENU).await);
    let wanted = commands.to_string();
    if inbox.remembered(&key).await.is_ok_and(|known| known.as_ref() == Some(&wanted)) {
        return;
    }
    for _ in 0..TRIES {
        let failure = match put(&service, &commands).await {
            Ok(()) => return drop(inbox.remember(&key, wanted).await),
            Err(failure) => failure,
        };
        let Some(wait) = asked(&failure) else {
            tracing::warn!("[{NAME}] the menu of commands is as it was: {failure}");
            return;
        };
        tracing::info!("[{NAME}] the menu of commands waits: {failure}");
        sleep(wait).await;
    }
    tracing::warn!("[{NAME}] the menu of commands is as it was: Telegram wanted none of it, again and again");
}

fn commands(menu: Vec<(String, String)>) -> Value {
    let is_name = |name: &str| {
        name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    menu.into_iter()
        // No line is part of a name here; one below is read as one.
        .map(|(name, about)| (name.replace('-', "_"), about))
        .filter(|(name, _)| is_name(name))
        .map(|(name, about)| json!({"command": name, "description": about}))
        .collect()
}

async fn put(service: &Service, commands: &Value) -> Result<(), Failure> {
    for scope in ["default", "all_private_chats", "all_group_chats"] {
        let body = json!({"commands": commands, "scope": {"type": scope}});
        service.call::<Value>("setMyCommands", &body).await?;
    }
    Ok(())
}

/// The wait that the service asks for: a bot that starts often is told to.
fn asked(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Refused { refusal, .. } if refusal.status == 429 => {
            refusal.retry_after.map(Duration::from_secs)
        }
        _ => None,
    }
}
