//! Open files: how many this process may have, what they are kept for, and how many clients fit into the rest.
//!
//! The limit is raised as far as it goes before anything else; workers, and what they start, get a limit of their own again.
//! A part is kept for what the gateway needs to be governed at all: its own files, commands, the admin listener, starting
//! processes, reading homes. Every worker and listener has its share, and clients have the rest. Where too few fit, the gateway
//! does not start: one that says it is ready and cannot take a connection is worse than none.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The gateway's own: standard streams, locks, logs, runtimes and their threads, notifications, homes and status files being
/// read, a few connections on their way out.
const OWN: u64 = 112;
/// Commands that are connected to `supervisor.sock`; no more are let in.
const COMMANDS: u64 = crate::server::CLIENTS as u64;
/// Clients of `gateway.sock`; no more are let in.
const OTHERS: u64 = crate::rendezvous::CLIENTS as u64;
/// Clients of the admin listener; no more are kept.
const ADMIN: u64 = crate::metrics::CLIENTS as u64;
/// Processes being started, and checks of the next release.
const STARTING: u64 = 32;
/// One worker: its data listener, its control link and its end of the road, what is held of it, and once more while it is swapped.
const WORKER: u64 = 8;
/// One listener: its sockets, and the accept loops' copies.
const LISTENER: u64 = 4;
/// One client connection: itself, its connection to a worker, and an idle one.
const CONNECTION: u64 = 3;
/// One in so many connections may be on its way out while its place is taken already.
const LEAVING: u64 = 16;
/// Connections below which a gateway is of no use.
const LEAST: u64 = 16;
/// What a worker should have, whatever the gateway was started with: the usual limit, and what old programs can count to.
const USUAL: u64 = 1024;

/// The limit of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    limit: u64,
    /// What it was before it was raised.
    before: u64,
}

/// What needs open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Workers.
    pub profiles: usize,
    /// Addresses.
    pub listeners: usize,
    /// Connections of clients.
    pub connections: u32,
}

/// Too few open files are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "at most {limit} open files are allowed, and {needed} are needed at least to serve {profiles} profile{}",
    if *.profiles == 1 { "" } else { "s" }
)]
pub struct TooFewFiles {
    /// The limit.
    pub limit: u64,
    /// What is needed.
    pub needed: u64,
    /// For so many.
    pub profiles: usize,
}

impl TooFewFiles {
    /// The next step.
    pub fn hint(&self) -> String {
        let better = self.needed.next_power_of_two().max(USUAL);
        format!("raise the limit of open files: `ulimit -n {better}`, or `LimitNOFILE={better}` in the unit")
    }
}

impl Files {
    /// Raises the limit as far as it may be raised.
    pub fn raise() -> Self {
        let Ok((before, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
            // Nobody knows; what fails then says so itself.
            return Self { limit: USUAL, before: USUAL };
        };
        if before < hard
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            return Self { limit: before, before };
        }
        Self { limit: hard, before }
    }

    /// As a process that raises its limit would have it.
    pub fn raised() -> Option<Self> {
        let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        Some(Self { limit: hard, before })
    }

    /// How many this process may open.
    pub fn limit(self) -> u64 {
        self.limit
    }

    /// The limit of a worker that has `requests` at a time, where it is not the gateway's.
    pub fn of_worker(self, requests: u32) -> Option<u64> {
        let limit = self.before.max(USUAL).max(u64::from(requests) * 2 + OWN);
        (limit < self.limit).then_some(limit)
    }

    /// How many client connections fit, at most as many as are wanted.
    pub fn connections(self, wanted: Wanted) -> Result<u32, TooFewFiles> {
        let kept = OWN + COMMANDS + OTHERS + ADMIN + STARTING;
        let kept = kept + WORKER * wanted.profiles as u64 + LISTENER * wanted.listeners as u64;
        let least = LEAST.min(u64::from(wanted.connections));
        let fit = self.limit.saturating_sub(kept) / CONNECTION * LEAVING / (LEAVING + 1);
        if fit < least {
            let needed = kept + (least * (LEAVING + 1)).div_ceil(LEAVING) * CONNECTION;
            return Err(TooFewFiles { limit: self.limit, needed, profiles: wanted.profiles });
        }
        Ok(u32::try_from(fit).unwrap_or(u32::MAX).min(wanted.connections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(limit: u64) -> Files {
        Files { limit, before: 1024 }
    }

    fn wanted(profiles: usize) -> Wanted {
        Wanted { profiles, listeners: 2, connections: 4096 }
    }

    /// 31: clients have what is left, and a start that would be of no use is refused with numbers.
    #[test]
    fn clients_have_the_rest() {
        assert_eq!(files(1 << 20).connections(wanted(1000)), Ok(4096), "there is room for all");
        let some = files(1024).connections(wanted(3)).unwrap();
        assert!((200..300).contains(&some), "{some}");
        assert!(files(1024).connections(wanted(50)).unwrap() < some);
        for limit in [0, 24, 100, 255] {
            let few = files(limit).connections(wanted(3)).unwrap_err();
            assert_eq!((few.limit, few.profiles), (limit, 3));
            assert!(files(few.needed).connections(wanted(3)).is_ok(), "what it says is enough is enough");
            assert!(files(few.needed - 1).connections(wanted(3)).is_err(), "and not a file less");
        }
        assert!(files(1024).connections(wanted(500)).is_err());
    }

    #[test]
    fn the_refusal_has_numbers_and_a_next_step() {
        let few = files(24).connections(wanted(1)).unwrap_err();
        assert_eq!(
            few.to_string(),
            format!(
                "at most 24 open files are allowed, and {} are needed at least to serve 1 profile",
                few.needed
            )
        );
        assert!(few.hint().contains("`ulimit -n 1024`"), "{}", few.hint());
    }

    /// 31: whatever the gateway raised for itself, a worker has the limit it would have had, and enough.
    #[test]
    fn workers_have_a_limit_of_their_own() {
        assert_eq!(Files { limit: 1 << 20, before: 4096 }.of_worker(256), Some(4096));
        assert_eq!(Files { limit: 1 << 20, before: 64 }.of_worker(256), Some(1024));
        assert_eq!(Files { limit: 1 << 20, before: 64 }.of_worker(1000), Some(2 * 1000 + OWN));
        assert_eq!(Files { limit: 1024, before: 1024 }.of_worker(256), None);
    }
}
