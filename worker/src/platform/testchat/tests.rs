//! What the failures of the service are to connection and messages, its settings, and the requests that are made of it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::delivery::outbound::{Message, Sent, Unsent};
use crate::platform::{Class, REGISTRY, harness};

fn status(status: u16, seconds: Option<u64>) -> Failure {
    Failure::Status { what: "updates", status, retry_after: seconds.map(Duration::from_secs) }
}

#[test]
fn every_failure_has_its_class_and_code() {
    let secs = Duration::from_secs;
    for (failure, class, code, wait) in [
        (status(401, None), Class::Fatal, "testchat_invalid_auth", None),
        (status(403, None), Class::Fatal, "testchat_invalid_auth", None),
        (status(409, None), Class::Retrying, "testchat_polling_conflict", None),
        (status(429, Some(7)), Class::Retrying, "testchat_rate_limited", Some(secs(7))),
        (status(503, Some(1)), Class::Retrying, "testchat_network_error", Some(secs(1))),
        (status(302, None), Class::Retrying, "testchat_network_error", None),
        (Failure::Unsent("x".into()), Class::Retrying, "testchat_network_error", None),
        (Failure::Lost("x".into()), Class::Retrying, "testchat_network_error", None),
        (Failure::Garbled(wire::WireError::TooMuch("x")), Class::Retrying, "testchat_protocol", None),
    ] {
        let text = failure.to_string();
        let down = down(failure);
        assert_eq!((down.class, down.code.as_str(), down.retry_after), (class, code, wait), "{text}");
    }
}

fn settings(yaml: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, yaml, "TESTCHAT_TOKEN=from-env")
}

#[test]
fn only_its_own_section_turns_it_on_and_what_is_missing_is_said() {
    assert_eq!(settings(""), (None, Vec::new()));
    let on = |extra: &str| settings(&format!("platforms: {{testchat: {{enabled: true, {extra}}}}}\n"));
    let (found, problems) =
        on("base_url: 'http://127.0.0.1:1/bot', token: in-yaml, poll_seconds: 3, longest: 9");
    let found = found.unwrap();
    assert_eq!((problems, found.fault.clone()), (Vec::new(), None));
    assert_eq!((found.poll, found.longest, found.token.expose()), (Duration::from_secs(3), 9, "from-env"));
    for bad in ["", "base_url: 'ftp://x'", "base_url: nothing"] {
        let (found, problems) = on(bad);
        assert_eq!(problems, ["testchat_config_missing"], "{bad}");
        let refused = Service::new(&found.unwrap(), &Network::default()).err().unwrap();
        assert_eq!(down(refused).class, Class::Fatal);
    }
    assert!(on("base_url: 'http://x', poll_seconds: soon").0.is_none());
}

#[test]
fn it_is_in_no_documentation_completion_or_schema() {
    use hermes_config::schema;
    assert!(!schema::docs::page(&REGISTRY).contains(NAME));
    assert!(!schema::docs::template(&REGISTRY, true).contains(NAME));
    assert!(!schema::json::schema(&REGISTRY).to_string().contains(NAME));
    assert!(schema::groups(&REGISTRY).iter().all(|group| group.title != settings::KEYS.title));
    assert!(schema::find(&REGISTRY, ["platforms", NAME, "token"]).unwrap().unwrap().secret);
}

/// Answers one request with `answer`, and returns what it was.
async fn one(listener: TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("\r\n\r\n") || !request.ends_with(b"}") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&request));
        request.extend_from_slice(&piece[..read]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn what_goes_out_has_its_key_and_comes_back_with_its_id() {
    let ok = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let target =
        DeliveryTarget { kind: NAME.to_owned(), extra: [(CHAT_ID.to_owned(), "c".to_owned())].into() };
    let message = Message { text: "hi", key: "k-1", repeated: false };
    for (answer, wanted) in [
        (ok(r#"{"id":"m7"}"#), Ok(Sent { id: Some("m7".to_owned()) })),
        (ok("{}"), Err(true)),
        ("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_owned(), Err(true)),
        ("HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n".to_owned(), Err(false)),
        (String::new(), Err(true)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/bot/", listener.local_addr().unwrap());
        let settings = settings(&format!("platforms: {{testchat: {{enabled: true, base_url: '{base}'}}}}\n"));
        let way = Chat::new(settings.0.unwrap(), Network::default());
        let (request, sent) = tokio::join!(one(listener, &answer), way.send(&target, message));
        assert!(
            request.starts_with("POST /bot/send ") && request.ends_with(r#"{"chat":"c","text":"hi"}"#),
            "{request}"
        );
        let has = |line: &str| request.to_lowercase().contains(&format!("\r\n{line}\r\n"));
        assert!(has("idempotency-key: k-1") && has("authorization: bearer from-env"), "{request}");
        let said = sent.map_err(|unsent| matches!(unsent, Unsent::Later { unsure: true, .. }));
        assert_eq!(said, wanted, "{answer}");
    }
}

#[tokio::test]
async fn a_message_is_edited_and_typing_shown_in_its_chat() {
    let target =
        DeliveryTarget { kind: NAME.to_owned(), extra: [(CHAT_ID.to_owned(), "c".to_owned())].into() };
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    for (path, body) in [("edit", r#"{"chat":"c","id":"m1","text":"new"}"#), ("typing", r#"{"chat":"c"}"#)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let settings = settings(&format!("platforms: {{testchat: {{enabled: true, base_url: '{base}'}}}}\n"));
        let way = Chat::new(settings.0.unwrap(), Network::default());
        let call = async {
            if path == "edit" {
                way.edit(&target, "m1", "new").await.unwrap();
            } else {
                way.typing(&target).await;
            }
        };
        let (request, ()) = tokio::join!(one(listener, ok), call);
        assert!(request.starts_with(&format!("POST /{path} ")) && request.ends_with(body), "{request}");
    }
}

/// The token goes to the service and to nobody else.
#[tokio::test]
async fn a_file_elsewhere_is_not_fetched() {
    let settings = settings("platforms: {testchat: {enabled: true, base_url: 'http://127.0.0.1:9/bot'}}\n");
    let service = Service::new(&settings.0.unwrap(), &Network::default()).unwrap();
    for path in ["@127.0.0.1:1/x", "\\@elsewhere/x"] {
        let refused = service.file(path).await.err().unwrap().to_string();
        assert!(
            refused.contains("not reached") || refused.contains("none of the service's"),
            "{path}: {refused}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_acceptance_is_no_silence_and_ends_with_the_connection() {
    use crate::platform::link::Order;
    let window = Duration::from_secs(9);
    let orders = tokio::sync::watch::Sender::new(Order::Connect);
    let (link, mut heard) = Link::new(orders.subscribe(), true);
    let watched = async {
        for _ in 0..100 {
            tokio::time::timeout(window, heard.changed()).await.expect("it lives").unwrap();
        }
    };
    let slow = link.during(window, sleep(window * 100));
    let (taken, ()) = tokio::join!(slow, watched);
    assert_eq!(taken, Some(()));
    let close = async {
        sleep(window).await;
        orders.send_replace(Order::Hold);
    };
    let began = tokio::time::Instant::now();
    let (taken, ()) = tokio::join!(link.during(window, std::future::pending::<()>()), close);
    assert_eq!((taken, began.elapsed()), (None, window));
    // What is done is done, also where the connection is to be closed.
    assert_eq!(link.during(window, std::future::ready(7)).await, Some(7));
}
