//! The supervisor's half of one worker's control pair: handshake, then frames both ways.
//!
//! One task a process. It ends when the connection does, after having told so; what the worker said before it died is still
//! delivered. Or it stops between two messages, because this process becomes another program: [`Handed`] is all that one needs to
//! go on. Inside, messages have their newest form; what the worker speaks is agreed in the handshake and known here alone.
//! Everything is bounded: the handshake's text, the frames, the queues, and the time a write may take. What a worker
//! may say when is `conduct`'s; the first message that is out of order ends the connection with that as its reason.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use hermes_host::clock;
use hermes_wire::handshake::{Answer, HandshakeError, OFFER_HEAD, Offer};
use hermes_wire::latest::{FromWorker, MAX_REPORT_LEN, Message as _, ToWorker};
use hermes_wire::version::Version;
use hermes_wire::{codec, frame};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::codec::{Decoder, FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

mod conduct;

use conduct::{Conduct, Violation};

/// A peer that takes longer to take a frame does not read.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Buffers start this small: a control connection carries a few dozen bytes a second.
const BUFFER: usize = 256;

/// Why a connection that carries frames was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    #[error("the handshake failed")]
    Handshake(#[from] HandshakeError),
    #[error("a message cannot be read or written")]
    Codec(#[from] codec::CodecError),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the peer does not read")]
    WriteTimeout,
}

/// Reads the peer's offer and answers it; the version that both speak from here on. Not cancel-safe: give the connection up
/// instead.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Version, LinkError> {
    let mut bytes = vec![0; OFFER_HEAD];
    stream.read_exact(&mut bytes).await?;
    let text = Offer::text_len(&bytes)?;
    bytes.resize(OFFER_HEAD + text, 0);
    stream.read_exact(&mut bytes[OFFER_HEAD..]).await?;
    let answer = Offer::decode(&bytes)?.answer();
    stream.write_all(&answer.encode()).await?;
    match answer {
        Answer::Welcome { version, .. } => Ok(version),
        Answer::Reject { reason } => Err(HandshakeError::Rejected(reason).into()),
    }
}

/// A connection on which greetings were exchanged.
#[derive(Debug)]
pub(crate) struct Handed<S> {
    pub(crate) stream: S,
    /// The version that was agreed.
    pub(crate) version: Version,
    /// The beginning of a message whose rest was not read.
    pub(crate) unread: Vec<u8>,
}

/// What comes first.
#[derive(Debug)]
pub(crate) enum Opening<S> {
    /// A process that was just started: greetings.
    New(S),
    /// One that reported and is ready, and named these platforms as exclusive.
    Again(Handed<S>, Vec<String>),
}

/// Carries messages until the connection ends, or `hand` is cancelled: then what is on its way is sent, and the connection is the
/// result. `outgoing` may close first: then nothing more is sent, and reading goes on.
pub(crate) async fn run<S, T>(
    opening: Opening<S>,
    mut outgoing: mpsc::Receiver<Box<ToWorker>>,
    incoming: &mpsc::Sender<T>,
    wrap: impl Fn(FromWorker) -> T,
    hand: &CancellationToken,
) -> Result<Option<Handed<S>>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (Handed { stream, version, unread }, mut conduct) = match opening {
        Opening::New(mut stream) => {
            let version = accept(&mut stream).await?;
            (Handed { stream, version, unread: Vec::new() }, Conduct::new(Duration::ZERO))
        }
        Opening::Again(handed, exclusive) => (handed, Conduct::of_ready(exclusive, Duration::ZERO)),
    };
    let (reader, writer) = tokio::io::split(stream);
    let began = clock::now();
    let mut reader = FramedRead::with_capacity(reader, Whole(frame::codec_up_to(MAX_REPORT_LEN)), BUFFER);
    reader.read_buffer_mut().extend_from_slice(&unread);
    let mut writer = FramedWrite::with_capacity(writer, frame::codec(), BUFFER);
    let mut open = true;
    loop {
        tokio::select! {
            message = outgoing.recv(), if open => match message {
                Some(message) => tell(&mut writer, version, &message).await?,
                None => open = false,
            },
            bytes = reader.next() => match bytes {
                Some(bytes) => {
                    let bytes = bytes?;
                    conduct.length(bytes.len())?;
                    let message = FromWorker::decode(version, &bytes);
                    conduct.said(&message, began.elapsed())?;
                    if incoming.send(wrap(message?)).await.is_err() {
                        return Ok(None);
                    }
                }
                None => return Ok(None),
            },
            () = hand.cancelled() => break,
        }
    }
    while let Ok(message) = outgoing.try_recv() {
        tell(&mut writer, version, &message).await?;
    }
    let unread = reader.read_buffer().to_vec();
    Ok(Some(Handed { stream: reader.into_inner().unsplit(writer.into_inner()), version, unread }))
}

async fn tell<W: AsyncWrite + Unpin>(
    writer: &mut FramedWrite<W, LengthDelimitedCodec>,
    version: Version,
    message: &ToWorker,
) -> Result<(), LinkError> {
    // What an older worker has no word for does not concern it.
    if let Some(bytes) = message.encode(version)? {
        let sent = tokio::time::timeout(WRITE_TIME, writer.send(Bytes::from(bytes)));
        sent.await.map_err(|_| LinkError::WriteTimeout)??;
    }
    Ok(())
}

/// Takes frames whole, so that what is left in the buffer always begins with one.
struct Whole(LengthDelimitedCodec);

impl Decoder for Whole {
    type Item = BytesMut;
    type Error = std::io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>, Self::Error> {
        if let Some(head) = bytes.first_chunk()
            && let Some(len) = frame::payload_len(*head).filter(|len| *len <= self.0.max_frame_length())
            && bytes.len() < head.len() + len
        {
            bytes.reserve(head.len() + len - bytes.len());
            return Ok(None);
        }
        self.0.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::{Heartbeat, Report};
    use hermes_wire::version;
    use tokio::net::UnixStream;

    use super::*;

    async fn speak<T: serde::Serialize>(stream: &mut UnixStream, message: &T) {
        let bytes = codec::encode(message).unwrap();
        stream.write_all(&frame::head(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }

    async fn hear<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> T {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        let mut bytes = vec![0; frame::payload_len(head).unwrap()];
        stream.read_exact(&mut bytes).await.unwrap();
        codec::decode(&bytes).unwrap()
    }

    /// Offers these versions; the one that is agreed.
    async fn greet(stream: &mut UnixStream, versions: std::ops::RangeInclusive<Version>) -> Version {
        stream.write_all(&Offer { versions, build: "test".to_owned() }.encode()).await.unwrap();
        let mut answer = vec![0; hermes_wire::handshake::ANSWER_HEAD];
        stream.read_exact(&mut answer).await.unwrap();
        let mut text = vec![0; Answer::text_len(&answer).unwrap()];
        stream.read_exact(&mut text).await.unwrap();
        answer.append(&mut text);
        Answer::decode(&answer).unwrap().into_version().unwrap()
    }

    #[tokio::test]
    async fn messages_pass_both_ways_and_the_last_words_are_heard() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (to_worker, outgoing) = mpsc::channel(4);
        let (incoming, mut from_worker) = mpsc::channel(4);
        let tasks = tokio_util::task::TaskTracker::new();
        let link = tasks.spawn(async move {
            run(Opening::New(ours), outgoing, &incoming, |message| message, &CancellationToken::new()).await
        });

        assert_eq!(greet(&mut theirs, version::SUPPORTED).await, version::NEWEST);

        to_worker.send(Box::new(ToWorker::StopAccepting)).await.unwrap();
        assert_eq!(hear::<ToWorker>(&mut theirs).await, ToWorker::StopAccepting);

        let said = [
            FromWorker::Report(Report::default()),
            FromWorker::Ready,
            FromWorker::Heartbeat(Heartbeat::default()),
            FromWorker::Drained,
        ];
        for message in &said {
            speak(&mut theirs, message).await;
        }
        drop(theirs);
        for message in said {
            assert_eq!(from_worker.recv().await, Some(message));
        }
        assert_eq!(from_worker.recv().await, None);
        link.await.unwrap().unwrap();
    }

    /// A worker of the release before is told what it knows, and understood.
    #[tokio::test]
    async fn a_worker_of_version_2_is_met() {
        use hermes_wire::v2::worker as v2;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (to_worker, outgoing) = mpsc::channel(4);
        let (incoming, mut from_worker) = mpsc::channel(4);
        let tasks = tokio_util::task::TaskTracker::new();
        let hand = CancellationToken::new();
        let link = tasks.spawn(async move {
            run(Opening::New(ours), outgoing, &incoming, |message| message, &hand).await
        });
        assert_eq!(greet(&mut theirs, 2..=2).await, 2);

        to_worker.send(Box::new(ToWorker::Rest { deadline_ms: 7 })).await.unwrap();
        assert_eq!(hear::<v2::ToWorker>(&mut theirs).await, v2::ToWorker::Drain { deadline_ms: 7 });

        speak(&mut theirs, &v2::FromWorker::Report(v2::Report::default())).await;
        speak(&mut theirs, &v2::FromWorker::Ready).await;
        drop(theirs);
        assert_eq!(from_worker.recv().await, Some(FromWorker::Report(Report::default())));
        assert_eq!(from_worker.recv().await, Some(FromWorker::Ready));
        link.await.unwrap().unwrap();
    }

    /// What was agreed, half a message and what waits to be said outlive the program that read and said it.
    #[tokio::test]
    async fn a_connection_goes_on_where_another_program_left_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (to_worker, outgoing) = mpsc::channel(4);
        let (incoming, mut from_worker) = mpsc::channel(4);
        let hand = CancellationToken::new();
        let (tasks, told) = (tokio_util::task::TaskTracker::new(), hand.clone());
        let before = tasks.spawn(async move {
            run(Opening::New(ours), outgoing, &incoming, |message| message, &told).await
        });
        greet(&mut theirs, version::SUPPORTED).await;
        speak(&mut theirs, &FromWorker::Report(Report::default())).await;
        speak(&mut theirs, &FromWorker::Ready).await;
        let beat = codec::encode(&FromWorker::Heartbeat(Heartbeat::default())).unwrap();
        let frame = [&frame::head(beat.len()).unwrap(), beat.as_slice()].concat();
        theirs.write_all(&frame[..6]).await.unwrap();
        assert!(from_worker.recv().await.is_some() && from_worker.recv().await.is_some());
        to_worker.send(Box::new(ToWorker::StopClaiming)).await.unwrap();
        hand.cancel();
        let handed = before.await.unwrap().unwrap().unwrap();
        assert_eq!(hear::<ToWorker>(&mut theirs).await, ToWorker::StopClaiming);
        theirs.write_all(&frame[6..]).await.unwrap();

        let (to_worker, outgoing) = mpsc::channel(4);
        let (incoming, mut from_worker) = mpsc::channel(4);
        let after = tasks.spawn(async move {
            let again = Opening::Again(handed, Vec::new());
            run(again, outgoing, &incoming, |message| message, &CancellationToken::new()).await
        });
        assert_eq!(from_worker.recv().await, Some(FromWorker::Heartbeat(Heartbeat::default())));
        to_worker.send(Box::new(ToWorker::StopAccepting)).await.unwrap();
        assert_eq!(hear::<ToWorker>(&mut theirs).await, ToWorker::StopAccepting);
        speak(&mut theirs, &FromWorker::Report(Report::default())).await;
        let again = after.await.unwrap().unwrap_err();
        assert!(matches!(again, LinkError::Violation(_)), "it has reported already: {again}");
    }

    #[tokio::test]
    async fn a_stranger_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (_to_worker, outgoing) = mpsc::channel(1);
        let (incoming, _from_worker) = mpsc::channel(1);
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let error =
            run(Opening::New(ours), outgoing, &incoming, |message| message, &CancellationToken::new())
                .await
                .unwrap_err();
        assert!(matches!(error, LinkError::Handshake(HandshakeError::Magic)), "{error}");
    }
}
