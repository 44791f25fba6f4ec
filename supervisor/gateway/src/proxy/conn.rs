//! One client connection: reads requests one after the other, answers each, decides whether there is a next one.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hermes_wire::request_id::request_id;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::about;
use super::answer::Answer;
use super::caller::Caller;
use super::client::Client;
use super::counters::Finished;
use super::decide::{Decision, decide};
use super::exchange::{End, Exchange, Report};
use super::forward::Forward;
use super::listener::Gate;
use super::local::{Counted, Local, Scratch};
use super::places::{Place, Standing};
use super::rescue::ProxyError;
use super::route::Route;
use super::timer::Deadline;
use super::wire::body::Body;
use super::wire::chunked::Keep;
use super::wire::head::{MAX_HEAD, Persistence, find_end};
use super::wire::private::{Private, wipe};
use super::wire::request::{self, Framing, Method, Request};
use super::wire::response::Context as ResponseContext;

/// How long a kept connection may be idle.
const IDLE: Duration = Duration::from_secs(75);
/// How long an answer of ours may take to be sent.
const SEND: Duration = Duration::from_secs(10);
/// After the last answer: how long, and how much, a client may go on sending before it is cut off.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 2 * 1024 * 1024;
/// The rest between two reads of what is thrown away, for each connection of a thread that does so: all of them together then
/// take a share of the thread that nobody notices (32 MB a second), and each as much as is left for it.
const LINGER_REST: Duration = Duration::from_millis(2);
/// Bytes of empty lines that may come before a request.
const MAX_EMPTY: usize = 64;
/// So many requests that came together are answered before it is somebody else's turn.
const BURST: u32 = 16;

/// One connection, between and within requests.
struct Conn {
    caller: Caller,
    /// The client's address, as it is passed on.
    peer: Box<str>,
    /// So many bytes of `carry` were searched for the end of a head.
    seen: usize,
    /// The head's deadline is set. The first one's is from the start: it counts from accept.
    begun: bool,
    /// Bytes of empty lines before this head.
    empty: usize,
    /// The client's name for the request at hand.
    id: Option<Box<[u8]>>,
}

/// A request whose head has arrived.
struct Begun {
    action: Action,
    head_only: bool,
    /// The client speaks HTTP/1.0.
    old: bool,
    /// Another request may follow, as far as this one is concerned.
    keep: bool,
}

enum Action {
    Answer(Answer),
    Forward(Box<Forward>),
}

/// Serves the connection until it ends.
pub(super) async fn serve(
    local: Rc<Local>,
    client: TcpStream,
    gate: Arc<Gate>,
    peer: IpAddr,
    place: Place,
    _counted: Counted,
) {
    poll_fn(|cx| {
        place.belongs_to(cx.waker());
        Poll::Ready(())
    })
    .await;
    let deadline = Deadline::new(Instant::now() + local.limits.get().header_timeout);
    let client = Client::new(client);
    let caller = Caller { local, client, gate, place, carry: Private::default(), deadline };
    let peer = peer.to_string().into_boxed_str();
    let mut conn = Conn { caller, peer, seen: 0, begun: true, empty: 0, id: None };
    let mut burst = 0;
    while let Some(begun) = poll_fn(|cx| conn.poll_begin(cx)).await {
        let Begun { action, head_only, old, keep } = begun;
        let since = match action {
            Action::Answer(answer) => conn.answer(&answer, head_only, old, keep, Vec::new()).await,
            // Boxed, so that a connection that is idle does not hold the room a request needs.
            Action::Forward(forward) => {
                let forwarding = conn.forward(*forward);
                // What the allocator has at hand; anything larger costs more than the rest of a request.
                debug_assert!(size_of_val(&forwarding) <= 1024, "{}", size_of_val(&forwarding));
                Box::pin(forwarding).await
            }
        };
        let Some(since) = since.filter(|_| !conn.caller.place.is_needed()) else { return };
        conn.caller.deadline.set(since + IDLE);
        conn.caller.place.stands(Standing::Waiting, since);
        (conn.begun, conn.empty) = (false, 0);
        burst = if conn.caller.carry.is_empty() { 0 } else { burst + 1 };
        if burst == BURST {
            burst = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Answers "too many connections" without waiting for a request.
pub(super) fn refuse(stream: &TcpStream) {
    let mut out = Vec::new();
    Answer::from(ProxyError::TooManyConnections).write(
        &request_id(None),
        false,
        Persistence::Close,
        &mut out,
    );
    // A courtesy: the connection is dropped either way.
    let _ = stream.try_write(&out);
}

impl Conn {
    /// Waits for a request head and decides what becomes of it. `None`: the connection is over.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Option<Begun>> {
        let local = Rc::clone(&self.caller.local);
        let scratch = &mut *local.scratch.borrow_mut();
        if self.seen < self.caller.carry.len() {
            // What came behind the last request.
            let mut bytes = std::mem::take(&mut self.caller.carry);
            if let Some(begun) = self.begin(&mut bytes, &mut scratch.lines) {
                return Poll::Ready(Some(begun));
            }
        }
        loop {
            let mut buf = ReadBuf::new(&mut scratch.read[..]);
            let arrived = match Pin::new(&mut self.caller.client).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => buf.filled().len(),
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => {
                    if !self.caller.place.is_needed() {
                        ready!(self.caller.deadline.poll(cx));
                    }
                    if self.caller.carry.is_empty() {
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(Some(Begun::refuse(ProxyError::RequestTimeout)));
                }
            };
            if arrived == 0 {
                return Poll::Ready(None);
            }
            let read = &mut scratch.read[..arrived];
            let begun = if self.caller.carry.is_empty() {
                self.begin(read, &mut scratch.lines)
            } else {
                let mut bytes = std::mem::take(&mut self.caller.carry);
                bytes.append(read);
                self.begin(&mut bytes, &mut scratch.lines)
            };
            wipe(read);
            if begun.is_some() {
                return Poll::Ready(begun);
            }
        }
    }

    /// Takes a request from the front of `bytes`; what is behind it, or all while it is not complete, is left in `carry`.
    fn begin(&mut self, bytes: &mut [u8], lines: &mut request::Lines) -> Option<Begun> {
        // Empty lines before a request are tolerated, as the standard asks.
        let mut bytes = bytes;
        while bytes.starts_with(b"\r\n") {
            bytes = &mut bytes[2..];
            self.empty += 2;
        }
        if self.empty > MAX_EMPTY {
            return Some(Begun::refuse(ProxyError::BadRequest("there is nothing but empty lines")));
        }
        let seen = std::mem::take(&mut self.seen).min(bytes.len());
        let end = match find_end(bytes, seen) {
            Err(_) => {
                return Some(Begun::refuse(ProxyError::BadRequest(
                    "a line end or NUL stands where none may",
                )));
            }
            Ok(Some(end)) if end <= MAX_HEAD => end,
            Ok(None) if bytes.len() < MAX_HEAD => {
                // Once a head: bytes that trickle, empty lines too, move nothing.
                if !self.begun {
                    self.begun = true;
                    let now = Instant::now();
                    self.caller.deadline.set(now + self.caller.local.limits.get().header_timeout);
                    self.caller.place.stands(Standing::Waiting, now);
                }
                self.seen = bytes.len();
                self.caller.carry = Private::from(&*bytes);
                return None;
            }
            Ok(_) => return Some(Begun::refuse(ProxyError::HeadTooLarge)),
        };
        let (head, rest) = bytes.split_at_mut(end);
        let request = match request::parse(head, lines) {
            Ok(request) => request,
            Err(error) => return Some(Begun::refuse(error.into())),
        };
        let begun = self.decide(&request, rest, lines);
        lines.wipe();
        Some(begun)
    }

    fn decide(&mut self, request: &Request<'_>, rest: &mut [u8], lines: &request::Lines) -> Begun {
        self.caller.place.is_served();
        let local = Rc::clone(&self.caller.local);
        let draining = local.shared.is_draining();
        let gate = Arc::clone(&self.caller.gate);
        let listener = gate.served();
        let path = request.path();
        self.id = request.id.map(Box::from);
        let answer = if path == "*" {
            about::options()
        } else {
            let decided = local.with_table(|table| match decide(table, listener, path, request.from_page) {
                Decision::Forward { route, rest, prefixed } => Ok((route, rest, prefixed)),
                Decision::Health => Err(about::health(request.method, listener)),
                Decision::Ready => Err(about::ready(request.method, table, draining)),
                Decision::Refuse(error) => Err(error.into()),
            });
            match decided {
                Err(answer) => answer,
                Ok((route, path_rest, prefixed)) => {
                    match self.begin_forward(request, route, (path_rest, prefixed), rest, lines) {
                        Ok(forward) => {
                            let (head_only, old) = (forward.context.head_only, request.old);
                            let keep = request.keep_alive;
                            return Begun {
                                action: Action::Forward(Box::new(forward)),
                                head_only,
                                old,
                                keep,
                            };
                        }
                        // The process answers, whoever asks.
                        Err(_) if path == "/health" => about::health(request.method, listener),
                        Err((error, route)) => {
                            let status = error.status();
                            let nothing = Finished { status, took: Duration::ZERO, received: 0, sent: 0 };
                            route.counters().finished(local.index, nothing);
                            error.into()
                        }
                    }
                }
            }
        };
        // A body that is here already is skipped; any other ends the connection.
        let skip = match request.framing {
            Framing::None => Some(0),
            Framing::Length(length) => usize::try_from(length).ok().filter(|&length| length <= rest.len()),
            Framing::Chunked | Framing::Close => None,
        };
        if let Some(skip) = skip {
            self.caller.carry = Private::from(&rest[skip..]);
        }
        let keep = request.keep_alive && skip.is_some();
        let head_only = request.method == Method::Head;
        Begun { action: Action::Answer(answer), head_only, old: request.old, keep }
    }

    /// Admits the request. A refusal is returned with the profile that it counts for.
    fn begin_forward(
        &mut self,
        request: &Request<'_>,
        route: Arc<Route>,
        (path_rest, prefixed): (&str, bool),
        rest: &mut [u8],
        lines: &request::Lines,
    ) -> Result<Forward, (ProxyError, Arc<Route>)> {
        let local = &self.caller.local;
        let limits = local.limits.get();
        let refused = match request.framing {
            _ if local.shared.is_draining() => Some(ProxyError::Draining),
            Framing::Length(length) if length > limits.body_bytes => Some(ProxyError::BodyTooLarge),
            _ => route.refusal(),
        };
        if let Some(error) = refused {
            return Err((error, route));
        }
        let admitted = route
            .enter(limits.requests_per_profile, self.caller.place.all())
            .map_err(|route| (ProxyError::TooManyRequests, route))?;
        let route = &admitted.route;
        // Enough for all of it: a buffer that grows leaves its content behind.
        let mut first = Vec::with_capacity(
            512 + request.method_name.len() + request.target.len() + lines.len() + rest.len(),
        );
        // `rest` is the end of the path, and the path the start of the target.
        let target = &request.target[request.path().len() - path_rest.len()..];
        let ours = if prefixed { &route.prefixed_lines } else { &route.plain_lines };
        let listener = self.caller.gate.served().line();
        let ours = std::iter::once(&ours[..]).chain(listener);
        request::write(request, target, lines, &self.peer, ours, &mut first);
        let mut first = Private::from(first);
        let mut upload = Body::new(request.framing, Keep::Framed, limits.body_bytes);
        let step = upload.feed(rest).map_err(|error| (error.into(), Arc::clone(route)))?;
        first.append(&rest[..step.kept]);
        self.caller.carry = Private::from(&rest[step.used..]);
        let keep_alive = request.keep_alive;
        Ok(Forward {
            admitted,
            first,
            upload,
            repeatable: request.repeatable(),
            context: ResponseContext {
                head_only: request.method == Method::Head,
                body: request.framing != Framing::None,
                old: request.old,
                keep_alive,
                upgrade: request.upgrade,
            },
            started: Instant::now(),
            body_bytes: step.used as u64,
        })
    }

    /// Lets a worker answer. If the connection goes on: since when.
    async fn forward(&mut self, forward: Forward) -> Option<Instant> {
        let local = Rc::clone(&self.caller.local);
        let _in_flight = local.enter();
        let (head_only, old) = (forward.context.head_only, forward.context.old);
        let started = forward.started;
        let mut exchange = Exchange::new(&mut self.caller, forward);
        let end = exchange.run().await;
        let Report { ended, admitted, status, received, sent, keep, unsent } = exchange.report();
        let counted = match &end {
            End::Failed(error) => error.status(),
            End::ClientGone if status == 0 => 499,
            End::ClientGone | End::Complete { .. } | End::Cut => status,
        };
        let took = ended.saturating_duration_since(started);
        admitted.route.counters().finished(local.index, Finished { status: counted, took, received, sent });
        if let End::Failed(error) = &end {
            tracing::debug!(profile = %admitted.route.name(), code = error.code(), "a request failed");
        }
        // Its place is not needed for what is left.
        drop(admitted);
        match end {
            End::Complete { keep: true, .. } => Some(ended),
            End::Complete { keep: false, unread } => {
                if unread || !self.caller.carry.is_empty() {
                    Box::pin(self.linger()).await;
                }
                None
            }
            End::ClientGone | End::Cut => None,
            End::Failed(error) => Box::pin(self.answer(&error.into(), head_only, old, keep, unsent)).await,
        }
    }

    /// Sends an answer of ours behind `unsent`. If the connection goes on: since when.
    async fn answer(
        &mut self,
        answer: &Answer,
        head_only: bool,
        old: bool,
        keep: bool,
        unsent: Vec<u8>,
    ) -> Option<Instant> {
        let close =
            !keep || answer.close || self.caller.local.shared.is_draining() || self.caller.gate.is_closed();
        let mut out = unsent;
        let id = request_id(self.id.take().as_deref());
        answer.write(&id, head_only, Persistence::of(!close, old), &mut out);
        self.caller.deadline.set(Instant::now() + SEND);
        let mut at = 0;
        let sent = poll_fn(|cx| {
            while at < out.len() {
                match Pin::new(&mut self.caller.client).poll_write(cx, &out[at..]) {
                    Poll::Ready(Ok(n)) if n > 0 => at += n,
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => {
                        if !self.caller.place.is_needed() {
                            ready!(self.caller.deadline.poll(cx));
                        }
                        return Poll::Ready(false);
                    }
                }
            }
            Poll::Ready(true)
        })
        .await;
        if sent && close && !self.caller.place.is_needed() {
            self.linger().await;
        }
        (sent && !close).then(Instant::now)
    }

    /// Ends the connection so that the client can read the answer although it is still sending: what it sends is thrown away
    /// for a moment, because closing over unread bytes would reset the connection and take the answer along.
    async fn linger(&mut self) {
        self.caller.carry = Private::default();
        let until = Instant::now() + LINGER;
        self.caller.deadline.set(until);
        self.caller.place.stands(Standing::Closing, until);
        let local = Rc::clone(&self.caller.local);
        let lingering = local.linger();
        if poll_fn(|cx| Pin::new(&mut self.caller.client).poll_shutdown(cx)).await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        while left > 0 && !self.caller.place.is_needed() {
            let read = poll_fn(|cx| {
                let Scratch { read, .. } = &mut *local.scratch.borrow_mut();
                let most = left.min(read.len());
                let mut buf = ReadBuf::new(&mut read[..most]);
                match Pin::new(&mut self.caller.client).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) => {
                        wipe(buf.filled_mut());
                        Poll::Ready(buf.filled().len())
                    }
                    Poll::Ready(Err(_)) => Poll::Ready(0),
                    Poll::Pending if self.caller.place.is_needed() => Poll::Ready(0),
                    Poll::Pending => self.caller.deadline.poll(cx).map(|()| 0),
                }
            })
            .await;
            if read == 0 {
                return;
            }
            left -= read;
            let rest = Instant::now() + LINGER_REST * lingering.count();
            if rest >= until {
                return;
            }
            tokio::time::sleep_until(rest).await;
        }
    }
}

impl Begun {
    /// Refuses a request that could not be read: nothing behind it can be trusted.
    fn refuse(error: ProxyError) -> Self {
        Self { action: Action::Answer(error.into()), head_only: false, old: false, keep: false }
    }
}
