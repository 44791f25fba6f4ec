//! `--online`: does the provider of each profile answer. A helper process of the profile's own asks, as its worker would: its key is
//! in no other process.

use hermes_wire::ProfileName;
use hermes_wire::contract::provider_trial::{Outcome, Trial};

use super::{Finding, Grade, Patient, Section};

/// Helpers at the same time.
const AT_ONCE: usize = 8;

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for names in patient.profiles.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = names
                .iter()
                .map(|name| (name, scope.spawn(move || patient.ask::<Trial>(name, "--ask-provider"))))
                .collect();
            for (name, asked) in asked {
                let trial = asked.join().unwrap_or_else(|_| Err("the helper's thread ended".to_owned()));
                findings.push(finding(name, trial));
            }
        });
    }
    findings
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
