//! A command killed at every step it takes: before each system call that changes something on disk.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::Home;
use crate::command::Ran;
use crate::gateway::{binary, hermes};
use crate::tools;

/// The calls by which a command changes what is on disk. `strace` counts each for itself.
const CALLS: [&str; 13] = [
    "mkdir",
    "write",
    "copy_file_range",
    "fchmod",
    "chmod",
    "fsync",
    "syncfs",
    "rename",
    "renameat2",
    "link",
    "symlink",
    "unlink",
    "rmdir",
];
/// More calls of one kind than any command under test makes.
const MOST: u32 = 400;

/// Runs `hermes` with `args` again and again, each time in a home that `prepare` makes, killed with SIGKILL one step later than the
/// time before, until it gets through; `check` sees every home afterwards. `skip` calls of `openat` at the start are those that load
/// the program. Returns how often it was killed.
pub fn killed_at_every_step(args: &[&str], prepare: impl Fn() -> Home, check: impl Fn(&Home, &str)) -> u32 {
    tools::need("strace");
    let mut killed = 0;
    for call in CALLS {
        for step in 1..=MOST {
            assert!(step < MOST, "{args:?} still calls {call} after {step} times");
            let home = prepare();
            let Some(ran) = run_until(&home, args, call, step) else {
                killed += 1;
                check(&home, &format!("killed before {call} number {step}"));
                continue;
            };
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            check(&home, "not killed");
            break;
        }
    }
    killed
}

#[expect(clippy::disallowed_methods, reason = "the harness starts the program under a tracer")]
/// `None`: it was killed before its `step`th `call`.
fn run_until(home: &Home, args: &[&str], call: &str, step: u32) -> Option<Ran> {
    let plain = hermes(home, args);
    let mut command = Command::new("strace");
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=SIGKILL:when={step}")]);
    command.arg(binary()).args(args);
    let output = command.stdin(Stdio::null()).output().unwrap();
    if output.status.signal() == Some(9) { None } else { Some(output.into()) }
}
