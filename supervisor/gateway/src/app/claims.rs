//! Which profile holds which exclusive identity, and whether a report breaks the contract between profiles. Pure.

use std::collections::HashMap;

use hermes_wire::ProfileName;
use hermes_wire::latest::{Claim, Problem, Report, Severity};

use crate::generation::Generation;

/// `code` of the problem that two profiles hold one identity.
const DUPLICATE: &str = "duplicate_credential";

/// The identities in use. A swap's two generations may hold the same one; two profiles never.
#[derive(Debug, Default)]
pub struct Claims {
    held: HashMap<(String, [u8; 32]), Vec<Holder>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    profile: ProfileName,
    generation: Generation,
    source: String,
}

impl Claims {
    /// Every claim of `profile` that another profile holds already.
    pub fn conflicts(&self, profile: &ProfileName, claims: &[Claim]) -> Vec<Problem> {
        claims
            .iter()
            .filter_map(|claim| {
                let holders = self.held.get(&(claim.platform.clone(), claim.identity))?;
                let other = holders.iter().find(|holder| holder.profile != *profile)?;
                Some(duplicate(other, profile, claim))
            })
            .collect()
    }

    /// From now on a process of `profile` holds these.
    pub fn take(&mut self, profile: &ProfileName, generation: Generation, claims: &[Claim]) {
        for claim in claims {
            let holders = self.held.entry((claim.platform.clone(), claim.identity)).or_default();
            holders.push(Holder { profile: profile.clone(), generation, source: claim.source.clone() });
        }
    }

    /// The process is gone, and its claims with it.
    pub fn release(&mut self, profile: &ProfileName, generation: Generation) {
        self.held.retain(|_, holders| {
            holders.retain(|holder| holder.profile != *profile || holder.generation != generation);
            !holders.is_empty()
        });
    }
}

fn duplicate(earlier: &Holder, later: &ProfileName, claim: &Claim) -> Problem {
    let (first, platform) = (&earlier.profile, &claim.platform);
    Problem {
        severity: Severity::Gateway,
        code: DUPLICATE.to_owned(),
        platform: Some(platform.clone()),
        file: claim.source.clone(),
        line: None,
        column: None,
        key: None,
        message: format!(
            "Profile '{first}' and '{later}' both configure {platform} with the same credential — refusing to start the duplicate (a single bot token cannot be polled twice). Give each profile its own {platform} credential."
        ),
        fix: Some(format!(
            "it is in `{}` (profile '{first}') and in `{}` (profile '{later}'); change one of them",
            earlier.source, claim.source
        )),
    }
}

/// What a report says against serving the profile.
pub fn objections(report: &Report) -> impl Iterator<Item = &Problem> {
    report.problems.iter().filter(|problem| problem.severity.stops_profile())
}

/// What a report says about a profile that wants no part in this gateway. Its other problems are its own gateway's.
pub fn apart(report: &Report) -> Option<&Problem> {
    report.problems.iter().find(|problem| problem.is_standalone())
}

/// What a start finds, when all reports are in.
#[derive(Debug, Default)]
pub struct Findings {
    /// Who may serve.
    pub admitted: Vec<ProfileName>,
    /// Who may not, and the first reason.
    pub refused: Vec<(ProfileName, Problem)>,
    /// Who wants no part in it, and where that is said.
    pub apart: Vec<(ProfileName, Problem)>,
    /// All that stands against serving somebody.
    pub objections: Vec<(ProfileName, Problem)>,
    /// Whether the contract between profiles is broken.
    pub contract_broken: bool,
}

/// Compares all reports, in the order in which the profiles are served: of two that hold one identity, the later is refused.
/// `claims` has those of the admitted afterwards.
pub fn compare(reports: &[(ProfileName, Generation, &Report)], claims: &mut Claims) -> Findings {
    let mut findings = Findings::default();
    // Also of those that are refused for something else, so that everything is said at once.
    let mut everybody = Claims::default();
    for (profile, generation, report) in reports {
        if let Some(said) = apart(report) {
            findings.apart.push((profile.clone(), said.clone()));
            continue;
        }
        let mut found: Vec<Problem> = objections(report).cloned().collect();
        // A profile that cannot run claims nothing.
        let broken = found.iter().any(|problem| problem.severity == Severity::Profile);
        let offends = !found.is_empty() || !claims.conflicts(profile, &report.claims).is_empty();
        if !broken {
            found.extend(everybody.conflicts(profile, &report.claims));
            everybody.take(profile, *generation, &report.claims);
        }
        found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        findings.contract_broken |= found.iter().any(|problem| problem.severity == Severity::Gateway);
        match found.first() {
            Some(worst) if offends => findings.refused.push((profile.clone(), worst.clone())),
            _ => {
                claims.take(profile, *generation, &report.claims);
                findings.admitted.push(profile.clone());
            }
        }
        findings.objections.extend(found.into_iter().map(|problem| (profile.clone(), problem)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    fn claim(platform: &str, identity: u8, source: &str) -> Claim {
        Claim { platform: platform.to_owned(), identity: [identity; 32], source: source.to_owned() }
    }

    fn report(claims: &[Claim], severities: &[Severity]) -> Report {
        let problems = severities
            .iter()
            .map(|severity| Problem {
                severity: *severity,
                code: "x".to_owned(),
                platform: None,
                file: "/h/config.yaml".to_owned(),
                line: Some(3),
                column: None,
                key: None,
                message: format!("{severity:?}"),
                fix: None,
            })
            .collect();
        Report { claims: claims.to_vec(), problems, ..Report::default() }
    }

    #[test]
    fn the_later_of_two_is_refused_and_both_files_are_named() {
        let ops = report(&[claim("weixin", 1, "/h/ops/.env: WEIXIN_TOKEN")], &[]);
        let research = report(&[claim("weixin", 1, "/h/research/.env: WEIXIN_TOKEN")], &[]);
        let other = report(&[claim("telegram", 1, "/h/x/.env")], &[]);
        let reports = [
            (name("ops"), Generation::FIRST, &ops),
            (name("other"), Generation::FIRST, &other),
            (name("research"), Generation::FIRST, &research),
        ];
        let findings = compare(&reports, &mut Claims::default());
        assert!(findings.contract_broken);
        assert_eq!(findings.admitted, [name("ops"), name("other")]);
        let (who, problem) = &findings.refused[0];
        assert_eq!(who, &name("research"));
        assert_eq!(
            problem.message,
            "Profile 'ops' and 'research' both configure weixin with the same credential — refusing to start the duplicate (a single bot token cannot be polled twice). Give each profile its own weixin credential."
        );
        let fix = problem.fix.as_deref().unwrap();
        assert!(fix.contains("/h/ops/.env") && fix.contains("/h/research/.env"), "{fix}");
    }

    #[test]
    fn a_broken_profile_is_refused_without_breaking_the_contract() {
        let broken = report(&[claim("weixin", 1, "a")], &[Severity::Profile]);
        let fine = report(&[claim("weixin", 1, "b")], &[Severity::Warning, Severity::Platform]);
        let findings = compare(
            &[(name("a"), Generation::FIRST, &broken), (name("b"), Generation::FIRST, &fine)],
            &mut Claims::default(),
        );
        assert!(!findings.contract_broken, "a profile that does not run claims nothing");
        assert_eq!((findings.admitted.as_slice(), findings.refused.len()), (&[name("b")][..], 1));
    }

    #[test]
    fn who_stands_alone_is_neither_admitted_nor_refused_and_rivals_nobody() {
        let mut alone = report(&[claim("weixin", 1, "a")], &[Severity::Warning, Severity::Gateway]);
        alone.problems[0].code = "standalone".to_owned();
        let fine = report(&[claim("weixin", 1, "b")], &[]);
        let mut claims = Claims::default();
        let findings = compare(
            &[(name("a"), Generation::FIRST, &alone), (name("b"), Generation::FIRST, &fine)],
            &mut claims,
        );
        assert!(!findings.contract_broken && findings.refused.is_empty() && findings.objections.is_empty());
        assert_eq!((findings.admitted, findings.apart.len()), (vec![name("b")], 1));
    }

    #[test]
    fn everything_is_said_at_once() {
        let one = report(&[], &[Severity::Gateway, Severity::Profile]);
        let two = report(&[], &[Severity::Gateway]);
        let findings = compare(
            &[(name("a"), Generation::FIRST, &one), (name("b"), Generation::FIRST, &two)],
            &mut Claims::default(),
        );
        assert_eq!((findings.objections.len(), findings.refused.len()), (3, 2));
        assert_eq!(findings.refused[0].1.severity, Severity::Gateway, "the worst comes first");
    }

    #[test]
    fn who_is_refused_for_something_else_is_no_rival_but_is_named() {
        let ops = report(&[claim("weixin", 1, "a")], &[Severity::Gateway]);
        let research = report(&[claim("weixin", 1, "b")], &[]);
        let mut claims = Claims::default();
        let findings = compare(
            &[(name("ops"), Generation::FIRST, &ops), (name("research"), Generation::FIRST, &research)],
            &mut claims,
        );
        assert_eq!((findings.objections.len(), findings.refused.len()), (2, 1));
        assert_eq!(findings.admitted, [name("research")]);
        assert!(claims.conflicts(&name("other"), &research.claims)[0].message.contains("'research'"));
    }

    #[test]
    fn claims_end_with_the_process_and_a_swap_is_no_conflict() {
        let mut claims = Claims::default();
        let weixin = [claim("weixin", 1, "a")];
        let (old, new) = (Generation::FIRST, Generation::FIRST.next());
        claims.take(&name("ops"), old, &weixin);
        assert!(claims.conflicts(&name("ops"), &weixin).is_empty(), "its own older generation");
        claims.take(&name("ops"), new, &weixin);
        claims.release(&name("ops"), old);
        assert_eq!(claims.conflicts(&name("research"), &weixin).len(), 1, "the newer generation holds it");
        claims.release(&name("ops"), new);
        assert!(claims.conflicts(&name("research"), &weixin).is_empty());
    }
}
