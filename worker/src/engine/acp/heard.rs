//! What an agent writes to its error output: into the log, a bounded number of lines at a time; the last ones are kept, for the words of
//! its end.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::codec::FramedRead;

use super::wire::{Line, Lines};

/// Longest line that is taken, in bytes.
const MAX_LINE: usize = 16 << 10;
/// So many lines of a [`WINDOW`] reach the log.
const MAX_LINES: u32 = 100;
/// How long it takes until others do.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines that are kept.
const KEPT: usize = 3;

/// The last lines of an agent.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<VecDeque<String>>);

impl Heard {
    /// They, as one text; empty where there are none.
    pub(super) fn last(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join(" / ")
    }

    fn keep(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.trim().to_owned());
    }
}

/// Listens until the end. The log takes out secrets.
pub(super) async fn listen(agent: &str, output: impl AsyncRead + Unpin, heard: &Heard) {
    let mut lines = FramedRead::new(output, Lines::up_to(MAX_LINE));
    let (mut since, mut told, mut left_out) = (Instant::now(), 0_u32, 0_u64);
    while let Some(Ok(line)) = lines.next().await {
        if since.elapsed() >= WINDOW {
            if left_out > 0 {
                tracing::warn!(agent, left_out, "an agent writes more messages than the log takes");
            }
            (since, told, left_out) = (Instant::now(), 0, 0);
        }
        let text = match line {
            Line::Text(text) if text.trim().is_empty() => continue,
            Line::Text(text) => text,
            Line::TooLong => format!("(a line of more than {MAX_LINE} bytes)"),
            Line::NotText => "(a line that is no text)".to_owned(),
        };
        heard.keep(&text);
        if told < MAX_LINES {
            told += 1;
            tracing::info!(agent, "{text}");
        } else {
            left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept() {
        let heard = Heard::default();
        listen("a", &b"one\ntwo\n\nthree \nfour\n"[..], &heard).await;
        assert_eq!(heard.last(), "two / three / four");
    }
}
