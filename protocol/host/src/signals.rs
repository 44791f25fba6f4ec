//! Signals that whoever started a program wanted ignored (`nohup`, a background job of a shell without job control) stay so.

use std::io;

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether this process was started with the signal ignored, or ignores it since.
#[expect(unsafe_code, reason = "no wrapper asks for an action without changing it")]
pub fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, so nothing changes; where the call succeeds it has filled `action`.
    let action = unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Listens, unless the signal is ignored. It needs a runtime.
pub fn unless_ignored(kind: SignalKind) -> io::Result<Option<Signal>> {
    if is_ignored(kind.as_raw_value())? { Ok(None) } else { signal(kind).map(Some) }
}

/// Waits for the signal; one that is not listened to never comes. Safe to cancel.
pub async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
