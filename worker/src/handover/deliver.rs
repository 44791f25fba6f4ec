//! The owner's side: an answer of another profile goes out through this profile's bot.
//!
//! It goes where its seal says and nowhere else. What the platform said of it is the answer; the other profile's ledger judges.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use hermes_wire::ProfileName;
use hermes_wire::road::{self, Delivered, Delivery, Errand};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Seal;
use super::receive::{refused, said, sender};
use crate::delivery::outbound::{Message, Outbounds, Unsent};
use crate::delivery::send_whole;
use crate::inbound::DeliveryTarget;

/// What answers go out by.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) seal: Seal,
    pub(crate) ways: Outbounds,
}

/// The route that only the supervisor may ask for.
pub(super) fn routes(owner: Owner) -> Router {
    Router::new().route(&Errand::Deliver.inner_path("{platform}"), post(deliver)).with_state(Arc::new(owner))
}

async fn deliver(
    State(owner): State<Arc<Owner>>,
    Path(platform): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let from = sender(&headers).and_then(|name| name.parse::<ProfileName>().ok());
    let Some(from) = from.filter(|_| road::is_platform(&platform)) else {
        return refused(StatusCode::FORBIDDEN, "not_a_target", "nobody says who sends it");
    };
    let json = match Limited::new(body, road::MAX_HEAD).collect().await {
        Ok(json) => json.to_bytes(),
        Err(error) => return refused(StatusCode::BAD_REQUEST, "broken", &error.to_string()),
    };
    let delivery = match Delivery::parse(&json) {
        Ok(delivery) => delivery,
        Err(error) => return refused(StatusCode::BAD_REQUEST, "malformed", &error.to_string()),
    };
    said(&owner.send(&from, &platform, delivery).await)
}

impl Owner {
    async fn send(&self, from: &ProfileName, platform: &str, delivery: Delivery) -> Delivered {
        let Delivery { schema: _, mut reply, text, key, repeated } = delivery;
        match self.seal.take(from, platform, &mut reply).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    "[{platform}] `{from}` sends an answer to where no question came from; it is refused"
                );
                return Delivered::Never {
                    reason: "the answer is not for where its question came from".to_owned(),
                };
            }
            Err(error) => {
                let reason = format!("the owner's store does not answer: {error}");
                return Delivered::Later { after_ms: None, unsure: false, reason };
            }
        }
        let Some(way) = self.ways.get(platform) else {
            let reason = format!("{platform} is not connected at the profile whose bot it is");
            return Delivered::Later { after_ms: None, unsure: false, reason };
        };
        let target = DeliveryTarget { kind: platform.to_owned(), extra: reply };
        let sent = send_whole(&**way, &target, Message { text: &text, key: &key, repeated }).await;
        match sent {
            Ok(sent) => {
                tracing::info!("[{platform}] Delivered a response of `{from}`");
                Delivered::Sent { id: sent.id }
            }
            Err(Unsent::Later { after, unsure, reason }) => {
                let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                Delivered::Later { after_ms, unsure, reason }
            }
            Err(Unsent::Never { reason }) => Delivered::Never { reason },
        }
    }
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
    use crate::delivery::outbound::{Abilities, Format, Outbound, OutboundFuture, Sent};
    use crate::store::{self, Store};

    /// What went out, as (chat, text, key, repeated).
    type Out = Arc<Mutex<Vec<(String, String, String, bool)>>>;

    /// A bot with messages of ten characters, of which the texts `busy` and `bad` do not get there.
    struct Bot(Out);

    impl Outbound for Bot {
        fn kind(&self) -> &'static str {
            "telegram"
        }

        fn abilities(&self) -> Abilities {
            let format = Format::Plain;
            Abilities { longest: 10, format, at_once: 1, keyed: true, edits: false, typing: None }
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
    }

    async fn ask(router: &Router, from: &str, platform: &str, delivery: &Delivery) -> (StatusCode, String) {
        let request = Request::post(Errand::Deliver.inner_path(platform)).header(SENDER, from);
        let request = request.body(Body::from(serde_json::to_vec(delivery).unwrap())).unwrap();
        let response = router.clone().call(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_goes_out_where_its_question_came_from_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, store::Owner::current()).unwrap();
        let (seal, out) = (Seal::new(store.clone()), Out::default());
        let ways: Outbounds = [Arc::new(Bot(Arc::clone(&out))) as Arc<dyn Outbound>].into_iter().collect();
        let router = routes(Owner { seal: seal.clone(), ways });
        let mut reply = BTreeMap::from([("chat_id".to_owned(), "1".to_owned())]);
        seal.set(&"coder".parse().unwrap(), "telegram", &mut reply).await.unwrap();
        let say = |text: &str| Delivery {
            schema: road::SCHEMA,
            reply: reply.clone(),
            text: text.to_owned(),
            key: "k".to_owned(),
            repeated: true,
        };
        let sent = ask(&router, "coder", "telegram", &say("hello you there")).await;
        assert_eq!(sent, (StatusCode::OK, r#"{"sent":{"id":"2"}}"#.to_owned()));
        let part = |text: &str, key: &str| ("1".to_owned(), text.to_owned(), key.to_owned(), true);
        assert_eq!(*out.lock().unwrap(), [part("hello you ", "k"), part("there", "k-10")]);

        let later = ask(&router, "coder", "telegram", &say("busy")).await.1;
        assert!(later.contains(r#""unsure":true"#), "{later}");
        assert!(ask(&router, "coder", "telegram", &say("bad")).await.1.starts_with(r#"{"never""#));
        assert!(ask(&router, "ops", "telegram", &say("forged")).await.1.starts_with(r#"{"never""#));
        let mut elsewhere = say("forged");
        elsewhere.reply.insert("chat_id".to_owned(), "2".to_owned());
        assert!(ask(&router, "coder", "telegram", &elsewhere).await.1.starts_with(r#"{"never""#));
        assert!(ask(&router, "coder", "discord", &say("x")).await.1.starts_with(r#"{"never""#));
        assert_eq!(ask(&router, "No Name", "telegram", &say("x")).await.0, StatusCode::FORBIDDEN);
        let newer = Delivery { schema: 99, ..say("x") };
        assert_eq!(ask(&router, "coder", "telegram", &newer).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(out.lock().unwrap().len(), 2, "nothing else went out");
        store.close().await;
    }
}
