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

/// Wires 12: command lines of tool servers and hooks, environments of containers, passwords of every name, addresses.
#[test]
fn secrets_in_every_place_that_a_configuration_has_for_them() {
    let key = "c4n4ry-0123456789";
    for yaml in [
        "mcp_servers: {x: {command: docker, args: [run, -i, --rm, -e, GITHUB_TOKEN=Q9Q, mcp/github]}}",
        "mcp_servers: {x: {command: docker, args: [run, -eGITHUB_TOKEN=Q9Q, mcp/github]}}",
        "mcp_servers: {x: {command: docker, args: [run, '--env=WHATEVER=Q9Q', mcp/github]}}",
        "mcp_servers: {x: {command: npx, args: [mcp-remote, 'https://h/sse', --header, 'Authorization: Bearer Q9Q']}}",
        "mcp_servers: {x: {command: npx, args: [mcp-remote, '--header=X-Anything: Q9Q']}}",
        "mcp_servers: {x: {command: npx, args: [server, --api-key, Q9Q]}}",
        "mcp_servers: {x: {command: npx, args: [server, '--token=Q9Q']}}",
        "mcp_servers: {x: {command: npx, args: [server, --figma-api-key=Q9Q]}}",
        "mcp_servers: {x: {command: npx, args: [server, 'postgres://me:Q9Q@db/x']}}",
        "mcp_servers: {x: {command: npx, args: [server, '--config={\"apiKey\": \"Q9Q\"}']}}",
        "mcp_servers: {x: {command: npx, args: [server, '--config', '{\"a\": [{\"token\": \"Q9Q\"}]}']}}",
        "mcp_servers: {x: {command: sh, args: [-c, 'TOKEN=Q9Q exec server --verbose']}}",
        "mcp_servers: {x: {command: 'npx server --api-key Q9Q'}}",
        "mcp_servers: {x: {url: 'https://h/mcp?apikey=Q9Q'}}",
        "mcp_servers: {x: {url: 'https://Q9Q@h/mcp'}}",
        "mcp_servers: {x: {options: {whatever_token: Q9Q}}}",
        "hooks: {pre_tool_call: [{command: 'curl -H \"Authorization: Bearer Q9Q\" https://h'}]}",
        "hooks: {pre_tool_call: [{command: 'curl -u me:Q9Q https://h'}]}",
        "hooks: {pre_tool_call: [{command: 'env API_KEY=Q9Q ./run.sh'}]}",
        "hooks: {x: {command: 'mysql -pQ9Q db'}}",
        "hooks: {x: {command: 'sshpass -p Q9Q ssh h'}}",
        "terminal: {docker_env: {ANYTHING: Q9Q}}",
        "terminal: {container_environment: ['ANYTHING=Q9Q']}",
        "terminal: {docker_extra_args: [-e, 'ANYTHING=Q9Q']}",
        "terminal: {env: [{name: ANYTHING, value: Q9Q}]}",
        "terminal: {docker_extra_args: '-e ANYTHING=Q9Q'}",
        "mail: {smtp_pass: Q9Q}",
        "mail: {imapPassword: Q9Q}",
        "mail: {password_for_bob: Q9Q}",
        "mail: {passwd2: Q9Q}",
        "mail: {user_pw: Q9Q}",
        "x: {fal_key: Q9Q}",
        "x: {api_key_2: Q9Q}",
        "x: {proxy: 'http://me:Q9Q@proxy:8080'}",
        "x: {auth_header: 'Bearer Q9Q'}",
        "x: {headers: 'X-Anything: Q9Q'}",
        "x: [{name: github_token, value: Q9Q}]",
    ] {
        let text = yaml.replace("Q9Q", key);
        let done = yaml_of(&text);
        assert!(!done.contains(key) && done.contains("${"), "{text}\n{done}");
        let node: serde_json::Value = json_of(&text);
        let done = json(node.to_string().as_bytes()).unwrap().text;
        assert!(!done.contains(key) && done.contains("${"), "{text}\n{done}");
    }
    for kept in [
        "args: [run, -e, GITHUB_TOKEN, -v, '/a:/b', --user, '1000:1000', -p, '80:80', mcp/x]",
        "args: [--token, '${MY_TOKEN}', '--header', 'Authorization: Bearer ${MY_TOKEN}', -H, 'Accept: x/y']",
        "toolsets: [basic, filesystem, token]",
        "terminal: {docker_forward_env: [GITHUB_TOKEN, HOME]}",
        "x: {password_file: /run/secrets/x, api_key_env: MY_KEY, public_key: abc, primary_key: id, password_command: pass show x}",
        "command: sed -e 's=a=b=' file",
        "url: 'https://h/p?x=1&lang=de'",
        "limits: {max_tokens: 4096, tokens: 12}",
    ] {
        assert_eq!(yaml(kept.as_bytes()).unwrap().text, kept);
    }
}

fn yaml_of(text: &str) -> String {
    yaml(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}")).text
}

fn json_of(text: &str) -> serde_json::Value {
    fn value(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Scalar { text, .. } => text.as_str().into(),
            Value::Seq(items) => items.iter().map(|item| value(item)).collect(),
            Value::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect()
            }
        }
    }
    value(&super::super::yaml::parse(text.as_bytes()).0.unwrap())
}

/// A value that only stands among variables, and is a word, keeps no file from leaving.
#[test]
fn a_word_that_stands_elsewhere_is_no_reason() {
    let done = yaml(b"env: {MODE: production}\nmode: production\n").unwrap();
    assert_eq!(
        (done.text.as_str(), done.secrets),
        ("env: {MODE: '${ENV_MODE}'}\nmode: production\n", Vec::new())
    );
}
