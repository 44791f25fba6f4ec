//! Bodies and events pass through as they are made.

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, http, wait};

#[test]
fn c46_events_arrive_as_produced() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo, echo_delay_ms: 100}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let gateway = Gateway::start(&home);
    let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
    connection.send(&http::chat(true, "one two three four five six seven eight nine ten")).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    // Ten pieces, 100 ms apart: seen one by one, not at the end.
    let started = wait::now();
    let mut arrivals = 0;
    let mut last = connection.buffered().len();
    while !hermes_tests::process::contains(connection.buffered(), b"[DONE]") {
        assert!(connection.fill().unwrap(), "cut: {}", String::from_utf8_lossy(connection.buffered()));
        if connection.buffered().len() > last {
            arrivals += 1;
            last = connection.buffered().len();
        }
    }
    assert!(arrivals >= 5, "{arrivals} reads in {:?}", started.elapsed());
    let text = String::from_utf8_lossy(connection.buffered()).into_owned();
    assert!(text.contains("chat.completion.chunk") && text.contains(r#""finish_reason":"stop""#), "{text}");
}

#[test]
fn c46_a_client_that_leaves_reaches_the_provider_within_a_second() {
    let provider = Provider::start();
    provider.script([Reply::Hang, Reply::Hang]);
    let home = Home::new();
    home.profile_with(
        "coder",
        &provider.model_config(),
        "API_SERVER_KEY=coder-api-key-0123456789\nCUSTOM_API_KEY=k-coder\n",
    );
    let gateway = Gateway::start(&home);
    for stream in [true, false] {
        let mut connection = http::Connection::open(&gateway.address("api_server")).unwrap();
        connection.send(&http::chat(stream, "hi")).unwrap();
        wait::until_true("the provider to be called", || provider.open() == 1);
        drop(connection);
        wait::until_true("the provider's connection to close", || provider.open() == 0);
    }
}

#[test]
fn a_large_body_passes_whole() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let text = "lorem ipsum ".repeat(5_000);
    let response = gateway.chat("/p/coder", &Home::key("coder"), &text);
    assert_eq!(response.status, 200, "{}", response.text());
    let answer = response.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(answer.contains(text.trim()), "the echo of {} bytes has {} bytes", text.len(), answer.len());
}
