//! The connection: one session with Discord's gateway, taken up again wherever it breaks off.
//!
//! Three things go on side by side: [`drive`](Gateway::drive) reads the socket, beats and connects again; [`take_all`] hands in what came, in
//! order; [`answer_all`] answers presses and commands. What came waits in a bounded line; while that is full the socket is not read, and
//! beats all the same.
//!
//! A lost connection is made again at once, once; what is lost again without having stood ends [`Adapter::run`], and the worker judges.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hermes_config::access::Bots;
use hermes_config::network::Network;
use http::HeaderMap;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use twilight_http_ratelimiting::Method;

use super::connection::{BOUNDS, Connection, End, Lines, SHORT, Waiting, down, lost};
use super::desk::Desk;
use super::gate::Gate;
use super::intake::take_all;
use super::interactions::answer_all;
use super::mark::{Mark, Session};
use super::service::{Body, Failure, Service};
use super::settings::{NAME, Settings, is_private_socket};
use super::wire::User;
use crate::delivery::outbound::made;
use crate::handover::Reception;
use crate::inbox::Inbox;
use crate::outgoing::websocket;
use crate::platform::backoff::Backoff;
use crate::platform::{Adapter, Down, Link, PlatformFuture};

/// Time for a socket to be opened.
const OPENING: Duration = Duration::from_secs(15);
/// Silence that ends a connection in any case.
const WINDOW: Duration = Duration::from_secs(40);
/// Most that came and is not handed in yet.
const LINE: usize = 64;
/// Time for what came when the connection is to be closed.
const LAST: Duration = Duration::from_secs(3);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The adapter.
pub(super) struct Gateway {
    settings: Settings,
    network: Network,
    bots: Bots,
    has_lists: bool,
    reception: Reception,
    inbox: Inbox,
    service: Arc<OnceLock<Service>>,
    backoff: Backoff,
}

impl Adapter for Gateway {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = Box::pin(self.connect(link)).await;
            ended.map_err(|down| self.backoff.after(down))
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(WINDOW)
    }
}

/// Where the gateway is, and whether another session may begin there.
#[derive(Deserialize)]
struct Place {
    url: String,
    #[serde(default)]
    session_start_limit: Option<Starts>,
}

#[derive(Deserialize)]
struct Starts {
    remaining: u64,
    #[serde(default)]
    reset_after: u64,
}

impl Gateway {
    pub(super) fn new(
        settings: Settings,
        network: Network,
        (bots, has_lists): (Bots, bool),
        reception: Reception,
        inbox: Inbox,
        service: Arc<OnceLock<Service>>,
    ) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        Self { settings, network, bots, has_lists, reception, inbox, service, backoff }
    }

    async fn connect(&self, link: Link) -> Result<(), Down> {
        let service = made(&self.service, || Service::new(&self.settings, &self.network)).map_err(down)?;
        let me: User = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            me = service.me() => me.map_err(down)?,
        };
        tracing::info!("[{NAME}] the bot is {}", me.username);
        let server = self.settings.base.origin().ascii_serialization();
        let mark = Mark::read(&self.inbox, me.id, &server).await;
        let mark = mark.map_err(|error| Down::retrying("discord_store", error.reason()))?;
        let desk = Desk {
            settings: &self.settings,
            service: service.clone(),
            reception: &self.reception,
            inbox: &self.inbox,
            gate: Gate { settings: &self.settings, bots: self.bots, me: me.id },
            has_lists: self.has_lists,
            mark: Mutex::new(mark),
            places: Mutex::default(),
            began: Notify::new(),
        };
        let (items, came) = mpsc::channel(LINE);
        let (interactions, acted) = mpsc::channel(LINE);
        let answering = answer_all(&desk, acted, items.clone());
        let taking = take_all(&desk, came);
        let driving = self.drive(&link, &desk, &server, Lines { items, interactions });
        tokio::pin!(answering, taking, driving);
        let mut is_answering = true;
        let ended = loop {
            tokio::select! {
                biased;
                // Only what cannot be stored ends this before everything else has.
                taken = &mut taking => return taken,
                ended = &mut driving => break ended,
                () = &mut answering, if is_answering => is_answering = false,
            }
        };
        // What came is handed in, as far as that goes at once; the rest is repeated.
        let rest = async {
            if is_answering {
                answering.await;
            }
        };
        let _ = timeout(LAST, async { tokio::join!(rest, taking) }).await;
        let _ = timeout(LAST, desk.write_mark()).await;
        ended
    }

    /// Keeps a socket open until it is told otherwise, or the worker is to judge.
    async fn drive(&self, link: &Link, desk: &Desk<'_>, server: &str, lines: Lines) -> Result<(), Down> {
        let mut waiting = VecDeque::new();
        let mut is_first = true;
        loop {
            let (began, mut stood) = (Instant::now(), None);
            let end = Box::pin(self.socket(link, desk, server, &lines, &mut waiting, &mut stood)).await;
            let has_stood =
                stood.is_some_and(|since: Instant| since.elapsed() >= SHORT) || (is_first && stood.is_some());
            is_first = false;
            let wait = match end {
                End::Told => return Ok(()),
                End::Down(down) => return Err(down),
                End::Again(wait, why) if has_stood => {
                    tracing::info!("[{NAME}] the connection is made again: {why}");
                    wait
                }
                End::Again(wait, why) => {
                    let lived = began.elapsed();
                    let asked = Some(wait).filter(|wait| *wait > lived);
                    return Err(Down::retrying("discord_network_error", why).after(asked));
                }
            };
            tokio::select! {
                biased;
                _ = link.told() => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }

    /// Where the next socket is opened, and the session that is resumed there.
    async fn place(&self, desk: &Desk<'_>) -> Result<(Url, Option<(Session, u64)>), Down> {
        let resumable = desk.mark().resumable();
        let of_session = || {
            let url = resumable.as_ref()?.0.url.as_deref()?;
            Url::parse(url).ok().filter(is_private_socket)
        };
        let url = match (&self.settings.gateway, of_session()) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url,
            (None, None) => {
                let asked = desk.service.ask("gateway/bot", Method::Get, "gateway/bot", Body::Nothing);
                let Place { url, session_start_limit } = asked.await.map_err(down)?;
                if let Some(Starts { remaining: 0, reset_after }) = session_start_limit
                    && resumable.is_none()
                {
                    let wait = Duration::from_millis(reset_after.min(24 * 3600 * 1000));
                    let why = "Discord lets the bot begin no further session today";
                    return Err(Down::retrying("discord_session_limit", why).after(Some(wait)));
                }
                let url = Url::parse(&url).ok().filter(is_private_socket);
                url.ok_or_else(|| {
                    let why = "Discord names a gateway that the token may not go to";
                    Down::retrying("discord_protocol", why)
                })?
            }
        };
        let mut url = url;
        url.set_query(Some("v=10&encoding=json"));
        if url.path().is_empty() {
            url.set_path("/");
        }
        Ok((url, resumable))
    }

    /// One socket, from opening it to its end. `stood`: since when its session does.
    async fn socket(
        &self,
        link: &Link,
        desk: &Desk<'_>,
        server: &str,
        lines: &Lines,
        waiting: &mut VecDeque<Waiting>,
        stood: &mut Option<Instant>,
    ) -> End {
        let opening = async {
            let (url, resumable) = self.place(desk).await.map_err(End::Down)?;
            let opening = websocket::open(&url, HeaderMap::new(), &self.network, BOUNDS);
            let why = match timeout(OPENING, opening).await {
                Ok(Ok(socket)) => return Ok((socket, resumable)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            // It may be another place now; REST knows.
            desk.mark().forget_place();
            Err(lost(&why))
        };
        let opened = tokio::select! {
            biased;
            _ = link.told() => return End::Told,
            () = desk.service.revoked() => return End::Down(down(Failure::Revoked)),
            opened = opening => match opened {
                Ok(opened) => opened,
                Err(end) => return end,
            },
        };
        let mut connection = Connection::new(desk, &self.backoff, opened, waiting, stood);
        let end = connection.run(link, server, lines).await;
        connection.close().await;
        end
    }
}
