//! The control socket: handshake, then frames. One end of the pair is the supervisor; end of file means that it is gone.
//!
//! [`Control`] has no task of its own: `app` waits on [`Control::receive`] beside everything else, and heartbeats leave from
//! the same runtime that serves requests, so that their absence means what it should. A supervisor that does not read delays
//! nothing here for longer than [`PATIENCE`]. Messages have their newest form everywhere else; what the supervisor speaks is known
//! here alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt, StreamExt as _};
use hermes_wire::codec::CodecError;
use hermes_wire::handshake::{ANSWER_HEAD, Answer, HandshakeError, Offer};
use hermes_wire::latest::{FromWorker, Heartbeat, Message as _, ToWorker};
use hermes_wire::version::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::codec::{Framed, FramedParts, LengthDelimitedCodec};

/// Longest time a single message may wait to be written.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest time the handshake may take: the supervisor is on the same machine and has already called us.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// First capacity of the two buffers of a socket that carries a few dozen bytes a second.
const BUFFER: usize = 1024;

/// Why the control socket cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The supervisor is gone.
    #[error("the supervisor closed the control socket")]
    Closed,
    /// It does not read, or does not answer the handshake.
    #[error("the supervisor does not react on the control socket")]
    Timeout,
    /// Reading or writing failed.
    #[error("the control socket failed")]
    Io(#[from] std::io::Error),
    /// The first bytes were wrong, or we are refused.
    #[error("the handshake with the supervisor failed")]
    Handshake(#[from] HandshakeError),
    /// A frame that is no message.
    #[error("the supervisor sent a malformed message")]
    Message(#[from] CodecError),
}

/// The connected control socket.
#[derive(Debug)]
pub(crate) struct Control {
    framed: Framed<UnixStream, LengthDelimitedCodec>,
    version: Version,
    sequence: u64,
}

impl Control {
    /// Offers our versions and waits for the answer.
    pub(crate) async fn connect(mut stream: UnixStream) -> Result<Self, ControlError> {
        let version = timeout(HANDSHAKE, shake(&mut stream)).await.map_err(|_| ControlError::Timeout)??;
        let mut parts = FramedParts::new::<Bytes>(stream, hermes_wire::frame::codec());
        parts.read_buf.reserve(BUFFER);
        parts.write_buf.reserve(BUFFER);
        Ok(Self { framed: Framed::from_parts(parts), version, sequence: 0 })
    }

    /// The next message. Cancel safe: what was read stays in the buffer.
    pub(crate) async fn receive(&mut self) -> Result<ToWorker, ControlError> {
        match self.framed.next().await {
            None => Err(ControlError::Closed),
            Some(Ok(frame)) => Ok(ToWorker::decode(self.version, &frame)?),
            Some(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionReset => Err(ControlError::Closed),
            Some(Err(e)) => Err(e.into()),
        }
    }

    /// Sends one message, unless it is none in the supervisor's version.
    pub(crate) async fn send(&mut self, message: &FromWorker) -> Result<(), ControlError> {
        let Some(frame) = message.encode(self.version)? else { return Ok(()) };
        match timeout(PATIENCE, self.framed.send(Bytes::from(frame))).await {
            Err(_) => Err(ControlError::Timeout),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(ControlError::Closed),
            Ok(sent) => Ok(sent?),
        }
    }

    /// Sends a heartbeat, numbered here. One that finds no room is left out: a supervisor that is held up for long learns from
    /// those that wait that we live, and its return is waited for. Returns whether it has left this process.
    pub(crate) async fn beat(&mut self, mut beat: Heartbeat) -> Result<bool, ControlError> {
        self.sequence += 1;
        beat.sequence = self.sequence;
        let there_is_room = self.framed.write_buffer().is_empty();
        if there_is_room && let Some(frame) = FromWorker::Heartbeat(beat).encode(self.version)? {
            self.framed.feed(Bytes::from(frame)).await?;
        }
        match SinkExt::<Bytes>::flush(&mut self.framed).now_or_never() {
            Some(Err(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(ControlError::Closed),
            Some(flushed) => Ok(flushed.map(|()| there_is_room)?),
            None => Ok(false),
        }
    }
}

async fn shake(stream: &mut UnixStream) -> Result<Version, ControlError> {
    stream.write_all(&Offer::ours().encode()).await?;
    let mut answer = vec![0; ANSWER_HEAD];
    stream.read_exact(&mut answer).await.map_err(closed)?;
    let len = Answer::text_len(&answer)?;
    answer.resize(ANSWER_HEAD + len, 0);
    stream.read_exact(&mut answer[ANSWER_HEAD..]).await.map_err(closed)?;
    Ok(Answer::decode(&answer)?.into_version()?)
}

fn closed(error: std::io::Error) -> ControlError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof { ControlError::Closed } else { error.into() }
}

#[cfg(test)]
mod tests {
    use hermes_wire::codec;

    use super::*;

    async fn pair() -> (Control, Framed<UnixStream, LengthDelimitedCodec>) {
        pair_in(hermes_wire::version::NEWEST).await
    }

    /// With a supervisor that speaks this version.
    async fn pair_in(version: Version) -> (Control, Framed<UnixStream, LengthDelimitedCodec>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let answer = Answer::Welcome { version, build: "test".to_owned() }.encode();
        let supervisor = async {
            let mut offer = vec![0; Offer::ours().encode().len()];
            theirs.read_exact(&mut offer).await.unwrap();
            assert_eq!(Offer::decode(&offer), Ok(Offer::ours()));
            theirs.write_all(&answer).await.unwrap();
        };
        let (control, ()) = tokio::join!(Control::connect(ours), supervisor);
        (control.unwrap(), Framed::new(theirs, hermes_wire::frame::codec()))
    }

    #[tokio::test]
    async fn messages_travel_both_ways_and_heartbeats_count() {
        let (mut control, mut supervisor) = pair().await;
        let frame = codec::encode(&ToWorker::Drain { deadline_ms: 7 }).unwrap();
        supervisor.send(Bytes::from(frame)).await.unwrap();
        assert_eq!(control.receive().await.unwrap(), ToWorker::Drain { deadline_ms: 7 });
        for sequence in 1..=2 {
            control.beat(Heartbeat::default()).await.unwrap();
            let frame = supervisor.next().await.unwrap().unwrap();
            let message: FromWorker = codec::decode(&frame).unwrap();
            assert_eq!(message, FromWorker::Heartbeat(Heartbeat { sequence, ..Heartbeat::default() }));
        }
        drop(supervisor);
        assert!(matches!(control.receive().await, Err(ControlError::Closed)));
    }

    /// A supervisor of the release before is understood, and hears what it knows and nothing else.
    #[tokio::test]
    async fn a_supervisor_of_version_2_is_met() {
        use hermes_wire::v2::worker as v2;
        let (mut control, mut supervisor) = pair_in(2).await;
        let message = v2::ToWorker::Drain { deadline_ms: 7 };
        supervisor.send(Bytes::from(codec::encode(&message).unwrap())).await.unwrap();
        assert_eq!(control.receive().await.unwrap(), ToWorker::Drain { deadline_ms: 7 });
        control.send(&FromWorker::Idle).await.unwrap();
        control.beat(Heartbeat::default()).await.unwrap();
        let frame = supervisor.next().await.unwrap().unwrap();
        let beat = Heartbeat { sequence: 1, ..Heartbeat::default() };
        assert_eq!(
            codec::decode::<v2::FromWorker>(&frame).unwrap(),
            v2::FromWorker::Heartbeat(beat),
            "and nothing before"
        );
    }

    /// 30: a supervisor that is stopped for however long costs no worker; what it finds on its return is whole messages.
    #[tokio::test]
    async fn a_supervisor_that_does_not_read_is_waited_for() {
        let (mut control, mut supervisor) = pair().await;
        for _ in 0..5_000 {
            control.beat(Heartbeat::default()).await.unwrap();
        }
        let read = async {
            let mut last = 0;
            loop {
                let frame = supervisor.next().await.unwrap().unwrap();
                match codec::decode::<FromWorker>(&frame).unwrap() {
                    FromWorker::Heartbeat(beat) => last = beat.sequence,
                    FromWorker::Drained => return last,
                    other => panic!("{other:?}"),
                }
            }
        };
        let (last, sent) = tokio::join!(read, control.send(&FromWorker::Drained));
        sent.unwrap();
        assert!(last > 10 && last < 5_000, "{last}");
    }

    #[tokio::test]
    async fn malformed_and_oversized_frames_are_errors() {
        let (mut control, mut supervisor) = pair().await;
        supervisor.send(Bytes::from_static(&[0xff; 3])).await.unwrap();
        assert!(matches!(control.receive().await, Err(ControlError::Message(_))));
        supervisor.get_mut().write_all(&[0xff, 0xff, 0xff, 0x7f]).await.unwrap();
        assert!(matches!(control.receive().await, Err(ControlError::Io(_))));
    }

    #[tokio::test]
    async fn a_peer_that_refuses_or_talks_otherwise_is_an_error() {
        for answer in [Answer::Reject { reason: "old".into() }.encode(), b"HTTP/1.1 400 Bad Request".to_vec()]
        {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&answer).await.unwrap();
            assert!(matches!(Control::connect(ours).await, Err(ControlError::Handshake(_))));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Control::connect(ours).await.is_err());
    }
}
