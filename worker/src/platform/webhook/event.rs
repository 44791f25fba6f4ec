//! What a request is about: event type and delivery id.

use std::borrow::Cow;

use http::HeaderMap;

use super::tree::Node;
use crate::platform::wire::random64;

/// Longest delivery id, in characters.
const MAX_ID: usize = 256;

/// Headers a sender may name a delivery with, strongest first: those of one vendor, then those of anybody. `X-Request-ID` is last
/// because proxies add one of their own to every attempt.
const ID_HEADERS: [&str; 16] = [
    "x-github-delivery",
    // Gitea and its relatives send GitHub's too.
    "x-forgejo-delivery",
    "x-gitea-delivery",
    "x-gogs-delivery",
    "svix-id",
    "webhook-id",
    "linear-delivery",
    "x-shopify-webhook-id",
    // Atlassian: Bitbucket, then Jira and Confluence.
    "x-request-uuid",
    "x-atlassian-webhook-identifier",
    "i-twilio-idempotency-token",
    "idempotency-key",
    "x-gitlab-event-uuid",
    // CloudEvents.
    "ce-id",
    // Sentry.
    "request-id",
    "x-request-id",
];

/// Headers that name the type of an event where the payload does not.
const TYPE_HEADERS: [&str; 7] = [
    "linear-event",
    "x-shopify-topic",
    "sentry-hook-resource",
    "x-forgejo-event",
    "x-gitea-event",
    "x-event-key",
    "ce-type",
];

/// The type of an event, under each name a route may know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventType {
    /// `push`; what templates, filters and answers show.
    pub(super) name: String,
    /// `Push Hook`: GitLab's own spelling, where it differs.
    raw: Option<String>,
}

impl EventType {
    /// Whether a route that lists `events` takes it; an empty list takes all.
    pub(super) fn is_listed(&self, events: &[String]) -> bool {
        events.is_empty() || events.iter().any(|e| *e == self.name || Some(e) == self.raw.as_ref())
    }
}

/// Whether GitHub only says that a webhook was set up. Nobody is to be woken for it.
pub(super) fn is_ping(headers: &HeaderMap) -> bool {
    headers.get("x-github-event").is_some_and(|event| event.as_bytes().trim_ascii() == b"ping")
}

/// The first non-empty of GitHub's header, GitLab's header, `event_type` and `type` of the payload, other vendors' headers, else
/// `unknown`.
pub(super) fn event_type(headers: &HeaderMap, payload: &Node) -> EventType {
    let header = |name: &str| {
        headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes())).filter(|v| !v.trim().is_empty())
    };
    if let Some(name) = header("x-github-event") {
        return EventType { name: name.into_owned(), raw: None };
    }
    if let Some(raw) = header("x-gitlab-event") {
        let name = normalise_gitlab(&raw);
        let raw = (name != raw).then(|| raw.into_owned());
        return EventType { name, raw };
    }
    let name = ["event_type", "type"]
        .iter()
        .find_map(|key| {
            let value = payload.get(key)?;
            value.as_str().or_else(|| value.as_number()).filter(|text| !text.is_empty()).map(str::to_owned)
        })
        .or_else(|| TYPE_HEADERS.iter().find_map(|name| header(name)).map(Cow::into_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    EventType { name, raw: None }
}

/// `Merge Request Hook` → `merge_request`.
fn normalise_gitlab(raw: &str) -> String {
    let raw = raw.trim();
    raw.strip_suffix(" Hook").unwrap_or(raw).to_lowercase().replace(' ', "_")
}

/// How a delivery is named, and who named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryId {
    /// Without control characters, at most [`MAX_ID`] characters.
    pub(super) id: String,
    /// Whether the sender chose it, so that it may come again.
    pub(super) from_sender: bool,
}

/// The sender's id of this delivery, else a new one that nobody else has. `signed` is an id that the payload holds where its vendor
/// puts it there: it is covered by the signature, and comes before any header.
pub(super) fn delivery_id(headers: &HeaderMap, signed: Option<&str>, now_ms: i64) -> DeliveryId {
    let named = ID_HEADERS.iter().filter_map(|name| headers.get(*name));
    let sent = signed
        .map(Cow::Borrowed)
        .into_iter()
        .chain(named.map(|value| String::from_utf8_lossy(value.as_bytes())))
        .map(|id| sanitise(&id))
        .find(|id| !id.is_empty());
    match sent {
        Some(id) => DeliveryId { id, from_sender: true },
        None => DeliveryId { id: format!("{now_ms}-{:08x}", random64() >> 32), from_sender: false },
    }
}

fn sanitise(id: &str) -> String {
    let id: Cow<'_, str> = if id.chars().any(char::is_control) {
        id.chars().filter(|c| !c.is_control()).collect::<String>().into()
    } else {
        id.into()
    };
    crate::platform::wire::first_chars(id.trim(), MAX_ID).to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::platform::webhook::tree::json;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_bytes(v).unwrap())).collect()
    }

    #[test]
    fn headers_come_before_the_payload() {
        let payload = json!({"event_type": "a", "type": "b"});
        let name =
            |pairs: &[(&'static str, &[u8])], payload: &Node| event_type(&headers(pairs), payload).name;
        assert_eq!(name(&[("x-github-event", b"push"), ("x-gitlab-event", b"Note Hook")], &payload), "push");
        assert_eq!(name(&[], &payload), "a");
        assert_eq!(name(&[], &json!({"event_type": "", "type": "b"})), "b");
        assert_eq!(name(&[("x-github-event", b"")], &json!({"type": 7})), "7");
        assert_eq!(name(&[], &json!({"type": {"x": 1}})), "unknown");
        assert_eq!(name(&[("x-shopify-topic", b"orders/create")], &json!({"id": 1})), "orders/create");
        assert_eq!(name(&[("linear-event", b"Issue")], &json!({"type": "Comment"})), "Comment");
    }

    #[test]
    fn gitlab_names_are_known_in_both_spellings() {
        for (raw, normal) in
            [("Push Hook", "push"), ("Merge Request Hook", "merge_request"), ("Tag Push Hook", "tag_push")]
        {
            let event = event_type(&headers(&[("x-gitlab-event", raw.as_bytes())]), &json!(null));
            assert_eq!(event.name, normal);
            assert!(event.is_listed(&[normal.to_owned()]) && event.is_listed(&[raw.to_owned()]));
            assert!(event.is_listed(&[]) && !event.is_listed(&["other".to_owned()]));
        }
    }

    #[test]
    fn ids_are_clean_short_and_unique() {
        let id = |pairs: &[(&'static str, &[u8])]| delivery_id(&headers(pairs), None, 5);
        let sent = |id: &str| DeliveryId { id: id.to_owned(), from_sender: true };
        assert_eq!(id(&[("x-request-id", b"r"), ("svix-id", b"s"), ("x-github-delivery", b"g")]), sent("g"));
        assert_eq!(
            id(&[("x-request-id", b"r"), ("x-gitlab-event-uuid", b"u"), ("idempotency-key", b"k")]),
            sent("k")
        );
        assert_eq!(id(&[("x-request-id", b" a\tb ")]), sent("ab"));
        assert_eq!(id(&[("x-request-id", &[b'x'; 300])]).id.len(), 256);
        assert_eq!(id(&[("x-request-id", b"\xff")]), sent("\u{fffd}"));
        let (a, b) = (id(&[("x-request-id", b"")]), id(&[]));
        assert!(a.id.starts_with("5-") && !a.from_sender && a.id != b.id);
        let signed = delivery_id(&headers(&[("x-request-id", b"r")]), Some("evt_1"), 5);
        assert_eq!(signed, sent("evt_1"));
    }

    /// Wires 8: every vendor's own id de-duplicates, before the one that a proxy may have added.
    #[test]
    fn w8_every_vendor_names_its_deliveries() {
        for name in ID_HEADERS {
            let found =
                delivery_id(&headers(&[("x-request-id", b"of the proxy"), (name, b"its own")]), None, 5);
            assert!(found.from_sender, "{name}");
            assert_eq!(found.id, if name == "x-request-id" { "of the proxy" } else { "its own" }, "{name}");
        }
    }
}
