//! `config.yaml` and `.env`: any bytes give settings and problems, bounded in time and memory; no problem shows a value of
//! `.env`.
#![no_main]

use hermes_protocol::config::{self, Input};
use hermes_protocol::latest::Role;
use hermes_protocol::{ProfileName, RootHome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&split, data)) = data.split_first() else { return };
    let at = data.len() * usize::from(split) / 256;
    let (yaml, env) = data.split_at(at);
    let root = RootHome::new("/r");
    for (name, role) in [("default", Role::Primary), ("coder", Role::Secondary)] {
        let name: ProfileName = name.parse().expect("a valid name");
        let home = root.profile(&name);
        let loaded = config::load(Input {
            profile: &name,
            home: &home,
            role,
            multiplex: Some(true),
            listeners: &[],
            yaml: Some(yaml),
            env: Some(env),
        });
        for problem in &loaded.problems {
            assert!(!problem.message.is_empty() && !problem.file.is_empty());
        }
        let _ = config::routes_for(&name, ("/r/config.yaml".into(), yaml), ("/r/.env".into(), env));
    }
});
