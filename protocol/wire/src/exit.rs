//! Exit codes of `hermes`, one list for the supervisor, the workers and every command.
//!
//! 0.19.0 fixed 75 and 78; unit files rely on them (`RestartPreventExitStatus=78`).

/// Done, or a planned stop.
pub const OK: u8 = 0;
/// Unexpected failure, or "already running" (0.19.0's code for it).
pub const FAILURE: u8 = 1;
/// The command line was wrong.
pub const USAGE: u8 = 2;
/// `chat`: the limit on calls for tools was reached, so that the answer is a summary.
pub const MAX_TURNS: u8 = 3;
/// `status --exit-code`: the gateway or profile is stopped.
pub const STOPPED: u8 = 3;
/// `status --exit-code`: running, but something in it is not ready.
pub const DEGRADED: u8 = 4;
/// No gateway answered and the command needs one.
pub const UNAVAILABLE: u8 = 69;
/// The machine did not let it: no space, no memory, no descriptors, no threads, a disk that fails. Passes by itself; a worker
/// that ends with it is tried again every few seconds.
pub const MACHINE: u8 = 71;
/// "Restart me", or: busy now, try again.
pub const RESTART: u8 = 75;
/// A configuration error that no retry can fix.
pub const CONFIG: u8 = 78;
/// It panicked, which is a bug; the runtime of the language fixed the number. What and where is in the log.
pub const PANIC: u8 = 101;
/// Ended by Ctrl-C or SIGTERM before it was done; nothing was changed.
pub const INTERRUPTED: u8 = 130;
