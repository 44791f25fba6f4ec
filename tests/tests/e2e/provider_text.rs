//! What a provider says reaches people, without the credentials in it.

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, http};

/// Wires 6: credentials that a provider repeats (this key, parts of it, others', headers, URLs) are in no answer, stream, log or status.
#[test]
fn w06_credentials_in_a_providers_words_are_shown_nowhere() {
    let provider = Provider::start();
    let home = Home::with_config(&format!(
        "{}{}",
        Home::config("true", "  admin: '127.0.0.1:0'\n").replace("engine: echo, ", ""),
        provider.model_config()
    ));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=own-key-8d1f2a3bzq5k\n", home::DEFAULT_KEY);
    home.write("default", ".env", &env);
    let gateway = Gateway::start(&home);
    let said = "no: own-key-8d1f2a3bzq5k, key-8d1f2a3b, sk-proj-****zq5k, Authorization: Bearer abcdefgh, ghp_0123456789abcdefghij, \
        http://user:p4ss@proxy.example/x?api_key=zzz999, eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln, subscription key \
        0123456789abcdef0123456789abcdef";
    let secrets = ["8d1f2a3b", "zq5k", "abcdefgh", "ghp_", "p4ss", "zzz999", "eyJhbGci", "0123456789abcdef"];
    let event = |text: &str| {
        format!("event: error\ndata: {}\n\n", serde_json::json!({ "message": text, "code": 401 }))
    };
    let mut seen = Vec::new();
    for reply in [
        Reply::error(401, said),
        Reply::Status(200, Vec::new(), event(said)),
        Reply::Status(403, Vec::new(), said.to_owned()),
    ] {
        provider.script([reply.clone(), reply]);
        let whole = gateway.chat("", home::DEFAULT_KEY, "x");
        assert!(whole.status >= 400 && whole.text().contains("no: ***, ***"), "{}", whole.text());
        seen.push(format!("{whole:?} {}", whole.text()));
        let body = br#"{"stream": true, "messages": [{"role": "user", "content": "x"}]}"#;
        let key = format!("Bearer {}", home::DEFAULT_KEY);
        let streamed = gateway.api("POST", "/v1/chat/completions", &[("Authorization", &key)], body);
        assert!(streamed.text().contains("no: ***, ***"), "{}", streamed.text());
        seen.push(format!("{streamed:?} {}", streamed.text()));
    }
    gateway.wait_state("default", "degraded");
    seen.push(both(&run(&home, &["status"])));
    seen.push(both(&run(&home, &["status", "--json"])));
    seen.push(gateway.get("/health/detailed", home::DEFAULT_KEY).text());
    let admin = gateway.status().gateway.admin.unwrap();
    seen.push(http::request(&admin, "GET", "/metrics", &[("Host", &admin)], b"").unwrap().text());
    for file in ["runtime_status.json", "logs/gateway.log", "logs/gateway.error.log", "logs/errors.log"] {
        seen.extend(home.read("default", file));
    }
    assert!(seen.iter().filter(|text| text.contains("no: ***")).count() >= 9, "{seen:#?}");
    for text in seen {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
