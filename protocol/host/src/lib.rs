//! What the supervisor and its workers ask of the machine in the same way: threads for work that blocks, programs that are run to
//! their end, pauses, files that are written whole and belong to whom they should, logs that stay bounded and say nothing twice, what is behind an error
//! and whose fault it is, which signals are heard, certificates in files, databases that are only read, which directories are
//! homes, what another program left in one, who was let in to a bot, connections between the two, which time it is where the user is, and what no other process may see.
//!
//! Unlike `hermes-wire` this crate acts. It knows nothing of messages.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! pairing
//! child, disk, fault, homes, inherited, repeats, rotation
//! blocking, cause, certificates, clock, database, file, local, passing, private, refusal, signals, wait, zone
//! ```

pub mod blocking;
pub mod cause;
pub mod certificates;
pub mod child;
pub mod clock;
pub mod database;
pub mod disk;
pub mod fault;
pub mod file;
pub mod homes;
pub mod inherited;
pub mod local;
pub mod pairing;
pub mod passing;
pub mod private;
pub mod refusal;
pub mod repeats;
pub mod rotation;
pub mod signals;
pub mod wait;
pub mod zone;
