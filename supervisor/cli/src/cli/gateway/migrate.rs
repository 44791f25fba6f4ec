//! `hermes gateway migrate` and `migrate-legacy`: what would be done, the question, and what was done.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use hermes_gateway::app::{self, AsOne, CheckOptions, CheckReport};
use hermes_wire::profile::DEFAULT;
use hermes_wire::{ProfileName, RootHome, exit};
use serde_json::{Value, json};

use super::super::output::{self, Output};
use super::check;
use crate::columns;
use crate::error::HermesError;
use crate::home::{Chosen, Selection, Surroundings};
use crate::migrate::error::MigrateError;
use crate::migrate::forward;
use crate::migrate::manifest::{self, Course, Found, Manifest, Record};
use crate::migrate::observe::{By, Seen, World};
use crate::migrate::plan::{self, Action, Become, Obstacle, Plan, Step, Wishes};
use crate::migrate::{Job, back, legacy};
use crate::service::{Manager, Service};
use crate::settings::judge;

/// Longest answer that is read, in bytes.
const ANSWER: u64 = 1024;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(in crate::cli) struct MigrateArgs {
    /// To one gateway for all profiles: the default.
    #[arg(long, conflicts_with_all = ["rollback", "standalone"])]
    multiplex: bool,
    /// Back to what there was before.
    #[arg(long)]
    rollback: bool,
    /// The same as --rollback.
    #[arg(long, conflicts_with = "rollback")]
    standalone: bool,
    /// Show what would be done, and what stands against it; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Go on although settings of old units are lost.
    #[arg(long)]
    force: bool,
    /// Go on without a profile that does not come up, instead of going back.
    #[arg(long)]
    keep_going: bool,
    /// For programs; asks nothing.
    #[arg(long)]
    json: bool,
}

/// What became of a profile that was to be served, for people and programs.
struct Reported<'a> {
    root: &'a RootHome,
    plan: Vec<Value>,
    obstacles: Vec<Value>,
    target: Value,
}

/// `hermes gateway migrate`.
pub(in crate::cli) fn run(
    args: &MigrateArgs,
    selection: &Selection,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    if selection.chosen == Chosen::Flag && !selection.profile.is_default() {
        return Err(crate::error::CommandError::NotItsSettings { profile: selection.profile.clone() }.into());
    }
    if args.rollback || args.standalone {
        return rollback(args, &selection.root, env, out);
    }
    let root = &selection.root;
    let found = Manifest::find(root)?;
    let world = World::look(root, env)?;
    let allowlist = judge::settings(root, env).and_then(|settings| settings.allowlist);
    let begun = match &found {
        Found::Some(manifest) if manifest.course() != Course::Migrated => Some(&**manifest),
        _ => None,
    };
    let plan = plan::plan(&world, allowlist.as_deref(), begun);
    if plan.is_done() && begun.is_none() {
        return nothing(args, &world, &found, &plan, out);
    }
    let options = CheckOptions {
        as_one: Some(AsOne { parked: plan.parked() }),
        ..check::options(&pinned(selection), env)
    };
    let report = app::check(&options)?;
    let wishes = Wishes { force: args.force, keep_going: args.keep_going };
    let obstacles = plan::obstacles(&world, &plan, &report, wishes);
    if args.json {
        if args.dry_run || !obstacles.is_empty() {
            let value = value(root, &plan, &obstacles).finish("planned", false);
            out.line(&value)?;
            return Ok(if obstacles.is_empty() { exit::OK } else { exit::CONFIG });
        }
    } else {
        out.write(&shown(&world, &plan, &report))?;
        out.write(&against(&obstacles))?;
    }
    if !obstacles.is_empty() {
        return Err(MigrateError::Obstacles { count: obstacles.len() }.into());
    }
    if args.dry_run {
        out.line("Nothing was changed (--dry-run).")?;
        return Ok(exit::OK);
    }
    if !args.yes && !args.json && !confirmed("Migrate", &mut out)? {
        return Ok(exit::FAILURE);
    }
    if let Found::Torn(why) = &found {
        let aside = manifest::set_aside(root)?;
        output::warn(&format!("an older record of a migration cannot be read ({why}); it is {aside} now"));
    }
    let manifest = merged(&found, &world, &plan);
    carry_out(args, &world, &plan, manifest, env, out)
}

/// Does it; goes back where it fails.
fn carry_out(
    args: &MigrateArgs,
    world: &World,
    plan: &Plan,
    manifest: Manifest,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let quiet = args.json;
    let mut say = |line: &str| progress(quiet, line);
    let root = &world.root;
    let mut job = Job::new((root, env), manifest, args.keep_going, &mut say);
    let result = forward::run(&mut job, plan);
    let missing = std::mem::take(&mut job.missing);
    let without = std::mem::take(&mut job.without);
    if let Err(failure) = result {
        (job.say)(&format!("⚠ {failure}"));
        (job.say)("going back");
        return Err(match back::run(&mut job) {
            Ok(()) => MigrateError::RolledBack(Box::new(failure)),
            Err(error) => MigrateError::Stuck { failure: failure.to_string(), source: Box::new(error) },
        }
        .into());
    }
    let mut served = plan.served();
    served.retain(|name| !without.contains(name));
    if args.json {
        let value = value(root, plan, &[]);
        out.line(&value.finish_with("migrated", true, &served, &missing))?;
    } else {
        let names: Vec<_> = served.iter().map(ProfileName::as_str).collect();
        let rest =
            if missing.is_empty() { String::new() } else { format!("; without: {}", missing.join("; ")) };
        let mark = if missing.is_empty() { "✓" } else { "⚠" };
        out.line(&format!("{mark} One gateway serves {}{rest}", names.join(", ")))?;
        out.line(&format!(
            "  the way back: hermes gateway migrate --rollback ({})",
            root.gateway_migration()
        ))?;
    }
    Ok(if missing.is_empty() { exit::OK } else { exit::DEGRADED })
}

/// `hermes gateway migrate --rollback`.
fn rollback(
    args: &MigrateArgs,
    root: &RootHome,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let manifest = back::find(root)?;
    if !args.json {
        out.write(&way_back(root, &manifest))?;
    }
    if args.dry_run {
        if args.json {
            let records: Vec<_> = manifest.records().map(record).collect();
            out.line(&format!(
                "{:#}",
                json!({"schema": 1, "result": "planned", "changed": false, "back_to": records})
            ))?;
        } else {
            out.line("Nothing was changed (--dry-run).")?;
        }
        return Ok(exit::OK);
    }
    if !args.yes && !args.json && !confirmed("Go back", &mut out)? {
        return Ok(exit::FAILURE);
    }
    let quiet = args.json;
    let mut say = |line: &str| progress(quiet, line);
    let records: Vec<_> = manifest.records().map(record).collect();
    let mut job = Job::new((root, env), manifest, args.keep_going, &mut say);
    back::run(&mut job)?;
    if args.json {
        out.line(&format!(
            "{:#}",
            json!({"schema": 1, "result": "rolled_back", "changed": true, "back_to": records})
        ))?;
    } else {
        out.line("✓ Everything is as it was before the migration")?;
    }
    Ok(exit::OK)
}

/// `hermes gateway migrate-legacy`.
pub(in crate::cli) fn legacy(
    dry_run: bool,
    yes: bool,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let found = legacy::find(env)?;
    if found.is_empty() {
        out.line("✓ There is no unit of before the rename (hermes.service)")?;
        return Ok(exit::OK);
    }
    for service in &found {
        out.line(&format!("  the {} ({}) is stopped and removed", service.shown(), service.file))?;
    }
    if dry_run {
        out.line("Nothing was changed (--dry-run).")?;
        return Ok(exit::OK);
    }
    if !yes && !confirmed("Remove", &mut out)? {
        return Ok(exit::FAILURE);
    }
    for service in &found {
        legacy::remove(service)?;
        out.line(&format!("✓ Removed {}", service.file))?;
    }
    Ok(exit::OK)
}

/// The root home's gateway, whatever profile was chosen by itself.
fn pinned(selection: &Selection) -> Selection {
    Selection {
        profile: ProfileName::default_profile(),
        chosen: Chosen::Nobody,
        dangling: None,
        ..selection.clone()
    }
}

/// What was written down before holds for those that it names; who came later is written down as found.
fn merged(found: &Found, world: &World, plan: &Plan) -> Manifest {
    let (default, mut secondaries) = plan.records();
    let target = plan.target.as_ref().map(plan::Target::record);
    let Found::Some(before) = found else {
        return Manifest::begin(world.flag.flag, default, secondaries, target);
    };
    let mut manifest = (**before).clone();
    secondaries.retain(|new| !manifest.secondaries.iter().any(|old| old.profile == new.profile));
    manifest.secondaries.append(&mut secondaries);
    let is_bare = manifest.progress.is_none();
    let progress = manifest.progress_mut();
    progress.target = progress.target.take().or(target);
    if is_bare && manifest.default.unit.is_none() && manifest.default.service.is_some() {
        manifest.default.unit = default.unit;
    }
    manifest
}

fn nothing(
    args: &MigrateArgs,
    world: &World,
    found: &Found,
    plan: &Plan,
    mut out: Output,
) -> Result<u8, HermesError> {
    if args.json {
        out.line(&value(&world.root, plan, &[]).finish("nothing_to_do", false))?;
        return Ok(exit::OK);
    }
    let since = match found {
        Found::Some(manifest) => {
            format!(" (since {}; `hermes gateway migrate --rollback` goes back)", manifest.migrated_at)
        }
        _ => String::new(),
    };
    let starts = if world.gateway.is_none() { "; `hermes gateway start` starts it" } else { "" };
    out.line(&format!("✓ Nothing to do: one gateway is for all profiles already{since}{starts}"))?;
    Ok(exit::OK)
}

fn progress(quiet: bool, line: &str) {
    if !quiet {
        output::note(line);
    }
}

/// Reads one line, from a person or a pipe.
fn confirmed(what: &str, out: &mut Output) -> Result<bool, HermesError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(MigrateError::Unconfirmed.into());
    }
    out.write(&format!("{what} now? [y/N] "))?;
    let mut answer = String::new();
    let read = std::io::Read::take(input.lock(), ANSWER).read_line(&mut answer);
    let yes = read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        out.line("Nothing was changed.")?;
    }
    Ok(yes)
}

/// The plan, for people.
fn shown(world: &World, plan: &Plan, report: &CheckReport) -> String {
    let mut rows = vec![["PROFILE", "GATEWAY", "SERVICE", "WHAT IS DONE"].map(str::to_owned)];
    rows.extend(
        plan.steps
            .iter()
            .map(|step| [step.seen.name.to_string(), gateway(&step.seen), service(&step.seen), done(step)]),
    );
    let mut text = format!("To one gateway, for `{}`:\n\n", world.root.path());
    let widths: Vec<usize> = (0..3)
        .map(|column| rows.iter().map(|row| columns::width(&row[column])).max().unwrap_or_default())
        .collect();
    for row in &rows {
        let cells: Vec<_> = (0..3).map(|n| columns::pad(&row[n], widths[n], false)).collect();
        let _ = writeln!(text, "  {}  {}", cells.join("  "), row[3]);
    }
    text.push('\n');
    if let Some(target) = &plan.target {
        let user = target.user.as_ref().map(|user| format!(", as user {user}")).unwrap_or_default();
        let _ = writeln!(text, "  the one gateway's service: {}{user}", target.manager.shown());
    }
    if plan.sets_flag {
        let file = world.root.profile(&ProfileName::default_profile()).config();
        let _ = writeln!(text, "  configuration: {}: true in {file}", world.flag.key);
    }
    let _ = writeln!(text, "  the way back: {}", world.root.gateway_migration());
    for service in &world.others {
        let _ =
            writeln!(text, "  left alone: the {} is for another home ({})", service.shown(), service.file);
    }
    for step in &plan.steps {
        for installed in &step.seen.services {
            for file in &installed.state.drop_ins {
                let _ = writeln!(text, "  stays where it is: {file}");
            }
        }
    }
    if !report.degraded.is_empty() {
        let names: Vec<_> = report.degraded.iter().map(ProfileName::as_str).collect();
        let _ = writeln!(
            text,
            "  degraded, as they would be now: {} (`hermes gateway check` says why)",
            names.join(", ")
        );
    }
    text.push('\n');
    text
}

fn gateway(seen: &Seen) -> String {
    match &seen.live {
        None => "–".to_owned(),
        Some(live) => {
            let pid = live.pid.map_or_else(|| "runs".to_owned(), |pid| format!("PID {pid}"));
            if live.by == By::Python { format!("{pid} (Python)") } else { pid }
        }
    }
}

fn service(seen: &Seen) -> String {
    let all: Vec<_> = seen
        .services
        .iter()
        .map(|installed| {
            let rest = if installed.state.enabled { "" } else { " (disabled)" };
            format!("{}{rest}", installed.service.shown())
        })
        .collect();
    if all.is_empty() { "–".to_owned() } else { all.join(", ") }
}

fn done(step: &Step) -> String {
    let served = if step.seen.services.is_empty() { "" } else { "; the service goes" };
    match step.action {
        Action::Become(Become::Stay) => "serves all profiles, in the same process".to_owned(),
        Action::Become(Become::Enlist) => {
            "serves all profiles, in the same process; becomes a service".to_owned()
        }
        Action::Become(Become::Replace) => "restarts as the gateway of all profiles".to_owned(),
        Action::Become(Become::Start) if step.rests => {
            "the gateway of all profiles starts; its own worker stays stopped".to_owned()
        }
        Action::Become(Become::Start) => "starts as the gateway of all profiles".to_owned(),
        Action::TakeOver => format!("the one gateway takes over{served}"),
        Action::Park => "parked, because it does not run; the service goes".to_owned(),
        Action::StayParked => format!("stays parked{served}"),
        Action::Serve => "served from now on; had no gateway".to_owned(),
        Action::Served => "served already".to_owned(),
        Action::Alone => "left alone, as it wants to be (gateway.standalone)".to_owned(),
        Action::NotAllowed => "not served: gateway.multiplex_profile_allowlist does not name it".to_owned(),
    }
}

fn against(obstacles: &[Obstacle]) -> String {
    let mut text = String::new();
    for Obstacle { profile, message, fix, .. } in obstacles {
        let whose = profile.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let _ = writeln!(text, "✗ {whose}{message}\n    fix: {fix}");
    }
    text
}

fn way_back(root: &RootHome, manifest: &Manifest) -> String {
    let mut text = format!("Back to what there was at {}, for `{}`:\n\n", manifest.migrated_at, root.path());
    for record in manifest.records() {
        let unit = record.unit.as_ref().map(|unit| format!(" as {}", unit.name)).unwrap_or_default();
        let kind = record
            .service
            .as_ref()
            .map(|service| format!(" ({})", service.manager().map_or(service.kind.clone(), Manager::shown)));
        let runs = match (record.ran(), record.profile == DEFAULT) {
            (true, _) => "a gateway of its own",
            (false, true) => "no gateway",
            (false, false) => "a gateway of its own, stopped",
        };
        let _ = writeln!(text, "  {}: {runs}{unit}{}", record.profile, kind.unwrap_or_default());
    }
    text.push('\n');
    text
}

fn record(record: &Record) -> Value {
    json!({
        "profile": record.profile,
        "ran": record.ran(),
        "service": record.service,
        "unit": record.unit.as_ref().map(|unit| &unit.name),
    })
}

fn value<'a>(root: &'a RootHome, plan: &Plan, obstacles: &[Obstacle]) -> Reported<'a> {
    let step = |step: &Step| {
        let Step { seen, action, .. } = step;
        json!({
            "profile": seen.name.as_str(),
            "pid": seen.live.as_ref().and_then(|live| live.pid),
            "program": seen.live.as_ref().map(|live| match live.by {
                By::Us => "hermes",
                By::Python => "python",
                By::Unknown => "unknown",
            }),
            "services": seen.services.iter().map(|installed| of_service(&installed.service, installed.state.enabled)).collect::<Vec<_>>(),
            "action": word(*action),
            "text": done(step),
        })
    };
    let against = |obstacle: &Obstacle| {
        json!({
            "code": obstacle.code,
            "profile": obstacle.profile.as_ref().map(ProfileName::as_str),
            "message": obstacle.message,
            "fix": obstacle.fix,
        })
    };
    Reported {
        root,
        plan: plan.steps.iter().map(step).collect(),
        obstacles: obstacles.iter().map(against).collect(),
        target: plan
            .target
            .as_ref()
            .map_or(Value::Null, |target| json!({ "manager": target.manager.shown(), "user": target.user })),
    }
}

fn of_service(service: &Service, enabled: bool) -> Value {
    json!({ "manager": service.manager.shown(), "name": service.name, "file": service.file, "enabled": enabled })
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Become(Become::Stay) => "stay",
        Action::Become(Become::Enlist) => "enlist",
        Action::Become(Become::Replace) => "replace",
        Action::Become(Become::Start) => "start",
        Action::TakeOver => "take_over",
        Action::Park => "park",
        Action::StayParked => "stay_parked",
        Action::Serve => "serve",
        Action::Served => "served",
        Action::Alone => "alone",
        Action::NotAllowed => "not_allowed",
    }
}

impl Reported<'_> {
    fn finish(self, result: &str, changed: bool) -> String {
        self.finish_with(result, changed, &[], &[])
    }

    fn finish_with(self, result: &str, changed: bool, ready: &[ProfileName], missing: &[String]) -> String {
        let ready: Vec<_> = ready.iter().map(ProfileName::as_str).collect();
        let value = json!({
            "schema": 1,
            "result": result,
            "changed": changed,
            "home": self.root.path(),
            "plan": self.plan,
            "obstacles": self.obstacles,
            "target": self.target,
            "ready": ready,
            "missing": missing,
            "manifest": self.root.gateway_migration(),
        });
        format!("{value:#}")
    }
}
