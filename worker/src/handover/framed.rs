//! A body with a message in front and bytes behind it, read as it comes.

use std::pin::Pin;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hermes_wire::road;

/// Why it is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// It is none.
    #[error(transparent)]
    Malformed(road::RoadError),
    /// It ended early.
    #[error("{0}")]
    Broken(String),
}

/// A body, as it comes.
pub(super) struct Pieces {
    stream: BodyDataStream,
    /// Came, and was not asked for yet.
    rest: Bytes,
}

impl Pieces {
    /// A body that has not begun.
    pub(super) fn of(body: Body) -> Self {
        Self { stream: body.into_data_stream(), rest: Bytes::new() }
    }

    /// The message that stands in front.
    pub(super) async fn head(&mut self) -> Result<Vec<u8>, Unread> {
        let length = self.exactly(4).await?;
        let length = <[u8; 4]>::try_from(length.as_slice()).expect("four bytes were read");
        let length = road::length_of_head(length).map_err(Unread::Malformed)?;
        self.exactly(length).await
    }

    /// What comes next; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        loop {
            match self.stream.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(error)) => return Err(Unread::Broken(error.to_string())),
            }
        }
    }

    /// At most `most` bytes of what comes next.
    async fn up_to(&mut self, most: u64) -> Result<Option<Bytes>, Unread> {
        let Some(mut bytes) = self.next().await? else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if bytes.len() > most {
            self.rest = bytes.split_off(most);
        }
        Ok(Some(bytes))
    }

    /// The next `len` bytes, which are few.
    async fn exactly(&mut self, len: usize) -> Result<Vec<u8>, Unread> {
        let mut all = Vec::new();
        while all.len() < len {
            let left = u64::try_from(len - all.len()).unwrap_or(u64::MAX);
            match self.up_to(left).await? {
                Some(bytes) => all.extend_from_slice(&bytes),
                None => return Err(Unread::Broken("its head ended early".to_owned())),
            }
        }
        Ok(all)
    }

    /// Throws up to `most` bytes away; how many there were.
    pub(super) async fn skip(&mut self, most: u64) -> Result<u64, Unread> {
        let mut skipped = 0;
        while skipped < most {
            let Some(bytes) = self.up_to(most - skipped).await? else { break };
            skipped += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        Ok(skipped)
    }

    /// The next `length` bytes, piece by piece; fewer where the body ends.
    pub(super) fn part(
        &mut self,
        length: u64,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send + '_>> {
        Box::pin(stream::unfold((self, length), async |(pieces, left)| {
            if left == 0 {
                return None;
            }
            match pieces.up_to(left).await {
                Ok(Some(bytes)) => {
                    let left = left - u64::try_from(bytes.len()).unwrap_or(left);
                    Some((Ok(bytes), (pieces, left)))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error.to_string()), (pieces, 0))),
            }
        }))
    }
}
