//! Who gets an event, and what becomes of it when he cannot have it.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use camino::Utf8Path;
use hermes_config::access::{AccessSettings, AllAccess};
use hermes_config::{Input, load};
use hermes_host::passing;
use hermes_wire::http::ERROR;
use hermes_wire::latest::Role;
use hermes_wire::road::SENDER;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::super::patience::PATIENCE;
use super::super::receive::{Target, routes};
use super::*;
use crate::delivery::Deliveries;
use crate::delivery::outbound::Outbounds;
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Source};
use crate::inbox::{Inbox, KeyPolicy};
use crate::store::Owner;

/// A profile's home and what is in it.
struct Place {
    dir: tempfile::TempDir,
    home: ProfileHome,
    store: Store,
    inbox: Inbox,
}

fn profile(name: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
    let store = Store::open(&home, Owner::current()).unwrap();
    let profile = name.parse().unwrap();
    let keys = KeyPolicy { profile, group_sessions_per_user: true, thread_sessions_per_user: false };
    let inbox = Inbox::new(store.clone(), keys);
    Place { dir, home, store, inbox }
}

fn everybody() -> AllAccess {
    let everybody = AccessSettings { everybody: true, ..AccessSettings::default() };
    [("telegram", everybody)].into()
}

impl Place {
    fn entrance(&self, access: AllAccess) -> Entrance {
        let config = ProfileConfig { access, ..ProfileConfig::new(ProfileName::default_profile()) };
        let deliveries = Deliveries::new(self.store.clone(), Outbounds::default());
        let skills = crate::skills::Library::new(&self.home, &config);
        Entrance::new(
            &config,
            &self.home,
            self.inbox.clone(),
            &deliveries,
            skills,
            crate::commands::Acts::default(),
        )
    }

    async fn texts(&self, state: &'static str) -> Vec<String> {
        let payloads: Vec<String> = self
            .store
            .aside(move |db| {
                let mut rows = db.prepare("SELECT payload FROM hermes_inbox WHERE state = ?1 ORDER BY id")?;
                rows.query_map([state], |row| row.get(0))?.collect()
            })
            .await
            .unwrap();
        payloads.iter().map(|text| serde_json::from_str::<Inbound>(text).unwrap().text).collect()
    }
}

/// `default` with rules, `coder` at the other end, and what stands for the supervisor between them.
struct Rig {
    default: Place,
    coder: Place,
    reception: Reception,
    /// Errands that came.
    asked: Arc<AtomicUsize>,
    /// Answer instead of passing on.
    refuse: Arc<Mutex<Option<(u16, &'static str)>>>,
}

const RULES: &str = "agent: {engine: echo}\nmultiplex_profiles: true\nprofile_routes:\n\
    - {name: work, platform: telegram, profile: coder, chat_id: 1}\n- {platform: telegram, profile: default, user_id: 9}\ndisplay: {busy_input_mode: interrupt}\n";

fn rig() -> Rig {
    let (default, coder) = (profile("default"), profile("coder"));
    let name = ProfileName::default_profile();
    let input = Input {
        registry: &crate::platform::REGISTRY,
        profile: &name,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &default.home,
        yaml: Some(RULES.as_bytes()),
        env: None,
    };
    let mut config = load(input).config.unwrap();
    config.access = everybody();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let road = Road::inherited(theirs.into()).unwrap();
    let router = routes(Target {
        home: coder.home.clone(),
        entrance: coder.entrance(everybody()),
        most: Some(10_000),
        busy: Busy::Steer,
    });
    let (asked, refuse) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    carry(ours, router, Arc::clone(&asked), Arc::clone(&refuse));
    let entrance = default.entrance(config.access.clone());
    let reception =
        Reception::new(&config, &default.home, &default.store, entrance, road, Outbounds::default());
    Rig { default, coder, reception, asked, refuse }
}

/// Stands for the supervisor.
fn carry(
    road: UnixStream,
    router: Router,
    asked: Arc<AtomicUsize>,
    refuse: Arc<Mutex<Option<(u16, &'static str)>>>,
) {
    let tasks = TaskTracker::new();
    road.set_nonblocking(true).unwrap();
    let mut road = tokio::net::UnixStream::from_std(road).unwrap();
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while road.read_u8().await.is_ok() {
            let (socket, given) = tokio::net::UnixStream::pair().unwrap();
            passing::send(road.as_fd(), Some(given.as_fd())).unwrap();
            let (router, asked, refuse) = (router.clone(), Arc::clone(&asked), Arc::clone(&refuse));
            tracker.spawn(async move {
                let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let (refuse, mut router) = (*refuse.lock().unwrap(), router.clone());
                    async move {
                        if let Some((status, code)) = refuse {
                            let answer = Response::builder().status(status).header(ERROR, code);
                            return Ok(answer.body(Body::from("{}")).unwrap());
                        }
                        let path = request.uri().path().to_owned();
                        let (errand, profile, platform) = Errand::parse(&path).unwrap();
                        assert_eq!(profile.as_str(), "coder");
                        *request.uri_mut() = errand.inner_path(platform).parse().unwrap();
                        request.headers_mut().insert(SENDER, "default".parse().unwrap());
                        router.call(request).await
                    }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
}

fn message(chat: &str, user: &str, id: &str) -> Arrived {
    Arrived::from(Inbound {
        source: Source {
            platform: "telegram".into(),
            chat_type: "group".into(),
            chat_id: Some(chat.into()),
            user_id: Some(user.into()),
            ..Source::default()
        },
        text: format!("message {id}"),
        dedup: Some(DedupKey { scope: chat.into(), id: id.into() }),
        delivery: DeliveryTarget {
            kind: "telegram".into(),
            extra: [("chat_id".to_owned(), chat.to_owned())].into(),
        },
        context: None,
        end_session: None,
        busy: Busy::Wait,
    })
}

/// Something of `said` bytes that brings `bytes`; `opened` says whether it was asked for.
fn attached(said: usize, bytes: Vec<u8>, opened: &Arc<AtomicBool>) -> Attached {
    let opened = Arc::clone(opened);
    Attached {
        name: "a.bin".into(),
        media_type: "application/octet-stream".into(),
        length: said as u64,
        open: Box::new(move || {
            Box::pin(async move {
                opened.store(true, Ordering::Relaxed);
                let pieces: Vec<_> =
                    bytes.chunks(999).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
                Ok(Box::pin(stream::iter(pieces)) as ByteStream)
            })
        }),
    }
}

#[tokio::test]
async fn the_rules_decide_who_gets_an_event_and_the_other_one_hears_nothing() {
    let rig = rig();
    for (chat, user, id, said) in [
        ("1", "7", "a", Taken::New),
        ("1", "7", "a", Taken::Known),
        ("2", "7", "b", Taken::New),
        ("1", "9", "c", Taken::New),
    ] {
        assert_eq!(rig.reception.accept(message(chat, user, id), None).await.unwrap(), said, "{id}");
    }
    assert_eq!(rig.coder.texts("waiting").await, ["message a"]);
    assert_eq!(rig.default.texts("waiting").await, ["message b", "message c"]);
    assert_eq!(rig.asked.load(Ordering::Relaxed), 2);
    let extra: String = rig
        .coder
        .store
        .aside(|db| db.query_row("SELECT payload FROM hermes_inbox", [], |row| row.get(0)))
        .await
        .unwrap();
    let inbound: Inbound = serde_json::from_str(&extra).unwrap();
    assert_eq!(inbound.busy, Busy::Steer, "as the target's own files say");
    let mode = |db: &rusqlite::Connection| {
        db.query_row("SELECT group_concat(DISTINCT busy) FROM hermes_inbox", [], |row| row.get(0))
    };
    let ours: String = rig.default.store.aside(mode).await.unwrap();
    assert_eq!(ours, "interrupt");
    let mut reply = serde_json::from_str(&inbound.delivery.extra[super::super::REPLY]).unwrap();
    let coder = "coder".parse().unwrap();
    assert!(rig.reception.seal().take(&coder, "telegram", &mut reply).await.unwrap());
    assert_eq!(reply["chat_id"], "1");
}

#[tokio::test]
async fn attachments_go_to_whoever_answers_and_are_fetched_only_for_that() {
    let rig = rig();
    let opened = Arc::new(AtomicBool::new(false));
    let with = |chat: &str, id: &str, said: usize, bytes: usize| Arrived {
        attachments: vec![attached(said, vec![7; bytes], &opened)],
        ..message(chat, "7", id)
    };
    assert_eq!(rig.reception.accept(with("1", "a", 5000, 5000), None).await.unwrap(), Taken::New);
    assert_eq!(rig.reception.accept(with("2", "b", 5000, 5000), None).await.unwrap(), Taken::New);
    for home in [&rig.coder, &rig.default] {
        let text = home.texts("waiting").await.remove(0);
        let path = text.split(": ").nth(1).unwrap().trim_end_matches(']');
        assert!(path.starts_with(home.dir.path().to_str().unwrap()), "{text}");
        assert_eq!(fs_err::read(path).unwrap(), vec![7; 5000]);
    }
    // Known: nothing is fetched for its sake where that can be helped.
    opened.store(false, Ordering::Relaxed);
    assert_eq!(rig.reception.accept(with("2", "b", 5000, 5000), None).await.unwrap(), Taken::Known);
    assert!(!opened.load(Ordering::Relaxed));
    // Not what it said: nobody has it, and it is not given up.
    for (id, bytes) in [("c", 4000), ("d", 6000)] {
        let later = rig.reception.accept(with("1", id, 5000, bytes), None).await;
        assert!(matches!(later, Err(NotTaken::Later { .. })), "{later:?}");
    }
    assert_eq!(rig.coder.texts("waiting").await.len(), 1);
    assert_eq!(rig.coder.texts("queued").await.len(), 0);
}

#[tokio::test]
async fn who_cannot_have_it_now_is_waited_for_and_who_never_can_is_not() {
    let rig = rig();
    *rig.refuse.lock().unwrap() = Some((503, "worker_not_ready"));
    let later = rig.reception.accept(message("1", "7", "a"), None).await;
    let Err(NotTaken::Later { reason, .. }) = later else { panic!("{later:?}") };
    assert!(
        reason.contains("profile route work to `coder`") && reason.contains("worker_not_ready"),
        "{reason}"
    );
    *rig.refuse.lock().unwrap() = None;
    assert_eq!(rig.reception.accept(message("1", "7", "a"), None).await.unwrap(), Taken::New);

    for (id, refusal) in [("b", (403, "not_declared")), ("c", (404, "unknown_profile"))] {
        *rig.refuse.lock().unwrap() = Some(refusal);
        assert_eq!(rig.reception.accept(message("1", "7", id), None).await.unwrap(), Taken::Buried);
    }
    assert_eq!(rig.default.texts("failed").await, ["message b", "message c"]);
    assert_eq!(rig.default.texts("waiting").await.len(), 0, "never run as default");
    assert_eq!(rig.coder.texts("waiting").await, ["message a"]);
}

#[tokio::test]
async fn a_profile_whose_patience_is_over_holds_nobody_up_until_it_answers() {
    let rig = rig();
    let refuse = |refusal| *rig.refuse.lock().unwrap() = refusal;
    refuse(Some((503, "worker_not_ready")));
    let later = rig.reception.accept(message("1", "7", "a"), None).await;
    assert!(matches!(later, Err(NotTaken::Later { .. })), "{later:?}");
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    tokio::time::resume();
    for id in ["a", "b", "c"] {
        assert_eq!(rig.reception.accept(message("1", "7", id), None).await.unwrap(), Taken::Buried, "{id}");
    }
    refuse(None);
    assert_eq!(rig.reception.accept(message("1", "7", "d"), None).await.unwrap(), Taken::New);
    refuse(Some((503, "worker_not_ready")));
    let later = rig.reception.accept(message("1", "7", "e"), None).await;
    assert!(matches!(later, Err(NotTaken::Later { .. })), "it answered since: {later:?}");
    assert_eq!(rig.default.texts("failed").await, ["message a", "message b", "message c"]);
}

#[tokio::test]
async fn who_writes_to_a_full_queue_of_another_profile_is_told() {
    let rig = rig();
    *rig.refuse.lock().unwrap() = Some((503, "full"));
    assert_eq!(rig.reception.accept(message("1", "7", "a"), None).await.unwrap(), Taken::Full);
    assert_eq!(rig.default.texts("failed").await, [""; 0]);
}

/// An attachment that the platform answers so.
fn unfetched(error: &Unfetched) -> Attached {
    let (error, opened) = (error.clone(), Arc::new(AtomicBool::new(false)));
    Attached {
        open: Box::new(move || Box::pin(async move { Err(error) })),
        ..attached(9, Vec::new(), &opened)
    }
}

#[tokio::test]
async fn a_message_whose_file_cannot_be_had_is_taken_without_it() {
    let rig = rig();
    let opened = Arc::new(AtomicBool::new(false));
    let with = |id: &str, attachments| Arrived { attachments, ..message("2", "7", id) };
    let accept = |id: &str, attachments| rig.reception.accept(with(id, attachments), None);
    let gone = Unfetched::Gone("404".to_owned());
    let away = Unfetched::Away("503".to_owned());
    // Broken or gone: no wait can help.
    assert_eq!(
        accept("a", vec![unfetched(&gone), attached(3, vec![7; 3], &opened)]).await.unwrap(),
        Taken::New
    );
    for (id, bytes) in [("b", 2), ("c", 4)] {
        assert_eq!(accept(id, vec![attached(3, vec![7; bytes], &opened)]).await.unwrap(), Taken::New, "{id}");
    }
    // The first of a session waits, the others stand in its queue.
    let texts = [rig.default.texts("waiting").await, rig.default.texts("queued").await].concat();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().all(|text| text.contains(" bytes) could not be fetched]")), "{texts:?}");
    let kept = texts[0].rsplit(": ").next().unwrap().trim_end_matches(']');
    assert_eq!(fs_err::read(kept).unwrap(), [7; 3], "the other one is there");
    // Away: it is waited for, and not for ever.
    let later = accept("d", vec![unfetched(&away)]).await;
    assert!(matches!(later, Err(NotTaken::Later { .. })), "{later:?}");
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    tokio::time::resume();
    for id in ["d", "e"] {
        assert_eq!(accept(id, vec![unfetched(&away)]).await.unwrap(), Taken::New, "{id}");
    }
    assert_eq!(accept("f", vec![attached(3, vec![7; 3], &opened)]).await.unwrap(), Taken::New);
    let later = accept("g", vec![unfetched(&away)]).await;
    assert!(matches!(later, Err(NotTaken::Later { .. })), "files came since: {later:?}");
    assert_eq!(rig.default.texts("queued").await.len(), 5);
}

#[tokio::test]
async fn what_this_profiles_inbox_does_not_take_leaves_no_file() {
    let rig = rig();
    let forbid = "CREATE TRIGGER no BEFORE INSERT ON hermes_inbox BEGIN SELECT RAISE(ABORT, 'no'); END";
    rig.default.store.write(move |db| db.execute_batch(forbid)).await.unwrap();
    let opened = Arc::new(AtomicBool::new(false));
    let with = || Arrived { attachments: vec![attached(3, vec![7; 3], &opened)], ..message("2", "7", "a") };
    let refused = rig.reception.accept(with(), None).await;
    assert!(matches!(refused, Err(NotTaken::Store(_))), "{refused:?}");
    let files = || fs_err::read_dir(rig.default.home.cache().join("documents")).unwrap().count();
    assert_eq!(files(), 0);
    rig.default.store.write(|db| db.execute_batch("DROP TRIGGER no")).await.unwrap();
    assert_eq!(rig.reception.accept(with(), None).await.unwrap(), Taken::New);
    assert_eq!(files(), 1);
}

#[tokio::test]
async fn without_a_gateway_nobody_answers_in_anothers_place() {
    let Rig { default, coder, reception, .. } = rig();
    let config = ProfileConfig {
        profile_routes: reception.0.routes.clone(),
        ..ProfileConfig::new("default".parse().unwrap())
    };
    let entrance = default.entrance(everybody());
    let alone = Reception::new(
        &config,
        &default.home,
        &default.store,
        entrance,
        Road::default(),
        Outbounds::default(),
    );
    assert_eq!(alone.accept(message("1", "7", "a"), None).await.unwrap(), Taken::Buried);
    assert_eq!(alone.accept(message("2", "7", "b"), None).await.unwrap(), Taken::New);
    assert_eq!(default.texts("waiting").await, ["message b"]);
    assert_eq!(coder.texts("waiting").await.len(), 0);
}

impl Place {
    /// What is on its way out, as (chat, text).
    async fn letters(&self) -> Vec<(String, String)> {
        let look = |db: &rusqlite::Connection| {
            let mut rows = db.prepare("SELECT chat_id, content FROM hermes_delivery ORDER BY id")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        self.store.aside(look).await.unwrap()
    }
}

/// A profile alone, whose bot these people may talk to.
fn alone(access: AllAccess) -> (Place, Reception) {
    let default = profile("default");
    let config = ProfileConfig::new(ProfileName::default_profile());
    let entrance = default.entrance(access);
    let reception = Reception::new(
        &config,
        &default.home,
        &default.store,
        entrance,
        Road::default(),
        Outbounds::default(),
    );
    (default, reception)
}

fn private(chat: &str, id: &str) -> Arrived {
    let mut arrived = message(chat, chat, id);
    arrived.event.source.chat_type = "dm".into();
    arrived
}

/// Whoever is not known is told how to be let in, and in at once when that is done; a group hears nothing.
#[tokio::test]
async fn a_stranger_is_turned_away_with_a_code_and_comes_in_with_it() {
    let (default, reception) = alone(AllAccess::new());
    let opened = Arc::new(AtomicBool::new(false));
    let with_file = Arrived { attachments: vec![attached(3, vec![7; 3], &opened)], ..private("7", "a") };
    assert_eq!(reception.accept(with_file, None).await.unwrap(), Taken::TurnedAway);
    assert!(!opened.load(Ordering::Relaxed), "nothing of a stranger's is fetched");
    for (id, arrived) in [("a", private("7", "a")), ("b", private("7", "b")), ("c", message("1", "8", "c"))] {
        assert_eq!(reception.accept(arrived, None).await.unwrap(), Taken::TurnedAway, "{id}");
    }
    let letters = default.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let code = letters[0].1.rsplit(' ').next().unwrap().trim_end_matches('`').to_owned();
    assert_eq!(letters[0].0, "7");
    let pairing = hermes_host::pairing::Pairing::of(&default.home);
    let outcome = pairing.approve("telegram", &code, crate::session::epoch()).unwrap();
    assert!(matches!(outcome, hermes_host::pairing::Outcome::Approved(_)), "{outcome:?}");
    assert_eq!(reception.accept(private("7", "d"), None).await.unwrap(), Taken::New);
    assert_eq!(reception.accept(message("1", "7", "e"), None).await.unwrap(), Taken::New, "in groups too");
    assert_eq!(default.texts("waiting").await.len(), 2);
    pairing.revoke("telegram", "7").unwrap();
    assert_eq!(reception.accept(private("7", "f"), None).await.unwrap(), Taken::TurnedAway);
}

/// A file that cannot be read lets nobody in and turns nobody away.
#[tokio::test]
async fn while_nobody_knows_who_was_let_in_messages_wait_and_then_are_kept() {
    let (default, reception) = alone(AllAccess::new());
    fs_err::create_dir_all(default.home.pairing()).unwrap();
    let file = default.home.pairing().join("telegram-approved.json");
    fs_err::write(&file, "{").unwrap();
    let later = reception.accept(private("7", "a"), None).await;
    let Err(NotTaken::Later { reason, .. }) = later else { panic!("{later:?}") };
    assert!(reason.contains("telegram-approved.json"), "{reason}");
    assert!(default.letters().await.is_empty());
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    tokio::time::resume();
    assert_eq!(reception.accept(private("7", "a"), None).await.unwrap(), Taken::Buried);
    assert_eq!(default.texts("failed").await, ["message a"]);
    fs_err::write(&file, r#"{"7": {"user_name": "Ann"}}"#).unwrap();
    assert_eq!(reception.accept(private("7", "b"), None).await.unwrap(), Taken::New);
}

/// Whoever answers decides, by his own files.
#[tokio::test]
async fn the_profile_that_answers_turns_strangers_away_itself() {
    let rig = rig();
    let bot = Arrived { facts: Facts { is_bot: true, ..Facts::default() }, ..message("1", "7", "a") };
    assert_eq!(rig.reception.accept(bot, None).await.unwrap(), Taken::TurnedAway);
    assert_eq!(rig.coder.texts("waiting").await.len() + rig.default.texts("failed").await.len(), 0);
}
