//! What the supervisor and its workers ask of the machine in the same way: threads for work that blocks, and whose fault an
//! error is.
//!
//! Unlike `hermes-protocol` this crate acts. It knows nothing of profiles, sockets or messages.

pub mod blocking;
pub mod fault;
