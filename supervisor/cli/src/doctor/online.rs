//! `--online`: does the provider of each profile answer, and do its platforms' services take it for who it says it is. Helper processes of
//! the profile's own ask, as its worker would: its keys are in no other process.

use hermes_wire::ProfileName;
use hermes_wire::contract::platform_trials::{Trial as PlatformTrial, Trials, Verdict};
use hermes_wire::contract::provider_trial::{Outcome, Trial};

use super::{Finding, Grade, Patient, Section};

/// What to do where a platform's service does not answer.
pub(crate) const UNREACHED: &str =
    "see that this machine reaches the service, or correct the address in .env";
/// Helpers at the same time.
const AT_ONCE: usize = 8;

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for names in patient.profiles.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = names
                .iter()
                .map(|name| {
                    let provider = scope.spawn(move || patient.ask::<Trial>(name, "--ask-provider"));
                    (name, provider, scope.spawn(move || patient.ask_platforms(name)))
                })
                .collect();
            let ended = || "the helper's thread ended".to_owned();
            for (name, provider, platforms) in asked {
                findings.push(finding(name, provider.join().unwrap_or_else(|_| Err(ended()))));
                match platforms.join().unwrap_or_else(|_| Err(ended())) {
                    Ok(Trials { platforms }) => {
                        findings.extend(platforms.iter().flat_map(|trial| of_platform(name, trial)));
                    }
                    Err(why) => findings.push(
                        Finding::new(
                            Section::Profiles,
                            Grade::Failure,
                            "platform",
                            format!("its platforms' services could not be asked: {why}"),
                        )
                        .of(name),
                    ),
                }
            }
        });
    }
    findings
}

/// What asking one platform's service came to: a line for it, and one for everything that is not as it should be.
fn of_platform(name: &ProfileName, trial: &PlatformTrial) -> Vec<Finding> {
    let PlatformTrial { platform, verdict, message, lacks } = trial;
    let of = |grade, message: String| Finding::new(Section::Profiles, grade, "platform", message).of(name);
    let lacks = lacks.iter().map(|lack| {
        let grade = if lack.is_needed { Grade::Failure } else { Grade::Warning };
        of(grade, format!("{platform}: {}", lack.what)).next(&lack.fix)
    });
    let first = match verdict {
        Verdict::Fine => Some(of(Grade::Good, format!("{platform}: {message}"))),
        Verdict::Lacking => None,
        Verdict::NotAsked => Some(of(Grade::Warning, format!("{platform} was not asked: {message}"))),
        Verdict::Unreachable => {
            Some(of(Grade::Failure, format!("{platform} does not answer: {message}")).next(UNREACHED))
        }
    };
    first.into_iter().chain(lacks).collect()
}

fn finding(name: &ProfileName, trial: Result<Trial, String>) -> Finding {
    let of = |grade, message: String| Finding::new(Section::Profiles, grade, "provider", message).of(name);
    let Trial { provider, model, base_url, outcome } = match trial {
        Ok(trial) => trial,
        Err(why) => return of(Grade::Failure, format!("its provider could not be asked: {why}")),
    };
    match outcome {
        Outcome::Answers { how } => {
            of(Grade::Good, format!("provider {provider} answers ({how}, model {model})"))
        }
        // What is wrong with the files is said by the check of the files.
        Outcome::NotAsked { why } => of(Grade::Good, format!("no provider was asked: {why}")),
        Outcome::Fails { class, code, message } => {
            let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
            of(Grade::Failure, format!("provider {provider} {class}{code}: {message}"))
                .at(base_url)
                .next(next(name, &class))
        }
    }
}

/// What to do about each class of failure.
fn next(name: &ProfileName, class: &str) -> String {
    match class {
        "unreachable" => {
            "start the server, or correct model.base_url; a proxy is taken from HTTPS_PROXY".to_owned()
        }
        "unauthorized" => format!("`hermes -p {name} setup model` stores another key"),
        "quota" => "add credit at the provider, or choose another model.provider".to_owned(),
        "rate_limited" => "wait, or ask the provider for a higher limit".to_owned(),
        "overloaded" => "wait and try again: the provider says it cannot answer now".to_owned(),
        "garbled" => {
            "correct model.base_url: what answers there is no model API (most end in /v1)".to_owned()
        }
        _ => "compare model.default and model.base_url with what the provider documents".to_owned(),
    }
}
