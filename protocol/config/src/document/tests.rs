//! Values of whole documents: defaults, places, variables, what an administrator pins.

use serde_json::json;

use super::super::dotenv_edit;
use super::*;

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

fn key(text: &str) -> KeyPath {
    KeyPath::parse(text).unwrap()
}

fn settled(file: &str, env: &str, admin: &str, path: &str) -> Option<(Json, Origin)> {
    let (file, env, admin) = (doc(file), dotenv_edit::read(env.as_bytes()), doc(admin));
    Layers { registry: &crate::REGISTRY, file: &file, env: &env, admin: &admin }
        .get(&key(path))
        .map(|s| (s.value, s.origin))
}

#[test]
fn values_have_the_types_of_their_keys() {
    let file = doc(
        "a: yes\nb: 'yes'\nc: 010\nd: 1e5\ne: 1.5\nf: ~\ng: [1, two, null]\nh: 12345678901234567890\ni: -4\nj: 1_000\n\
         model: {default: 007, max_tokens: '5'}\ngateway: {multiplex_profiles: on, shared_env: [1, on, '2']}\napprovals: {mode: off}\n",
    );
    let get = |path: &str| file.get(&crate::REGISTRY, &key(path), &Env::default()).unwrap();
    for (path, value) in [
        ("a", json!(true)),
        ("b", json!("yes")),
        ("c", json!("010")),
        ("d", json!("1e5")),
        ("e", json!(1.5)),
        ("f", json!(null)),
        ("g", json!([1, "two", null])),
        ("g.1", json!("two")),
        ("h", json!(12_345_678_901_234_567_890_u64)),
        ("i", json!(-4)),
        ("j", json!(1000)),
        ("model.default", json!("007")),
        ("model.max_tokens", json!(5)),
        ("gateway.multiplex_profiles", json!(true)),
        ("gateway.shared_env", json!([1, "on", "2"])),
        ("approvals.mode", json!("off")),
    ] {
        assert_eq!(get(path), value, "{path}");
    }
    assert_eq!(file.get(&crate::REGISTRY, &key("g.\"1\""), &Env::default()), None);
    assert_eq!(file.get(&crate::REGISTRY, &key("g.9"), &Env::default()), None);
    assert!(file.holds(&key("f")) && file.shape(&key("f")) == Shape::Absent);
}

#[test]
fn layers_have_one_order() {
    let at = |path: &str| Origin::File(key(path));
    assert_eq!(settled("", "", "", "agent.max_turns"), Some((json!(90), Origin::Default)));
    assert_eq!(settled("max_turns: 5\n", "", "", "agent.max_turns"), Some((json!(5), at("max_turns"))));
    assert_eq!(
        settled("agent: {max_turns: 6}\nmax_turns: 5\n", "", "", "max_turns"),
        Some((json!(6), at("agent.max_turns")))
    );
    assert_eq!(
        settled(
            "multiplex_profiles: false\ngateway: {multiplex_profiles: true}\n",
            "",
            "",
            "gateway.multiplex_profiles"
        ),
        Some((json!(false), at("multiplex_profiles")))
    );
    let variable = Origin::Variable("GATEWAY_MULTIPLEX_PROFILES");
    assert_eq!(
        settled(
            "multiplex_profiles: false\n",
            "GATEWAY_MULTIPLEX_PROFILES=1\n",
            "",
            "gateway.multiplex_profiles"
        ),
        Some((json!(true), variable))
    );
    assert_eq!(
        settled(
            "webhook: {port: 1}\ngateway: {platforms: {webhook: {extra: {port: 2}}}}\n",
            "",
            "",
            "platforms.webhook.port"
        ),
        Some((json!(2), at("gateway.platforms.webhook.extra.port")))
    );
    assert_eq!(
        settled("model: a/b\n", "", "model: {default: pinned}\n", "model.default"),
        Some((json!("pinned"), Origin::Administrator))
    );
    assert_eq!(settled("model: a/b\n", "", "", "model.default"), Some((json!("a/b"), at("model"))));
    assert_eq!(
        settled("model: {api_key: '${K}'}\n", "K=v\n", "", "model.api_key"),
        Some((json!("v"), at("model.api_key")))
    );
    assert_eq!(settled("", "", "", "model.default"), None);
    assert_eq!(settled("", "", "", "colour"), None);
    assert_eq!(settled("colour:\n", "", "", "colour"), Some((json!(null), at("colour"))));
}

#[test]
fn a_section_shows_its_defaults() {
    let (value, _) = settled("logging: {level: debug, mine: 1}\n", "", "", "logging").unwrap();
    assert_eq!(value, json!({"level": "debug", "mine": 1, "max_size_mb": 5, "backup_count": 3}));
    let (value, _) = settled("", "", "logging: {level: error}\n", "logging").unwrap();
    assert_eq!(value, json!({"level": "error", "max_size_mb": 5, "backup_count": 3}));
    assert_eq!(settled("", "", "", "platforms"), None);
    let (value, _) =
        settled("platforms: {webhook: {extra: {port: 5}}}\n", "WEBHOOK_ENABLED=1\n", "", "platforms.webhook")
            .unwrap();
    assert_eq!(
        value,
        json!({"extra": {"port": 5}, "enabled": true, "rate_limit": 30, "max_body_bytes": 1_048_576, "script_timeout_seconds": 30})
    );
}

#[test]
fn copies_of_a_secret_are_found_where_providers_are_called() {
    let file = doc(
        "model: {api_key: k-1, default: k-1}\nauxiliary: {vision: {api_key: k-1}}\ncustom_providers: [{name: x, api_key: k-1}]\n\
         providers: {y: {api_key: k-1}, z: {api_key: other}}\ntelegram: {token: k-1}\n",
    );
    let found: Vec<_> = file.copies_of("k-1").iter().map(|path| path.texts().join(".")).collect();
    assert_eq!(
        found,
        ["model.api_key", "auxiliary.vision.api_key", "custom_providers.0.api_key", "providers.y.api_key"]
    );
    assert_eq!(file.copies_of(""), Vec::new());
}

#[test]
fn what_is_no_document() {
    for text in ["- 1\n", "text\n", "a: [\n", "a: 1\n---\nb: 2\n", "a: \u{1}\n"] {
        assert!(Document::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let error = Document::parse(b"ok: 1\nbad: [secret\n").unwrap_err();
    assert!(error.line >= 2 && !error.to_string().contains("secret"), "{error}");
}
