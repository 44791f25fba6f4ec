//! What a newer release of the Python program wrote into a `config.yaml` and this program does not go by: named once a profile, and
//! nothing of it is changed.

use hermes_config::newer::{self, NEWEST, Written};
use hermes_host::disk;
use hermes_wire::ProfileName;

use super::{Finding, Grade, Patient, Section};

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in &patient.profiles {
        let path = patient.root.profile(name).config();
        // A file that cannot be read is said by whoever judges it.
        let Ok(bytes) = disk::read_bounded(&path, hermes_config::MAX_FILE_LEN) else { continue };
        let written = newer::look(&bytes);
        findings.extend(
            [beyond(name, &written), unread(name, &written)].into_iter().flatten().map(|f| f.at(&path)),
        );
    }
    findings
}

fn finding(name: &ProfileName, code: &'static str, message: String) -> Finding {
    Finding::new(Section::Profiles, Grade::Warning, code, message).of(name)
}

/// A file of a release that came after this one.
fn beyond(name: &ProfileName, written: &Written) -> Option<Finding> {
    let version = written.version.filter(|version| *version > NEWEST)?;
    let message = format!(
        "its configuration has version {version}, and this program knows the keys up to version {NEWEST}: what is newer is kept as \
         it is and not read"
    );
    let next = format!("`hermes -p {name} config check` names the keys that are not known here");
    Some(finding(name, "config_newer", message).next(next))
}

/// Keys that mean something to the release that wrote them.
fn unread(name: &ProfileName, written: &Written) -> Option<Finding> {
    let mut said = Vec::new();
    if !written.keys.is_empty() {
        said.push(format!(
            "keys of newer releases that do nothing here, kept as they are: {}",
            written.keys.join("; ")
        ));
    }
    let turns = written.version.is_some() && written.default_turns;
    if turns {
        said.push(
            "`agent.max_turns` is not set: 90 calls to the model for one message here, more there".to_owned(),
        );
    }
    if said.is_empty() {
        return None;
    }
    let found = finding(name, "newer_keys", said.join(". "));
    Some(if turns {
        found.next(format!("`hermes -p {name} config set agent.max_turns none` for any number"))
    } else {
        found
    })
}
