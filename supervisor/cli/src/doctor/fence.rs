//! What is around the programs that profiles start: as a worker that runs says, else as a helper process of the profile finds when it tries.

use hermes_wire::ProfileName;
use hermes_wire::contract::runtime_status::FenceStatus;

use super::{Finding, Grade, Patient, Section};

const NONE: &str = "none";

/// One profile stands for the machine: how its fence can be built is a matter of the machine. Those whose worker has found none are named.
pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let said = |name: &ProfileName| {
        let all = patient.status.iter().flat_map(|status| &status.profiles);
        let known = all.filter(|profile| profile.name == name.as_str() && profile.pid.is_some());
        known.filter_map(|profile| profile.fence.clone()).find(|fence| fence.rung.is_some())
    };
    let known: Vec<(&ProfileName, FenceStatus)> =
        patient.profiles.iter().filter_map(|name| Some((name, said(name)?))).collect();
    let mut findings: Vec<Finding> = known.iter().flat_map(|(name, fence)| finding(name, fence)).collect();
    if known.is_empty()
        && let Some(name) = patient.profiles.first()
    {
        match patient.ask::<FenceStatus>(name, "--try-fence") {
            Ok(fence) if fence.rung.is_some() => findings.extend(finding(name, &fence)),
            // What is wrong with its files is said by the check of the files.
            Ok(_) => {}
            Err(why) => {
                let message = format!("whether its programs can be fenced in could not be tried: {why}");
                findings.push(Finding::new(Section::Profiles, Grade::Warning, "fence", message).of(name));
            }
        }
    }
    findings
}

fn finding(name: &ProfileName, fence: &FenceStatus) -> Vec<Finding> {
    let of = |grade, message: String| Finding::new(Section::Profiles, grade, "fence", message).of(name);
    let reason = fence.reason.as_deref().unwrap_or_default();
    let first = match (fence.rung.as_deref().unwrap_or_default(), fence.mode.as_str()) {
        (NONE, "off") => of(
            Grade::Warning,
            "programs that it starts can read the secrets of every profile: `terminal.fence` is off"
                .to_owned(),
        )
        .next(format!("`hermes -p {name} config set terminal.fence auto` fences them in")),
        (NONE, "require") => {
            of(Grade::Failure, format!("no program can be started: there is no fence ({reason})")).next(HELP)
        }
        (NONE, _) => of(
            Grade::Warning,
            format!(
                "programs that it starts can read the secrets of every profile: there is no fence ({reason})"
            ),
        )
        .next(HELP),
        (rung, _) => of(Grade::Good, format!("programs that it starts are fenced in ({rung})")),
    };
    let notes = fence.notes.iter().map(|note| of(Grade::Warning, format!("the fence: {note}")));
    std::iter::once(first).chain(notes).collect()
}

const HELP: &str =
    "install bubblewrap (`apt install bubblewrap`), or allow user namespaces (docs/isolation.md)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_said_and_what_would_help() {
        let name = ProfileName::default_profile();
        let found = |mode: &str, rung: &str, notes: &[&str]| {
            let notes = notes.iter().map(|note| (*note).to_owned()).collect();
            let (mode, rung) = (mode.to_owned(), Some(rung.to_owned()));
            let all =
                finding(&name, &FenceStatus { mode, rung, reason: Some("landlock: no".to_owned()), notes });
            all.into_iter().map(|found| (found.grade, found.next.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(found("auto", "namespaces", &[]), [(Grade::Good, false)]);
        assert_eq!(found("auto", "landlock", &["x"]), [(Grade::Good, false), (Grade::Warning, false)]);
        assert_eq!(found("auto", "none", &[]), [(Grade::Warning, true)]);
        assert_eq!(found("off", "none", &[]), [(Grade::Warning, true)]);
        assert_eq!(found("require", "none", &[]), [(Grade::Failure, true)]);
    }
}
