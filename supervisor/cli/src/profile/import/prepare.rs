//! Puts an unpacked home in order before it is published: jobs paused, what waited in the original's queues forgotten, and a list
//! of everything in it that will run.

use camino::Utf8Path;
use hermes_config::{Input, MAX_FILE_LEN, dotenv_edit, edit, redact};
use hermes_host::clock;
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::latest::Role;
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hermes_worker::REGISTRY;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::super::error::ProfileError;
use super::super::logins::is_login;
use crate::archive::printable;

/// Most names that are listed of one kind.
const LISTED: usize = 50;
/// Why a job is paused.
const REASON: &str = "imported; look at it before you resume it";

/// A job that was paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) schedule: String,
}

/// What in a home runs code or starts by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Paused.
    pub(crate) jobs: Vec<Job>,
    pub(crate) plugins: Vec<String>,
    pub(crate) hooks: Vec<String>,
    pub(crate) scripts: Vec<String>,
    /// Of `mcp_servers`, with a command.
    pub(crate) servers: Vec<String>,
}

/// What was found and done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) runs: Runs,
    /// Files with credentials that the archive brought.
    pub(crate) credentials: Vec<String>,
    /// Files that a profile cannot do without and the archive did not bring.
    pub(crate) missing: Vec<&'static str>,
    /// Variables that `config.yaml` names and `.env` does not have.
    pub(crate) unset: Vec<String>,
    /// Messages and answers that waited in the original.
    pub(crate) forgotten: usize,
    /// Settings that were removed because the gateway's listeners belong to the default profile.
    pub(crate) ports: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Most settings about ports that are removed.
const PORTS: usize = 64;

/// Changes what must not stay as it came.
pub(super) fn prepare(
    root: &RootHome,
    name: &ProfileName,
    home: &Utf8Path,
) -> Result<Prepared, ProfileError> {
    let mut credentials: Vec<String> = super::BROUGHT
        .into_iter()
        .filter(|name| !disk::is_absent(&home.join(name)))
        .map(str::to_owned)
        .collect();
    credentials.extend(logins_in(&home.join("home")));
    let missing =
        ["config.yaml", ".env"].into_iter().filter(|name| disk::is_absent(&home.join(name))).collect();
    let mut prepared = Prepared { credentials, missing, ..Prepared::default() };
    pause_jobs(home, &mut prepared)?;
    give_up_ports(root, name, home, &mut prepared)?;
    forget_waiting(home, &mut prepared);
    Ok(prepared)
}

impl Prepared {
    /// Lists what runs, and what is missing.
    pub(super) fn look(&mut self, home: &Utf8Path) {
        let runs = &mut self.runs;
        runs.plugins = names_in(&home.join("plugins"));
        runs.hooks = names_in(&home.join("hooks"));
        runs.scripts = names_in(&home.join("scripts"));
        let config = disk::read_bounded(&home.join("config.yaml"), MAX_FILE_LEN).unwrap_or_default();
        runs.servers = hermes_config::mcp_commands(&config);
        runs.servers.truncate(LISTED);
        let env = disk::read_bounded(&home.join(".env"), MAX_FILE_LEN).unwrap_or_default();
        let defined = dotenv_edit::names(&env);
        let text = String::from_utf8_lossy(&config);
        self.unset = redact::unresolved(&text, &|name| defined.iter().any(|n| n == name));
        self.unset.truncate(LISTED);
    }
}

/// Logins of tools that the archive brought.
fn logins_in(home: &Utf8Path) -> Vec<String> {
    let entries = home.read_dir_utf8().into_iter().flatten().flatten();
    let paths = entries.map(|entry| Utf8Path::new("home").join(entry.file_name()));
    let mut logins: Vec<_> =
        paths.filter(|path| is_login(path)).map(|path| printable(path.as_str().as_bytes())).collect();
    logins.sort_unstable();
    logins.truncate(LISTED);
    logins
}

/// Names of what is in a directory, sorted; nothing where there is none.
fn names_in(dir: &Utf8Path) -> Vec<String> {
    let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_owned()).filter(|name| !name.starts_with('.'));
    let mut names: Vec<_> = names.filter(|name| name != "__pycache__" && name != "README.md").collect();
    names.sort_unstable();
    names.truncate(LISTED);
    names
}

/// Where one gateway serves all profiles, a profile that opens a port of its own would keep the whole gateway from starting. What
/// says so is removed, by the rule that the gateway itself checks.
fn give_up_ports(
    root: &RootHome,
    name: &ProfileName,
    home: &Utf8Path,
    prepared: &mut Prepared,
) -> Result<(), ProfileError> {
    let read = |path: &Utf8Path| {
        let bytes = disk::read_bounded(path, MAX_FILE_LEN).or_absent();
        bytes.map(Option::unwrap_or_default).map_err(ProfileError::io("read", path))
    };
    if !hermes_config::glance(&REGISTRY, &read(&root.profile(&ProfileName::default_profile()).config())?)
        .multiplex
    {
        return Ok(());
    }
    let staged = ProfileHome::new(home);
    for _ in 0..PORTS {
        let (yaml, env) = (read(&staged.config())?, read(&staged.env_file())?);
        let loaded = hermes_config::load(Input {
            registry: &REGISTRY,
            profile: name,
            home: &staged,
            role: Role::Secondary,
            multiplex: Some(true),
            listeners: &[],
            yaml: Some(&yaml),
            env: Some(&env),
        });
        let problem = loaded.problems.into_iter().find(|problem| problem.code == "port_binding");
        let Some(problem) = problem else { return Ok(()) };
        let key = problem.key.unwrap_or_default();
        let in_env = problem.file == staged.env_file();
        let (path, bytes) = if in_env { (staged.env_file(), env) } else { (staged.config(), yaml) };
        let keys: Vec<&str> = key.split('.').collect();
        let edited = if in_env {
            dotenv_edit::text(&bytes).ok().and_then(|(text, _)| dotenv_edit::unset(&text, &key))
        } else {
            std::str::from_utf8(&bytes).ok().and_then(|text| edit::unset(text, &keys).ok().flatten())
        };
        let Some(edited) = edited else {
            let file = path.file_name().unwrap_or_default();
            prepared.warnings.push(format!(
                "`{key}` in {file} opens a port, and a gateway for all profiles will not start with it; remove it"
            ));
            return Ok(());
        };
        disk::replace(&path, edited.as_bytes()).map_err(ProfileError::io("write", &path))?;
        prepared.ports.push(key);
    }
    Ok(())
}

/// Pauses every job as `hermes cron pause` of 0.19.0 does. A file that cannot be read as jobs is removed: it could not be paused.
fn pause_jobs(home: &Utf8Path, prepared: &mut Prepared) -> Result<(), ProfileError> {
    let path = home.join("cron/jobs.json");
    if fs_err::symlink_metadata(&path).is_err() {
        return Ok(());
    }
    let bytes = disk::read_bounded(&path, MAX_FILE_LEN).ok();
    let json = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let jobs = json.map(|mut json| (paused(&mut json), json));
    let Some((Some(jobs), json)) = jobs else {
        fs_err::remove_file(&path).map_err(ProfileError::io("remove", &path))?;
        prepared.warnings.push("cron/jobs.json cannot be read as jobs and was left out".to_owned());
        return Ok(());
    };
    prepared.runs.jobs = jobs;
    // A link would be written through.
    fs_err::remove_file(&path).map_err(ProfileError::io("write", &path))?;
    disk::write_atomic(&path, format!("{json:#}\n").as_bytes(), false)
        .map_err(ProfileError::io("write", &path))
}

/// Pauses the jobs of a file and gives those that would have run. `None`: it is no such file.
fn paused(json: &mut Value) -> Option<Vec<Job>> {
    let now = clock::utc().to_string();
    let list = match json {
        Value::Array(list) => list,
        Value::Object(map) => match map.get_mut("jobs") {
            Some(Value::Array(list)) => list,
            None => return Some(Vec::new()),
            Some(_) => return None,
        },
        _ => return None,
    };
    let mut jobs = Vec::new();
    for job in list {
        let job = job.as_object_mut()?;
        if job.get("enabled").is_some_and(|enabled| *enabled == Value::Bool(false)) {
            continue;
        }
        let text = |key: &str| job.get(key).and_then(Value::as_str).map(|text| printable(text.as_bytes()));
        let schedule = text("schedule_display").or_else(|| {
            let display = job.get("schedule")?.get("display")?.as_str()?;
            Some(printable(display.as_bytes()))
        });
        jobs.push(Job {
            id: text("id").unwrap_or_default(),
            name: text("name").unwrap_or_default(),
            schedule: schedule.unwrap_or_default(),
        });
        job.insert("enabled".to_owned(), Value::Bool(false));
        job.insert("state".to_owned(), "paused".into());
        job.insert("paused_at".to_owned(), now.clone().into());
        job.insert("paused_reason".to_owned(), REASON.into());
    }
    Some(jobs)
}

/// What waited when the snapshot was taken is answered by the original; here it is history. A database that is not whole is
/// removed.
fn forget_waiting(home: &Utf8Path, prepared: &mut Prepared) {
    let path = home.join("state.db");
    if !path.exists() {
        return;
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let forgotten = (|| {
        let db = Connection::open_with_flags(&path, flags)?;
        db.execute_batch("PRAGMA trusted_schema = OFF")?;
        let whole: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        // Nothing that a stranger wrote into the schema runs here.
        let foreign = "SELECT count(*) FROM sqlite_schema
            WHERE type = 'trigger' AND (tbl_name LIKE 'hermes%' OR tbl_name = 'session_turn_leases' COLLATE NOCASE)";
        let foreign: i64 = db.query_row(foreign, [], |row| row.get(0))?;
        if whole != "ok" || foreign != 0 {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let mut forgotten = 0;
        for (table, waiting) in [
            ("hermes_inbox", "finished_at IS NULL OR state = 'steered'"),
            ("hermes_delivery", "finished_at IS NULL"),
            ("hermes_lease", "1"),
            ("session_turn_leases", "1"),
        ] {
            let there = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
            if db.query_row(there, [table], |row| row.get::<_, i64>(0))? == 1 {
                let gone = db.execute(&format!("DELETE FROM {table} WHERE {waiting}"), [])?;
                forgotten += if waiting == "1" { 0 } else { gone };
            }
        }
        Ok(forgotten)
    })();
    if let Ok(forgotten) = forgotten {
        prepared.forgotten = forgotten;
    } else {
        let _ = fs_err::remove_file(&path);
        prepared.warnings.push("state.db is not a whole database and was left out".to_owned());
    }
}
