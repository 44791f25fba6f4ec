//! What happens in a run, as server-sent events: from the beginning or behind `Last-Event-ID`, as often as somebody asks, also after the end.
//!
//! Everything is read from the run's log, a page at a time, so a reader that is slow, or one more reader, costs the run nothing. After
//! the last event comes a comment, and the end. A worker that is about to go lets go of those who read a run that is another's; they come
//! back to the next one with the number of their last event.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hermes_host::cause::chain;
use http::HeaderMap;
use tokio::time::Instant;

use super::super::ApiServer;
use super::super::error::ApiError;
use super::super::sse::{self, ALIVE, KEEPALIVE};
use crate::runs::Page;

/// How often what another process writes is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// The same of a run in this process, which rings.
const LOOK_HERE: Duration = Duration::from_secs(5);

/// The number of the last event that a client has.
pub(super) fn after(headers: &HeaderMap) -> Result<i64, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let number = match value.to_str().map(str::trim) {
        Ok("") => Some(0),
        Ok(text) => text.parse::<i64>().ok().filter(|number| *number >= 0),
        Err(_) => None,
    };
    number.ok_or_else(|| {
        ApiError::invalid("Last-Event-ID must be the `id` of an event of this run")
            .code("invalid_last_event_id")
    })
}

struct Reader {
    api: ApiServer,
    id: String,
    after: i64,
    /// Read, and not yet told.
    page: Option<Page>,
    /// Nothing more is told.
    is_over: bool,
}

/// The answer that begins with `page`.
pub(super) fn respond(api: ApiServer, id: String, after: i64, page: Page) -> Response {
    let reader = Reader { api, id, after, page: Some(page), is_over: false };
    let body = stream::unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), reader))
    });
    sse::reply(HeaderMap::new(), Body::from_stream(body))
}

impl Reader {
    /// The next bytes, or `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let turns = self.api.0.turns.clone();
        let silent_until = Instant::now() + KEEPALIVE;
        loop {
            let happening = turns.happening().notified();
            tokio::pin!(happening);
            // From here on an event is noticed, also while the log is read.
            happening.as_mut().enable();
            let page = match self.page.take() {
                Some(page) => page,
                None => match turns.happened(&self.id, self.after).await {
                    // It was forgotten, which takes longer than anybody reads.
                    Ok(None) => return None,
                    Ok(Some(page)) => page,
                    Err(error) => {
                        tracing::warn!(run = self.id, error = %chain(&error), "the log of a run cannot be read; its reader comes back");
                        return None;
                    }
                },
            };
            self.is_over = page.is_last;
            if !page.events.is_empty() || page.is_last {
                return Some(self.tell(page));
            }
            if turns.is_leaving() && !page.is_here {
                return None;
            }
            tokio::select! {
                () = happening => {}
                () = tokio::time::sleep(if page.is_here { LOOK_HERE } else { LOOK }) => {}
            }
            if Instant::now() >= silent_until {
                return Some(ALIVE.to_owned());
            }
        }
    }

    fn tell(&mut self, page: Page) -> String {
        let mut frame = String::new();
        for (number, event) in page.events {
            self.after = number;
            // Writing to a string cannot fail.
            let _ = write!(frame, "id: {number}\ndata: {event}\n\n");
        }
        if page.is_last {
            frame.push_str(": stream closed\n\n");
        }
        frame
    }
}
