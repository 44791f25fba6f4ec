//! A proxy on port 0 with scripted workers behind it, and a client that sees bytes.

use std::sync::Arc;
use std::time::Duration;

use hermes_gateway::proxy::{
    Availability, Bound, Families, Inherited, Limits, Proxy, Publisher, Route, Table,
};
use hermes_wire::latest::{Family, GatewaySettings, ListenerSetting, OnProfileError, Upkeep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn settings() -> GatewaySettings {
    let listener = |platform: &str| ListenerSetting {
        platform: platform.into(),
        host: Some("127.0.0.1".into()),
        port: 0,
        source: format!("config.yaml: platforms.{platform}.port"),
    };
    GatewaySettings {
        multiplex: true,
        allowlist: None,
        on_profile_error: OnProfileError::Fail,
        shared_env: Vec::new(),
        listeners: vec![listener("api_server"), listener("webhook")],
        admin: None,
        max_connections: 100,
        max_requests_per_profile: 50,
        max_body_bytes: 1_000_000,
        header_timeout_ms: 10_000,
        hold_ms: 5_000,
        response_timeout_ms: 20_000,
        drain_ms: 1_000,
        start_timeout_ms: 1_000,
        stuck_after_ms: 1_000,
        heartbeat_ms: 1_000,
        max_connections_per_address: 0,
        body_timeout_ms: 10_000,
        min_body_rate: 0,
        upkeep: Upkeep::default(),
        admin_token: None,
        keep_awake: false,
    }
}

pub(crate) struct Rig {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) publisher: Publisher,
    pub(crate) coder: Worker,
    pub(crate) primary: Worker,
    /// Addresses of the api_server and the webhook listener.
    pub(crate) api: String,
    pub(crate) webhook: String,
    _dir: tempfile::TempDir,
}

/// Of webhooks and the API.
pub(crate) fn families() -> Families {
    let family = |platform: &str, paths: &[&str], is_api| Family {
        platform: platform.to_owned(),
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
        is_api,
    };
    let api = family("api_server", &["/v1/", "/api/", "/health/detailed"], true);
    Families::new(vec![family("webhook", &["/webhooks/"], false), api])
}

pub(crate) fn rig() -> Rig {
    rig_with(&settings())
}

pub(crate) fn rig_with(settings: &GatewaySettings) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let primary = Worker::new(dir.path(), "default");
    let coder = Worker::new(dir.path(), "coder");
    let mut table = Table::new(settings.multiplex, Arc::clone(&primary.route));
    table.insert(Arc::clone(&coder.route));
    let (publisher, reader) = Publisher::new(table);
    let bound = Bound::bind(settings, families(), Inherited::default()).unwrap();
    let listeners = bound.listeners();
    let proxy = bound.start(reader, Limits::from(settings)).unwrap();
    let address = |platform: &str| {
        listeners.iter().find(|l| l.platforms.iter().any(|p| p == platform)).unwrap().address.clone()
    };
    let (api, webhook) = (address("api_server"), address("webhook"));
    Rig { proxy: Some(proxy), publisher, coder, primary, api, webhook, _dir: dir }
}

impl Rig {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.api).await
    }

    pub(crate) fn proxy(&mut self) -> &mut Proxy {
        self.proxy.as_mut().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
    }
}

/// A worker's data socket and route; what it answers, the test says.
pub(crate) struct Worker {
    pub(crate) route: Arc<Route>,
    listener: UnixListener,
}

impl Worker {
    fn new(dir: &std::path::Path, name: &str) -> Self {
        let path = dir.join(format!("{name}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let route = Route::new(name.parse().unwrap(), path.try_into().unwrap());
        route.set(Availability::Open { ready: true });
        Self { route, listener }
    }

    pub(crate) async fn accept(&self) -> Peer<UnixStream> {
        Peer::new(timeout(PATIENCE, self.listener.accept()).await.expect("a connection in time").unwrap().0)
    }

    /// Nothing connects for a moment.
    pub(crate) async fn is_left_alone(&self) -> bool {
        timeout(Duration::from_millis(100), self.listener.accept()).await.is_err()
    }
}

pub(crate) type Client = Peer<TcpStream>;

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    /// `GET path`, nothing else.
    pub(crate) async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
    }
}

/// One end of a connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("a write in time").unwrap();
    }

    /// Reads once more; false at the end (a reset counts as one).
    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("bytes in time");
        read.unwrap_or(0) > 0
    }

    /// Everything up to and including `marker`.
    pub(crate) async fn until(&mut self, marker: &str) -> String {
        loop {
            let found = self.buffer.windows(marker.len()).position(|w| w == marker.as_bytes());
            if let Some(at) = found {
                let rest = self.buffer.split_off(at + marker.len());
                return String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
            }
            assert!(
                self.fill().await,
                "ended before {marker:?}: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(
                self.fill().await,
                "ended before {count} bytes: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    pub(crate) async fn text(&mut self, count: usize) -> String {
        String::from_utf8(self.bytes(count).await).unwrap()
    }

    /// Everything until the other end closes.
    pub(crate) async fn rest(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Reads a response with a length: head and body.
    pub(crate) async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|l| {
                l.to_ascii_lowercase().strip_prefix("content-length: ").map(|v| v.trim().parse().unwrap())
            })
            .unwrap_or(0);
        let body = self.text(length).await;
        (head, body)
    }

    /// Answers 200 with `body`, after a request whose body was read to its end.
    pub(crate) async fn taken(&mut self, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\nx-hermes-taken: 1\r\ncontent-length: {length}\r\n\r\n{body}"))
            .await;
    }

    /// Answers 200 with `body`.
    pub(crate) async fn ok(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }
}

/// Waits until `condition` holds: counters are written behind the answer's last byte.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it holds in time");
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"))
}
