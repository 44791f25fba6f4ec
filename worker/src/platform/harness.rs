//! A profile for tests: a real home, store and inbox, the echo engine, and one platform's routes in front of it; and what files say of a
//! platform.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use camino::Utf8PathBuf;
use hermes_config::{Input, ProfileConfig, load};
use hermes_wire::latest::{BoundListener, Problem, Role};
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::link::{GiveUp, Order};
use super::{Context, Down, Link, REGISTRY};
use crate::delivery::{self, Deliveries};
use crate::engine::echo::Echo;
use crate::handover::{Entrance, Reception, Road};
use crate::inbox::{Inbox, KeyPolicy};
use crate::status::{self, Status};
use crate::store::{Owner, Store};
use crate::turn::{TurnParts, TurnSettings, Turns};

/// What the default profile's files say, `yaml` behind a line for the engine, and what is wrong with them.
pub(super) fn read(yaml: &str, env: &str) -> (Option<ProfileConfig>, Vec<Problem>) {
    let profile = ProfileName::default_profile();
    let loaded = load(Input {
        registry: &REGISTRY,
        profile: &profile,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &RootHome::new("/r").profile(&profile),
        yaml: Some(format!("agent: {{engine: echo}}\n{yaml}").as_bytes()),
        env: Some(env.as_bytes()),
    });
    (loaded.config, loaded.problems)
}

/// The settings of a platform there, and what is wrong.
pub(super) fn found<T: Any + Clone>(
    platform: &'static str,
    yaml: &str,
    env: &str,
) -> (Option<T>, Vec<Problem>) {
    let (config, problems) = read(yaml, env);
    (config.and_then(|config| config.settings.of::<T>(platform).cloned()), problems)
}

/// The codes of what is wrong.
pub(super) fn codes(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.code.as_str()).collect()
}

/// The settings of a platform there, and the codes of what is wrong.
pub(super) fn settings<T: Any + Clone>(
    platform: &'static str,
    yaml: &str,
    env: &str,
) -> (Option<T>, Vec<String>) {
    let (found, problems) = found(platform, yaml, env);
    (found, problems.into_iter().map(|problem| problem.code).collect())
}

/// A profile with everything behind its platforms.
pub(super) struct House {
    dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) context: Context,
}

impl House {
    /// A profile named `coder`, whose turns take as long as `delay` says for each piece. Listeners are on `host`.
    pub(super) fn new(delay: Duration, host: Option<&str>, change: impl FnOnce(&mut ProfileConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        change(&mut config);
        let store = Store::open(&home, Owner::current()).unwrap();
        let child_env = vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())];
        let deliveries = Deliveries::new(store.clone(), delivery::common(child_env.clone()).collect());
        let turns = Turns::new(TurnParts {
            store: store.clone(),
            engine: Arc::new(Echo::new(delay)),
            prompts: Arc::new(|| Arc::new(|_| "You are a test.".to_owned())),
            deliveries: deliveries.clone(),
            settings: TurnSettings {
                busy_acks: hermes_config::BusyAcks::default(),
                max_turns: 90,
                chats: hermes_config::chats::AllChats::new(),
                overlay: crate::session::Overlay::default(),
                postpone_timeout: Duration::ZERO,
                supervisor: None,
                profile: config.name.clone(),
                max_concurrent_sessions: 4,
                max_concurrent_runs: 2,
                inactivity_timeout: None,
                write_sessions_json: false,
                timezone: jiff::tz::TimeZone::UTC,
                compression: hermes_config::Compression::default(),
                compression_timeout: Duration::from_secs(60),
                title_language: None,
            },
        });
        let keys = KeyPolicy {
            profile: config.name.clone(),
            group_sessions_per_user: true,
            thread_sessions_per_user: false,
        };
        let listener = BoundListener {
            address: "127.0.0.1:8644".to_owned(),
            host: host.map(str::to_owned),
            platforms: vec!["webhook".to_owned(), "api_server".to_owned()],
        };
        let inbox = Inbox::new(store.clone(), keys);
        let skills = crate::skills::Library::new(&home, &config);
        let entrance = Entrance::new(
            &config,
            &home,
            inbox.clone(),
            &deliveries,
            skills,
            crate::commands::Acts::default(),
        );
        let context = Context {
            reception: Reception::new(
                &config,
                &home,
                &store,
                entrance,
                Road::default(),
                crate::delivery::outbound::Outbounds::default(),
            ),
            config: Arc::new(config),
            inbox,
            turns,
            deliveries,
            status: Status::new(status::empty("coder", std::process::id(), None, Vec::new())),
            listeners: vec![listener],
            child_env,
            fence: crate::fence::Fence::off(),
            take_identity: Arc::new(|_, _, _| Box::pin(async { Ok(Box::pin(async {}) as GiveUp) })),
            home,
            shared: super::Shared::default(),
        };
        Self { dir, store, context }
    }

    pub(super) fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.dir.path().join(name)).unwrap()
    }

    /// Starts the platform of this name.
    pub(super) async fn start(&self, name: &str) -> Result<Client, Down> {
        let platform =
            super::connectable(&self.context).into_iter().find(|p| p.declaration.name == name).unwrap();
        let orders = watch::Sender::new(Order::Connect);
        let (link, mut heard) = Link::new(orders.subscribe(), platform.declaration.exclusive);
        let down = Arc::new(watch::Sender::new(None));
        let (mut ended, tasks) = (down.subscribe(), TaskTracker::new());
        let adapter = platform.adapter;
        tasks.spawn(async move { down.send_replace(adapter.run(link).await.err()) });
        tasks.close();
        tokio::select! {
            Ok(_) = heard.wait_for(|heard| heard.up) => {}
            down = ended.wait_for(Option::is_some) => return Err(down.unwrap().clone().unwrap()),
        }
        Ok(Client { router: platform.routes.unwrap(), orders, tasks })
    }
}

/// What a test talks to.
#[derive(Clone)]
pub(super) struct Client {
    router: Router,
    orders: watch::Sender<Order>,
    tasks: TaskTracker,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Client {
    /// Sends a request; the answer's body is still to come.
    pub(super) async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().call(request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) async fn drain(&self) {
        self.orders.send_replace(Order::Stop);
        self.tasks.wait().await;
    }
}

/// A request with headers.
pub(super) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    headers.iter().fold(builder, |b, (name, value)| b.header(*name, *value)).body(body.into()).unwrap()
}
