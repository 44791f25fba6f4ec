//! What version 2 says otherwise than version 1. Every other message is that of [`crate::v1`].
//!
//! New: exclusive platforms are handed from one generation to the next ([`worker::ToWorker::Yield`],
//! [`worker::ToWorker::Connect`]), and a report names them and whom events are handed over to. Gone, because nothing ever used
//! them: the platforms of a report, and refusing new turns for a while (`Drain` of a client, `Quiesce` of a supervisor).

pub mod client;
pub mod worker;
