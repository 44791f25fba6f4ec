//! What tells a worker's descendants from every other process, whatever they did to get away: a soft limit that the worker
//! sets on itself and that everything below it inherits.
//!
//! Sessions, groups, parents and environments can be left by any program; an inherited resource limit stays, and the kernel
//! shows it to everybody. The limit is the processor time of real-time tasks between two system calls. The value is some
//! hundred thousand years, so it limits nothing; its upper half says "of a worker", its lower half which.

/// `HERM`.
const OURS: u64 = 0x4845_524d;

/// The value that the worker with this process id carries.
pub const fn value(worker: u32) -> u64 {
    (OURS << 32) | worker as u64
}

/// The worker that a process descends from, by its `/proc/<pid>/limits`.
pub fn worker_of(limits: &str) -> Option<u32> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max realtime timeout"))?;
    let value: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    (value >> 32 == OURS).then_some(u32::try_from(value & u64::from(u32::MAX)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_among_the_limits_and_nothing_else_is_one() {
        let limits = |timeout: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max realtime priority     0                    0                    \n\
                 Max realtime timeout      {timeout:<20} unlimited            us        \n"
            )
        };
        assert_eq!(worker_of(&limits(&value(4242).to_string())), Some(4242));
        assert_eq!(worker_of(&limits(&value(u32::MAX).to_string())), Some(u32::MAX));
        for other in ["unlimited", "200000", "0", "-1", ""] {
            assert_eq!(worker_of(&limits(other)), None, "{other}");
        }
        assert_eq!(worker_of(""), None);
    }
}
