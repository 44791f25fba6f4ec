//! Keys, secrets and per-profile state at the platforms.

use hermes_tests::{Gateway, Home, home};

#[test]
fn c51_c52_a_prefix_takes_that_profiles_key_only() {
    let home = Home::new();
    home.profile("coder").profile_with("keyless", "agent: {engine: echo}\n", "").profile_with(
        "weak",
        "agent: {engine: echo}\n",
        "API_SERVER_KEY=short\n",
    );
    let gateway = Gateway::start(&home);
    let coder = Home::key("coder");
    assert_eq!(gateway.get("/p/coder/v1/models", &coder).status, 200);
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    assert_eq!(gateway.get("/p/default/v1/models", home::DEFAULT_KEY).status, 200);
    for (path, key) in [
        ("/p/coder/v1/models", home::DEFAULT_KEY),
        ("/v1/models", coder.as_str()),
        ("/p/default/v1/models", coder.as_str()),
        ("/p/keyless/v1/models", home::DEFAULT_KEY),
        ("/p/keyless/v1/models", ""),
        ("/p/weak/v1/models", "short"),
        ("/p/coder/v1/models", "coder-api-key-012345678é"),
    ] {
        let response = gateway.get(path, key);
        assert_eq!(response.status, 401, "{path} {key}");
        assert_eq!(response.json()["error"]["code"], "invalid_api_key");
        assert!(response.header("www-authenticate").is_some());
    }
    for name in ["keyless", "weak"] {
        assert_eq!(gateway.api("GET", &format!("/p/{name}/health"), &[], b"").status, 200);
    }
}

#[test]
fn c53_a_webhook_secret_bound_to_coder_is_refused_elsewhere() {
    let config = Home::config("true", "").replace("routes:\n        hook: {prompt: 'say {text}'}", "routes:\n        hook: {prompt: 'say {text}'}\n        bound: {secret: secret-bound-to-coder, profile: coder, prompt: 'b {text}'}");
    assert!(config.contains("bound:"));
    let home = Home::with_config(&config);
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let body = r#"{"text": "x"}"#;
    assert_eq!(gateway.hook("/p/coder/webhooks/bound", "secret-bound-to-coder", "1", body).status, 202);
    for path in ["/webhooks/bound", "/p/ops/webhooks/bound", "/p/default/webhooks/bound"] {
        assert_eq!(gateway.hook(path, "secret-bound-to-coder", "2", body).status, 404, "{path}");
    }
    assert_eq!(gateway.hook("/webhooks/hook", &format!("{}-coder", home::SECRET), "3", body).status, 401);
    assert_eq!(
        gateway.hook("/p/ops/webhooks/hook", &format!("{}-coder", home::SECRET), "3", body).status,
        401
    );
}

#[test]
fn c55_delivery_ids_are_per_profile_and_survive_a_restart() {
    let home = Home::new();
    home.profile("coder");
    let coder = format!("{}-coder", home::SECRET);
    let body = r#"{"text": "x"}"#;
    let mut gateway = Gateway::start(&home);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "same", body).status, 202);
    assert_eq!(gateway.hook("/p/coder/webhooks/hook", &coder, "same", body).status, 202);
    let again = gateway.hook("/p/coder/webhooks/hook", &coder, "same", body);
    assert_eq!(
        (again.status, again.text().as_str()),
        (200, r#"{"status": "duplicate", "delivery_id": "same"}"#)
    );
    gateway.stop();
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.hook("/p/coder/webhooks/hook", &coder, "same", body).status, 200);
}

#[test]
fn c56_a_rate_limit_is_one_profiles_own() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo}\nplatforms: {webhook: {extra: {secret: s-coder-secret, rate_limit: 2, routes: {hook: {prompt: 'x'}}}}}\n",
        "",
    );
    let gateway = Gateway::start(&home);
    let post = |id: &str| gateway.hook("/p/coder/webhooks/hook", "s-coder-secret", id, "{}");
    assert_eq!((post("a").status, post("b").status), (202, 202));
    let limited = post("c");
    assert_eq!((limited.status, limited.text().as_str()), (429, r#"{"error": "Rate limit exceeded"}"#));
    assert!(limited.header("retry-after").is_some());
    assert_eq!(post("a").status, 200, "a duplicate costs no quota");
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "c", r#"{"text": "x"}"#).status, 202);
}

#[test]
fn c58_c59_a_prefix_names_its_profile_everywhere() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let key = Home::key("coder");
    assert_eq!(gateway.get("/p/coder/v1/models", &key).json()["data"][0]["id"], "coder");
    assert_eq!(gateway.get("/p/coder/v1/models/coder", &key).json()["id"], "coder");
    assert_eq!(gateway.get("/p/coder/v1/capabilities", &key).json()["model"], "coder");
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).json()["data"][0]["id"], "hermes-agent");
    let detailed = gateway.get("/p/coder/health/detailed", &key).json();
    assert_eq!(detailed["pid"], gateway.worker("coder"));
    assert_ne!(detailed["pid"], gateway.get("/health/detailed", home::DEFAULT_KEY).json()["pid"]);
}

#[test]
fn webhook_errors_have_the_known_bodies() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let post = |path: &str, secret: &str, body: &str| gateway.hook(path, secret, body, body);
    for (response, status, text) in [
        (post("/webhooks/nope", home::SECRET, "{}"), 404, r#"{"error": "Unknown route: nope"}"#),
        (post("/webhooks/hook", "wrong", "{}"), 401, r#"{"error": "Invalid signature"}"#),
        (post("/webhooks/hook", home::SECRET, "[1,2]"), 400, r#"{"error": "Cannot parse body"}"#),
        (post("/webhooks/hook", home::SECRET, "hello"), 400, r#"{"error": "Cannot parse body"}"#),
    ] {
        assert_eq!((response.status, response.text().as_str()), (status, text));
    }
}
