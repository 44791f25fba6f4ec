//! The tool `send_message`: a message to another chat of this profile.
//!
//! Only to chats that somebody chose: home channels of `config.yaml`, and chats that have written to this profile. An address that a text
//! made up leads nowhere.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::post::{Chat, Post};
use super::{Caller, Tool, ToolError, Work, arguments, toolset};

/// The tool's name, for whoever finds its calls without a result.
pub(crate) const NAME: &str = "send_message";
/// What is said of a call whose message was taken over, where its own answer was lost.
pub(crate) const TAKEN: &str =
    r#"{"success":true,"note":"The message was taken over before the process ended, and is sent once."}"#;
/// Longest message, in bytes.
const LONGEST: usize = 100_000;
/// Most chats that are listed.
const LISTED: usize = 100;

/// The tool; see the module.
pub(super) struct SendMessage(pub(super) Arc<dyn Post>);

#[derive(Deserialize)]
struct Wanted {
    action: Option<String>,
    target: Option<String>,
    message: Option<String>,
}

impl Tool for SendMessage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "Sends a message to another chat, or lists the chats there are (`action`: list). Where the user names a chat or a person, list \
         first and take the target from there; where they name only a platform, its home channel is meant. The answer to whoever you \
         are talking to needs no message: it is sent anyway."
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["send", "list"], "description": "send unless said"},
                "target": {
                    "type": "string",
                    "description": "platform (its home channel), platform:chat_id, or platform:chat_id:thread_id, as the list has it",
                },
                "message": {"type": "string", "description": "The text. `MEDIA:` and an absolute path on a line of its own send that file along."},
            },
            "required": [],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::MESSAGING
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let Wanted { action, target, message } = arguments(given, &[])?;
            let chats = self.0.chats().await.map_err(ToolError)?;
            match action.as_deref().unwrap_or("send") {
                "list" => return Ok(list(&chats)),
                "send" => {}
                other => return Err(ToolError(format!("there is no action `{other}`: send, or list"))),
            }
            let target = target.as_deref().map(str::trim).filter(|target| !target.is_empty());
            let target = target
                .ok_or_else(|| ToolError("`target` is missing; action='list' names them".to_owned()))?;
            let text = message.as_deref().map(str::trim).filter(|text| !text.is_empty());
            let text = text.ok_or_else(|| ToolError("`message` is missing".to_owned()))?;
            if text.len() > LONGEST {
                return Err(ToolError(format!("a message has at most {LONGEST} bytes")));
            }
            let chat = find(&chats, target)?;
            let new =
                self.0.send(&caller.session_id, &caller.call_id, chat, text).await.map_err(ToolError)?;
            let note = if new {
                "It is on its way, and sent until it is there."
            } else {
                "It was on its way already."
            };
            Ok(
                json!({"success": true, "platform": chat.platform, "chat_id": chat.chat_id, "target": name(chat), "note": note}),
            )
        })
    }
}

/// How a chat is named as a target.
fn name(chat: &Chat) -> String {
    let thread = chat.thread_id.as_ref().map(|thread| format!(":{thread}")).unwrap_or_default();
    format!("{}:{}{thread}", chat.platform, chat.chat_id)
}

fn list(chats: &[Chat]) -> Value {
    let entry = |chat: &Chat| json!({"target": name(chat), "name": chat.name, "type": chat.kind, "home": chat.is_home});
    let all: Vec<Value> = chats.iter().take(LISTED).map(entry).collect();
    json!({"targets": all, "left_out": chats.len().saturating_sub(LISTED), "hint": "The name of a platform alone means its home channel."})
}

/// The chat that a target names: by its platform, as the list has it, or by its name.
fn find<'a>(chats: &'a [Chat], target: &str) -> Result<&'a Chat, ToolError> {
    let of_platform =
        |platform: &str| chats.iter().filter(move |chat| chat.platform == platform).collect::<Vec<_>>();
    let Some((platform, rest)) = target.split_once(':') else {
        let all = of_platform(target);
        if all.is_empty() {
            return Err(ToolError(format!(
                "`{target}` has no chat that can be written to; action='list' names those there are"
            )));
        }
        return all.into_iter().find(|chat| chat.is_home).ok_or_else(|| {
            let key = format!("platforms.{target}.home_channel.chat_id");
            ToolError(format!("`{target}` has no home channel: name a chat of the list, or ask the user to set `{key}` in config.yaml"))
        });
    };
    let all = of_platform(platform);
    if let Some(chat) = all.iter().find(|chat| name(chat) == target) {
        return Ok(chat);
    }
    let wanted = rest.trim_start_matches(['#', '@']);
    let named: Vec<&&Chat> = all
        .iter()
        .filter(|chat| {
            chat.name
                .as_deref()
                .is_some_and(|name| name.trim_start_matches(['#', '@']).eq_ignore_ascii_case(wanted))
        })
        .collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(ToolError(format!(
            "`{target}` is no chat that is configured or has written here: messages go to no other; action='list' names them"
        ))),
        _ => Err(ToolError(format!("`{target}` are several chats; take one by its id from action='list'"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::post::PostFuture;
    use super::*;

    struct Outbox(Vec<Chat>, Mutex<Vec<String>>);

    impl Post for Outbox {
        fn is_any(&self) -> bool {
            true
        }

        fn chats(&self) -> PostFuture<'_, Vec<Chat>> {
            Box::pin(async { Ok(self.0.clone()) })
        }

        fn send<'a>(
            &'a self,
            session: &'a str,
            call: &'a str,
            to: &'a Chat,
            text: &'a str,
        ) -> PostFuture<'a, bool> {
            Box::pin(async move {
                let line = format!("{session} {call} {} {text}", name(to));
                let mut sent = self.1.lock().unwrap();
                let is_new = !sent.contains(&line);
                sent.push(line);
                Ok(is_new)
            })
        }
    }

    fn chat(id: &str, name: Option<&str>, is_home: bool) -> Chat {
        Chat {
            platform: "telegram".to_owned(),
            chat_id: id.to_owned(),
            thread_id: None,
            name: name.map(str::to_owned),
            kind: "dm".to_owned(),
            is_home,
        }
    }

    #[tokio::test]
    async fn messages_go_to_chats_that_somebody_chose_and_to_no_other() {
        let post = Arc::new(Outbox(
            vec![chat("1", Some("Home"), true), chat("-2", Some("#ops"), false), chat("3", None, false)],
            Mutex::default(),
        ));
        let tool = SendMessage(post.clone());
        let caller = Caller { session_id: "s".to_owned(), call_id: "c".to_owned(), ..Caller::default() };
        let ask = async |given: Value| {
            let Value::Object(given) = given else { unreachable!() };
            tool.run(given, &caller).await
        };
        let listed = ask(json!({"action": "list"})).await.unwrap();
        assert_eq!(
            listed["targets"][1],
            json!({"target": "telegram:-2", "name": "#ops", "type": "dm", "home": false})
        );
        for (target, chat) in
            [("telegram", "1"), ("telegram:-2", "-2"), ("telegram:#OPS", "-2"), ("telegram:3", "3")]
        {
            let said = ask(json!({"target": target, "message": "hi"})).await.unwrap();
            assert_eq!((&said["chat_id"], &said["success"]), (&json!(chat), &json!(true)), "{target}");
        }
        assert!(
            ask(json!({"target": "telegram", "message": "hi"})).await.unwrap()["note"]
                .as_str()
                .unwrap()
                .contains("already")
        );
        for wrong in [
            json!({"target": "telegram:99", "message": "hi"}),
            json!({"target": "discord", "message": "hi"}),
            json!({"target": "telegram", "message": " "}),
            json!({"message": "hi"}),
            json!({"action": "react", "target": "telegram"}),
        ] {
            assert!(ask(wrong.clone()).await.is_err(), "{wrong}");
        }
        assert_eq!(post.1.lock().unwrap().len(), 5);
    }
}
