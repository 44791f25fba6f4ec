//! The one executable: a gateway, a worker of it, or a command about either.

use std::process::ExitCode;

use hermes_cli::cli::Next;

fn main() -> ExitCode {
    let code = match hermes_cli::cli::run(std::env::args_os().collect(), hermes_worker::settle) {
        Next::Exit(code) => code,
        Next::Worker(args) => hermes_worker::run(args),
    };
    ExitCode::from(code)
}
