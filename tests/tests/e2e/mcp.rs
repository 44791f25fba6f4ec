//! Tool servers (Model Context Protocol): real ones of both eras, odd ones, one behind a login; and that nothing of them is left.

mod login;
mod odd;
mod published;

use camino::Utf8PathBuf;
use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, home, wait};
use hermes_wire::contract::runtime_status::{RuntimeStatus, ToolServerStatus};
use serde_json::{Value, json};

/// Secrets of the profile's own `.env`.
const OWN: &str = "canary-of-default-3c1d";
const GIVEN: &str = "canary-that-is-given-88f0";

fn fixture(name: &str) -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/servers").join(name)
}

/// `mcp_servers` with the server `odd`, which behaves as it is told to.
fn odd(how: &str, more: &str) -> String {
    format!("mcp_servers: {{odd: {{command: python3, args: ['{}', {how}]{more}}}}}\n", fixture("odd.py"))
}

fn furnished(provider: &Provider, servers: &str) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config = Home::config("true", "").replace(agent, "agent: {restart_drain_timeout: 5}\n");
    let home = Home::with_config(&format!("{config}{}{servers}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY={OWN}\nGIVEN_KEY={GIVEN}\n", home::DEFAULT_KEY);
    home.write("default", ".env", &keys);
    home
}

/// What the worker says of a server.
fn server(home: &Home, name: &str) -> Option<ToolServerStatus> {
    let text = home.read("default", "runtime_status.json")?;
    RuntimeStatus::read(text.as_bytes()).ok()?.tool_servers.remove(name)
}

fn wait_for(home: &Home, name: &str, state: &str) -> ToolServerStatus {
    wait::until(&format!("{name} is {state}"), || server(home, name).filter(|server| server.state == state))
}

/// Has the calls made one after the other in one turn of the API, and gives their results.
fn results(gateway: &Gateway<'_>, provider: &Provider, calls: &[(&str, Value)]) -> Vec<Value> {
    gateway.have_done("", home::DEFAULT_KEY, provider, calls)
}

/// The names of the tools that the last request offered.
fn offered(provider: &Provider) -> Vec<String> {
    let calls = provider.calls();
    let with_tools = calls.iter().rev().find(|call| call.body["tools"].is_array());
    let tools = with_tools.map(|call| call.body["tools"].as_array().unwrap().clone()).unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Wants a turn, and says what was offered in it.
fn offered_now(gateway: &Gateway<'_>, provider: &Provider) -> Vec<String> {
    results(gateway, provider, &[]);
    let mut names = offered(provider);
    names.retain(|name| name.starts_with("mcp__"));
    names
}

/// Processes that the servers of this home have noted down.
fn noted(home: &Home) -> Vec<u32> {
    let text = home.read("default", "note").unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn text(result: &Value) -> &str {
    result["result"].as_str().unwrap_or_else(|| panic!("{result}"))
}

fn error(result: &Value) -> &str {
    result["error"].as_str().unwrap_or_else(|| panic!("{result}"))
}

fn of_environment(result: &Value) -> Value {
    serde_json::from_str(text(result)).unwrap_or_else(|_| json!(null))
}
