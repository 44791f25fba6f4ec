//! The supervisor and one worker, over the control pair.
//!
//! ```text
//! worker                                   supervisor
//!   Offer  ------------------------------->            (handshake.rs)
//!          <------------------------------- Answer
//!          <------------------------------- Prepare    claim key, generation, role, listeners known so far
//!   Report ------------------------------->            claims, problems, exclusive platforms, settings (default only)
//!          <------------------------------- Admit      final listeners  (or Refuse: exit 78)
//!   Ready  ------------------------------->            data socket served; exclusive platforms are not waited for
//!   Heartbeat … every interval ----------->            for as long as it lives
//!          <------------------------------- Connect    no other process of this profile is connected
//!   Connected{platform} ------------------>            one for every exclusive platform, whenever its connection stands
//!          <------------------------------- Yield      confirm what was accepted, close
//!   Yielded ------------------------------>            nothing is connected, and will not be before the next Connect
//!          <------------------------------- StopAccepting
//!   AcceptStopped ------------------------>            from now on no new connection is taken
//!          <------------------------------- Drain      the supervisor has dropped its idle connections
//!   Drained ------------------------------>            then the process exits 0
//! ```
//!
//! **Exclusive platforms** are those whose connection must never stand twice (a bot that polls). A worker connects them after
//! `Connect` only, which is sent once no other process of the profile can be connected: each of them has said `Yielded`, or is
//! dead. `Connect` may come before `Ready` or after it, and more than once. A worker that is about to end yields by itself and
//! says so (`Yielded` unasked); a `Connect` that crosses it changes nothing any more.
//!
//! End of file means the other process is gone: a worker then drains by itself and exits.

use serde::{Deserialize, Serialize};

use crate::ProfileName;
use crate::codec::{self, CodecError};
use crate::message::Message;
use crate::v1::worker as v1;
use crate::v1::worker::{Admit, Claim, GatewaySettings, Heartbeat, LastError, Prepare, Problem, Severity};
use crate::version::Version;

/// Supervisor to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// First message.
    Prepare(Prepare),
    /// Go: serve, and connect every platform that is not exclusive.
    Admit(Admit),
    /// Do not serve; exit with 78.
    Refuse {
        /// Why, for the worker's log and status file.
        reason: String,
    },
    /// Accept no new connection on the data socket, claim nothing new from the inbox.
    StopAccepting,
    /// Finish what runs within the time, then exit 0.
    Drain {
        /// Milliseconds until the supervisor stops waiting. Zero interrupts at once.
        deadline_ms: u64,
    },
    /// Claim nothing more from the inbox: the gateway stops. Requests that are on their way still start their turns.
    StopClaiming,
    /// Exclusive platforms may connect from now on. Said again, it changes nothing.
    Connect,
    /// Confirm to exclusive platforms what was accepted from them, close their connections, do not reconnect, say `Yielded`.
    Yield {
        /// Milliseconds until a connection that does not close in order is to be cut. The process of a worker that does not
        /// answer soon after is ended.
        within_ms: u64,
    },
}

/// Worker to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Answer to `Prepare`.
    Report(Report),
    /// Serving.
    Ready,
    /// Still alive.
    Heartbeat(Heartbeat),
    /// Answer to `StopAccepting`.
    AcceptStopped,
    /// Everything is finished; the process exits 0 next.
    Drained,
    /// Ready, and something that its files ask for does not work: readiness stays, state becomes `degraded`. Nothing in it ends
    /// that.
    Degraded {
        /// Names of platforms that are configured and not connected.
        platforms: Vec<String>,
        /// What is wrong in the files; one of the report's problems.
        reason: Option<String>,
        /// The provider's last failure, until a call succeeds.
        last_error: Option<LastError>,
    },
    /// Why the process is about to end unasked. Its status file says the same, where the disk takes it.
    LastWords {
        /// One sentence, with its causes.
        reason: String,
    },
    /// Answer to `Yield`, or unasked before the end: no exclusive platform is connected, and none connects before a `Connect`
    /// that comes after this. Unasked, none ever does.
    Yielded,
    /// The connection of an exclusive platform stands.
    Connected {
        /// Its name, one of [`Report::exclusive`].
        platform: String,
    },
}

/// The worker's view of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Exclusive identities this worker will use.
    pub claims: Vec<Claim>,
    /// Everything that is wrong or odd.
    pub problems: Vec<Problem>,
    /// The gateway's settings; from the primary only.
    pub gateway: Option<GatewaySettings>,
    /// Configured platforms whose connection must never stand twice.
    pub exclusive: Vec<String>,
    /// To whom this worker may hand events of its platforms; from `default` only.
    pub hand_over: Vec<HandOver>,
    /// Every platform that can be reached through a listener, configured or not; from the primary only.
    pub families: Vec<Family>,
}

/// The paths of a platform that is reached over HTTP: the listeners on which it was configured serve them and no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub platform: String,
    /// Its paths, without prefix; one that ends with `/` stands for everything below it.
    pub paths: Vec<String>,
    /// It is the agent's own API: web pages may call it.
    pub is_api: bool,
}

/// What supervisor and worker knew by themselves until version 1.
fn families_of_version_1() -> Vec<Family> {
    let family = |platform: &str, paths: &[&str], is_api| Family {
        platform: platform.to_owned(),
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
        is_api,
    };
    vec![
        family("webhook", &["/webhooks/"], false),
        family("api_server", &["/v1/", "/api/", "/health/detailed"], true),
    ]
}

/// Events of a platform that may be handed to a profile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandOver {
    /// The platform that they come in by.
    pub platform: String,
    /// Whose inbox takes them.
    pub profile: ProfileName,
}

/// Longest encoded report.
pub const MAX_REPORT_LEN: usize = 512 * 1024;
/// Most problems of one report.
const MAX_PROBLEMS: usize = 200;
/// Most claims, exclusive platforms and hand-overs of one report, each.
const MAX_ENTRIES: usize = 512;
/// Longest text in a report, in bytes: a path of the file system.
const MAX_TEXT: usize = 4096;
/// Longest name of an exclusive platform, or of one whose events are handed over, in bytes.
const MAX_NAME: usize = 64;
/// Most families, and most paths of one.
const MAX_FAMILIES: usize = 16;

impl Report {
    /// Whether it keeps the bounds that [`Report::bound`] brings it to.
    pub fn is_bounded(&self) -> bool {
        let texts = |problem: &Problem| {
            let optional = [&problem.platform, &problem.key, &problem.fix];
            let all = [&problem.code, &problem.file, &problem.message].into_iter();
            all.chain(optional.into_iter().flatten()).all(|text| text.len() <= MAX_TEXT)
        };
        self.problems.len() <= MAX_PROBLEMS
            && self.most_entries() <= MAX_ENTRIES
            && self.problems.iter().all(texts)
            && self.claims.iter().all(|c| c.platform.len() <= MAX_TEXT && c.source.len() <= MAX_TEXT)
            && self.exclusive.iter().all(|name| name.len() <= MAX_NAME)
            && self.hand_over.iter().all(|way| way.platform.len() <= MAX_NAME)
            && self.families.len() <= MAX_FAMILIES
            && self.families.iter().all(Family::is_bounded)
    }

    /// Cuts what is longer or more than a supervisor takes. Problems are given worst first; how many had to go is one of them.
    /// Nothing else is left out: a profile with too much of it is not served.
    pub fn bound(&mut self) {
        if self.most_entries() > MAX_ENTRIES {
            self.claims.clear();
            self.exclusive.clear();
            self.hand_over.clear();
            let message = format!("the profile configures more than {MAX_ENTRIES} platforms or credentials");
            self.problems.insert(0, Problem::without_place(Severity::Profile, "too_many", message));
        }
        let claims = self.claims.iter_mut().flat_map(|claim| [&mut claim.platform, &mut claim.source]);
        claims.for_each(|text| cut(text, MAX_TEXT));
        let names = self.exclusive.iter_mut().chain(self.hand_over.iter_mut().map(|way| &mut way.platform));
        names.for_each(|name| cut(name, MAX_NAME));
        for problem in &mut self.problems {
            let optional = [&mut problem.platform, &mut problem.key, &mut problem.fix];
            let texts = [&mut problem.code, &mut problem.file, &mut problem.message].into_iter();
            texts.chain(optional.into_iter().flatten()).for_each(|text| cut(text, MAX_TEXT));
        }
        let all = self.problems.len();
        self.leave(all.min(MAX_PROBLEMS), all);
        while codec::encode(self).map_or(true, |bytes| bytes.len() > MAX_REPORT_LEN)
            && self.problems.len() > 1
        {
            self.leave(self.problems.len() / 2, all);
        }
    }

    fn most_entries(&self) -> usize {
        self.claims.len().max(self.exclusive.len()).max(self.hand_over.len())
    }

    /// Keeps `keep` problems, of which one says that there were `all`.
    fn leave(&mut self, keep: usize, all: usize) {
        if keep < all {
            self.problems.truncate(keep.saturating_sub(1));
            let message = format!("{} more problems are not listed", all - self.problems.len());
            self.problems.push(Problem::without_place(Severity::Warning, "more_problems", message));
        }
    }
}

impl Family {
    /// Its name and its paths can stand in a line of a request's head.
    fn is_bounded(&self) -> bool {
        let is_name = |name: &str| {
            (1..=MAX_NAME).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let is_path = |path: &String| path.starts_with('/') && path.len() <= MAX_TEXT;
        is_name(&self.platform) && self.paths.len() <= MAX_FAMILIES && self.paths.iter().all(is_path)
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

impl Message for ToWorker {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < 2 {
            in_version_1(self).map(|old| codec::encode(&old)).transpose()
        } else {
            codec::encode(self).map(Some)
        }
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        if version < 2 { codec::decode::<v1::ToWorker>(bytes)?.try_into() } else { codec::decode(bytes) }
    }
}

/// What a worker of version 1 is told. It has no exclusive platform.
fn in_version_1(message: &ToWorker) -> Option<v1::ToWorker> {
    use v1::ToWorker as V1;
    Some(match message.clone() {
        ToWorker::Prepare(prepare) => V1::Prepare(prepare),
        ToWorker::Admit(admit) => V1::Admit(admit),
        ToWorker::Refuse { reason } => V1::Refuse { reason },
        ToWorker::StopAccepting => V1::StopAccepting,
        ToWorker::Drain { deadline_ms } => V1::Drain { deadline_ms },
        ToWorker::StopClaiming => V1::StopClaiming,
        ToWorker::Connect | ToWorker::Yield { .. } => return None,
    })
}

impl TryFrom<v1::ToWorker> for ToWorker {
    type Error = CodecError;

    fn try_from(old: v1::ToWorker) -> Result<Self, CodecError> {
        use v1::ToWorker as V1;
        Ok(match old {
            V1::Prepare(prepare) => Self::Prepare(prepare),
            V1::Admit(admit) => Self::Admit(admit),
            V1::Refuse { reason } => Self::Refuse { reason },
            V1::StopAccepting => Self::StopAccepting,
            V1::Drain { deadline_ms } => Self::Drain { deadline_ms },
            V1::Quiesce { .. } => return Err(CodecError::Retired("Quiesce")),
            V1::StopClaiming => Self::StopClaiming,
        })
    }
}

impl Message for FromWorker {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < 2 {
            news_in_version_1(self).map(|old| codec::encode(&old)).transpose()
        } else {
            codec::encode(self).map(Some)
        }
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        if version < 2 { Ok(codec::decode::<v1::FromWorker>(bytes)?.into()) } else { codec::decode(bytes) }
    }
}

/// What a supervisor of version 1 is told. It knows nothing of exclusive platforms, and hands no event over.
fn news_in_version_1(message: &FromWorker) -> Option<v1::FromWorker> {
    use v1::FromWorker as V1;
    Some(match message.clone() {
        FromWorker::Report(Report { claims, problems, gateway, .. }) => {
            V1::Report(v1::Report { claims, problems, platforms: Vec::new(), gateway })
        }
        FromWorker::Ready => V1::Ready,
        FromWorker::Heartbeat(beat) => V1::Heartbeat(beat),
        FromWorker::AcceptStopped => V1::AcceptStopped,
        FromWorker::Drained => V1::Drained,
        FromWorker::Degraded { platforms, reason, last_error } => {
            V1::Degraded { platforms, reason, last_error }
        }
        FromWorker::LastWords { reason } => V1::LastWords { reason },
        FromWorker::Yielded | FromWorker::Connected { .. } => return None,
    })
}

impl From<v1::FromWorker> for FromWorker {
    fn from(old: v1::FromWorker) -> Self {
        use v1::FromWorker as V1;
        match old {
            V1::Report(v1::Report { claims, problems, gateway, platforms: _ }) => {
                let families = if gateway.is_some() { families_of_version_1() } else { Vec::new() };
                Self::Report(Report { claims, problems, gateway, families, ..Report::default() })
            }
            V1::Ready => Self::Ready,
            V1::Heartbeat(beat) => Self::Heartbeat(beat),
            V1::AcceptStopped => Self::AcceptStopped,
            V1::Drained => Self::Drained,
            V1::Degraded { platforms, reason, last_error } => {
                Self::Degraded { platforms, reason, last_error }
            }
            V1::LastWords { reason } => Self::LastWords { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 29: whatever a profile's files say, the report about them is one that a supervisor takes, worst problems first.
    #[test]
    fn any_report_can_be_bounded_and_says_what_it_left_out() {
        let long = "ä".repeat(MAX_TEXT);
        let mut report = Report::default();
        for n in 0..1000 {
            let mut problem = Problem::without_place(Severity::Warning, "x", format!("{n} {long}"));
            (problem.file, problem.fix) = (long.clone(), Some(long.clone()));
            report.problems.push(problem);
        }
        report.exclusive.push(long.clone());
        report.hand_over.push(HandOver { platform: long.clone(), profile: ProfileName::default_profile() });
        report.claims.push(Claim { platform: long.clone(), identity: [0; 32], source: long });
        assert!(!report.is_bounded());
        report.bound();
        assert!(report.is_bounded());
        assert!(crate::codec::encode(&report).unwrap().len() <= MAX_REPORT_LEN);
        let (kept, last) = (report.problems.len() - 1, report.problems.last().unwrap());
        assert!(report.problems[0].message.starts_with("0 ä") && kept > 10, "{kept}");
        assert_eq!(last.message, format!("{} more problems are not listed", 1000 - kept));

        let mut short = Report { problems: report.problems[..3].to_vec(), ..Report::default() };
        let before = short.clone();
        short.bound();
        assert_eq!(short, before);

        let many = |n| vec!["p".to_owned(); n];
        let mut most = Report { exclusive: many(MAX_ENTRIES), ..Report::default() };
        most.bound();
        assert_eq!((most.exclusive.len(), most.problems.len()), (MAX_ENTRIES, 0));
        let mut more = Report { exclusive: many(MAX_ENTRIES + 1), ..Report::default() };
        more.bound();
        assert!(more.is_bounded() && more.problems[0].severity == Severity::Profile);
    }
}
