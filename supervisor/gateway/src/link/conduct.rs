//! What a worker may say: when, how often, and how much. Pure.
//!
//! A worker runs what a profile brings along, so its supervisor believes nothing of it and keeps nothing beyond these bounds.
//! Every message passes here before it reaches the actor; the first that breaks a rule ends the worker, with the rule as the
//! reason.

use std::time::Duration;

use hermes_wire::codec::CodecError;
use hermes_wire::latest::{FromWorker, MAX_REPORT_LEN};

use crate::rate::Rate;

/// Longest message but the report: names, counters and a sentence at most.
const MAX_NEWS_LEN: usize = 16 * 1024;
/// Messages that may come at once. What was said while the supervisor itself was held up comes at once too, as much as a
/// socket holds.
const BURST: u64 = 4096;
/// Messages a second, in the long run. A heartbeat comes at most every 20 ms.
const A_SECOND: u64 = 100;

/// The rule that a worker broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("it sent a message of {len} bytes where {most} are allowed")]
    Long { len: usize, most: usize },
    #[error("it sent a report that is larger than a report may be")]
    Report,
    #[error("it said `{0}` twice")]
    Again(&'static str),
    #[error("it said `{0}` before its turn")]
    Early(&'static str),
    #[error("it said that a platform is connected which its report does not name as exclusive")]
    Unnamed,
    #[error("it went on talking after it had said that it was done")]
    Late,
    #[error("it sent more than {A_SECOND} messages a second")]
    Flood,
    #[error("it sent what is no message")]
    Garbled,
}

/// What one process has said so far.
#[derive(Debug)]
pub(crate) struct Conduct {
    reported: bool,
    ready: bool,
    drained: bool,
    /// The exclusive platforms that its report names.
    exclusive: Vec<String>,
    rate: Rate,
}

impl Conduct {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            reported: false,
            ready: false,
            drained: false,
            exclusive: Vec::new(),
            rate: Rate::new(BURST, A_SECOND, now),
        }
    }

    /// Of a process that has reported, naming these platforms as exclusive, and is ready.
    pub(crate) fn of_ready(exclusive: Vec<String>, now: Duration) -> Self {
        Self { reported: true, ready: true, exclusive, ..Self::new(now) }
    }

    /// Whether so many bytes may be looked at.
    pub(crate) fn length(&self, len: usize) -> Result<(), Violation> {
        let most = if self.reported { MAX_NEWS_LEN } else { MAX_REPORT_LEN };
        if len > most { Err(Violation::Long { len, most }) } else { Ok(()) }
    }

    /// Takes note of a message.
    pub(crate) fn said(
        &mut self,
        message: &Result<FromWorker, CodecError>,
        now: Duration,
    ) -> Result<(), Violation> {
        if !self.rate.take(now) {
            return Err(Violation::Flood);
        }
        let message = message.as_ref().map_err(|_| Violation::Garbled)?;
        if self.drained {
            return Err(Violation::Late);
        }
        match message {
            FromWorker::Report(_) if self.reported => return Err(Violation::Again("Report")),
            FromWorker::Report(report) if !report.is_bounded() => return Err(Violation::Report),
            FromWorker::Report(report) => {
                self.reported = true;
                self.exclusive.clone_from(&report.exclusive);
            }
            FromWorker::Ready if self.ready => return Err(Violation::Again("Ready")),
            FromWorker::Ready if !self.reported => return Err(Violation::Early("Ready")),
            FromWorker::Ready => self.ready = true,
            FromWorker::AcceptStopped if !self.ready => return Err(Violation::Early("AcceptStopped")),
            FromWorker::Idle if !self.ready => return Err(Violation::Early("Idle")),
            FromWorker::Restart if !self.ready => return Err(Violation::Early("Restart")),
            FromWorker::Drained if !self.ready => return Err(Violation::Early("Drained")),
            FromWorker::Drained => self.drained = true,
            FromWorker::Heartbeat(_) if !self.reported => return Err(Violation::Early("Heartbeat")),
            FromWorker::Degraded { .. } if !self.reported => return Err(Violation::Early("Degraded")),
            FromWorker::Yielded if !self.reported => return Err(Violation::Early("Yielded")),
            FromWorker::Connected { .. } if !self.reported => return Err(Violation::Early("Connected")),
            FromWorker::Connected { platform } if !self.exclusive.contains(platform) => {
                return Err(Violation::Unnamed);
            }
            FromWorker::AcceptStopped
            | FromWorker::Idle
            | FromWorker::Restart
            | FromWorker::Heartbeat(_)
            | FromWorker::Degraded { .. }
            | FromWorker::Yielded
            | FromWorker::Connected { .. }
            | FromWorker::LastWords { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::{Heartbeat, Report};

    use super::*;

    fn run(messages: &[FromWorker]) -> Result<(), Violation> {
        let mut conduct = Conduct::new(Duration::ZERO);
        messages.iter().try_for_each(|message| conduct.said(&Ok(message.clone()), Duration::ZERO))
    }

    fn report() -> FromWorker {
        FromWorker::Report(Report::default())
    }

    fn beat() -> FromWorker {
        FromWorker::Heartbeat(Heartbeat::default())
    }

    /// 29: every message in its phase, and never twice what is said once.
    #[test]
    fn every_message_has_its_phase() {
        use FromWorker::{AcceptStopped, Degraded, Drained, Ready, Yielded};
        let degraded = || Degraded { platforms: vec!["webhook".to_owned()], reason: None, last_error: None };
        let connected = || FromWorker::Connected { platform: "polling".to_owned() };
        let names_it = Report { exclusive: vec!["polling".to_owned()], ..Report::default() };
        let life = [
            FromWorker::Report(names_it),
            connected(),
            Ready,
            degraded(),
            Yielded,
            connected(),
            beat(),
            FromWorker::Idle,
            FromWorker::Restart,
            AcceptStopped,
            beat(),
            AcceptStopped,
            beat(),
            Yielded,
            Drained,
        ];
        assert_eq!(run(&life), Ok(()));
        for (first, rule) in [
            (beat(), Violation::Early("Heartbeat")),
            (Ready, Violation::Early("Ready")),
            (degraded(), Violation::Early("Degraded")),
            (AcceptStopped, Violation::Early("AcceptStopped")),
            (Yielded, Violation::Early("Yielded")),
            (connected(), Violation::Early("Connected")),
            (FromWorker::Idle, Violation::Early("Idle")),
            (FromWorker::Restart, Violation::Early("Restart")),
            (Drained, Violation::Early("Drained")),
        ] {
            assert_eq!(run(&[first]), Err(rule));
        }
        assert_eq!(run(&[report(), report()]), Err(Violation::Again("Report")));
        assert_eq!(run(&[report(), Ready, beat(), report()]), Err(Violation::Again("Report")));
        assert_eq!(run(&[report(), Ready, Ready]), Err(Violation::Again("Ready")));
        assert_eq!(run(&[report(), Ready, Drained, beat()]), Err(Violation::Late));
        assert_eq!(run(&[report(), Ready, connected()]), Err(Violation::Unnamed));
        let garbled = hermes_wire::codec::decode::<FromWorker>(&[0xff]);
        assert_eq!(Conduct::new(Duration::ZERO).said(&garbled, Duration::ZERO), Err(Violation::Garbled));
    }

    /// 29: the report may be long once; nothing else may.
    #[test]
    fn every_message_has_its_length() {
        let mut conduct = Conduct::new(Duration::ZERO);
        assert_eq!(conduct.length(MAX_REPORT_LEN), Ok(()));
        assert!(conduct.length(MAX_REPORT_LEN + 1).is_err());
        conduct.said(&Ok(report()), Duration::ZERO).unwrap();
        assert_eq!(conduct.length(MAX_NEWS_LEN), Ok(()));
        let most = MAX_NEWS_LEN;
        assert_eq!(conduct.length(most + 1), Err(Violation::Long { len: most + 1, most }));
        let long = Report { exclusive: vec!["x".repeat(5000)], ..Report::default() };
        assert_eq!(run(&[FromWorker::Report(long)]), Err(Violation::Report));
    }

    /// 29: the fastest heartbeat there is may go on for ever, and what a socket held back may come at once; a flood may not.
    #[test]
    fn every_message_counts() {
        let mut conduct = Conduct::new(Duration::ZERO);
        conduct.said(&Ok(report()), Duration::ZERO).unwrap();
        let mut now = Duration::ZERO;
        for _ in 0..100_000 {
            now += Duration::from_millis(20);
            assert_eq!(conduct.said(&Ok(beat()), now), Ok(()));
        }
        now += Duration::from_secs(600);
        for _ in 0..BURST {
            assert_eq!(conduct.said(&Ok(beat()), now), Ok(()));
        }
        assert_eq!(conduct.said(&Ok(beat()), now), Err(Violation::Flood));
        // A flood spread over time is found as well.
        let mut conduct = Conduct::new(now);
        conduct.said(&Ok(report()), now).unwrap();
        let flood = (0..100_000).find(|_| {
            now += Duration::from_millis(5);
            conduct.said(&Ok(beat()), now).is_err()
        });
        assert!(flood.is_some_and(|n| n < 10_000), "{flood:?}");
    }
}
