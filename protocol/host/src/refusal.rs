//! What the system refused: one type, and one sentence, for every operation on a path.

use std::io;

use camino::Utf8PathBuf;

/// `cannot open `/h/x``, and behind it the system's own words.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} `{path}`")]
pub struct Io {
    /// What was being done: `open`, `write into`.
    pub doing: &'static str,
    /// To what; mostly a path.
    pub path: Utf8PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Io {
    /// For use in `map_err`.
    pub fn at(doing: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self { doing, path, source }
    }
}
