//! Which release this is, and of what it is a drop-in.

/// The release of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The release of the Python program whose homes, texts and HTTP bodies this project is a drop-in for.
pub const COMPATIBLE_WITH: &str = "0.19.0";
