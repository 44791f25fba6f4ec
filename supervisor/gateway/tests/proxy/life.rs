//! Start, change and end of listeners.

use std::sync::Arc;
use std::time::Duration;

use hermes_gateway::proxy::{Bound, Inherited, Limits, Publisher, Route, Table};
use tokio::net::TcpStream;

use crate::rig::{Client, families, rig, rig_with, settings, status};

#[tokio::test]
async fn draining_lets_requests_finish_and_refuses_new_ones() {
    let mut rig = rig();
    let (mut busy, mut kept) = (rig.client().await, rig.client().await);
    kept.get("/health").await;
    kept.response().await;
    busy.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;

    let api = rig.api.clone();
    rig.proxy().quiesce();
    assert!(TcpStream::connect(&api).await.is_err(), "the listener is closed");
    assert_eq!(rig.proxy().drain(Duration::from_millis(50)).await.unfinished, 1);
    kept.get("/p/coder/v1/x").await;
    let text = kept.rest().await;
    assert_eq!(status(&text), 503);
    assert!(text.contains("connection: close\r\n") && text.contains(r#""code":"draining""#), "{text}");

    let drain = rig.proxy.as_ref().unwrap().drain(Duration::from_secs(10));
    let finish = async {
        worker.ok("done").await;
        busy.rest().await
    };
    let (report, text) = tokio::join!(drain, finish);
    assert_eq!(report.unfinished, 0);
    assert!(text.contains("connection: close\r\n") && text.ends_with("done"), "{text}");
}

#[tokio::test]
async fn stopping_cuts_what_is_left() {
    let mut rig = rig();
    let mut client = rig.client().await;
    client.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    rig.proxy.take().unwrap().stop();
    assert_eq!(client.rest().await, "");
    assert_eq!(worker.rest().await, "");
}

#[tokio::test]
async fn listeners_change_without_touching_those_that_stay() {
    let mut settings = settings();
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.listeners[0].port = port();
    settings.listeners[1].port = port();
    let mut rig = rig_with(&settings);
    let mut stays = rig.client().await;
    stays.get("/health").await;
    stays.response().await;
    let mut goes = Client::connect(&rig.webhook).await;
    goes.get("/health").await;
    goes.response().await;

    // The webhook platform moves onto the other address.
    settings.listeners[1].port = settings.listeners[0].port;
    let old = rig.webhook.clone();
    let bound = rig.proxy().rebind(&settings, Limits::from(&settings)).unwrap();
    assert_eq!(bound.len(), 1);
    assert_eq!(bound[0].platforms, ["api_server", "webhook"]);
    stays.get("/health").await;
    assert!(stays.response().await.1.contains("platforms"));
    goes.get("/health").await;
    assert!(goes.rest().await.contains("connection: close\r\n"));
    for _ in 0..100 {
        if TcpStream::connect(&old).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(TcpStream::connect(&old).await.is_err(), "the old address is free");

    // And elsewhere again, with another host on a port that is ours.
    settings.listeners[1].host = Some("localhost".into());
    settings.listeners[1].port = port();
    rig.proxy().rebind(&settings, Limits::from(&settings)).unwrap();
    let address = rig.proxy().listeners()[1].address.clone();
    let mut client = Client::connect(&address).await;
    client.get("/health").await;
    assert_eq!(client.response().await.1, r#"{"status": "ok", "platform": "webhook"}"#);
}

#[tokio::test]
async fn kept_listeners_let_connections_wait_for_whoever_comes_next() {
    let mut rig = rig();
    let mut busy = rig.client().await;
    busy.get("/p/coder/v1/x").await;
    let mut worker = rig.coder.accept().await;
    worker.head().await;
    let kept = rig.proxy().keep_listeners();
    // The accept loops end on their own threads.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut api, mut webhook) = (rig.client().await, Client::connect(&rig.webhook).await);
    api.get("/health").await;
    webhook.get("/health").await;
    rig.proxy().quiesce();
    worker.ok("done").await;
    let text = busy.rest().await;
    assert!(text.contains("connection: close\r\n") && text.ends_with("done"), "{text}");
    rig.proxy.take().unwrap().stop();

    // With port 0 too, each platform finds its own, whatever the order.
    let mut settings = settings();
    settings.listeners.reverse();
    let next = Bound::bind(&settings, families(), kept).unwrap();
    let addresses: Vec<String> = next.listeners().into_iter().map(|l| l.address).collect();
    assert_eq!(addresses, [rig.webhook.clone(), rig.api.clone()]);
    let (_publisher, reader) = Publisher::new(Table::new(true, Arc::clone(&rig.primary.route)));
    let proxy = next.start(reader, Limits::from(&settings)).unwrap();
    assert_eq!(webhook.response().await.1, r#"{"status": "ok", "platform": "webhook"}"#);
    assert!(api.response().await.1.contains("hermes-agent"));
    proxy.stop();
    assert!(TcpStream::connect(&rig.api).await.is_err());
}

#[tokio::test]
async fn a_kept_listener_never_stands_in_the_way_of_another_address() {
    let mut first = settings();
    first.listeners.truncate(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    first.listeners[0].port = port;
    // The same port on one address, on all, on the IPv4 ones, by name, and back.
    let mut kept = Inherited::default();
    for host in [Some("127.0.0.1"), None, Some("0.0.0.0"), Some("localhost"), None, Some("127.0.0.1")] {
        first.listeners[0].host = host.map(str::to_owned);
        let bound = Bound::bind(&first, families(), kept).unwrap();
        assert_eq!(bound.listeners().len(), 1, "{host:?}");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok(), "{host:?}");
        let primary = Route::new("default".parse().unwrap(), "/nowhere".into());
        let (_publisher, reader) = Publisher::new(Table::new(true, primary));
        let mut proxy = bound.start_on(1, reader, Limits::from(&first)).unwrap();
        kept = proxy.keep_listeners();
        proxy.stop();
    }
    // And what the configuration does not name any more is closed.
    first.listeners.clear();
    Bound::bind(&first, families(), kept).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_platform_source_and_next_step() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut settings = settings();
    settings.listeners[0].port = port;
    let error = Bound::bind(&settings, families(), Inherited::default()).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "Port {port} already in use. Set platforms.api_server.port in config.yaml to a different value"
        )),
        "{error}"
    );
    assert!(
        error.contains(&format!("`127.0.0.1:{port}`"))
            && error.contains("config.yaml: platforms.api_server.port"),
        "{error}"
    );

    // A change that cannot be had changes nothing.
    let mut rig = rig();
    rig.proxy().rebind(&settings, Limits::from(&settings)).unwrap_err();
    let mut client = rig.client().await;
    client.get("/health").await;
    assert_eq!(status(&client.response().await.0), 200);
}

#[tokio::test]
async fn no_host_means_both_families() {
    let mut settings = settings();
    settings.listeners.truncate(1);
    settings.listeners[0].host = None;
    let bound = Bound::bind(&settings, families(), Inherited::default()).unwrap();
    let listeners = bound.listeners();
    assert_eq!(listeners[0].host, None);
    let port = listeners[0].address.rsplit(':').next().unwrap().to_owned();
    TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    if listeners[0].address.starts_with("[::]") {
        TcpStream::connect(format!("[::1]:{port}")).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_table_is_seen_at_once() {
    let rig = rig();
    let mut client = rig.client().await;
    rig.publisher.publish(Table::new(true, Arc::clone(&rig.primary.route)));
    client.get("/p/coder/health").await;
    assert_eq!(status(&client.response().await.0), 404);
}
