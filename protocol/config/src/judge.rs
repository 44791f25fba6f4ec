//! The one judge of a profile's files: what a look at them found, in; what a start makes of it, out.
//!
//! A worker at its start and every command that checks something (`gateway check`, `config check`, `config set`, `setup`,
//! `doctor`) look with their own eyes and ask this. What could not be read is a problem that names the file, never an absence.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::gateway;
use super::load::{Beside, load_layers};
use super::network::Trusted;
use super::pins::Pins;
use super::platform::Registry;
use super::program;
use super::provider;
use super::secret::Env;
use super::tokens::TokenFiles;
use super::types::{EngineKind, Input, Loaded, ProfileConfig};
use super::unsupported::{self, Leftovers};

pub use super::found::{Found, Look};
pub use super::problem::problem;
use hermes_wire::latest::{BoundListener, Problem, Role, Severity};
use hermes_wire::{ProfileHome, ProfileName, RootHome, env};

/// Code of the problem that other users may read a `.env`.
pub const ENV_PERMISSIONS: &str = "env_permissions";

/// A profile's files, and an administrator's.
#[derive(Debug, Clone, Default)]
pub struct Files<B> {
    /// `config.yaml`.
    pub yaml: Found<B>,
    /// `.env`.
    pub env: Found<B>,
    /// Mode of `.env`, where it is known.
    pub env_mode: Option<u32>,
    /// Why nothing can be written into the home, where that is so.
    pub home_fault: Option<String>,
    /// Why there is no place for logs, where that is so.
    pub logs_fault: Option<String>,
    /// Where an administrator's files are.
    pub pinned_dir: Utf8PathBuf,
    /// His `config.yaml`.
    pub pinned_yaml: Found<B>,
    /// His `.env`.
    pub pinned_env: Found<B>,
    /// The platforms' files of tokens.
    pub tokens: TokenFiles<B>,
    /// What else lies in the home.
    pub leftovers: Leftovers<B>,
    /// Looks whether a file or directory holds certificates; none: that is not asked.
    pub certificates: Option<Look>,
    /// Looks whether a file is a program that can be started; none: that is not asked.
    pub program: Option<Look>,
    /// Looks whether a directory is the home of a profile; none: that is not asked.
    pub profile: Option<Look>,
    /// Whether there are profiles beside the default one.
    pub others: bool,
    /// The variables of the process that pass into a worker ([`hermes_wire::env::is_allowed`]): `.env` may refer to them.
    pub surroundings: Env,
}

/// Whose files they are.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The platforms there are.
    pub registry: &'static Registry,
    /// The profile.
    pub profile: &'a ProfileName,
    /// Its home.
    pub home: &'a ProfileHome,
    /// The part it plays.
    pub role: Role,
    /// The flag where the supervisor's environment overrides configuration.
    pub multiplex: Option<bool>,
    /// The gateway's listeners; empty for the primary.
    pub listeners: &'a [BoundListener],
}

/// The verdict.
pub fn judge<B: AsRef<[u8]>>(case: Case<'_>, files: &Files<B>) -> Loaded {
    let Case { registry, profile, home, role, multiplex, listeners } = case;
    let mut problems = Vec::new();
    let pinned = |name: &str| files.pinned_dir.join(name);
    for (found, path) in [
        (&files.yaml, home.config()),
        (&files.env, home.env_file()),
        (&files.pinned_yaml, pinned("config.yaml")),
        (&files.pinned_env, pinned(".env")),
        (&files.leftovers.gateway, home.gateway_json()),
    ] {
        if let Found::Unreadable { kind, why } = found {
            problems.push(unreadable(&path, *kind, why));
        }
    }
    problems.extend(files.home_fault.as_deref().map(|why| not_writable(home, why)));
    problems.extend(too_deep(home));
    // What is pinned and cannot be read must not be guessed.
    let unusable = !problems.is_empty();
    problems.extend(files.logs_fault.as_deref().map(|why| no_logs(home, why)));
    if let Some(mode) = files.env_mode.filter(|mode| mode & 0o077 != 0) {
        let path = home.env_file();
        let message = format!(
            "the file holds credentials and has mode {:04o}, so other users may read it",
            mode & 0o7777
        );
        let fix = format!("chmod 600 {path}");
        problems.push(problem(Severity::Warning, ENV_PERMISSIONS, &path, message, &fix));
    }
    let (pinned_yaml, pinned_env) = (files.pinned_yaml.bytes(), files.pinned_env.bytes());
    let pins = (pinned_yaml.is_some() || pinned_env.is_some()).then_some(Pins {
        dir: &files.pinned_dir,
        yaml: pinned_yaml,
        env: pinned_env,
    });
    let (yaml, env) = (files.yaml.bytes(), files.env.bytes());
    let input = Input { registry, profile, role, multiplex, listeners, home, yaml, env };
    let surroundings = files.surroundings.with(env::HERMES_HOME, home.path().as_str());
    let left = &files.leftovers;
    let tokens = files.tokens.iter().map(|(name, file)| (*name, file.borrowed())).collect();
    let beside = Beside { older: left.gateway.bytes(), auth: left.auth.bytes(), tokens };
    let loaded = load_layers(input, pins, &beside, &surroundings);
    // From a file that cannot be read nothing follows about what is not in it.
    let follows = |problem: &Problem| {
        let nobody_else = problem.code == gateway::MULTIPLEX_DEFAULT && !files.others;
        !(nobody_else || unusable && problem.severity == Severity::Platform)
    };
    problems.extend(loaded.problems.into_iter().filter(follows));
    problems.extend(unsupported::of_files(home, &files.leftovers));
    if let (Some(config), Some(look)) = (&loaded.config, files.certificates) {
        problems.extend(untrusting(config, home, look));
    }
    if let (Some(config), Some(look)) = (&loaded.config, files.program) {
        problems.extend(program::missing(config, home, &surroundings, look));
    }
    if let (Some(config), Some(look)) = (&loaded.config, files.profile) {
        problems.extend(unserved(config, home, look));
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    Loaded { config: loaded.config.filter(|_| !unusable), problems }
}

/// What a profile that names certificates of its own cannot find there. Its agent cannot answer then: nobody else is trusted.
fn untrusting(config: &ProfileConfig, home: &ProfileHome, look: Look) -> Vec<Problem> {
    let endpoint = match config.agent.engine {
        EngineKind::Native => provider::resolve(config, home).ok(),
        EngineKind::Echo | EngineKind::Acp => None,
    };
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.base_url.scheme() == "https") else {
        return Vec::new();
    };
    let file = home.env_file();
    let flaw = |trusted: Trusted| {
        let why = look(&trusted.path).err()?;
        let variable = trusted.variable;
        let message = format!("{variable}: {why}: its agent cannot answer");
        let fix = format!(
            "Correct {variable} in `{file}`, or remove it: then those are trusted that the system trusts."
        );
        let problem = problem(Severity::Platform, "certificates", &file, message, &fix);
        Some(Problem { key: Some(variable.to_owned()), ..problem })
    };
    endpoint.network.trusted().into_iter().filter_map(flaw).collect()
}

/// Rules that lead to a profile which a gateway with these settings does not serve.
fn unserved(config: &ProfileConfig, home: &ProfileHome, look: Look) -> Vec<Problem> {
    let root = RootHome::new(home.path());
    let allowlist = config.gateway.as_ref().and_then(|settings| settings.allowlist.as_deref());
    config.profile_routes.unserved(|name| {
        look(root.profile(name).path())?;
        let allowed = allowlist.is_none_or(|list| list.iter().any(|entry| entry == name.as_str()));
        if allowed { Ok(()) } else { Err("`gateway.multiplex_profile_allowlist` leaves it out".to_owned()) }
    })
}

fn unreadable(path: &Utf8Path, kind: io::ErrorKind, why: &str) -> Problem {
    let fix = match kind {
        io::ErrorKind::PermissionDenied => "Make it readable for the user that runs the gateway.",
        io::ErrorKind::NotFound => "Remove the dangling link, or restore what it points to.",
        io::ErrorKind::InvalidInput => "Put a plain file there.",
        _ => "Make the file readable.",
    };
    problem(Severity::Profile, "unreadable", path, format!("the file cannot be read: {why}"), fix)
}

/// A worker that finds this out later has nowhere to say so.
fn not_writable(home: &ProfileHome, why: &str) -> Problem {
    let path = home.path();
    let message = format!("the home `{path}` cannot be written: {why}");
    let fix = "Make the directory writable for this user, then start again.";
    problem(Severity::Profile, "home_not_writable", path, message, fix)
}

/// A worker goes on without its logs; nobody would hear of that from a log.
fn no_logs(home: &ProfileHome, why: &str) -> Problem {
    let path = home.logs();
    let message = format!("no logs can be written to `{path}`: {why}");
    problem(Severity::Warning, "no_logs", &path, message, "Move it away; the directory is made by itself.")
}

/// A home in which no database can be opened: SQLite has room for so many bytes of a path.
fn too_deep(home: &ProfileHome) -> Option<Problem> {
    /// Without the terminating zero and what is appended while a database is made.
    const ROOM: usize = 511 - ".4194304.new-journal".len();
    let path = home.path();
    let over = home.state_db().as_str().len().checked_sub(ROOM + 1)? + 1;
    let len = path.as_str().len();
    let message =
        format!("the path of the home has {len} bytes, {over} more than a database in it can be opened by");
    Some(problem(Severity::Profile, "home_path", path, message, "Move it to a shorter path."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(files: &Files<Vec<u8>>) -> Loaded {
        let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
        let case = Case {
            registry: &crate::REGISTRY,
            profile: &profile,
            home: &home,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
        };
        judge(case, files)
    }

    fn denied() -> Found<Vec<u8>> {
        Found::of(Err(io::ErrorKind::PermissionDenied.into()), "/h/x".into())
    }

    /// 2: what cannot be read is never what is not there, whichever of the four files it is, and whoever looks.
    #[test]
    fn what_cannot_be_read_is_a_problem_and_what_is_not_there_is_not() {
        let none = verdict(&Files::default());
        assert!(none.config.is_some() && none.problems.iter().all(|p| p.code != "unreadable"));
        let fill: [fn(&mut Files<Vec<u8>>); 4] = [
            |files| files.yaml = denied(),
            |files| files.env = denied(),
            |files| files.pinned_yaml = denied(),
            |files| files.pinned_env = denied(),
        ];
        for fill in fill {
            let mut files = Files { pinned_dir: "/etc/hermes".into(), ..Files::default() };
            fill(&mut files);
            let loaded = verdict(&files);
            assert!(loaded.config.is_none());
            assert!(loaded.problems.iter().all(|p| p.code != "no_provider"), "{:?}", loaded.problems);
            assert_eq!(
                (loaded.problems[0].code.as_str(), loaded.problems[0].severity),
                ("unreadable", Severity::Profile)
            );
        }
        let gone: Found<Vec<u8>> = Found::of(Err(io::ErrorKind::NotFound.into()), "/nowhere/at/all".into());
        assert!(matches!(gone, Found::Absent));
    }

    /// 33: a home in whose path no database can be opened is refused, with that reason.
    #[test]
    fn a_home_that_lies_too_deep_is_named() {
        let home = |len: usize| ProfileHome::new(format!("/{}", "d".repeat(len - 1)));
        assert!(too_deep(&home(480)).is_none());
        let problem = too_deep(&home(522)).unwrap();
        assert!(problem.message.contains("522 bytes, 40 more"), "{}", problem.message);
        assert_eq!(problem.severity, Severity::Profile);
    }

    #[test]
    fn a_home_that_cannot_be_written_is_named_and_wide_modes_are_warned_about() {
        let loaded = verdict(&Files { logs_fault: Some("it is not a directory".into()), ..Files::default() });
        assert!(loaded.config.is_some());
        assert!(loaded.problems.iter().any(|problem| problem.code == "no_logs" && problem.file == "/h/logs"));
        let loaded = verdict(&Files { home_fault: Some("Read-only".into()), ..Files::default() });
        assert!(
            loaded.config.is_none() && loaded.problems[0].message.contains("`/h`"),
            "{:?}",
            loaded.problems
        );
        for (mode, warnings) in [(None, 0), (Some(0o100_600), 0), (Some(0o100_644), 1)] {
            let loaded = verdict(&Files { env_mode: mode, ..Files::default() });
            let found = loaded.problems.iter().filter(|p| p.code == "env_permissions").count();
            assert!(loaded.config.is_some() && found == warnings, "{mode:?}");
        }
    }
}
