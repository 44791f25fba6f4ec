//! Sign-ins in `auth.json`. This program answers with keys and uses no sign-in; where a profile's agent cannot answer for that reason,
//! this says which file has the sign-in that other releases answer with: its own, or, for a profile that has none for its provider,
//! the default profile's, which releases from 0.20 on read then. Of the files only the names of providers are looked at.

use std::io::ErrorKind;

use camino::Utf8Path;
use hermes_config::provider;
use hermes_host::disk;
use hermes_wire::{ProfileName, providers};
use serde_json::Value;

use super::profiles::Examined;
use super::{Finding, Grade, Patient, Section};

/// Largest `auth.json`, in bytes.
const LIMIT: usize = 4 << 20;

pub(super) fn check(patient: &Patient<'_>, examined: &[Examined]) -> Vec<Finding> {
    let asked = examined.iter().filter(|one| patient.profiles.contains(&one.name));
    asked.filter_map(|one| of(patient, one)).collect()
}

fn of(patient: &Patient<'_>, one: &Examined) -> Option<Finding> {
    let (config, home) = (one.config.as_ref()?, patient.root.profile(&one.name));
    let (named, _) = provider::requested(config)?;
    let id = providers::alias(&named).unwrap_or(&named);
    if !providers::by_id(id)?.signs_in() && provider::resolve(config, &home).is_ok() {
        return None;
    }
    let own = home.path().join("auth.json");
    let roots = patient.root.path().join("auth.json");
    for (path, of_default) in [(&own, one.name.is_default()), (&roots, true)] {
        match has(path, id) {
            Ok(false) => {}
            Ok(true) => return Some(finding(&one.name, id, path, of_default && !one.name.is_default())),
            Err(why) => {
                let message = format!("whether `auth.json` has a sign-in for {id} cannot be seen: {why}");
                return Some(
                    Finding::new(Section::Profiles, Grade::Warning, "sign_in", message)
                        .of(&one.name)
                        .at(path),
                );
            }
        }
    }
    None
}

fn finding(name: &ProfileName, id: &str, path: &Utf8Path, borrowed: bool) -> Finding {
    let message = if borrowed {
        format!(
            "releases from 0.20 on answer with the default profile's sign-in for {id}, because this profile has none of its own; this \
             program uses no sign-in"
        )
    } else {
        format!("there is a sign-in for {id}; this program answers with keys and uses no sign-in")
    };
    Finding::new(Section::Profiles, Grade::Warning, "sign_in", message)
        .of(name)
        .at(path)
        .next(format!("`hermes -p {name} setup model` chooses a provider that has a key"))
}

/// Whether the file has an entry for the provider: as newer releases ask, an empty pool is none, and neither is anything that is no
/// mapping.
fn has(path: &Utf8Path, id: &str) -> Result<bool, String> {
    let bytes = match disk::read_bounded(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.to_string()),
    };
    let json: Value = serde_json::from_slice(&bytes).map_err(|e| format!("line {}: no JSON", e.line()))?;
    let pool = json.get("credential_pool").and_then(|pools| pools.get(id)).and_then(Value::as_array);
    let single = json.get("providers").and_then(|all| all.get(id)).is_some_and(Value::is_object);
    Ok(single || pool.is_some_and(|pool| !pool.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pool_is_no_sign_in_and_an_unreadable_file_is_not_an_absent_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("auth.json")).unwrap();
        assert_eq!(has(&path, "nous"), Ok(false));
        for (text, there) in [
            (r#"{"providers": {"nous": {}}}"#, true),
            (r#"{"credential_pool": {"nous": [{"id": 1}]}}"#, true),
            (r#"{"credential_pool": {"nous": []}, "providers": {"nous": null}}"#, false),
            (r#"{"active_provider": "nous"}"#, false),
        ] {
            fs_err::write(&path, text).unwrap();
            assert_eq!(has(&path, "nous"), Ok(there), "{text}");
        }
        fs_err::write(&path, "{").unwrap();
        assert!(has(&path, "nous").is_err());
    }
}
