//! The one status view. [`collect`] makes it inside the supervisor, [`offline`] makes it from files when none answers,
//! [`render`] shows either to people. Every surface prints one of these; nothing else decides what "running" means.

pub mod collect;
pub(crate) mod files;
pub mod offline;
pub mod render;
