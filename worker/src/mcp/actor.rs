//! What looks after one server: connects, watches, connects again, parks, and alone says how it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use hermes_config::servers::Protocol;
use hermes_wire::contract::runtime_status::ToolServerStatus;
use rmcp::model::{ClientRequest, PingRequest, SubscriptionFilter};
use rmcp::service::{Peer, RoleClient, ServiceError, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::{Server, Stage, View};
use super::catalogue;
use super::connect::{Link, connect};
use super::fault::{Fault, of_call};
use super::tries::{Next, PROBE, Tries};
use super::{state, tokens};
use crate::status::Status;

/// A server that is asked whether it is there has so long to say so.
const ANSWER: Duration = Duration::from_secs(30);
/// Changes of a list that follow each other so closely are one.
const CHANGES: Duration = Duration::from_millis(500);
/// Time for a list that has changed.
const LISTING: Duration = Duration::from_secs(60);
/// Between two looks at whether somebody has logged in.
const LOOK: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Actor {
    server: Arc<Server>,
    view: watch::Sender<View>,
    status: Status,
    stop: CancellationToken,
    tasks: TaskTracker,
    tries: Tries,
    /// Which way of beginning it knows, once that is known.
    protocol: Protocol,
}

/// Why a connection is over.
enum Ended {
    Stop,
    /// Nobody called for long.
    Idle,
    /// It is old.
    Old,
    Lost(Fault),
}

impl Actor {
    pub(super) fn new(
        server: Arc<Server>,
        view: watch::Sender<View>,
        status: Status,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let protocol = server.config.protocol;
        Self { server, view, status, stop, tasks, tries: Tries::default(), protocol }
    }

    /// The whole life of a server.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            self.show(Stage::Connecting, None);
            let config = &self.server.config;
            let (prefix, premises) = (&self.server.prefix, &self.server.premises);
            let link = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                link = connect(config, prefix, self.protocol, premises, &self.tasks) => link,
            };
            let fault = match link {
                Err(fault) => fault,
                Ok(link) => {
                    self.protocol = link.protocol;
                    let since = Instant::now();
                    self.publish(&link);
                    let ended = self.watch(&link).await;
                    // No new call begins on it.
                    let stage = match ended {
                        Ended::Idle => Stage::Asleep,
                        Ended::Stop => Stage::Stopped,
                        Ended::Old | Ended::Lost(_) => Stage::Connecting,
                    };
                    self.show(stage, None);
                    let said = link.end().await;
                    match ended {
                        Ended::Stop => break,
                        Ended::Old => continue,
                        Ended::Idle => {
                            tokio::select! {
                                () = stop.cancelled() => break,
                                () = self.server.wake.notified() => continue,
                            }
                        }
                        Ended::Lost(mut fault) => {
                            if let Some(said) = said {
                                fault.reason = said;
                            }
                            let next = self.tries.lost(since.elapsed());
                            if self.wait(next, fault).await {
                                continue;
                            }
                            break;
                        }
                    }
                }
            };
            let next = self.tries.failed(fault.is_final);
            if !self.wait(next, fault).await {
                break;
            }
        }
        self.show(Stage::Stopped, Some(Arc::default()));
    }

    /// Waits until it is to be tried again; `false`: never.
    async fn wait(&mut self, next: Next, fault: Fault) -> bool {
        let server = self.server.name().to_owned();
        let wants_login = fault.wants_login;
        match next {
            Next::Retry(wait) => {
                tracing::warn!(server, reason = fault.reason, again_in = ?wait, "a tool server is not there");
                self.show(Stage::Retrying(fault.reason), None);
                tokio::select! {
                    () = self.stop.cancelled() => false,
                    () = sleep(wait) => true,
                }
            }
            Next::Park => {
                let was_parked = matches!(self.view.borrow().stage, Stage::Parked(_));
                if !was_parked {
                    tracing::warn!(
                        server,
                        reason = fault.reason,
                        again_in = ?PROBE,
                        "a tool server is parked: its tools are not offered"
                    );
                }
                self.show(Stage::Parked(fault.reason), Some(Arc::default()));
                let logged_in = async {
                    if wants_login {
                        self.logged_in().await;
                    } else {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = self.stop.cancelled() => false,
                    () = sleep(PROBE) => true,
                    () = logged_in => true,
                }
            }
        }
    }

    /// Waits until the file of its tokens is another one.
    async fn logged_in(&self) {
        let file = tokens::file(&self.server.premises.home, self.server.name());
        let stamp = || -> Option<SystemTime> { fs_err::metadata(&file).ok()?.modified().ok() };
        let before = stamp();
        while stamp() == before {
            sleep(LOOK).await;
        }
    }

    /// Watches a connection until it is over.
    async fn watch(&self, link: &Link) -> Ended {
        let config = &self.server.config;
        let peer = link.peer();
        let is_stateless = link.protocol == Protocol::Stateless;
        let since = Instant::now();
        let mut used = since;
        let mut asked = since;
        let mut news = pin_news(peer.clone(), is_stateless);
        loop {
            let is_idle = self.server.running.load(Ordering::Relaxed) == 0;
            let of_program = |time: Option<Duration>| time.filter(|_| is_idle && link.program.is_some());
            let idle = of_program(config.idle).map(|time| used + time);
            let old = of_program(config.lifetime).map(|time| since + time);
            // Whoever works may be slow to answer.
            let keepalive = config.keepalive.filter(|_| is_idle).map(|time| asked + time);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::Stop,
                () = link.gone.cancelled() => return Ended::Lost(Fault::new("it ended")),
                () = self.server.ended.notified() => used = Instant::now(),
                () = link.changed.notified() => {
                    if let Some(fault) = self.list_again(link).await {
                        return Ended::Lost(fault);
                    }
                }
                over = &mut news => {
                    match over {
                        // It told of a change; go on listening.
                        Some(subscription) => {
                            news = Box::pin(next_news(subscription));
                            link.changed.notify_one();
                        }
                        None => news = Box::pin(std::future::pending()),
                    }
                }
                over = before(old, idle) => {
                    // A call that began meanwhile goes on; nothing is awaited until the view says that it is over.
                    if self.server.running.load(Ordering::Relaxed) == 0 {
                        return over;
                    }
                    used = Instant::now();
                }
                () = at(keepalive) => {
                    if let Err(fault) = is_there(peer, is_stateless).await {
                        return Ended::Lost(fault);
                    }
                    asked = Instant::now();
                }
            }
        }
    }

    /// Asks for the list of tools once more.
    async fn list_again(&self, link: &Link) -> Option<Fault> {
        tokio::select! {
            () = self.stop.cancelled() => return None,
            () = sleep(CHANGES) => {}
        }
        let Server { config, prefix, premises, .. } = &*self.server;
        match timeout(LISTING, catalogue::list(link.peer(), config, prefix)).await {
            Ok(Ok(offers)) => {
                let offers: Arc<[_]> = offers.into();
                if *offers != *self.view.borrow().offers {
                    tracing::info!(
                        server = config.name,
                        tools = offers.len(),
                        "a tool server has other tools now"
                    );
                    self.show_with(Stage::Connected, Some(offers), Some(link));
                }
                None
            }
            Ok(Err(error)) => {
                let why = of_call(&error, config, &premises.flag);
                Some(Fault::new(format!("its tools cannot be listed any more: {why}")))
            }
            Err(_) => Some(Fault::new("it does not say which tools it has now")),
        }
    }

    fn publish(&self, link: &Link) {
        let (server, tools) = (self.server.name(), link.offers.len());
        tracing::info!(server, tools, protocol = link.version, "a tool server is connected");
        self.show_with(Stage::Connected, Some(Arc::clone(&link.offers)), Some(link));
    }

    /// Says how it is; `offers`: what it offers from now on, where that is not what it was.
    fn show(&self, stage: Stage, offers: Option<Arc<[catalogue::Offer]>>) {
        self.show_with(stage, offers, None);
    }

    fn show_with(&self, stage: Stage, offers: Option<Arc<[catalogue::Offer]>>, link: Option<&Link>) {
        let (was, offers) = {
            let view = self.view.borrow();
            // A server that is tried again and again is parked until it is there.
            let keeps = stage == Stage::Connecting && matches!(view.stage, Stage::Parked(_));
            if keeps {
                return;
            }
            (view.stage.clone(), offers.unwrap_or_else(|| Arc::clone(&view.offers)))
        };
        let status = status_of(&stage, offers.len(), link.map(|link| link.version.as_str()));
        let is_news = was != stage || stage == Stage::Connected;
        let peer = link.map(|link| link.peer().clone());
        self.view.send_replace(View { stage, offers, peer });
        if is_news {
            self.status.set_tool_server(self.server.name(), status);
        }
    }
}

fn status_of(stage: &Stage, tools: usize, version: Option<&str>) -> ToolServerStatus {
    let (word, reason) = match stage {
        Stage::New | Stage::Connecting => ("connecting", None),
        Stage::Connected => ("connected", None),
        Stage::Retrying(why) => ("retrying", Some(why.clone())),
        Stage::Parked(why) => ("parked", Some(why.clone())),
        Stage::Asleep => ("asleep", None),
        Stage::Stopped => ("stopped", None),
    };
    state(word, tools, reason, version)
}

/// Waits until then, or for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until a connection is too old, or nobody has called for too long.
async fn before(old: Option<Instant>, idle: Option<Instant>) -> Ended {
    tokio::select! {
        () = at(old) => Ended::Old,
        () = at(idle) => Ended::Idle,
    }
}

/// Whether a server answers at all; what it answers is its own matter.
async fn is_there(peer: &Peer<RoleClient>, is_stateless: bool) -> Result<(), Fault> {
    let ask = async {
        if is_stateless {
            peer.list_tools(None).await.map(drop)
        } else {
            peer.send_request(ClientRequest::PingRequest(PingRequest::default())).await.map(drop)
        }
    };
    match timeout(ANSWER, ask).await {
        Ok(Ok(()) | Err(ServiceError::McpError(_) | ServiceError::UnexpectedResponse)) => Ok(()),
        Ok(Err(_)) => Err(Fault::new("it cannot be reached any more")),
        Err(_) => Err(Fault::new(format!("it did not answer within {} s", ANSWER.as_secs()))),
    }
}

type News = std::pin::Pin<Box<dyn Future<Output = Option<Subscription>> + Send>>;

/// Without a handshake a server tells of changes only whom it was asked to.
fn pin_news(peer: Peer<RoleClient>, is_stateless: bool) -> News {
    if !is_stateless {
        return Box::pin(std::future::pending());
    }
    Box::pin(async move {
        let tells = peer.peer_info().and_then(|info| info.capabilities.tools.as_ref()?.list_changed);
        if tells != Some(true) {
            return std::future::pending().await;
        }
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        next_news(peer.listen(filter).await.ok()?).await
    })
}

async fn next_news(mut subscription: Subscription) -> Option<Subscription> {
    match subscription.next().await {
        Ok(Some(_)) => Some(subscription),
        Ok(None) | Err(_) => None,
    }
}
