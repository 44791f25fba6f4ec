//! `config.yaml` and `.env`: any bytes give settings and problems, bounded in time and memory; no problem shows a value of
//! `.env`.
#![no_main]

use hermes_config::platform::Registry;
use hermes_config::{Input, Loaded, Pins};
use hermes_wire::latest::Role;
use hermes_wire::{ProfileName, RootHome};
use libfuzzer_sys::fuzz_target;

#[path = "../../../worker/src/platform/api_server/settings.rs"]
mod api_server;
#[path = "../../../worker/src/platform/webhook/settings.rs"]
mod webhook;

static REGISTRY: Registry = Registry::new(&[&webhook::DECLARATION, &api_server::DECLARATION]);

fuzz_target!(|data: &[u8]| {
    let Some((&split, data)) = data.split_first() else { return };
    let at = data.len() * usize::from(split) / 256;
    let (yaml, env) = data.split_at(at);
    let root = RootHome::new("/r");
    for (name, role) in [("default", Role::Primary), ("coder", Role::Secondary)] {
        let name: ProfileName = name.parse().expect("a valid name");
        let home = root.profile(&name);
        let input = Input {
            registry: &REGISTRY,
            profile: &name,
            home: &home,
            role,
            multiplex: Some(true),
            listeners: &[],
            yaml: Some(yaml),
            env: Some(env),
        };
        // An administrator's files are as hostile as anybody's.
        let pins = Pins { dir: "/p".into(), yaml: Some(env), env: Some(yaml) };
        let same = Pins { dir: "/p".into(), yaml: Some(yaml), env: Some(env) };
        let loads = [None, Some(pins), Some(same)].map(|pins| hermes_config::load_pinned(input, pins));
        // The same once more changes no setting.
        if let [Loaded { config: Some(alone), .. }, _, Loaded { config: Some(pinned), .. }] = &loads {
            assert_eq!((&alone.agent, &alone.env), (&pinned.agent, &pinned.env));
        }
        for problem in loads.iter().flat_map(|loaded| &loaded.problems) {
            assert!(!problem.message.is_empty() && !problem.file.is_empty());
        }
        let _ = hermes_config::newer::look(yaml);
        // What is left of it turns no platform on, or the copy is refused.
        if let Ok(out) = hermes_config::channels::without(&REGISTRY, (&name, &home), Some(yaml), Some(env)) {
            let (yaml, env) = (out.yaml.unwrap_or_default(), out.env.unwrap_or_default());
            let left = Input {
                yaml: Some(yaml.as_bytes()),
                env: Some(env.as_bytes()),
                role: Role::Primary,
                ..input
            };
            assert!(hermes_config::load(left).config.is_none_or(|config| config.platforms.is_empty()));
        }
        let files = (("/r/config.yaml".into(), yaml), ("/r/.env".into(), env));
        let _ = hermes_config::of_section(&REGISTRY, "webhook", &name, files.0, files.1, webhook::given);
    }
});
