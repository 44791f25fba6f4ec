//! Socket Mode: the sockets that Slack sends through.
//!
//! ```text
//!   open ─▶ hello ─▶ envelopes, each acknowledged once it is on disk ─▶ disconnect ─▶ a new one opens ─▶ the old one is closed
//! ```
//!
//! A socket lives for some hours; before its end Slack says so, and the next one is open before it is left. Slack sends each envelope
//! through one of the sockets that are open, and again where nobody acknowledges it: so generations of this worker that overlap, and an old
//! and a new socket, lose nothing and do nothing twice.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::Network;
use http::HeaderMap;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::APP;
use super::bot::Bot;
use super::desk::Desk;
use super::failures::{disabled, down};
use super::intake;
use super::service::Service;
use super::settings::NAME;
use super::wire::{Frame, Reason, frame};
use crate::outgoing::websocket::{self, Bounds, Heard, Lost, OpenError, Socket};
use crate::platform::{Class, Down, Link};

/// Longest message; silence that a socket does not survive.
const SILENCE: Duration = Duration::from_secs(30);
const BOUNDS: Bounds = Bounds { message: 4 * 1024 * 1024, silence: Some(SILENCE), sending: SILENCE };
/// Time for the first word on a new socket.
const HELLO: Duration = Duration::from_secs(10);
/// For so long an old socket is listened to once there is a new one.
const OLD: Duration = Duration::from_secs(10);
/// A socket that lived for so long is replaced at once when it is lost.
const LIVED: Duration = Duration::from_secs(10);
/// Wait before another try to replace one that still lives.
const AGAIN: Duration = Duration::from_secs(2);
/// For so long a connection that is to be closed goes on: whoever takes over is connected by then.
const LINGER: Duration = Duration::from_millis(300);
/// Time between two looks at what others may have left.
pub(super) const LOOK: Duration = Duration::from_secs(10);

type Opening = Pin<Box<dyn Future<Output = Result<Socket, Down>> + Send>>;

/// What is open.
struct Sockets {
    app: Service,
    network: Network,
    current: Option<Socket>,
    since: Instant,
    /// One that is being left, and until when.
    old: Option<(Socket, Instant)>,
    next: Option<Opening>,
}

/// What happened.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Came {
    Current(Result<Heard, Lost>),
    Old(Result<Heard, Lost>),
    Opened(Result<Socket, Down>),
    OldIsOver,
}

/// Listens until told to end.
pub(super) async fn listen(
    app: Service,
    network: &Network,
    bot: &Arc<Bot>,
    desk: &Desk,
    link: &Link,
    stands: impl Fn(),
) -> Result<(), Down> {
    let first = tokio::select! {
        biased;
        _ = link.told() => return Ok(()),
        first = open(app.clone(), network.clone(), Duration::ZERO) => first?,
    };
    link.up();
    stands();
    let mut sockets = Sockets {
        app,
        network: network.clone(),
        current: Some(first),
        since: Instant::now(),
        old: None,
        next: None,
    };
    let end = async {
        link.told().await;
        sleep(LINGER).await;
    };
    tokio::pin!(end);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let came = tokio::select! {
            biased;
            () = &mut end => break,
            came = sockets.next() => came,
            _ = look.tick() => {
                if let Err(error) = desk.look(bot).await {
                    tracing::debug!("[{NAME}] what others left is not looked at: {}", error.reason());
                }
                continue;
            }
        };
        link.progress();
        sockets.take(came, bot, desk).await?;
    }
    sockets.close().await;
    Ok(())
}

impl Sockets {
    /// What happens next. Cancel safe.
    async fn next(&mut self) -> Came {
        let Self { current, old, next, .. } = self;
        let heard = async {
            match current {
                Some(socket) => socket.next().await,
                None => std::future::pending().await,
            }
        };
        let of_old = async {
            match old {
                Some((socket, until)) => tokio::select! {
                    biased;
                    heard = socket.next() => Came::Old(heard),
                    () = sleep_until(*until) => Came::OldIsOver,
                },
                None => std::future::pending().await,
            }
        };
        let opened = async {
            match next {
                Some(opening) => opening.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = heard => Came::Current(heard),
            came = of_old => came,
            opened = opened => Came::Opened(opened),
        }
    }

    async fn take(&mut self, came: Came, bot: &Arc<Bot>, desk: &Desk) -> Result<(), Down> {
        match came {
            Came::Current(Ok(Heard::Text(text))) => {
                let Some(socket) = self.current.as_mut() else { return Ok(()) };
                match answer(socket, &text, bot, desk).await {
                    Ok(None) => {}
                    Ok(Some(Reason::Refresh)) => self.replace(Duration::ZERO),
                    Ok(Some(Reason::Disabled)) => return Err(disabled("link_disabled")),
                    Err(lost) => self.lost(&lost)?,
                }
            }
            Came::Current(Err(lost)) => self.lost(&lost)?,
            Came::Old(Ok(Heard::Text(text))) => {
                let Some((socket, _)) = self.old.as_mut() else { return Ok(()) };
                match answer(socket, &text, bot, desk).await {
                    Ok(Some(Reason::Disabled)) => return Err(disabled("link_disabled")),
                    Ok(_) => {}
                    Err(_) => self.old = None,
                }
            }
            Came::Current(Ok(Heard::Life)) | Came::Old(Ok(Heard::Life)) => {}
            Came::Old(Err(_)) => self.old = None,
            Came::OldIsOver => {
                if let Some((socket, _)) = self.old.take() {
                    socket.close(None).await;
                }
            }
            Came::Opened(Ok(socket)) => {
                self.next = None;
                tracing::debug!("[{NAME}] a new socket is open");
                if let Some((older, _)) = self.old.take() {
                    older.close(None).await;
                }
                self.old = self.current.replace(socket).map(|old| (old, Instant::now() + OLD));
                self.since = Instant::now();
            }
            Came::Opened(Err(down)) => {
                self.next = None;
                if down.class == Class::Fatal || self.current.is_none() {
                    return Err(down);
                }
                tracing::info!("[{NAME}] the socket is not replaced yet: {down}");
                self.replace(down.retry_after.unwrap_or(AGAIN));
            }
        }
        Ok(())
    }

    /// The current socket is gone. One that lived is replaced at once.
    fn lost(&mut self, lost: &Lost) -> Result<(), Down> {
        self.current = None;
        if self.next.is_none() && self.since.elapsed() < LIVED {
            return Err(Down::retrying("slack_network_error", lost.to_string()));
        }
        tracing::info!("[{NAME}] {lost}; another one is opened");
        self.replace(Duration::ZERO);
        Ok(())
    }

    fn replace(&mut self, after: Duration) {
        if self.next.is_none() {
            self.next = Some(Box::pin(open(self.app.clone(), self.network.clone(), after)));
        }
    }

    async fn close(self) {
        for socket in self.current.into_iter().chain(self.old.map(|(socket, _)| socket)) {
            socket.close(None).await;
        }
    }
}

/// Takes what came through a socket, and acknowledges it there. Why the socket is to be left, if it is.
async fn answer(
    socket: &mut Socket,
    text: &str,
    bot: &Arc<Bot>,
    desk: &Desk,
) -> Result<Option<Reason>, Lost> {
    match frame(text) {
        None => tracing::warn!("[{NAME}] a frame is skipped: it is no JSON"),
        Some(Frame::Hello | Frame::Other) => {}
        Some(Frame::Disconnect(reason)) => return Ok(Some(reason)),
        Some(Frame::Envelope(id, came)) => match intake::take(desk, bot, came).await {
            Ok(()) => socket.send(json!({"envelope_id": id}).to_string()).await?,
            Err(error) => tracing::warn!("[{NAME}] an event is not taken, and comes again: {error}"),
        },
    }
    Ok(None)
}

/// Opens a socket, and waits for its first word.
async fn open(app: Service, network: Network, after: Duration) -> Result<Socket, Down> {
    sleep(after).await;
    let again = |text: String| Down::retrying("slack_network_error", text);
    let address = app.socket().await.map_err(|failure| down(&failure, APP))?;
    let opened = websocket::open(&address, HeaderMap::new(), &network, BOUNDS).await;
    let mut socket = opened.map_err(|error| match error {
        OpenError::Refused { retry_after, .. } => again(error.to_string()).after(retry_after),
        OpenError::Unusable(_) | OpenError::Address => Down::fatal("slack_client", error.to_string()),
        OpenError::Unreached(_) => again(error.to_string()),
    })?;
    let hello = async {
        loop {
            let Heard::Text(text) = socket.next().await.map_err(|lost| again(lost.to_string()))? else {
                continue;
            };
            match frame(&text) {
                Some(Frame::Hello) => return Ok(()),
                Some(Frame::Disconnect(Reason::Disabled)) => return Err(disabled("link_disabled")),
                Some(Frame::Disconnect(Reason::Refresh)) => {
                    return Err(again("Slack closes the socket before it is used".to_owned()));
                }
                // Not acknowledged: it comes again.
                Some(Frame::Envelope(..) | Frame::Other) | None => {}
            }
        }
    };
    timeout(HELLO, hello).await.map_err(|_| again("Slack says nothing on the new socket".to_owned()))??;
    Ok(socket)
}
