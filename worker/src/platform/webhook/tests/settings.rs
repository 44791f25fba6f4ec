//! Routes in `config.yaml` by example.

use hermes_config::platform::Settings as _;
use hermes_config::{Input, Loaded, Secret, load, of_section};
use hermes_wire::latest::{Role, Severity};
use hermes_wire::{ProfileName, RootHome};

use crate::platform::REGISTRY;
use crate::platform::webhook::settings::{Route, Settings, given};

const ROOT: &str = "/home/user/.hermes";
const YAML: &str = "\
platforms:
  webhook:
    enabled: true
    extra:
      routes:
        open: {secret: sek-default, prompt: 'hook {text}'}
        coder: {secret: sek-coder, profile: coder, prompt: 'hook {text}'}
";

/// The default profile's file, read; the model and what cannot be done yet are others' subjects.
fn primary(yaml: &str) -> Loaded {
    let name = ProfileName::default_profile();
    let mut loaded = load(Input {
        registry: &REGISTRY,
        profile: &name,
        role: Role::Primary,
        multiplex: None,
        listeners: &[],
        home: &RootHome::new(ROOT).profile(&name),
        yaml: Some(yaml.as_bytes()),
        env: None,
    });
    loaded.problems.retain(|p| p.code != "no_provider" && p.code != "unsupported");
    loaded
}

fn settings(loaded: &Loaded) -> &Settings {
    let config = loaded.config.as_ref().unwrap_or_else(|| panic!("{:?}", loaded.problems));
    config.settings.of("webhook").expect("webhook")
}

#[test]
fn routes_given_to_a_profile_come_from_the_defaults_file_alone() {
    let (yaml, env) = (format!("{ROOT}/config.yaml"), format!("{ROOT}/.env"));
    let of = |name: &str, text: &str| {
        let name: ProfileName = name.parse().unwrap();
        let (yaml, env) = ((yaml.as_str().into(), text.as_bytes()), (env.as_str().into(), &b""[..]));
        let (routes, problems) = of_section(&REGISTRY, "webhook", &name, yaml, env, given);
        (routes.unwrap_or_default(), problems)
    };
    let (routes, problems) = of("coder", YAML);
    assert_eq!((routes.len(), problems.len()), (1, 0));
    assert_eq!((routes[0].0.as_str(), routes[0].1.profile.as_deref()), ("coder", Some("coder")));
    assert_eq!(routes[0].1.secret, Some(Secret::new("sek-coder")));
    assert!(of("ops", YAML).0.is_empty());
    let inherited = "platforms: {webhook: {secret: shared, routes: {a: {profile: ' Coder '}}}}";
    let (routes, _) = of("coder", inherited);
    assert_eq!(routes[0].1.secret, Some(Secret::new("shared")));
    let json = serde_json::to_vec(&routes).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<(String, Route)>>(&json).unwrap(), routes);
    let (routes, problems) = of("coder", "platforms: [");
    assert!(routes.is_empty() && problems[0].severity == Severity::Profile);
}

#[test]
fn routes_are_typed_and_their_names_are_text() {
    let yaml = "platforms: {webhook: {enabled: true, host: localhost, secret: g, routes: {\n\
                \x20 off: {events: push, filters: {field: a, equals: 1, all: [{field: b, exists: yes}]}, enabled: 'off'},\n\
                \x20 5: {deliver: github_comment, deliver_only: true, deliver_extra: {pr_number: 7, repo: a/b}, skills: [x, y]},\n\
                \x20 open: {secret: INSECURE_NO_AUTH}}}}\n";
    let loaded = primary(yaml);
    assert_eq!(loaded.problems, Vec::new());
    let webhook = settings(&loaded);
    let names: Vec<_> = webhook.routes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["off", "5", "open"]);
    let (off, five) = (&webhook.routes[0].1, &webhook.routes[1].1);
    assert!(!off.enabled && off.events == ["push"] && off.secret == Some(Secret::new("g")));
    assert_eq!(off.filters[0]["equals"], 1);
    assert_eq!(five.deliver_extra["pr_number"], "7");
    assert_eq!((five.skills.len(), five.deliver_only), (2, true));
}

#[test]
fn routes_that_must_not_be_served_stop_the_platform_alone() {
    let yaml = "platforms:\n  webhook:\n    enabled: true\n    extra:\n      routes:\n        a: {}\n        b: {secret: \
                INSECURE_NO_AUTH}\n        c: {secret: s, deliver_only: true}\n        d: {profile: coder}\n";
    let loaded = primary(yaml);
    assert_eq!(loaded.problems.len(), 3, "{:?}", loaded.problems);
    assert!(loaded.problems.iter().all(|p| p.code == "webhook_route"), "{:?}", loaded.problems);
    assert!(loaded.problems.iter().all(|p| p.severity == Severity::Platform && p.line.is_some()));
    assert!(loaded.problems[0].message.starts_with("[webhook] Route 'a' has no HMAC secret."));
    assert!(
        loaded.problems[1].message.contains("is bound to non-loopback host '0.0.0.0'"),
        "{}",
        loaded.problems[1].message
    );
    assert!(loaded.problems[2].message.contains("deliver_only=true but deliver is 'log'"));
    assert_eq!(settings(&loaded).fault.as_ref().expect("fault").code, "webhook_route");
    assert!(loaded.config.unwrap().gateway.expect("primary").listeners.is_empty());
}

#[test]
fn route_keys_that_are_not_supported_are_said_and_a_job_never_becomes_a_turn() {
    let yaml = "platforms: {webhook: {enabled: true, extra: {secret: s, host: 127.0.0.1, routes: {a: {coalesce: {key: x}}, b: {cron_job: nightly}}}}}\n";
    let loaded = primary(yaml);
    let keys: Vec<_> = loaded
        .problems
        .iter()
        .filter(|p| p.code == "unsupported_key")
        .filter_map(|p| p.key.clone())
        .collect();
    assert!(
        keys.len() == 2 && keys[0].ends_with("a.coalesce") && keys[1].ends_with("b.cron_job"),
        "{keys:?}"
    );
    let routes = &settings(&loaded).routes;
    assert_eq!(
        routes.iter().map(|(n, r)| (n.as_str(), r.enabled)).collect::<Vec<_>>(),
        [("a", true), ("b", false)]
    );
}

/// What logs are searched for: the section's secret and each route's own.
#[test]
fn every_secret_of_the_section_is_named_as_one() {
    let yaml = "platforms: {webhook: {enabled: true, host: localhost, secret: of-all, routes: {a: {}, b: {secret: of-b}}}}\n";
    let loaded = primary(yaml);
    let all: Vec<_> = settings(&loaded).secrets().into_iter().map(Secret::expose).collect();
    assert_eq!(all, ["of-all", "of-all", "of-b"]);
}
