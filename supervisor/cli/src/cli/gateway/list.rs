//! `hermes gateway list`: each profile with the process that serves it, in the lines that scripts know.

use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_wire::contract::gateway_status::{GatewayStatus, Profile};
use hermes_wire::{ProfileName, exit};
use serde_json::json;

use super::super::output::Output;
use super::super::status;
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};

/// Width of a name.
const NAME: usize = 24;

/// Who serves a profile.
struct Served<'a> {
    profile: &'a Profile,
    /// The gateway's process, where one serves it.
    gateway: Option<u32>,
    /// It is one of the profile's own.
    own: bool,
}

/// `hermes gateway list`.
pub(super) fn list(
    json: bool,
    selection: &Selection,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let status = status::look(selection, None, env);
    let all: Vec<Served<'_>> =
        status.profiles.iter().map(|profile| served(profile, &status, selection)).collect();
    if json {
        let list: Vec<_> = all.iter().map(|one| object(one, selection)).collect();
        out.line(&format!("{:#}", json!({ "schema": 1, "home": selection.root.path(), "gateways": list })))?;
        return Ok(exit::OK);
    }
    let mut text = "Gateways:\n".to_owned();
    for one in &all {
        text += &line(one, selection);
    }
    out.write(&text)?;
    Ok(exit::OK)
}

fn served<'a>(profile: &'a Profile, status: &GatewayStatus, selection: &Selection) -> Served<'a> {
    let name: Option<ProfileName> = profile.name.parse().ok();
    let home = name.as_ref().map(|name| selection.root.profile(name));
    let root = profile.name == hermes_wire::profile::DEFAULT;
    let pid = home.filter(|_| !root).and_then(|home| {
        match (Predecessor::find(home.path()), instance::probe(home.path())) {
            (Some(predecessor), _) => Some(predecessor.pid),
            (None, Liveness::Running { record }) => record.map(|record| record.pid),
            (None, _) => None,
        }
    });
    let of_root = || {
        status.gateway.pid.filter(|_| status.gateway.state != "stopped" && (root || profile.pid.is_some()))
    };
    Served { profile, gateway: pid.or_else(of_root), own: pid.is_some() || root }
}

fn line(one: &Served<'_>, selection: &Selection) -> String {
    let profile = one.profile;
    let current = if profile.name == selection.profile.as_str() { " (current)" } else { "" };
    let label = format!("{}{current}", profile.name);
    let (mark, what) = match (one.gateway, profile.pid) {
        (Some(gateway), _) if one.own => ('✓', format!("PID {gateway}")),
        (Some(gateway), Some(pid)) => ('✓', format!("PID {pid} (served by PID {gateway})")),
        _ if matches!(profile.state.as_str(), "stopped") => ('✗', "not running".to_owned()),
        _ => ('✗', format!("not running ({})", profile.state)),
    };
    format!("  {mark} {label:<NAME$} — {what}\n")
}

fn object(one: &Served<'_>, selection: &Selection) -> serde_json::Value {
    let profile = one.profile;
    json!({
        "profile": profile.name,
        "current": profile.name == selection.profile.as_str(),
        "home": profile.home,
        "running": one.gateway.is_some(),
        "state": profile.state,
        "ready": profile.ready,
        "pid": profile.pid,
        "gateway_pid": one.gateway,
        "gateway": if one.gateway.is_none() { None } else if one.own { Some("own") } else { Some("default") },
        "reason": profile.reason,
    })
}
