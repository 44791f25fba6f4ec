//! `hermes gateway check`: what a start would say, without one.

use std::fmt::Write as _;

use hermes_config::unsupported;
use hermes_gateway::app::{self, CheckOptions, CheckReport};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::profile::DEFAULT;
use hermes_wire::{ProfileName, exit};

use super::super::output::Output;
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::status::render;

/// A check of what a start of the selected profile's gateway would meet.
pub(super) fn options(selection: &Selection, env: &Surroundings) -> CheckOptions {
    CheckOptions {
        root: selection.root.clone(),
        profile: selection.profile.clone(),
        sockets: env.sockets.clone(),
        host: env.rendezvous.host.clone(),
        temp_dir: env.temp_dir.clone(),
        as_one: None,
    }
}

/// `hermes gateway check`.
pub(super) fn run(
    json: bool,
    selection: &Selection,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let report = app::check(&options(selection, env))?;
    if json {
        out.line(&self::json(&report))?;
        return Ok(if report.refused { exit::CONFIG } else { exit::OK });
    }
    out.write(&text(&report, selection))?;
    if report.refused {
        return Err(HermesError::CheckFailed { count: report.stopping });
    }
    Ok(exit::OK)
}

fn json(report: &CheckReport) -> String {
    let problems: Vec<serde_json::Value> = report
        .problems
        .iter()
        .map(|(profile, problem)| {
            let mut value = serde_json::json!({ "profile": profile.as_ref().map(ProfileName::as_str) });
            if let (Some(to), Ok(serde_json::Value::Object(from))) =
                (value.as_object_mut(), serde_json::to_value(problem))
            {
                to.extend(from);
            }
            value
        })
        .collect();
    let value = serde_json::json!({
        "schema": 1,
        "refused": report.refused,
        "served": report.served,
        "left_out": report.left_out,
        "degraded": report.degraded,
        "problems": problems,
    });
    format!("{value:#}")
}

/// Every problem, then the verdict.
pub(super) fn text(report: &CheckReport, selection: &Selection) -> String {
    let mut text = String::new();
    let mut owners: Vec<Option<&str>> = Vec::new();
    for (profile, problem) in &report.problems {
        let owner = profile.as_ref().map(ProfileName::as_str);
        if problem.code == unsupported::CODE {
            owners.push(owner);
        } else {
            text += &render::problem(owner, problem);
        }
    }
    owners.sort_by_key(|owner| (*owner != Some(DEFAULT), *owner));
    owners.dedup();
    for owner in owners {
        let own = |(profile, _): &&(Option<ProfileName>, Problem)| {
            profile.as_ref().map(ProfileName::as_str) == owner
        };
        let own: Vec<Problem> =
            report.problems.iter().filter(own).map(|(_, problem)| problem.clone()).collect();
        text += &render::unsupported(owner, &own);
    }
    if !report.problems.is_empty() {
        text.push('\n');
    }
    let warnings = report.problems.iter().filter(|(_, p)| p.severity == Severity::Warning).count();
    let errors = report.problems.len() - warnings;
    let names = |list: &[ProfileName]| list.iter().map(ProfileName::as_str).collect::<Vec<_>>().join(", ");
    let home = selection.home();
    let whole = report.left_out.is_empty() && report.degraded.is_empty();
    let (mark, verdict) = match (report.refused, whole) {
        (true, _) => ("✗", "would not start"),
        (false, true) => ("✓", "would start"),
        (false, false) => ("⚠", "would start, but not whole"),
    };
    let _ = writeln!(text, "{mark} The gateway of `{}` {verdict}", home.path());
    if !report.refused {
        for (label, list) in
            [("profiles", &report.served), ("degraded", &report.degraded), ("left out", &report.left_out)]
        {
            if !list.is_empty() {
                let _ = writeln!(text, "  {label}: {}", names(list));
            }
        }
    }
    let _ = writeln!(text, "  problems: {errors}, warnings: {warnings}");
    if let Some(predecessor) = Predecessor::find(home.path()) {
        let _ = writeln!(text, "  runs now: {predecessor}; `{}` takes over", predecessor.take_over());
    } else if let Some(elsewhere) = instance::elsewhere(home.path()) {
        let _ = writeln!(text, "  it runs already: {elsewhere}");
    } else if let Liveness::Running { record: Some(record) } = instance::probe(home.path()) {
        let _ = writeln!(text, "  it runs already (PID {})", record.pid);
    }
    text
}
