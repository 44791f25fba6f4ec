//! One answer that is shown while it is made, against a service that keeps what it was told, and when. Time is the test's.

use std::sync::Mutex;

use camino::Utf8Path;
use hermes_wire::ProfileHome;
use tokio::sync::watch;

use super::super::outbound::{Abilities, CHAT_ID, Format, OutboundFuture};
use super::*;
use crate::store::Owner;

/// A chat service whose messages can be changed.
#[derive(Default)]
struct Service {
    /// What happened, as `send TEXT` and `edit ID TEXT`.
    calls: Mutex<Vec<String>>,
    /// What the next requests come to.
    failures: Mutex<Vec<Unsent>>,
}

impl Service {
    fn took(&self, call: String) -> Result<(), Unsent> {
        self.calls.lock().unwrap().push(call);
        let mut failures = self.failures.lock().unwrap();
        if failures.is_empty() { Ok(()) } else { Err(failures.remove(0)) }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Outbound for Arc<Service> {
    fn kind(&self) -> &'static str {
        "chat"
    }

    fn abilities(&self) -> Abilities {
        Abilities { longest: 100, edits: true, format: Format::Bare, ..Abilities::LEAST }
    }

    fn send<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            self.took(format!("send {}", message.text)).map(|()| Sent { id: Some("m1".into()) })
        })
    }

    fn edit<'a>(
        &'a self,
        _target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move { self.took(format!("edit {id} {text}")) })
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
    service: Arc<Service>,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, Owner::current()).unwrap();
        let item =
            "INSERT INTO hermes_inbox(id, platform, state, received_at) VALUES (1, 'chat', 'claimed', 1)";
        store.write(move |db| db.execute(item, [])).await.unwrap();
        Self { _dir: dir, store, service: Arc::default() }
    }

    fn stream(&self) -> Stream {
        let way: Arc<dyn Outbound> = Arc::new(Arc::clone(&self.service));
        let settings =
            Streaming { enabled: true, interval: Duration::from_millis(50), ..Streaming::default() };
        let deliveries = Deliveries::with(self.store.clone(), [way].into_iter().collect(), None, settings);
        let extra = [(CHAT_ID.to_owned(), "c".to_owned())].into();
        deliveries.stream(1, &DeliveryTarget { kind: "chat".to_owned(), extra }, "c").unwrap()
    }

    /// Shows these pieces; after each one of those that are `None` waits until there was time for a change.
    async fn show(&self, pieces: &[Option<&str>]) -> Stream {
        let (events, heard) = mpsc::channel(4);
        let (_asks, asked) = watch::channel(0);
        let mut stream = self.stream();
        let saying = async move {
            for piece in pieces {
                match piece {
                    Some(piece) => events.send(Event::Delta((*piece).to_owned())).await.unwrap(),
                    None => tokio::time::sleep(Duration::from_millis(400)).await,
                }
            }
        };
        tokio::join!(stream.run(heard, asked), saying);
        stream
    }

    async fn shown(&self) -> Option<String> {
        let id =
            self.store.aside(|db| db.query_row("SELECT preview_id FROM hermes_inbox", [], |row| row.get(0)));
        id.await.unwrap()
    }
}

#[tokio::test]
async fn an_answer_is_sent_once_and_changed_and_its_message_is_written_down() {
    let bench = Bench::new().await;
    bench
        .show(&[Some("short"), None, Some(" no longer: it is shown"), None, Some(", and goes on"), None])
        .await;
    let first = "short no longer: it is shown";
    assert_eq!(bench.service.calls(), [format!("send {first} ▉"), format!("edit m1 {first}, and goes on ▉")]);
    assert_eq!(bench.shown().await.as_deref(), Some("m1"));
    // Another process goes on with the same message.
    bench.show(&[Some("the same answer, made once more"), None]).await;
    assert_eq!(bench.service.calls()[2..], ["edit m1 the same answer, made once more ▉"]);
    bench.store.close().await;
}

#[tokio::test]
async fn what_is_longer_than_a_message_is_shown_by_its_beginning() {
    let bench = Bench::new().await;
    bench.show(&[Some(&"word ".repeat(100)), None]).await;
    let calls = bench.service.calls();
    let said = calls[0].strip_prefix("send ").unwrap();
    assert!(calls.len() == 1 && said.ends_with("word ▉") && said.chars().count() <= 100, "{calls:?}");
    bench.store.close().await;
}

#[tokio::test]
async fn nothing_overtakes_what_waits_for_the_same_chat() {
    let bench = Bench::new().await;
    let extra = [(CHAT_ID.to_owned(), "c".to_owned())].into();
    let target = DeliveryTarget { kind: "chat".to_owned(), extra };
    bench.store.write(move |db| ledger::add(db, "s", "chat", "c", &target, "earlier", 1.0)).await.unwrap();
    bench.show(&[Some("it would be shown by now, but something waits"), None]).await;
    assert_eq!((bench.service.calls(), bench.shown().await), (Vec::<String>::new(), None));
    bench.store.close().await;
}

#[tokio::test]
async fn three_refusals_end_it_and_one_that_is_for_good_at_once() {
    let bench = Bench::new().await;
    let flood =
        || Unsent::Later { after: Some(Duration::from_millis(60)), unsure: false, reason: "slower".into() };
    let pieces: Vec<Option<&str>> = std::iter::once(Some("an answer that is long enough"))
        .chain([None, Some(" x"), None].into_iter().cycle().take(24))
        .collect();
    bench.service.failures.lock().unwrap().extend([flood(), flood(), flood()]);
    bench.show(&pieces).await;
    assert_eq!((bench.service.calls().len(), bench.shown().await), (3, None));
    bench.service.failures.lock().unwrap().push(Unsent::never("no"));
    bench.show(&pieces).await;
    assert_eq!(bench.service.calls().len(), 4);
    // One that may be there is no reason for another one.
    bench.service.failures.lock().unwrap().push(Unsent::unsure("lost"));
    bench.show(&pieces).await;
    assert_eq!((bench.service.calls().len(), bench.shown().await), (5, None));
    bench.store.close().await;
}

/// A death between sending and hearing of it: nobody knows the message, and there is no second one.
#[tokio::test]
async fn a_message_that_nobody_knows_is_left_alone() {
    let bench = Bench::new().await;
    bench.store.write(|db| db.execute("UPDATE hermes_inbox SET preview_id = ''", [])).await.unwrap();
    bench.show(&[Some("an answer that is long enough"), None]).await;
    assert_eq!(bench.service.calls(), [""; 0]);
    let stands = bench.store.aside(|db| is_shown(db, 1)).await.unwrap();
    assert!(!stands, "the answer comes whole");
    bench.store.close().await;
}

#[tokio::test]
async fn a_question_leaves_what_is_shown_where_it_is() {
    let bench = Bench::new().await;
    let (events, heard) = mpsc::channel(4);
    let (asks, asked) = watch::channel(0);
    let mut stream = bench.stream();
    let saying = async move {
        let say = async |text: &str| events.send(Event::Delta(text.to_owned())).await.unwrap();
        let wait = || tokio::time::sleep(Duration::from_millis(400));
        say("I want to delete all of these").await;
        wait().await;
        asks.send_replace(1);
        wait().await;
        asks.send_replace(0);
        say("They are deleted, as you said").await;
        wait().await;
    };
    tokio::join!(stream.run(heard, asked), saying);
    assert_eq!(
        bench.service.calls(),
        [
            "send I want to delete all of these ▉",
            "edit m1 I want to delete all of these",
            "send They are deleted, as you said ▉"
        ]
    );
    stream.end().await;
    assert_eq!(bench.service.calls()[3..], ["edit m1 They are deleted, as you said"], "no cursor stays");
    bench.store.close().await;
}

#[tokio::test]
async fn the_wish_to_say_nothing_is_not_shown() {
    let bench = Bench::new().await;
    let mut stream = bench.stream();
    stream.settings = Arc::new(Streaming { threshold: 0, ..Streaming::default() });
    for (text, shows) in [("NO_RE", false), ("[SILENT]", false), ("NO REPLY is due", true), ("No", true)] {
        stream.text = text.to_owned();
        assert_eq!(stream.due().is_some(), shows, "{text}");
    }
    bench.store.close().await;
}

#[test]
fn a_cursor_is_no_part_of_a_fence() {
    let way: Arc<dyn Outbound> = Arc::new(Arc::new(Service::default()));
    let limit = way.limit(&DeliveryTarget::default());
    assert_eq!(shown("a\n```\nb\n```", limit, " ▉"), "a\n```\nb\n```\n▉");
    assert_eq!(shown("a", limit, ""), "a");
    assert_eq!(shown("MEDIA:/w/a.png", limit, " ▉"), "");
}

#[tokio::test]
async fn refusals_make_it_slower() {
    let now = Instant::now();
    let mut pace = Pace::new(Duration::from_millis(800), now);
    pace.made(now);
    assert_eq!(pace.next, now + Duration::from_millis(800));
    assert!(pace.refused(now, Some(Duration::from_secs(7))));
    assert_eq!((pace.interval, pace.next), (Duration::from_secs(7), now + Duration::from_secs(7)));
    assert!(pace.refused(now, None));
    assert_eq!(pace.interval, Duration::from_secs(14));
    assert!(!pace.refused(now, Some(Duration::from_hours(9))));
    assert_eq!((pace.interval, pace.next), (SLOWEST, now + Duration::from_hours(9)));
}
