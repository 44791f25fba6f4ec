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
fn every_provider_of_the_table_resolves_by_name_key_and_address() {
    assert!(TABLE.iter().all(|row| row.base_url.is_empty() || Url::parse(row.base_url).is_ok()));
    for row in TABLE.iter().filter(|row| !matches!(row.wire_of("m"), Wire::Other(_))) {
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
    for row in TABLE.iter().filter(|row| matches!(row.wire_of("m"), Wire::Other(_))) {
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
    let text = chosen(&[("GEMINI_API_KEY", "a"), ("DEEPSEEK_API_KEY", "d")], |_| {}).unwrap_err().to_string();
    assert!(text.contains("'gemini' (automatic: GEMINI_API_KEY is set) needs gemini native"), "{text}");
    let gemini = "https://generativelanguage.googleapis.com/v1beta/openai";
    is(&short(chosen(&[("GEMINI_API_KEY", "g")], named("google", Some(gemini)))), "gemini", gemini, "g");
    let zen = chosen(&[("OPENCODE_ZEN_API_KEY", "z")], |c| {
        named("opencode-zen", None)(c);
        c.model.api_mode = Some("chat_completions".to_owned());
    });
    is(&short(zen), "opencode-zen", "https://opencode.ai/zen/v1", "z");
}

/// 0.19.0's table, row by row: the variable that holds the key, the address, and what is spoken there.
const ROWS: [(&str, &str, &str, Wire); 31] = [
    ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1", Wire::Chat),
    ("openai-api", "OPENAI_API_KEY", "https://api.openai.com/v1", Wire::Responses),
    ("anthropic", "CLAUDE_CODE_OAUTH_TOKEN", "https://api.anthropic.com", Wire::Messages),
    ("lmstudio", "LM_API_KEY", "http://127.0.0.1:1234/v1", Wire::Chat),
    ("copilot", "GITHUB_TOKEN", "https://api.githubcopilot.com", Wire::Chat),
    ("zai", "Z_AI_API_KEY", "https://api.z.ai/api/paas/v4", Wire::Chat),
    ("kimi-coding", "KIMI_CODING_API_KEY", "https://api.moonshot.ai/v1", Wire::Chat),
    ("kimi-coding-cn", "KIMI_CN_API_KEY", "https://api.moonshot.cn/v1", Wire::Chat),
    ("stepfun", "STEPFUN_API_KEY", "https://api.stepfun.ai/step_plan/v1", Wire::Chat),
    ("arcee", "ARCEEAI_API_KEY", "https://api.arcee.ai/api/v1", Wire::Chat),
    ("gmi", "GMI_API_KEY", "https://api.gmi-serving.com/v1", Wire::Chat),
    ("minimax", "MINIMAX_API_KEY", "https://api.minimax.io/anthropic", Wire::Messages),
    ("minimax-cn", "MINIMAX_CN_API_KEY", "https://api.minimaxi.com/anthropic", Wire::Messages),
    ("alibaba", "DASHSCOPE_API_KEY", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", Wire::Chat),
    ("alibaba-coding-plan", "DASHSCOPE_API_KEY", "https://coding-intl.dashscope.aliyuncs.com/v1", Wire::Chat),
    ("deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", Wire::Chat),
    ("xai", "XAI_API_KEY", "https://api.x.ai/v1", Wire::Responses),
    ("nvidia", "NVIDIA_API_KEY", "https://integrate.api.nvidia.com/v1", Wire::Chat),
    ("opencode-zen", "OPENCODE_ZEN_API_KEY", "https://opencode.ai/zen/v1", Wire::Chat),
    ("opencode-go", "OPENCODE_GO_API_KEY", "https://opencode.ai/zen/go/v1", Wire::Chat),
    ("kilocode", "KILOCODE_API_KEY", "https://api.kilo.ai/api/gateway", Wire::Chat),
    ("huggingface", "HF_TOKEN", "https://router.huggingface.co/v1", Wire::Chat),
    ("xiaomi", "XIAOMI_API_KEY", "https://api.xiaomimimo.com/v1", Wire::Chat),
    ("tencent-tokenhub", "TOKENHUB_API_KEY", "https://tokenhub.tencentmaas.com/v1", Wire::Chat),
    ("ollama-cloud", "OLLAMA_API_KEY", "https://ollama.com/v1", Wire::Chat),
    ("azure-foundry", "AZURE_FOUNDRY_API_KEY", "", Wire::Chat),
    ("deepinfra", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai", Wire::Chat),
    ("fireworks", "FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1", Wire::Chat),
    ("novita", "NOVITA_API_KEY", "https://api.novita.ai/openai/v1", Wire::Chat),
    ("upstage", "UPSTAGE_API_KEY", "https://api.upstage.ai/v1", Wire::Chat),
    ("custom", "EXAMPLE_API_KEY", "https://llm.example.org/v1", Wire::Chat),
];

#[test]
fn every_row_of_the_table_goes_where_it_says_and_speaks_what_is_spoken_there() {
    for (id, variable, address, wire) in ROWS {
        let own = match id {
            "azure-foundry" => Some("https://me.services.ai.azure.com/openai/v1"),
            "custom" => Some("https://llm.example.org/v1"),
            _ => None,
        };
        let endpoint = chosen(&[(variable, "k")], named(id, own)).unwrap_or_else(|e| panic!("{id}: {e}"));
        let expected = if address.is_empty() { own.unwrap() } else { address };
        assert_eq!(
            (endpoint.shown_url().as_str(), endpoint.wire, endpoint.key.expose()),
            (expected, wire, "k"),
            "{id}"
        );
    }
    let missing = TABLE.iter().filter(|row| ROWS.iter().all(|(id, ..)| *id != row.id));
    let missing: Vec<_> =
        missing.filter(|row| !matches!(row.wire, Wire::Other(_))).map(|row| row.id).collect();
    assert_eq!(missing, [] as [&str; 0]);
    // Keys of Kimi's coding plan are good elsewhere.
    let kimi = chosen(&[("KIMI_API_KEY", "sk-kimi-1")], named("kimi", None)).unwrap();
    assert_eq!((kimi.shown_url().as_str(), kimi.wire), ("https://api.kimi.com/coding", Wire::Messages));
    for (mode, wire) in [("anthropic_messages", Wire::Messages), ("codex_responses", Wire::Responses)] {
        let azure = chosen(&[("AZURE_FOUNDRY_API_KEY", "k")], |c| {
            named("azure", Some("https://me.services.ai.azure.com/x"))(c);
            c.model.api_mode = Some(mode.to_owned());
        });
        assert_eq!(azure.unwrap().wire, wire);
    }
}

/// Some speak another wire with another model; their addresses stay the same.
#[test]
fn who_speaks_another_wire_with_another_model() {
    for (provider, variable, model, url) in [
        ("copilot", "GH_TOKEN", "gpt-5.2-codex", "https://api.githubcopilot.com/responses"),
        ("copilot", "GH_TOKEN", "gpt-5-mini", "https://api.githubcopilot.com/chat/completions"),
        ("copilot", "GH_TOKEN", "gpt-4.1", "https://api.githubcopilot.com/chat/completions"),
        ("copilot", "GH_TOKEN", "claude-sonnet-4.5", "https://api.githubcopilot.com/chat/completions"),
        (
            "opencode-zen",
            "OPENCODE_ZEN_API_KEY",
            "opencode-zen/claude-opus-4-5",
            "https://opencode.ai/zen/v1/messages",
        ),
        ("opencode-zen", "OPENCODE_ZEN_API_KEY", "gpt-5.1", "https://opencode.ai/zen/v1/responses"),
        ("opencode-zen", "OPENCODE_ZEN_API_KEY", "qwen3-coder", "https://opencode.ai/zen/v1/messages"),
        ("opencode-zen", "OPENCODE_ZEN_API_KEY", "kimi-k2", "https://opencode.ai/zen/v1/chat/completions"),
        ("opencode-go", "OPENCODE_GO_API_KEY", "minimax-m2.7", "https://opencode.ai/zen/go/v1/messages"),
        ("opencode-go", "OPENCODE_GO_API_KEY", "glm-5", "https://opencode.ai/zen/go/v1/chat/completions"),
    ] {
        let endpoint = chosen(&[(variable, "k")], |c| {
            named(provider, None)(c);
            c.model.default = model.to_owned();
        });
        let endpoint = endpoint.unwrap();
        assert_eq!(endpoint.turn_url().as_str(), url, "{model}");
        assert!(!endpoint.model.contains('/'), "{}", endpoint.model);
        assert_eq!(endpoint.extra_headers.len(), if provider == "copilot" { 2 } else { 0 });
    }
}

/// Only what OpenRouter passes on to Anthropic is marked.
#[test]
fn marks_for_the_cache_go_through_openrouter_to_claude_alone() {
    let marks = |provider, model: &str| {
        let keys = [("OPENROUTER_API_KEY", "k"), ("DEEPSEEK_API_KEY", "k")];
        chosen(&keys, |c| {
            named(provider, None)(c);
            c.model.default = model.to_owned();
        })
        .unwrap()
        .takes_marks()
    };
    assert!(marks("openrouter", "anthropic/Claude-Sonnet-4.5"));
    assert!(!marks("openrouter", "openai/gpt-5") && !marks("deepseek", "claude"));
}

/// The wire of an address and where its turns go, as 0.19.0 has them; `api_mode` decides where it is set.
#[test]
fn the_wire_follows_from_the_address_unless_it_is_said() {
    let at = |env: &[(&'static str, &'static str)], provider, url, mode: Option<&str>| {
        let endpoint = chosen(env, |c| {
            named(provider, url)(c);
            c.model.api_mode = mode.map(str::to_owned);
        });
        let endpoint = endpoint.unwrap();
        (endpoint.wire, endpoint.turn_url().to_string())
    };
    let (openai, anthropic) = (&[("OPENAI_API_KEY", "k")], &[("ANTHROPIC_API_KEY", "k")]);
    let responses = (Wire::Responses, "https://api.openai.com/v1/responses".to_owned());
    assert_eq!(at(openai, "openai-api", None, None), responses);
    assert_eq!(at(openai, "openai-api", None, Some("codex_responses")), responses);
    assert_eq!(
        at(openai, "openai-api", None, Some("chat_completions")),
        (Wire::Chat, "https://api.openai.com/v1/chat/completions".to_owned())
    );
    assert_eq!(at(&[("XAI_API_KEY", "k")], "grok", None, None).0, Wire::Responses);
    let messages = (Wire::Messages, "https://api.anthropic.com/v1/messages".to_owned());
    assert_eq!(at(anthropic, "claude", None, None), messages);
    assert_eq!(at(anthropic, "anthropic", Some("https://api.anthropic.com/v1/"), None), messages);
    assert_eq!(
        at(&[("MINIMAX_API_KEY", "k")], "minimax", None, None),
        (Wire::Messages, "https://api.minimax.io/anthropic/v1/messages".to_owned())
    );
    assert_eq!(
        at(&[("KIMI_API_KEY", "sk-kimi-1")], "kimi", None, None),
        (Wire::Messages, "https://api.kimi.com/coding/v1/messages".to_owned())
    );
    // An address in the place of a provider's own: it keeps what it spoke there, or what it says.
    let relay = &[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/")];
    assert_eq!(
        at(relay, "anthropic", None, None),
        (Wire::Messages, "http://127.0.0.1:9/v1/messages".to_owned())
    );
    assert_eq!(at(relay, "anthropic", None, Some("chat_completions")).0, Wire::Chat);
    let relay = &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")];
    assert_eq!(at(relay, "openai-api", None, None).0, Wire::Chat);
    assert_eq!(at(relay, "openai-api", None, Some("codex_responses")).0, Wire::Responses);
    for (url, mode, wire) in [
        ("https://x.example/anthropic/v1/", None, Wire::Messages),
        ("https://x.example/v1", Some("anthropic_messages"), Wire::Messages),
        ("https://x.example/v1", Some("codex_responses"), Wire::Chat),
        ("https://x.example/v1", None, Wire::Chat),
    ] {
        assert_eq!(
            at(&[("X_API_KEY", "k"), ("EXAMPLE_API_KEY", "k")], "custom", Some(url), mode).0,
            wire,
            "{url} {mode:?}"
        );
    }
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
    assert_eq!(at("http://localhost/v1/").turn_url().as_str(), "http://localhost/v1/chat/completions");
    let azure = at("http://localhost/openai?api-version=1");
    assert_eq!(azure.turn_url().as_str(), "http://localhost/openai/chat/completions?api-version=1");
    assert_eq!(azure.shown_url(), "http://localhost/openai");
    assert_eq!(at("http://localhost").turn_url().as_str(), "http://localhost/chat/completions");
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
