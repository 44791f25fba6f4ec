//! Lanes: the order of answers to one chat, whatever happens to them or to other chats.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::super::outbound::{Abilities, OutboundFuture, Sent};
use super::super::signs::Waits;
use super::*;

/// What a try came to, as the service saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    chat: String,
    text: String,
    key: String,
    repeated: bool,
}

/// A chat service: it answers at once, except in chats that are stuck, and fails as often as it is told.
#[derive(Default)]
struct Service {
    calls: watch::Sender<Vec<Call>>,
    stuck: watch::Sender<BTreeSet<String>>,
    failures: Mutex<Vec<(&'static str, Unsent)>>,
    typed: watch::Sender<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Waits for so many calls, and returns what they said, with the chat before it.
    async fn said(&self, count: usize) -> Vec<String> {
        let mut calls = self.calls.subscribe();
        let calls = calls.wait_for(|calls| calls.len() >= count).await.unwrap();
        calls.iter().map(|call| format!("{}:{}", call.chat, call.text)).collect()
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }
}

impl Outbound for Arc<Service> {
    fn kind(&self) -> &'static str {
        "chat"
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: 10,
            at_once: 3,
            keyed: true,
            typing: Some(Duration::from_millis(10)),
            ..Abilities::LEAST
        }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let chat = target.extra[outbound::CHAT_ID].clone();
            let call = Call {
                chat: chat.clone(),
                text: message.text.to_owned(),
                key: message.key.to_owned(),
                repeated: message.repeated,
            };
            self.calls.send_modify(|calls| calls.push(call));
            let mut stuck = self.stuck.subscribe();
            stuck.wait_for(|stuck| !stuck.contains(&chat)).await.unwrap();
            let mut failures = lock(&self.failures);
            if let Some(at) = failures.iter().position(|(failing, _)| *failing == chat) {
                return Err(failures.remove(at).1);
            }
            Ok(Sent { id: Some(format!("m{}", self.calls.borrow().len())) })
        })
    }

    fn typing<'a>(&'a self, _target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(async { self.typed.send_modify(|typed| *typed += 1) })
    }
}

fn to(chat: &str) -> DeliveryTarget {
    let extra = [(outbound::CHAT_ID.to_owned(), chat.to_owned())].into();
    DeliveryTarget { kind: "chat".to_owned(), extra }
}

/// A home, its store, and the service.
struct Lanes {
    bench: Bench,
    store: Store,
    service: Arc<Service>,
}

impl Lanes {
    fn new() -> Self {
        let bench = Bench::new();
        let store = bench.store(Owner::current());
        Self { bench, store, service: Arc::default() }
    }

    fn deliveries(&self) -> Deliveries {
        let way: Arc<dyn Outbound> = Arc::new(Arc::clone(&self.service));
        Deliveries::new(self.store.clone(), [way].into_iter().collect())
    }

    async fn add(&self, chat: &str, text: &str) {
        let (target, text) = (to(chat), text.to_owned());
        self.store.write(move |db| ledger::add(db, "s", "chat", "c", &target, &text, epoch())).await.unwrap();
    }

    /// Runs the ledger for as long as `test` takes.
    async fn running(&self, test: impl Future<Output = ()>) {
        let stop = CancellationToken::new();
        let run = self.deliveries().run(stop.clone());
        let test = async {
            test.await;
            stop.cancel();
        };
        let within = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(run, test) });
        within.await.expect("it gets there");
    }

    /// State, part sent and whether it is ambiguous of every row, in order.
    async fn rows(&self) -> Vec<(String, i64, bool)> {
        let read = self.store.aside(|db| {
            db.prepare("SELECT state, sent, ambiguous FROM hermes_delivery ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        });
        read.await.unwrap()
    }

    async fn make_due(&self) {
        let sql = "UPDATE hermes_delivery SET next_attempt_at = 0 WHERE finished_at IS NULL";
        self.store.write_one(|db| db.execute(sql, [])).await.unwrap();
    }
}

#[tokio::test]
async fn one_chat_is_in_order_while_another_is_stuck() {
    let lanes = Lanes::new();
    lanes.service.stuck.send_modify(|stuck| assert!(stuck.insert("a".to_owned())));
    for (chat, text) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2"), ("b", "b3")] {
        lanes.add(chat, text).await;
    }
    lanes
        .running(async {
            let said = lanes.service.said(4).await;
            assert_eq!(said[..1], ["a:a1"]);
            assert_eq!(
                said[1..],
                ["b:b1", "b:b2", "b:b3"],
                "no second answer to a while the first is under way"
            );
            lanes.service.stuck.send_modify(BTreeSet::clear);
            assert_eq!(lanes.service.said(5).await[4..], ["a:a2"]);
        })
        .await;
    assert!(lanes.rows().await.iter().all(|(state, ..)| state == "done"));
    lanes.store.close().await;
}

#[tokio::test]
async fn what_is_to_be_tried_again_holds_back_its_own_chat_only() {
    let lanes = Lanes::new();
    lock(&lanes.service.failures).push(("a", Unsent::later("busy")));
    for (chat, text) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        lanes.add(chat, text).await;
    }
    lanes.running(async { assert_eq!(lanes.service.said(2).await, ["a:a1", "b:b1"]) }).await;
    let state = |rows: &[(String, i64, bool)]| rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>();
    assert_eq!(state(&lanes.rows().await), ["pending", "pending", "done"]);
    lanes.make_due().await;
    lanes.running(async { assert_eq!(lanes.service.said(4).await[2..], ["a:a1", "a:a2"]) }).await;
    // What is given up lets the next one go.
    lock(&lanes.service.failures).push(("a", Unsent::never("blocked")));
    lanes.add("a", "a3").await;
    lanes.add("a", "a4").await;
    lanes.running(async { assert_eq!(lanes.service.said(6).await[4..], ["a:a3", "a:a4"]) }).await;
    assert_eq!(state(&lanes.rows().await), ["done", "done", "done", "failed", "done"]);
    lanes.store.close().await;
}

#[tokio::test]
async fn no_more_are_under_way_at_once_than_the_service_can_take() {
    let lanes = Lanes::new();
    let chats = ["a", "b", "c", "d", "e"];
    lanes.service.stuck.send_modify(|stuck| stuck.extend(chats.map(str::to_owned)));
    for chat in chats {
        lanes.add(chat, "x").await;
    }
    lanes
        .running(async {
            assert_eq!(lanes.service.said(3).await, ["a:x", "b:x", "c:x"]);
            lanes.service.stuck.send_modify(|stuck| assert!(stuck.remove("b")));
            assert_eq!(lanes.service.said(4).await[3..], ["d:x"]);
            lanes.service.stuck.send_modify(BTreeSet::clear);
            assert_eq!(lanes.service.said(5).await[4..], ["e:x"]);
        })
        .await;
    lanes.store.close().await;
}

#[tokio::test]
async fn every_try_of_a_message_has_its_key_and_no_other_message_has() {
    let lanes = Lanes::new();
    lock(&lanes.service.failures).extend([("a", Unsent::later("busy")), ("a", Unsent::unsure("gone"))]);
    lanes.add("a", "a1").await;
    lanes.add("b", "b1").await;
    for calls in [2, 3, 4] {
        lanes.running(async { drop(lanes.service.said(calls).await) }).await;
        lanes.make_due().await;
    }
    let calls = lanes.service.calls();
    let of = |chat: &str| calls.iter().filter(|call| call.chat == chat).cloned().collect::<Vec<_>>();
    let (a, b) = (of("a"), of("b"));
    assert_eq!(a.iter().map(|call| call.repeated).collect::<Vec<_>>(), [false, false, true]);
    assert!(a.iter().all(|call| call.key == a[0].key && call.key.len() == 32) && a[0].key != b[0].key);
    assert_eq!(lanes.rows().await, [("done".to_owned(), 2, true), ("done".to_owned(), 2, false)]);
    lanes.store.close().await;
}

#[tokio::test]
async fn a_long_message_goes_out_in_parts_each_once() {
    let lanes = Lanes::new();
    lock(&lanes.service.failures).push(("b", Unsent::later("busy")));
    lanes.add("a", "one two three four").await;
    lanes.add("a", "next").await;
    lanes
        .running(async {
            let said = lanes.service.said(3).await;
            assert_eq!(said, ["a:one two ", "a:three four", "a:next"]);
        })
        .await;
    let keys: BTreeSet<String> = lanes.service.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.len(), 3);
    // A part that did not get there is tried again, the others are not.
    let mut left = lanes.service.calls().len();
    lanes.add("b", "one two three four").await;
    for more in [1, 2] {
        left += more;
        lanes.running(async { drop(lanes.service.said(left).await) }).await;
        lanes.make_due().await;
    }
    assert_eq!(lanes.service.said(left).await[3..], ["b:one two ", "b:one two ", "b:three four"]);
    lanes.store.close().await;
}

/// What a process was at when it ended, in order or not, is marked, and sent again under the same key.
#[tokio::test]
async fn what_was_under_way_is_repeated_under_its_key_and_marked() {
    let lanes = Lanes::new();
    lanes.add("a", "a1").await;
    lanes.add("a", "a2").await;
    let dead = Owner { pid: 4_194_999, start_time: 1 };
    lanes.service.stuck.send_modify(|stuck| assert!(stuck.insert("a".to_owned())));
    lanes.running(async { drop(lanes.service.said(1).await) }).await;
    assert_eq!(lanes.rows().await[0], ("pending".to_owned(), 0, true), "given back at an end in order");
    lanes
        .store
        .write(move |db| {
            db.execute(
                "UPDATE hermes_delivery SET state = 'sending', ambiguous = 0, owner_pid = ?1, owner_start = ?2 WHERE id = 1",
                [i64::from(dead.pid), dead.start_column()],
            )
        })
        .await
        .unwrap();
    lanes.service.stuck.send_modify(BTreeSet::clear);
    lanes.running(async { assert_eq!(lanes.service.said(3).await[1..], ["a:a1", "a:a2"]) }).await;
    let calls = lanes.service.calls();
    assert_eq!((&calls[0].key, calls[0].repeated, calls[1].repeated), (&calls[1].key, false, true));
    assert_eq!(lanes.rows().await, [("done".to_owned(), 2, true), ("done".to_owned(), 2, false)]);
    lanes.store.close().await;
}

/// Rows of a home that an earlier version left: no lane, no key.
#[tokio::test]
async fn rows_of_an_older_ledger_are_continued() {
    let lanes = Lanes::new();
    lanes.store.close().await;
    let db = rusqlite::Connection::open(lanes.bench.home.state_db()).unwrap();
    let extra = r#"{"chat_id": "a"}"#;
    let sql = format!(
        "DROP TABLE hermes_delivery;
         CREATE TABLE hermes_delivery (id INTEGER PRIMARY KEY, session_id TEXT, platform TEXT NOT NULL, chat_id TEXT NOT NULL,
            kind TEXT NOT NULL, extra TEXT NOT NULL, content TEXT, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
            next_attempt_at REAL, created_at REAL NOT NULL, finished_at REAL, owner_pid INTEGER, owner_start INTEGER,
            last_error TEXT);
         INSERT INTO hermes_delivery(platform, chat_id, kind, extra, content, state, next_attempt_at, created_at)
            VALUES ('chat', 'c', 'chat', '{extra}', 'a1', 'sending', 1, 1), ('chat', 'c', 'chat', '{extra}', 'a2', 'pending', 1, 1);
         UPDATE hermes_delivery SET owner_pid = 4194999, owner_start = 1 WHERE id = 1;
         UPDATE state_meta SET value = '4' WHERE key = 'hermes_tables_version';"
    );
    db.execute_batch(&sql).unwrap();
    drop(db);
    let lanes = Lanes { store: lanes.bench.store(Owner::current()), ..lanes };
    lanes.running(async { assert_eq!(lanes.service.said(2).await, ["a:a1", "a:a2"]) }).await;
    let keys: BTreeSet<usize> = lanes.service.calls().iter().map(|call| call.key.len()).collect();
    assert_eq!(keys, [32].into());
    assert_eq!(lanes.rows().await, [("done".to_owned(), 2, true), ("done".to_owned(), 2, false)]);
    lanes.store.close().await;
}

#[test]
fn a_service_that_asks_for_a_wait_gets_it_up_to_a_limit() {
    let wait = |attempts: u32, asked: u64| {
        let after = Some(Duration::from_secs(asked));
        let unsent = Unsent::Later { after, unsure: false, reason: "slow".to_owned() };
        ledger::retry_in(attempts, &unsent).map(|wait| wait.as_secs())
    };
    assert_eq!([wait(1, 77), wait(1, 1 << 30)], [Some(77), Some(8 * 3600)]);
    // A short wish does not use the tries up: the last one comes as late as without it.
    let patience = |asked| (1..).map_while(|attempts| wait(attempts, asked)).sum::<u64>();
    let own =
        (1..).map_while(|attempts| ledger::retry_in(attempts, &Unsent::later("busy"))).sum::<Duration>();
    assert_eq!([patience(0), patience(1)], [own.as_secs(); 2]);
    assert_eq!(ledger::retry_in(1, &Unsent::later("busy")), Some(Duration::from_secs(5)));
    assert_eq!(ledger::retry_in(10, &Unsent::later("busy")), None);
}

#[tokio::test]
async fn a_chat_shows_that_an_answer_is_being_made_for_as_long_as_it_is() {
    let lanes = Lanes::new();
    let deliveries = lanes.deliveries();
    let mut typed = lanes.service.typed.subscribe();
    let work = async { *typed.wait_for(|typed| *typed >= 3).await.unwrap() };
    assert!(deliveries.typing_while(&to("a"), &Waits::default(), work).await >= 3);
    let elsewhere = DeliveryTarget { kind: "log".to_owned(), ..DeliveryTarget::default() };
    assert_eq!(deliveries.typing_while(&elsewhere, &Waits::default(), async { 7 }).await, 7);
    lanes.store.close().await;
}
