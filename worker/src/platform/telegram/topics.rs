//! Topics of private chats that the files want: made once, and known from then on.
//!
//! Which ones were made stands in the profile's database, by chat and name: `config.yaml` is its owner's, and is not written to. One whose
//! number the files say is there already.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::service::Service;
use super::settings::{NAME, Topic};
use crate::inbox::Inbox;

/// What is said of a topic that was made.
#[derive(Deserialize)]
struct Made {
    message_thread_id: i64,
}

/// Which were made: numbers, by chat and name.
type Known = BTreeMap<String, i64>;

fn place(topic: &Topic) -> String {
    format!("{}:{}", topic.chat, topic.name)
}

/// Those that are to be made.
fn missing<'t>(wanted: &'t [Topic], known: &Known) -> Vec<&'t Topic> {
    wanted.iter().filter(|topic| topic.thread.is_none() && !known.contains_key(&place(topic))).collect()
}

fn request(topic: &Topic) -> Value {
    let mut body = json!({"chat_id": topic.chat, "name": topic.name});
    if let Some(color) = topic.color {
        body["icon_color"] = color.into();
    }
    if let Some(emoji) = &topic.emoji {
        body["icon_custom_emoji_id"] = emoji.as_str().into();
    }
    body
}

/// Makes the topics that are wanted and not there; those that are stand under `key`. Nothing depends on it.
pub(super) async fn make(wanted: &[Topic], inbox: &Inbox, service: Service, key: String) {
    if wanted.is_empty() {
        return;
    }
    // Who does not know which were made makes none twice.
    let mut known: Known = match inbox.remembered(&key).await {
        Ok(found) => found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        Err(error) => {
            tracing::warn!("[{NAME}] no topics are made, nobody knows which there are: {}", error.reason());
            return;
        }
    };
    for topic in missing(wanted, &known) {
        match service.call::<Made>("createForumTopic", &request(topic)).await {
            Ok(Made { message_thread_id: thread }) => {
                tracing::info!("[{NAME}] topic \"{}\" of chat {} is {thread}", topic.name, topic.chat);
                known.insert(place(topic), thread);
                let text = serde_json::to_string(&known).unwrap_or_default();
                if let Err(error) = inbox.remember(&key, text).await {
                    tracing::warn!("[{NAME}] that it was made is not written down: {}", error.reason());
                    return;
                }
            }
            Err(failure) => {
                tracing::warn!(
                    "[{NAME}] topic \"{}\" of chat {} (platforms.telegram.dm_topics) is not made: {failure}. Somebody has to have written \
                     to the bot there, and @BotFather lets its private chats have topics in the bot's settings",
                    topic.name,
                    topic.chat
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_made_that_is_in_no_file_and_in_no_note() {
        let topic = |chat, name: &str, thread| Topic {
            chat,
            name: name.to_owned(),
            color: None,
            emoji: None,
            thread,
        };
        let wanted = [topic(7, "Work", None), topic(7, "Home", Some(3)), topic(8, "Work", None)];
        let known = Known::from([("8:Work".to_owned(), 5)]);
        assert_eq!(missing(&wanted, &known), [&wanted[0]]);
        assert_eq!(request(&wanted[0]), json!({"chat_id": 7, "name": "Work"}));
        let styled = Topic { color: Some(7_322_096), emoji: Some("54".to_owned()), ..wanted[0].clone() };
        assert_eq!(
            request(&styled),
            json!({"chat_id": 7, "name": "Work", "icon_color": 7_322_096, "icon_custom_emoji_id": "54"})
        );
    }
}
