//! `hermes update` and `--check`: the program itself, then its skills, then the gateways that run the one before.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::running;
use hermes_host::child;
use hermes_host::refusal::Io;
use hermes_wire::exit;
use serde_json::{Value, json};

use super::super::interrupt::Interrupt;
use super::super::output::Output;
use super::{Profiles, code, gateways, skills};
use crate::error::{HermesError, UpdateError};
use crate::home::Surroundings;
use crate::skills::sync::LIMIT;
use crate::update::cargo::{self, Package, Source};
use crate::update::origin::{self, Origin};

/// Time cargo has.
const BUILD: Duration = Duration::from_secs(2 * 3600);
/// Time the new program has to say its version.
const ANSWER: Duration = Duration::from_secs(10);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// This executable, and how it came here.
struct Program {
    exe: Utf8PathBuf,
    origin: Origin,
}

impl Program {
    fn find(all: &Profiles) -> Result<Self, HermesError> {
        let system = |source| Io::at("find out which file is", "hermes")(source);
        let exe = std::env::current_exe().map_err(system)?;
        let exe = Utf8PathBuf::from_path_buf(exe)
            .map_err(|path| system(std::io::Error::other(format!("{} is not UTF-8", path.display()))))?;
        Ok(Self { origin: origin::of(&exe, &managed(all)), exe })
    }
}

/// What a package manager says about this installation: by a variable, and by a file in the home.
fn managed(all: &Profiles) -> Vec<String> {
    let variable = std::env::var_os("HERMES_MANAGED").map(|value| value.to_string_lossy().into_owned());
    let marked = all.root.path().join(".managed").exists().then(|| "nixos".to_owned());
    variable.into_iter().chain(marked).collect()
}

/// `hermes update --check`.
pub(super) fn check(
    all: &Profiles,
    env: &Surroundings,
    as_json: bool,
    mut out: Output,
) -> Result<u8, HermesError> {
    let program = Program::find(all)?;
    let running = running::gateways(&all.root, &all.names, &env.sockets);
    if as_json {
        let report = skills::sync_all(all, true, |_, _| {});
        let mut value = program.json(env);
        value["check"] = true.into();
        value["gateways"] = running.iter().map(|gateway| gateways::json(gateway, &program.exe)).collect();
        value["skills"] = report.json();
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    let mut text = program.explain();
    let _ = writeln!(text, "  to update     {}", program.next(env));
    for gateway in &running {
        text += &gateways::to_do(gateway, &program.exe);
    }
    out.write(&text)?;
    skills::run(all, true, false, out)?;
    Ok(exit::OK)
}

/// `hermes update`.
pub(super) fn update(
    all: &Profiles,
    env: &Surroundings,
    as_json: bool,
    mut out: Output,
) -> Result<u8, HermesError> {
    let program = Program::find(all)?;
    let (root, package) = match &program.origin {
        Origin::Cargo { root, package } => (root, package),
        Origin::Managed { by, next } => {
            return Err(UpdateError::Managed { by: by.clone(), next: next.clone() }.into());
        }
        Origin::Checkout { .. } | Origin::Unknown => return by_hand(&program, all, env, as_json, out),
    };
    let (cargo_program, arguments) = program.command(root, package, env)?;
    let before = identity(&program.exe);
    if !as_json {
        out.line(&format!("→ Updating hermes {VERSION}: {}", cargo::shown(&arguments)))?;
    }
    let interrupt = Interrupt::new();
    install(&cargo_program, &arguments, as_json, &interrupt, &|| identity(&program.exe) == before)?;
    let changed = identity(&program.exe) != before;
    let version = version_of(&program.exe)?;
    if !as_json {
        out.line(&about_change(changed, &version))?;
    }
    // With the new program: it is the one that brings the new skills.
    let (good, report) = skills_of(&program.exe, all, as_json, &interrupt)?;
    let wait = |time| interrupt.came_within(time);
    let renewed = gateways::renew_all(all, &program.exe, env, &wait, as_json, &mut out)?;
    if as_json {
        let mut value = program.json(env);
        value["check"] = false.into();
        value["updated"] = changed.into();
        value["new_version"] = version.into();
        value["gateways"] = renewed.json.into();
        value["skills"] = report;
        out.line(&format!("{value:#}"))?;
    }
    Ok(code(good && renewed.good))
}

/// Where only a person can update the program, its skills are still synced, and the exit code says that something is left.
fn by_hand(
    program: &Program,
    all: &Profiles,
    env: &Surroundings,
    as_json: bool,
    mut out: Output,
) -> Result<u8, HermesError> {
    let running = running::gateways(&all.root, &all.names, &env.sockets);
    if as_json {
        let report = skills::sync_all(all, false, |_, _| {});
        let mut value = program.json(env);
        value["check"] = false.into();
        value["updated"] = false.into();
        value["gateways"] = running.iter().map(|gateway| gateways::json(gateway, &program.exe)).collect();
        value["skills"] = report.json();
        out.line(&format!("{value:#}"))?;
        return Ok(exit::FAILURE);
    }
    out.write(&program.explain())?;
    skills::run(all, false, false, Output::stdout())?;
    for gateway in running.iter().filter(|gateway| gateway.runs(&program.exe) != Some(true)) {
        out.write(&gateways::to_do(gateway, &program.exe))?;
    }
    let next = program.next(env);
    Err(UpdateError::NotByCargo { next }.into())
}

/// Runs cargo, with what it prints shown. `untouched` says whether the program is still the one before.
fn install(
    program: &Utf8Path,
    arguments: &[String],
    as_json: bool,
    interrupt: &Interrupt,
    untouched: &dyn Fn() -> bool,
) -> Result<(), HermesError> {
    let command = cargo::command(program, arguments);
    let state = || if untouched() { "nothing was changed" } else { "the program had been replaced already" };
    let failed = |why: String| {
        HermesError::from(UpdateError::CargoFailed { why, state: state(), command: cargo::shown(arguments) })
    };
    match child::run_shown(command, BUILD, as_json, |time| interrupt.came_within(time)) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(failed(status.code().map_or_else(|| "ended by a signal".to_owned(), |n| format!("exit {n}"))))
        }
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {
            Err(HermesError::Interrupted { state: state(), hint: None })
        }
        Err(e) => Err(failed(e.to_string())),
    }
}

/// Tells one file from another that took its name.
fn identity(exe: &Utf8Path) -> Option<(u64, u64, i64, i64, u64)> {
    let meta = fs_err::metadata(exe).ok()?;
    Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

/// What the program on disk says it is.
fn version_of(exe: &Utf8Path) -> Result<String, HermesError> {
    let mut command = child::command(exe.as_str());
    command.arg("--version");
    let broken = |why: String| HermesError::from(UpdateError::NoVersion { exe: exe.to_owned(), why });
    let output = child::run(command, ANSWER).map_err(|e| broken(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().strip_prefix("hermes ").filter(|_| output.status.success());
    // Behind the release stand commit and target.
    let short =
        |version: &str| version.split_whitespace().next().unwrap_or_default().chars().take(64).collect();
    version.map(short).ok_or_else(|| broken(output.status.to_string()))
}

fn about_change(changed: bool, version: &str) -> String {
    match (changed, version == VERSION) {
        (false, _) => format!("✓ hermes {version} is what its source has"),
        (true, true) => format!("✓ hermes {version} was installed anew"),
        (true, false) => format!("✓ hermes {VERSION} → {version}"),
    }
}

/// Lets the program on disk sync the skills. What it reports is passed on.
fn skills_of(
    exe: &Utf8Path,
    all: &Profiles,
    as_json: bool,
    interrupt: &Interrupt,
) -> Result<(bool, Value), HermesError> {
    let mut command = child::command(exe.as_str());
    command.args(["update", "--skills-only"]).env("HERMES_HOME", all.root.path().as_str());
    let homes = u32::try_from(all.names.len()).unwrap_or(u32::MAX).saturating_add(1);
    let limit = LIMIT.saturating_mul(homes);
    let failed = |source| Io::at("run", exe)(source);
    if !as_json {
        let ended = child::run_shown(command, limit, false, |time| interrupt.came_within(time));
        let status = ended.map_err(failed)?;
        return Ok((status.success(), Value::Null));
    }
    command.arg("--json");
    let output = child::run_watched(command, limit, |time| interrupt.came_within(time)).map_err(failed)?;
    Ok((output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)))
}

impl Program {
    /// cargo, and what to call it with.
    fn command(
        &self,
        root: &Utf8Path,
        package: &Package,
        env: &Surroundings,
    ) -> Result<(Utf8PathBuf, Vec<String>), HermesError> {
        let arguments = cargo::arguments(package, root);
        if let Source::Path(path) = &package.source
            && !path.is_dir()
        {
            return Err(UpdateError::SourceGone { path: path.clone() }.into());
        }
        let program = cargo::program(&self.exe, env)
            .ok_or_else(|| UpdateError::NoCargo { command: cargo::shown(&arguments) })?;
        Ok((program, arguments))
    }

    /// What it is and who put it there, for people.
    fn explain(&self) -> String {
        let by = match &self.origin {
            Origin::Cargo { package, .. } => {
                let Package { name, version, source, .. } = package;
                format!("cargo install, {name} {version} from {}", source.words())
            }
            Origin::Checkout { directory, .. } => format!("a build in the checkout {directory}"),
            Origin::Managed { by, .. } => by.clone(),
            Origin::Unknown => {
                "nobody that can be told: not cargo, no build directory, no package".to_owned()
            }
        };
        format!("hermes {VERSION} at {}\n  installed by  {by}\n", self.exe)
    }

    /// What updates it.
    fn next(&self, env: &Surroundings) -> String {
        match &self.origin {
            Origin::Cargo { root, package } => match self.command(root, package, env) {
                Ok((_, arguments)) => format!("`hermes update` runs: {}", cargo::shown(&arguments)),
                Err(why) => why.to_string(),
            },
            Origin::Checkout { directory, release } => {
                let profile = if *release { " --release" } else { "" };
                format!(
                    "git -C {directory} pull && cargo build{profile} --locked --manifest-path {directory}/Cargo.toml"
                )
            }
            Origin::Managed { next, .. } => next.clone(),
            Origin::Unknown => {
                format!("replace {} by the new release, the way it came here", self.exe)
            }
        }
    }

    fn json(&self, env: &Surroundings) -> Value {
        let (command, problem) = match &self.origin {
            Origin::Cargo { root, package } => match self.command(root, package, env) {
                Ok((_, arguments)) => (Some(cargo::shown(&arguments)), None),
                Err(why) => (None, Some(why.to_string())),
            },
            _ => (None, None),
        };
        json!({
            "schema": 1,
            "version": VERSION,
            "executable": self.exe,
            "installed_by": self.origin.word(),
            "command": command,
            "problem": problem,
            "next": self.next(env),
        })
    }
}
