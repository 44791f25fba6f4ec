//! Each profile: is its configuration what a start would accept, are its files there and private, is its database whole.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use hermes_config::{ProfileConfig, judge};
use hermes_gateway::status_files;
use hermes_host::database::{LookError, STATE_SCHEMA, look_into};
use hermes_host::disk;
use hermes_wire::latest::{GatewaySettings, Problem, Severity};
use hermes_wire::{ProfileHome, ProfileName};

use super::{Finding, Grade, Patient, Repair, Section, leases};
use crate::home::Selection;
use crate::settings::judge::Part;
use crate::status::render;

/// Characters of a model's name in the one-line view, as 0.19.0 cuts it.
const MODEL: usize = 30;
/// Databases up to this size are read through, in bytes; larger ones take too long for a look.
const DATABASE: u64 = 64 << 20;

/// A profile whose files were read.
pub(super) struct Examined {
    pub(super) name: ProfileName,
    /// `None` where the files cannot be used.
    pub(super) config: Option<ProfileConfig>,
}

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Profiles, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>, selection: &Selection) -> (Vec<Finding>, Vec<Examined>) {
    let mut findings = Vec::new();
    let named = patient.profiles.iter().filter(|name| !name.is_default()).count();
    if named > 0 && !patient.only {
        findings.push(finding(Grade::Good, "profiles", format!("{named} profile(s) found")));
    }
    // The default's settings decide how the others are read, whether or not it was asked for.
    let default = ProfileName::default_profile();
    let first = read(patient, &default, None);
    let settings = first.0.as_ref().and_then(|config| config.gateway.clone());
    let mut examined = Vec::new();
    let mut first = Some(first);
    for name in &patient.profiles {
        let loaded = if name.is_default() { first.take() } else { None };
        let (config, problems) = loaded.unwrap_or_else(|| read(patient, name, settings.as_ref()));
        let home = patient.root.profile(name);
        findings.push(summary(patient, name, &home, config.as_ref()));
        // Of a mode that is too wide the look at the files says more, and can mend it.
        let others = render::others(&problems).filter(|problem| problem.code != judge::ENV_PERMISSIONS);
        findings.extend(others.map(|problem| from_problem(name, problem)));
        findings.extend(unsupported(name, &problems));
        findings.extend(files(name, &home));
        findings.extend(database(name, &home));
        findings.extend(leases::check(name, &home));
        findings.extend(gone_chats(patient, name, &home));
        examined.push(Examined { name: name.clone(), config });
    }
    if let Some(config) = first.and_then(|(config, _)| config) {
        // Not asked for, and still somebody whose credentials the others may have.
        examined.push(Examined { name: default, config: Some(config) });
    }
    if patient.only {
        for name in patient.homes.names().filter(|n| **n != selection.profile && !n.is_default()) {
            let (config, _) = read(patient, name, settings.as_ref());
            examined.push(Examined { name: name.clone(), config });
        }
    }
    (findings, examined)
}

/// Chats that are gone, as its worker says, or said when it ran.
fn gone_chats(patient: &Patient<'_>, name: &ProfileName, home: &ProfileHome) -> Option<Finding> {
    let gone = match &patient.status {
        Ok(status) => status.profiles.iter().find(|one| one.name == name.as_str())?.gone_chats.clone()?,
        Err(_) => status_files::read(home)?.gone_chats?,
    };
    let found = finding(Grade::Warning, "gone_chats", gone.line()).of(name);
    Some(found.at(home.path().join("gateway/dead_targets.json")).next(render::BACK))
}

/// Judges both files as the profile's worker would. `settings` of the default profile with multiplexing make it a secondary.
fn read(
    patient: &Patient<'_>,
    name: &ProfileName,
    settings: Option<&GatewaySettings>,
) -> (Option<ProfileConfig>, Vec<Problem>) {
    let part =
        if name.is_default() { Part::primary(patient.env) } else { Part::beside(settings, patient.env) };
    let loaded = part.look(name, &patient.root.profile(name));
    (loaded.config, loaded.problems)
}

/// The line of 0.19.0: what runs, which model, what is missing.
fn summary(
    patient: &Patient<'_>,
    name: &ProfileName,
    home: &ProfileHome,
    config: Option<&ProfileConfig>,
) -> Finding {
    let mut parts = Vec::new();
    let served = patient.status.iter().flat_map(|s| &s.profiles).any(|p| p.name == name.as_str() && p.ready);
    if served {
        parts.push("gateway running".to_owned());
    }
    let model: String = config.map(|c| c.model.default.chars().take(MODEL).collect()).unwrap_or_default();
    if !model.is_empty() {
        parts.push(model);
    }
    let mut grade = Grade::Good;
    if disk::is_absent(&home.config()) {
        parts.push("⚠ missing config".to_owned());
    } else if config.is_none() {
        grade = Grade::Failure;
        parts.push("✗ configuration cannot be used".to_owned());
    }
    if disk::is_absent(&home.env_file()) {
        parts.push("no .env".to_owned());
    }
    if !name.is_default() && !patient.aliases.iter().any(|alias| alias.profile == name.as_str()) {
        parts.push("no alias".to_owned());
    }
    if parts.is_empty() {
        parts.push("configured".to_owned());
    }
    finding(grade, "profile", parts.join(", ")).of(name)
}

fn from_problem(name: &ProfileName, problem: &Problem) -> Finding {
    let grade = if problem.severity == Severity::Warning { Grade::Warning } else { Grade::Failure };
    let mut found = finding(grade, "configuration", problem.message.clone()).of(name);
    if !problem.file.is_empty() {
        let mut place = problem.file.clone();
        for number in [problem.line, problem.column].into_iter().map_while(|n| n) {
            place = format!("{place}:{number}");
        }
        found = found.at(place);
    }
    found.next.clone_from(&problem.fix);
    found
}

/// What is configured and not supported yet, in one finding.
fn unsupported(name: &ProfileName, problems: &[Problem]) -> Option<Finding> {
    let line = render::unsupported(None, problems);
    let message = line.trim_start_matches(['⚠', '✗', ' ']).trim_end();
    let fails = line.starts_with('✗');
    let grade = if fails { Grade::Failure } else { Grade::Warning };
    (!message.is_empty()).then(|| finding(grade, "unsupported", message).of(name))
}

/// Owner, modes, presence.
fn files(name: &ProfileName, home: &ProfileHome) -> Vec<Finding> {
    let mut findings = Vec::new();
    let path = home.path();
    if let Ok(meta) = fs_err::metadata(path)
        && meta.mode() & 0o077 != 0
    {
        let message = format!("its home is open to other users (mode {:o})", meta.mode() & 0o777);
        let found = finding(Grade::Warning, "home_mode", message).of(name).at(path);
        findings.push(found.next(format!("chmod 700 {path}")).repair(Repair::Mode(path.to_owned(), 0o700)));
    }
    for file in [home.env_file(), path.join("auth.json")] {
        let Ok(own) = fs_err::symlink_metadata(&file) else { continue };
        let Ok(meta) = fs_err::metadata(&file) else {
            let message = "a symbolic link that leads nowhere";
            findings.push(finding(Grade::Failure, "dangling_link", message).of(name).at(&file));
            continue;
        };
        if meta.mode() & 0o077 != 0 {
            let message = format!(
                "`{}` is readable by other users (mode {:o})",
                file.file_name().unwrap_or_default(),
                meta.mode() & 0o777
            );
            let found = finding(Grade::Failure, "secret_mode", message).of(name).at(&file);
            let found = found.next(format!("chmod 600 {file}"));
            // The target of a link may be shared on purpose; it is not ours to change.
            findings.push(if own.is_symlink() { found } else { found.repair(Repair::Mode(file, 0o600)) });
        }
    }
    if disk::is_absent(&home.env_file()) && !home.env_file().is_symlink() && path.is_dir() {
        let found = finding(Grade::Warning, "no_env", "it has no .env").of(name).at(home.env_file());
        let next = format!("`hermes -p {name} config set NAME_API_KEY -` stores a key");
        findings.push(found.next(next).repair(Repair::SeedEnv(home.env_file())));
    }
    findings
}

/// A database that cannot be read, or is a newer program's, stops its profile.
fn database(name: &ProfileName, home: &ProfileHome) -> Option<Finding> {
    let path = home.state_db();
    let bad = |message: String| {
        finding(Grade::Failure, "database", message)
            .of(name)
            .at(&path)
            .next("keep a copy of the file; `sqlite3 state.db .recover` saves what can be read")
    };
    let length = match fs_err::metadata(&path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => return Some(bad(format!("its database cannot be read: {e}"))),
    };
    let version = || -> Result<Option<i64>, LookError> {
        let query = "SELECT max(version) FROM schema_version";
        Ok(look_into(&path)?.query_row(query, [], |row| row.get(0))?)
    };
    if let Ok(Some(version)) = version()
        && version > STATE_SCHEMA
    {
        let message = format!(
            "its database has schema version {version}, and this program knows versions up to {STATE_SCHEMA}: no turn runs, \
             nothing is written to it"
        );
        let next = "run the program that made it, or one that is as new; or move the file away to begin anew";
        return Some(finding(Grade::Failure, "database_newer", message).of(name).at(&path).next(next));
    }
    let check = || -> Result<String, LookError> {
        let db = look_into(&path)?;
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        if length > DATABASE {
            return Ok(db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok("ok".to_owned()))?);
        }
        Ok(db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?)
    };
    match check() {
        Ok(answer) if answer == "ok" => stale_index(name, &path),
        Ok(answer) => Some(bad(format!("its database is damaged: {answer}"))),
        Err(e) => Some(bad(format!("its database cannot be read: {e}"))),
    }
}

/// A search index that is kept by nobody for now; conversations are whole all the same. Of a file without such notes there is nothing to
/// say, and one that cannot be read was said to be so.
fn stale_index(name: &ProfileName, path: &Utf8Path) -> Option<Finding> {
    let keys = || -> Result<Vec<String>, LookError> {
        let db = look_into(path)?;
        let mut select = db.prepare(
            "SELECT key FROM state_meta WHERE key IN ('fts_stale', 'fts_cjk_stale') ORDER BY key DESC",
        )?;
        Ok(select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    };
    let (message, next) = match keys().ok()?.first()?.as_str() {
        "fts_stale" => (
            "its search index is detached: the Python program finds what is said by reading everything",
            format!(
                "it builds the index anew when it opens a file that nobody else has open: `hermes -p {name} gateway stop` before"
            ),
        ),
        _ => (
            "its index of Chinese, Japanese and Korean words is not kept: the tokenizer of it is an extension of the Python program",
            format!("`hermes -p {name} gateway stop`, then that program's `sessions optimize-storage`"),
        ),
    };
    Some(finding(Grade::Warning, "search_index", message).of(name).at(path).next(next))
}
