//! Its settings.

use super::settings::{NAME, Settings};
use crate::platform::harness;

/// The settings of a section with these keys, and the codes of what is wrong with it.
pub(super) fn settings(extra: &str) -> (Option<Settings>, Vec<String>) {
    settings_of(extra, "HASS_URL=https://home.example\nHASS_TOKEN=t0ken\n")
}

fn settings_of(extra: &str, env: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, &format!("platforms: {{homeassistant: {{enabled: true, {extra}}}}}\n"), env)
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_as_the_files_say() {
    let (found, problems) = settings("");
    let found = found.unwrap();
    assert_eq!((problems, found.fault.clone()), (Vec::new(), None));
    assert!(found.filter.is_blind());
    assert_eq!((found.base.unwrap().as_str(), found.cooldown.as_secs()), ("https://home.example/", 30));
    for (env, code) in [
        ("HASS_URL=https://home.example\n", "homeassistant_config_missing"),
        ("HASS_TOKEN=t\n", "homeassistant_url"),
        ("HASS_URL=http://homeassistant.local:8123\nHASS_TOKEN=t\n", "homeassistant_url"),
        ("HASS_URL=https://home.example\nHASS_TOKEN='a b'\n", "homeassistant_invalid_auth"),
    ] {
        let (found, problems) = settings_of("", env);
        assert_eq!(found.unwrap().fault.unwrap().code, code, "{env}");
        assert!(problems.iter().any(|problem| problem == code), "{env}: {problems:?}");
    }
}

#[test]
fn what_is_watched_is_as_the_file_says() {
    let extra = "extra: {watch_domains: [light, lock], watch_entities: [sensor.attic], ignore_entities: [light.porch, porch], cooldown_seconds: 5}";
    let (found, problems) = settings_of(extra, "HASS_URL=http://127.0.0.1:8123\nHASS_TOKEN=t\n");
    let found = found.unwrap();
    assert_eq!(problems, ["entity_id"]);
    assert!(found.filter.domains.contains("lock") && found.filter.entities.contains("sensor.attic"));
    assert!(found.filter.ignored.contains("light.porch") && !found.filter.is_blind());
    assert_eq!(found.cooldown.as_secs(), 5);
}
