//! What version 3 says otherwise than version 2. Every other message, and what it is made of, is that of [`crate::v2`].
//!
//! New: a profile's files say when its worker runs and what it may take of the machine ([`upkeep::Upkeep`]), and a worker that has
//! nothing to do may be sent to sleep ([`worker::FromWorker::Idle`], [`worker::ToWorker::Rest`]).

pub mod client;
mod older;
pub mod parts;
pub mod report;
pub mod upkeep;
pub mod worker;
