//! The inbox on a real database: accepted once, known for a day, reserved and released.

use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use tempfile::TempDir;

use super::*;

fn home() -> (TempDir, ProfileHome) {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
    (dir, home)
}

fn inbox(store: &Store) -> Inbox {
    let keys = KeyPolicy {
        profile: ProfileName::default_profile(),
        group_sessions_per_user: true,
        thread_sessions_per_user: false,
    };
    Inbox::new(store.clone(), keys)
}

fn event(route: &str, id: Option<&str>) -> Inbound {
    Inbound {
        source: Source {
            platform: "webhook".to_owned(),
            chat_type: "webhook".to_owned(),
            chat_id: Some(format!("webhook:{route}:{}", id.unwrap_or("none"))),
            user_id: Some(format!("webhook:{route}")),
            ..Source::default()
        },
        text: "hello".to_owned(),
        dedup: id.map(|id| DedupKey { scope: route.to_owned(), id: id.to_owned() }),
        delivery: crate::inbound::DeliveryTarget::default(),
        context: None,
        end_session: None,
        busy: crate::inbound::Busy::Wait,
    }
}

#[tokio::test]
async fn the_same_event_twice_is_one_also_after_a_restart() {
    let (_dir, home) = home();
    let store = Store::open(&home, Owner::current()).unwrap();
    let key = DedupKey { scope: "gh".to_owned(), id: "d-1".to_owned() };
    assert!(!inbox(&store).is_known("webhook", &key).await.unwrap());
    assert_eq!(inbox(&store).accept(event("gh", Some("d-1"))).await.unwrap(), Accepted::New);
    assert_eq!(inbox(&store).accept(event("gh", Some("d-1"))).await.unwrap(), Accepted::Duplicate);
    assert_eq!(
        inbox(&store).accept(event("other", Some("d-1"))).await.unwrap(),
        Accepted::New,
        "ids are per route"
    );
    for _ in 0..2 {
        assert_eq!(
            inbox(&store).accept(event("gh", None)).await.unwrap(),
            Accepted::New,
            "no id, no identity"
        );
    }
    store.close().await;
    assert!(matches!(inbox(&store).accept(event("gh", None)).await, Err(StoreError::Closed { .. })));
    let store = Store::open(&home, Owner::current()).unwrap();
    assert!(inbox(&store).is_known("webhook", &key).await.unwrap());
    assert_eq!(inbox(&store).accept(event("gh", Some("d-1"))).await.unwrap(), Accepted::Duplicate);
}

#[tokio::test]
async fn work_that_failed_may_be_sent_again_and_work_that_is_done_may_not() {
    let (_dir, home) = home();
    let dead = Owner { pid: 4_194_999, start_time: 1 };
    let store = Store::open(&home, dead).unwrap();
    let inbox_of_dead = inbox(&store);
    let key = |id: &str| DedupKey { scope: "r".to_owned(), id: id.to_owned() };
    assert_eq!(inbox_of_dead.reserve("webhook", &key("a")).await.unwrap(), Reservation::New);
    assert_eq!(inbox_of_dead.reserve("webhook", &key("a")).await.unwrap(), Reservation::InFlight);
    inbox_of_dead.release("webhook", &key("a")).await.unwrap();
    assert_eq!(inbox_of_dead.reserve("webhook", &key("a")).await.unwrap(), Reservation::New);
    inbox_of_dead.confirm("webhook", &key("a")).await.unwrap();
    assert_eq!(inbox_of_dead.reserve("webhook", &key("a")).await.unwrap(), Reservation::Duplicate);
    inbox_of_dead.release("webhook", &key("a")).await.unwrap();
    assert_eq!(
        inbox_of_dead.reserve("webhook", &key("a")).await.unwrap(),
        Reservation::Duplicate,
        "done stays done"
    );
    assert_eq!(inbox_of_dead.reserve("webhook", &key("b")).await.unwrap(), Reservation::New);
    store.close().await;

    let store = Store::open(&home, Owner::current()).unwrap();
    assert_eq!(
        inbox(&store).reserve("webhook", &key("b")).await.unwrap(),
        Reservation::New,
        "its process died"
    );
    assert_eq!(inbox(&store).reserve("webhook", &key("b")).await.unwrap(), Reservation::InFlight);
    assert_eq!(inbox(&store).accept(event("r", Some("b"))).await.unwrap(), Accepted::Duplicate);
}

#[tokio::test]
async fn what_is_old_is_forgotten_and_what_is_open_is_not() {
    let (_dir, home) = home();
    let store = Store::open(&home, Owner::current()).unwrap();
    let scopes = crate::session::routing::Scopes { own: "default".to_owned(), upstream: "/x".to_owned() };
    let left: i64 = store
        .write(move |db| {
            let now = epoch();
            let hours = |n: f64| now - n * 3600.0;
            for (id, state, finished) in [
                ("fresh", "done", Some(hours(23.0))),
                ("old", "done", Some(hours(25.0))),
                ("failure", "failed", Some(hours(25.0))),
                ("old failure", "failed", Some(hours(200.0))),
                ("put into a turn", "steered", Some(hours(25.0))),
                ("open", "waiting", None),
            ] {
                db.execute(
                    "INSERT INTO hermes_inbox(platform, scope, dedup_id, state, received_at, finished_at)
                     VALUES ('webhook', 'r', ?1, ?2, 0.0, ?3)",
                    params![id, state, finished],
                )?;
            }
            assert!(!prune::prune(db, &scopes, now)?);
            db.query_row(
                "SELECT count(*) FROM hermes_inbox WHERE dedup_id IN ('fresh', 'failure', 'put into a turn', 'open')",
                [],
                |row| row.get(0),
            )
        })
        .await
        .unwrap();
    assert_eq!(left, 4);
    let all =
        store.aside(|db| db.query_row("SELECT count(*) FROM hermes_inbox", [], |row| row.get::<_, i64>(0)));
    assert_eq!(all.await.unwrap(), 4);
}
