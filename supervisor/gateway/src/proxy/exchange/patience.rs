//! How long an exchange waits: for a connection, for an answer to begin, for a client that does not move.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::{End, Exchange, PAUSE, Phase, Turn};
use crate::proxy::pool;
use crate::proxy::rescue::ProxyError;

/// How long a client may take nothing, or send nothing of a body it has announced.
const STALL: Duration = Duration::from_secs(60);
/// How often a request that was sent looks whether the worker that ends still exists.
const LOOK: Duration = Duration::from_millis(250);
/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Exchange<'_> {
    /// Takes an idle connection, if there is one.
    pub(super) fn take_kept(&mut self) -> bool {
        self.upstream = self.local.pools.take(&self.admitted.route);
        self.upstream.is_some()
    }

    /// Makes a connection, again and again until `until`.
    pub(super) async fn connect(&mut self, until: Instant) -> Result<(), End> {
        self.upstream = None;
        let mut pause = PAUSE;
        loop {
            if let Some(error) = self.admitted.route.refusal() {
                return Err(End::Failed(error));
            }
            let error = match pool::connect(&self.admitted.route) {
                Ok(upstream) => {
                    self.upstream = Some(upstream);
                    return Ok(());
                }
                Err(error) => error,
            };
            if Instant::now() >= until {
                let route = &self.admitted.route;
                tracing::warn!(profile = %route.name(), socket = %route.socket(), %error, "cannot connect to a worker");
                return Err(End::Failed(if route.is_ready() {
                    ProxyError::ConnectFailed
                } else {
                    route.not_ready()
                }));
            }
            self.pace.hold(Instant::now());
            let gone = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = poll_fn(|cx| {
                    let local = Rc::clone(&self.local);
                    let scratch = &mut *local.scratch.borrow_mut();
                    if self.watch_client(cx, scratch) { Poll::Ready(()) } else { Poll::Pending }
                }) => true,
            };
            if gone {
                return Err(End::ClientGone);
            }
            if !self.upload.is_done() && self.caller.place.is_needed() {
                return Err(End::Failed(ProxyError::RequestTimeout));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Looks at the time where something is waited for that must not take forever.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        loop {
            let slow_reader = self.pending_at < self.pending.len();
            let slow_writer = self.phase == Phase::Head
                && !self.upload.is_done()
                && !self.upload_lost
                && self.out_at >= self.out.len();
            if slow_writer {
                let now = Instant::now();
                // What is sent while nobody takes it yet costs the client no time.
                if self.admitted.route.is_ready() {
                    self.pace.wanted(now);
                } else {
                    self.pace.hold(now);
                }
                if self.caller.place.is_needed() {
                    return Some(Turn::End(End::Failed(ProxyError::RequestTimeout)));
                }
            }
            let at = if slow_reader {
                self.moved + STALL
            } else if slow_writer {
                let stalls = self.moved + STALL;
                self.pace.deadline(self.limits.pace()).map_or(stalls, |at| at.min(stalls))
            } else if self.phase == Phase::Head {
                self.check
            } else {
                return None;
            };
            self.caller.deadline.set(at);
            if self.caller.deadline.poll(cx).is_pending() {
                return None;
            }
            if slow_reader {
                return Some(Turn::End(End::ClientGone));
            }
            if slow_writer {
                return Some(Turn::End(End::Failed(ProxyError::RequestTimeout)));
            }
            if let Some(error) = self.give_up(Instant::now()) {
                return Some(Turn::End(End::Failed(error)));
            }
        }
    }

    /// Whether waiting for the head makes no sense any more; else moves the next look.
    fn give_up(&mut self, now: Instant) -> Option<ProxyError> {
        let route = &self.admitted.route;
        if let Some(error) = route.abandoned() {
            return Some(error);
        }
        if !route.is_ready() && !route.is_finishing() && now >= self.attempt + self.limits.hold {
            return Some(route.not_ready());
        }
        let last = self.attempt + self.limits.response_timeout;
        if now >= last {
            return Some(ProxyError::AnswerTimeout);
        }
        let next = self.limits.hold.max(Duration::from_millis(10));
        self.check = last.min(now + if route.is_ready() { next } else { next.min(LOOK) });
        None
    }
}
