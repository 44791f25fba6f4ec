//! `hermes setup`: the wizard, and its form without questions.

use clap::Args;

use super::{Call, not_built};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// Set this, and ask nothing; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ask nothing.
    #[arg(long)]
    non_interactive: bool,
}

/// `hermes setup`.
pub(super) fn run(_args: SetupArgs, _call: &Call) -> Result<u8, HermesError> {
    not_built("setup")
}
