//! The connection that one process was born with: every byte over it asks for a connection, and is answered with one byte.
//!
//! Both ends of what is passed are made here, and the one that is kept was never in other hands. Sockets that come with a byte are
//! not taken. So nothing that a worker opened is an open file of this process, and nothing that it does to its end reaches ours.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use hermes_host::{clock, passing};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;

use crate::rate::Rate;

/// Connections that may be asked for at once. What was asked while the supervisor itself was held up comes at once too.
const BURST: u64 = 4096;
/// Connections a second, in the long run: each is one message of a platform.
const A_SECOND: u64 = 100;
/// How long a connection rests that the system has no means for.
const REST: Duration = Duration::from_millis(100);

/// The supervisor's end.
pub(super) struct Line {
    connection: UnixStream,
    rate: Rate,
    began: Instant,
    /// It was said already that something fails.
    failing: bool,
}

impl Line {
    /// Over a connection that does not block.
    pub(super) fn new(connection: std::os::unix::net::UnixStream) -> io::Result<Self> {
        let rate = Rate::new(BURST, A_SECOND, Duration::ZERO);
        let connection = UnixStream::from_std(connection)?;
        Ok(Self { connection, rate, began: clock::now(), failing: false })
    }

    /// The connection, for whoever goes on with it.
    pub(super) fn into_connection(self) -> io::Result<std::os::unix::net::UnixStream> {
        self.connection.into_std()
    }

    /// Waits until the process asks, which may be given up at any time; `false`: it never will again, or asks for more than is good for all.
    pub(super) async fn is_asked(&mut self) -> bool {
        let mut byte = [0];
        loop {
            match self.connection.read(&mut byte).await {
                Ok(0) => return false,
                Ok(_) if self.rate.take(self.began.elapsed()) => return true,
                Ok(_) => {
                    tracing::warn!(
                        "the worker asks for more than {A_SECOND} connections a second: it hands nothing over and delivers \
                         nothing until it is restarted"
                    );
                    return false;
                }
                Err(error) if is_end(&error) => return false,
                Err(error) => self.rest(&error).await,
            }
        }
    }

    /// Passes a connection and returns this process's end of it; `None`: it cannot be made, or nobody takes it.
    pub(super) async fn pass(&mut self) -> Option<UnixStream> {
        let made = UnixStream::pair().and_then(|(kept, given)| Ok((kept, given.into_std()?)));
        let passed = match made {
            Ok((kept, given)) => self.send(Some(given.as_fd())).await.map(|()| kept),
            Err(error) => Err(error),
        };
        match passed {
            Ok(kept) => {
                self.failing = false;
                Some(kept)
            }
            Err(error) if is_end(&error) => None,
            Err(error) => {
                self.say(&error);
                self.refuse().await;
                None
            }
        }
    }

    /// Answers that there is no connection for now.
    pub(super) async fn refuse(&mut self) {
        while let Err(error) = self.send(None).await {
            // That it is over is heard by reading.
            if is_end(&error) {
                return;
            }
            self.rest(&error).await;
        }
    }

    /// A process that takes nothing waits for itself alone.
    async fn send(&self, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let over = &self.connection;
        over.async_io(Interest::WRITABLE, || passing::send(over.as_fd(), socket)).await
    }

    async fn rest(&mut self, error: &io::Error) {
        self.say(error);
        tokio::time::sleep(REST).await;
    }

    fn say(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "an errand of the worker cannot be taken; it asks again");
        }
    }
}

/// Whether nobody is at the other end.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn line() -> (Line, UnixStream) {
        let (ours, process) = UnixStream::pair().unwrap();
        (Line::new(ours.into_std().unwrap()).unwrap(), process)
    }

    async fn take(process: &UnixStream) -> io::Result<Option<Blocking>> {
        let taken = process.async_io(Interest::READABLE, || passing::receive(process.as_fd())).await;
        taken.map(|socket| socket.map(Blocking::from))
    }

    /// The flag is one of the open file, which all copies of a descriptor share.
    #[tokio::test]
    async fn a_process_that_lets_its_end_block_does_not_let_ours() {
        let (mut line, mut process) = line();
        process.write_all(&[0]).await.unwrap();
        assert!(line.is_asked().await);
        let kept = line.pass().await.unwrap();
        let theirs = take(&process).await.unwrap().unwrap();
        theirs.try_clone().unwrap().set_nonblocking(false).unwrap();
        let read = kept.try_read(&mut [0]);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let kept = kept.into_std().unwrap();
        let read = std::io::Read::read(&mut &kept, &mut [0]);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// What comes with a byte is no open file here: its other end is closed as soon as the byte is read.
    #[tokio::test]
    async fn what_a_process_passes_is_not_taken() {
        let (mut line, process) = line();
        let (mut other, given) = UnixStream::pair().unwrap();
        passing::send(process.as_fd(), Some(given.as_fd())).unwrap();
        drop(given);
        assert!(line.is_asked().await);
        let read = tokio::time::timeout(Duration::from_secs(20), other.read(&mut [0])).await;
        assert_eq!(read.unwrap().unwrap(), 0, "nobody has it");
        line.refuse().await;
        assert_eq!(take(&process).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn whoever_asks_without_end_is_not_listened_to() {
        let (mut line, mut process) = line();
        let mut asked = 0;
        let flood = async { while process.write_all(&[0; 4096]).await.is_ok() {} };
        let count = async {
            while line.is_asked().await {
                asked += 1;
            }
        };
        tokio::select! {
            () = flood => {}
            () = count => {}
        }
        assert!(asked >= BURST, "{asked}");
    }

    #[tokio::test]
    async fn the_end_of_the_process_is_the_end() {
        let (mut line, mut process) = line();
        process.write_all(&[0, 0]).await.unwrap();
        assert!(line.is_asked().await);
        drop(process);
        assert!(line.pass().await.is_none());
        line.refuse().await;
        let mut more = 0;
        while line.is_asked().await {
            more += 1;
        }
        assert!(more <= 1, "what was asked before, and nothing else");
        for (kind, ends) in [
            (io::ErrorKind::ConnectionReset, true),
            (io::ErrorKind::BrokenPipe, true),
            (io::ErrorKind::OutOfMemory, false),
            (io::ErrorKind::Other, false),
        ] {
            assert_eq!(is_end(&kind.into()), ends, "{kind}");
        }
    }
}
