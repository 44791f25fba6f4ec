//! One credential in two profiles: two pollers on one bot steal each other's messages, and a shared key opens both agents.

use std::collections::BTreeMap;

use hermes_protocol::ProfileName;
use sha2::{Digest as _, Sha256};

use super::profiles::Examined;
use super::{Finding, Grade, Section};

/// Variables whose value identifies one profile though two gateways may hold them without harm to each other's connection.
const IDENTITIES: [&str; 2] = ["API_SERVER_KEY", "WEBHOOK_SECRET"];

/// One credential of one profile, its value hashed.
struct Held<'a> {
    profile: &'a ProfileName,
    /// Platform or variable, for people.
    what: String,
    /// File and key, or variable.
    source: String,
    exclusive: bool,
}

pub(super) fn check(examined: &[Examined]) -> Vec<Finding> {
    let mut by_hash: BTreeMap<[u8; 32], Vec<Held<'_>>> = BTreeMap::new();
    for one in examined {
        let Some(config) = &one.config else { continue };
        for claim in &config.claims {
            let hash = hash(&[&claim.platform, &claim.scope, claim.identity.expose()]);
            let (what, source) = (claim.platform.clone(), claim.source.clone());
            by_hash.entry(hash).or_default().push(Held { profile: &one.name, what, source, exclusive: true });
        }
        for name in IDENTITIES {
            let Some(value) = config.env.get(name).filter(|value| !value.is_empty()) else { continue };
            let held =
                Held { profile: &one.name, what: name.to_owned(), source: name.to_owned(), exclusive: false };
            by_hash.entry(hash(&["env", name, value])).or_default().push(held);
        }
    }
    let shared = by_hash.into_values().filter(|held| held.iter().any(|h| h.profile != held[0].profile));
    let mut findings: Vec<Finding> = shared.map(|held| finding(&held)).collect();
    findings.sort_by(|a, b| a.message.cmp(&b.message));
    findings
}

fn finding(held: &[Held<'_>]) -> Finding {
    let mut names: Vec<&str> = held.iter().map(|h| h.profile.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let sources: Vec<String> = held.iter().map(|h| format!("{} ({})", h.source, h.profile)).collect();
    let first = &held[0];
    let (grade, message, next) = if first.exclusive {
        let message = format!("profiles {} have the same {} credential", quoted.join(" and "), first.what);
        (Grade::Failure, message, "give each profile a bot of its own, or remove it from all but one")
    } else {
        let message = format!("profiles {} have the same {}", quoted.join(" and "), first.what);
        (Grade::Warning, message, "give each profile its own: who has it can talk to all of them")
    };
    Finding::new(Section::Profiles, grade, "duplicate_credential", message).at(sources.join(", ")).next(next)
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
