//! Deliveries against a real ledger: by a stand-in `gh` on the path, what is sent, retried and given up; by a chat service for tests,
//! order, lanes, keys and crashes.

mod lanes;
mod outward;

use std::os::unix::fs::PermissionsExt;

use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use tempfile::TempDir;

use super::*;
use crate::store::Owner;

/// A home with a `gh` of its own: it appends its arguments and environment to `calls`, and fails while `fail` exists.
struct Bench {
    dir: TempDir,
    home: ProfileHome,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gh = dir.path().join("gh");
        let script = "#!/bin/sh\nd=${0%/*}\nprintf '%s|' \"$@\" >>\"$d/calls\"\nprintf '\\n' >>\"$d/calls\"\n\
                      env >\"$d/env\"\n[ ! -e \"$d/fail\" ] || { cat \"$d/fail\" >&2; exit 1; }\n";
        fs_err::write(&gh, script).unwrap();
        fs_err::set_permissions(&gh, std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        Self { dir, home }
    }

    fn store(&self, owner: Owner) -> Store {
        Store::open(&self.home, owner).unwrap()
    }

    fn deliveries(&self, store: &Store) -> Deliveries {
        let path = format!("{}:/usr/bin:/bin", self.dir.path().display());
        let env = vec![("PATH".to_owned(), path), ("GH_TOKEN".to_owned(), "t0ken".to_owned())];
        let ways: Outbounds = common(env).collect();
        Deliveries::new(store.clone(), ways.among(["telegram"].into_iter()))
    }

    fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    fn fail(&self, says: &str) {
        fs_err::write(self.dir.path().join("fail"), says).unwrap();
    }
}

fn comment() -> DeliveryTarget {
    let extra = [("repo", "owner/name"), ("pr_number", "7")];
    let extra = extra.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    DeliveryTarget { kind: "github_comment".to_owned(), extra }
}

async fn add(store: &Store) {
    store
        .write(|db| ledger::add(db, "s", "webhook", "webhook:gh:d", &comment(), "the answer", epoch()))
        .await
        .unwrap();
}

async fn row(store: &Store) -> (String, u32, Option<String>) {
    let read = store.aside(|db| {
        db.query_row("SELECT state, attempts, last_error FROM hermes_delivery", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    });
    read.await.unwrap()
}

#[tokio::test]
async fn gh_gets_the_comment_and_only_its_own_environment() {
    let bench = Bench::new();
    let store = bench.store(Owner::current());
    bench.deliveries(&store).deliver(&comment(), "webhook:gh:d", "it's\n\"done\"").await.unwrap();
    assert_eq!(bench.text("calls"), "pr|comment|7|--repo|owner/name|--body|it's\n\"done\"|\n");
    let env = bench.text("env");
    assert!(env.contains("GH_TOKEN=t0ken") && !env.contains("CARGO"), "{env}");
    store.close().await;
}

#[tokio::test]
async fn what_cannot_work_says_so() {
    let bench = Bench::new();
    let store = bench.store(Owner::current());
    let deliveries = bench.deliveries(&store);
    let target = |kind: &str| DeliveryTarget { kind: kind.to_owned(), ..DeliveryTarget::default() };
    let says = |kind: &'static str| {
        let (deliveries, target) = (deliveries.clone(), target(kind));
        async move { deliveries.deliver(&target, "c", "x").await.map_err(|e| e.to_string()) }
    };
    assert_eq!(says("log").await, Ok(()));
    assert_eq!(says("telegram").await, Err("Platform telegram not connected".to_owned()));
    assert_eq!(says("pigeon").await, Err("Unknown deliver type: pigeon".to_owned()));
    assert_eq!(says("github_comment").await, Err("Missing repo or pr_number".to_owned()));
    let nowhere = Deliveries::new(
        store.clone(),
        common(vec![("PATH".to_owned(), "/nonexistent".to_owned())]).collect(),
    );
    let missing = nowhere.deliver(&comment(), "c", "x").await;
    assert_eq!(missing, Err(Unsent::never("gh CLI not installed")));
    store.close().await;
}

/// Takes what is due, and waits for the first of it to be over.
async fn round(deliveries: &Deliveries) {
    let mut under_way = UnderWay { room: AT_ONCE, ..UnderWay::default() };
    let tried = deliveries.round(&mut FuturesUnordered::new(), &mut under_way).await;
    deliveries.record(tried.expect("something was due"), &mut under_way).await;
}

#[tokio::test]
async fn the_ledger_tries_again_and_in_the_end_gives_up() {
    let bench = Bench::new();
    let store = bench.store(Owner::current());
    let deliveries = bench.deliveries(&store);
    bench.fail("HTTP 502: bad gateway");
    add(&store).await;
    round(&deliveries).await;
    let failed = Some("gh failed: HTTP 502: bad gateway".to_owned());
    assert_eq!(row(&store).await, ("pending".to_owned(), 1, failed));
    for attempt in 2..=10 {
        store.write_one(|db| db.execute("UPDATE hermes_delivery SET next_attempt_at = 0", [])).await.unwrap();
        round(&deliveries).await;
        assert_eq!(row(&store).await.1, attempt);
    }
    assert_eq!(row(&store).await.0, "failed");
    store.close().await;
}

#[tokio::test]
async fn a_hopeless_answer_is_not_tried_again() {
    let bench = Bench::new();
    let store = bench.store(Owner::current());
    bench.fail("HTTP 404: Not Found");
    add(&store).await;
    round(&bench.deliveries(&store)).await;
    assert_eq!((row(&store).await.0.as_str(), row(&store).await.1), ("failed", 1));
    store.close().await;
}

#[tokio::test]
async fn the_next_process_delivers_what_a_dead_one_was_sending_and_marks_it() {
    let bench = Bench::new();
    let dead = Owner { pid: 4_194_999, start_time: 1 };
    let store = bench.store(dead);
    add(&store).await;
    let (none, room) = (Outbounds::default(), UnderWay { room: 4, ..UnderWay::default() });
    store.write(move |db| ledger::take_due(db, dead, &none, &room, epoch()).map(drop)).await.unwrap();
    assert_eq!(row(&store).await.0, "sending");
    store.close().await;

    let store = bench.store(Owner::current());
    round(&bench.deliveries(&store)).await;
    assert_eq!(row(&store).await, ("done".to_owned(), 2, None));
    let marked =
        |db: &rusqlite::Connection| db.query_row("SELECT ambiguous FROM hermes_delivery", [], |r| r.get(0));
    assert!(store.aside::<bool, _>(marked).await.unwrap());
    assert_eq!(bench.text("calls").lines().count(), 1);
    store.close().await;
}
