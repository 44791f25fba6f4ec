//! `hermes profile import`.

use std::fmt::Write as _;

use camino::Utf8Path;
use hermes_wire::exit;

use super::super::Call;
use super::super::output::Output;
use super::create::make_alias;
use super::progress::Progress;
use super::{not_on_path, parse};
use crate::error::HermesError;
use crate::profile::import::{self, Imported, Plan};
use crate::profile::notify::{self, Told};

pub(super) fn run(
    archive: &Utf8Path,
    name: Option<&str>,
    json: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let root = &selection.root;
    let name = name.map(parse).transpose()?;
    let file = call.env.current_dir.join(archive);
    let plan = Plan { root, archive, file: &file, name: name.as_ref() };
    let mut progress = Progress::new("unpacked", true);
    let made = import::import(&plan, &mut |bytes| progress.at(bytes));
    drop(progress);
    let made = made?;
    let alias = make_alias(root, &made.name, call);
    let told = notify::announce(root, &call.env, &made.name);
    if json {
        let path = alias.as_ref().ok().map(|(_, created)| created.path.as_str());
        out.line(&format!("{:#}", as_json(&made, path, &told)))?;
        return Ok(exit::OK);
    }
    let mut text = format!("✓ Imported profile '{}' at {}\n", made.name, made.home.path());
    match &alias {
        Ok((dir, created)) => {
            let _ = writeln!(text, "  Wrapper created: {}", created.path);
            if let Some(why) = &created.instead {
                let _ = writeln!(text, "⚠ {why}");
            }
            if !dir.is_on_path() {
                text += &not_on_path(dir.path());
            }
        }
        Err(why) => {
            let _ = writeln!(
                text,
                "⚠ Cannot create alias '{0}' — {why}\n  Choose a custom alias:  hermes profile alias {0} --name <custom>",
                made.name
            );
        }
    }
    text += &about(&made);
    if let Some(line) = told.line() {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
    out.write(&text)?;
    Ok(exit::OK)
}

/// What came in, what did not, and what will run.
fn about(made: &Imported) -> String {
    let mut text = String::new();
    let dropped: u64 = made.dropped.values().sum();
    if dropped > 0 {
        let counted =
            |(name, n): (&String, &u64)| if *n == 1 { name.clone() } else { format!("{name} ({n})") };
        let names: Vec<_> = made.dropped.iter().take(12).map(counted).collect();
        let more = if made.dropped.len() > names.len() { ", …" } else { "" };
        let _ = writeln!(
            text,
            "  Dropped {dropped} of {} entries, which belong to a process, a machine or another profile: {}{more}",
            made.entries + dropped,
            names.join(", ")
        );
    }
    let without =
        made.dropped.keys().any(|name| name == "sessions" || Utf8Path::new(name).extension() == Some("db"));
    if without && !made.history {
        text += "  Sessions and databases come along only from an archive exported with --history\n";
    }
    if made.history {
        let waited = match made.prepared.forgotten {
            0 => String::new(),
            n => format!(" ({n} messages that waited in the original stay there)"),
        };
        let _ = writeln!(text, "  Sessions and databases came along{waited}");
    }
    if !made.prepared.credentials.is_empty() {
        let _ = writeln!(
            text,
            "⚠ The archive brought credentials, readable by you alone now: {}",
            made.prepared.credentials.join(", ")
        );
    }
    if !made.prepared.ports.is_empty() {
        let _ = writeln!(
            text,
            "  Removed settings of ports, which the default profile opens for all: {}",
            made.prepared.ports.join(", ")
        );
    }
    if !made.prepared.missing.is_empty() {
        let _ = writeln!(
            text,
            "  Not in the archive: {}; `hermes -p {} setup` asks for what is missing",
            made.prepared.missing.join(", "),
            made.name
        );
    }
    text += &about_code(made);
    if !made.prepared.unset.is_empty() {
        let _ = writeln!(
            text,
            "⚠ config.yaml needs values that are not in {}/.env: {}",
            made.home.path(),
            made.prepared.unset.join(", ")
        );
    }
    for warning in &made.prepared.warnings {
        let _ = writeln!(text, "⚠ {warning}");
    }
    text
}

fn about_code(made: &Imported) -> String {
    let runs = &made.prepared.runs;
    let mut text = String::new();
    if !runs.jobs.is_empty() {
        let _ = writeln!(
            text,
            "⚠ {} scheduled job(s) are paused until you resume them (\"enabled\": true in {}/cron/jobs.json):",
            runs.jobs.len(),
            made.home.path()
        );
        for job in runs.jobs.iter().take(20) {
            let _ = writeln!(text, "    {} {} ({})", job.id, job.name, job.schedule);
        }
    }
    for (what, names) in [
        ("Plugins", &runs.plugins),
        ("Hooks", &runs.hooks),
        ("Scripts of webhook routes", &runs.scripts),
        ("Tool servers (mcp_servers)", &runs.servers),
    ] {
        if !names.is_empty() {
            let _ = writeln!(text, "⚠ {what} that will run as you: {}", names.join(", "));
        }
    }
    text
}

fn as_json(made: &Imported, alias: Option<&str>, told: &Told) -> serde_json::Value {
    let runs = &made.prepared.runs;
    let jobs: Vec<_> = runs
        .jobs
        .iter()
        .map(|job| serde_json::json!({ "id": job.id, "name": job.name, "schedule": job.schedule }))
        .collect();
    serde_json::json!({
        "schema": 1,
        "name": made.name,
        "home": made.home.path(),
        "alias_path": alias,
        "entries": made.entries,
        "dropped": made.dropped,
        "history": made.history,
        "credentials": made.prepared.credentials,
        "missing": made.prepared.missing,
        "paused_jobs": jobs,
        "plugins": runs.plugins,
        "hooks": runs.hooks,
        "scripts": runs.scripts,
        "mcp_servers": runs.servers,
        "removed_settings": made.prepared.ports,
        "unset_variables": made.prepared.unset,
        "gateway": told.line(),
        "warnings": made.prepared.warnings,
    })
}
