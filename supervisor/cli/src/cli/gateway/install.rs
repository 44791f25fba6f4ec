//! `hermes gateway install` and `uninstall`: the service of a gateway, and whether it starts by itself, now, and when nobody is logged in.

use std::io::IsTerminal as _;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_wire::exit;
use serde_json::{Value, json};

use super::super::output::{self, Output};
use crate::error::{HermesError, ServiceError};
use crate::home::{self, Selection, Surroundings};
use crate::service::facts::{self, Account, Facts};
use crate::service::install::{self, Change, Plan, Written};
use crate::service::systemd::bus;
use crate::service::{self, Manager, Owner, Scope, State, described};
use crate::settings::unit;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(in crate::cli) struct InstallArgs {
    /// Replace what is installed, whoever wrote it; the old unit is kept beside the new one.
    #[arg(long)]
    force: bool,
    /// A service of the machine: starts with it, whoever is logged in. Needs root.
    #[arg(long)]
    system: bool,
    /// Whose gateway it is, with --system [default: who called sudo].
    #[arg(long, value_name = "USER", requires = "system")]
    run_as_user: Option<String>,
    /// Start it now [default: yes; asked on a terminal].
    #[arg(long, overrides_with = "no_start_now")]
    start_now: bool,
    /// Do not start it now.
    #[arg(long, overrides_with = "start_now")]
    no_start_now: bool,
    /// Have it started with the session, or with the machine [default: yes; asked on a terminal].
    #[arg(long, overrides_with = "no_start_on_login")]
    start_on_login: bool,
    /// Only start it when asked to.
    #[arg(long, overrides_with = "start_on_login")]
    no_start_on_login: bool,
    /// Let your services start with the machine and go on when you log out (`loginctl enable-linger`).
    #[arg(long, conflicts_with = "system")]
    linger: bool,
    /// Of earlier versions, which had one for Windows.
    #[arg(long, hide = true)]
    elevated_handoff: bool,
    /// Show the unit that would be written, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs: one object with what was asked and what is there now.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UninstallArgs {
    /// The machine's service [default: the user's, or the machine's where the user has none].
    #[arg(long)]
    system: bool,
    /// For programs: one object with what was asked and what is there now.
    #[arg(long)]
    json: bool,
}

/// What an installation led to.
struct Installed {
    plan: Plan,
    enabled: bool,
    /// The unit that was replaced.
    kept: Option<Utf8PathBuf>,
    running: Option<State>,
    lingers: Option<bool>,
}

/// `hermes gateway install`.
pub(in crate::cli) fn run(
    args: &InstallArgs,
    selection: &Selection,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let mut say = |line: &str| if args.json { Ok(()) } else { out.line(line) };
    let scope = if args.system { Scope::System } else { Scope::User };
    if args.system && !args.dry_run && !nix::unistd::geteuid().is_root() {
        return Err(ServiceError::NeedsRoot { verb: "install" }.into());
    }
    let manager = service::manager(scope, env)?;
    let account = args.system.then(|| facts::account(args.run_as_user.as_deref())).transpose()?;
    let (selection, env) = of_account(selection, account.as_ref(), env)?;
    refuse_temporary(&selection, manager, &env)?;
    if !selection.profile.is_default() {
        super::guard(&selection, false, &env)?;
    }
    let asks =
        !args.json && !args.dry_run && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !args.dry_run {
        manager.reach()?;
    }
    let when = if scope == Scope::User { "with your session" } else { "with the machine" };
    let enable = wish((args.start_on_login, args.no_start_on_login), asks, &format!("Start it {when}?"))?;
    let owner = Owner::of(&selection);
    let times = unit::times(&owner, &env);
    let facts = Facts { on_login: enable, ..facts::gather(owner, manager, account, times, &env)? };
    let plan = install::plan(&facts, args.force, &env)?;
    if args.dry_run {
        return dry_run(args, &selection, &plan, out);
    }
    for line in before(&plan) {
        say(&line)?;
    }
    let start = wish((args.start_now, args.no_start_now), asks, "Start it now?")?;
    let Written { service, state, kept } = install::write(&plan, enable, &env)?;
    for line in after(&plan, kept.as_deref(), &state) {
        say(&line)?;
    }
    let lingers = match manager {
        Manager::Systemd(Scope::User) => linger(args.linger, &mut say)?,
        // Services of the machine need nobody's session, and agents have nothing else.
        Manager::Systemd(Scope::System) | Manager::Launchd => None,
    };
    let mut done = Installed { plan, enabled: state.enabled, kept, running: None, lingers };
    if start {
        refuse_beside(&selection, &state)?;
        let before = state.runs();
        let state = service.start(&mut |line| drop(say(&format!("  {line}"))))?;
        let pid = state.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
        say(&format!("✓ {} service {}{pid}", manager.title(), if before { "runs" } else { "started" }))?;
        done.running = Some(state);
    }
    if args.json {
        out.write(&format!("{:#}\n", object(&selection, &done)))?;
    }
    Ok(exit::OK)
}

/// `hermes gateway uninstall`.
pub(in crate::cli) fn remove(
    args: &UninstallArgs,
    selection: &Selection,
    env: &Surroundings,
    mut out: Output,
) -> Result<u8, HermesError> {
    let mut say = |line: &str| if args.json { Ok(()) } else { out.line(line) };
    let owner = Owner::of(selection);
    let asked = args.system.then_some(Scope::System);
    let found = install::removable(&owner, asked, env)?;
    for service in &found {
        let scope = service.manager.scope();
        if scope == Scope::System && !nix::unistd::geteuid().is_root() {
            return Err(ServiceError::NeedsRoot { verb: "uninstall" }.into());
        }
        match service.stop(&mut |line| drop(say(&format!("  {line}")))) {
            Ok(_) => {}
            // What counts is that it is not started any more; that it may run on is said.
            Err(error @ ServiceError::Unreachable { .. }) => {
                output::warn(&format!("{error}\n  a gateway that it runs goes on"));
            }
            Err(error) => return Err(error.into()),
        }
        let drop_ins = install::drop_ins(service);
        let failed = |source| ServiceError::File { what: "remove", file: service.file.clone(), source };
        service.remove().map_err(failed)?;
        say(&format!("✓ Removed {}", service.file))?;
        if let Some(directory) = drop_ins {
            say(&format!("  What you changed by drop-ins stays: {directory}"))?;
        }
        say(&format!("✓ {} service uninstalled", service.manager.title()))?;
    }
    if found.is_empty() {
        let home = owner.root.profile(&owner.profile);
        say(&format!("✓ Nothing to uninstall: no service is installed for `{}`", home.path()))?;
    }
    if args.json {
        let removed: Vec<_> =
            found.iter().map(|service| described(service.manager, &service.name, &service.file)).collect();
        let object = json!({
            "schema": 1,
            "asked": asked_for("uninstall", selection),
            "ok": true,
            "changed": !found.is_empty(),
            "removed": removed,
        });
        out.write(&format!("{object:#}\n"))?;
    }
    Ok(exit::OK)
}

/// The same profile as that user would have it: `sudo` has root's home, and says nothing of `HERMES_HOME`.
fn of_account(
    selection: &Selection,
    account: Option<&Account>,
    env: &Surroundings,
) -> Result<(Selection, Surroundings), HermesError> {
    let Some(account) = account else { return Ok((selection.clone(), env.clone())) };
    let env = Surroundings { user_home: Some(account.home.clone()), ..env.clone() };
    if env.hermes_home.is_some() {
        return Ok((selection.clone(), env));
    }
    let env = Surroundings { sudo_root: None, ..env };
    let selection = home::select(Some(selection.profile.as_str()), &env)?;
    Ok((selection, env))
}

fn refuse_temporary(selection: &Selection, manager: Manager, env: &Surroundings) -> Result<(), ServiceError> {
    let home = selection.home().path().to_owned();
    let home = home.canonicalize_utf8().unwrap_or(home);
    if facts::temporary(env).iter().any(|temporary| home.starts_with(temporary)) {
        let what = match manager {
            Manager::Systemd(_) => "systemd unit",
            Manager::Launchd => "launchd plist",
        };
        return Err(ServiceError::Temporary { what, home });
    }
    Ok(())
}

/// A gateway that runs and is not the service's holds the lock that the service would want.
fn refuse_beside(selection: &Selection, state: &State) -> Result<(), HermesError> {
    let home = selection.home();
    if let Some(predecessor) = Predecessor::find(home.path()) {
        return Err(HermesError::Predecessor(Box::new(predecessor)));
    }
    let Liveness::Running { record } = instance::probe(home.path()) else { return Ok(()) };
    let pid = record.map(|record| record.pid);
    if state.runs() && pid == state.pid {
        return Ok(());
    }
    let flag = Owner::of(selection).flag();
    let shown = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
    Err(HermesError::NotReached {
        message: format!(
            "the service is installed and was not started: a gateway runs already{shown}, and not as this service"
        ),
        hint: format!(
            "`hermes gateway stop{flag}` ends it, and `hermes gateway start{flag}` then starts the service"
        ),
    })
}

/// What was said on the command line, or is answered now; yes where nobody is asked.
fn wish((yes, no): (bool, bool), asks: bool, question: &str) -> Result<bool, HermesError> {
    if yes || no || !asks {
        return Ok(!no);
    }
    inquire::Confirm::new(question).with_default(true).prompt().map_err(|error| match error {
        inquire::InquireError::OperationCanceled | inquire::InquireError::OperationInterrupted => {
            HermesError::Interrupted { state: "nothing was installed", hint: None }
        }
        other => HermesError::Output(std::io::Error::other(other.to_string())),
    })
}

/// What the user's services do when he logs out; with `enable` they go on from now on.
fn linger(
    enable: bool,
    say: &mut impl FnMut(&str) -> std::io::Result<()>,
) -> Result<Option<bool>, HermesError> {
    let mut lingers = bus::lingers();
    if enable && lingers != Some(true) {
        say("Enabling linger so the gateway survives SSH logout...")?;
        bus::enable_linger()?;
        say("✓ Linger enabled — gateway will persist after logout")?;
        return Ok(Some(true));
    }
    if enable {
        lingers = Some(true);
    }
    let user = bus::user();
    if lingers == Some(true) {
        say("✓ Systemd linger is enabled (service survives logout)")?;
    } else {
        say("⚠ Linger not enabled — gateway may stop when you close this terminal.")?;
        say(&format!("    sudo loginctl enable-linger {user}"))?;
    }
    Ok(lingers)
}

fn before(plan: &Plan) -> Vec<String> {
    let file = &plan.file;
    let kind = match plan.manager {
        Manager::Systemd(scope) => format!("{} systemd", scope.as_str()),
        Manager::Launchd => "launchd".to_owned(),
    };
    match plan.change {
        Change::Create | Change::Replace => vec![format!("Installing {kind} service to: {file}")],
        Change::Update => vec![format!("↻ Repairing outdated {kind} service at: {file}")],
        Change::Nothing => {
            vec![format!("Service already installed at: {file}"), "  Use --force to reinstall".to_owned()]
        }
        Change::LeaveEdited => vec![
            format!("Service already installed at: {file}"),
            "⚠ It was changed by hand and is left as it is; --force replaces it and keeps the old one"
                .to_owned(),
        ],
    }
}

fn after(plan: &Plan, kept: Option<&Utf8Path>, state: &State) -> Vec<String> {
    let title = plan.manager.title();
    let mut lines: Vec<String> =
        kept.map(|kept| format!("  The unit before is kept: {kept}")).into_iter().collect();
    match plan.change {
        Change::Create | Change::Replace if state.enabled => {
            lines.push(format!("✓ {title} service installed and enabled!"));
        }
        Change::Create | Change::Replace => lines.push(format!("✓ {title} service installed!")),
        Change::Update => lines.push(format!("✓ {title} service definition updated")),
        Change::Nothing | Change::LeaveEdited => {}
    }
    if plan.change == Change::Update && state.runs() {
        let how = match plan.manager {
            Manager::Systemd(Scope::User) => format!("systemctl --user restart {}", plan.name),
            Manager::Systemd(Scope::System) => format!("sudo systemctl restart {}", plan.name),
            Manager::Launchd => "hermes gateway stop && hermes gateway start".to_owned(),
        };
        lines.push(format!("  The gateway that runs has the new definition after `{how}`"));
    }
    if let [first, rest @ ..] = state.drop_ins.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        lines.push(format!("  Drop-ins hold as before: {first}{more}"));
    }
    if matches!(plan.change, Change::Create | Change::Replace) {
        let log = match plan.manager {
            Manager::Systemd(Scope::User) => format!("journalctl --user -u {} -f", plan.name),
            Manager::Systemd(Scope::System) => format!("journalctl -u {} -f", plan.name),
            Manager::Launchd => "hermes logs -f               # see what it says".to_owned(),
        };
        lines.extend([
            String::new(),
            "Next steps:".to_owned(),
            "  hermes gateway start     # start it".to_owned(),
            "  hermes gateway status    # see what runs".to_owned(),
            format!("  {log}"),
            String::new(),
        ]);
    }
    lines
}

fn dry_run(
    args: &InstallArgs,
    selection: &Selection,
    plan: &Plan,
    mut out: Output,
) -> Result<u8, HermesError> {
    if args.json {
        let object = json!({
            "schema": 1,
            "asked": asked_for("install", selection),
            "ok": true,
            "changed": false,
            "dry_run": true,
            "service": described(plan.manager, &plan.name, &plan.file),
            "change": word(plan.change),
            "unit": plan.text,
        });
        out.write(&format!("{object:#}\n"))?;
        return Ok(exit::OK);
    }
    let what = match plan.change {
        Change::Create => "would be written",
        Change::Update => "would be brought up to date",
        Change::Replace => "would be replaced, and the old one kept",
        Change::Nothing => "is up to date",
        Change::LeaveEdited => "was changed by hand, and would be left as it is",
    };
    out.line(&format!("# {} {what}", plan.file))?;
    out.write(&plan.text)?;
    Ok(exit::OK)
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Create => "created",
        Change::Update => "updated",
        Change::Replace => "replaced",
        Change::Nothing => "unchanged",
        Change::LeaveEdited => "left_edited",
    }
}

fn asked_for(verb: &str, selection: &Selection) -> Value {
    json!({ "verb": verb, "profile": selection.profile, "home": selection.root.path() })
}

fn object(selection: &Selection, done: &Installed) -> Value {
    let plan = &done.plan;
    let changed = !matches!(plan.change, Change::Nothing | Change::LeaveEdited);
    json!({
        "schema": 1,
        "asked": asked_for("install", selection),
        "ok": true,
        "changed": changed,
        "dry_run": false,
        "service": described(plan.manager, &plan.name, &plan.file),
        "change": word(plan.change),
        "kept": done.kept,
        "enabled": done.enabled,
        "started": done.running.is_some(),
        "pid": done.running.as_ref().and_then(|state| state.pid),
        "linger": done.lingers,
    })
}
