//! Whether a profile can do what its files ask for: a flaw found here keeps nobody from starting, and the profile is `degraded`.

use super::problem::Place;
use super::provider::{self, Spot};
use super::reader::{At, Reader};
use super::types::{EngineKind, ProfileConfig};
use hermes_wire::latest::Severity;

/// Adds what is in the way of an answer to the problems. `config` is complete.
pub(super) fn judge(reader: &mut Reader<'_>, root: &At, config: &ProfileConfig) {
    let verdict = match config.agent.engine {
        EngineKind::Native => match provider::resolve(config, reader.home) {
            Ok(endpoint) => {
                reachable(reader, &endpoint);
                None
            }
            Err(error) => Some(error),
        },
        EngineKind::Echo => None,
    };
    for provider in config.providers.iter().filter(|p| p.enabled && p.base_url.is_none()) {
        let name = &provider.name;
        let spot = Spot::Declared { name: name.clone(), field: "base_url" };
        // Asked for, it is more than a warning.
        if verdict.as_ref().is_none_or(|error| error.spot(config) != spot) {
            let message = format!("provider '{name}' has no address: no model can be asked through it");
            let place = place(reader, root, &spot);
            reader.warn("provider_address", place, message, "Give it a `base_url`, or remove it.");
        }
    }
    if let Some(error) = verdict {
        let place = place(reader, root, &error.spot(config));
        let message = format!("{}: its agent cannot answer", error.what());
        let fix = Some(error.fix());
        reader.problems.add(Severity::Platform, error.code(), place, message, fix);
    }
}

/// A proxy that is none.
fn reachable(reader: &mut Reader<'_>, endpoint: &provider::Endpoint) {
    if let Err(error) = endpoint.network.proxy(&endpoint.base_url) {
        let place = reader.env_place(error.variable);
        let message = format!("{error}: its agent cannot answer");
        let fix = format!("Correct {} in `{}`, or remove it.", error.variable, place.file);
        reader.problems.add(Severity::Platform, "proxy", place, message, Some(fix));
    }
}

fn place(reader: &Reader<'_>, root: &At, spot: &Spot) -> Place {
    let model = root.key("model");
    let below = |keys: &[&str], also: &str| {
        let found = keys.iter().map(|key| model.key(key)).find(At::is_set);
        found.or_else(|| Some(root.key(also)).filter(At::is_set))
    };
    let at = match spot {
        Spot::Variable(name) => return reader.env_place(name),
        Spot::Provider => below(&["provider"], "provider"),
        Spot::Address => below(&["base_url", "api_base"], "base_url"),
        Spot::Model => None,
        Spot::Declared { name, field } => {
            declared(root, name).map(|at| Some(at.key(field)).filter(At::is_set).unwrap_or(at))
        }
    };
    match at.or(Some(model).filter(At::is_set)) {
        Some(at) => reader.place(&at),
        None => Place { file: reader.yaml_file.clone(), key: Some("model".to_owned()), ..Place::default() },
    }
}

/// Where the user declared a provider.
fn declared(root: &At, name: &str) -> Option<At> {
    let in_map = root.key("providers").entries().into_iter().find(|(key, _)| key == name).map(|(_, at)| at);
    in_map.or_else(|| {
        root.key("custom_providers").items().into_iter().find(|at| {
            let names = ["provider_key", "name"].map(|key| at.key(key));
            names.iter().find(|at| at.is_set()).is_some_and(|at| at.says(name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Input, load};
    use hermes_wire::latest::{Problem, Role, Severity};
    use hermes_wire::{ProfileHome, ProfileName};

    fn found(yaml: &str, env: &str) -> Vec<Problem> {
        let (profile, home): (ProfileName, _) =
            ("coder".parse().unwrap(), ProfileHome::new("/h/profiles/coder"));
        let loaded = load(Input {
            registry: &crate::REGISTRY,
            profile: &profile,
            role: Role::Secondary,
            multiplex: None,
            listeners: &[],
            home: &home,
            yaml: Some(yaml.as_bytes()),
            env: Some(env.as_bytes()),
        });
        assert!(loaded.config.is_some(), "nothing here keeps a profile from starting: {:?}", loaded.problems);
        loaded.problems
    }

    /// Code, file, line, and the word that must be named.
    type Case = (&'static str, &'static str, &'static str, &'static str, Option<u32>, &'static str);

    const CASES: [Case; 16] = [
        ("", "", "no_provider", "config.yaml", None, "coder setup model"),
        ("model: m\n", "", "no_provider", "config.yaml", Some(1), "OPENROUTER_API_KEY"),
        (
            "model:\n  default: m\n  provider: nope\n",
            "",
            "unknown_provider",
            "config.yaml",
            Some(3),
            "'nope'",
        ),
        ("model: m\nprovider: nope\n", "", "unknown_provider", "config.yaml", Some(2), "'nope'"),
        (
            "model: {default: m, provider: deepsek}\n",
            "",
            "unknown_provider",
            "config.yaml",
            Some(1),
            "'deepseek'",
        ),
        (
            "model: m\n",
            "A=1\nHERMES_INFERENCE_PROVIDER=nope\n",
            "unknown_provider",
            ".env",
            Some(2),
            "'nope'",
        ),
        (
            "model:\n  default: m\n  provider: x\ncustom_providers:\n  - {name: x}\n",
            "",
            "provider_address",
            "config.yaml",
            Some(5),
            "'x'",
        ),
        (
            "model: {default: m, provider: x}\nproviders:\n  x:\n    base_url: ftp://h\n    api_key: k\n",
            "",
            "provider_address",
            "config.yaml",
            Some(4),
            "'x'",
        ),
        (
            "model: {default: m, provider: x}\nproviders:\n  x:\n    base_url: https://h.example\n    enabled: false\n",
            "",
            "provider_disabled",
            "config.yaml",
            Some(5),
            "providers.x.enabled",
        ),
        (
            "model:\n  default: m\n  provider: openrouter\n",
            "ANTHROPIC_API_KEY=sk-a\n",
            "no_key",
            "config.yaml",
            Some(3),
            "OPENROUTER_API_KEY",
        ),
        (
            "model: {default: m, provider: custom}\n",
            "",
            "provider_address",
            "config.yaml",
            Some(1),
            "model.base_url",
        ),
        (
            "model:\n  default: m\n  base_url: https://llm.example.org/v1\n",
            "",
            "no_key",
            "config.yaml",
            Some(3),
            "EXAMPLE_API_KEY",
        ),
        (
            "model: {provider: openrouter}\n",
            "OPENROUTER_API_KEY=sk-r\n",
            "no_model",
            "config.yaml",
            Some(1),
            "model.default",
        ),
        (
            "model: {default: m, provider: anthropic}\n",
            "ANTHROPIC_API_KEY=sk-a\n",
            "provider_wire",
            "config.yaml",
            Some(1),
            "anthropic_messages",
        ),
        (
            "model: {default: m, provider: openrouter, api_key: \"sk-a\\nb\"}\n",
            "",
            "unusable_key",
            "config.yaml",
            Some(1),
            "openrouter",
        ),
        (
            "model: {default: m, provider: openrouter}\n",
            "OPENROUTER_API_KEY=sk-r\nOPENROUTER_BASE_URL=nothing\n",
            "provider_address",
            ".env",
            Some(2),
            "OPENROUTER_BASE_URL",
        ),
    ];

    /// 1: what can be known from the files is found, by name, with file, line and fix, and stops nobody.
    #[test]
    fn c1_who_cannot_answer_is_named_with_file_line_and_fix() {
        for (yaml, env, code, file, line, named) in CASES {
            let all = found(yaml, env);
            let [problem] = all.as_slice() else { panic!("one problem: {yaml}{env}: {all:#?}") };
            assert_eq!((problem.severity, problem.code.as_str()), (Severity::Platform, code), "{yaml}{env}");
            assert_eq!(problem.file, format!("/h/profiles/coder/{file}"), "{yaml}{env}");
            assert_eq!(problem.line, line, "{yaml}{env}: {problem:?}");
            let text = format!("{} {}", problem.message, problem.fix.as_deref().unwrap());
            assert!(text.contains(named) && !text.contains("sk-"), "{yaml}{env}: {text}");
        }
    }

    #[test]
    fn who_can_answer_is_not_warned_about() {
        for (yaml, env) in [
            ("agent: {engine: echo}\nmodel: {provider: nope}\n", ""),
            ("model: m\n", "OPENROUTER_API_KEY=k\n"),
            ("model: m\n", "HF_TOKEN=k\n"),
            ("model: {default: m, provider: openrouter, api_key: k}\n", ""),
            ("model: {default: m, provider: custom, base_url: 'http://127.0.0.1:8000/v1'}\n", ""),
        ] {
            assert_eq!(found(yaml, env), Vec::new(), "{yaml}{env}");
        }
    }

    #[test]
    fn a_declared_provider_that_nobody_asks_for_is_only_warned_about() {
        let all = found("model: m\ncustom_providers:\n  - {name: x}\n", "OPENROUTER_API_KEY=k\n");
        let [problem] = all.as_slice() else { panic!("{all:#?}") };
        assert_eq!((problem.severity, problem.line), (Severity::Warning, Some(3)));
        assert!(problem.message.contains("'x'"), "{}", problem.message);
    }
}
