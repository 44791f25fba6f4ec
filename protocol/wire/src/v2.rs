//! Messages of version 2. Frozen: see "To change a message" in the crate documentation.
//!
//! Requests of this version are those of [`crate::v3::client`] without the ones that came later.

pub mod parts;
pub mod reply;
pub mod worker;
