//! The road between workers, as a worker itself uses it: a test takes a copy of a worker's end and asks the supervisor on its behalf.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hermes_wire::road::{Attachment, Event, From, Identity, Media, SCHEMA};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Where a worker holds its end.
const DESCRIPTOR: i32 = 5;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker's end of the road.
pub struct Road(OwnedFd);

/// One errand, begun and not answered yet.
pub struct Asked(UnixStream);

/// The answer to an errand.
#[derive(Debug)]
pub struct Answer {
    /// The status; 0: the connection ended without one.
    pub status: u16,
    /// Head and body.
    pub text: String,
}

impl Answer {
    /// The machine-readable cause, where it is a refusal.
    pub fn code(&self) -> &str {
        let code = self.text.lines().find_map(|line| line.strip_prefix("x-hermes-error: "));
        code.unwrap_or_default().trim()
    }
}

impl Road {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> Self {
        Self(crate::process::descriptor(pid, DESCRIPTOR).expect("a worker has an end of the road"))
    }

    /// Begins to ask for `path` with a body of `length` bytes.
    pub fn begin(&self, path: &str, length: usize) -> Asked {
        let kept = self.connect().expect("the road is open");
        kept.set_nonblocking(false).expect("a socket");
        kept.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        kept.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut asked = Asked(kept);
        let head = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n\r\n");
        let _ = asked.send(head.as_bytes());
        asked
    }

    /// Asks the supervisor for a connection; `None`: it gives none.
    pub fn connect(&self) -> Option<UnixStream> {
        rustix::io::write(&self.0, &[0]).ok()?;
        // The worker's copy does not block, and neither does this one, which is the same.
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).expect("a time");
        assert_eq!(poll(&mut ready, patience), Ok(1), "the supervisor answers");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut control, flags).ok()?;
        control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next().map(UnixStream::from),
            _ => None,
        })
    }

    /// Asks, sends the whole body, and waits for the answer.
    pub fn ask(&self, path: &str, body: &[u8]) -> Answer {
        let mut asked = self.begin(path, body.len());
        // A refusal may come before all of it is taken.
        let _ = asked.send(body);
        asked.answer()
    }
}

impl Asked {
    /// Sends more of the body.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Waits for the answer, to its end.
    pub fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        // What came before a connection broke is what there is.
        let _ = self.0.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, text }
    }
}

/// An event of chat `-100` with this id, and attachments of these lengths.
pub fn event(id: &str, lengths: &[usize]) -> Event {
    let attachment = |length: &usize| Attachment {
        media: Media::Document,
        name: "report.bin".to_owned(),
        media_type: "application/octet-stream".to_owned(),
        length: *length as u64,
    };
    Event {
        schema: SCHEMA,
        from: From {
            chat_type: "group".to_owned(),
            chat_id: Some("-100".to_owned()),
            user_id: Some("7".to_owned()),
            ..From::default()
        },
        text: format!("event {id}"),
        identity: Some(Identity { scope: "-100".to_owned(), id: id.to_owned() }),
        attachments: lengths.iter().map(attachment).collect(),
        ..Event::default()
    }
}
