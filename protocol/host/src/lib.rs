//! What the supervisor and its workers ask of the machine in the same way: threads for work that blocks, programs that are run to
//! their end, pauses, files that are written whole and belong to whom they should, whose fault an error is, which signals are
//! heard, certificates in files, databases that are only read, what another program left in a home, and connections between the
//! two.
//!
//! Unlike `hermes-wire` this crate acts. It knows nothing of profiles or messages.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! child, disk, inherited
//! blocking, certificates, database, fault, file, local, signals, wait
//! ```

pub mod blocking;
pub mod certificates;
pub mod child;
pub mod database;
pub mod disk;
pub mod fault;
pub mod file;
pub mod inherited;
pub mod local;
pub mod signals;
pub mod wait;
