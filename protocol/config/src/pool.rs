//! Several keys of one provider: `credential_pool` of `auth.json`, as 0.19.0 keeps it, and in which order they are used
//! (`credential_pool_strategies`).
//!
//! The file is the Python program's, and is only read: which key is refused at the moment is known to the worker that was refused, and to
//! nobody else. What the file says of a key that was refused before is heeded. Sign-ins, whose tokens have to be made anew every few
//! hours, are not used; who has some is named.

use std::collections::BTreeMap;

use serde_json::Value;

use super::secret::{Env, Secret};

/// Most keys of one provider.
const MOST: usize = 256;
/// Seconds for which 0.19.0 leaves a key alone that was refused with 401, and with anything else.
const REFUSED: f64 = 300.0;
const EXHAUSTED: f64 = 3_600.0;

/// Which of several keys is used next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first that is not refused.
    #[default]
    FillFirst,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The one that was used least.
    LeastUsed,
}

impl Strategy {
    /// Their names in the configuration.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("fill_first", Self::FillFirst),
        ("round_robin", Self::RoundRobin),
        ("random", Self::Random),
        ("least_used", Self::LeastUsed),
    ];
}

/// One of several keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// It.
    pub key: Secret,
    /// The address that it belongs to; none: wherever its provider is.
    pub base_url: Option<String>,
    /// How often it was used, as far as the file knows.
    pub used: u64,
    /// Seconds since the epoch until which it is not to be used; infinity: never again.
    pub until: f64,
    /// Why not: `unauthorized`, or `exhausted`, where the file says no more.
    pub why: &'static str,
}

/// The keys of a provider that are used in turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pool {
    /// Which is next.
    pub strategy: Strategy,
    /// They, in the order of their priority.
    pub keys: Vec<Credential>,
}

/// What `auth.json` holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pools {
    /// By provider; `custom:<name>` for one that the user declared.
    keys: BTreeMap<String, Vec<Credential>>,
    /// Variables of `.env` that stand among them, which hold the key themselves.
    variables: BTreeMap<String, Vec<(usize, String)>>,
    /// Providers with sign-ins that are not used.
    pub sign_ins: Vec<String>,
    /// What is configured.
    pub strategies: BTreeMap<String, Strategy>,
}

impl Pools {
    /// Reads the file; an error where it is no JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: Value = serde_json::from_slice(bytes).map_err(|e| format!("line {}: no JSON", e.line()))?;
        let mut pools = Self::default();
        let mut sign_ins: Vec<String> = Vec::new();
        for (name, _) in object(file.get("providers")) {
            sign_ins.push(name.clone());
        }
        for (name, entries) in object(file.get("credential_pool")) {
            let mut entries: Vec<&Value> = entries.as_array().into_iter().flatten().take(MOST).collect();
            entries.sort_by_key(|entry| entry.get("priority").and_then(Value::as_i64).unwrap_or(i64::MAX));
            let name = name.to_lowercase();
            for entry in entries {
                let text = |field: &str| {
                    let text = entry.get(field).and_then(Value::as_str).map(str::trim);
                    text.filter(|text| !text.is_empty()).map(str::to_owned)
                };
                if text("auth_type").is_some_and(|kind| kind != "api_key") {
                    sign_ins.push(name.clone());
                    continue;
                }
                let keys = pools.keys.entry(name.clone()).or_default();
                let variable =
                    text("source").and_then(|source| source.strip_prefix("env:").map(str::to_owned));
                let credential = Credential {
                    key: Secret::new(text("access_token").unwrap_or_default()),
                    base_url: text("base_url"),
                    used: entry.get("request_count").and_then(Value::as_u64).unwrap_or(0),
                    until: until(entry),
                    why: why(entry),
                };
                if let Some(variable) = variable {
                    pools.variables.entry(name.clone()).or_default().push((keys.len(), variable));
                }
                keys.push(credential);
            }
        }
        sign_ins.sort();
        sign_ins.dedup();
        pools.sign_ins = sign_ins;
        Ok(pools)
    }

    /// The keys of a provider; those that stand in variables have the values of `env`. Such a variable that the file does not know comes
    /// last. `None`: there are fewer than two, and none that is not a variable's.
    pub(super) fn of(&self, provider: &str, variables: &[&str], env: &Env) -> Option<Pool> {
        let mut keys = self.keys.get(provider)?.clone();
        let known = self.variables.get(provider).map_or(&[][..], |known| known);
        for (at, variable) in known {
            keys[*at].key = Secret::new(env.get(variable).map(str::trim).unwrap_or_default());
        }
        for variable in variables.iter().filter(|name| known.iter().all(|(_, known)| known != *name)) {
            if let Some(key) = env.get(variable).map(str::trim).filter(|key| !key.is_empty()) {
                keys.push(Credential { key: Secret::new(key), base_url: None, used: 0, until: 0.0, why: "" });
            }
        }
        let mut seen: Vec<String> = Vec::new();
        keys.retain(|credential| {
            let key = credential.key.expose();
            let is_new = !key.is_empty() && !key.contains("${") && !seen.iter().any(|seen| seen == key);
            seen.push(key.to_owned());
            is_new
        });
        let strategy = self.strategies.get(provider).copied().unwrap_or_default();
        (!keys.is_empty()).then_some(Pool { strategy, keys })
    }

    /// How many keys there are, by provider.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.keys.iter().map(|(provider, keys)| (provider.as_str(), keys.len()))
    }
}

fn object(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// Why an entry says that its key is not to be used.
fn why(entry: &Value) -> &'static str {
    let code = entry.get("last_error_code").and_then(Value::as_u64);
    match entry.get("last_status").and_then(Value::as_str) {
        Some("dead") => "unauthorized",
        Some("exhausted") if code == Some(401) => "unauthorized",
        Some("exhausted") => "exhausted",
        _ => "",
    }
}

/// Until when an entry says that its key is not to be used.
fn until(entry: &Value) -> f64 {
    match entry.get("last_status").and_then(Value::as_str) {
        Some("dead") => f64::INFINITY,
        Some("exhausted") => {
            let at = |field: &str| time(entry.get(field)?);
            let pause = if entry.get("last_error_code").and_then(Value::as_u64) == Some(401) {
                REFUSED
            } else {
                EXHAUSTED
            };
            at("last_error_reset_at").or_else(|| Some(at("last_status_at")? + pause)).unwrap_or(0.0)
        }
        _ => 0.0,
    }
}

/// Seconds since the epoch, written as a number or as a date.
fn time(value: &Value) -> Option<f64> {
    let seconds = |number: f64| if number > 1e11 { number / 1000.0 } else { number };
    match value {
        Value::Number(number) => number.as_f64().map(seconds),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => Some(seconds(number)),
            Err(_) => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
    }

    fn keys(pools: &Pools, provider: &str, variables: &[&str], env: &Env) -> Vec<String> {
        let pool = pools.of(provider, variables, env);
        pool.into_iter()
            .flat_map(|pool| pool.keys)
            .map(|credential| credential.key.expose().to_owned())
            .collect()
    }

    /// The file as 0.19.0's `auth add` leaves it.
    #[test]
    fn keys_are_read_as_0_19_0_writes_them() {
        let entry = |token: Option<&str>, priority: u64, source: &str| {
            let mut entry = json!({"id": "70c21a", "label": "one", "auth_type": "api_key", "priority": priority, "source": source,
                "last_status": null, "last_status_at": null, "last_error_code": null, "last_error_reset_at": null,
                "base_url": "https://openrouter.ai/api/v1", "request_count": 3});
            if let Some(token) = token {
                entry["access_token"] = token.into();
            }
            entry
        };
        let mut spent = entry(Some("k-3"), 3, "manual");
        spent["last_status"] = "exhausted".into();
        spent["last_status_at"] = json!(1_000.5);
        spent["last_error_code"] = json!(401);
        let file = json!({"version": 1, "providers": {"nous": {}}, "credential_pool": {
            "openrouter": [entry(Some("k-1"), 1, "manual"), entry(None, 2, "env:OPENROUTER_API_KEY"), entry(Some("k-0"), 0, "manual"), spent],
            "openai-codex": [{"auth_type": "oauth", "access_token": "t", "refresh_token": "r"}],
        }});
        let pools = Pools::parse(file.to_string().as_bytes()).unwrap();
        let own = env(&[("OPENROUTER_API_KEY", "k-env"), ("OTHER", "k-other")]);
        assert_eq!(keys(&pools, "openrouter", &["OPENROUTER_API_KEY"], &own), ["k-0", "k-1", "k-env", "k-3"]);
        assert_eq!(keys(&pools, "openrouter", &["OTHER"], &own), ["k-0", "k-1", "k-env", "k-3", "k-other"]);
        assert_eq!(keys(&pools, "openrouter", &[], &env(&[])), ["k-0", "k-1", "k-3"]);
        let pool = pools.of("openrouter", &[], &env(&[])).unwrap();
        assert_eq!((pool.keys[0].used, pool.keys[0].until, pool.keys[2].until), (3, 0.0, 1_300.5));
        assert_eq!(pool.keys[2].why, "unauthorized");
        assert_eq!(pools.sign_ins, ["nous", "openai-codex"]);
        assert_eq!(pools.of("openai-codex", &[], &own), None);
        assert_eq!(pools.counts().collect::<Vec<_>>(), [("openrouter", 4)]);
        assert!(!format!("{pools:?}").contains("k-0"), "no key is shown");
    }

    #[test]
    fn what_is_odd_is_no_key() {
        assert!(Pools::parse(b"{").unwrap_err().contains("line 1"));
        for odd in [
            "[]",
            "7",
            r#"{"credential_pool": []}"#,
            r#"{"credential_pool": {"x": {"a": 1}}}"#,
            r#"{"credential_pool": {"x": [1, {}]}}"#,
        ] {
            let pools = Pools::parse(odd.as_bytes()).unwrap();
            assert_eq!(pools.of("x", &[], &env(&[])), None, "{odd}");
        }
        let dead = json!({"last_status": "dead"});
        assert_eq!(
            (until(&dead), time(&json!("1700000000000")), time(&json!("soon"))),
            (f64::INFINITY, Some(1.7e9), None)
        );
    }
}
