//! What a process has done so far, as the kernel counts it.

/// At one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    /// It has a processor, or waits for one.
    pub(crate) runs: bool,
    /// Processor time used, in clock ticks.
    pub(crate) ticks: u64,
}

impl Effort {
    /// Of a process; `None` where that cannot be seen.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::read(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Of the text of `/proc/<pid>/stat`: field 3 is the state, 14 and 15 are the times.
    fn read(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
        Some(Self { runs: *fields.first()? == "R", ticks: ticks(11)?.saturating_add(ticks(12)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_times_are_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 100 1 1";
        assert_eq!(Effort::read(stat), Some(Effort { runs: false, ticks: 42 }));
        assert_eq!(Effort::read(&stat.replace(" S ", " R ")), Some(Effort { runs: true, ticks: 42 }));
        assert_eq!(Effort::read("7 (x) R 1"), None);
    }

    /// A look takes processor time itself; so many take far more than a tick.
    #[cfg(target_os = "linux")]
    #[test]
    fn processor_time_is_counted() {
        let mut looks = (0..100_000).map(|_| Effort::of(std::process::id()).unwrap());
        assert!(looks.any(|effort| effort.ticks > 0));
    }
}
