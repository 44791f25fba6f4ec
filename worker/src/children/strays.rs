//! What left the process group that it was started in, found again and ended.
//!
//! A program that makes a session of its own (`setsid`, a daemon) is out of its group's reach. But whatever outlives its parent becomes a
//! child of this worker, which is the subreaper of everything below it, and has in its environment the [mark](VARIABLE) of the program
//! that it came from, unless it has put that away.

/// Names, in the environment of a program, the start that it comes from.
pub(crate) const VARIABLE: &str = "HERMES_STARTED_BY";

/// Kills every stray with this mark, with all that it has started. Reads a few small files; where no process can be looked at,
/// nothing is done.
#[cfg(target_os = "linux")]
pub(crate) fn kill(mark: &str) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let wanted = format!("{VARIABLE}={mark}");
    let is_marked = |pid: i32| {
        let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let mut waiting: Vec<i32> = of(i32::try_from(std::process::id()).unwrap_or_default());
    waiting.retain(|pid| !super::is_own(Pid::from_raw(*pid)) && is_marked(*pid));
    // Each is stopped from starting more before what it has started is looked for.
    let mut found = Vec::new();
    while let Some(pid) = waiting.pop() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        waiting.extend(of(pid));
        found.push(pid);
    }
    for pid in found {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn kill(_mark: &str) {}

/// Children of a process.
#[cfg(target_os = "linux")]
fn of(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs_err::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.filter_map(|thread| fs_err::read_to_string(thread.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect()
}
