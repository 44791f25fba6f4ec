//! Its settings, and what is asked of it.

use super::*;
use crate::platform::harness;

/// The settings of a section with these keys, and the codes of what is wrong with it.
pub(super) fn settings(extra: &str) -> (Option<Settings>, Vec<String>) {
    with_env(extra, "SLACK_BOT_TOKEN=xoxb-1\nSLACK_APP_TOKEN=xapp-1\n")
}

fn with_env(extra: &str, env: &str) -> (Option<Settings>, Vec<String>) {
    harness::settings(NAME, &format!("platforms: {{slack: {{enabled: true, {extra}}}}}\n"), env)
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_as_the_files_say() {
    let (found, problems) = settings("");
    let found = found.unwrap();
    assert_eq!((problems, found.fault.clone()), (Vec::new(), None));
    assert!(found.require_mention && found.reply_in_thread && found.dm_threads && found.reactions);
    assert!(!found.strict_mention && !found.reply_broadcast);
    assert_eq!((found.base.as_str(), found.status.as_str()), ("https://slack.com/api/", "is thinking..."));
    for (env, code) in [
        ("", "slack_config_missing"),
        ("SLACK_BOT_TOKEN=xoxb-1\n", "slack_config_missing"),
        ("SLACK_BOT_TOKEN=xapp-1\nSLACK_APP_TOKEN=xapp-1\n", "slack_invalid_auth"),
        ("SLACK_BOT_TOKEN=xoxb-1\nSLACK_APP_TOKEN=xoxb-1\n", "slack_invalid_auth"),
        ("SLACK_BOT_TOKEN='xoxb 1'\nSLACK_APP_TOKEN=xapp-1\n", "slack_invalid_auth"),
        ("SLACK_BOT_TOKEN=xoxb-1\nSLACK_MODE=http\n", "slack_config_missing"),
        (
            "SLACK_BOT_TOKEN=xoxb-1\nSLACK_APP_TOKEN=xapp-1\nSLACK_API_BASE_URL=http://slack.example/api\n",
            "slack_base_url",
        ),
        ("SLACK_BOT_TOKEN=xoxb-1\nSLACK_APP_TOKEN=xapp-1\nSLACK_API_BASE_URL=nothing\n", "slack_base_url"),
    ] {
        let (found, problems) = with_env("", env);
        let found = found.unwrap();
        assert!(problems.iter().any(|problem| problem == code), "{env}: {problems:?}");
        assert_eq!(found.fault.as_ref().map(|fault| fault.code.as_str()), Some(code), "{env}");
        let refused = Service::all(&found, &Network::default(), &Arc::default()).err().unwrap();
        let down = down(&refused, TOKEN);
        assert_eq!((down.class, down.code.as_str()), (Class::Fatal, code), "{env}");
    }
}

#[test]
fn events_come_through_a_socket_where_there_is_an_app_token_and_nothing_else_is_said() {
    let of = |more: &str| with_env("", &format!("SLACK_BOT_TOKEN=xoxb-1\n{more}")).0.unwrap().mode;
    let is_socket = |mode: Mode| matches!(mode, Mode::Socket(_));
    assert!(is_socket(of("SLACK_APP_TOKEN=xapp-1\n")));
    assert!(is_socket(of("SLACK_APP_TOKEN=xapp-1\nSLACK_SIGNING_SECRET=s\n")));
    assert!(!is_socket(of("SLACK_SIGNING_SECRET=s\n")));
    assert!(!is_socket(of("SLACK_APP_TOKEN=xapp-1\nSLACK_SIGNING_SECRET=s\nSLACK_MODE=http\n")));
}

#[test]
fn several_workspaces_have_a_token_each_and_a_server_alone_has_its_methods_where_slack_has_them() {
    let (found, _) = with_env(
        "",
        "SLACK_BOT_TOKEN=xoxb-1, xoxb-2,\nSLACK_APP_TOKEN=xapp-1\nSLACK_API_BASE_URL=http://127.0.0.1:7\n",
    );
    let found = found.unwrap();
    let tokens: Vec<&str> = found.tokens.iter().map(Secret::expose).collect();
    assert_eq!((tokens, found.base.as_str()), (vec!["xoxb-1", "xoxb-2"], "http://127.0.0.1:7/api/"));
    let base = |text: &str| {
        let env = format!("SLACK_BOT_TOKEN=xoxb-1\nSLACK_APP_TOKEN=xapp-1\nSLACK_API_BASE_URL={text}\n");
        with_env("", &env).0.unwrap().base.to_string()
    };
    assert_eq!(base("http://127.0.0.1:7/x/api"), "http://127.0.0.1:7/x/api/");
    assert_eq!(base("https://proxy.example/slack/"), "https://proxy.example/slack/");
}

#[test]
fn what_a_bot_cannot_do_without_is_named() {
    let scopes = |text: &str| text.split(',').map(str::to_owned).collect::<BTreeSet<_>>();
    let down = lacking(&scopes("channels:history,im:history")).unwrap();
    assert_eq!((down.class, down.code.as_str()), (Class::Fatal, "slack_missing_scope"));
    assert!(down.message.contains("`chat:write`"), "{down}");
    assert_eq!(lacking(&scopes("chat:write")), None);
}
