//! Whether the kernel ended a process for want of memory, as far as that can be known.
//!
//! A process that was ended so looks like one that somebody killed. The kernel counts the former, for the control group where
//! there is one, else for the whole machine. A kill that falls together with a higher count is taken for one; which process was
//! meant is written nowhere that an ordinary user may read.

use std::sync::atomic::{AtomicU64, Ordering};

const MACHINE: &str = "/proc/vmstat";

/// The kernel's count.
#[derive(Debug)]
pub(crate) struct OomKills {
    file: Option<String>,
    seen: AtomicU64,
}

impl OomKills {
    /// Finds the closest count there is.
    pub(crate) fn new() -> Self {
        let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let file = files(&groups).into_iter().find(|file| count(file).is_some());
        let seen = file.as_deref().and_then(count).unwrap_or_default();
        Self { file, seen: AtomicU64::new(seen) }
    }

    /// Whether it has grown since the last look.
    pub(crate) fn has_grown(&self) -> bool {
        let Some(now) = self.file.as_deref().and_then(count) else { return false };
        self.seen.swap(now, Ordering::Relaxed) < now
    }
}

/// Where the count may be, closest first.
fn files(groups: &str) -> Vec<String> {
    let of_group = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.trim_end_matches('/');
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/memory.events")),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(format!("/sys/fs/cgroup/memory{path}/memory.oom_control"))
            }
            _ => None,
        }
    });
    of_group.chain([MACHINE.to_owned()]).collect()
}

fn count(file: &str) -> Option<u64> {
    in_text(&fs_err::read_to_string(file).ok()?)
}

fn in_text(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 26: the count is found in every form that the kernel gives it, the own group's before the machine's.
    #[test]
    fn the_kernel_counts_in_three_places() {
        assert_eq!(in_text("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n"), Some(4));
        assert_eq!(in_text("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(in_text("nr_free_pages 1\noom_kill 0\n"), Some(0));
        assert_eq!(in_text("oom_kill_disable 0\n"), None);
        let version_1 = files("9:name=systemd:/\n4:cpu,memory:/a/b\n1:cpu:/\n");
        assert_eq!(version_1, ["/sys/fs/cgroup/memory/a/b/memory.oom_control", MACHINE]);
        let version_2 = files("0::/user.slice/x.service\n");
        assert_eq!(version_2, ["/sys/fs/cgroup/user.slice/x.service/memory.events", MACHINE]);
        assert_eq!(files("0::/\n")[0], "/sys/fs/cgroup/memory.events");
        assert!(!OomKills::new().has_grown());
    }
}
