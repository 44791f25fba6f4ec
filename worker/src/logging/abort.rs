//! What the runtime prints just before it aborts (a stack overflow, no memory, a panic within a panic) goes through this process's own
//! thread like everything that is printed. So an abort waits a moment for that thread, and then goes on.

/// Waits so long, in milliseconds: the thread has at most a pipe's content to write.
const MOMENT: nix::libc::c_int = 150;

/// From now on an abort waits.
#[expect(unsafe_code, reason = "the handler only calls what a handler may call: poll and raise")]
pub(super) fn wait_for_the_log() {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    extern "C" fn wait(signal: nix::libc::c_int) {
        // SAFETY: no descriptors are looked at, so the pointer is not followed; both calls are safe in a handler. The signal is
        // blocked until the handler returns, and its action is the default one by then.
        unsafe {
            nix::libc::poll(std::ptr::null_mut(), 0, MOMENT);
            nix::libc::raise(signal);
        }
    }
    // On its own stack: the usual one may be what has no room left.
    let flags = SaFlags::SA_RESETHAND | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::Handler(wait), flags, SigSet::empty());
    // SAFETY: the handler above keeps to what a handler may do. It fails for no signal that there is.
    let _ = unsafe { sigaction(Signal::SIGABRT, &action) };
}
