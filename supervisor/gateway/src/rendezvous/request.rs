//! One JSON line in, one JSON line out: what a client of `gateway.sock` may say, and the shape of what it is told. Pure.
//!
//! A request is an object with `verb`, and `id`, `params` and `protocol` where it has them. What is unknown in it is skipped, as newer
//! clients say more; a verb that is unknown is refused with the list of those that are not.

use hermes_wire::text;
use serde_json::{Map, Value, json};

/// Version of the conversation.
pub(crate) const PROTOCOL: u32 = 1;
/// Longest request with its line end, in bytes.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;
/// Longest answer with its line end.
pub(crate) const MAX_ANSWER: usize = 512 * 1024;
/// How much of a word of the client's an answer repeats.
const SHOWN: usize = 80;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Who is there.
    Identify,
    /// How it is.
    Status,
    /// Look at the homes now.
    Rescan,
    /// Serve the profile of this name.
    Serve(String),
    /// Stop serving it.
    Unserve(String),
    /// Finish and end, to be started again.
    Pause,
}

/// Names of the verbs, sorted.
pub(crate) const VERBS: [&str; 6] =
    ["identify", "pause-for-update", "rescan-profiles", "serve-profile", "status", "unserve-profile"];

/// A request that could be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// Repeated in the answer, whatever it is.
    pub(crate) id: Option<Value>,
    /// The error is what the client is told.
    pub(crate) verb: Result<Verb, Refusal>,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No verb that is known here.
    UnknownVerb(String),
    /// Anything else.
    Because(String),
}

/// Reads a request, without its line end.
pub(crate) fn parse(line: &[u8]) -> Request {
    let refused = |why: String| Request { id: None, verb: Err(Refusal::Because(why)) };
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return refused(format!("the request is not JSON: {error}")),
    };
    let Value::Object(mut request) = value else {
        return refused("the request is not a JSON object".to_owned());
    };
    let id = request.remove("id").filter(|id| !id.is_null());
    let name = || match request.get("params").and_then(|params| params.get("name")) {
        Some(Value::String(name)) => name.clone(),
        // No profile has no name: who asked is told that it is not one.
        _ => String::new(),
    };
    let verb = match request.get("verb") {
        Some(Value::String(verb)) => match verb.as_str() {
            "identify" => Ok(Verb::Identify),
            "status" => Ok(Verb::Status),
            "rescan-profiles" => Ok(Verb::Rescan),
            "serve-profile" => Ok(Verb::Serve(name())),
            "unserve-profile" => Ok(Verb::Unserve(name())),
            "pause-for-update" => Ok(Verb::Pause),
            other => Err(Refusal::UnknownVerb(format!("'{}'", shown(other)))),
        },
        Some(other) => Err(Refusal::UnknownVerb(shown(&other.to_string()))),
        None => Err(Refusal::UnknownVerb("None".to_owned())),
    };
    Request { id, verb }
}

/// The start of a client's word, as it may be shown.
pub(crate) fn shown(word: &str) -> String {
    let start: String = word.chars().take(SHOWN).collect();
    text::visible(&start).into_owned()
}

/// The line that answers.
pub(crate) fn answer(id: Option<&Value>, result: Result<Map<String, Value>, Refusal>) -> Vec<u8> {
    let mut line = line(id, result);
    if line.len() > MAX_ANSWER {
        line = self::line(id, Err(Refusal::Because("the answer is too large".to_owned())));
    }
    line
}

fn line(id: Option<&Value>, result: Result<Map<String, Value>, Refusal>) -> Vec<u8> {
    let mut answer = match result {
        Ok(result) => json!({"ok": true, "protocol": PROTOCOL, "result": result}),
        Err(Refusal::Because(error)) => json!({"ok": false, "error": error, "protocol": PROTOCOL}),
        Err(Refusal::UnknownVerb(verb)) => json!({
            "ok": false, "error": format!("unknown verb: {verb}"), "protocol": PROTOCOL, "supported_verbs": VERBS,
        }),
    };
    if let Some(id) = id {
        answer["id"] = id.clone();
    }
    let mut line = answer.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(line: &str) -> Result<Verb, Refusal> {
        parse(line.as_bytes()).verb
    }

    #[test]
    fn requests_of_the_newer_releases_are_read() {
        let request = parse(br#"{"verb": "identify", "id": 1, "protocol": 1}"#);
        assert_eq!(request, Request { id: Some(1.into()), verb: Ok(Verb::Identify) });
        assert_eq!(
            verb(r#"{"verb":"serve-profile","params":{"name":"coder","more":[]},"protocol":2,"new":{}}"#),
            Ok(Verb::Serve("coder".to_owned()))
        );
        assert_eq!(
            verb(r#"{"verb":"unserve-profile","params":["coder"]}"#),
            Ok(Verb::Unserve(String::new()))
        );
        for (name, known) in VERBS.into_iter().zip([
            Verb::Identify,
            Verb::Pause,
            Verb::Rescan,
            Verb::Serve(String::new()),
            Verb::Status,
            Verb::Unserve(String::new()),
        ]) {
            assert_eq!(verb(&format!(r#"{{"verb":"{name}"}}"#)), Ok(known));
        }
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "not JSON"),
            ("{\"verb\":", "not JSON"),
            ("[1]", "not a JSON object"),
            ("\u{feff}{}", "not JSON"),
            (&"[".repeat(MAX_REQUEST), "not JSON"),
        ] {
            let Err(Refusal::Because(why)) = verb(line) else { panic!("{line}") };
            assert!(why.contains(reason), "{why}");
        }
        for (line, said) in [
            (r"{}", "None"),
            (r#"{"verb":7}"#, "7"),
            (r#"{"verb":"reload-plugins"}"#, "'reload-plugins'"),
            (r#"{"verb":"\u001b[2J"}"#, "'\\u{1b}[2J'"),
        ] {
            assert_eq!(verb(line), Err(Refusal::UnknownVerb(said.to_owned())));
        }
    }

    #[test]
    fn answers_are_one_line_with_the_id_of_the_request() {
        let of = |id: Option<Value>, result| String::from_utf8(answer(id.as_ref(), result)).unwrap();
        assert_eq!(
            of(Some("a\nb".into()), Ok(Map::new())),
            "{\"ok\":true,\"protocol\":1,\"result\":{},\"id\":\"a\\nb\"}\n"
        );
        let unknown: Value =
            serde_json::from_str(&of(None, Err(Refusal::UnknownVerb("'x'".to_owned())))).unwrap();
        assert_eq!(
            unknown,
            json!({"ok": false, "error": "unknown verb: 'x'", "protocol": 1, "supported_verbs": VERBS})
        );
        let mut large = Map::new();
        large.insert("x".to_owned(), "y".repeat(MAX_ANSWER).into());
        assert_eq!(
            of(None, Ok(large)),
            "{\"ok\":false,\"error\":\"the answer is too large\",\"protocol\":1}\n"
        );
    }
}
