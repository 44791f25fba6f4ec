//! `hermes doctor`: finds what is wrong.

use clap::Args;

use super::{Call, not_built};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Repair what can be repaired without losing anything.
    #[arg(long)]
    fix: bool,
}

/// `hermes doctor`.
pub(super) fn run(_args: DoctorArgs, _call: &Call) -> Result<u8, HermesError> {
    not_built("doctor")
}
