//! `hermes mcp test` and `hermes mcp login`: one tool server of one profile, tried or logged in to, by what a worker would read.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_config::servers::ToolServer;
use hermes_host::{blocking, child};
use hermes_wire::exit;
use hermes_wire::text::visible;

use super::{Who, fenced};
use crate::cli::ServerTask;
use crate::mcp::{self, Premises, Trial};
use crate::process::Environment;

/// Columns of a description.
const ABOUT: usize = 72;
/// Time for a browser to start.
const BROWSER: Duration = Duration::from_secs(10);

/// The whole life.
pub(super) async fn run(who: &Who, environment: &Environment, name: &str, task: ServerTask) -> u8 {
    let Some(config) = super::ask::config(who, environment).await else {
        let why = "its configuration cannot be used; `hermes config check` says why".to_owned();
        return fail(name, task, &why);
    };
    let Some(server) = config.servers.all.iter().find(|server| server.name == name) else {
        return fail(name, task, &unknown(&config));
    };
    let fence = fenced::fence(&config, &who.home, environment, None);
    let premises = Premises::new(&config, &who.home, &environment.base, fence);
    match task {
        ServerTask::Test { json } => test(server, &premises, json).await,
        ServerTask::Login { browser } => login(server, &premises, environment, browser).await,
    }
}

fn unknown(config: &ProfileConfig) -> String {
    let names: Vec<&str> = config.servers.all.iter().map(|server| server.name.as_str()).collect();
    if names.is_empty() {
        return "the profile has no tool server; `hermes mcp add NAME` makes one".to_owned();
    }
    format!("there is no tool server of that name; there are: {}", names.join(", "))
}

async fn test(server: &ToolServer, premises: &Premises, json: bool) -> u8 {
    let trial = match mcp::trial(server, premises).await {
        Ok(trial) => trial,
        Err(why) => return fail(&server.name, ServerTask::Test { json }, &why),
    };
    let text = if json { as_json(&server.name, &trial) } else { as_text(&server.name, &trial) };
    print(&text)
}

fn as_json(name: &str, trial: &Trial) -> String {
    let tools: Vec<_> = trial
        .tools
        .iter()
        .map(|(name, about)| serde_json::json!({"name": name, "description": about}))
        .collect();
    let value = serde_json::json!({
        "schema": 1,
        "name": name,
        "ok": true,
        "server": trial.server,
        "protocol": trial.protocol,
        "took_ms": u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
        "tools": tools,
    });
    format!("{value:#}\n")
}

fn as_text(name: &str, trial: &Trial) -> String {
    use std::fmt::Write as _;
    let what = if trial.server.is_empty() { String::new() } else { format!(", {}", visible(&trial.server)) };
    let mut text = format!(
        "✓ {name} answers ({:.1} s, protocol {}{what})\n",
        trial.took.as_secs_f32(),
        visible(&trial.protocol)
    );
    let widest = trial.tools.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let plural = if trial.tools.len() == 1 { "" } else { "s" };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {} tool{plural} for the model:", trial.tools.len());
    for (name, about) in &trial.tools {
        let about = about.lines().next().unwrap_or_default();
        let about = match about.char_indices().nth(ABOUT) {
            Some((end, _)) => format!("{}…", about[..end].trim_end()),
            None => about.to_owned(),
        };
        let _ = writeln!(text, "  {name:widest$}  {}", visible(&about));
    }
    text
}

async fn login(server: &ToolServer, premises: &Premises, environment: &Environment, browser: bool) -> u8 {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let has_screen = cfg!(target_os = "macos") || environment.has_display;
    let show = |url: &str| {
        let is_open = browser && has_screen && {
            let mut command = child::command_passing(opener, &["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"]);
            command.arg(url);
            child::run(command, BROWSER).is_ok_and(|output| output.status.success())
        };
        let text = if is_open {
            format!("The browser has been opened. If nothing is to be seen there, open:\n\n  {url}\n\n")
        } else {
            format!("Open this address in a browser:\n\n  {url}\n\n")
        };
        let elsewhere = if std::io::stdin().is_terminal() {
            "Where the browser runs on another machine, it ends at an address that it cannot show: paste that here.\n"
        } else {
            ""
        };
        print(&format!("{text}{elsewhere}"));
    };
    let pasted = async {
        if !std::io::stdin().is_terminal() {
            return std::future::pending().await;
        }
        let read =
            || std::io::stdin().lock().lines().map_while(Result::ok).find(|line| line.contains("state="));
        match blocking::run(read).await {
            Ok(Some(line)) => line,
            _ => std::future::pending().await,
        }
    };
    if let Err(error) = mcp::login(server, premises, show, pasted).await {
        return fail(&server.name, ServerTask::Login { browser }, &error.to_string());
    }
    let hint = if server.oauth {
        String::new()
    } else {
        format!("Set `mcp_servers.{}.auth` to `oauth` for the login to be used.\n", server.name)
    };
    print(&format!("✓ {} is logged in. A profile that runs connects within seconds.\n{hint}", server.name))
}

fn print(text: &str) -> u8 {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok() { exit::OK } else { exit::FAILURE }
}

#[expect(clippy::print_stderr, reason = "a command says why it failed")]
fn fail(name: &str, task: ServerTask, why: &str) -> u8 {
    let what = match task {
        ServerTask::Test { json: true } => {
            let value = serde_json::json!({"schema": 1, "name": name, "ok": false, "error": why});
            print(&format!("{value:#}\n"));
            return exit::FAILURE;
        }
        ServerTask::Test { json: false } => "does not work",
        ServerTask::Login { .. } => "is not logged in",
    };
    eprintln!("Error: the tool server `{name}` {what}\n  caused by: {why}");
    exit::FAILURE
}
