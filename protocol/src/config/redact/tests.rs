//! No secret stays in a text, and everything else does.

use super::*;

fn clean(text: &str) -> (String, Vec<String>) {
    let done = yaml(text.as_bytes()).unwrap();
    (done.text, done.replaced.into_iter().map(|r| format!("{} {}", r.key, r.variable)).collect())
}

#[test]
fn secrets_become_placeholders_and_nothing_else_changes() {
    let (text, replaced) = clean(
        "# mine\nmodel:\n  default: a/b   # best\n  api_key: \"hunter22\"  # from the site\n  max_tokens: 4096\n\
         platforms: {telegram: {token: 12345, enabled: yes}, webhook: {extra: {secret: sek-webhook, routes: {hook: {secret: sek-hook, prompt: 'say {text}'}}}}}\n\
         mcp_servers:\n  gh:\n    command: npx\n    args: [--token, topsecret, --verbose]\n    env: {GITHUB_TOKEN: abcdef12, LEVEL: debug}\n    headers:\n      Authorization: Bearer zzzzzzzz\n\
         kept: {api_key: '${MY_KEY}', token: '', password: null, key_bindings: vi, api_key_env: X, tokens: 12, authorization: 'Bearer ${MY_KEY}'}\n",
    );
    assert_eq!(
        text,
        "# mine\nmodel:\n  default: a/b   # best\n  api_key: \"${MODEL_API_KEY}\"  # from the site\n  max_tokens: 4096\n\
         platforms: {telegram: {token: '${PLATFORMS_TELEGRAM_TOKEN}', enabled: yes}, webhook: {extra: {secret: '${PLATFORMS_WEBHOOK_EXTRA_SECRET}', routes: {hook: {secret: '${PLATFORMS_WEBHOOK_EXTRA_ROUTES_HOOK_SECRET}', prompt: 'say {text}'}}}}}\n\
         mcp_servers:\n  gh:\n    command: npx\n    args: [--token, '${MCP_SERVERS_GH_ARGS_1}', --verbose]\n    env: {GITHUB_TOKEN: '${MCP_SERVERS_GH_ENV_GITHUB_TOKEN}', LEVEL: '${MCP_SERVERS_GH_ENV_LEVEL}'}\n    headers:\n      Authorization: '${MCP_SERVERS_GH_HEADERS_AUTHORIZATION}'\n\
         kept: {api_key: '${MY_KEY}', token: '', password: null, key_bindings: vi, api_key_env: X, tokens: 12, authorization: 'Bearer ${MY_KEY}'}\n"
    );
    assert_eq!(replaced.len(), 8, "{replaced:?}");
    assert_eq!(replaced[0], "model.api_key MODEL_API_KEY");
    assert_eq!(yaml(text.as_bytes()).unwrap().replaced, []);
}

#[test]
fn names_that_are_taken_are_not_given_again() {
    let (text, _) = clean("a: ${A_TOKEN}\na_token: hunter22\nA: {token: hunter33}\n");
    assert_eq!(text, "a: ${A_TOKEN}\na_token: '${A_TOKEN_2}'\nA: {token: '${A_TOKEN_3}'}\n");
}

#[test]
fn values_are_known_by_their_looks_wherever_they_stand() {
    for value in [
        "sk-proj-abcDEF123456789",
        "ghp_0123456789abcdefABCDEF",
        "xoxb-1234-5678-abcdefABCD",
        "https://me:pass1234@host/x",
        "https://host/x?api_key=abcd1234",
        "--password=hunter22",
        "https://hooks.slack.com/services/T0/B0/xyz",
        "https://discord.com/api/webhooks/1/abc",
        "123456789:AAabcdefghijklmnopqrstuvwxyz012345",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghij",
        "use sk-abcdef123456789012 here",
        "AUTH=sk-abcdef123456789012",
    ] {
        let (text, replaced) = clean(&format!("a:\n- x: {value}\n"));
        assert_eq!((text.as_str(), replaced.len()), ("a:\n- x: '${A_0_X}'\n", 1), "{value}");
    }
    for value in
        ["sk-learn", "https://host/p?x=1", "hf_model", "a:b", "gpt-4", "https://me@host/x", "risk-assessment"]
    {
        assert_eq!(clean(&format!("x: {value}\n")).1, Vec::<String>::new(), "{value}");
    }
}

#[test]
fn comments_are_cleaned_too() {
    let (text, _) = clean(
        "model:\n  # api_key: old-one-1\n  # {token: abc, x: 1}\n  api_key: hunter22 # not hunter22 any more\n  x: 1 # was sk-abcdef0123456789\n  y: 'a # password: inside'\n# The password: ask Bob for it\n",
    );
    assert_eq!(
        text,
        "model:\n  # api_key: <removed>\n  # {token: <removed>, x: 1}\n  api_key: '${MODEL_API_KEY}' # not <removed> any more\n  x: 1 # was <removed>\n  y: 'a # password: inside'\n# The password: ask Bob for it\n"
    );
}

#[test]
fn what_cannot_be_edited_is_refused() {
    for text in [
        "a: &x {token: hunter22}\nb: *x\n",
        "token: hunter22\nprompt: say hunter22 aloud\n",
        "token: one-secret\ntoken: two-secret\n",
        "a: [\n",
        "a: \u{1}\n",
    ] {
        let refused = yaml(text.as_bytes()).unwrap_err();
        assert!(!refused.to_string().contains("hunter22"), "{refused}");
    }
    assert!(yaml(b"\xff").is_err() && json(b"{").is_err());
    assert_eq!(yaml(b"").unwrap().text, "");
}

#[test]
fn json_too() {
    let done =
        json(br#"{"hosts": {"a": {"apiKey": "hunter22", "n": 1}}, "env": {"X": "y"}, "k": "v"}"#).unwrap();
    let keys: Vec<_> = done.replaced.iter().map(|r| r.key.as_str()).collect();
    assert_eq!(keys, ["hosts.a.apiKey", "env.X"]);
    assert!(!done.text.contains("hunter22") && done.text.contains("${HOSTS_A_APIKEY}"));
    let same = br#"{ "k":1}"#;
    assert_eq!(json(same).unwrap().text.as_bytes(), same);
}

#[test]
fn what_is_still_to_be_set() {
    let names = unresolved("a: ${A} ${B}${A} ${} ${c d} ${C", &|name| name == "B");
    assert_eq!(names, ["A"]);
}

proptest::proptest! {
    /// Whatever the names around it: a value under a secret name is gone, or the file is refused.
    #[test]
    fn no_secret_survives(
        above in "[a-z]{1,6}", style in 0..4, name in "(api_key|bot_token|client_secret|PASSWORD|x-api-key|privateKey)",
        value in "[a-z0-9]{10,20}",
    ) {
        let text = match style {
            0 => format!("{above}:\n  {name}: {value}\n"),
            1 => format!("{above}: [{{{name}: '{value}'}}]\n"),
            2 => format!("{above}:\n- {name}: |\n    {value}\n  b: 1 # {value}\n"),
            _ => format!("# {name}: {value}\n{above}: {{x: \"{value}\", {name}: \"{value}\"}}\n"),
        };
        if let Ok(done) = yaml(text.as_bytes()) {
            proptest::prop_assert!(!done.text.contains(&value), "{}", done.text);
        }
    }
}
