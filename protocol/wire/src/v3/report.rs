//! What a worker says of its profile's files before it serves, and the bounds it keeps.

use serde::{Deserialize, Serialize};

use super::parts::GatewaySettings;
use super::upkeep::Upkeep;
use crate::codec;
use crate::v2::parts::{Claim, Problem, Severity};
use crate::v2::worker::{Family, HandOver};

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
    /// How this profile is kept.
    pub upkeep: Upkeep,
    /// Why it cannot sleep: what only a process can hold, or work that waits for one. Looked for only where it may have to.
    pub awake: Option<String>,
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
            && self.awake.as_ref().is_none_or(|text| text.len() <= MAX_TEXT)
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
        self.awake.iter_mut().for_each(|text| cut(text, MAX_TEXT));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProfileName;

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
