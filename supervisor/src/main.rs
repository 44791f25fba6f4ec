//! The one executable: a gateway, a worker of it, or a command about either.

use std::process::ExitCode;

use hermes_supervisor::cli::{Next, WorkerMode, WorkerRequest};
use hermes_worker::{Mode, WorkerArgs};

fn main() -> ExitCode {
    let code = match hermes_supervisor::cli::run(std::env::args_os().collect(), hermes_worker::settle) {
        Next::Exit(code) => code,
        Next::Worker(request) => hermes_worker::run(worker(request)),
    };
    ExitCode::from(code)
}

fn worker(request: WorkerRequest) -> WorkerArgs {
    let mode = match request.mode {
        WorkerMode::Supervised => Mode::Supervised,
        WorkerMode::Standalone { http } => Mode::Standalone { http },
        WorkerMode::SettleIdentity => Mode::SettleIdentity,
        WorkerMode::AskProvider => Mode::AskProvider,
        WorkerMode::RoutesFor(name) => Mode::RoutesFor(name),
    };
    WorkerArgs { profile: request.profile, home: request.home, mode }
}
