//! Requests that are made of the provider, shown to whoever looks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hermes_config::Secret;
use hermes_wire::terminal::{KEEPALIVE_SECS, Said};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::{Desk, failed, line, lines, whole};
use crate::engine::Request;

/// Longest silence.
const KEEPALIVE: Duration = Duration::from_secs(KEEPALIVE_SECS);

/// Which requests.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    /// Of this session; of all where none is named.
    session: Option<String>,
}

/// Something was sent.
pub(super) enum Heard {
    One(Arc<Request>),
    /// So many were missed.
    Lost(u64),
}

impl Heard {
    pub(super) fn told(&self, secrets: &[Secret]) -> Said {
        match self {
            Self::One(request) => Said::Request(request.shown(secrets)),
            Self::Lost(requests) => Said::Lost { requests: *requests },
        }
    }
}

/// Requests of one session, or of all, as they are made.
pub(super) struct Watched {
    requests: Option<Receiver<Arc<Request>>>,
    session: Option<String>,
}

impl Watched {
    pub(super) fn new(requests: Receiver<Arc<Request>>, session: Option<String>) -> Self {
        Self { requests: Some(requests), session }
    }

    /// Those of this session, from now on.
    pub(super) fn of(&mut self, session: &str) {
        self.session = Some(session.to_owned());
    }

    fn is_wanted(&self, request: &Request) -> bool {
        self.session.as_ref().is_none_or(|session| *session == request.session)
    }

    /// The next one; `None` where there will be none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        loop {
            let Some(requests) = &mut self.requests else { return std::future::pending().await };
            match requests.recv().await {
                Ok(request) if self.is_wanted(&request) => return Some(Heard::One(request)),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => return Some(Heard::Lost(lost)),
                Err(RecvError::Closed) => {
                    self.requests = None;
                    return None;
                }
            }
        }
    }

    /// Those that were made already.
    pub(super) fn rest(&mut self) -> Vec<Heard> {
        let mut rest = Vec::new();
        while let Some(requests) = &mut self.requests {
            match requests.try_recv() {
                Ok(request) if self.is_wanted(&request) => rest.push(Heard::One(request)),
                Ok(_) => {}
                Err(TryRecvError::Lagged(lost)) => rest.push(Heard::Lost(lost)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        rest
    }
}

/// Every request from now on, for as long as somebody reads.
pub(super) async fn watch(State(desk): State<Arc<Desk>>, Query(which): Query<Which>) -> Response {
    let watched = Watched::new(desk.tap.watch(), which.session);
    let body = stream::unfold((desk, watched, true), |(desk, mut watched, is_first)| async move {
        // So that whoever looks knows that nothing is missed from here on.
        let said = if is_first {
            Said::Alive
        } else {
            match tokio::time::timeout(KEEPALIVE, watched.next()).await {
                Err(_) => Said::Alive,
                Ok(heard) => heard?.told(&desk.secrets),
            }
        };
        Some((Ok::<_, Infallible>(Bytes::from(line(&said))), (desk, watched, false)))
    });
    lines(Body::from_stream(body))
}

/// The last request.
pub(super) async fn last(State(desk): State<Arc<Desk>>, Query(which): Query<Which>) -> Response {
    let last = desk.tap.last();
    let last = last.filter(|last| which.session.as_ref().is_none_or(|session| *session == last.session));
    whole(&match last {
        Some(last) => Said::Request(last.shown(&desk.secrets)),
        None => failed("no_request", "the worker has made no such request since it started", None),
    })
}
