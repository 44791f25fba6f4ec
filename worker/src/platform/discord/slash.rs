//! The bot's commands in Discord's menu: what is offered, how it gets there, and what somebody who used one has said.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use twilight_http_ratelimiting::Method;
use twilight_model::application::command::{CommandOptionType, CommandType};

use super::service::{Body, Failure, Service};
use super::settings::{NAME, Settings, Sync};
use super::wire::{Asked, Id};
use crate::commands::offered;
use crate::inbox::Inbox;
use crate::platform::wire::hex;

/// Most commands that Discord takes.
const MOST: usize = 100;
/// Longest description, in characters.
const ABOUT: usize = 100;
/// What a command's one option is called.
const OPTION: &str = "text";

/// What is offered.
pub(super) fn wanted(settings: &Settings) -> Vec<Value> {
    let short = |text: &str| text.chars().take(ABOUT).collect::<String>();
    let command = |name: &str, about: &str, arguments: &str| {
        let mut command = json!({
            "name": name, "description": short(about), "type": CommandType::ChatInput,
        });
        if !arguments.is_empty() {
            command["options"] = json!([{
                "type": CommandOptionType::String, "name": OPTION, "description": short(arguments),
                "required": arguments.starts_with('<'),
            }]);
        }
        if settings.hide_commands {
            // Nobody, but for administrators.
            command["default_member_permissions"] = "0".into();
        }
        command
    };
    offered().take(MOST).map(|(name, about, arguments)| command(name, about, arguments)).collect()
}

/// What somebody who used a command has said, as if he had written it.
pub(super) fn text(asked: &Asked) -> String {
    let given = asked.options.iter().filter_map(|option| match &option.value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    });
    let all: Vec<String> = std::iter::once(format!("/{}", asked.name)).chain(given).collect();
    all.join(" ").trim_end().to_owned()
}

/// The program behind a bot.
#[derive(serde::Deserialize)]
struct Program {
    id: Id,
}

/// Puts the commands of a bot into the menu, where they are not there yet. `application` is its program, where that is known. Nothing else
/// depends on it.
pub(super) async fn offer(
    settings: &Settings,
    service: &Service,
    inbox: &Inbox,
    bot: Id,
    application: Option<Id>,
    server: &str,
) {
    if settings.sync == Sync::Off {
        return;
    }
    let wanted = wanted(settings);
    let print = hex(&Sha256::digest(format!("{:?} {}", settings.sync, Value::from(wanted.clone()))));
    let key = format!("hermes_discord_menu {bot} {server}");
    // The fingerprint, and the names that were put there.
    let known = inbox.remembered(&key).await.ok().flatten().unwrap_or_default();
    let mut words = known.split(' ');
    if words.next() == Some(print.as_str()) {
        return;
    }
    let before: BTreeSet<&str> = words.collect();
    let put = async {
        let application = if let Some(known) = application {
            known
        } else {
            let asked = service.ask("application", Method::Get, "applications/@me", Body::Nothing);
            asked.await.map(|Program { id }| id)?
        };
        match settings.sync {
            Sync::Bulk => replace(service, application, &wanted).await,
            _ => compare(service, application, &wanted, &before).await,
        }
    };
    let put = put.await;
    match put {
        Ok(()) => {
            let names = wanted.iter().filter_map(|command| command["name"].as_str());
            let note: Vec<&str> = std::iter::once(print.as_str()).chain(names).collect();
            if let Err(error) = inbox.remember(&key, note.join(" ")).await {
                tracing::debug!("[{NAME}] the menu will be looked at again: {}", error.reason());
            }
        }
        Err(error) => tracing::warn!(%error, "[{NAME}] the menu of commands is as it was"),
    }
}

async fn replace(service: &Service, application: Id, wanted: &[Value]) -> Result<(), Failure> {
    let path = format!("applications/{application}/commands");
    service.call("commands", Method::Put, &path, Body::Json(wanted.into())).await.map(drop)
}

/// Adds what is missing, changes what is another, and removes what was put there before and is offered no more. What others put there
/// stays.
async fn compare(
    service: &Service,
    application: Id,
    wanted: &[Value],
    before: &BTreeSet<&str>,
) -> Result<(), Failure> {
    let path = format!("applications/{application}/commands");
    let there: Vec<Value> = service.ask("commands", Method::Get, &path, Body::Nothing).await?;
    let of = |name: &Value| {
        there.iter().find(|command| command["name"] == *name && command["type"].as_u64().unwrap_or(1) == 1)
    };
    for command in wanted {
        match of(&command["name"]) {
            None => {
                service.call("commands", Method::Post, &path, Body::Json(command.clone())).await?;
            }
            Some(found) if !is_same(found, command) => {
                let id = found["id"].as_str().and_then(Id::parse).ok_or(Failure::Garbled("commands"))?;
                let path = format!("{path}/{id}");
                service.call("commands", Method::Patch, &path, Body::Json(command.clone())).await?;
            }
            Some(_) => {}
        }
    }
    let is_old = |command: &&Value| {
        command["name"].as_str().is_some_and(|name| before.contains(name))
            && wanted.iter().all(|wanted| wanted["name"] != command["name"])
    };
    for old in there.iter().filter(is_old) {
        let Some(id) = old["id"].as_str().and_then(Id::parse) else { continue };
        service.call("commands", Method::Delete, &format!("{path}/{id}"), Body::Nothing).await?;
    }
    Ok(())
}

/// Whether a command of Discord's is what is wanted, as far as that says something.
fn is_same(found: &Value, wanted: &Value) -> bool {
    let permissions = |command: &Value| command["default_member_permissions"].as_str().map(str::to_owned);
    let options = |command: &Value| -> Vec<Value> {
        let all = command["options"].as_array().cloned().unwrap_or_default();
        let one = |option: Value| {
            json!([
                option["type"],
                option["name"],
                option["description"],
                option["required"].as_bool().unwrap_or(false)
            ])
        };
        all.into_iter().map(one).collect()
    };
    found["description"] == wanted["description"]
        && permissions(found) == permissions(wanted)
        && options(found) == options(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[test]
    fn every_command_is_one_that_discord_takes() {
        let all = wanted(&settings(""));
        assert!(all.len() > 5 && all.len() <= MOST);
        for command in &all {
            let name = command["name"].as_str().unwrap();
            assert!(
                !name.is_empty()
                    && name.len() <= 32
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
            let about = command["description"].as_str().unwrap();
            assert!((1..=100).contains(&about.chars().count()), "{command}");
        }
        let queue = all.iter().find(|command| command["name"] == "queue").unwrap();
        assert_eq!(
            (&queue["options"][0]["required"], &queue["options"][0]["type"]),
            (&json!(true), &json!(3))
        );
        let hidden = wanted(&settings("hide_slash_commands: true"));
        assert!(hidden.iter().all(|command| command["default_member_permissions"] == "0"));
    }

    #[test]
    fn what_discord_adds_makes_no_other_command() {
        let wanted = json!({"name": "a", "description": "b", "options": [{"type": 3, "name": "text", "description": "c", "required": false}]});
        let found = json!({"id": "1", "version": "2", "name": "a", "description": "b", "default_member_permissions": null,
            "options": [{"type": 3, "name": "text", "description": "c", "name_localizations": null}]});
        assert!(is_same(&found, &wanted));
        for (key, value) in
            [("description", json!("x")), ("options", json!([])), ("default_member_permissions", json!("0"))]
        {
            let mut other = found.clone();
            other[key] = value;
            assert!(!is_same(&other, &wanted), "{key}");
        }
    }

    #[test]
    fn a_command_is_said_as_it_is_written() {
        let asked = |options: Value| {
            serde_json::from_value::<Asked>(json!({"name": "queue", "options": options})).unwrap()
        };
        assert_eq!(text(&asked(json!([]))), "/queue");
        assert_eq!(
            text(&asked(json!([{"name": "text", "value": " do it "}, {"value": 3}, {"type": 1}]))),
            "/queue do it 3"
        );
    }
}
