//! Which endpoint and which key: by example, and the rule that no key leaves its vendor.

use super::*;
use crate::Env;

fn config(env: &[(&str, &str)], change: impl FnOnce(&mut ProfileConfig)) -> ProfileConfig {
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    config.model.default = "m".to_owned();
    config.env = env.iter().map(|(n, v)| ((*n).to_owned(), Secret::new(*v))).collect::<Env>();
    change(&mut config);
    config
}

fn home() -> ProfileHome {
    ProfileHome::new("/h/.hermes/profiles/coder")
}

fn chosen(env: &[(&str, &str)], change: impl FnOnce(&mut ProfileConfig)) -> Result<Endpoint, ProviderError> {
    resolve(&config(env, change), &home())
}

/// Provider, address and key.
fn short(result: Result<Endpoint, ProviderError>) -> (String, String, String) {
    let endpoint = result.unwrap();
    (endpoint.provider.clone(), endpoint.shown_url(), endpoint.key.expose().to_owned())
}

fn named(provider: &'static str, base_url: Option<&'static str>) -> impl FnOnce(&mut ProfileConfig) {
    move |c| {
        c.model.provider = Some(provider.to_owned());
        c.model.base_url = base_url.map(str::to_owned);
    }
}

fn is(got: &(String, String, String), provider: &str, url: &str, key: &str) {
    assert_eq!((got.0.as_str(), got.1.as_str(), got.2.as_str()), (provider, url, key));
}

#[test]
fn automatic_order() {
    let none = chosen(&[], |_| {}).unwrap_err().to_string();
    assert!(none.starts_with(
        "No inference provider configured. Run 'hermes -p coder setup model' to choose a provider and model, or set an API key \
         (OPENROUTER_API_KEY, OPENAI_API_KEY, etc.) in `/h/.hermes/profiles/coder/.env`"
    ));
    let openai = ("OPENAI_API_KEY", "sk-o");
    let router = ("OPENROUTER_API_KEY", "sk-r");
    let deep = ("DEEPSEEK_API_KEY", "sk-d");
    is(&short(chosen(&[openai], |_| {})), "openai-api", "https://api.openai.com/v1", "sk-o");
    is(&short(chosen(&[openai, router, deep], |_| {})), "openrouter", "https://openrouter.ai/api/v1", "sk-r");
    is(&short(chosen(&[deep, ("HF_TOKEN", "h")], |_| {})), "deepseek", "https://api.deepseek.com/v1", "sk-d");
    // Named ones only where they are named: a GitHub token is in many environments.
    assert!(matches!(
        chosen(&[("GITHUB_TOKEN", "g"), ("LM_API_KEY", "l")], |_| {}),
        Err(ProviderError::None { .. })
    ));
    let rule = chosen(&[openai], |_| {}).unwrap().rule;
    assert_eq!(rule, "automatic: OPENAI_API_KEY is set");
    let other = chosen(&[("HERMES_INFERENCE_PROVIDER", "Zai"), ("GLM_API_KEY", "g"), openai], |_| {});
    is(&short(other), "zai", "https://api.z.ai/api/paas/v4", "g");
}

#[test]
fn an_address_alone_is_enough() {
    let at = |url: &'static str| move |c: &mut ProfileConfig| c.model.base_url = Some(url.to_owned());
    let env = [("OPENAI_API_KEY", "sk-o"), ("GROQ_API_KEY", "sk-g"), ("DEEPSEEK_API_KEY", "sk-d")];
    is(&short(chosen(&env, at("http://127.0.0.1:9/v1"))), "custom", "http://127.0.0.1:9/v1", NO_KEY);
    is(
        &short(chosen(&env, at("https://api.groq.com/openai/v1"))),
        "custom",
        "https://api.groq.com/openai/v1",
        "sk-g",
    );
    is(
        &short(chosen(&env, at("https://api.deepseek.com/beta"))),
        "deepseek",
        "https://api.deepseek.com/beta",
        "sk-d",
    );
    let refused = chosen(&env, at("https://llm.example.org/v1")).unwrap_err().to_string();
    assert_eq!(
        refused,
        "No usable credentials found for provider 'custom'. Set EXAMPLE_API_KEY in `/h/.hermes/profiles/coder/.env`, or \
         api_key next to the address in `/h/.hermes/profiles/coder/config.yaml`"
    );
}

#[test]
fn every_chat_provider_of_the_table_resolves_by_name_key_and_address() {
    assert!(TABLE.iter().all(|row| row.base_url.is_empty() || Url::parse(row.base_url).is_ok()));
    for row in TABLE.iter().filter(|row| row.wire == Wire::Chat) {
        let key = row.keys[row.keys.len() - 1];
        if row.base_url.is_empty() {
            assert!(matches!(chosen(&[(key, "k")], named(row.id, None)), Err(ProviderError::Address { .. })));
        } else {
            is(&short(chosen(&[(key, "k")], named(row.id, None))), row.id, row.base_url, "k");
        }
        if let Some(variable) = row.url_env {
            let own = chosen(&[(key, "k"), (variable, "https://relay.example/v9/")], named(row.id, None));
            is(&short(own), row.id, "https://relay.example/v9", "k");
        }
        if row.id != "lmstudio" {
            let env = [
                ("CUSTOM_BASE_URL", "https://x.example"),
                ("AZURE_FOUNDRY_BASE_URL", "https://y.example/v1"),
            ];
            assert!(
                matches!(chosen(&env, named(row.id, None)), Err(ProviderError::NoKey { .. })),
                "{}",
                row.id
            );
        }
    }
    is(&short(chosen(&[], named("lmstudio", None))), "lmstudio", "http://127.0.0.1:1234/v1", NO_KEY);
    is(
        &short(chosen(&[("GLM_API_KEY", "k")], named("GLM", None))),
        "zai",
        "https://api.z.ai/api/paas/v4",
        "k",
    );
}

#[test]
fn other_wires_are_refused_by_name() {
    for row in TABLE.iter().filter(|row| row.wire != Wire::Chat) {
        let key = row.keys.first().copied().unwrap_or("X");
        let text = chosen(&[(key, "k")], named(row.id, None)).unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("provider '{}' (model.provider: {}) needs ", row.id, row.id)),
            "{text}"
        );
        assert!(
            text.contains("/h/.hermes/profiles/coder/config.yaml") && text.contains("openrouter"),
            "{text}"
        );
    }
    // A key for such a provider is not passed over in favour of another vendor.
    let text =
        chosen(&[("ANTHROPIC_API_KEY", "a"), ("DEEPSEEK_API_KEY", "d")], |_| {}).unwrap_err().to_string();
    assert!(
        text.contains("'anthropic' (automatic: ANTHROPIC_API_KEY is set) needs anthropic_messages"),
        "{text}"
    );
    for url in
        ["https://api.anthropic.com", "https://x.example/anthropic/v1/", "https://api.kimi.com/coding/v1"]
    {
        assert!(
            matches!(chosen(&[("K", "k")], named("custom", Some(url))), Err(ProviderError::Wire { .. })),
            "{url}"
        );
    }
    assert!(matches!(
        chosen(&[("KIMI_API_KEY", "sk-kimi-1")], named("kimi", None)),
        Err(ProviderError::Wire { .. })
    ));
    let gemini = "https://generativelanguage.googleapis.com/v1beta/openai";
    is(&short(chosen(&[("GEMINI_API_KEY", "g")], named("google", Some(gemini)))), "gemini", gemini, "g");
    let zen = chosen(&[("OPENCODE_ZEN_API_KEY", "z")], |c| {
        named("opencode-zen", None)(c);
        c.model.api_mode = Some("chat_completions".to_owned());
    });
    is(&short(zen), "opencode-zen", "https://opencode.ai/zen/v1", "z");
    let responses = chosen(&[("OPENAI_API_KEY", "k")], |c| {
        named("openai-api", None)(c);
        c.model.api_mode = Some("codex_responses".to_owned());
    });
    assert!(responses.unwrap().is_openai());
}

#[test]
fn declared_providers() {
    let declare = |name: &str, change: fn(&mut Provider)| {
        let mut provider = Provider {
            name: name.to_owned(),
            base_url: Some("https://llm.corp.example/v1".to_owned()),
            enabled: true,
            ..Provider::default()
        };
        change(&mut provider);
        provider
    };
    let with = |requested: &'static str, provider: Provider| {
        chosen(&[("CORP_KEY", "c"), ("OPENAI_API_KEY", "sk-o"), ("EXAMPLE_API_KEY", "")], move |c| {
            c.model.provider = Some(requested.to_owned());
            c.providers.push(provider);
        })
    };
    let url = "https://llm.corp.example/v1";
    is(
        &short(with("custom:Corp", declare("corp", |p| p.key_env = Some("CORP_KEY".to_owned())))),
        "corp",
        url,
        "c",
    );
    is(
        &short(with("corp", declare("Corp", |p| p.api_key = Some(Secret::new("inline"))))),
        "Corp",
        url,
        "inline",
    );
    // A reference to nothing is no key.
    let unset = declare("corp", |p| p.api_key = Some(Secret::new("${NOT_THERE}")));
    let text = with("corp", unset).unwrap_err().to_string();
    assert!(text.contains("provider 'corp'. Set NOT_THERE or CORP_API_KEY in"), "{text}");
    // Wins over an alias, not over a built-in id.
    is(
        &short(with("ollama", declare("ollama", |p| p.key_env = Some("CORP_KEY".to_owned())))),
        "ollama",
        url,
        "c",
    );
    is(
        &short(with("openai-api", declare("openai-api", |_| {}))),
        "openai-api",
        "https://api.openai.com/v1",
        "sk-o",
    );
    let off = with("corp", declare("corp", |p| p.enabled = false)).unwrap_err().to_string();
    assert!(
        off.starts_with("provider 'corp' is disabled in config (providers.corp.enabled: false)"),
        "{off}"
    );
    let unknown = with("nonsense", declare("corp", |_| {})).unwrap_err().to_string();
    assert!(unknown.starts_with("Unknown provider 'nonsense'."), "{unknown}");
}

#[test]
fn a_vendors_key_never_goes_to_another_host() {
    let env = [("OPENAI_API_KEY", "sk-o"), ("OPENROUTER_API_KEY", "sk-r"), ("OLLAMA_API_KEY", "sk-l")];
    for provider in ["custom", "openai-api", "openrouter", "ollama-cloud", "auto", "ollama"] {
        for url in [
            "https://api.openai.com.evil.example/v1",
            "https://openrouter.ai.evil.example/v1",
            "https://evil.example/api.openai.com/v1",
            "https://notopenai.com/v1",
        ] {
            let text = chosen(&env, named(provider, Some(url))).unwrap_err().to_string();
            assert!(text.starts_with("No usable credentials found"), "{provider} {url}: {text}");
            assert!(!text.contains("sk-"), "{text}");
        }
    }
    // Written next to the address, it is what the user wants.
    let own = chosen(&env, |c| {
        named("openai-api", Some("https://relay.example/v1"))(c);
        c.model.api_key = Some(Secret::new("relay-key"));
    });
    is(&short(own), "openai-api", "https://relay.example/v1", "relay-key");
    is(
        &short(chosen(&env, named("openai-api", Some("http://127.0.0.1:1/v1")))),
        "openai-api",
        "http://127.0.0.1:1/v1",
        NO_KEY,
    );
}

#[test]
fn addresses_that_cannot_be_used_are_refused_without_being_shown() {
    for url in ["no url", "ftp://x.example", "https://user:hunter2@x.example/v1", "file:///etc/passwd"] {
        let text = chosen(&[], named("custom", Some(url))).unwrap_err().to_string();
        assert!(
            text.starts_with("provider 'custom' has no usable address: it ") && !text.contains("hunter2"),
            "{text}"
        );
    }
    assert!(matches!(chosen(&[], named("custom", None)), Err(ProviderError::Address { .. })));
    let env = [("CUSTOM_BASE_URL", "http://localhost:8/v1")];
    is(&short(chosen(&env, named("vllm", None))), "custom", "http://localhost:8/v1", NO_KEY);
}

#[test]
fn the_address_of_a_call_keeps_path_and_query() {
    let at = |url: &'static str| chosen(&[], named("custom", Some(url))).unwrap();
    assert_eq!(at("http://localhost/v1/").chat_url().as_str(), "http://localhost/v1/chat/completions");
    let azure = at("http://localhost/openai?api-version=1");
    assert_eq!(azure.chat_url().as_str(), "http://localhost/openai/chat/completions?api-version=1");
    assert_eq!(azure.shown_url(), "http://localhost/openai");
    assert_eq!(at("http://localhost").chat_url().as_str(), "http://localhost/chat/completions");
}

#[test]
fn a_model_is_needed_except_from_a_server_of_ones_own() {
    let none = |url: &'static str| {
        chosen(&[("DEEPSEEK_API_KEY", "d")], move |c| {
            c.model.default.clear();
            c.model.base_url = Some(url.to_owned());
        })
    };
    assert!(none("http://localhost:1/v1").is_ok());
    let text = none("https://api.deepseek.com/v1").unwrap_err().to_string();
    assert_eq!(
        text,
        "no model is configured for provider 'deepseek'. Set model.default in `/h/.hermes/profiles/coder/config.yaml`"
    );
}

#[test]
fn debug_shows_no_key() {
    let endpoint = chosen(&[("DEEPSEEK_API_KEY", "sk-canary")], |_| {}).unwrap();
    assert!(!format!("{endpoint:?}").contains("canary"));
}
