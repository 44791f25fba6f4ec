//! `hermes mcp list`: what is configured, and how it is where the profile runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hermes_config::servers::{ToolServer, ToolServers};
use hermes_config::{Input, MAX_FILE_LEN};
use hermes_gateway::instance;
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::contract::runtime_status::{self, RuntimeStatus, ToolServerStatus};
use hermes_wire::latest::Role;
use hermes_wire::text::visible;
use hermes_wire::{ProfileHome, exit};
use hermes_worker::REGISTRY;
use serde_json::json;

use super::super::Call;
use super::super::output::Output;
use crate::columns::{cut, pad, width};
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::settings::SettingsError;

/// Columns where the width is not known, and the least that the last one gets.
const WIDTH: usize = 110;
const LEAST: usize = 24;

pub(super) fn run(json: bool, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let servers = configured(&selection)?;
    let live = live(&selection.home());
    let mut out = Output::stdout();
    if json {
        let entry = |server: &ToolServer| {
            json!({
                "name": server.name,
                "enabled": server.enabled,
                "kind": kind(server),
                "place": server.place(),
                "oauth": server.oauth,
                "fault": server.fault,
                "status": live.as_ref().and_then(|live| live.get(&server.name)),
            })
        };
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "running": live.is_some(),
            "servers": servers.all.iter().map(entry).collect::<Vec<_>>(),
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if servers.all.is_empty() {
        out.line(&format!(
            "Profile '{}' has no tool servers; `hermes mcp add NAME` makes one.",
            selection.profile
        ))?;
        return Ok(exit::OK);
    }
    out.write(&table(&servers.all, live.as_ref(), out.width().unwrap_or(WIDTH)))?;
    Ok(exit::OK)
}

/// What `config.yaml` says.
fn configured(selection: &Selection) -> Result<ToolServers, HermesError> {
    let home = selection.home();
    let file = home.config();
    let yaml = disk::read_bounded(&file, MAX_FILE_LEN).or_absent();
    let yaml = yaml.map_err(SettingsError::io("read", file.clone()))?;
    let role = if selection.profile.is_default() { Role::Primary } else { Role::Secondary };
    let loaded = hermes_config::load(Input {
        registry: &REGISTRY,
        profile: &selection.profile,
        home: &home,
        role,
        multiplex: None,
        listeners: &[],
        yaml: yaml.as_deref(),
        env: None,
    });
    let config = loaded.config.ok_or(CommandError::UnusableConfig { file })?;
    Ok(config.servers)
}

/// How they are, where a worker of the profile runs.
fn live(home: &ProfileHome) -> Option<BTreeMap<String, ToolServerStatus>> {
    let bytes = disk::read_bounded(&home.runtime_status(), runtime_status::MAX_LEN).ok()?;
    let status = RuntimeStatus::read(&bytes).ok()?;
    let runs = instance::lives(status.pid?, status.start_time);
    runs.then_some(status.tool_servers)
}

fn kind(server: &ToolServer) -> &'static str {
    match (&server.command, &server.url) {
        (Some(_), None) => "program",
        (None, Some(_)) => "http",
        _ => "-",
    }
}

fn state(server: &ToolServer, live: Option<&BTreeMap<String, ToolServerStatus>>) -> (String, String, String) {
    let none = || "-".to_owned();
    let place = server.place();
    if !server.enabled {
        return ("off".to_owned(), none(), place);
    }
    if let Some(fault) = &server.fault {
        return ("unusable".to_owned(), none(), fault.clone());
    }
    match live.map(|live| live.get(&server.name)) {
        None => ("not running".to_owned(), none(), place),
        Some(None) => ("new".to_owned(), none(), place),
        Some(Some(status)) => {
            let tools = if status.tools > 0 { status.tools.to_string() } else { none() };
            (status.state.clone(), tools, status.reason.clone().unwrap_or(place))
        }
    }
}

fn table(servers: &[ToolServer], live: Option<&BTreeMap<String, ToolServerStatus>>, most: usize) -> String {
    let mut rows = vec![["NAME", "KIND", "STATE", "TOOLS", "WHERE, OR WHY NOT"].map(str::to_owned)];
    for server in servers {
        let (state, tools, detail) = state(server, live);
        let cells = [server.name.clone(), kind(server).to_owned(), state, tools, detail];
        rows.push(cells.map(|cell| visible(&cell).into_owned()));
    }
    let widths: Vec<usize> =
        (0..4).map(|at| rows.iter().map(|row| width(&row[at])).max().unwrap_or(0)).collect();
    let room = most.saturating_sub(widths.iter().map(|width| width + 2).sum()).max(LEAST);
    let mut text = String::new();
    for row in &rows {
        let mut shown = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            shown.push_str(&pad(cell, width + 2, false));
        }
        shown.push_str(&cut(&row[4], room));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", shown.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_servers() {
        let mut time = ToolServer::new("time");
        time.command = Some("uvx".to_owned());
        let mut off = ToolServer::new("old");
        (off.enabled, off.url) = (false, Some(hermes_config::Secret::new("https://h/mcp?key=topsecret")));
        let mut gone = ToolServer::new("gone");
        gone.command = Some("nothing".to_owned());
        let status = |state: &str, tools, reason: Option<&str>| ToolServerStatus {
            state: state.to_owned(),
            tools,
            reason: reason.map(str::to_owned),
            protocol: None,
            updated_at: None,
        };
        let live = [
            ("time".to_owned(), status("connected", 2, None)),
            ("gone".to_owned(), status("parked", 0, Some("there is no program `nothing` in `PATH`"))),
        ];
        insta::assert_snapshot!(table(&[time, off, gone], Some(&live.into()), 80), @r"
        NAME  KIND     STATE      TOOLS  WHERE, OR WHY NOT
        time  program  connected  2      uvx
        old   http     off        -      https://h/mcp
        gone  program  parked     -      there is no program `nothing` in `PATH`
        ");
    }
}
