//! The owner's side: an answer of another profile goes out through this profile's bot.
//!
//! It goes where its seal says and nowhere else, and what is changed or taken back is what was sent for that profile. What the platform
//! said of it is the answer; the other profile's ledger judges. Of a file the bytes come, and are here for as long as it takes to send it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use camino::Utf8Path;
use hermes_wire::road::{self, Act, Delivered, Delivery, Errand, Media};
use hermes_wire::{ProfileHome, ProfileName};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::Seal;
use super::cache::{self, CacheError, Label};
use super::framed::Pieces;
use super::receive::{refused, said, sender};
use crate::delivery::outbound::{File, Message, Outbound, Outbounds, Sent, Sign, Unsent};
use crate::delivery::{limited, send_whole};
use crate::formatting::split;
use crate::inbound::DeliveryTarget;
use crate::store::StoreError;

/// Time for a change of what was sent.
const CHANGE: Duration = Duration::from_secs(50);
/// Time to show that an answer is being made; nobody waits for it longer.
const TYPING: Duration = Duration::from_secs(2);
/// Time for a sign.
const REACT: Duration = Duration::from_secs(10);
/// Time for a file once it is here. All of its errand has a little more.
const FILE: Duration = Duration::from_secs(500);
/// Longest name that a file is sent under, in characters.
const NAME: usize = 120;
/// What a file is that says nothing that could be sent.
const BYTES: &str = "application/octet-stream";

/// What answers go out by.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) home: ProfileHome,
    pub(crate) seal: Seal,
    pub(crate) ways: Outbounds,
}

/// The routes that only the supervisor may ask for.
pub(super) fn routes(owner: Owner) -> Router {
    Router::new()
        .route(&Errand::Deliver.inner_path("{platform}"), post(deliver))
        .route(&Errand::DeliverFile.inner_path("{platform}"), post(deliver_file))
        .with_state(Arc::new(owner))
}

async fn deliver(
    State(owner): State<Arc<Owner>>,
    Path(platform): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(from) = target(&headers, &platform) else { return nobody() };
    let json = match Limited::new(body, road::MAX_HEAD).collect().await {
        Ok(json) => json.to_bytes(),
        Err(error) => return refused(StatusCode::BAD_REQUEST, "broken", &error.to_string()),
    };
    match Delivery::parse(&json) {
        Ok(delivery) => said(&owner.carry(&from, &platform, delivery, None).await),
        Err(error) => refused(StatusCode::BAD_REQUEST, "malformed", &error.to_string()),
    }
}

async fn deliver_file(
    State(owner): State<Arc<Owner>>,
    Path(platform): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(from) = target(&headers, &platform) else { return nobody() };
    let mut pieces = Pieces::of(body);
    let head = match pieces.head().await {
        Ok(head) => head,
        Err(error) => return refused(StatusCode::BAD_REQUEST, "broken", &error.to_string()),
    };
    let delivery = match Delivery::parse(&head) {
        Ok(delivery) => delivery,
        Err(error) => return refused(StatusCode::BAD_REQUEST, "malformed", &error.to_string()),
    };
    let answer = owner.carry(&from, &platform, delivery, Some(&mut pieces)).await;
    // Read to its end: an answer before that could be lost with the connection.
    let _ = pieces.skip(u64::MAX).await;
    said(&answer)
}

/// The profile that sends it.
fn target(headers: &HeaderMap, platform: &str) -> Option<ProfileName> {
    let from = sender(headers).and_then(|name| name.parse::<ProfileName>().ok());
    from.filter(|_| road::is_platform(platform))
}

fn nobody() -> Response {
    refused(StatusCode::FORBIDDEN, "not_a_target", "nobody says who sends it")
}

impl Owner {
    /// Does what a delivery says. `file`: what follows it.
    async fn carry(
        &self,
        from: &ProfileName,
        platform: &str,
        mut delivery: Delivery,
        file: Option<&mut Pieces>,
    ) -> Delivered {
        match self.seal.take(from, platform, &mut delivery.reply).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    "[{platform}] `{from}` sends an answer to where no question came from; it is refused"
                );
                return never("the answer is not for where its question came from");
            }
            Err(error) => return no_store(&error),
        }
        let Some(way) = self.ways.get(platform) else {
            let reason = format!("{platform} is not connected at the profile whose bot it is");
            return Delivered::Later { after_ms: None, unsure: false, reason };
        };
        if let Act::Edit { id, pass } | Act::TakeBack { id, pass } = &delivery.act {
            match self.seal.passes(from, platform, &delivery.reply, (id, pass)).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::error!(
                        "[{platform}] `{from}` would change what was not sent for it; it is refused"
                    );
                    return never("the message was not sent for this profile");
                }
                Err(error) => return no_store(&error),
            }
        }
        let Delivery { reply, text, key, repeated, act, .. } = delivery;
        let target = DeliveryTarget { kind: platform.to_owned(), extra: reply };
        let sent = match act {
            Act::Send => {
                send_whole(&**way, &target, Message { text: &text, key: &key, repeated }).await.map(Some)
            }
            Act::Edit { id, .. } => edit(&**way, &target, &id, &text).await.map(|()| None),
            Act::TakeBack { id, .. } => limited(CHANGE, way.take_back(&target, &id)).await.map(|()| None),
            Act::Typing => {
                // Nobody hears of a failure.
                let _ = timeout(TYPING, way.typing(&target)).await;
                Ok(None)
            }
            Act::React(sign) => {
                let _ = timeout(REACT, way.react(&target, shown(sign))).await;
                Ok(None)
            }
            Act::File { name, media_type, shown, length } => {
                let Some(pieces) = file else { return never("no file follows") };
                let file = Coming { name, media_type, shown, length, key: &key, repeated };
                match self.send_file(&**way, &target, file, pieces).await {
                    Ok(sent) => sent.map(Some),
                    Err(reason) => return Delivered::Later { after_ms: None, unsure: false, reason },
                }
            }
        };
        match sent {
            Ok(None) => Delivered::Sent { id: None, pass: None },
            Ok(Some(sent)) => {
                tracing::info!("[{platform}] Delivered a response of `{from}`");
                let pass = match &sent.id {
                    // Without one it is there all the same, and stays as it is.
                    Some(id) => self.seal.pass(from, platform, &target.extra, id).await.ok(),
                    None => None,
                };
                Delivered::Sent { id: sent.id, pass }
            }
            Err(Unsent::Later { after, unsure, reason }) => {
                let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                Delivered::Later { after_ms, unsure, reason }
            }
            Err(Unsent::Never { reason, gone }) => Delivered::Never { reason, gone },
        }
    }

    /// Takes a file in, sends it, and keeps nothing of it. The outer error: it did not come whole, or found no room here.
    async fn send_file(
        &self,
        way: &dyn Outbound,
        target: &DeliveryTarget,
        coming: Coming<'_>,
        pieces: &mut Pieces,
    ) -> Result<Result<Sent, Unsent>, String> {
        let Coming { name, media_type, shown, length, key, repeated } = coming;
        let Some(most) = way.abilities_for(target).files else {
            return Ok(Err(Unsent::never("this chat carries no files")));
        };
        if length > most {
            return Ok(Err(Unsent::never("it is longer than what is carried there")));
        }
        let name = plain(&name);
        let label = Label { media: Media::Document, name: &name, event: key, index: 0 };
        let held = match cache::write(&self.home, label, length, pieces.part(length)).await {
            Ok(held) => held,
            Err(CacheError::Broken(why) | CacheError::Cut(why)) => return Err(why),
            Err(error) => return Err(format!("the profile whose bot it is cannot hold the file: {error}")),
        };
        if pieces.skip(u64::MAX).await.is_ok_and(|more| more > 0) {
            return Ok(Err(Unsent::never("it is longer than its head says")));
        }
        let Some(path) = Utf8Path::from_path(held.place()) else {
            return Ok(Err(Unsent::never("its place has no name that could be read")));
        };
        let media_type =
            media_type.parse::<mime_guess::mime::Mime>().map_or(BYTES.to_owned(), |_| media_type);
        let file = File { path, name: &name, media_type: &media_type, shown, key, repeated };
        Ok(limited(FILE, way.send_file(target, file)).await)
    }
}

/// A file that comes.
struct Coming<'a> {
    name: String,
    media_type: String,
    shown: bool,
    length: u64,
    key: &'a str,
    repeated: bool,
}

/// Changes a message, where all of the text fits into it.
async fn edit(way: &dyn Outbound, target: &DeliveryTarget, id: &str, text: &str) -> Result<(), Unsent> {
    if split::from(text, 0, way.limit(target)).end < text.len() {
        return Err(Unsent::never("it is longer than one message"));
    }
    limited(CHANGE, way.edit(target, id, text)).await
}

/// The last part of a name, as it is shown.
fn plain(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or("file");
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME).collect();
    if name.is_empty() { "file".to_owned() } else { name }
}

fn shown(sign: road::Sign) -> Sign {
    match sign {
        road::Sign::Seen => Sign::Seen,
        road::Sign::Done => Sign::Done,
        road::Sign::Failed => Sign::Failed,
        road::Sign::Nothing => Sign::Nothing,
    }
}

fn never(reason: &str) -> Delivered {
    Delivered::Never { reason: reason.to_owned(), gone: false }
}

fn no_store(error: &StoreError) -> Delivered {
    let reason = format!("the owner's store does not answer: {error}");
    Delivered::Later { after_ms: None, unsure: false, reason }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use hermes_wire::ProfileHome;
    use hermes_wire::road::SENDER;
    use http::Request;
    use tower_service::Service as _;

    use super::*;
    use crate::delivery::outbound::{Abilities, Outbound, OutboundFuture, Sent};
    use crate::store::{self, Store};

    /// What went out, as (chat, text, key, repeated).
    type Out = Arc<Mutex<Vec<(String, String, String, bool)>>>;
    /// What was changed, taken back, shown and sent as a file, in words.
    type Done = Arc<Mutex<Vec<String>>>;

    /// A bot with messages of ten characters, of which the texts `busy` and `bad` do not get there.
    struct Bot(Out, Done);

    impl Outbound for Bot {
        fn kind(&self) -> &'static str {
            "telegram"
        }

        fn abilities(&self) -> Abilities {
            Abilities { longest: 10, keyed: true, edits: true, files: Some(5), ..Abilities::LEAST }
        }

        fn send<'a>(
            &'a self,
            target: &'a DeliveryTarget,
            message: Message<'a>,
        ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
            Box::pin(async move {
                match message.text {
                    "busy" => return Err(Unsent::unsure("busy")),
                    "bad" => return Err(Unsent::never("bad")),
                    _ => {}
                }
                let (text, key) = (message.text.to_owned(), message.key.to_owned());
                let mut out = self.0.lock().unwrap();
                out.push((target.extra["chat_id"].clone(), text, key, message.repeated));
                Ok(Sent { id: Some(out.len().to_string()) })
            })
        }

        fn edit<'a>(
            &'a self,
            target: &'a DeliveryTarget,
            id: &'a str,
            text: &'a str,
        ) -> OutboundFuture<'a, Result<(), Unsent>> {
            self.1.lock().unwrap().push(format!("{}: {id} becomes {text}", target.extra["chat_id"]));
            Box::pin(async { Ok(()) })
        }

        fn take_back<'a>(
            &'a self,
            _: &'a DeliveryTarget,
            id: &'a str,
        ) -> OutboundFuture<'a, Result<(), Unsent>> {
            self.1.lock().unwrap().push(format!("{id} goes"));
            Box::pin(async { Ok(()) })
        }

        fn send_file<'a>(
            &'a self,
            _: &'a DeliveryTarget,
            file: File<'a>,
        ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
            let text = fs_err::read_to_string(file.path).unwrap();
            self.1.lock().unwrap().push(format!("{} ({}): {text}", file.name, file.media_type));
            Box::pin(async { Ok(Sent { id: Some("f".to_owned()) }) })
        }

        fn typing<'a>(&'a self, _: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
            self.1.lock().unwrap().push("types".to_owned());
            Box::pin(async {})
        }

        fn react<'a>(&'a self, _: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
            self.1.lock().unwrap().push(format!("{sign:?}"));
            Box::pin(async {})
        }
    }

    async fn ask(router: &Router, from: &str, platform: &str, delivery: &Delivery) -> (StatusCode, String) {
        let request = Request::post(Errand::Deliver.inner_path(platform)).header(SENDER, from);
        let request = request.body(Body::from(serde_json::to_vec(delivery).unwrap())).unwrap();
        let response = router.clone().call(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The owner, and what its bot did.
    struct House {
        _dir: tempfile::TempDir,
        home: ProfileHome,
        store: Store,
        seal: Seal,
        router: Router,
        out: Out,
        done: Done,
    }

    fn house() -> House {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, store::Owner::current()).unwrap();
        let (seal, out, done) = (Seal::new(store.clone()), Out::default(), Done::default());
        let bot = Bot(Arc::clone(&out), Arc::clone(&done));
        let ways: Outbounds = [Arc::new(bot) as Arc<dyn Outbound>].into_iter().collect();
        let router = routes(Owner { home: home.clone(), seal: seal.clone(), ways });
        House { _dir: dir, home, store, seal, router, out, done }
    }

    impl House {
        /// Where `coder` may answer.
        async fn reply(&self) -> BTreeMap<String, String> {
            let mut reply = BTreeMap::from([("chat_id".to_owned(), "1".to_owned())]);
            self.seal.set(&"coder".parse().unwrap(), "telegram", &mut reply).await.unwrap();
            reply
        }
    }

    #[tokio::test]
    async fn an_answer_goes_out_where_its_question_came_from_and_nowhere_else() {
        let house = house();
        let House { router, out, store, .. } = &house;
        let reply = house.reply().await;
        let say = |text: &str| Delivery {
            schema: road::SCHEMA,
            reply: reply.clone(),
            text: text.to_owned(),
            key: "k".to_owned(),
            repeated: true,
            act: Act::Send,
        };
        let sent = ask(router, "coder", "telegram", &say("hello you there")).await;
        assert_eq!(sent.0, StatusCode::OK);
        assert!(sent.1.starts_with(r#"{"sent":{"id":"2","pass":""#), "{}", sent.1);
        let part = |text: &str, key: &str| ("1".to_owned(), text.to_owned(), key.to_owned(), true);
        assert_eq!(*out.lock().unwrap(), [part("hello you ", "k"), part("there", "k-10")]);

        let later = ask(router, "coder", "telegram", &say("busy")).await.1;
        assert!(later.contains(r#""unsure":true"#), "{later}");
        assert!(ask(router, "coder", "telegram", &say("bad")).await.1.starts_with(r#"{"never""#));
        assert!(ask(router, "ops", "telegram", &say("forged")).await.1.starts_with(r#"{"never""#));
        let mut elsewhere = say("forged");
        elsewhere.reply.insert("chat_id".to_owned(), "2".to_owned());
        assert!(ask(router, "coder", "telegram", &elsewhere).await.1.starts_with(r#"{"never""#));
        assert!(ask(router, "coder", "discord", &say("x")).await.1.starts_with(r#"{"never""#));
        assert_eq!(ask(router, "No Name", "telegram", &say("x")).await.0, StatusCode::FORBIDDEN);
        let newer = Delivery { schema: 99, ..say("x") };
        assert_eq!(ask(router, "coder", "telegram", &newer).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(out.lock().unwrap().len(), 2, "nothing else went out");
        store.close().await;
    }

    #[tokio::test]
    async fn what_was_sent_for_a_profile_can_be_changed_by_it_and_nothing_else() {
        let house = house();
        let reply = house.reply().await;
        let to = |act: Act, text: &str| Delivery {
            text: text.to_owned(),
            key: "k".to_owned(),
            ..Delivery::new(reply.clone(), act)
        };
        let sent = ask(&house.router, "coder", "telegram", &to(Act::Send, "hello")).await.1;
        let Delivered::Sent { id: Some(id), pass: Some(pass) } = serde_json::from_str(&sent).unwrap() else {
            panic!("{sent}")
        };
        let change = |id: &str, text: &str| to(Act::Edit { id: id.to_owned(), pass: pass.clone() }, text);
        for (delivery, answer) in [
            (change(&id, "hello you"), r#"{"sent":"#),
            (change("99", "not mine"), r#"{"never":"#),
            (change(&id, "longer than ten"), r#"{"never":"#),
            (to(Act::TakeBack { id: id.clone(), pass: pass.clone() }, ""), r#"{"sent":"#),
            (to(Act::TakeBack { id: id.clone(), pass: "00".repeat(32) }, ""), r#"{"never":"#),
            (to(Act::Typing, ""), r#"{"sent":"#),
            (to(Act::React(road::Sign::Done), ""), r#"{"sent":"#),
        ] {
            let said = ask(&house.router, "coder", "telegram", &delivery).await.1;
            assert!(said.starts_with(answer), "{delivery:?}: {said}");
        }
        let forged = ask(&house.router, "ops", "telegram", &change(&id, "forged")).await.1;
        assert!(forged.starts_with(r#"{"never""#), "{forged}");
        assert_eq!(*house.done.lock().unwrap(), ["1: 1 becomes hello you", "1 goes", "types", "Done"]);
        house.store.close().await;
    }

    #[tokio::test]
    async fn a_file_is_here_for_as_long_as_it_is_sent() {
        let house = house();
        let reply = house.reply().await;
        let carry = async |length: u64, bytes: &str, name: &str, media_type: &str| {
            let (name, media_type) = (name.to_owned(), media_type.to_owned());
            let file = Act::File { name, media_type, shown: false, length };
            let head = Delivery { key: "k".to_owned(), ..Delivery::new(reply.clone(), file) }.head().unwrap();
            let body = Body::from([&head[..], bytes.as_bytes()].concat());
            let request = Request::post(Errand::DeliverFile.inner_path("telegram")).header(SENDER, "coder");
            let response = house.router.clone().call(request.body(body).unwrap()).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        };
        for (length, bytes, answer) in [
            (5, "%PDF!", r#"{"sent":{"id":"f""#),
            (6, "%PDF!!", r#"{"never":"#),
            (5, "%PD", r#"{"later":"#),
            (3, "%PDF", r#"{"never":"#),
        ] {
            let said = carry(length, bytes, "../../etc/a.pdf", "application/pdf").await;
            assert!(said.starts_with(answer), "{length} {bytes}: {said}");
        }
        carry(1, "x", "..\\b\u{7}", "no\r\ntype").await;
        assert_eq!(
            *house.done.lock().unwrap(),
            ["a.pdf (application/pdf): %PDF!", "b (application/octet-stream): x"]
        );
        let left = fs_err::read_dir(house.home.cache().join("documents")).unwrap().count();
        assert_eq!(left, 0, "nothing of them stays");
        house.store.close().await;
    }
}
