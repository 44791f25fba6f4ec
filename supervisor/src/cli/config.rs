//! `hermes config`: what can be typed, and what is printed.

use clap::{Args, Subcommand};

use super::{Call, not_built};
use crate::error::HermesError;

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show what is configured (also: plain `hermes config`).
    Show {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of config.yaml.
    Path,
    /// Print the path of .env.
    EnvPath,
    /// Print one value.
    Get {
        /// Such as `model.default`.
        key: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set one value; keys and tokens go to .env.
    #[command(after_help = "Examples:\n  hermes config set model.default anthropic/claude-sonnet-4\n  \
        hermes config set gateway.multiplex_profiles true\n  hermes config set openrouter_api_key sk-...")]
    Set {
        /// Such as `model.default`.
        key: String,
        /// The value; `-` reads it from standard input.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// The value is JSON.
        #[arg(long, conflicts_with = "string")]
        json: bool,
        /// The value is text, whatever it looks like.
        #[arg(long)]
        string: bool,
        /// Say nothing about keys that are not known.
        #[arg(long)]
        force: bool,
    },
    /// Remove one value.
    Unset {
        /// Such as `model.default`.
        key: String,
    },
    /// Open config.yaml in your editor, and check it afterwards.
    Edit,
    /// Say everything that is wrong with the configuration (exit 78 if something is).
    Check {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of config.yaml, for editors.
    Schema,
}

/// `hermes config …`.
pub(super) fn run(_args: ConfigArgs, _call: &Call) -> Result<u8, HermesError> {
    not_built("config")
}
