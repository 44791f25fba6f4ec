//! Skills that come with this program, and what a home has of them and of its own.
//!
//! # Theory of operation
//!
//! **What is bundled** (`bundle`) is part of the executable, so a sync needs no files of an installation and one release always
//! brings one set. **What a home has** (`tree`) is looked at as a whole: a directory is the bundle's only when its files hash to
//! a known value; a link, a special file, an unreadable or an oversized one makes it the user's. **What was brought when** stands
//! in the home's manifest (`manifest`), in the format and with the hash of 0.19.0, so either program continues the other's work.
//! **What happens** to one skill is one pure function of these three (`rule`).
//!
//! **Nothing of a user's is ever written to** (`install`). A new version is staged completely aside, made durable, and put into its
//! place by one exchange of two names; what was there is compared once more *after* the exchange and put back if it was edited
//! meanwhile. What is about to be done is written down first, so that the next sync can finish or undo whatever a crash left.
//!
//! **Order of one home** (`sync`): lock, finish what a crash left, decide, stage, swap, manifest, remove what was replaced.

pub(crate) mod bundle;
mod install;
pub(crate) mod installed;
mod manifest;
mod rule;
pub(crate) mod sync;
pub(crate) mod tree;

#[cfg(test)]
mod tests;
