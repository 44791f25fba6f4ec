//! Messages of version 1 (initial). Frozen once released: see "To change a message" in the crate documentation.

pub mod client;
pub mod worker;
