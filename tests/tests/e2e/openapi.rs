//! The API against its own description: Schemathesis makes requests of every kind that `/openapi.json` allows, and of kinds that it does not,
//! and looks whether each answer is one that is described.

#![expect(clippy::disallowed_methods, reason = "the test starts the tool that makes the requests")]

use std::process::Command;

use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home};

/// Seconds that the tool has.
const TIME: &str = "45";
/// What is looked at. That what is described is accepted is not: a parameter may be refused for its value.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth";

/// The document needs no key, is the same for every profile, and is the copy in the documentation.
#[test]
fn the_api_describes_itself() {
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\n", "API_SERVER_KEY=coder-api-key-0123456789\n");
    let gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let copy: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(copy).unwrap()).unwrap();
    for path in ["/openapi.json", "/p/coder/openapi.json"] {
        let answer = gateway.api("GET", path, &[], b"");
        assert_eq!((answer.status, answer.json()), (200, copy.clone()), "{path}");
    }
}

/// No answer is a fault of the server's, and none is another than described.
#[test]
fn every_endpoint_answers_as_it_is_described() {
    let Some(python) = Clients::Python.interpreter() else { return };
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let base = format!("http://{}", gateway.address("api_server"));
    let output = Command::new(python)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("{base}/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {}", home::DEFAULT_KEY)])
        .args(["--checks", CHECKS, "--max-time", TIME, "--no-color", "--seed", "1"])
        .args(["--generation-database", "none", "--request-timeout", "30", "--suppress-health-check", "all"])
        .args(["--exclude-path", "/health/detailed"])
        .current_dir(home.user())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.user())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", hermes_tests::gateway::both(&output));
}
