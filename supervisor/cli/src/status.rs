//! The one status view. The gateway makes it while it runs ([`hermes_gateway::status`]), [`offline`] makes it from files when none answers,
//! [`render`] shows either to people. Every surface prints one of these; nothing else decides what "running" means.

pub(crate) mod offline;
pub(crate) mod render;
