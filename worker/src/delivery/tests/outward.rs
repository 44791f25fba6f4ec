//! What takes the place of something that is shown already, what is said instead of something else, and chats that are gone.

use std::sync::Mutex;

use super::super::outbound::{Abilities, Format, OutboundFuture};
use super::*;

/// A chat service that marks texts up, and fails as it is told.
#[derive(Default)]
struct Service {
    calls: Mutex<Vec<String>>,
    /// By the beginning of a call.
    failures: Mutex<Vec<(&'static str, Unsent)>>,
}

impl Service {
    fn took(&self, call: String) -> Result<(), Unsent> {
        let mut failures = self.failures.lock().unwrap();
        let failure = failures.iter().position(|(what, _)| call.starts_with(what));
        self.calls.lock().unwrap().push(call);
        failure.map_or(Ok(()), |at| Err(failures.remove(at).1))
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn fail(&self, what: &'static str, unsent: Unsent) {
        self.failures.lock().unwrap().push((what, unsent));
    }
}

impl Outbound for Arc<Service> {
    fn kind(&self) -> &'static str {
        "chat"
    }

    fn abilities(&self) -> Abilities {
        Abilities { edits: true, format: Format::Bare, at_once: 4, ..Abilities::LEAST }
    }

    fn send<'a>(
        &'a self,
        _: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        let mark = if message.repeated { "again " } else { "" };
        Box::pin(async move { self.took(format!("send {mark}{}", message.text)).map(|()| Sent { id: None }) })
    }

    fn edit<'a>(
        &'a self,
        _: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move { self.took(format!("edit {id} {text}")) })
    }

    fn take_back<'a>(&'a self, _: &'a DeliveryTarget, id: &'a str) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move { self.took(format!("take back {id}")) })
    }
}

struct Chat {
    _bench: Bench,
    store: Store,
    service: Arc<Service>,
    deliveries: Deliveries,
}

impl Chat {
    fn new() -> Self {
        let bench = Bench::new();
        let store = bench.store(Owner::current());
        let service: Arc<Service> = Arc::default();
        let way: Arc<dyn Outbound> = Arc::new(Arc::clone(&service));
        let deliveries = Deliveries::new(store.clone(), [way].into_iter().collect());
        Self { _bench: bench, store, service, deliveries }
    }

    /// A text of a platform; `more` are columns of its row.
    async fn add(&self, platform: &'static str, text: &'static str, more: &str) {
        let set = format!("UPDATE hermes_delivery SET {more} WHERE id = last_insert_rowid()");
        let target = target();
        let add = move |db: &rusqlite::Connection| {
            ledger::add(db, "s", platform, "c", &target, text, epoch())?;
            db.execute(&set, [])
        };
        self.store.write(add).await.unwrap();
    }

    /// One look at the ledger, and what it came to.
    async fn round(&self) -> Vec<String> {
        let mut under_way = UnderWay { room: AT_ONCE, ..UnderWay::default() };
        let tried = self.deliveries.round(&mut FuturesUnordered::new(), &mut under_way).await;
        self.deliveries.record(tried.expect("something was due"), &mut under_way).await;
        self.service.calls()
    }

    async fn rows(&self) -> Vec<(String, Option<String>)> {
        let rows = self.store.aside(|db| {
            db.prepare("SELECT state, content FROM hermes_delivery ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        });
        rows.await.unwrap()
    }
}

fn target() -> DeliveryTarget {
    DeliveryTarget { kind: "chat".to_owned(), extra: [(CHAT_ID.to_owned(), "7".to_owned())].into() }
}

const SHOWN: &str = "preview_id = 'm1'";

#[tokio::test]
async fn an_answer_takes_the_place_of_what_is_shown_of_it() {
    let chat = Chat::new();
    chat.add("chat", "hello", SHOWN).await;
    assert_eq!(chat.round().await, ["edit m1 hello"]);
    // Whether the change was made is not known; it is made again, and nothing is there twice.
    chat.add("chat", "two", "preview_id = 'm2', ambiguous = 1").await;
    assert_eq!(chat.round().await, ["edit m2 two"]);
    // A change that was not heard of.
    chat.service.fail("edit", Unsent::unsure("lost"));
    chat.add("chat", "three", SHOWN).await;
    assert_eq!(chat.round().await, ["edit m1 three"]);
    let again = "UPDATE hermes_delivery SET next_attempt_at = 0 WHERE finished_at IS NULL";
    chat.store.write(move |db| db.execute(again, [])).await.unwrap();
    assert_eq!(chat.round().await, ["edit m1 three"]);
    // Nobody can change it any more: it comes anew, and without a mark.
    chat.service.fail("edit", Unsent::never("not found"));
    chat.add("chat", "four", SHOWN).await;
    assert_eq!(chat.round().await, ["edit m1 four", "send four"]);
    chat.add("chat", "five", "preview_id = 'm1', fresh = 1").await;
    assert_eq!(chat.round().await, ["take back m1", "send five"]);
    chat.service.fail("take back", Unsent::never("too old"));
    chat.add("chat", "six", "preview_id = 'm1', fresh = 1").await;
    assert_eq!(chat.round().await, ["take back m1", "edit m1 six"]);
    assert!(chat.rows().await.iter().all(|(state, _)| state == "done"));
    chat.store.close().await;
}

#[tokio::test]
async fn what_is_refused_with_markup_comes_without_and_is_given_up_then() {
    let chat = Chat::new();
    chat.service.fail("send", Unsent::never("bad format"));
    chat.add("chat", "**hello**", SHOWN).await;
    chat.service.fail("edit", Unsent::never("bad format"));
    assert_eq!(chat.round().await, ["edit m1 **hello**", "send **hello**"]);
    chat.service.fail("send", Unsent::never("still"));
    assert_eq!(chat.round().await, ["send (Response formatting failed, plain text:)\n\nhello"]);
    assert_eq!(chat.rows().await[0].0, "failed");
    chat.store.close().await;
}

#[tokio::test]
async fn an_answer_that_never_got_there_is_counted_and_said() {
    let chat = Chat::new();
    chat.service.fail("send", Unsent::later("away"));
    chat.add("chat", "hello", "attempts = 9").await;
    assert_eq!(chat.round().await, ["send hello"]);
    assert_eq!(chat.rows().await[0].0, "failed");
    let said = chat.round().await;
    assert!(said.len() == 1 && said[0].starts_with("send ⚠️ Message delivery failed"), "{said:?}");
    assert_eq!(chat.rows().await.len(), 2);
    chat.store.close().await;
}

#[tokio::test]
async fn a_chat_that_is_gone_gets_answers_and_nothing_else() {
    let chat = Chat::new();
    chat.service.fail("send", Unsent::gone("blocked"));
    chat.add("chat", "hello", "form = 0").await;
    assert_eq!(chat.round().await, ["send hello"]);
    assert_eq!(chat.deliveries.is_gone("chat", "7").await.as_deref(), Some("blocked"));
    chat.add("webhook", "news", "form = 0").await;
    assert_eq!(chat.round().await, [""; 0]);
    assert!(chat.deliveries.deliver(&target(), "7", "news").await.is_err());
    // Somebody there asked, so that is tried; it got there.
    chat.add("chat", "answer", "form = 0").await;
    assert_eq!(chat.round().await, ["send answer"]);
    chat.add("webhook", "news", "form = 0").await;
    assert_eq!(chat.round().await, ["send news"]);
    let states: Vec<String> = chat.rows().await.into_iter().map(|row| row.0).collect();
    assert_eq!(states, ["failed", "failed", "done", "done"]);
    chat.service.fail("send", Unsent::gone("blocked"));
    assert!(chat.deliveries.deliver(&target(), "7", "news").await.is_err());
    chat.deliveries.revive(&target()).await;
    assert_eq!(chat.deliveries.is_gone("chat", "7").await, None);
    chat.store.close().await;
}
