//! What of a server is offered to the model: its tools, and tools that reach its resources and prompts.
//!
//! Bounded: what is too much is left out, counted and said once a list.

use hermes_config::servers::ToolServer;
use rmcp::model::{PaginatedRequestParams, ServerCapabilities, Tool};
use rmcp::service::{Peer, RoleClient, ServiceError};
use serde_json::{Value, json};

use super::names;

/// Most tools of one server.
const MOST: usize = 256;
/// Most pages of a list.
const PAGES: usize = 64;
/// Longest description, in characters.
const ABOUT: usize = 4000;
/// Longest schema of a tool's arguments, in bytes.
const SCHEMA: usize = 64 * 1024;
/// Longest schemas and descriptions of all tools together, in bytes.
const ALL: usize = 512 * 1024;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Tool,
    ListResources,
    ReadResource,
    ListPrompts,
    GetPrompt,
}

/// One thing that the model may have a server do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// What the model calls it.
    pub(super) name: String,
    /// What the server calls it.
    pub(super) tool: String,
    pub(super) what: What,
    pub(super) about: String,
    /// JSON Schema of its arguments, as text: it is read again when it is needed, and small until then.
    pub(super) schema: String,
}

/// Asks a server for everything that it has, within the bounds.
pub(super) async fn list(
    peer: &Peer<RoleClient>,
    server: &ToolServer,
    prefix: &str,
) -> Result<Vec<Offer>, ServiceError> {
    let capabilities = peer.peer_info().map(|info| info.capabilities.clone()).unwrap_or_default();
    let mut tools = Vec::new();
    if capabilities.tools.is_some() {
        let mut cursor = None;
        for _ in 0..PAGES {
            let params =
                cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let page = peer.list_tools(params).await?;
            tools.extend(page.tools);
            cursor = page.next_cursor.filter(|cursor| !cursor.is_empty());
            if cursor.is_none() || tools.len() > MOST {
                break;
            }
        }
    }
    Ok(offers(tools, &capabilities, server, prefix))
}

/// What is offered of these tools. Pure, but for what it logs.
fn offers(
    tools: Vec<Tool>,
    capabilities: &ServerCapabilities,
    server: &ToolServer,
    prefix: &str,
) -> Vec<Offer> {
    let mut all: Vec<Offer> = Vec::new();
    let (mut used, mut left_out) = (0, 0_usize);
    for tool in tools.into_iter().filter(|tool| server.tools.offers(&tool.name)) {
        let offer = of_tool(tool);
        let len = offer.about.len() + offer.schema.len();
        let is_double = all.iter().any(|other| other.tool == offer.tool);
        if all.len() >= MOST || offer.schema.len() > SCHEMA || used + len > ALL || is_double {
            left_out += 1;
            continue;
        }
        used += len;
        all.push(offer);
    }
    if left_out > 0 {
        tracing::warn!(
            server = server.name,
            left_out,
            "tools are left out: {MOST} of a server are offered, each with a schema of {} KiB at most, {} KiB together",
            SCHEMA / 1024,
            ALL / 1024
        );
    }
    let of_server = all.len();
    let reach = |is_there: bool, wanted: bool| is_there && wanted;
    if reach(capabilities.resources.is_some(), server.tools.resources) {
        all.extend([What::ListResources, What::ReadResource].map(|what| of_reach(what, server)));
    }
    if reach(capabilities.prompts.is_some(), server.tools.prompts) {
        all.extend([What::ListPrompts, What::GetPrompt].map(|what| of_reach(what, server)));
    }
    // A server's own tool of that name goes before.
    let taken: Vec<String> = all[..of_server].iter().map(|offer| offer.tool.clone()).collect();
    for offer in &mut all[of_server..] {
        while taken.contains(&offer.tool) {
            offer.tool.push('_');
        }
    }
    let names = names::tools(prefix, &all.iter().map(|offer| offer.tool.as_str()).collect::<Vec<_>>());
    for (offer, name) in all.iter_mut().zip(names) {
        offer.name = name;
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn of_tool(tool: Tool) -> Offer {
    let about = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or(&tool.name);
    let about = match about.char_indices().nth(ABOUT) {
        Some((end, _)) => format!("{}…", &about[..end]),
        None => about.to_owned(),
    };
    Offer {
        name: String::new(),
        what: What::Tool,
        about,
        schema: schema(&tool),
        tool: tool.name.into_owned(),
    }
}

/// What providers take for a schema of arguments: an object.
fn schema(tool: &Tool) -> String {
    let mut schema = tool.input_schema.as_ref().clone();
    schema.entry("type").or_insert_with(|| "object".into());
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        schema.entry("properties").or_insert_with(|| json!({}));
    }
    Value::Object(schema).to_string()
}

/// A tool of ours that reaches what a server has besides tools.
fn of_reach(what: What, server: &ToolServer) -> Offer {
    let name = &server.name;
    let (tool, about, schema) = match what {
        What::ListResources => (
            "list_resources",
            format!("Lists the resources of the server {name}: what `read_resource` can read."),
            json!({}),
        ),
        What::ReadResource => (
            "read_resource",
            format!("Reads a resource of the server {name}."),
            json!({"uri": {"type": "string", "description": "The resource's address, as its list has it."}}),
        ),
        What::ListPrompts => (
            "list_prompts",
            format!("Lists the prompts of the server {name} with their arguments."),
            json!({}),
        ),
        What::GetPrompt | What::Tool => (
            "get_prompt",
            format!("Gives a prompt of the server {name}, filled in."),
            json!({
                "name": {"type": "string", "description": "The prompt's name, as its list has it."},
                "arguments": {"type": "object", "description": "Its arguments, each a text."},
            }),
        ),
    };
    let required: Vec<&str> = match what {
        What::ReadResource => vec!["uri"],
        What::GetPrompt => vec!["name"],
        _ => Vec::new(),
    };
    let schema = json!({"type": "object", "properties": schema, "required": required}).to_string();
    Offer { name: String::new(), tool: tool.to_owned(), what, about, schema }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "each is made for its call")]
    fn tool(name: &str, schema: Value) -> Tool {
        serde_json::from_value(json!({"name": name, "description": "d", "inputSchema": schema})).unwrap()
    }

    fn capabilities(value: Value) -> ServerCapabilities {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_servers_tools_and_what_reaches_the_rest() {
        let mut server = ToolServer::new("s");
        server.tools.exclude = vec!["c".to_owned()];
        let tools = vec![tool("b", json!({})), tool("a.1", json!({"type": "object"})), tool("c", json!({}))];
        let all = offers(
            tools,
            &capabilities(json!({"tools": {}, "resources": {}, "prompts": {}})),
            &server,
            "mcp__s__",
        );
        let names: Vec<&str> = all.iter().map(|offer| offer.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "mcp__s__a_1",
                "mcp__s__b",
                "mcp__s__get_prompt",
                "mcp__s__list_prompts",
                "mcp__s__list_resources",
                "mcp__s__read_resource"
            ]
        );
        assert_eq!(
            (all[0].tool.as_str(), all[0].schema.as_str()),
            ("a.1", r#"{"type":"object","properties":{}}"#)
        );
        server.tools =
            hermes_config::servers::ToolFilter { resources: false, prompts: false, ..server.tools };
        let all = offers(vec![], &capabilities(json!({"resources": {}, "prompts": {}})), &server, "mcp__s__");
        assert!(all.is_empty());
    }

    #[test]
    fn a_tool_that_is_called_like_ours_goes_before_it() {
        let server = ToolServer::new("s");
        let tools = vec![tool("read_resource", json!({}))];
        let all = offers(tools, &capabilities(json!({"resources": {}})), &server, "mcp__s__");
        let of = |name: &str| all.iter().find(|offer| offer.name == name).map(|offer| offer.what);
        assert_eq!(of("mcp__s__read_resource"), Some(What::Tool));
        assert_eq!(of("mcp__s__read_resource_"), Some(What::ReadResource));
    }

    #[test]
    fn a_list_is_bounded() {
        let server = ToolServer::new("s");
        let none = ServerCapabilities::default();
        let many = (0..1000).map(|n| tool(&format!("t{n:04}"), json!({}))).collect();
        assert_eq!(offers(many, &none, &server, "mcp__s__").len(), MOST);
        let huge = vec![tool("huge", json!({"x": "y".repeat(SCHEMA)})), tool("fine", json!({}))];
        let all = offers(huge, &none, &server, "mcp__s__");
        assert_eq!(all.len(), 1);
        let large = (0..100).map(|n| tool(&format!("t{n}"), json!({"x": "y".repeat(SCHEMA / 2)}))).collect();
        let total: usize = offers(large, &none, &server, "mcp__s__").iter().map(|o| o.schema.len()).sum();
        assert!(total <= ALL, "{total}");
    }
}
