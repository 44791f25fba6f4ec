//! What is left over: a sticky profile that is gone, directories that are no profiles, aliases and units without a profile.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::ProfileName;

use super::{Finding, Grade, Patient, Repair, Section};
use crate::home::Selection;
use crate::profile::alias::{Alias, AliasDir};
use crate::profile::staging;

/// Largest unit file that is looked at, in bytes.
const UNIT: usize = 64 * 1024;

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Profiles, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>, selection: &Selection) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(dangling) = &selection.dangling {
        let found = finding(Grade::Failure, "dangling_sticky", dangling.message()).at(&dangling.file);
        let next = "`hermes profile use default`, or the name of another profile";
        // What cannot be read may well be right.
        findings.push(match dangling.why {
            None => found.next(next).repair(Repair::Remove(dangling.file.clone())),
            Some(_) => found.next(next),
        });
    }
    if patient.only {
        return findings;
    }
    for odd in &patient.homes.odd {
        let message = format!("not served: {}", odd.why);
        let next = odd.fix;
        findings.push(finding(Grade::Warning, "not_a_profile", message).at(&odd.path).next(next));
    }
    for name in patient.homes.bare_directories() {
        let path = patient.root.profile(name);
        let message = "not served: it holds no configuration, no .env and no SOUL.md";
        let next = format!("remove it, or make it a profile: put a config.yaml into {}", path.path());
        findings.push(finding(Grade::Warning, "bare_directory", message).at(path.path()).next(next));
    }
    findings.extend(rewritten(patient));
    findings.extend(abandoned(patient));
    findings.extend(aliases(patient));
    findings.extend(units(patient));
    findings
}

/// A newer release turned a `false` of `gateway.multiplex_profiles` into `true`, and left a note of it (0.21.5).
fn rewritten(patient: &Patient<'_>) -> Option<Finding> {
    let note = patient.root.opt_out_rewritten();
    disk::is_there(&note).unwrap_or(false).then(|| {
        let message = "a newer release of the Python program turned `gateway.multiplex_profiles` from false into true";
        let next = "`hermes config set gateway.multiplex_profiles false` turns it off here; it does so again when it runs";
        finding(Grade::Warning, "opt_out_rewritten", message).at(note).next(next)
    })
}

fn abandoned(patient: &Patient<'_>) -> Option<Finding> {
    let profiles = patient.root.profiles();
    let count = staging::abandoned(&profiles).len();
    (count > 0).then(|| {
        let message = format!("{count} hidden director(ies) of commands that did not finish");
        let found = finding(Grade::Warning, "unfinished", message).at(&profiles);
        found
            .next("they are removed by the next command that makes a profile")
            .repair(Repair::Sweep(profiles))
    })
}

fn aliases(patient: &Patient<'_>) -> Vec<Finding> {
    let about = |alias: &Alias| {
        let message = format!("Orphan alias: {} → profile '{}' no longer exists", alias.name, alias.profile);
        let next = match alias.profile.parse::<ProfileName>() {
            Ok(profile) => format!("`hermes profile alias {profile} --remove`"),
            Err(_) => "remove the file".to_owned(),
        };
        finding(Grade::Warning, "orphan_alias", message).at(&alias.path).next(next)
    };
    AliasDir::orphans(&patient.aliases, &patient.root).into_iter().map(about).collect()
}

/// A unit of the service manager that names a gateway.
struct Unit {
    path: Utf8PathBuf,
    /// `hermes-gateway-<profile>`: the profile.
    profile: Option<String>,
    /// Runs the Python program.
    python: bool,
}

fn units(patient: &Patient<'_>) -> Vec<Finding> {
    let user = patient.env.user_home.as_ref().map(|home| home.join(".config/systemd/user"));
    let system = Utf8Path::new("/etc/systemd/system").to_owned();
    let mut findings = Vec::new();
    for (directory, scope) in user.map(|dir| (dir, " --user")).into_iter().chain([(system, "")]) {
        for unit in units_in(&directory) {
            findings.extend(about(patient, &unit, scope));
        }
    }
    findings
}

fn units_in(directory: &Utf8Path) -> Vec<Unit> {
    let Ok(entries) = directory.read_dir_utf8() else { return Vec::new() };
    let mut units: Vec<Unit> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let stem = entry.file_name().strip_suffix(".service")?;
            let rest = stem.strip_prefix("hermes-gateway")?;
            let profile = match rest.strip_prefix('-') {
                None if rest.is_empty() => None,
                None => return None,
                Some(profile) => Some(profile.to_owned()),
            };
            let text = disk::read_bounded(entry.path(), UNIT).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let command = text.lines().find(|line| line.trim_start().starts_with("ExecStart="))?;
            let python = command.contains("hermes_cli") || command.contains("python");
            Some(Unit { path: entry.path().to_owned(), profile, python })
        })
        .collect();
    units.sort_by(|a, b| a.path.cmp(&b.path));
    units
}

fn about(patient: &Patient<'_>, unit: &Unit, scope: &str) -> Option<Finding> {
    let name = unit.path.file_name().unwrap_or_default();
    let disable = format!("`systemctl{scope} disable --now {name}`, then remove the file");
    let found = |grade, code, message: String, next: String| {
        Some(Finding::new(Section::Services, grade, code, message).at(&unit.path).next(next))
    };
    let known =
        unit.profile.as_deref().map(|p| p.parse::<ProfileName>().is_ok_and(|p| patient.homes.contains(&p)));
    let multiplexed = patient.status.iter().any(|s| s.gateway.mode.as_deref() == Some("multiplex"));
    match (known, unit.python) {
        (Some(false), _) => {
            let profile = unit.profile.as_deref().unwrap_or_default();
            found(
                Grade::Warning,
                "unit_without_profile",
                format!("a unit for profile '{profile}', which does not exist"),
                disable,
            )
        }
        (_, true) => found(
            Grade::Warning,
            "python_unit",
            "a unit that starts the Python program's gateway: both would want the same lock and ports"
                .to_owned(),
            disable,
        ),
        (Some(true), false) if multiplexed => {
            let profile = unit.profile.as_deref().unwrap_or_default();
            found(
                Grade::Warning,
                "unit_of_served_profile",
                format!("a unit of its own for profile '{profile}', which the running gateway serves"),
                disable,
            )
        }
        _ => None,
    }
}
