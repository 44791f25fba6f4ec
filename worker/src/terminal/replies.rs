//! What a client says while its turn runs: lines of a body that stays open. The first one is the question.

use axum::body::Body;
use bytes::{Buf as _, BytesMut};
use hermes_wire::terminal::{MAX_QUESTION, MAX_REPLY, Reply, Said};
use http_body_util::BodyExt as _;

use super::{failed, too_long};
use crate::tools::asking::Choice;

/// See the module.
pub(super) struct Replies {
    body: Body,
    read: BytesMut,
    /// Nothing more comes.
    is_over: bool,
}

/// A reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replied {
    /// To a command that needs an approval.
    Choice(Choice),
    /// To anything else.
    Text(String),
}

/// No line.
enum NoLine {
    TooLong,
    /// The body is over.
    End,
    Broken(String),
}

impl Replies {
    pub(super) fn new(body: Body) -> Self {
        Self { body, read: BytesMut::new(), is_over: false }
    }

    /// The first line. A body that ends with it is fine: then nothing is replied.
    pub(super) async fn question(&mut self) -> Result<Vec<u8>, Said> {
        let most = usize::try_from(MAX_QUESTION).unwrap_or(usize::MAX);
        match self.line(most).await {
            Ok(line) => Ok(line),
            Err(NoLine::TooLong) => Err(too_long()),
            Err(NoLine::End) => Ok(std::mem::take(&mut self.read).to_vec()),
            Err(NoLine::Broken(why)) => Err(failed("broken", why, None)),
        }
    }

    /// What is replied next; `None`: the client has gone. What is no reply is passed over. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Replied> {
        loop {
            if self.is_over {
                // It said all that it wanted to, and reads.
                return std::future::pending().await;
            }
            match self.line(MAX_REPLY).await {
                Ok(line) => match serde_json::from_slice::<Reply>(&line) {
                    Ok(Reply { text: Some(text), .. }) => return Some(Replied::Text(text)),
                    Ok(Reply { choice, .. }) => {
                        if let Some(choice) = Choice::named(&choice) {
                            return Some(Replied::Choice(choice));
                        }
                    }
                    Err(_) => {}
                },
                Err(NoLine::End) => self.is_over = true,
                Err(NoLine::TooLong | NoLine::Broken(_)) => return None,
            }
        }
    }

    /// Cancel safe: what was read stays.
    async fn line(&mut self, most: usize) -> Result<Vec<u8>, NoLine> {
        loop {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(at).to_vec();
                self.read.advance(1);
                return if line.len() > most { Err(NoLine::TooLong) } else { Ok(line) };
            }
            if self.read.len() > most {
                return Err(NoLine::TooLong);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(NoLine::Broken(error.to_string())),
                None => return Err(NoLine::End),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn replies(pieces: &[&'static str]) -> Replies {
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        Replies::new(Body::from_stream(stream::iter(pieces)))
    }

    #[tokio::test]
    async fn lines_come_in_any_pieces_and_what_is_no_reply_is_passed_over() {
        let mut said = replies(&[
            "{\"a\":",
            "1}\n{\"choi",
            "ce\":\"once\"}\nnonsense\n{\"choice\":\"perhaps\"}\n",
            "{\"choice\":\"deny\"}\n{\"text\":\"/tmp\"}\n",
        ]);
        assert_eq!(said.question().await.unwrap(), b"{\"a\":1}");
        assert_eq!(said.next().await, Some(Replied::Choice(Choice::Once)));
        assert_eq!(said.next().await, Some(Replied::Choice(Choice::Deny(None))));
        assert_eq!(said.next().await, Some(Replied::Text("/tmp".to_owned())));
        let mut bare = replies(&["{}"]);
        assert_eq!(bare.question().await.unwrap(), b"{}");
    }

    /// Whoever breaks off, or says more than a reply, has gone.
    #[tokio::test]
    async fn a_client_that_breaks_off_has_gone() {
        let broken = [Ok(Bytes::from_static(b"{}\n")), Err(std::io::Error::other("reset"))];
        let mut broken = Replies::new(Body::from_stream(stream::iter(broken)));
        broken.question().await.unwrap();
        assert_eq!(broken.next().await, None);
        let long = "x".repeat(MAX_REPLY + 2);
        let mut long = Replies::new(Body::from(format!("{{}}\n{long}")));
        long.question().await.unwrap();
        assert_eq!(long.next().await, None);
    }
}
