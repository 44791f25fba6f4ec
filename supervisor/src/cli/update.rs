//! `hermes update`: a new release, and the skills that come with this one.

use clap::Args;

use super::{Call, not_built};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Only bring the bundled skills of every profile up to date.
    #[arg(long)]
    skills_only: bool,
    /// Only say what would be done.
    #[arg(long)]
    check: bool,
}

/// `hermes update`.
pub(super) fn run(_args: UpdateArgs, _call: &Call) -> Result<u8, HermesError> {
    not_built("update")
}
