//! A connection as lines, both ways.

use std::collections::VecDeque;
use std::time::Duration;

use hermes_config::network::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::NAME;
use super::settings::Settings;
use super::wire::{self, Line};
use crate::outgoing::stream::{Stream, Unconnected, connect};
use crate::platform::lines::Lines;

/// Time for a line to be taken.
const TAKEN: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const PIECE: usize = 4096;

/// An open connection.
pub(super) struct Pipe {
    stream: Stream,
    lines: Lines,
    heard: VecDeque<Line>,
}

impl Pipe {
    pub(super) async fn open(settings: &Settings, network: &Network) -> Result<Self, Unconnected> {
        let stream = connect(&settings.server, settings.port, settings.tls, network).await?;
        Ok(Self::over(stream))
    }

    pub(super) fn over(stream: Stream) -> Self {
        Self { stream, lines: Lines::of(wire::LINE), heard: VecDeque::new() }
    }

    /// The next line. Cancel safe. An error says how the connection ended.
    pub(super) async fn next(&mut self) -> Result<Line, String> {
        loop {
            if let Some(line) = self.heard.pop_front() {
                return Ok(line);
            }
            let mut piece = [0; PIECE];
            let read = self.stream.read(&mut piece).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the server closed the connection".to_owned());
            }
            self.lines.push(&piece[..read], |line| {
                match line.map(|line| (line.is_empty(), wire::line(line))) {
                    Some((true, _)) => {}
                    Some((false, Some(line))) => self.heard.push_back(line),
                    Some((false, None)) | None => {
                        tracing::warn!("[{NAME}] a line is skipped: it is none of IRC's");
                    }
                }
            });
        }
    }

    /// Says a line.
    pub(super) async fn say(&mut self, line: &str) -> Result<(), String> {
        let whole = format!("{}\r\n", wire::one_line(line));
        let say = async {
            self.stream.write_all(whole.as_bytes()).await?;
            self.stream.flush().await
        };
        let said = timeout(TAKEN, say).await.map_err(|_| "the server takes nothing any more".to_owned())?;
        said.map_err(|error| error.to_string())
    }

    /// Says goodbye and closes. Whoever does not hear it finds the connection gone.
    pub(super) async fn close(mut self) {
        let _ = self.say("QUIT :Bye").await;
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }
}
