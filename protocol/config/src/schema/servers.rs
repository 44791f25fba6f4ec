//! The keys of tool servers.

use super::Kind::{Any, Bool, Choice, Int, List, Seconds, Text};
use super::{Group, Value};
use crate::row::key;

const YEAR: super::Kind = Seconds(31_536_000);

pub(super) const SERVERS: Group = Group {
    title: "Tool servers",
    intro: "Programs and addresses that bring tools by the Model Context Protocol: see [tool servers](mcp.md). `${NAME}` and \
            `${env:NAME}` are filled in from the profile's own `.env`.",
    outro: "What is wrong in an entry keeps the profile from nothing else: it is a warning, and that server is not used. Servers are \
            started anew when the file changes, as the whole profile is.",
    keys: &[
        key("mcp_servers.*.enabled", Bool, "use it").yes(),
        key("mcp_servers.*.command", Text, "a program that is started and talked to by its standard input and output"),
        key("mcp_servers.*.args", List, "its arguments"),
        key(
            "mcp_servers.*.env.*",
            Text,
            "a variable that it gets. Of others it has only `PATH`, `HOME`, `USER`, `LANG`, `TERM`, `SHELL`, `TMPDIR` and the like",
        )
        .secret(),
        key("mcp_servers.*.cwd", Text, "where it runs, relative to the profile's home; the workspace without it"),
        key("mcp_servers.*.url", Text, "instead of `command`: address of a server that speaks streamable HTTP"),
        key("mcp_servers.*.headers.*", Text, "a header of each request to it").secret(),
        key("mcp_servers.*.transport", Text, "how it is talked to, `http` with `url`. The older `sse` is not supported yet"),
        key(
            "mcp_servers.*.protocol",
            Choice(&["auto", "2025-11-25", "2026-07-28"]),
            "the specification that it follows: with a handshake, or without; `auto` asks it",
        )
        .text("auto"),
        key(
            "mcp_servers.*.auth",
            Choice(&["none", "oauth"]),
            "`oauth`: requests carry a token that `hermes mcp login NAME` gets",
        )
        .text("none"),
        key("mcp_servers.*.oauth.client_id", Text, "as which this program is known there; without it, it registers itself"),
        key("mcp_servers.*.oauth.client_secret", Text, "what belongs to it, better kept in `.env`").secret(),
        key("mcp_servers.*.oauth.scope", List, "what is asked for; without it what the server proposes"),
        key("mcp_servers.*.oauth.redirect_port", Int(1, 65_535), "port of the loopback address that the browser comes back to"),
        key(
            "mcp_servers.*.ssl_verify",
            Any,
            "`false`: anybody's certificate is believed; or a file or directory of those that are",
        ),
        key("mcp_servers.*.client_cert", Text, "a file with this program's own certificate (PEM)"),
        key("mcp_servers.*.client_key", Text, "a file with the key for it, where it does not hold that as well"),
        key("mcp_servers.*.timeout", YEAR, "seconds that a call may take").int(300),
        key("mcp_servers.*.connect_timeout", YEAR, "seconds from the start to the list of its tools").int(60),
        key(
            "mcp_servers.*.keepalive_interval",
            YEAR,
            "seconds between two questions whether it is there, 5 at least; `0`: it is not asked",
        )
        .int(180),
        key(
            "mcp_servers.*.idle_timeout_seconds",
            YEAR,
            "a program that is not called for so long is ended; the next call starts it again. `0`: never",
        )
        .int(0)
        .also(&["mcp_servers.*.lifecycle.idle_timeout_seconds"]),
        key(
            "mcp_servers.*.max_lifetime_seconds",
            YEAR,
            "a program that runs for so long is started anew between two calls. `0`: never",
        )
        .int(0)
        .also(&["mcp_servers.*.lifecycle.max_lifetime_seconds"]),
        key(
            "mcp_servers.*.supports_parallel_tool_calls",
            Bool,
            "calls of its tools may run beside others. They run one after the other so far",
        )
        .no(),
        key("mcp_servers.*.tools.include", List, "only these of its tools"),
        key("mcp_servers.*.tools.exclude", List, "not these").or(Value::NoItems),
        key("mcp_servers.*.tools.resources", Bool, "tools that list and read its resources").yes(),
        key("mcp_servers.*.tools.prompts", Bool, "tools that list and fill in its prompts").yes(),
        key(
            "mcp_discovery_timeout",
            YEAR,
            "seconds that the first turns wait for servers which are still coming up; readiness never waits",
        )
        .or(Value::Number(1.5)),
    ],
};
