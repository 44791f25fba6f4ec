//! The way back of a program that a gateway has become and that cannot go on as it: becoming the one before again.
//!
//! It is there from the first moment of the program until it serves ([`arm`] comes before the command line is even read). What fails goes back by itself; what hangs is brought back by a thread
//! that waits for nothing else and sends the main thread a signal, whose handler does nothing but execute. So it is always the main thread that
//! changes the image: the workers' parent-death signal follows that thread, and they live on.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hermes_host::wait;
use hermes_wire::env;
use nix::libc;
use nix::sys::signal::Signal;

use super::renewal;
use crate::handover;

/// Time a program has to serve.
const TIME: Duration = Duration::from_secs(20);
/// Time between two looks whether it does.
const LOOK: Duration = Duration::from_millis(50);
/// Who is brought back by it does nothing else with it.
const SIGNAL: Signal = Signal::SIGUSR2;

/// What is executed, ready for a handler that may not allocate.
struct Call {
    image: CString,
    arguments: Pointers,
    variables: Pointers,
}

/// Texts, and the list of pointers to them that ends with none.
struct Pointers {
    list: Vec<*const libc::c_char>,
    _texts: Vec<CString>,
}

// SAFETY: written once, before anybody else can see it; what the pointers lead to is owned beside them and never changes.
#[expect(unsafe_code, reason = "pointers to texts that live as long")]
unsafe impl Send for Pointers {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "pointers to texts that live as long")]
unsafe impl Sync for Pointers {}

impl Pointers {
    fn new(texts: Vec<CString>) -> Self {
        let list = texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Self { list, _texts: texts }
    }
}

/// For a program that hangs.
static OVERDUE: OnceLock<Call> = OnceLock::new();

/// Nobody is brought back any more.
static CUT: AtomicBool = AtomicBool::new(false);

/// The way back, as long as there is one.
pub(super) struct Lifeline(());

/// Until somebody has it who knows more.
static ARMED: Mutex<Option<Lifeline>> = Mutex::new(None);

/// Call first of all, from the main thread. Does nothing in a process that was no other program before.
pub fn arm() {
    if handover::is_pending() {
        *lock() = Lifeline::new();
    }
}

/// Call where the program is about to end. Returns where it never was another one, or has served since.
pub fn go_back(why: &str) {
    if let Some(lifeline) = take() {
        Lifeline::go_back(lifeline, why);
    }
}

/// Who has it decides when it is cut.
pub(super) fn take() -> Option<Lifeline> {
    lock().take()
}

fn lock() -> MutexGuard<'static, Option<Lifeline>> {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lifeline {
    /// Where this process was another program a moment ago, which knows what to do if this one does not. Call from the main thread.
    fn new() -> Option<Self> {
        // One that came back has nobody to go back to.
        if std::env::var_os(env::RETURNED).is_some() {
            return None;
        }
        OVERDUE.set(call(&format!("it did not serve within {} s", TIME.as_secs()))?).ok()?;
        // SAFETY: the handler reads what was set above and calls `execve`, both of which a handler may.
        #[expect(unsafe_code, reason = "only a handler runs on a thread that hangs")]
        let set =
            unsafe { nix::sys::signal::signal(SIGNAL, nix::sys::signal::SigHandler::Handler(go_back_now)) };
        set.ok()?;
        // SAFETY: it only names the calling thread.
        #[expect(unsafe_code, reason = "no wrapper is built in")]
        let main = unsafe { libc::pthread_self() };
        let watch = move || {
            let deadline = hermes_host::clock::now() + TIME;
            while !CUT.load(Ordering::Acquire) {
                if hermes_host::clock::now() >= deadline {
                    // SAFETY: the main thread lives as long as the process.
                    #[expect(unsafe_code, reason = "no wrapper is built in")]
                    let _ = unsafe { libc::pthread_kill(main, SIGNAL as libc::c_int) };
                    return;
                }
                wait::pause(LOOK);
            }
        };
        std::thread::Builder::new().name("lifeline".to_owned()).stack_size(64 * 1024).spawn(watch).ok()?;
        Some(Self(()))
    }

    /// It serves, and is not brought back any more.
    pub(super) fn cut(Self(()): Self) {
        CUT.store(true, Ordering::Release);
    }

    /// Becomes the program before. Returns only where that cannot be. Call from the main thread.
    pub(super) fn go_back(Self(()): Self, why: &str) {
        tracing::error!("becoming the program before again: {why}");
        crate::logging::flush();
        if let Some(call) = call(why) {
            execute(&call);
        }
        tracing::error!(error = %std::io::Error::last_os_error(), "the program before cannot be executed");
    }
}

/// The program before, told why it is back.
fn call(why: &str) -> Option<Call> {
    let image = CString::new(handover::image_before()?).ok()?;
    let why: String = why.chars().filter(|c| !c.is_control()).collect();
    let pending = std::env::var_os(env::HANDOVER)?.into_string().ok()?;
    let handed = [(env::HANDOVER, pending), (env::RETURNED, why)];
    let (arguments, variables) = renewal::call(&handed).ok()?;
    Some(Call { image, arguments: Pointers::new(arguments), variables: Pointers::new(variables) })
}

extern "C" fn go_back_now(_: libc::c_int) {
    if let Some(call) = OVERDUE.get().filter(|_| !CUT.load(Ordering::Acquire)) {
        execute(call);
    }
}

fn execute(call: &Call) {
    // SAFETY: all of them are texts, or lists of texts that end with none, which live as long as the call.
    #[expect(unsafe_code, reason = "a handler may not allocate, as the wrapper does")]
    unsafe {
        libc::execve(call.image.as_ptr(), call.arguments.list.as_ptr(), call.variables.list.as_ptr());
    }
}
