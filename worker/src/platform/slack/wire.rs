//! What Slack says: answers of the Web API, frames of Socket Mode, bodies of requests. Bytes from outside, parsed once; nothing in them
//! is believed to be short or sane, and one event that is odd spoils no other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;

/// Longest text of one message, in bytes: 40 000 characters and more.
const TEXT: usize = 256 * 1024;
/// Longest id, in bytes.
const ID: usize = 256;
/// Longest name and address, in bytes.
const NAME: usize = 4096;
/// Most files, and most attachments, of one message that are looked at.
const MANY: usize = 64;
/// Most of what an error says that is shown, in characters.
const SHOWN: usize = 200;
/// Longest wait that the service may ask for, in seconds.
const ASKED: u64 = 3600;

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// No JSON of the expected shape.
    #[error("Slack's answer to {0} is not understood")]
    Shape(&'static str),
    /// More than anybody should get at once.
    #[error("Slack's answer to {0} is too long")]
    TooMuch(&'static str),
}

/// An error that the service answered with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Slack's word for it; empty: it is not Slack's own answer.
    pub(super) error: String,
    /// The scope that is missing.
    pub(super) needed: String,
    /// The wait that was asked for, in seconds.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    /// The token is none, or not any more.
    pub(super) fn is_auth(&self) -> bool {
        matches!(
            self.error.as_str(),
            "invalid_auth"
                | "not_authed"
                | "account_inactive"
                | "token_revoked"
                | "token_expired"
                | "not_allowed_token_type"
        ) || (self.status == 401 && self.error.is_empty())
    }

    /// There were too many requests.
    pub(super) fn is_limit(&self) -> bool {
        self.status == 429
            || matches!(self.error.as_str(), "ratelimited" | "rate_limited" | "message_limit_exceeded")
    }
}

#[derive(Deserialize)]
struct Head {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    needed: String,
}

/// Reads an answer with this HTTP status, and the wait that its head asks for.
pub(super) fn answer<T: DeserializeOwned>(
    what: &'static str,
    status: u16,
    retry_after: Option<u64>,
    bytes: &[u8],
) -> Result<Result<T, Refusal>, WireError> {
    let retry_after = retry_after.map(|asked| asked.min(ASKED));
    let value = json::parse(bytes).map(json::without_nulls).unwrap_or_default();
    let head: Option<Head> = Head::deserialize(&value).ok();
    match head {
        Some(Head { ok: true, .. }) if status == 200 => {
            serde_json::from_value(value).map(Ok).map_err(|_| WireError::Shape(what))
        }
        Some(Head { ok: false, error, needed }) => {
            Ok(Err(Refusal { status, error: shown(&error), needed: shown(&needed), retry_after }))
        }
        _ if status == 200 => Err(WireError::Shape(what)),
        _ => Ok(Err(Refusal { status, retry_after, ..Refusal::default() })),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// Who the bot is, in one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Me {
    #[serde(default)]
    pub(super) team_id: String,
    #[serde(default)]
    pub(super) team: String,
    pub(super) user_id: String,
    #[serde(default)]
    pub(super) user: String,
    #[serde(default)]
    pub(super) bot_id: Option<String>,
}

/// What came through the socket.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Frame {
    /// The socket is usable.
    Hello,
    /// It will be closed.
    Disconnect(Reason),
    /// Something to be acknowledged under this id.
    Envelope(String, Came),
    /// Nothing that anybody asked for.
    Other,
}

/// Why a socket will be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Another one is to be opened.
    Refresh,
    /// The app does not use sockets any more.
    Disabled,
}

/// What an envelope or a request holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Came {
    /// Somebody wrote.
    Message(Box<Message>),
    /// Somebody called a command.
    Slash(Box<Slash>),
    /// Somebody pressed a button.
    Press(Box<Press>),
    /// A workspace, by its id, has taken the bot's token back.
    Revoked(String),
    /// Something that nobody asked for.
    Other,
    /// Nobody can use it: a part is missing, or too long.
    Odd,
}

/// A file of a message.
#[expect(clippy::struct_field_names, reason = "as Slack has them")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) mimetype: Option<String>,
    #[serde(default)]
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) mode: Option<String>,
    #[serde(default)]
    pub(super) file_access: Option<String>,
    #[serde(default)]
    pub(super) url_private: Option<String>,
    #[serde(default)]
    pub(super) url_private_download: Option<String>,
}

/// A message, or a mention, which is the same message once more.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Message {
    /// The workspace whose bot it is for.
    #[serde(default)]
    pub(super) team: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) subtype: Option<String>,
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) channel_type: Option<String>,
    #[serde(default)]
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) bot_id: Option<String>,
    #[serde(default)]
    pub(super) username: Option<String>,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) ts: String,
    #[serde(default)]
    pub(super) thread_ts: Option<String>,
    #[serde(default)]
    pub(super) parent_user_id: Option<String>,
    #[serde(default)]
    pub(super) blocks: Vec<Value>,
    #[serde(default)]
    pub(super) attachments: Vec<Value>,
    #[serde(default)]
    pub(super) files: Vec<File>,
}

impl Message {
    /// The thread that it stands in; what begins one stands in none.
    pub(super) fn thread(&self) -> Option<&str> {
        self.thread_ts.as_deref().filter(|thread| *thread != self.ts)
    }

    /// It is said in private.
    pub(super) fn is_private(&self) -> bool {
        match self.channel_type.as_deref() {
            Some(kind) => kind == "im",
            None => self.channel.starts_with('D'),
        }
    }

    fn is_sane(&self) -> bool {
        let ids = [
            &self.user,
            &self.bot_id,
            &self.thread_ts,
            &self.parent_user_id,
            &self.subtype,
            &self.channel_type,
        ];
        let ids = ids.into_iter().filter_map(Option::as_deref);
        let is_id = |id: &str| id.len() <= ID && !id.chars().any(char::is_control);
        let is_file = |file: &File| {
            is_id(&file.id)
                && [&file.name, &file.mimetype, &file.url_private, &file.url_private_download]
                    .into_iter()
                    .flatten()
                    .all(|text| text.len() <= NAME)
        };
        is_id(&self.channel)
            && !self.channel.is_empty()
            && is_id(&self.ts)
            && !self.ts.is_empty()
            && is_id(&self.team)
            && ids.into_iter().all(is_id)
            && self.text.len() <= TEXT
            && self.files.iter().all(is_file)
    }
}

/// A command that somebody called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Slash {
    #[serde(default)]
    pub(super) team_id: String,
    pub(super) channel_id: String,
    #[serde(default)]
    pub(super) channel_name: String,
    pub(super) user_id: String,
    #[serde(default)]
    pub(super) user_name: String,
    pub(super) command: String,
    #[serde(default)]
    pub(super) text: String,
    pub(super) response_url: String,
    /// Of this call and no other.
    pub(super) trigger_id: String,
}

impl Slash {
    pub(super) fn is_private(&self) -> bool {
        self.channel_id.starts_with('D') || self.channel_name == "directmessage"
    }

    fn is_sane(&self) -> bool {
        let ids = [&self.team_id, &self.channel_id, &self.user_id, &self.command, &self.trigger_id];
        let is_id = |id: &String| id.len() <= ID && !id.chars().any(char::is_control);
        ids.into_iter().all(is_id)
            && !self.channel_id.is_empty()
            && !self.user_id.is_empty()
            && !self.trigger_id.is_empty()
            && self.command.len() > 1
            && self.text.len() <= TEXT
            && [&self.channel_name, &self.user_name, &self.response_url]
                .into_iter()
                .all(|text| text.len() <= NAME)
    }
}

/// A button that somebody pressed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Press {
    pub(super) team: String,
    pub(super) user: String,
    pub(super) user_name: String,
    pub(super) channel: String,
    /// The thread in which its message stands.
    pub(super) thread: Option<String>,
    /// What its message says.
    pub(super) shown: String,
    pub(super) action: String,
    pub(super) value: String,
    pub(super) response_url: String,
}

/// Reads what came through the socket; `None`: it is no JSON.
pub(super) fn frame(text: &str) -> Option<Frame> {
    let mut frame = json::without_nulls(json::parse(text.as_bytes()).ok()?);
    let kind = frame["type"].as_str().unwrap_or_default().to_owned();
    if let Some(id) = frame["envelope_id"].as_str().map(str::to_owned) {
        // Acknowledged whatever it holds, so that it does not come again; an id that is none is not.
        if id.len() > ID || id.is_empty() {
            return Some(Frame::Other);
        }
        let payload = frame["payload"].take();
        let came = match kind.as_str() {
            "events_api" => callback(payload),
            "slash_commands" => slash(payload),
            "interactive" => press(&payload),
            _ => Came::Other,
        };
        return Some(Frame::Envelope(id, came));
    }
    Some(match kind.as_str() {
        "hello" => Frame::Hello,
        "disconnect" if frame["reason"] == "link_disabled" => Frame::Disconnect(Reason::Disabled),
        "disconnect" => Frame::Disconnect(Reason::Refresh),
        _ => Frame::Other,
    })
}

/// What a request says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Request {
    /// Whoever set the address is asked whether it is right.
    Challenge(String),
    /// Anything else.
    Came(Came),
}

/// Reads the body of a request; `None`: it is none of Slack's.
pub(super) fn request(body: &[u8]) -> Option<Request> {
    if body.trim_ascii_start().starts_with(b"{") {
        let value = json::without_nulls(json::parse(body).ok()?);
        return match value["type"].as_str()? {
            "url_verification" => {
                let challenge = value["challenge"].as_str().filter(|challenge| challenge.len() <= NAME)?;
                Some(Request::Challenge(challenge.to_owned()))
            }
            "event_callback" => Some(Request::Came(callback(value))),
            _ => Some(Request::Came(Came::Other)),
        };
    }
    let mut fields = serde_json::Map::new();
    for (name, text) in url::form_urlencoded::parse(body).take(100) {
        fields.insert(name.into_owned(), text.into_owned().into());
    }
    if let Some(payload) = fields.get("payload").and_then(Value::as_str) {
        return Some(Request::Came(press(&json::parse(payload.as_bytes()).ok()?)));
    }
    fields.contains_key("command").then(|| Request::Came(slash(Value::Object(fields))))
}

fn callback(mut payload: Value) -> Came {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // In a channel that two workspaces share the event is for whoever is authorised.
    let authorised = of(&payload["authorizations"][0]["team_id"]);
    let team = if authorised.is_empty() { of(&payload["team_id"]) } else { authorised };
    let event = payload["event"].take();
    match event["type"].as_str() {
        Some("message" | "app_mention") => {}
        Some("tokens_revoked") => {
            let is_bots = event["tokens"]["bot"].as_array().is_some_and(|bots| !bots.is_empty());
            return if is_bots { Came::Revoked(team) } else { Came::Other };
        }
        Some("app_uninstalled") => return Came::Revoked(team),
        Some(_) => return Came::Other,
        None => return Came::Odd,
    }
    let Ok(mut message) = serde_json::from_value::<Message>(event) else { return Came::Odd };
    message.team = team;
    message.files.truncate(MANY);
    message.attachments.truncate(MANY);
    message.blocks.truncate(MANY);
    if message.is_sane() { Came::Message(Box::new(message)) } else { Came::Odd }
}

fn slash(payload: Value) -> Came {
    match serde_json::from_value::<Slash>(payload) {
        Ok(slash) if slash.is_sane() => Came::Slash(Box::new(slash)),
        Ok(_) | Err(_) => Came::Odd,
    }
}

fn press(payload: &Value) -> Came {
    if payload["type"] != "block_actions" {
        return Came::Other;
    }
    let of = |values: &[&Value]| -> String {
        values.iter().find_map(|value| value.as_str()).unwrap_or_default().chars().take(NAME).collect()
    };
    let (container, message, action) = (&payload["container"], &payload["message"], &payload["actions"][0]);
    let thread = of(&[&container["thread_ts"], &message["thread_ts"]]);
    let press = Press {
        team: of(&[&payload["team"]["id"], &payload["user"]["team_id"]]),
        user: of(&[&payload["user"]["id"]]),
        user_name: of(&[&payload["user"]["name"], &payload["user"]["username"]]),
        channel: of(&[&payload["channel"]["id"], &container["channel_id"]]),
        thread: Some(thread).filter(|thread| !thread.is_empty()),
        shown: of(&[&message["text"]]),
        action: of(&[&action["action_id"]]),
        value: of(&[&action["value"]]),
        response_url: of(&[&payload["response_url"]]),
    };
    if press.user.is_empty() || press.channel.is_empty() || press.action.is_empty() {
        return Came::Odd;
    }
    Came::Press(Box::new(press))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_what_slack_says_or_what_is_between() {
        let read = |status, after, text: &str| answer::<Me>("auth.test", status, after, text.as_bytes());
        let me = read(
            200,
            None,
            r#"{"ok": true, "error": null, "team_id": "T1", "team": null, "user_id": "U1", "bot_id": "B1"}"#,
        );
        assert_eq!(me.unwrap().unwrap().bot_id.as_deref(), Some("B1"));
        let refused = |status, after, text: &str| read(status, after, text).unwrap().unwrap_err();
        assert!(refused(200, None, r#"{"ok": false, "error": "token_revoked"}"#).is_auth());
        assert_eq!(
            refused(200, None, r#"{"ok": false, "error": "missing_scope", "needed": "chat:write"}"#).needed,
            "chat:write"
        );
        let limited = refused(429, Some(9_999_999), r#"{"ok": false, "error": "ratelimited"}"#);
        assert!(limited.is_limit() && limited.retry_after == Some(3600));
        assert!(refused(401, None, "<html>").is_auth() && !refused(502, None, "<html>").is_auth());
        for odd in ["", "[]", "<html>", r#"{"ok": true}"#, r#"{"ok": 1}"#] {
            assert_eq!(read(200, None, odd), Err(WireError::Shape("auth.test")), "{odd}");
        }
    }

    fn envelope(kind: &str, payload: &Value) -> Came {
        let text = json!({"envelope_id": "e", "type": kind, "payload": payload}).to_string();
        match frame(&text) {
            Some(Frame::Envelope(id, came)) if id == "e" => came,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(frame(r#"{"type": "hello"}"#), Some(Frame::Hello));
        for (reason, read) in [
            ("warning", Reason::Refresh),
            ("refresh_requested", Reason::Refresh),
            ("something_new", Reason::Refresh),
            ("link_disabled", Reason::Disabled),
        ] {
            let text = json!({"type": "disconnect", "reason": reason}).to_string();
            assert_eq!(frame(&text), Some(Frame::Disconnect(read)), "{reason}");
        }
        assert_eq!((frame("x"), frame("{}"), frame("[]")), (None, Some(Frame::Other), Some(Frame::Other)));
        let event = json!({"type": "message", "channel": "C1", "user": "U1", "text": "hi", "ts": "1.2", "channel_type": "channel"});
        let Came::Message(message) = envelope("events_api", &json!({"team_id": "T1", "event": event})) else {
            panic!()
        };
        assert_eq!((message.team.as_str(), message.thread(), message.is_private()), ("T1", None, false));
        let shared = json!({"team_id": "T1", "authorizations": [{"team_id": "T2"}], "event": event});
        let Came::Message(message) = envelope("events_api", &shared) else { panic!() };
        assert_eq!(message.team, "T2");
        assert_eq!(envelope("events_api", &json!({"event": {"type": "reaction_added"}})), Came::Other);
        assert_eq!(envelope("events_api", &json!({})), Came::Odd);
        assert_eq!(envelope("events_api", &json!({"event": {"type": "message"}})), Came::Odd);
        assert_eq!(envelope("something_new", &json!({})), Came::Other);
        let gone = json!({"team_id": "T1", "event": {"type": "app_uninstalled"}});
        assert_eq!(envelope("events_api", &gone), Came::Revoked("T1".to_owned()));
        let users = json!({"team_id": "T1", "event": {"type": "tokens_revoked", "tokens": {"oauth": ["U1"], "bot": []}}});
        assert_eq!(envelope("events_api", &users), Came::Other);
        let nulls = r#"{"envelope_id": "e", "type": "events_api", "payload": {"team_id": "T1", "event": {"type": "message", "channel": "C1",
            "user": "U1", "ts": "1.2", "text": "half \ud83e", "files": null, "blocks": null, "attachments": null, "thread_ts": null}}}"#;
        let Some(Frame::Envelope(_, Came::Message(message))) = frame(nulls) else { panic!() };
        assert_eq!((message.text.as_str(), message.files.len()), ("half \u{fffd}", 0));
        let long = json!({"type": "message", "channel": "C".repeat(999), "ts": "1.2"});
        assert_eq!(envelope("events_api", &json!({"event": long})), Came::Odd);
    }

    #[test]
    fn requests_are_events_forms_and_a_challenge() {
        let read = |body: &str| request(body.as_bytes());
        let challenge = r#"{"type": "url_verification", "challenge": "abc"}"#;
        assert_eq!(read(challenge), Some(Request::Challenge("abc".to_owned())));
        let form = "token=x&team_id=T1&channel_id=D1&channel_name=directmessage&user_id=U1&command=%2Fhermes&text=status+now&\
                    response_url=https%3A%2F%2Fhooks.slack.com%2Fx&trigger_id=1.2";
        let Some(Request::Came(Came::Slash(slash))) = read(form) else { panic!() };
        assert_eq!(
            (slash.command.as_str(), slash.text.as_str(), slash.is_private()),
            ("/hermes", "status now", true)
        );
        let payload = json!({"type": "block_actions", "user": {"id": "U1"}, "channel": {"id": "C1"},
            "container": {"thread_ts": "1.1"}, "actions": [{"action_id": "hermes_deny", "value": "7.1"}]});
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish();
        let Some(Request::Came(Came::Press(press))) = read(&body) else { panic!() };
        assert_eq!(
            (press.action.as_str(), press.value.as_str(), press.thread.as_deref()),
            ("hermes_deny", "7.1", Some("1.1"))
        );
        for odd in ["", "{", "[]", "x=y", "payload=x", "{\"type\": 1}"] {
            assert_eq!(read(odd), None, "{odd}");
        }
        assert_eq!(read("command=/x"), Some(Request::Came(Came::Odd)));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_breaks_anything(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = frame(&text);
            let _ = request(text.as_bytes());
            let _ = request(&bytes);
            let _ = answer::<Me>("x", 200, None, &bytes);
        }
    }
}
