//! Whether a profile can do what its files ask for: a flaw found here keeps nobody from starting, and the profile is `degraded`.

use super::auxiliary::{Auxiliary, Task};
use super::platform::Settings;
use super::problem::Place;
use super::provider::{self, Spot};
use super::reader::{At, Reader, fallbacks};
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
        EngineKind::Acp => {
            agent(reader, root, config);
            None
        }
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
    if config.agent.engine == EngineKind::Native {
        others(reader, root, config, verdict.is_none());
    }
    if let Some(error) = verdict {
        let place = place(reader, root, &error.spot(config));
        let message = format!("{}: its agent cannot answer", error.what());
        let fix = Some(error.fix());
        reader.problems.add(Severity::Platform, error.code(), place, message, fix);
    }
}

/// The program that answers, where one does. Whether it is there only a look at the disk can tell.
fn agent(reader: &mut Reader<'_>, root: &At, config: &ProfileConfig) {
    let at = root.key("agent").key("acp");
    let command = at.key("command");
    if config.agent.acp.command.first().is_none_or(|program| program.trim().is_empty()) {
        let place = if command.is_set() {
            reader.place(&command)
        } else {
            reader.place(&root.key("agent").key("engine"))
        };
        let message =
            "`agent.engine` is `acp`, and `agent.acp.command` names no program: its agent cannot answer"
                .to_owned();
        let fix = "Name the program and its arguments, `agent: {acp: {command: [claude-agent-acp]}}`, or set `agent.engine` to `native`.";
        reader.problems.add(Severity::Platform, "no_agent", place, message, Some(fix.to_owned()));
    }
    for server in config.servers.all.iter().filter(|server| server.enabled && server.fault.is_none()) {
        if let Some(why) = server.unspeakable() {
            let at = root.key("mcp_servers").key(&server.name);
            let message = format!("`{}` is not handed on to the agent: {why}", at.path);
            reader.warn("unused", reader.place(&at), message, "Give it to the agent in its own way.");
        }
    }
    for name in &config.agent.acp.env {
        if config.env.get(name).is_none() {
            let message = format!(
                "`agent.acp.env` names `{name}`, which is not in this profile's .env: its agent goes without it"
            );
            let fix = format!("Add {name} to {}, or take it out of the list.", reader.env_file);
            reader.warn("unresolved_variable", reader.place(&at.key("env")), message, &fix);
        }
    }
}

/// Who is asked besides the model's provider. `able`: that one can be.
fn others(reader: &mut Reader<'_>, root: &At, config: &ProfileConfig, able: bool) {
    for (at, found) in fallbacks(root).iter().zip(provider::fallbacks(config, reader.home)) {
        if let Err(error) = found {
            let message = format!("{}: it cannot take the place of a provider that fails", error.what());
            reader.warn(error.code(), reader.place(at), message, &error.fix());
        }
    }
    for task in Task::ALL.into_iter().filter(|task| config.auxiliary.does(*task)) {
        let elsewhere = config.auxiliary.of(task).is_some_and(Auxiliary::is_elsewhere);
        if let Some(Err(error)) = provider::auxiliary(config, task, reader.home)
            && elsewhere
            && able
        {
            let at = root.key("auxiliary").key(task.name());
            let message = format!("{}: the profile's own model does `{}` instead", error.what(), task.name());
            reader.warn(error.code(), reader.place(&at), message, &error.fix());
        }
    }
    if let Some(Err(error)) = provider::delegation(config, reader.home)
        && config.children_ask.is_elsewhere()
        && able
    {
        let message = format!("{}: sub-agents ask the profile's own model instead", error.what());
        reader.warn(error.code(), reader.place(&root.key("delegation")), message, &error.fix());
    }
    for route in config.settings.iter().flat_map(Settings::model_routes) {
        // Without a provider of its own it has the profile's, of which enough is said.
        let is_own = route.provider.is_some() || route.base_url.is_some();
        if let Err(error) = provider::routed(config, route, reader.home)
            && (is_own || able)
        {
            let key = Some(format!("model_routes.{}", route.alias));
            let place = Place { file: reader.yaml_file.clone(), key, ..Place::default() };
            let message = format!("{}: no client can be answered as `{}`", error.what(), route.alias);
            reader.warn(error.code(), place, message, &error.fix());
        }
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
            "model: {default: m, provider: gemini}\n",
            "GEMINI_API_KEY=sk-a\n",
            "provider_wire",
            "config.yaml",
            Some(1),
            "gemini native",
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

    /// Who takes a provider's place is named where it cannot; that keeps nobody from answering.
    #[test]
    fn a_fallback_that_cannot_be_asked_is_a_warning() {
        let yaml = "model: {default: m, provider: openrouter}\nfallback_providers:\n  - {provider: zai, model: g}\n  - {provider: nope}\n\
                    fallback_model: {provider: deepseek, model: d}\n";
        let all = found(yaml, "OPENROUTER_API_KEY=k\nDEEPSEEK_API_KEY=k\n");
        let told: Vec<_> = all.iter().map(|p| (p.severity, p.code.as_str(), p.line)).collect();
        let warning = Severity::Warning;
        assert_eq!(told, [(warning, "no_key", Some(3)), (warning, "unknown_provider", Some(4))], "{all:#?}");
    }

    /// A model of its own for a job that cannot be asked is named; without anything the profile's own does it.
    #[test]
    fn an_auxiliary_model_that_cannot_be_asked_is_a_warning() {
        let yaml = "model: {default: m, provider: openrouter}\nauxiliary:\n  compression: {provider: zai, model: g}\n  \
                    title_generation: {provider: auto, model: small, timeout: 5, reasoning_effort: low}\n  vision: {provider: nope}\n";
        let all = found(yaml, "OPENROUTER_API_KEY=k\n");
        let told: Vec<_> = all.iter().map(|p| (p.severity, p.code.as_str(), p.line)).collect();
        assert_eq!(told, [(Severity::Warning, "no_key", Some(3))], "{all:#?}");
        assert!(all[0].message.contains("`compression`"), "{}", all[0].message);
    }

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
