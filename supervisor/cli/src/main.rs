//! The one executable: a gateway, a worker of it, or a command about either.

use std::process::ExitCode;

use hermes_cli::cli::Next;

fn main() -> ExitCode {
    let args = std::env::args_os().collect::<Vec<_>>();
    if let Some(code) = hermes_worker::enter(&args) {
        return ExitCode::from(code);
    }
    // Gateways and workers hold keys, and so do commands that set them up.
    hermes_host::private::close_to_others();
    let code = match hermes_cli::cli::run(args, hermes_worker::settle) {
        Next::Exit(code) => code,
        Next::Worker(args) => hermes_worker::run(args),
    };
    ExitCode::from(code)
}
