//! The older `gateway.json`: what a Python gateway of earlier days was configured with, and what 0.19.0 still reads below `config.yaml`
//! and `.env`. It lies in the tree under a key that no YAML text can have, and is asked last.

use std::rc::Rc;

use camino::Utf8Path;

use super::problem::{Place, Problems};
use super::yaml::{self, Entry, Node, Value};
use hermes_wire::latest::Severity;

/// No text of a file can be this: NUL is refused there.
pub(super) const KEY: &str = "\0gateway.json";

/// Lays the file under what was read.
pub(super) fn lay_under(
    node: Option<Rc<Node>>,
    bytes: &[u8],
    file: &Utf8Path,
    problems: &mut Problems,
) -> Option<Rc<Node>> {
    let json: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(json) => json,
        Err(e) => {
            let (line, column) = (u32::try_from(e.line()).ok(), u32::try_from(e.column()).ok());
            let place = Place { file: file.to_string(), line, column, key: None };
            let fix = Some("Correct it, or move its settings to config.yaml and remove it.".to_owned());
            problems.add(Severity::Profile, "gateway_json", place, "the file is no JSON".to_owned(), fix);
            return node;
        }
    };
    // JSON is YAML, tabs aside; what is written out anew has none, and no lines either.
    let parsed = match yaml::parse(bytes) {
        (Some(parsed), flaws) if flaws.iter().all(|flaw| !flaw.fatal) => Some(parsed),
        _ => yaml::parse(json.to_string().as_bytes()).0,
    };
    let Some(value) = parsed.filter(|parsed| matches!(parsed.value, Value::Map(_))) else { return node };
    let entry = Entry { key: KEY.to_owned(), line: 1, column: 1, value: Rc::clone(&value), pinned: false };
    let Some(node) = node else { return Some(Rc::new(value.with(Value::Map(vec![entry])))) };
    let Value::Map(entries) = &node.value else { return Some(node) };
    let entries = entries.iter().cloned().chain([entry]).collect();
    Some(Rc::new(node.with(Value::Map(entries))))
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Case, Files, Found, judge};
    use super::super::unsupported::Leftovers;
    use super::super::{Loaded, ResetMode};
    use hermes_wire::latest::{Role, Severity};
    use hermes_wire::{ProfileHome, ProfileName};

    fn loaded(yaml: &str, json: &str) -> Loaded {
        let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
        let case = Case {
            registry: &crate::REGISTRY,
            profile: &profile,
            home: &home,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
        };
        let bytes = |text: &str| Found::Bytes(text.as_bytes().to_vec());
        let leftovers = Leftovers { gateway: bytes(json), ..Leftovers::default() };
        let yaml = if yaml.is_empty() { Found::Absent } else { bytes(yaml) };
        judge(case, &Files { yaml, leftovers, ..Files::default() })
    }

    /// 4: the older file is read, below everything else.
    #[test]
    fn c4_gateway_json_is_read_below_config_yaml() {
        let json = "{\n\t\"multiplex_profiles\": true,\n\t\"platforms\": {\"telegram\": {\"enabled\": true, \"token\": \"t\"}},\n\
            \t\"default_reset_policy\": {\"mode\": \"daily\"}, \"group_sessions_per_user\": false, \"other\": 1}";
        for yaml in ["", "agent: {engine: echo}\n"] {
            let found = loaded(yaml, json);
            let config = found.config.unwrap();
            assert!(config.gateway.unwrap().multiplex);
            assert_eq!(config.platforms[0].name, "telegram");
            assert!(config.platforms[0].source.ends_with(" in /h/gateway.json"), "{:?}", config.platforms);
            assert_eq!(config.claims.len(), 1, "its token is compared as any other");
            assert_eq!(
                (config.session_reset.default.mode, config.group_sessions_per_user),
                (ResetMode::Daily, false)
            );
            assert!(found.problems.iter().all(|p| p.code != "unknown_key"), "{:?}", found.problems);
        }
        let yaml = "gateway: {multiplex_profiles: false}\nsession_reset: {mode: idle}\nplatforms: {telegram: {enabled: false}}\n";
        let config = loaded(yaml, json).config.unwrap();
        assert!(!config.gateway.unwrap().multiplex && config.platforms.is_empty());
        assert_eq!(config.session_reset.default.mode, ResetMode::Idle);
    }

    #[test]
    fn c4_a_broken_gateway_json_is_no_absent_one() {
        let found = loaded("agent: {engine: echo}\n", "{\n oops");
        let problem = &found.problems[0];
        assert_eq!(
            (problem.severity, problem.file.as_str(), problem.line),
            (Severity::Profile, "/h/gateway.json", Some(2))
        );
        assert!(found.config.is_none());
    }
}
