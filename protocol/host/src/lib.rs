//! What the supervisor and its workers ask of the machine in the same way: threads for work that blocks, whose fault an error
//! is, which signals are heard, certificates in files, and what another program left in a home.
//!
//! Unlike `hermes-protocol` this crate acts. It knows nothing of profiles, sockets or messages.

pub mod blocking;
pub mod certificates;
pub mod fault;
pub mod inherited;
pub mod signals;
