//! A file on its way out, as the ledger keeps it.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// Where it is, resolved.
    pub(crate) path: Utf8PathBuf,
    /// What it is called for people.
    pub(crate) name: String,
    /// By its name.
    pub(crate) media_type: String,
    /// It is shown as what it is.
    pub(crate) shown: bool,
}
