//! One request and its answer, between a client and a worker.
//!
//! ```text
//!  connect ──▶ head ──▶ body ──▶ complete      answer begun: what fails now cuts the client's connection
//!    ▲  │       │                              before: it is answered by `rescue`, or hidden
//!    └──┴───────┘ lost before the answer began, and it is safe to send the request again
//! ```
//!
//! Both directions are driven by one `poll`, in one task. A direction reads only when all it has read before is written: that
//! is the whole of flow control. While the request is sent completely, the client is still read from, into `carry`: to see at
//! once that it has gone, and because the next request may already come.

mod patience;

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::caller::Caller;
use super::forward::Forward;
use super::local::{Local, Scratch, others_first};
use super::pace::Pace;
use super::places::Standing;
use super::pool::Upstream;
use super::rescue::ProxyError;
use super::route::Admitted;
use super::wire::body::Body;
use super::wire::chunked::Keep;
use super::wire::head::{MAX_HEAD, find_end};
use super::wire::private::{Private, wipe};
use super::wire::response;
use super::{Limits, TURN, tunnel};

/// First pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(2);
/// Most that is kept of what a client sends while its request is being answered.
const MAX_CARRY: usize = MAX_HEAD;
/// Most often a request is sent, the first time included.
const MAX_SENDS: u8 = 2;
/// Most interim responses to one request.
const MAX_INTERIM: u8 = 16;

/// A worker that sends pieces smaller than this, one within so short a time of the other, is given way after each: it runs on
/// this core as likely as not, and waking up for every few bytes would keep it from writing them. What it wrote meanwhile then
/// passes at once. 10 000 events without a pause take half as much time again without this; a model's streams are slower.
const SMALL: usize = 32 * 1024;
const RAPID: Duration = Duration::from_micros(500);

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// The whole answer was written.
    Complete {
        /// The client's connection may serve another request.
        keep: bool,
        /// Part of the request was not read.
        unread: bool,
    },
    /// Nothing of the answer was written; the client gets this one instead.
    Failed(ProxyError),
    /// The client left.
    ClientGone,
    /// The answer broke off: so must the client's connection.
    Cut,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) ended: Instant,
    /// Whose request it was.
    pub(super) admitted: Admitted,
    /// Status of the answer that was begun, or 0.
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// After a failure: the request was read completely, so another may follow.
    pub(super) keep: bool,
    /// After a failure: the rest of an interim response, which goes first.
    pub(super) unsent: Vec<u8>,
}

/// How one attempt ended.
enum Turn {
    Complete,
    Switched,
    Lost,
    End(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The answer's head is awaited.
    Head,
    /// Its body passes.
    Body,
    /// All of it was read.
    Read,
    /// A change of protocol was agreed on.
    Switched,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about two directions; phases are an enum"
)]
pub(super) struct Exchange<'c> {
    caller: &'c mut Caller,
    local: Rc<Local>,
    admitted: Admitted,
    limits: Limits,
    upstream: Option<Upstream>,
    context: response::Context,
    repeatable: bool,

    /// On its way to the worker: the head and what came with it, later what the worker was slow to take.
    out: Private,
    out_at: usize,
    /// All of the first part was written.
    begun: bool,
    upload: Body,
    /// The worker takes no more of the request; it may still answer.
    upload_lost: bool,

    phase: Phase,
    /// A response head that is not complete.
    partial: Vec<u8>,
    interim: u8,
    /// When the last piece of a body came.
    piece: Instant,
    download: Body,
    /// On its way to the client.
    pending: Vec<u8>,
    pending_at: usize,
    status: u16,
    upstream_keeps: bool,
    client_keeps: bool,

    received: u64,
    sent: u64,
    /// Bytes moved in this turn.
    turn: usize,
    /// How the request's body comes.
    pace: Pace,
    /// When this attempt began.
    attempt: Instant,
    /// When to look next whether waiting for a head still makes sense.
    check: Instant,
    /// When the client last made progress.
    moved: Instant,
    /// When the whole answer was written.
    ended: Option<Instant>,
}

impl<'c> Exchange<'c> {
    pub(super) fn new(caller: &'c mut Caller, forward: Forward) -> Self {
        let local = Rc::clone(&caller.local);
        let limits = local.limits.get();
        let now = forward.started;
        if !forward.upload.is_done() {
            caller.place.awaits_body(forward.admitted.route.id(), now);
        }
        Self {
            caller,
            local,
            admitted: forward.admitted,
            limits,
            upstream: None,
            context: forward.context,
            repeatable: forward.repeatable,
            out: forward.first,
            out_at: 0,
            begun: false,
            upload: forward.upload,
            upload_lost: false,
            phase: Phase::Head,
            partial: Vec::new(),
            interim: 0,
            piece: now,
            download: Body::Done,
            pending: Vec::new(),
            pending_at: 0,
            status: 0,
            upstream_keeps: false,
            client_keeps: false,
            received: forward.body_bytes,
            sent: 0,
            turn: 0,
            pace: Pace::new(now),
            attempt: now,
            check: now + limits.hold.min(limits.response_timeout),
            moved: now,
            ended: None,
        }
    }

    /// Carries it out. What seldom happens is boxed: the room that it needs would be asked for with every request, and is more than
    /// the allocator has at hand. Dropping the exchange closes the connection to the worker.
    pub(super) async fn run(&mut self) -> End {
        let hold_until = self.attempt + self.limits.hold;
        // How often it was sent, whole or in part.
        let mut sends = 0;
        loop {
            if !(sends == 0 && self.take_kept())
                && let Err(end) = Box::pin(self.connect(self.attempt + self.limits.hold)).await
            {
                return end;
            }
            let turn = if self.admitted.route.is_ready() {
                poll_fn(|cx| self.poll(cx)).await
            } else {
                Box::pin(self.attempt()).await
            };
            match turn {
                Turn::Complete => return self.complete(),
                Turn::Switched => return Box::pin(self.tunnel()).await,
                Turn::End(end) => return end,
                Turn::Lost => {
                    let was_used = self.upstream.take().is_some_and(|u| u.used);
                    let untouched = self.out_at == 0 && !self.begun;
                    sends += u8::from(!untouched);
                    let again = if untouched {
                        was_used || Instant::now() < hold_until
                    } else {
                        self.repeatable && sends < MAX_SENDS
                    };
                    if self.phase != Phase::Head {
                        return End::Cut;
                    }
                    if !again || !self.partial.is_empty() || self.interim > 0 {
                        return End::Failed(self.admitted.route.refusal().unwrap_or(ProxyError::ClosedEarly));
                    }
                    if untouched && !was_used {
                        Box::pin(tokio::time::sleep(PAUSE)).await;
                    }
                    self.rewind();
                }
            }
        }
    }

    /// What there is to say when it is over.
    pub(super) fn report(mut self) -> Report {
        let keep = self.context.keep_alive && self.upload.is_done();
        let unsent =
            if self.phase == Phase::Head { self.pending.split_off(self.pending_at) } else { Vec::new() };
        Report {
            ended: self.ended.unwrap_or_else(Instant::now),
            admitted: self.admitted,
            status: self.status,
            received: self.received,
            sent: self.sent,
            keep,
            unsent,
        }
    }

    /// Before the request is sent again.
    fn rewind(&mut self) {
        self.out_at = 0;
        self.begun = false;
        self.upload_lost = false;
        self.attempt = Instant::now();
        self.check = self.attempt + self.limits.hold.min(self.limits.response_timeout);
    }

    /// With a worker that is starting: the request waits in the data socket's backlog, but not for one that gave up.
    async fn attempt(&mut self) -> Turn {
        let route = Arc::clone(&self.admitted.route);
        let mut availability = route.watch_availability();
        // It may have given up before there was anybody to hear it.
        if let Some(error) = self.admitted.route.abandoned() {
            return Turn::End(End::Failed(error));
        }
        loop {
            tokio::select! {
                biased;
                turn = poll_fn(|cx| self.poll(cx)) => return turn,
                // The route is held here, so the sender lives.
                _ = availability.changed() => {
                    if self.phase == Phase::Head && let Some(error) = self.admitted.route.abandoned() {
                        return Turn::End(End::Failed(error));
                    }
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let local = Rc::clone(&self.local);
        let scratch = &mut *local.scratch.borrow_mut();
        let Some(mut upstream) = self.upstream.take() else { return Poll::Ready(Turn::Lost) };
        self.turn = 0;
        let turn = self
            .poll_upload(cx, &mut upstream, scratch)
            .or_else(|| self.poll_download(cx, &mut upstream, scratch))
            .or_else(|| {
                let watch = self.upload.is_done() && self.phase != Phase::Switched;
                (watch && self.watch_client(cx, scratch)).then_some(Turn::End(End::ClientGone))
            })
            .or_else(|| self.poll_deadline(cx));
        self.upstream = Some(upstream);
        if turn.is_none() && self.turn >= TURN {
            others_first(cx);
        }
        turn.map_or(Poll::Pending, Poll::Ready)
    }

    /// Request bytes, client to worker, as far as they go now.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        scratch: &mut Scratch,
    ) -> Option<Turn> {
        while !self.upload_lost && self.turn < TURN {
            if self.out_at < self.out.len() {
                match Pin::new(&mut upstream.stream).poll_write(cx, &self.out[self.out_at..]) {
                    Poll::Ready(Ok(n)) if n > 0 => self.out_at += n,
                    // Nothing was asked on this connection, so nothing on it is an answer.
                    Poll::Ready(_) if self.out_at == 0 && !self.begun => return Some(Turn::Lost),
                    Poll::Ready(_) => self.upload_lost = true,
                    Poll::Pending => {
                        self.pace.hold(Instant::now());
                        return None;
                    }
                }
                continue;
            }
            self.begun = true;
            if self.upload.is_done() {
                if !self.repeatable && !self.out.is_empty() {
                    self.out = Private::default();
                    self.out_at = 0;
                }
                return None;
            }
            let mut carried = mem::take(&mut self.caller.carry);
            let bytes = if carried.is_empty() {
                let limit = self.upload.read_limit(scratch.read.len());
                let mut buf = ReadBuf::new(&mut scratch.read[..limit]);
                match Pin::new(&mut self.caller.client).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                    Poll::Ready(_) => return Some(Turn::End(End::ClientGone)),
                    Poll::Pending => return None,
                }
                let arrived = buf.filled().len();
                &mut scratch.read[..arrived]
            } else {
                &mut carried[..]
            };
            let step = match self.upload.feed(bytes) {
                Ok(step) => step,
                Err(error) => {
                    wipe(bytes);
                    let begun = self.phase != Phase::Head;
                    return Some(Turn::End(if begun { End::Cut } else { End::Failed(error.into()) }));
                }
            };
            self.received += step.used as u64;
            self.turn += step.used;
            self.moved = Instant::now();
            self.pace.came(step.used, self.moved);
            if self.upload.is_done() {
                self.caller.place.is_served();
            } else {
                self.caller.place.stands(Standing::Body, self.pace.merit(self.limits.pace()));
            }
            self.attempt = self.moved;
            self.check = self.moved + self.limits.hold.min(self.limits.response_timeout);
            self.caller.carry = Private::from(&bytes[step.used..]);
            wipe(&mut bytes[step.used..]);
            if step.kept == 0 {
                continue;
            }
            let written = match Pin::new(&mut upstream.stream).poll_write(cx, &bytes[..step.kept]) {
                Poll::Ready(Ok(n)) => n,
                Poll::Ready(Err(_)) => {
                    self.upload_lost = true;
                    step.kept
                }
                Poll::Pending => 0,
            };
            self.out.clear();
            self.out.append(&bytes[written..step.kept]);
            self.out_at = 0;
        }
        None
    }

    /// Response bytes, worker to client, as far as they go now.
    fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream,
        scratch: &mut Scratch,
    ) -> Option<Turn> {
        while self.turn < TURN {
            while self.pending_at < self.pending.len() {
                match Pin::new(&mut self.caller.client).poll_write(cx, &self.pending[self.pending_at..]) {
                    Poll::Ready(Ok(n)) if n > 0 => self.pending_at += n,
                    Poll::Ready(_) => return Some(Turn::End(End::ClientGone)),
                    Poll::Pending => return None,
                }
                self.moved = Instant::now();
            }
            match self.phase {
                Phase::Read => return Some(Turn::Complete),
                Phase::Switched => return Some(Turn::Switched),
                Phase::Head | Phase::Body => {}
            }
            let mut buf = ReadBuf::new(&mut scratch.read[..]);
            let arrived = match Pin::new(&mut upstream.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => buf.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => return None,
            };
            if arrived == 0 {
                if matches!(self.download, Body::Close) && self.phase == Phase::Body {
                    self.phase = Phase::Read;
                    continue;
                }
                return Some(Turn::Lost);
            }
            self.turn += arrived;
            let Scratch { read, out, .. } = scratch;
            let bytes = &mut read[..arrived];
            let taken = if self.phase == Phase::Head {
                out.clear();
                self.take_head(bytes, out).map(|()| &out[..])
            } else {
                self.take_body(bytes).map(|kept| &bytes[..kept])
            };
            let ready = match taken {
                Ok([]) => continue,
                Ok(ready) => ready,
                Err(end) => return Some(Turn::End(end)),
            };
            let written = match Pin::new(&mut self.caller.client).poll_write(cx, ready) {
                Poll::Ready(Ok(n)) if n > 0 => n,
                Poll::Ready(_) => return Some(Turn::End(End::ClientGone)),
                Poll::Pending => 0,
            };
            if written < ready.len() {
                self.moved = Instant::now();
            }
            self.pending.clear();
            self.pending.extend_from_slice(&ready[written..]);
            if self.phase == Phase::Body && arrived < SMALL {
                let last = mem::replace(&mut self.piece, Instant::now());
                if self.piece.duration_since(last) < RAPID {
                    std::thread::yield_now();
                }
            }
            self.pending_at = 0;
        }
        None
    }

    /// Reads response heads (interim ones may come first) and what of the body came with them; leaves in `out` what the client
    /// gets.
    fn take_head(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<(), End> {
        let mut gathered = mem::take(&mut self.partial);
        let mut seen = gathered.len();
        let mut bytes = if gathered.is_empty() {
            bytes
        } else {
            gathered.extend_from_slice(bytes);
            &mut gathered[..]
        };
        loop {
            // Empty lines before a status line are tolerated, as those before a request line are.
            while bytes.starts_with(b"\r\n") {
                bytes = &mut bytes[2..];
                seen = seen.saturating_sub(2);
            }
            let end = match find_end(bytes, mem::take(&mut seen)) {
                Ok(Some(end)) if end <= MAX_HEAD => end,
                Ok(None) if bytes.len() < MAX_HEAD => {
                    self.partial = bytes.to_vec();
                    return Ok(());
                }
                _ => return Err(self.malformed("the head is too large or has stray line ends")),
            };
            let (head, rest) = bytes.split_at_mut(end);
            bytes = rest;
            let mut context = self.context;
            // A connection whose request is not read to its end cannot be kept.
            context.keep_alive &=
                self.upload.is_done() && !self.local.shared.is_draining() && !self.caller.gate.is_closed();
            let start = out.len();
            let Ok(response) = response::rewrite(head, context, out) else {
                return Err(self.malformed("the head is no response to this request"));
            };
            if response.is_interim() {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(self.malformed("there are too many interim responses"));
                }
                if context.old {
                    out.truncate(start);
                }
                if bytes.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if response.refusal {
                return Err(End::Failed(ProxyError::Unreadable { status: response.status }));
            }
            self.status = response.status;
            self.upstream_keeps = response.upstream_keeps;
            self.client_keeps = response.client_keeps;
            if response.status == 101 {
                out.extend_from_slice(bytes);
                self.phase = Phase::Switched;
                return Ok(());
            }
            let keep = if context.old { Keep::Payload } else { Keep::Framed };
            self.download = Body::new(response.framing, keep, u64::MAX);
            self.phase = Phase::Body;
            let Ok(kept) = self.take_body(bytes) else {
                // Nothing of this answer was written yet, so the client can be told.
                self.phase = Phase::Head;
                return Err(self.malformed("the body is malformed"));
            };
            out.extend_from_slice(&bytes[..kept]);
            return Ok(());
        }
    }

    /// Takes body bytes; says how many of them, from the front, the client gets.
    fn take_body(&mut self, bytes: &mut [u8]) -> Result<usize, End> {
        let step = self.download.feed(bytes).map_err(|_| End::Cut)?;
        self.sent += step.kept as u64;
        if self.download.is_done() {
            self.phase = Phase::Read;
            if step.used < bytes.len() {
                // Bytes nobody asked for: whatever they are, they must not become the next answer.
                self.upstream_keeps = false;
            }
        }
        Ok(step.kept)
    }

    fn malformed(&self, what: &str) -> End {
        tracing::warn!(profile = %self.admitted.route.name(), what, "a worker's answer is refused");
        End::Failed(ProxyError::MalformedAnswer)
    }

    /// Whether the client has gone. What it sends instead is kept for later, as long as it is little; behind more only the end is
    /// looked for.
    fn watch_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        while self.caller.carry.len() < MAX_CARRY {
            let most = MAX_CARRY - self.caller.carry.len();
            let mut buf = ReadBuf::new(&mut scratch.read[..most]);
            match Pin::new(&mut self.caller.client).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.caller.carry.append(buf.filled());
                    wipe(buf.filled_mut());
                }
                Poll::Ready(_) => return true,
                Poll::Pending => return false,
            }
        }
        self.caller.client.poll_gone(cx).is_ready()
    }

    /// The answer is out: keeps what can be kept.
    fn complete(&mut self) -> End {
        let now = *self.ended.insert(Instant::now());
        let uploaded = self.upload.is_done() && !self.upload_lost && self.out_at >= self.out.len();
        if let Some(upstream) = self.upstream.take()
            && uploaded
            && self.upstream_keeps
        {
            self.local.keep(&self.admitted.route, upstream, now);
        }
        End::Complete { keep: self.client_keeps, unread: !self.upload.is_done() }
    }

    async fn tunnel(&mut self) -> End {
        let early = mem::take(&mut self.caller.carry);
        if let Some(mut upstream) = self.upstream.take() {
            let (up, down) =
                tunnel::run(&self.local, &mut self.caller.client, &mut upstream.stream, early).await;
            self.received += up;
            self.sent += down;
        }
        End::Complete { keep: false, unread: false }
    }
}
