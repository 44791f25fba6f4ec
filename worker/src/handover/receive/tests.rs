//! What comes over the road is on disk whole, or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use camino::Utf8Path;
use futures_util::{StreamExt as _, stream};
use hermes_wire::road::{Accepted, Identity, Media};
use http::Request;
use http_body_util::BodyExt as _;
use tower_service::Service as _;

use hermes_config::ProfileConfig;
use hermes_config::access::AccessSettings;

use super::*;
use crate::delivery::Deliveries;
use crate::delivery::outbound::Outbounds;
use crate::inbox::KeyPolicy;
use crate::store::{Owner, Store};

struct Coder {
    dir: tempfile::TempDir,
    store: Store,
    router: Router,
}

fn coder(most: Option<u64>) -> Coder {
    let everybody = AccessSettings { everybody: true, ..AccessSettings::default() };
    coder_for(most, everybody)
}

fn coder_for(most: Option<u64>, access: AccessSettings) -> Coder {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
    let store = Store::open(&home, Owner::current()).unwrap();
    let profile = "coder".parse().unwrap();
    let keys = KeyPolicy { profile, group_sessions_per_user: true, thread_sessions_per_user: false };
    let inbox = Inbox::new(store.clone(), keys);
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    config.access.insert("telegram", access);
    let deliveries = Deliveries::new(store.clone(), Outbounds::default());
    let skills = crate::skills::Library::new(&home, &config);
    let entrance =
        Entrance::new(&config, &home, inbox, &deliveries, skills, crate::commands::Acts::default());
    Coder { dir, store, router: routes(Target { home, entrance, most, busy: Busy::Wait }) }
}

impl Coder {
    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().call(request).await.unwrap();
        let (status, code) = (response.status(), response.headers().get(ERROR).cloned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let said =
            code.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), |c| c.to_str().unwrap().into());
        (status, said)
    }

    /// Rows as (session key, payload).
    async fn rows(&self) -> Vec<(String, Inbound)> {
        let rows: Vec<(String, String)> = self
            .store
            .aside(|db| {
                let mut rows = db.prepare("SELECT session_key, payload FROM hermes_inbox ORDER BY id")?;
                rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .await
            .unwrap();
        rows.into_iter().map(|(key, payload)| (key, serde_json::from_str(&payload).unwrap())).collect()
    }

    /// Every file below `cache`.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for kind in ["images", "audio", "videos", "documents"] {
            for entry in fs_err::read_dir(self.dir.path().join("cache").join(kind)).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                files.push((format!("{kind}/{name}"), fs_err::read(&path).unwrap()));
            }
        }
        files
    }
}

fn event(id: &str, attachments: &[(&str, &str, &[u8])]) -> Event {
    let attachment = |(name, media_type, bytes): &(&str, &str, &[u8])| Attachment {
        media: Media::of(media_type),
        name: (*name).to_owned(),
        media_type: (*media_type).to_owned(),
        length: bytes.len() as u64,
    };
    Event {
        schema: road::SCHEMA,
        from: road::From {
            chat_type: "group".into(),
            chat_id: Some("-100".into()),
            user_id: Some("7".into()),
            ..road::From::default()
        },
        text: "look".into(),
        identity: Some(Identity { scope: "-100".into(), id: id.into() }),
        reply: BTreeMap::from([("chat_id".into(), "-100".into()), ("seal".into(), "s".into())]),
        longest: Some(4096),
        attachments: attachments.iter().map(attachment).collect(),
        ..Event::default()
    }
}

fn whole(event: &Event, attachments: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = event.head().unwrap();
    for (_, _, bytes) in attachments {
        body.extend_from_slice(bytes);
    }
    body
}

/// In pieces that begin and end anywhere.
fn request(bytes: &[u8], from: &str) -> Request<Body> {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        bytes.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Request::post("/road/hand-over/telegram")
        .header(SENDER, from)
        .body(Body::from_stream(stream::iter(pieces)))
        .unwrap()
}

#[tokio::test]
async fn an_event_is_in_the_inbox_with_its_files_before_it_is_accepted() {
    let coder = coder(None);
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.resize(1000, 1);
    let attached: [(&str, &str, &[u8]); 3] = [
        ("a.png", "image/png", &picture),
        ("../../../.env", "text/plain", b"SECRET=1"),
        ("empty", "audio/ogg", b""),
    ];
    let body = whole(&event("42", &attached), &attached);
    assert_eq!(coder.send(request(&body, "default")).await, (StatusCode::OK, r#"{"accepted":"new"}"#.into()));
    let rows = coder.rows().await;
    let [(key, inbound)] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(inbound.source.received_by.as_deref(), Some("default"));
    assert_eq!(key, "agent:coder:telegram:group:-100:7");
    assert_eq!(inbound.delivery.kind, WAY_BACK);
    assert_eq!(inbound.delivery.extra[PLATFORM], "telegram");
    assert_eq!(inbound.delivery.extra[REPLY], r#"{"chat_id":"-100","seal":"s"}"#);
    let files = coder.files();
    let sizes: Vec<_> =
        files.iter().map(|(name, bytes)| (name.split('/').next().unwrap(), bytes.len())).collect();
    assert_eq!(sizes, [("images", 1000), ("audio", 0), ("documents", 8)]);
    for (name, _) in &files {
        assert!(inbound.text.contains(name.as_str()), "{} lacks {name}", inbound.text);
    }
    assert!(inbound.text.starts_with("look\n[image a.png (image/png, 1000 bytes): "), "{}", inbound.text);

    // Again, as after a crash of its sender.
    assert_eq!(coder.send(request(&body, "default")).await.1, r#"{"accepted":"known"}"#);
    assert_eq!((coder.rows().await.len(), coder.files()), (1, files));
    coder.store.close().await;
}

#[tokio::test]
async fn what_breaks_off_anywhere_leaves_nothing() {
    let coder = coder(None);
    let attached: [(&str, &str, &[u8]); 2] =
        [("a.png", "image/png", &[1; 40]), ("b.txt", "text/plain", b"bytes")];
    let body = whole(&event("1", &attached), &attached);
    for len in 0..body.len() {
        let (status, said) = coder.send(request(&body[..len], "default")).await;
        assert!(status.is_server_error() && said == "broken", "{len}: {status} {said}");
    }
    let mut longer = body.clone();
    longer.push(0);
    assert_eq!(coder.send(request(&longer, "default")).await, (StatusCode::BAD_REQUEST, "malformed".into()));
    assert_eq!((coder.rows().await.len(), coder.files()), (0, Vec::new()));
    assert_eq!(coder.send(request(&body, "default")).await.0, StatusCode::OK);
    coder.store.close().await;
}

#[tokio::test]
async fn what_the_inbox_does_not_take_leaves_no_file() {
    let coder = coder(None);
    let forbid = "CREATE TRIGGER no BEFORE INSERT ON hermes_inbox BEGIN SELECT RAISE(ABORT, 'no'); END";
    coder.store.write(move |db| db.execute_batch(forbid)).await.unwrap();
    let attached: [(&str, &str, &[u8]); 1] = [("a.png", "image/png", &[1; 40])];
    let body = whole(&event("1", &attached), &attached);
    let answer = coder.send(request(&body, "default")).await;
    assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, "no_inbox".into()));
    assert_eq!(coder.files(), []);
    coder.store.write(|db| db.execute_batch("DROP TRIGGER no")).await.unwrap();
    assert_eq!(coder.send(request(&body, "default")).await.0, StatusCode::OK);
    assert_eq!(coder.files().len(), 1);
    coder.store.close().await;
}

#[tokio::test]
async fn files_of_an_accepted_twin_stay() {
    let coder = coder(None);
    let attached: [(&str, &str, &[u8]); 1] = [("a.png", "image/png", &[1; 40])];
    let body = whole(&event("1", &attached), &attached);
    // The first one's last byte comes after all of the second one.
    let (last, first) = (body.len() - 1, Bytes::from(body.clone()));
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let late = first.slice(last..);
    let late = stream::once(async move {
        gone.await.unwrap();
        Ok::<_, std::io::Error>(late)
    });
    let pieces = stream::iter([Ok(first.slice(..last))]).chain(late);
    let slow = Request::post("/road/hand-over/telegram").header(SENDER, "default");
    let slow = coder.send(slow.body(Body::from_stream(pieces)).unwrap());
    let twin = async {
        // Its head was read: the other one was not known then.
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while fs_err::read_dir(coder.dir.path().join("cache/documents")).map_or(0, Iterator::count) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(coder.send(request(&body, "default")).await.1, r#"{"accepted":"new"}"#);
        let forbid = "CREATE TRIGGER no BEFORE INSERT ON hermes_inbox BEGIN SELECT RAISE(ABORT, 'no'); END";
        coder.store.write(move |db| db.execute_batch(forbid)).await.unwrap();
        go.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(slow, twin);
    assert_eq!(answer, (StatusCode::SERVICE_UNAVAILABLE, "no_inbox".into()));
    assert_eq!(coder.files().len(), 1, "the one that was accepted names it");
    coder.store.close().await;
}

#[tokio::test]
async fn what_is_too_much_is_left_out_and_said() {
    let coder = coder(Some(1000));
    let attached: [(&str, &str, &[u8]); 3] =
        [("a", "image/png", &[1; 900]), ("b", "image/png", &[1; 200]), ("c", "image/png", &[1; 100])];
    let body = whole(&event("1", &attached), &attached);
    assert_eq!(coder.send(request(&body, "default")).await.0, StatusCode::OK);
    let sizes: Vec<usize> = coder.files().iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1000);
    let text = coder.rows().await.remove(0).1.text;
    assert!(text.contains("[image b (image/png, 200 bytes) was left out: at most 1000 bytes"), "{text}");
    coder.store.close().await;
}

#[tokio::test]
async fn only_the_supervisor_brings_events_and_only_those_of_default() {
    let coder = coder(None);
    let body = whole(&event("1", &[]), &[]);
    for from in ["ops", "coder", ""] {
        assert_eq!(coder.send(request(&body, from)).await, (StatusCode::FORBIDDEN, "not_declared".into()));
    }
    let mut of_a_client = request(&body, "default");
    of_a_client.headers_mut().insert(LISTENER, "api_server".parse().unwrap());
    assert_eq!(coder.send(of_a_client).await.0, StatusCode::FORBIDDEN);
    let mut unnamed = request(&body, "default");
    unnamed.headers_mut().remove(SENDER);
    assert_eq!(coder.send(unnamed).await.0, StatusCode::FORBIDDEN);
    let newer = Event { schema: 99, ..event("1", &[]) };
    assert_eq!(coder.send(request(&newer.head().unwrap(), "default")).await.1, "malformed");
    assert!(coder.rows().await.is_empty());
    assert_eq!(Accepted::New, coder_accepts(&coder, &body).await);
    coder.store.close().await;
}

async fn coder_accepts(coder: &Coder, body: &[u8]) -> Accepted {
    let (_, said) = coder.send(request(body, "default")).await;
    serde_json::from_str::<Receipt>(&said).unwrap().accepted
}
