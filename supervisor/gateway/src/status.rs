//! The status of a gateway that runs: [`collect`] merges what the supervisor knows first hand with the workers' [`files`].

pub mod collect;
pub mod files;
