//! One credential in two profiles: two pollers on one bot steal each other's messages, and a shared key opens both agents.

use std::collections::BTreeMap;

use hermes_config::{ProfileConfig, RawClaim};
use hermes_gateway::app::claims::{self, Claims};
use hermes_gateway::generation::Generation;
use hermes_wire::ProfileName;
use hermes_wire::latest::{Claim, Problem, Report};
use sha2::{Digest as _, Sha256};

use super::profiles::Examined;
use super::{Finding, Grade, Section};

/// Variables whose value identifies one profile though two gateways may hold them without harm to each other's connection.
const IDENTITIES: [&str; 2] = ["API_SERVER_KEY", "WEBHOOK_SECRET"];

pub(super) fn check(examined: &[Examined]) -> Vec<Finding> {
    // The order in which a start compares them.
    let mut order: Vec<&Examined> = examined.iter().collect();
    order.sort_by_key(|one| (!one.name.is_default(), &one.name));
    let reports: Vec<(ProfileName, Report)> =
        order.iter().filter_map(|one| Some((one.name.clone(), report(one.config.as_ref()?)))).collect();
    let compared: Vec<_> =
        reports.iter().map(|(name, report)| (name.clone(), Generation::FIRST, report)).collect();
    let found = claims::compare(&compared, &mut Claims::default()).objections;
    let mut findings: Vec<Finding> = found.into_iter().map(|(_, problem)| exclusive(problem)).collect();
    let mut by_hash: BTreeMap<[u8; 32], Vec<(&ProfileName, &str)>> = BTreeMap::new();
    for one in &order {
        for name in IDENTITIES {
            let value = one.config.as_ref().and_then(|config| config.env.get(name)).filter(|v| !v.is_empty());
            if let Some(value) = value {
                by_hash.entry(hash(&["env", name, value])).or_default().push((&one.name, name));
            }
        }
    }
    let mut shared: Vec<Finding> =
        by_hash.into_values().filter(|held| held.len() > 1).map(|held| identity(&held)).collect();
    shared.sort_by(|a, b| a.message.cmp(&b.message));
    findings.extend(shared);
    findings
}

/// What a worker would claim.
fn report(config: &ProfileConfig) -> Report {
    let claim = |raw: &RawClaim| Claim {
        platform: raw.platform.clone(),
        identity: hash(&[&raw.platform, &raw.scope, raw.identity.expose()]),
        source: raw.source.clone(),
    };
    Report { claims: config.claims.iter().map(claim).collect(), ..Report::default() }
}

fn exclusive(problem: Problem) -> Finding {
    let mut found = Finding::new(Section::Profiles, Grade::Failure, "duplicate_credential", problem.message)
        .at(problem.file);
    found.next = problem.fix;
    found
}

fn identity(held: &[(&ProfileName, &str)]) -> Finding {
    let quoted: Vec<String> = held.iter().map(|(profile, _)| format!("'{profile}'")).collect();
    let sources: Vec<String> = held.iter().map(|(profile, name)| format!("{name} ({profile})")).collect();
    let message = format!("profiles {} have the same {}", quoted.join(" and "), held[0].1);
    Finding::new(Section::Profiles, Grade::Warning, "duplicate_credential", message)
        .at(sources.join(", "))
        .next("give each profile its own: who has it can talk to all of them")
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
