//! A file that goes out with a request, read when its bytes are wanted.

use std::io::{self, Read as _};

use bytes::Bytes;
use camino::Utf8PathBuf;
use futures_util::stream;
use hermes_host::blocking;

use super::answer::ByteStream;

/// Bytes that are read at a time; a multiple of three, for whoever sends them in Base64.
const PIECE: usize = 96 * 1024;

/// A file, and how long it is now.
pub(crate) async fn opened(path: Utf8PathBuf) -> io::Result<(std::fs::File, u64)> {
    let open = move || {
        let file = fs_err::File::open(path)?.into_parts().0;
        let meta = file.metadata()?;
        if meta.is_file() { Ok((file, meta.len())) } else { Err(io::Error::other("it is no file")) }
    };
    blocking::run(open).await.unwrap_or_else(|lost| Err(io::Error::other(lost.to_string())))
}

/// As many bytes of a file as it was to have; one that got shorter meanwhile ends with an error.
pub(crate) fn pieces(file: std::fs::File, length: u64) -> ByteStream {
    Box::pin(stream::unfold(Some((file, length)), async |state| {
        let (mut file, left) = state.filter(|(_, left)| *left > 0)?;
        let read = blocking::run(move || {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; most];
            file.read_exact(&mut piece).map(|()| (piece, file))
        });
        match read.await {
            Ok(Ok((piece, file))) => {
                let left = left - piece.len() as u64;
                Some((Ok(Bytes::from(piece)), Some((file, left))))
            }
            Ok(Err(error)) => Some((Err(error.to_string()), None)),
            Err(lost) => Some((Err(lost.to_string()), None)),
        }
    }))
}
