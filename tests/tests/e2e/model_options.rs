//! Models that a client may choose from, those that it chooses, and what they think, through a real gateway and two providers.

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

/// A default profile that asks `own`, and could ask `lab`.
fn furnished(own: &Provider, lab: &Provider, more: &str) -> Home {
    let section = "  api_server:\n    enabled: true\n";
    let routes = format!("{section}    model_routes: {{fast: {{model: quick}}}}\n{more}");
    let config = Home::config("true", "").replace("engine: echo, ", "").replace(section, &routes);
    let providers = format!(
        "providers: {{lab: {{base_url: '{}', api_key: lab-key, default_model: lab-1}}}}\n",
        lab.base_url()
    );
    let home = Home::with_config(&format!("{config}{providers}{}", own.model_config()));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=own-key\n", home::DEFAULT_KEY));
    own.answer_with(|body| Reply::text(&format!("own {}", body["model"].as_str().unwrap_or_default())));
    lab.answer_with(|body| Reply::text(&format!("lab {}", body["model"].as_str().unwrap_or_default())));
    home
}

fn call(gateway: &Gateway<'_>, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let answer = gateway.api(method, path, &[("Authorization", &key)], body.to_string().as_bytes());
    (answer.status, answer.json())
}

fn chat(gateway: &Gateway<'_>, more: &Value) -> (u16, Value) {
    let mut body = json!({"messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = call(gateway, "POST", "/v1/chat/completions", &body);
    if status == 200 {
        (status, answer["choices"][0]["message"]["content"].clone())
    } else {
        (status, answer["error"].clone())
    }
}

/// The provider's own list, its aliases and who else could be asked; asked once, and again when somebody wants that. No key is in it.
#[test]
fn the_models_that_may_be_asked_for_are_told() {
    let (own, lab) = (Provider::start(), Provider::start());
    let home = furnished(&own, &lab, "");
    let list = json!({"object": "list", "data": [{"id": "m2"}, {"id": "m"}]}).to_string();
    own.script([Reply::Status(200, Vec::new(), list)]);
    let gateway = Gateway::start(&home);
    let options = |query: &str| call(&gateway, "GET", &format!("/api/model/options{query}"), &Value::Null);
    let (status, told) = options("");
    assert_eq!((status, &told["model"], &told["provider"]), (200, &json!("m"), &json!("custom")), "{told}");
    assert_eq!(told["aliases"], json!([{"alias": "fast", "model": "quick", "provider": null}]));
    let row = |told: &Value, at: usize| {
        let row = &told["providers"][at];
        (
            row["slug"].clone(),
            row["models"].clone(),
            row["is_current"].clone(),
            row["is_user_defined"].clone(),
        )
    };
    assert_eq!(row(&told, 0), (json!("custom"), json!(["m", "m2"]), json!(true), json!(false)));
    assert_eq!(row(&told, 1), (json!("lab"), json!(["lab-1"]), json!(false), json!(true)));
    assert!(!told.to_string().contains("-key"), "{told}");
    assert_eq!(options("").1, told);
    assert_eq!((own.calls().len(), lab.calls().len()), (1, 0));
    own.script([Reply::error(401, "no such key here")]);
    let (status, told) = options("?refresh=1");
    assert_eq!((status, row(&told, 0).1), (200, json!(["m"])), "{told}");
    assert!(told["providers"][0]["warning"].as_str().unwrap().contains("no such key here"), "{told}");
}

/// A provider and its model answer who names both; a bare name does where the profile says so, and is the agent's own elsewhere.
#[test]
fn a_client_is_answered_by_the_model_that_it_names() {
    let (own, lab) = (Provider::start(), Provider::start());
    let home = furnished(&own, &lab, "");
    let gateway = Gateway::start(&home);
    let said = |text: &str| (200, json!(text));
    let at_lab = json!({"model": "lab-9", "provider": "lab"});
    assert_eq!(chat(&gateway, &at_lab), said("lab lab-9"));
    assert_eq!(chat(&gateway, &json!({"model": "m2"})), said("own m"));
    assert_eq!(chat(&gateway, &json!({"model": "fast"})), said("own quick"));
    assert_eq!(chat(&gateway, &json!({"model": "hermes-agent", "provider": "custom"})), said("own m"));
    for (more, param, code) in [
        (json!({"model": "x", "provider": "nobody"}), "provider", "model_unavailable"),
        (json!({"model": "x", "provider": "openrouter"}), "provider", "model_unavailable"),
        (json!({"provider": "lab"}), "provider", "invalid_value"),
        (json!({"model": "x", "provider": ["lab"]}), "provider", "invalid_value"),
        (json!({"model_options": {"fast": true}}), "model_options.fast", "unsupported_parameter"),
    ] {
        let (status, error) = chat(&gateway, &more);
        assert_eq!((status, &error["param"], &error["code"]), (400, &json!(param), &json!(code)), "{error}");
    }
    chat(&gateway, &json!({"model_options": {"reasoning": {"enabled": true, "effort": "low"}}}));
    assert_eq!(own.calls().last().unwrap().body["reasoning_effort"], "low");
    let mut asked = at_lab.clone();
    asked["input"] = json!("hello");
    let (status, run) = call(&gateway, "POST", "/v1/runs", &asked);
    assert_eq!(status, 202, "{run}");
    let path = format!("/v1/runs/{}", run["run_id"].as_str().unwrap());
    let run = wait::until("the run to end", || {
        Some(call(&gateway, "GET", &path, &Value::Null).1).filter(|run| run["status"] == "completed")
    });
    assert_eq!((&run["output"], &run["model"]), (&json!("lab lab-9"), &json!("lab-9")));
    let (status, response) = call(&gateway, "POST", "/v1/responses", &asked);
    assert_eq!(
        (status, &response["output"][0]["content"][0]["text"]),
        (200, &json!("lab lab-9")),
        "{response}"
    );
}

#[test]
fn a_bare_name_is_a_model_where_the_profile_says_so() {
    let (own, lab) = (Provider::start(), Provider::start());
    let home = furnished(&own, &lab, "    direct_model_requests: true\n");
    let gateway = Gateway::start(&home);
    for (model, answer) in [("m2", "own m2"), ("fast", "own quick"), ("hermes-agent", "own m")] {
        assert_eq!(chat(&gateway, &json!({"model": model})), (200, json!(answer)));
    }
}

/// What the model thinks is in a stream where the profile wants that, and nowhere else.
#[test]
fn thoughts_are_streamed_where_the_profile_says_so() {
    for (more, expected) in [("display: {platforms: {api_server: {show_reasoning: true}}}\n", "hm"), ("", "")]
    {
        let (own, lab) = (Provider::start(), Provider::start());
        let home = furnished(&own, &lab, "");
        let config = home.read("default", "config.yaml").unwrap();
        home.write("default", "config.yaml", &format!("{config}{more}"));
        own.script([Reply::Thinks("hm".to_owned(), "yes".to_owned())]);
        let gateway = Gateway::start(&home);
        let key = format!("Bearer {}", home::DEFAULT_KEY);
        let body = json!({"messages": [{"role": "user", "content": "hello"}], "stream": true}).to_string();
        let answer = gateway.api("POST", "/v1/chat/completions", &[("Authorization", &key)], body.as_bytes());
        let text = answer.text();
        let chunks =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        let chunks: Vec<Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
        let said = |field: &str| -> String {
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str()).collect()
        };
        assert_eq!(
            (said("reasoning_content").as_str(), said("content").as_str()),
            (expected, "yes"),
            "{text}"
        );
    }
}
