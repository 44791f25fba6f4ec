//! What Mattermost says: answers of the REST API, and events of the WebSocket. Bytes from outside, parsed once; nothing in them is believed
//! to be short or sane, and one post that is odd spoils no other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest text of one post, in bytes: four times the 16 383 characters that a server takes at most.
const TEXT: usize = 64 * 1024;
/// Longest id, in bytes. Mattermost's have 26.
const ID: usize = 64;
/// Longest name, in bytes.
const NAME: usize = 4096;
/// Most files of one post that are looked at.
const MANY: usize = 64;
/// Most of what an error says that is shown, in characters.
const SHOWN: usize = 200;
/// Longest wait that a server may ask for.
const ASKED: Duration = Duration::from_secs(3600);
/// A number of seconds beyond this is a time, and no wait.
const A_TIME: u64 = 1_000_000_000;

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// No JSON of the expected shape.
    #[error("the answer to {0} is not understood")]
    Shape(&'static str),
    /// More than anybody should get at once.
    #[error("the answer to {0} is too long")]
    TooMuch(&'static str),
}

/// An error that somebody answered with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// Mattermost's word for it; empty: it is not Mattermost's own answer.
    pub(super) id: String,
    /// The same for people.
    pub(super) message: String,
    /// The wait that was asked for.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Said {
    id: String,
    #[serde(default)]
    message: String,
}

/// Reads an error.
pub(super) fn refusal(status: u16, bytes: &[u8], retry_after: Option<Duration>) -> Refusal {
    let said: Option<Said> = serde_json::from_slice(bytes).ok();
    let (id, message) = said.map(|said| (shown(&said.id), shown(&said.message))).unwrap_or_default();
    Refusal { status, id, message, retry_after: retry_after.map(|asked| asked.min(ASKED)) }
}

/// What `X-Ratelimit-Reset` asks to wait. Servers say seconds, their documentation a time; `now` is in seconds since the epoch.
pub(super) fn reset(text: &str, now: u64) -> Option<Duration> {
    let said: u64 = text.trim().parse().ok()?;
    let seconds = if said > A_TIME { said.saturating_sub(now) } else { said };
    Some(Duration::from_secs(seconds).min(ASKED))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// Whether a text is an id: it can stand in a path as it is.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct User {
    pub(super) id: String,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) is_bot: bool,
}

/// A team that the bot is in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Team {
    #[serde(default)]
    pub(super) display_name: String,
}

/// A channel that the bot is in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Channel {
    pub(super) id: String,
    /// `O`pen, `P`rivate, a `G`roup of people, or `D`irect.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) display_name: String,
    #[serde(default)]
    pub(super) team_id: String,
    /// When something was last said there, in milliseconds since the epoch.
    #[serde(default)]
    pub(super) last_post_at: u64,
    #[serde(default)]
    pub(super) delete_at: u64,
}

/// A file of a post.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct File {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) mime_type: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    files: Option<Vec<File>>,
}

#[derive(Deserialize)]
struct RawPost {
    id: String,
    #[serde(default)]
    create_at: u64,
    #[serde(default)]
    delete_at: u64,
    user_id: String,
    channel_id: String,
    #[serde(default)]
    root_id: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    props: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    file_ids: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Post {
    pub(super) id: String,
    /// When, in milliseconds since the epoch, by the server's clock.
    pub(super) at: u64,
    pub(super) is_deleted: bool,
    pub(super) user: String,
    pub(super) channel: String,
    /// The post that its thread begins with; what begins one stands in none.
    pub(super) root: Option<String>,
    pub(super) message: String,
    /// Empty where somebody wrote; `system_…` where nobody did.
    pub(super) kind: String,
    /// A program wrote it, whoever's name it has.
    pub(super) is_bot: bool,
    /// Of those that the server does not describe here only the id is known.
    pub(super) files: Vec<File>,
}

fn post(value: Value) -> Option<Post> {
    let raw: RawPost = serde_json::from_value(value).ok()?;
    let is_root = raw.root_id.is_empty() || is_id(&raw.root_id);
    let ids = [&raw.id, &raw.user_id, &raw.channel_id];
    if !ids.into_iter().all(|id| is_id(id)) || !is_root || raw.message.len() > TEXT || raw.kind.len() > ID {
        return None;
    }
    let props = raw.props.unwrap_or_default();
    let says = |name: &str| match props.get(name) {
        Some(Value::String(text)) => text == "true",
        Some(value) => value == &Value::Bool(true),
        None => false,
    };
    let described = raw.metadata.unwrap_or_default().files.unwrap_or_default();
    let is_file = |file: &File| is_id(&file.id) && file.name.len() <= NAME && file.mime_type.len() <= NAME;
    let mut files: Vec<File> = described.into_iter().filter(is_file).take(MANY).collect();
    for id in raw.file_ids.unwrap_or_default().into_iter().take(MANY).filter(|id| is_id(id)) {
        if files.len() < MANY && files.iter().all(|file| file.id != id) {
            files.push(File { id, ..File::default() });
        }
    }
    Some(Post {
        is_bot: says("from_bot") || says("from_webhook") || says("from_plugin"),
        id: raw.id,
        at: raw.create_at,
        is_deleted: raw.delete_at > 0,
        user: raw.user_id,
        channel: raw.channel_id,
        root: Some(raw.root_id).filter(|root| !root.is_empty()),
        message: raw.message,
        kind: raw.kind,
        files,
    })
}

/// Posts of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Posts {
    /// From the oldest to the newest.
    pub(super) all: Vec<Post>,
    /// As many as the server named.
    pub(super) named: usize,
    /// Those of them that nobody can use.
    pub(super) odd: usize,
}

#[derive(Deserialize)]
struct RawPosts {
    order: Vec<String>,
    posts: BTreeMap<String, Value>,
}

/// Reads posts. Only what stands in their order was asked for; the beginnings of threads come along.
pub(super) fn posts(bytes: &[u8]) -> Result<Posts, WireError> {
    let RawPosts { order, mut posts } =
        serde_json::from_slice(bytes).map_err(|_| WireError::Shape("posts"))?;
    let named = order.len();
    let mut read: Vec<Post> = order.into_iter().filter_map(|id| posts.remove(&id).and_then(post)).collect();
    read.sort_by(|one, other| (one.at, &one.id).cmp(&(other.at, &other.id)));
    Ok(Posts { odd: named - read.len(), all: read, named })
}

/// Reads anything else.
pub(super) fn answer<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(bytes).map_err(|_| WireError::Shape(what))
}

/// The id of a post, or of a file, that was made.
pub(super) fn made(what: &'static str, bytes: &[u8]) -> Result<String, WireError> {
    let said: Value = answer(what, bytes)?;
    let id = said["id"].as_str().or_else(|| said["file_infos"][0]["id"].as_str());
    id.filter(|id| is_id(id)).map(str::to_owned).ok_or(WireError::Shape(what))
}

/// A post that came through the socket, and what was said of its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Posted {
    pub(super) post: Post,
    /// As [`Channel::kind`]; empty: nobody says.
    pub(super) kind: String,
    pub(super) channel_name: String,
    pub(super) team: String,
    /// Its writer, without the `@`.
    pub(super) sender: String,
}

/// What came through the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// The server knows who listens: from now on everything comes.
    Hello,
    /// Somebody wrote.
    Posted(Box<Posted>),
    /// The answer to what was sent. `refused`: whoever sent it is nobody (any more).
    Reply { refused: bool },
    /// A post that nobody can use: a part is missing, or too long.
    Odd,
    /// Nothing that anybody asked for.
    Other,
}

/// Reads it, with its number among the events of its socket. `None`: it is no JSON.
pub(super) fn frame(text: &str) -> Option<(Option<u64>, Frame)> {
    let mut said: Value = serde_json::from_str(text).ok()?;
    if said["seq_reply"].is_u64() && said["event"].is_null() {
        let error = &said["error"];
        let refused = said["status"] == "FAIL"
            && (error["status_code"] == 401
                || error["id"] == "api.web_socket_router.not_authenticated.app_error"
                || error["id"] == "api.context.session_expired.app_error");
        return Some((None, Frame::Reply { refused }));
    }
    let number = said["seq"].as_u64();
    let frame = match said["event"].as_str() {
        Some("hello") => Frame::Hello,
        Some("posted") => {
            posted(&mut said["data"]).map_or(Frame::Odd, |posted| Frame::Posted(Box::new(posted)))
        }
        _ => Frame::Other,
    };
    Some((number, frame))
}

fn posted(data: &mut Value) -> Option<Posted> {
    // A text of JSON within the JSON.
    let said = serde_json::from_str(data["post"].as_str()?).ok()?;
    let text = |name: &str| data[name].as_str().filter(|text| text.len() <= NAME).unwrap_or_default();
    Some(Posted {
        post: post(said)?,
        kind: text("channel_type").to_owned(),
        channel_name: text("channel_display_name").to_owned(),
        team: text("team_id").to_owned(),
        sender: text("sender_name").trim_start_matches('@').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(more: &Value) -> Value {
        let mut post = json!({"id": "p1", "create_at": 5, "delete_at": 0, "user_id": "u1", "channel_id": "c1", "root_id": "",
            "message": "hi", "type": "", "props": {}, "file_ids": ["f1"], "metadata": {}});
        for (key, value) in more.as_object().unwrap() {
            post[key] = value.clone();
        }
        post
    }

    #[test]
    fn a_post_is_a_text_within_an_event() {
        let event = json!({"event": "posted", "seq": 7, "broadcast": {}, "data": {"post": said(&json!({"root_id": "r1"})).to_string(),
            "channel_type": "O", "channel_display_name": "Town", "team_id": "t1", "sender_name": "@ann"}});
        let (number, frame) = super::frame(&event.to_string()).unwrap();
        let Frame::Posted(posted) = frame else { panic!("{frame:?}") };
        assert_eq!((number, posted.sender.as_str(), posted.kind.as_str()), (Some(7), "ann", "O"));
        assert_eq!((posted.post.root.as_deref(), posted.post.files[0].id.as_str()), (Some("r1"), "f1"));
        for odd in [json!({"post": 1}), json!({"post": "{"}), json!({"post": "{}"}), json!(null)] {
            let event = json!({"event": "posted", "seq": 8, "data": odd});
            assert_eq!(super::frame(&event.to_string()), Some((Some(8), Frame::Odd)));
        }
    }

    #[test]
    fn what_is_too_long_or_no_id_is_no_post() {
        assert!(post(said(&json!({}))).is_some());
        for more in [
            json!({"id": ""}),
            json!({"id": "../x"}),
            json!({"channel_id": "a/b"}),
            json!({"root_id": "a b"}),
            json!({"user_id": "x".repeat(65)}),
            json!({"message": "x".repeat(TEXT + 1)}),
        ] {
            assert_eq!(post(said(&more)), None, "{more}");
        }
    }

    #[test]
    fn what_a_program_wrote_is_told_by_its_props() {
        let is_bot = |props: Value| post(said(&json!({"props": props}))).unwrap().is_bot;
        assert!(is_bot(json!({"from_bot": "true"})) && is_bot(json!({"from_webhook": "true"})));
        assert!(
            is_bot(json!({"from_bot": true}))
                && !is_bot(json!({"from_bot": "false"}))
                && !is_bot(json!(null))
        );
    }

    #[test]
    fn files_are_described_or_only_named() {
        let files = json!({"file_ids": ["f1", "f2", "../f"], "metadata": {"files": [{"id": "f1", "name": "a.png", "size": 3, "mime_type": "image/png"}]}});
        let files = post(said(&files)).unwrap().files;
        let all: Vec<_> =
            files.iter().map(|file| (file.id.as_str(), file.name.as_str(), file.size)).collect();
        assert_eq!(all, [("f1", "a.png", 3), ("f2", "", 0)]);
    }

    #[test]
    fn replies_say_whether_anybody_is_known() {
        let of = |text: Value| super::frame(&text.to_string());
        assert_eq!(
            of(json!({"status": "OK", "seq_reply": 1})),
            Some((None, Frame::Reply { refused: false }))
        );
        let refused = json!({"status": "FAIL", "seq_reply": 2, "error": {"id": "api.web_socket_router.not_authenticated.app_error"}});
        assert_eq!(of(refused), Some((None, Frame::Reply { refused: true })));
        let odd = json!({"status": "FAIL", "seq_reply": 2, "error": {"id": "api.web_socket_router.bad_action.app_error", "status_code": 500}});
        assert_eq!(of(odd), Some((None, Frame::Reply { refused: false })));
        assert_eq!(of(json!({"event": "hello", "seq": 0})), Some((Some(0), Frame::Hello)));
        assert_eq!(super::frame("nothing"), None);
    }

    #[test]
    fn posts_come_from_the_oldest_and_without_what_only_came_along() {
        let list = json!({"order": ["p3", "p2", "p9"], "posts": {
            "p1": said(&json!({"id": "p1"})), "p2": said(&json!({"id": "p2", "create_at": 6})), "p3": said(&json!({"id": "p3", "create_at": 7}))}});
        let found = posts(list.to_string().as_bytes()).unwrap();
        let ids: Vec<&str> = found.all.iter().map(|post| post.id.as_str()).collect();
        assert_eq!((ids, found.named, found.odd), (vec!["p2", "p3"], 3, 1));
        assert!(posts(b"[]").is_err());
    }

    #[test]
    fn a_wait_is_seconds_or_a_time() {
        assert_eq!(reset(" 7 ", 100), Some(Duration::from_secs(7)));
        assert_eq!(reset("1700000009", 1_700_000_000), Some(Duration::from_secs(9)));
        assert_eq!(reset("1700000000", 1_700_000_009), Some(Duration::ZERO));
        assert_eq!((reset("999999", 0), reset("soon", 0)), (Some(ASKED), None));
    }

    #[test]
    fn who_is_not_mattermost_has_no_word_for_an_error() {
        let own = refusal(
            401,
            br#"{"id": "api.context.session_expired.app_error", "message": "Invalid or expired session"}"#,
            None,
        );
        assert_eq!((own.status, own.id.as_str()), (401, "api.context.session_expired.app_error"));
        assert_eq!(refusal(502, b"<html>", None).id, "");
    }
}
