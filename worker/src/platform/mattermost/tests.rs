//! Its settings.

use super::settings::{NAME, Settings};
use crate::platform::harness;

/// The settings of a section with these keys, and the codes of what is wrong with it.
pub(super) fn settings(extra: &str) -> (Option<Settings>, Vec<String>) {
    settings_of(extra, "MATTERMOST_URL=https://mm.example\nMATTERMOST_TOKEN=t0ken\n")
}

/// The same with these variables.
pub(super) fn settings_of(extra: &str, env: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, &format!("platforms: {{mattermost: {{enabled: true, {extra}}}}}\n"), env)
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_as_the_files_say() {
    let (found, problems) = settings("");
    let found = found.unwrap();
    assert_eq!((problems, found.fault.clone()), (Vec::new(), None));
    assert!(found.require_mention && found.reactions && found.typing && !found.threads);
    assert_eq!(found.base.unwrap().as_str(), "https://mm.example/");
    for (env, code) in [
        ("", "mattermost_config_missing"),
        ("MATTERMOST_TOKEN=t\n", "mattermost_config_missing"),
        ("MATTERMOST_URL=https://mm.example\n", "mattermost_config_missing"),
        ("MATTERMOST_URL=http://mm.example\nMATTERMOST_TOKEN=t\n", "mattermost_url"),
        ("MATTERMOST_URL=mm.example\nMATTERMOST_TOKEN=t\n", "mattermost_url"),
        ("MATTERMOST_URL=https://mm.example\nMATTERMOST_TOKEN='a b'\n", "mattermost_invalid_auth"),
    ] {
        let (found, problems) = settings_of("", env);
        let fault = found.unwrap().fault.unwrap();
        assert_eq!(fault.code, code, "{env}");
        assert!(problems.iter().any(|problem| problem == code), "{env}: {problems:?}");
    }
}

#[test]
fn a_variable_beats_its_key() {
    let env = "MATTERMOST_URL=http://127.0.0.1:7/mm\nMATTERMOST_TOKEN=t\nMATTERMOST_REQUIRE_MENTION=false\n\
               MATTERMOST_FREE_RESPONSE_CHANNELS=c1,c2\nMATTERMOST_REPLY_MODE=thread\nMATTERMOST_REACTIONS=off\n";
    let (found, problems) =
        settings_of("require_mention: true, free_response_channels: [c3], reply_mode: 'off'", env);
    let found = found.unwrap();
    assert_eq!(problems, Vec::<String>::new());
    assert!(!found.require_mention && found.threads && !found.reactions);
    assert!(found.free_response_channels.holds("c2") && !found.free_response_channels.holds("c3"));
    assert_eq!(found.base.unwrap().as_str(), "http://127.0.0.1:7/mm/");
}
