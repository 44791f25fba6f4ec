//! Rules of configuration by example. The three files of the sample home of 0.19.0 come first.

use super::*;
use hermes_wire::ProfileName;
use hermes_wire::latest::GatewaySettings;
use hermes_wire::latest::{BoundListener, Problem, Role, Severity};

use crate::{api_server, webhook};

mod newer;

/// What the section of webhooks says.
fn hooks(config: &ProfileConfig) -> Option<&webhook::Settings> {
    config.settings.of("webhook")
}

/// What the section of the API says.
fn api(config: &ProfileConfig) -> Option<&api_server::Settings> {
    config.settings.of("api_server")
}

/// Host and port where a platform is reached.
fn listener<'c>(config: &'c ProfileConfig, name: &str) -> Option<(Option<&'c str>, u16)> {
    config.settings.listener(name).map(|listener| (listener.host.as_deref(), listener.port))
}

const ROOT: &str = "/home/user/.hermes";

const DEFAULT_YAML: &str = "\
model:
  default: m
  provider: custom
  base_url: http://127.0.0.1:35227/v1
  api_key: ${CUSTOM_API_KEY}
gateway:
  multiplex_profiles: true
security:
  allow_lazy_installs: false
platforms:
  webhook:
    enabled: true
    extra:
      host: 127.0.0.1
      port: 44065
      rate_limit: 1000000
      routes:
        open: {secret: sek-default, prompt: 'hook {text}'}
        coder: {secret: sek-coder, profile: coder, prompt: 'hook {text}'}
  api_server:
    enabled: true
    extra:
      port: 48123
";
const DEFAULT_ENV: &str = "# per-profile secrets\nAPI_SERVER_KEY=default-api-key-0123456789abcdef\nCUSTOM_API_KEY=default-model-key\n";
const CODER_YAML: &str = "\
model:
  default: m
  provider: custom
  base_url: http://127.0.0.1:35227/v1
  api_key: ${CUSTOM_API_KEY}
platforms:
  webhook:
    extra:
      routes:
        mine: {secret: sek-coder, prompt: 'hook {text}'}
";
const CODER_ENV: &str = "CUSTOM_API_KEY=coder-model-key\nTELEGRAM_BOT_TOKEN_DISABLED=1\n";

fn primary(yaml: &str, env: &str) -> Loaded {
    load_as("default", Role::Primary, None, yaml, env)
}

fn secondary(yaml: &str, env: &str) -> Loaded {
    load_as("coder", Role::Secondary, None, yaml, env)
}

fn load_as(name: &str, role: Role, multiplex: Option<bool>, yaml: &str, env: &str) -> Loaded {
    let name: ProfileName = name.parse().unwrap();
    let home = hermes_wire::RootHome::new(ROOT).profile(&name);
    let listener = BoundListener {
        address: "127.0.0.1:8644".to_owned(),
        host: Some("127.0.0.1".to_owned()),
        platforms: vec!["webhook".to_owned(), "api_server".to_owned()],
    };
    let listeners = [listener];
    let mut loaded = load(Input {
        registry: &crate::REGISTRY,
        profile: &name,
        role,
        multiplex,
        listeners: if role == Role::Secondary { &listeners } else { &[] },
        home: &home,
        yaml: Some(yaml.as_bytes()),
        env: Some(env.as_bytes()),
    });
    // Who answers is `able`'s subject, what cannot be done yet `unsupported`'s; most of these examples name nobody and are about more.
    loaded.problems.retain(|p| p.code != "no_provider" && p.code != "unsupported");
    loaded
}

fn config(loaded: Loaded) -> ProfileConfig {
    loaded.config.unwrap_or_else(|| panic!("no configuration: {:?}", loaded.problems))
}

fn clean(loaded: Loaded) -> ProfileConfig {
    assert_eq!(loaded.problems, Vec::new());
    config(loaded)
}

fn gateway(loaded: Loaded) -> GatewaySettings {
    config(loaded).gateway.expect("a primary has settings")
}

/// The one problem there is.
fn only(loaded: &Loaded) -> &Problem {
    assert_eq!(loaded.problems.len(), 1, "{:#?}", loaded.problems);
    &loaded.problems[0]
}

fn codes(loaded: &Loaded) -> Vec<&str> {
    loaded.problems.iter().map(|p| p.code.as_str()).collect()
}

#[test]
fn the_sample_home_reads_without_a_word() {
    let default = clean(primary(DEFAULT_YAML, DEFAULT_ENV));
    assert_eq!(default.model.api_key, Some(Secret::new("default-model-key")));
    let webhook = hooks(&default).expect("enabled");
    assert_eq!(listener(&default, "webhook"), Some((Some("127.0.0.1"), 44065)));
    assert_eq!(webhook.rate_limit, 1_000_000);
    assert_eq!(webhook.routes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["open"]);
    let of_default = api(&default).expect("enabled");
    assert_eq!(listener(&default, "api_server"), Some((Some("127.0.0.1"), 48123)));
    assert_eq!(of_default.model_name, "hermes-agent");
    assert!(of_default.key.is_some() && of_default.fault.is_none());
    let settings = default.gateway.expect("primary");
    assert!(settings.multiplex);
    assert_eq!(
        settings.listeners.iter().map(|l| (l.platform.as_str(), l.port)).collect::<Vec<_>>(),
        [("webhook", 44065), ("api_server", 48123)]
    );
    assert_eq!(settings.listeners[0].source, format!("platforms.webhook.extra.port in {ROOT}/config.yaml"));

    let coder = clean(secondary(CODER_YAML, CODER_ENV));
    let webhook = hooks(&coder).expect("the gateway has a listener");
    assert_eq!(webhook.routes[0].0, "mine");
    assert_eq!(webhook.routes[0].1.secret, Some(Secret::new("sek-coder")));
    let of_coder = api(&coder).expect("the gateway has a listener");
    assert_eq!((&of_coder.key, of_coder.model_name.as_str(), &of_coder.fault), (&None, "coder", &None));
    assert_eq!(listener(&coder, "api_server"), Some((Some("127.0.0.1"), 8644)));
    assert!(coder.gateway.is_none() && coder.claims.is_empty());
}

/// Wires 7: 0 turns off both limits.
#[test]
fn no_limit_is_spelled_zero() {
    let yaml = "max_concurrent_sessions: 0\nplatforms: {api_server: {enabled: true, extra: {max_concurrent_runs: 0}}}";
    let config = clean(primary(yaml, "API_SERVER_KEY=a-strong-enough-key-of-default"));
    assert_eq!(config.max_concurrent_sessions, 0);
}

#[test]
fn empty_files_give_the_documented_defaults() {
    let config = clean(primary("", ""));
    let settings = config.gateway.clone().expect("primary");
    assert!(!settings.multiplex && settings.listeners.is_empty() && settings.admin.is_none());
    assert_eq!((settings.max_connections, settings.max_requests_per_profile), (4096, 256));
    assert_eq!((settings.max_body_bytes, settings.drain_ms, settings.hold_ms), (64 << 20, 20_000, 5_000));
    assert_eq!((settings.stuck_after_ms, settings.heartbeat_ms), (10_000, 1_000));
    assert_eq!((config.max_concurrent_sessions, config.agent.api_max_retries), (16, 3));
    assert!(config.group_sessions_per_user && !config.thread_sessions_per_user);
    assert!(hooks(&config).is_none() && api(&config).is_none() && config.platforms.is_empty());
}

#[test]
fn broken_yaml_is_the_profiles_failure_and_names_the_place() {
    for loaded in [primary("a: [1\nb: 2\n", ""), secondary("a: [1\nb: 2\n", "")] {
        let problem = only(&loaded);
        assert_eq!((problem.severity, problem.code.as_str()), (Severity::Profile, "yaml_syntax"));
        assert!(problem.file.ends_with("config.yaml") && problem.line.is_some() && problem.column.is_some());
        assert!(loaded.config.is_none());
    }
    assert_eq!(only(&primary("- a\n", "")).code, "yaml_root");
}

#[test]
fn every_problem_is_reported_at_once_worst_first() {
    let yaml = "model: {default: m, max_tokens: many}\nagnet: {max_turns: 3}\nagent: {max_turns: many, engine: magic}\n\
                gateway: {multiplex_profiles: maybe, on_profile_error: perhaps}\n";
    let loaded = primary(yaml, "this is not a variable\n");
    assert!(loaded.config.is_none());
    let severities: Vec<_> = loaded.problems.iter().map(|p| p.severity).collect();
    let mut sorted = severities.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(severities, sorted);
    assert_eq!(
        codes(&loaded),
        ["multiplex_flag", "wrong_type", "wrong_type", "wrong_type", "wrong_type", "env_line", "unknown_key"]
    );
    let unknown = loaded.problems.last().unwrap();
    assert_eq!((unknown.key.as_deref(), unknown.line), (Some("agnet"), Some(2)));
    assert_eq!(unknown.fix.as_deref(), Some("Did you mean `agent`?"));
}

#[test]
fn the_flag_has_one_order_of_precedence() {
    let flag =
        |outer, yaml: &str, env: &str| gateway(load_as("default", Role::Primary, outer, yaml, env)).multiplex;
    let (on, off) = ("gateway: {multiplex_profiles: true}", "gateway: {multiplex_profiles: false}");
    assert!(flag(None, on, "") && !flag(None, off, "") && !flag(None, "", ""));
    assert!(
        flag(None, "gateway: {multiplex_profiles: 'ON'}", "")
            && !flag(None, "multiplex_profiles: 'false'", "")
    );
    assert!(!flag(None, &format!("multiplex_profiles: off\n{on}"), ""));
    assert!(flag(None, &format!("multiplex_profiles:\n{on}"), ""));
    assert!(
        flag(None, off, "GATEWAY_MULTIPLEX_PROFILES=1") && !flag(None, on, "GATEWAY_MULTIPLEX_PROFILES=off")
    );
    assert!(flag(None, on, "GATEWAY_MULTIPLEX_PROFILES="));
    assert!(!flag(Some(false), on, "GATEWAY_MULTIPLEX_PROFILES=1") && flag(Some(true), off, ""));
}

#[test]
fn an_unknown_flag_value_is_never_guessed() {
    let loaded = primary("gateway:\n  multiplex_profiles: maybe\n", "");
    let problem = only(&loaded);
    assert_eq!((problem.severity, problem.line), (Severity::Gateway, Some(2)));
    assert_eq!(problem.key.as_deref(), Some("gateway.multiplex_profiles"));
    assert_eq!(problem.file, format!("{ROOT}/config.yaml"));

    let loaded = primary("gateway: {multiplex_profiles: true}", "GATEWAY_MULTIPLEX_PROFILES=maybe");
    let problem = only(&loaded);
    assert_eq!(
        problem.message,
        "Ignoring unrecognized GATEWAY_MULTIPLEX_PROFILES='maybe' (expected one of ['1', 'on', 'true', 'yes'] or ['0', \
         'false', 'no', 'off']); falling back to config.yaml."
    );
    assert!(gateway(loaded).multiplex);
}

#[test]
fn the_flag_belongs_to_the_default_profile() {
    let yaml = "gateway: {multiplex_profiles: true}";
    for loaded in [
        secondary(yaml, "GATEWAY_MULTIPLEX_PROFILES=1"),
        load_as("coder", Role::Primary, Some(true), yaml, "GATEWAY_MULTIPLEX_PROFILES=1"),
    ] {
        let problem = only(&loaded);
        assert_eq!(problem.severity, Severity::Warning);
        assert!(
            problem.message.ends_with(&format!("is ignored: set it in {ROOT}/config.yaml")),
            "{}",
            problem.message
        );
        assert!(config(loaded).gateway.is_none_or(|settings| !settings.multiplex));
    }
}

#[test]
fn a_port_binding_platform_on_a_secondary_breaks_the_contract() {
    let loaded = secondary("platforms:\n  webhook:\n    enabled: true\n", "");
    let problem = only(&loaded);
    assert_eq!(
        problem.message,
        "Profile 'coder' enables the port-binding platform 'webhook', but gateway.multiplex_profiles is on. The default \
         profile owns the single shared HTTP listener and serves every profile through the /p/coder/ URL prefix. Remove \
         platforms.webhook from profile 'coder's config.yaml (configure it only on the default profile)."
    );
    assert_eq!((problem.severity, problem.platform.as_deref()), (Severity::Gateway, Some("webhook")));
    assert_eq!(problem.file, format!("{ROOT}/profiles/coder/config.yaml"));
    assert_eq!((problem.line, problem.key.as_deref()), (Some(3), Some("platforms.webhook.enabled")));

    let loaded = secondary("", "\nAPI_SERVER_ENABLED=true\n");
    let problem = only(&loaded);
    assert_eq!((problem.key.as_deref(), problem.line), (Some("API_SERVER_ENABLED"), Some(2)));
    assert!(
        problem.file.ends_with("coder/.env") && problem.message.contains("Remove API_SERVER_ENABLED from")
    );
}

#[test]
fn all_port_binding_platforms_are_found_feishu_only_in_webhook_mode() {
    let broken = |yaml: &str, env: &str| {
        let loaded = secondary(yaml, env);
        let list = loaded.problems.iter().filter(|p| p.code == "port_binding");
        list.map(|p| p.platform.clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
    };
    for name in
        ["msgraph_webhook", "wecom_callback", "bluebubbles", "sms", "whatsapp_cloud", "line", "api_server"]
    {
        assert_eq!(broken(&format!("platforms: {{{name}: {{enabled: yes}}}}"), ""), name);
        assert_eq!(broken(&format!("gateway: {{platforms: {{{name}: {{enabled: yes}}}}}}"), ""), name);
        assert_eq!(broken(&format!("platforms: {{{name}: {{enabled: no}}}}"), ""), "");
    }
    assert_eq!(broken("", "TWILIO_ACCOUNT_SID=AC1"), "sms");
    assert_eq!(broken("", "BLUEBUBBLES_SERVER_URL=http://h\nBLUEBUBBLES_PASSWORD=p"), "bluebubbles");
    let feishu = "FEISHU_APP_ID=a\nFEISHU_APP_SECRET=b\n";
    assert_eq!(broken("", feishu), "");
    assert_eq!(broken("", &format!("{feishu}FEISHU_CONNECTION_MODE=webhook")), "feishu");
    assert_eq!(broken("platforms: {feishu: {extra: {connection_mode: webhook}}}", feishu), "feishu");
    assert_eq!(
        broken("platforms: {webhook: {extra: {port: 8700}}, api_server: {host: h}}", ""),
        "webhook api_server"
    );
    assert_eq!(broken("platforms: {webhook: {enabled: true}, sms: {enabled: true}}", ""), "webhook sms");
    assert_eq!(broken("platforms: {webhook: {extra: {routes: {}}}}", "API_SERVER_KEY=0123456789abcdef"), "");
}

#[test]
fn a_secondary_keeps_its_own_key_and_may_opt_out() {
    let coder =
        clean(secondary("platforms: {webhook: {enabled: false}}", "API_SERVER_KEY=coder-key-0123456789"));
    assert!(hooks(&coder).is_none());
    assert_eq!(api(&coder).expect("listener").key, Some(Secret::new("coder-key-0123456789")));
    let weak = secondary("", "API_SERVER_KEY=changeme");
    assert_eq!((only(&weak).code.as_str(), only(&weak).severity), ("weak_api_key", Severity::Warning));
    assert!(api(&config(weak)).expect("listener").key.is_none());
}

#[test]
fn an_open_policy_needs_an_opt_in() {
    let yaml = "platforms: {whatsapp: {enabled: true, extra: {dm_policy: open}}}";
    for loaded in [secondary(yaml, ""), secondary("", "WHATSAPP_ENABLED=1\nWHATSAPP_GROUP_POLICY=Open")] {
        let problem = only(&loaded);
        assert_eq!(
            problem.message,
            "Profile 'coder' enables whatsapp: open policy without allow-all opt-in. Enable GATEWAY_ALLOW_ALL_USERS or the \
             platform allow-all flag for that profile, or change dm_policy/group_policy away from 'open'."
        );
        assert_eq!(problem.severity, Severity::Gateway);
    }
    assert_eq!(only(&primary(yaml, "")).severity, Severity::Gateway);
    clean(secondary(yaml, "GATEWAY_ALLOW_ALL_USERS=true"));
    clean(secondary(yaml, "WHATSAPP_ALLOW_ALL_USERS=1"));
    clean(secondary("platforms: {whatsapp: {dm_policy: open}}", ""));
    for name in ["wecom", "weixin", "yuanbao", "qqbot"] {
        let loaded = secondary(&format!("{name}: {{enabled: true, group_policy: open}}"), "");
        assert_eq!(only(&loaded).code, "open_policy", "{name}");
    }
}

#[test]
fn claims_exist_for_platforms_without_an_adapter() {
    let env = "TELEGRAM_BOT_TOKEN=t1\nSLACK_BOT_TOKEN=xoxb-1, xoxb-2\nSLACK_APP_TOKEN=xapp\nIRC_SERVER=IRC.example/\n\
               IRC_CHANNEL=#c\nMATTERMOST_URL=https://mm.example/\nMATTERMOST_TOKEN=mm\nNTFY_TOPIC=top\n\
               WEIXIN_TOKEN=wx\nDISCORD_BOT_TOKEN=d\n";
    let yaml = "platforms:\n  discord: {enabled: false}\n  whatsapp: {enabled: true, bridge_port: 3001}\n\
                \x20 matrix: {token: mt, extra: {homeserver: 'https://hs/', user_id: '@a:hs'}}\n";
    let config = clean(secondary(yaml, env));
    let claims: Vec<_> = config.claims.iter().map(|c| (c.scope.as_str(), c.identity.expose())).collect();
    assert_eq!(
        claims,
        [
            ("irc", "irc.example:hermes-bot"),
            ("matrix-access-token", "mt"),
            ("matrix-user", "https://hs|@a:hs"),
            ("mattermost-token", "https://mm.example|mm"),
            ("ntfy-topic", "https://ntfy.sh|top"),
            ("slack-app-token", "xapp"),
            ("slack-bot-token", "xoxb-1"),
            ("slack-bot-token", "xoxb-2"),
            ("telegram-bot-token", "t1"),
            ("weixin-bot-token", "wx"),
            ("whatsapp-bridge-port", "port:3001"),
            ("whatsapp-session", "/home/user/.hermes/profiles/coder/platforms/whatsapp/session"),
        ]
    );
    let telegram = config.claims.iter().find(|c| c.platform == "telegram").expect("telegram");
    assert_eq!(telegram.source, format!("TELEGRAM_BOT_TOKEN in {ROOT}/profiles/coder/.env"));
    assert!(!format!("{config:?}").contains("xapp"), "a secret shows");
    let unsupported: Vec<_> =
        config.platforms.iter().filter(|p| !p.supported).map(|p| p.name.as_str()).collect();
    assert_eq!(
        unsupported,
        ["telegram", "slack", "matrix", "whatsapp", "mattermost", "irc", "ntfy", "weixin"]
    );
}

#[test]
fn both_spellings_reach_the_platform_and_env_beats_yaml() {
    let yaml = "platforms: {webhook: {enabled: true, port: 1, extra: {host: h}}}\n\
                gateway: {platforms: {webhook: {port: 2, extra: {rate_limit: 7}}, api_server: {enabled: true, key: short}}}\n";
    let config =
        clean(primary(yaml, "WEBHOOK_PORT=9\nAPI_SERVER_KEY=0123456789abcdefgh\nWEBHOOK_SECRET=s\n"));
    let webhook = hooks(&config).expect("webhook");
    assert_eq!((listener(&config, "webhook"), webhook.rate_limit), (Some((Some("h"), 9)), 7));
    assert_eq!(webhook.secret, Some(Secret::new("s")));
    assert_eq!(api(&config).expect("api").key, Some(Secret::new("0123456789abcdefgh")));
    let loaded = primary("", "WEBHOOK_ENABLED=1\nWEBHOOK_PORT=http");
    assert_eq!(
        (only(&loaded).severity, only(&loaded).key.as_deref()),
        (Severity::Profile, Some("WEBHOOK_PORT"))
    );
}

#[test]
fn api_server_without_a_strong_key_does_not_start_on_the_primary() {
    let loaded = primary("platforms: {api_server: {enabled: true}}", "");
    assert_eq!(
        only(&loaded).message,
        "Refusing to start: API_SERVER_KEY is required for the API server, including loopback-only binds on 127.0.0.1."
    );
    assert_eq!(
        (only(&loaded).severity, only(&loaded).code.as_str()),
        (Severity::Platform, "missing_api_key")
    );
    let config = config(loaded);
    assert!(api(&config).expect("api").fault.is_some());
    assert!(config.gateway.expect("primary").listeners.is_empty());
    let weak = primary("", "API_SERVER_KEY=changeme");
    assert!(
        only(&weak)
            .message
            .starts_with("Refusing to start: API_SERVER_KEY is a placeholder or too short (<16 chars).")
    );
}

#[test]
fn one_address_for_everything() {
    let yaml = "gateway: {listen: '127.0.0.1:0', admin: '127.0.0.1:9464'}\n\
                platforms: {webhook: {enabled: true, port: 5}, api_server: {enabled: true}}\n";
    let settings = clean(primary(yaml, "API_SERVER_KEY=0123456789abcdef0")).gateway.expect("primary");
    let source = format!("gateway.listen in {ROOT}/config.yaml");
    for listener in &settings.listeners {
        assert_eq!(
            (listener.host.as_deref(), listener.port, &listener.source),
            (Some("127.0.0.1"), 0, &source)
        );
    }
    assert_eq!((settings.listeners.len(), settings.admin.as_deref()), (2, Some("127.0.0.1:9464")));
    assert_eq!(only(&primary("gateway: {listen: 8644}", "")).code, "bad_address");
    assert_eq!(only(&primary("gateway: {admin: '*:1'}", "")).code, "admin_public");
    // With a token others may come; one that can be guessed is none.
    let guarded = clean(primary("gateway: {admin: '*:1', admin_token: 0123456789abcdef}", ""));
    assert_eq!(guarded.admin_token.unwrap().expose(), "0123456789abcdef");
    let guarded =
        clean(primary("gateway: {admin: '*:1', admin_token: x}", "GATEWAY_ADMIN_TOKEN=0123456789abcdef-2"));
    assert_eq!(guarded.admin_token.unwrap().expose(), "0123456789abcdef-2");
    assert_eq!(codes(&primary("gateway: {admin_token: short}", "")), ["admin_token_short"]);
}

#[test]
fn gateway_settings_are_checked() {
    let yaml = "gateway: {shared_env: [OPENAI_API_KEY, TELEGRAM_BOT_TOKEN, API_SERVER_KEY]}";
    let loaded = primary(yaml, "");
    assert_eq!(codes(&loaded), ["shared_env", "shared_env"]);
    assert_eq!(loaded.worst(), Some(Severity::Gateway));
    assert_eq!(gateway(loaded).shared_env, ["OPENAI_API_KEY"]);
    assert_eq!(codes(&primary("gateway: {heartbeat_ms: 6000}", "")), ["heartbeat"]);
    assert_eq!(codes(&primary("gateway: {max_connections: 0}", "")), ["wrong_type"]);
    let drain =
        |text: &str| gateway(primary(&format!("agent: {{restart_drain_timeout: {text}}}"), "")).drain_ms;
    assert_eq!((drain("1.5"), drain("-1"), drain("0"), drain("'2'")), (1500, 0, 0, 2000));
    let list = |text: &str| {
        gateway(primary(&format!("gateway: {{multiplex_profile_allowlist: {text}}}"), "")).allowlist
    };
    assert_eq!(list("[Coder, coder, default, 'a b', 7]"), Some(vec!["coder".to_owned(), "7".to_owned()]));
    assert_eq!((list("[]"), list("~"), list("coder")), (Some(vec![]), None, Some(vec![])));
    assert_eq!(codes(&secondary("gateway: {hold_ms: 5}", "")), ["ignored_key"]);
}

#[test]
fn unknown_keys_are_named_and_known_ones_are_not() {
    let loaded = primary(
        "gateway: {hold: 3, platforms: {telegarm: {enabled: true}}}\nplatforms: {webhook: {extra: {ruotes: {}, routes: {a: \
         {secert: x}}}}}\n",
        "",
    );
    let found: Vec<_> =
        loaded.problems.iter().map(|p| (p.key.as_deref().unwrap(), p.fix.as_deref().unwrap())).collect();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.contains(&("gateway.platforms.telegarm", "Did you mean `telegram`?")));
    assert!(found.contains(&("platforms.webhook.extra.ruotes", "Did you mean `routes`?")));
    assert!(found.contains(&("platforms.webhook.extra.routes.a.secert", "Did you mean `secret`?")));
    assert!(!format!("{:?}", loaded.problems).contains('x'.to_string().repeat(2).as_str()));
    clean(primary(
        "_config_version: 33\nterminal: {anything: 1}\nmcp_servers: {a: {command: b}}\ndisplay: {x: y}\nagent: {verbose: \
         false, personalities: {a: b}}\ntelegram: {require_mention: true}\ngateway: {api_server: {max_concurrent_runs: 4}, \
         respawn_storm: {max_starts: 5}}\nsession_reset: {mode: both, at_hour: 4}\nplatform_hints: {web: {append: hi}, cli: yo}\n",
        "",
    ));
}

#[test]
fn references_come_from_the_profiles_own_env_only() {
    let loaded = primary(
        "model: {default: m, base_url: 'http://${HOST}:${PORT}/v1/', api_key: '${HOME}'}",
        "HOST=h\nPORT=1",
    );
    let problem = only(&loaded);
    assert_eq!(
        (problem.code.as_str(), problem.key.as_deref()),
        ("unresolved_variable", Some("model.api_key"))
    );
    let model = config(loaded).model;
    assert_eq!(model.base_url.as_deref(), Some("http://h:1/v1"));
    assert_eq!(model.api_key, Some(Secret::new("${HOME}")));
}

#[test]
fn older_spellings_of_the_model_are_understood() {
    let model = |yaml: &str| clean(primary(yaml, "")).model;
    assert_eq!(
        model("model: a/b\nprovider: lmstudio\n"),
        Model { default: "a/b".into(), provider: Some("lmstudio".into()), ..Model::default() }
    );
    assert_eq!(model("model: {name: n, api_base: 'http://x/'}").base_url.as_deref(), Some("http://x"));
    assert_eq!(model("model: {model: n}\nbase_url: 'http://u'\ncontext_length: 5\n").context_length, Some(5));
    let config = clean(primary(
        "providers: {p: {url: u, transport: chat_completions, enabled: no, extra_headers: {X: y}, extra_body: {a: 1.5}}}\n\
         custom_providers: [{name: q, base_url: v, key_env: K}, {name: p}]\nmax_turns: 5\n",
        "",
    ));
    assert_eq!(config.agent.max_turns, 5);
    assert_eq!(config.providers.len(), 2);
    assert!(!config.providers[0].enabled && config.providers[1].key_env.as_deref() == Some("K"));
}

#[test]
fn a_flood_of_problems_is_counted_and_hides_nothing_worse() {
    let flood = (0..5000).map(|n| format!("strange{n}: 1")).collect::<Vec<_>>().join("\n");
    let loaded = primary(&format!("{flood}\nagent: {{max_turns: x}}\n"), "");
    assert_eq!((loaded.problems.len(), loaded.problems[0].code.as_str()), (102, "wrong_type"));
    assert_eq!(loaded.problems.last().unwrap().message, "4900 more problems are not shown");
}

/// Wires 16: a platform's block that says nothing is not dropped in silence.
#[test]
fn a_block_that_is_no_mapping_is_named() {
    let loaded = primary("platforms: {webhook: 5}\ntelegram: true\nslack:\n", "");
    let named: Vec<_> =
        loaded.problems.iter().map(|p| (p.code.as_str(), p.key.as_deref().unwrap())).collect();
    assert_eq!(named, [("platform_block", "platforms.webhook"), ("platform_block", "telegram")]);
}

#[test]
fn references_cannot_blow_a_value_up() {
    let env = format!("A={}", "x".repeat(100_000));
    let loaded = primary(&format!("model: '{}'", "${A}".repeat(100_000)), &env);
    assert_eq!((only(&loaded).code.as_str(), only(&loaded).severity), ("wrong_type", Severity::Profile));
}

/// A section of another profile's file: what is asked for is read, the file's other flaws are its owner's, and an unreadable file is
/// no empty one.
#[test]
fn a_section_of_the_defaults_file_is_read_alone() {
    let coder: ProfileName = "coder".parse().unwrap();
    let of = |yaml: &str| {
        let yaml = ("/h/config.yaml".into(), yaml.as_bytes());
        of_section(&crate::REGISTRY, "webhook", &coder, yaml, ("/h/.env".into(), b""), webhook::given)
    };
    let (routes, problems) = of(&format!("agnet: {{}}\n{DEFAULT_YAML}"));
    assert_eq!((routes.map(|routes| routes.len()), problems), (Some(1), Vec::new()));
    let (routes, problems) = of("platforms: [");
    assert_eq!((routes, problems[0].severity), (None, Severity::Profile));
}
