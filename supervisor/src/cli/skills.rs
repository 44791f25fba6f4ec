//! `hermes skills`: which skills a profile has.

use clap::{Args, Subcommand};

use super::{Call, not_built};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct SkillsArgs {
    #[command(subcommand)]
    command: SkillsCommand,
}

#[derive(Debug, Subcommand)]
enum SkillsCommand {
    /// List the skills of the selected profile.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes skills`.
pub(super) fn run(_args: SkillsArgs, _call: &Call) -> Result<u8, HermesError> {
    not_built("skills")
}
