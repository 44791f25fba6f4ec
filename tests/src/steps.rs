//! Commands with a fault at every step they take: killed, or refused by the system, as they make a call that changes something on disk.

use std::process::{Command, Stdio};

use crate::Home;
use crate::command::Ran;
use crate::gateway::hermes;

/// Calls that change a file system, or come between two such changes, as `strace` names them. It counts each for itself.
pub const CHANGES: [&str; 13] = [
    "/^mkdir(at)?$",
    "/^openat$",
    "/^p?write(64)?$",
    "/^(copy_file_range|sendfile)$",
    "/^(sym)?link(at)?$",
    "/^f?chmod(at)?$",
    "/^utimensat$",
    "/^rename(at)?$",
    "/^renameat2$",
    "/^unlink(at)?$",
    "/^rmdir$",
    "/^fsync$",
    "/^syncfs$",
];
/// More calls of one kind than any command under test makes.
const MOST: usize = 1000;

/// Whose calls are counted, each thread's for itself: the same number may be reached in another thread first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The main thread's alone.
    Main,
    /// Every thread's and child's.
    All,
}

/// Runs `hermes` with `what` (`signal=KILL:when=3`, `error=ENOSPC:when=3`) injected into `calls`. Needs `strace`, which every test that comes
/// here asked [`crate::tools::have`] for.
#[expect(clippy::disallowed_methods, reason = "the harness starts the program under a tracer")]
pub fn traced(home: &Home, args: &[&str], whose: Whose, calls: &str, what: &str) -> Ran {
    let plain = hermes(home, args);
    let mut command = Command::new("strace");
    command.args((whose == Whose::All).then_some("-f"));
    command.args(["-qqq", "-o", "/dev/null", "-e"]).arg(format!("trace={calls}"));
    command.arg("-e").arg(format!("inject={calls}:{what}")).arg(plain.get_program()).args(args);
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// A kind of step.
pub type Step = (Whose, &'static str);

/// Every kind of step a command may take.
pub fn steps() -> impl Iterator<Item = Step> {
    [Whose::Main, Whose::All].into_iter().flat_map(|whose| CHANGES.map(|calls| (whose, calls)))
}

/// The same, killed as it makes its `n`th of `calls`; `None` where it was.
pub fn killed_at(home: &Home, args: &[&str], (whose, calls): Step, n: usize) -> Option<Ran> {
    assert!(n < MOST, "{args:?} makes {calls} without end");
    let ran = traced(home, args, whose, calls, &format!("signal=KILL:when={n}"));
    ran.code.is_some().then_some(ran)
}

/// Runs `hermes` with `args` again and again, each time in a home that `prepare` makes, killed one step later than the time before,
/// until it gets through; `check` sees every home afterwards and is told what happened. Returns how often it was killed.
pub fn killed_at_every_step(args: &[&str], prepare: impl Fn() -> Home, check: impl Fn(&Home, &str)) -> u32 {
    let mut killed = 0;
    for step in steps() {
        for n in 1.. {
            let home = prepare();
            let Some(ran) = killed_at(&home, args, step, n) else {
                killed += 1;
                check(&home, &format!("killed at {step:?} number {n}"));
                continue;
            };
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            check(&home, "not killed");
            break;
        }
    }
    killed
}
