//! What Home Assistant says: messages of the WebSocket API, and answers of the REST API. Bytes from outside, parsed once; nothing in them is
//! believed to be short or sane, and one state that is odd spoils no other.

use serde::Deserialize;
use serde_json::Value;

/// Longest id of an entity, in bytes.
const ENTITY: usize = 255;
/// Longest state, name and unit, in characters: the service's own states have at most 255.
const STATE: usize = 255;
/// Longest time, in bytes.
const TIME: usize = 64;
/// Most of what an error says that is shown, in characters.
const SHOWN: usize = 200;

/// How an entity is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) entity: String,
    /// In a word or a number.
    pub(super) value: String,
    /// What people call it.
    pub(super) name: String,
    pub(super) unit: String,
    /// Of what heats and cools: the temperature that is, and the one that is wanted.
    pub(super) temperature: Option<(String, String)>,
    /// Since when it is so, as the service writes it: no other state of this entity has the same.
    pub(super) since: String,
}

/// What came through the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Who is there is to be said.
    AuthRequired,
    /// Who is there is known.
    AuthOk,
    /// Nobody is known by that; why.
    AuthInvalid(String),
    /// Something that was asked for was done, or not.
    Result { id: u64, success: bool, states: Vec<State>, odd: usize, error: String },
    /// An entity is another way than it was; nothing: it was not there.
    Changed { old: Option<String>, new: Box<State> },
    /// A sign of life that was asked for.
    Pong,
    /// A state that nobody can use.
    Odd,
    /// Nothing that anybody asked for.
    Other,
}

#[derive(Deserialize)]
struct RawState {
    entity_id: String,
    state: String,
    #[serde(default)]
    attributes: Value,
    #[serde(default)]
    last_changed: String,
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(STATE).collect()
}

/// Whether a text is an id of an entity: what it is, a point, and which one.
pub(super) fn is_entity(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.len() <= ENTITY && text.split_once('.').is_some_and(|(what, which)| is_word(what) && is_word(which))
}

fn state(value: &Value) -> Option<State> {
    let raw = RawState::deserialize(value).ok()?;
    if !is_entity(&raw.entity_id) || raw.last_changed.len() > TIME || raw.state.chars().count() > STATE {
        return None;
    }
    let attribute = |name: &str| match &raw.attributes[name] {
        Value::String(text) => cut(text),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let name = Some(attribute("friendly_name")).filter(|name| !name.trim().is_empty());
    let temperatures = (attribute("current_temperature"), attribute("temperature"));
    let has_some = !temperatures.0.is_empty() || !temperatures.1.is_empty();
    Some(State {
        name: name.unwrap_or_else(|| raw.entity_id.clone()),
        unit: attribute("unit_of_measurement"),
        temperature: has_some.then_some(temperatures),
        value: cut(&raw.state),
        since: shown(&raw.last_changed),
        entity: raw.entity_id,
    })
}

/// Reads what came. `None`: it is no message.
pub(super) fn frame(text: &str) -> Option<Frame> {
    let said: Value = serde_json::from_str(text).ok()?;
    Some(match said["type"].as_str()? {
        "auth_required" => Frame::AuthRequired,
        "auth_ok" => Frame::AuthOk,
        "auth_invalid" => Frame::AuthInvalid(shown(said["message"].as_str().unwrap_or_default())),
        "pong" => Frame::Pong,
        "result" => result(&said),
        "event" if said["event"]["event_type"] == "state_changed" => changed(&said["event"]["data"]),
        _ => Frame::Other,
    })
}

fn result(said: &Value) -> Frame {
    let (mut states, mut odd) = (Vec::new(), 0);
    for value in said["result"].as_array().into_iter().flatten() {
        match state(value) {
            Some(state) => states.push(state),
            None => odd += 1,
        }
    }
    Frame::Result {
        id: said["id"].as_u64().unwrap_or_default(),
        success: said["success"] == true,
        states,
        odd,
        error: shown(said["error"]["message"].as_str().unwrap_or_default()),
    }
}

fn changed(data: &Value) -> Frame {
    // An entity that is taken away has no state any more.
    if data["new_state"].is_null() && data["entity_id"].is_string() {
        return Frame::Other;
    }
    match state(&data["new_state"]) {
        Some(new) => {
            let old = data["old_state"]["state"].as_str().map(cut);
            Frame::Changed { old, new: Box::new(new) }
        }
        None => Frame::Odd,
    }
}

/// What an error of the REST API says.
pub(super) fn message(bytes: &[u8]) -> String {
    let said: Value = serde_json::from_slice(bytes).unwrap_or_default();
    shown(said["message"].as_str().unwrap_or_default())
}

/// What a configuration says of the house: what it is called, and its version. None: it is none.
pub(super) fn about(bytes: &[u8]) -> Option<(String, String)> {
    let said: Value = serde_json::from_slice(bytes).ok()?;
    let version = said["version"].as_str()?;
    Some((shown(said["location_name"].as_str().unwrap_or_default()), shown(version)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(entity: &str, state: &str) -> Value {
        json!({"entity_id": entity, "state": state, "attributes": {"friendly_name": "Door", "unit_of_measurement": "°C",
            "current_temperature": 19.5, "temperature": 21}, "last_changed": "2026-11-30T20:00:00.1+00:00", "last_updated": "x", "context": {}})
    }

    fn event(old: &Value, new: &Value) -> String {
        json!({"id": 1, "type": "event", "event": {"event_type": "state_changed", "origin": "LOCAL", "time_fired": "x",
            "data": {"entity_id": "lock.door", "old_state": old, "new_state": new}}})
        .to_string()
    }

    #[test]
    fn a_change_says_how_it_was_and_is() {
        let frame = frame(&event(&one("lock.door", "locked"), &one("lock.door", "unlocked"))).unwrap();
        let Frame::Changed { old, new } = frame else { panic!("{frame:?}") };
        assert_eq!(
            (old.as_deref(), new.value.as_str(), new.entity.as_str()),
            (Some("locked"), "unlocked", "lock.door")
        );
        assert_eq!((new.name.as_str(), new.unit.as_str()), ("Door", "°C"));
        assert_eq!(new.temperature, Some(("19.5".to_owned(), "21".to_owned())));
        let first = super::frame(&event(&Value::Null, &one("lock.door", "locked"))).unwrap();
        assert!(matches!(first, Frame::Changed { old: None, .. }));
        assert_eq!(super::frame(&event(&one("lock.door", "locked"), &Value::Null)), Some(Frame::Other));
    }

    #[test]
    fn what_is_too_long_or_no_entity_is_odd() {
        for new in [
            one("door", "x"),
            one("lock.", "x"),
            one("lock.a b", "x"),
            one(&format!("lock.{}", "x".repeat(300)), "x"),
            one("lock.door", &"x".repeat(256)),
            json!({"entity_id": "lock.door"}),
            json!(1),
        ] {
            assert_eq!(frame(&event(&Value::Null, &new)), Some(Frame::Odd), "{new}");
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let of = |text: Value| frame(&text.to_string());
        assert_eq!(of(json!({"type": "auth_required", "ha_version": "1"})), Some(Frame::AuthRequired));
        assert_eq!(of(json!({"type": "auth_ok"})), Some(Frame::AuthOk));
        let invalid = json!({"type": "auth_invalid", "message": "Invalid access token or password"});
        assert_eq!(of(invalid), Some(Frame::AuthInvalid("Invalid access token or password".into())));
        assert_eq!(of(json!({"id": 3, "type": "pong"})), Some(Frame::Pong));
        let list =
            json!({"id": 2, "type": "result", "success": true, "result": [one("lock.door", "locked"), 1]});
        let Some(Frame::Result { id: 2, success: true, states, odd: 1, .. }) = of(list) else { panic!() };
        assert_eq!(states.len(), 1);
        let refused = json!({"id": 1, "type": "result", "success": false, "error": {"code": "unauthorized", "message": "Unauthorized"}});
        assert!(
            matches!(of(refused), Some(Frame::Result { success: false, error, .. }) if error == "Unauthorized")
        );
        assert_eq!((of(json!({"type": "event", "event": {}})), of(json!([]))), (Some(Frame::Other), None));
    }
}
