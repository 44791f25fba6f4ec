//! Profiles on disk: making, copying, describing, renaming, deleting, exporting and importing them.
//!
//! # Theory of operation
//!
//! **A profile appears and disappears by one `rename`.** Whatever makes one builds it in a hidden directory beside its final
//! place (`staging`), syncs it, and renames it without overwriting; whatever removes one first renames it to a hidden name. A
//! reader, the supervisor's watch included, sees a whole home or none. Hidden leftovers of a process that died are swept by the
//! next command that makes or removes a profile; a lock that makers share for their lives tells them from work in progress.
//!
//! **Order.** disk, then the gateway: a change is complete on disk before the running gateway is told (`notify`), and the
//! gateway's own watch sees it even if nobody tells. Renaming and deleting ask the gateway first to release the profile, and
//! hold that for as long as the command's connection lives, so that a command that dies leaves no profile released for ever.
//!
//! **What belongs to a profile** and what to one process, one machine or one identity is decided by one table (`entries`),
//! which copying, exporting and importing share.

pub(crate) mod alias;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod entries;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod honcho;
pub(crate) mod import;
pub(crate) mod logins;
pub(crate) mod notify;
pub(crate) mod overview;
pub(crate) mod rename;
pub(crate) mod skeleton;
pub(crate) mod staging;
pub(crate) mod standalone;
