//! systemd: what `systemctl` is asked, and what its answers mean.
//!
//! `systemctl start`, `stop` and `restart` return when their job is done, and with `Type=notify` a start is done when the gateway has said
//! that it is ready; how the service then is, is asked again and decides.

pub(crate) mod bus;
pub(crate) mod render;

use std::io;
use std::process::Output;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{child, disk};
use hermes_wire::ProfileName;

use super::{Exit, Owner, Phase, Progress, Scope, Service, ServiceError, State};
use super::{name, unit};
use crate::home::Surroundings;

/// Time that the manager has to answer.
const ASKED: Duration = Duration::from_secs(10);
/// Time that a service has to start, drain or stop: it has limits of its own, and extends them as long as it works.
const CHANGE: Duration = Duration::from_secs(900);
/// What is asked about a service.
const PROPERTIES: &str = "--property=ActiveState,MainPID,Result,ExecMainCode,ExecMainStatus,StatusText,NRestarts,\
                          UnitFileState,NeedDaemonReload,DropInPaths";

/// Runs `systemctl` of that manager.
fn systemctl(scope: Scope, args: &[&str], limit: Duration) -> io::Result<Output> {
    let mut command = child::command("systemctl");
    if scope == Scope::User {
        command.arg("--user");
        if let Some(directory) = bus::usual_directory() {
            command.env("XDG_RUNTIME_DIR", directory);
        }
    }
    command.args(args);
    child::run(command, limit)
}

/// The same; a manager that cannot be reached is an error with the way to reach it.
pub(crate) fn ask(scope: Scope, args: &[&str], limit: Duration) -> Result<Output, ServiceError> {
    let output =
        systemctl(scope, args, limit).map_err(|error| bus::unreachable(scope, &error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && bus::is_silence(&said) {
        return Err(bus::unreachable(scope, said.trim()));
    }
    Ok(output)
}

/// How a service is.
pub(crate) fn state(scope: Scope, name: &str) -> Result<State, ServiceError> {
    let output = ask(scope, &["show", PROPERTIES, "--", name], ASKED)?;
    if !output.status.success() {
        return Err(bus::unreachable(scope, String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

/// The manager's answer, `Name=value` a line.
fn read(text: &str) -> State {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value).filter(|value| !value.is_empty())
    };
    let number = |name: &str| value(name).and_then(|text| text.parse::<i32>().ok());
    let exit = number("ExecMainStatus").and_then(|status| match number("ExecMainCode") {
        // As `waitid` counts: ended, killed, killed with a dump.
        Some(1) => Some(Exit::Code(status)),
        Some(2 | 3) => Some(Exit::Signal(status)),
        _ => None,
    });
    State {
        phase: match value("ActiveState") {
            Some("active" | "refreshing") => Phase::Active,
            Some("reloading") => Phase::Reloading,
            Some("activating") => Phase::Starting,
            Some("deactivating") => Phase::Stopping,
            Some("failed") => Phase::Failed,
            _ => Phase::Inactive,
        },
        pid: number("MainPID").filter(|pid| *pid > 0).map(i32::cast_unsigned),
        enabled: value("UnitFileState").is_some_and(|state| state.starts_with("enabled")),
        result: value("Result").filter(|result| *result != "success").map(str::to_owned),
        exit,
        status: value("StatusText").map(str::to_owned),
        restarts: number("NRestarts").map_or(0, i32::cast_unsigned),
        stale: value("NeedDaemonReload") == Some("yes"),
        drop_ins: value("DropInPaths")
            .into_iter()
            .flat_map(str::split_whitespace)
            .map(Utf8PathBuf::from)
            .collect(),
    }
}

/// Whether it answers at all; the way to reach it where not.
pub(crate) fn reach(scope: Scope) -> Result<(), ServiceError> {
    let output = ask(scope, &["show", "--property=Version"], ASKED)?;
    if output.status.success() {
        return Ok(());
    }
    Err(bus::unreachable(scope, String::from_utf8_lossy(&output.stderr).trim()))
}

fn may_change(scope: Scope, verb: &'static str) -> Result<(), ServiceError> {
    if scope == Scope::System && !nix::unistd::geteuid().is_root() {
        return Err(ServiceError::NeedsRoot { verb });
    }
    Ok(())
}

/// Reads every file again; with `enable` this one starts by itself from now on.
pub(crate) fn read_anew(scope: Scope, name: &str, enable: bool) -> Result<State, ServiceError> {
    ask(scope, &["daemon-reload"], ASKED)?;
    if enable {
        self::enable(scope, name, true)?;
    }
    state(scope, name)
}

/// See [`Service::enable`].
pub(crate) fn enable(scope: Scope, name: &str, wanted: bool) -> Result<bool, ServiceError> {
    if state(scope, name)?.enabled == wanted {
        return Ok(false);
    }
    let output = ask(scope, &[if wanted { "enable" } else { "disable" }, "--", name], ASKED)?;
    if output.status.success() {
        return Ok(true);
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::NotEnabled { name: name.to_owned(), wanted, why })
}

/// Starts or restarts it, as one transaction of the manager, and does not wait.
pub(crate) fn soon(scope: Scope, service: &Service, verb: &'static str) -> Result<(), ServiceError> {
    may_change(scope, verb)?;
    // What failed before is not to be taken for what is started now.
    ask(scope, &["reset-failed", "--", &service.name], ASKED)?;
    told(scope, service, verb)
}

fn told(scope: Scope, service: &Service, verb: &'static str) -> Result<(), ServiceError> {
    let output = ask(scope, &[verb, "--no-block", "--", &service.name], ASKED)?;
    if output.status.success() {
        return Ok(());
    }
    let what = if verb == "stop" { "was not told to stop" } else { "was not told to start" };
    Err(not_reached(service, what, &state(scope, &service.name)?, &output))
}

/// Reads the files again where they have changed, so that what is started is what is installed.
fn refresh(scope: Scope, name: &str) -> Result<State, ServiceError> {
    let before = state(scope, name)?;
    if before.stale {
        ask(scope, &["daemon-reload"], ASKED)?;
    }
    Ok(before)
}

pub(crate) fn start(scope: Scope, service: &Service, progress: Progress<'_>) -> Result<State, ServiceError> {
    may_change(scope, "start")?;
    let before = refresh(scope, &service.name)?;
    if before.phase == Phase::Active {
        return Ok(before);
    }
    progress(&format!("starting the {}", service.shown()));
    if before.phase == Phase::Failed {
        // What a person asks for is not held back by what went wrong before.
        ask(scope, &["reset-failed", "--", &service.name], ASKED)?;
    }
    let output = ask(scope, &["start", "--", &service.name], CHANGE)?;
    running(scope, service, &output, "did not start")
}

pub(crate) fn restart(
    scope: Scope,
    service: &Service,
    progress: Progress<'_>,
) -> Result<State, ServiceError> {
    may_change(scope, "restart")?;
    let before = refresh(scope, &service.name)?;
    progress(&format!("restarting the {}", service.shown()));
    if before.phase == Phase::Failed {
        ask(scope, &["reset-failed", "--", &service.name], ASKED)?;
    }
    let output = ask(scope, &["restart", "--", &service.name], CHANGE)?;
    running(scope, service, &output, "did not start again")
}

pub(crate) fn stop(scope: Scope, service: &Service, progress: Progress<'_>) -> Result<State, ServiceError> {
    may_change(scope, "stop")?;
    let before = state(scope, &service.name)?;
    if matches!(before.phase, Phase::Inactive) {
        return Ok(before);
    }
    progress(&format!("stopping the {}", service.shown()));
    let output = ask(scope, &["stop", "--", &service.name], CHANGE)?;
    let now = state(scope, &service.name)?;
    if output.status.success() && !now.runs() && now.phase != Phase::Stopping {
        return Ok(now);
    }
    Err(not_reached(service, "did not stop", &now, &output))
}

pub(crate) fn stop_soon(scope: Scope, service: &Service) -> Result<(), ServiceError> {
    may_change(scope, "stop")?;
    told(scope, service, "stop")
}

/// The service, if it runs now.
fn running(
    scope: Scope,
    service: &Service,
    output: &Output,
    what: &'static str,
) -> Result<State, ServiceError> {
    let now = state(scope, &service.name)?;
    if output.status.success() && now.phase == Phase::Active && now.pid.is_some() {
        return Ok(now);
    }
    Err(not_reached(service, what, &now, output))
}

fn not_reached(service: &Service, what: &'static str, now: &State, output: &Output) -> ServiceError {
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().map(str::to_owned).filter(|_| now.exit.is_none() && now.result.is_none());
    let user = if service.command("").contains("--user") { "--user " } else { "" };
    ServiceError::NotReached {
        service: service.shown(),
        what,
        result: now.result.clone().or(first),
        exit: now.exit,
        next: format!(
            "`journalctl {user}-u {} -n 30` shows what it said, `hermes gateway check` what a start would refuse",
            service.name
        ),
    }
}

/// See [`Service::remove`].
pub(crate) fn remove(scope: Scope, name: &str, file: &Utf8Path) -> io::Result<()> {
    for verb in ["disable", "stop"] {
        let _ = systemctl(scope, &[verb, "--", name], CHANGE);
    }
    // Where no manager answered, the link that starts it is still there.
    if let Some(dir) = file.parent() {
        let _ = fs_err::remove_file(wanted_by(dir, scope).join(name));
    }
    fs_err::remove_file(file)?;
    let _ = systemctl(scope, &["daemon-reload"], ASKED);
    // What it remembered of failures.
    let _ = systemctl(scope, &["reset-failed", "--", name], ASKED);
    Ok(())
}

/// Whether it starts by itself, as files say it: a manager need not answer.
pub(crate) fn is_enabled(scope: Scope, file: &Utf8Path) -> bool {
    let place = file.parent().map(|dir| wanted_by(dir, scope)).zip(file.file_name());
    place.is_some_and(|(dir, name)| fs_err::symlink_metadata(dir.join(name)).is_ok())
}

fn wanted_by(dir: &Utf8Path, scope: Scope) -> Utf8PathBuf {
    dir.join(match scope {
        Scope::User => "default.target.wants",
        Scope::System => "multi-user.target.wants",
    })
}

/// See [`Service::install_as`].
pub(crate) fn install_as(
    scope: Scope,
    service: &Service,
    (old, new): (&Owner, &Owner),
    env: &Surroundings,
) -> io::Result<Utf8PathBuf> {
    // The kind of name that it had, unless that is somebody else's.
    let kept = name::all(old, env).iter().position(|name| *name == service.name);
    let same = kept.map(|kind| name::all(new, env)[kind].clone());
    let is_free = |name: &String| !service.file.with_file_name(name).exists();
    let name = same.filter(is_free).unwrap_or_else(|| name::preferred(new, env));
    let path = service.file.with_file_name(&name);
    let homes = (old.root.profile(&old.profile), new.root.profile(&new.profile));
    let body = rewritten(
        unit::body(&service.unit.text),
        (&old.profile, &new.profile),
        (homes.0.path(), homes.1.path()),
    );
    let text = if service.unit.author == unit::Author::Us { unit::sealed(&body) } else { body };
    disk::write_public(&path, text.as_bytes())?;
    let _ = systemctl(scope, &["daemon-reload"], ASKED);
    if is_enabled(scope, &service.file) {
        let _ = systemctl(scope, &["enable", "--", &name], ASKED);
    }
    Ok(path)
}

/// The unit's text for another name: its home, and `-p`/`--profile` of what it starts.
fn rewritten(text: &str, names: (&ProfileName, &ProfileName), homes: (&Utf8Path, &Utf8Path)) -> String {
    let (old, new) = names;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let line = replace_path(line, homes.0.as_str(), homes.1.as_str());
        if !line.starts_with("ExecStart") {
            out.push_str(&line);
            continue;
        }
        let mut after_flag = false;
        for word in line.split_inclusive(' ') {
            let bare = word.trim_end();
            if (after_flag && bare == old.as_str()) || bare == format!("--profile={old}") {
                out.push_str(&word.replacen(old.as_str(), new.as_str(), 1));
            } else {
                out.push_str(word);
            }
            after_flag = matches!(bare, "-p" | "--profile");
        }
    }
    out
}

/// Whole path names only: `…/coder` is not the beginning of `…/coder2`.
fn replace_path(line: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        out.push_str(before);
        out.push_str(if whole { to } else { from });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_follows_its_profile() {
        let text = "[Service]\nExecStart=/usr/bin/hermes --profile coder gateway run\nEnvironment=\"HERMES_HOME=/h/profiles/coder\"\nEnvironment=X=/h/profiles/coder2\nDescription=coder\n";
        let (old, new) = ("coder".parse().unwrap(), "dev".parse().unwrap());
        let homes = (Utf8Path::new("/h/profiles/coder"), Utf8Path::new("/h/profiles/dev"));
        assert_eq!(
            rewritten(text, (&old, &new), homes),
            "[Service]\nExecStart=/usr/bin/hermes --profile dev gateway run\nEnvironment=\"HERMES_HOME=/h/profiles/dev\"\nEnvironment=X=/h/profiles/coder2\nDescription=coder\n"
        );
    }

    #[test]
    fn answers_of_the_manager() {
        let text = "MainPID=0\nResult=exit-code\nExecMainCode=1\nExecMainStatus=78\nNRestarts=2\nStatusText=a=b\nActiveState=failed\nUnitFileState=enabled\nNeedDaemonReload=no\nDropInPaths=/a/b.conf /c/d.conf\n";
        let failed = read(text);
        assert_eq!((failed.phase, failed.pid, failed.exit), (Phase::Failed, None, Some(Exit::Code(78))));
        assert_eq!((failed.result.as_deref(), failed.restarts), (Some("exit-code"), 2));
        assert_eq!(failed.status.as_deref(), Some("a=b"));
        assert!(failed.enabled && !failed.stale && !failed.runs());
        assert_eq!(failed.drop_ins, ["/a/b.conf", "/c/d.conf"]);
        let running = read(
            "ActiveState=active\nMainPID=77\nExecMainCode=0\nExecMainStatus=0\nResult=success\nStatusText=\n",
        );
        assert_eq!((running.phase, running.pid, running.exit), (Phase::Active, Some(77), None));
        assert_eq!((running.result, running.status), (None, None));
        let killed = read("ActiveState=activating\nExecMainCode=2\nExecMainStatus=9\n");
        assert_eq!(killed.exit, Some(Exit::Signal(9)));
        assert_eq!(read("").phase, Phase::Inactive);
    }
}
