//! What is left over: a sticky profile that is gone, directories that are no profiles, aliases without a profile.

use hermes_host::disk;
use hermes_wire::ProfileName;

use super::{Finding, Grade, Patient, Repair, Section};
use crate::home::Selection;
use crate::profile::alias::{Alias, AliasDir};
use crate::profile::staging;

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Profiles, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>, selection: &Selection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(dangling) = &selection.dangling {
        let found = finding(Grade::Failure, "dangling_sticky", dangling.message()).at(&dangling.file);
        let next = "`hermes profile use default`, or the name of another profile";
        // What cannot be read may well be right.
        findings.push(match dangling.why {
            None => found.next(next).repair(Repair::Remove(dangling.file.clone())),
            Some(_) => found.next(next),
        });
    }
    if patient.only {
        return findings;
    }
    for odd in &patient.homes.odd {
        let message = format!("not served: {}", odd.why);
        let next = odd.fix;
        findings.push(finding(Grade::Warning, "not_a_profile", message).at(&odd.path).next(next));
    }
    for name in patient.homes.bare_directories() {
        let path = patient.root.profile(name);
        let message = "not served: it holds no configuration, no .env and no SOUL.md";
        let next = format!("remove it, or make it a profile: put a config.yaml into {}", path.path());
        findings.push(finding(Grade::Warning, "bare_directory", message).at(path.path()).next(next));
    }
    findings.extend(rewritten(patient));
    findings.extend(abandoned(patient));
    findings.extend(aliases(patient));
    findings
}

/// A newer release turned a `false` of `gateway.multiplex_profiles` into `true`, and left a note of it (0.21.5).
fn rewritten(patient: &Patient<'_>) -> Option<Finding> {
    let note = patient.root.opt_out_rewritten();
    disk::is_there(&note).unwrap_or(false).then(|| {
        let message = "a newer release of the Python program turned `gateway.multiplex_profiles` from false into true";
        let next = "`hermes config set gateway.multiplex_profiles false` turns it off here; it does so again when it runs";
        finding(Grade::Warning, "opt_out_rewritten", message).at(note).next(next)
    })
}

fn abandoned(patient: &Patient<'_>) -> Option<Finding> {
    let profiles = patient.root.profiles();
    let count = staging::abandoned(&profiles).len();
    (count > 0).then(|| {
        let message = format!("{count} hidden director(ies) of commands that did not finish");
        let found = finding(Grade::Warning, "unfinished", message).at(&profiles);
        found
            .next("they are removed by the next command that makes a profile")
            .repair(Repair::Sweep(profiles))
    })
}

fn aliases(patient: &Patient<'_>) -> Vec<Finding> {
    let about = |alias: &Alias| {
        let message = format!("Orphan alias: {} → profile '{}' no longer exists", alias.name, alias.profile);
        let next = match alias.profile.parse::<ProfileName>() {
            Ok(profile) => format!("`hermes profile alias {profile} --remove`"),
            Err(_) => "remove the file".to_owned(),
        };
        finding(Grade::Warning, "orphan_alias", message).at(&alias.path).next(next)
    };
    AliasDir::orphans(&patient.aliases, &patient.root).into_iter().map(about).collect()
}
