//! The phases of a worker's life and the owner of every task.

use hermes_protocol::exit;

use crate::cli::{Mode, WorkerArgs};

/// Runs one worker process to its end and returns its exit code.
pub fn run(args: WorkerArgs) -> u8 {
    match args.mode {
        Mode::Supervised | Mode::Standalone { .. } | Mode::RoutesFor(_) => exit::FAILURE,
    }
}
