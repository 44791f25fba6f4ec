//! Makes a profile: empty, or from another one. See the module's parent for how it appears.
//!
//! What a copy takes is decided by `entries`: never what belongs to a process, a cache, the installation or the source's
//! identity, and no history. Databases that are no history are copied as of one instant. Channels (bot tokens, platform sections,
//! pairings, files of bots; [`hermes_config::channels`]) stay behind unless asked for, because two profiles cannot poll one bot; jobs
//! and sign-ins that only one holder can renew stay behind always. What stays behind and is the profile's own is named.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::channels::{self, Flaw};
use hermes_config::{MAX_FILE_LEN, dotenv_edit};
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hermes_worker::REGISTRY;

use super::copy::Copier;
use super::entries::{Class, class_of, is_copied, is_of_bots, is_sidecar};
use super::error::ProfileError;
use super::export::snapshot;
use super::staging::Staging;
use super::{describe, skeleton};
use crate::skills::bundle;
use crate::skills::sync::{self, Synced};

/// Files and directories of `--clone`.
const CLONED: [&str; 6] =
    ["config.yaml", ".env", "SOUL.md", "skills", "memories/MEMORY.md", "memories/USER.md"];
/// Files that a copy never shares through a link.
const MATERIALISED: [&str; 5] = ["config.yaml", ".env", "SOUL.md", "auth.json", "profile.yaml"];
/// Databases of what was said and done before, which a copy begins without, and of what only the root home has.
const HISTORY_IN_DATABASES: [&str; 4] = ["state.db", "hermes_state.db", "response_store.db", "kanban.db"];
/// Sign-ins of tools that only one holder can renew: a second one would end the first.
const ONE_HOLDER: [&str; 2] = ["home/.claude/.credentials.json", "home/.codex/auth.json"];
const NO_SKILLS_TEXT: &str = "\
Made by `hermes profile create --no-skills`: no bundled skills are brought into this profile.
Delete this file to have them with the next `hermes update --skills-only`.
";

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Configuration, keys, persona, skills, two memory files.
    Essentials,
    /// Everything that belongs to the profile.
    Everything,
}

/// What to make.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a RootHome,
    pub(crate) name: &'a ProfileName,
    /// From where, and how much.
    pub(crate) source: Option<(&'a ProfileName, Extent)>,
    /// Channels too.
    pub(crate) channels: bool,
    pub(crate) no_skills: bool,
    pub(crate) description: Option<&'a str>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) home: ProfileHome,
    /// Platforms that stayed behind.
    pub(crate) left_behind: Vec<String>,
    /// Keys and variables that make a profile the gateway's own, and stayed behind too.
    pub(crate) left_out: Vec<String>,
    /// Names at the top of the source that a copy of everything has not.
    pub(crate) not_copied: Vec<String>,
    /// Credentials that both profiles have now: platform and variable.
    pub(crate) shared: Vec<(String, &'static str)>,
    /// What else should be known.
    pub(crate) warnings: Vec<String>,
    /// Whether `.env` assigns anything.
    pub(crate) has_keys: bool,
    /// How the bundled skills were brought, where they were to be.
    pub(crate) skills: Option<Synced>,
}

/// Makes it. `progress` is told the bytes copied so far and answers whether to go on.
pub(crate) fn create(plan: &Plan<'_>, progress: &mut dyn FnMut(u64) -> bool) -> Result<Made, ProfileError> {
    let target = plan.root.profile(plan.name);
    let staging =
        Staging::begin(plan.root, plan.name).map_err(ProfileError::io("make", plan.root.profiles()))?;
    let new = staging.path().to_owned();
    let mut made = Made {
        home: target.clone(),
        left_behind: Vec::new(),
        left_out: Vec::new(),
        not_copied: Vec::new(),
        shared: Vec::new(),
        warnings: Vec::new(),
        has_keys: false,
        skills: None,
    };
    if let Some((source, extent)) = plan.source {
        copy(plan, source, extent, &new, &mut made, progress)?;
    }
    skeleton::seed(&new).map_err(ProfileError::io("write", target.path()))?;
    if plan.no_skills {
        skeleton::seed_file(&new.join(sync::OPT_OUT), NO_SKILLS_TEXT, 0o644)
            .map_err(ProfileError::io("write", target.path()))?;
    } else if plan.source.is_none() {
        // A copy has the skills of its source, and not those that were removed there.
        made.skills = Some(sync::seed(&new, bundle::all()));
    }
    if let Some(text) = plan.description.map(str::trim).filter(|text| !text.is_empty()) {
        describe::write(&new, text)?;
    }
    let env = disk::read_bounded(&new.join(".env"), MAX_FILE_LEN).unwrap_or_default();
    made.has_keys = !dotenv_edit::names(&env).is_empty();
    if !progress(u64::MAX) {
        return Err(ProfileError::Interrupted);
    }
    match staging.publish(plan.root, plan.name) {
        Ok(home) => made.home = home,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(ProfileError::Exists { name: plan.name.to_string(), path: target.path().to_owned() });
        }
        Err(e) => return Err(ProfileError::io("publish", target.path())(e)),
    }
    Ok(made)
}

fn copy(
    plan: &Plan<'_>,
    source: &ProfileName,
    extent: Extent,
    new: &Utf8Path,
    made: &mut Made,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<(), ProfileError> {
    let from = plan.root.profile(source);
    let real = from.path().canonicalize_utf8().map_err(ProfileError::io("read", from.path()))?;
    let mut copier = Copier { from: &real, to: new, left_out: Vec::new(), bytes: 0, progress };
    let cancelled = |e: super::copy::CopyError| {
        if e.source.kind() == io::ErrorKind::Interrupted { ProfileError::Interrupted } else { e.into() }
    };
    for name in MATERIALISED {
        let wanted = extent == Extent::Everything || CLONED.contains(&name);
        let is_there = |path: &Utf8Path| fs_err::metadata(path).or_absent().map(|found| found.is_some());
        let path = real.join(name);
        // One that cannot be looked at is not left out without a word.
        if wanted && is_there(&path).map_err(ProfileError::io("read", &path))? {
            let secret = matches!(name, ".env" | "auth.json");
            copier.copy_file(Utf8Path::new(name), secret.then_some(0o600)).map_err(cancelled)?;
        }
    }
    match extent {
        Extent::Essentials => {
            for name in CLONED.iter().filter(|name| !MATERIALISED.contains(name)) {
                if let Some(dir) = Utf8Path::new(name).parent().filter(|dir| !dir.as_str().is_empty()) {
                    let _ = fs_err::create_dir(new.join(dir));
                }
                copier.copy(Utf8Path::new(name), &|_| true).map_err(cancelled)?;
            }
        }
        Extent::Everything => everything(&real, source, plan.channels, &mut copier, made)?,
    }
    for (path, why) in std::mem::take(&mut copier.left_out) {
        made.warnings.push(format!("left out {path}: {why}"));
    }
    if describe::forget_name(new).is_err() {
        made.warnings.push(format!("the name that {source} is shown by is in profile.yaml of the copy too"));
    }
    single_use(new, made)?;
    channels(plan, new, made)
}

/// Every entry at the top that is copied, each in its way, and the names of those that are not.
fn everything(
    real: &Utf8Path,
    source: &ProfileName,
    channels: bool,
    copier: &mut Copier<'_>,
    made: &mut Made,
) -> Result<(), ProfileError> {
    let cancelled = |e: super::copy::CopyError| {
        if e.source.kind() == io::ErrorKind::Interrupted { ProfileError::Interrupted } else { e.into() }
    };
    let wanted = |path: &Utf8Path| is_copied(path, channels) && !ONE_HOLDER.contains(&path.as_str());
    for entry in real.read_dir_utf8().map_err(ProfileError::io("read", real))? {
        let entry = entry.map_err(ProfileError::io("read", real))?;
        let path = Utf8PathBuf::from(entry.file_name());
        if MATERIALISED.contains(&path.as_str()) || is_sidecar(path.as_str()) {
            continue;
        }
        match class_of(&path) {
            Class::Database if !HISTORY_IN_DATABASES.contains(&path.as_str()) && !is_of_bots(&path) => {
                database(copier, &path, made)?;
            }
            _ if wanted(&path) => {
                copier.copy(&path, &wanted).map_err(cancelled)?;
                if path == "cron" && has_entries(&real.join(&path)) {
                    made.not_copied.push(path.into_string());
                }
            }
            // Made again by itself, or of no use to anybody else.
            Class::Process | Class::Cache => {}
            Class::Infrastructure if source.is_default() => {}
            _ if has_entries(&real.join(&path)) => made.not_copied.push(path.into_string()),
            _ => {}
        }
    }
    made.not_copied.sort();
    for name in ["cron", "pairing", "platforms"] {
        if real.join(name).is_dir() {
            let _ = fs_err::create_dir(copier.to.join(name));
        }
    }
    for name in ONE_HOLDER.iter().filter(|name| !disk::is_absent(&real.join(name))) {
        made.warnings.push(format!("left out {name}: only one holder can renew that sign-in"));
    }
    Ok(())
}

/// Whether there is anything in it; a file is something, and so is what cannot be looked into.
fn has_entries(path: &Utf8Path) -> bool {
    !path.is_dir() || path.read_dir_utf8().map_or(true, |mut entries| entries.next().is_some())
}

/// A database as of one instant. One that cannot be had now is left out and named: the copy is of use without it.
fn database(copier: &mut Copier<'_>, path: &Utf8Path, made: &mut Made) -> Result<(), ProfileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let (from, to) = (copier.from.join(path), copier.to.join(path));
    if !snapshot::is_database(&from) {
        return copier.copy(path, &|_| true).map_err(Into::into);
    }
    let bytes = copier.bytes;
    let taken = snapshot::take(&from, &to, &mut || (copier.progress)(bytes));
    match taken.and_then(|()| fs_err::set_permissions(&to, std::fs::Permissions::from_mode(0o600))) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(ProfileError::Interrupted),
        Err(e) => {
            let _ = fs_err::remove_file(&to);
            made.warnings.push(format!("left out {path}: {e}"));
            Ok(())
        }
    }
}

/// A file of the copy, if it came along. What cannot be read cannot be cleaned either, and must not be published as it is.
fn copied(path: &Utf8Path) -> Result<Option<Vec<u8>>, ProfileError> {
    disk::read_bounded(path, MAX_FILE_LEN).or_absent().map_err(ProfileError::io("read", path))
}

/// Sign-ins that can be renewed by one holder only would end the source's.
fn single_use(new: &Utf8Path, made: &mut Made) -> Result<(), ProfileError> {
    let path = new.join("auth.json");
    let Some(bytes) = copied(&path)? else { return Ok(()) };
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        fs_err::remove_file(&path).map_err(ProfileError::io("remove", &path))?;
        made.warnings.push("auth.json cannot be read and was left out".to_owned());
        return Ok(());
    };
    let removed = without_refresh_tokens(&mut json);
    if removed > 0 {
        let text = format!("{json:#}\n");
        fs_err::write(&path, text).map_err(ProfileError::io("write", &path))?;
        made.warnings.push(format!(
            "{removed} sign-in(s) that only one holder can renew were left behind: releases from 0.20 on use the default profile's \
             where a profile has none of its own"
        ));
    }
    Ok(())
}

fn without_refresh_tokens(json: &mut serde_json::Value) -> usize {
    use serde_json::Value;
    let token = |value: &Value| {
        let names = ["refresh_token", "refreshToken", "refresh"];
        names.iter().any(|name| value.get(name).is_some_and(|t| !t.is_null() && t.as_str() != Some("")))
    };
    let renews = |value: &Value| token(value) || value.get("tokens").is_some_and(token);
    match json {
        Value::Object(map) => {
            let before = map.len();
            map.retain(|_, value| !renews(value));
            let removed = before - map.len();
            removed + map.values_mut().map(without_refresh_tokens).sum::<usize>()
        }
        Value::Array(items) => {
            let before = items.len();
            items.retain(|value| !renews(value));
            let removed = before - items.len();
            removed + items.iter_mut().map(without_refresh_tokens).sum::<usize>()
        }
        _ => 0,
    }
}

/// Takes what belongs to channels out of the copy, or names what both profiles share now.
fn channels(plan: &Plan<'_>, new: &Utf8Path, made: &mut Made) -> Result<(), ProfileError> {
    let (env_path, config_path) = (new.join(".env"), new.join("config.yaml"));
    let (env, yaml) = (copied(&env_path)?, copied(&config_path)?);
    if plan.channels {
        made.shared = hermes_config::channel_variables(&REGISTRY, &env.unwrap_or_default());
        return Ok(());
    }
    let (source, _) = plan.source.expect("only copies have channels");
    let from = plan.root.profile(source);
    let without =
        channels::without(&REGISTRY, (source, &from), yaml.as_deref(), env.as_deref()).map_err(|flaw| {
            let (path, why) = match flaw {
                Flaw::Env(why) => (from.env_file(), why),
                Flaw::Yaml(why) => (from.config(), why),
            };
            ProfileError::Channels { path, why }
        })?;
    for (path, text) in [(env_path, without.env), (config_path, without.yaml)] {
        if let Some(text) = text {
            fs_err::write(&path, text).map_err(ProfileError::io("write", &path))?;
        }
    }
    made.left_behind = without.platforms;
    made.left_out = without.others;
    Ok(())
}

/// Whether `.env` and `auth.json` of a home are private; for tests of every way a home is made.
#[cfg(test)]
pub(crate) fn is_private(home: &Utf8Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |name: &str| fs_err::metadata(home.join(name)).map(|m| m.permissions().mode() & 0o777).ok();
    [".env", "auth.json"].iter().all(|name| mode(name).is_none_or(|mode| mode == 0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, RootHome) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap().join("root")).unwrap();
        fs_err::create_dir(&root).unwrap();
        (dir, RootHome::new(root))
    }

    fn write(path: Utf8PathBuf, text: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn plan<'a>(
        root: &'a RootHome,
        name: &'a ProfileName,
        source: Option<(&'a ProfileName, Extent)>,
    ) -> Plan<'a> {
        Plan { root, name, source, channels: false, no_skills: false, description: None }
    }

    #[test]
    fn everything_leaves_process_identity_and_channels_behind() {
        let (_dir, root) = place();
        let home = root.path();
        for (name, text) in [
            (
                "config.yaml",
                "# mine\nmodel: a/b # best\nplatforms: {telegram: {}}\nprofile_routes: []\ngateway:\n  multiplex_profiles: true\n  hold_ms: 1\n",
            ),
            (".env", "OPENAI_API_KEY=k\nTELEGRAM_BOT_TOKEN=t\n"),
            ("auth.json", "{\"a\":{\"refresh_token\":\"r\"},\"b\":{\"api_key\":\"k\"}}"),
            ("cron/jobs.json", "[]"),
            ("state.db", "x"),
            ("gateway.lock", ""),
            ("logs/gateway.log", "x"),
            ("skills/a/SKILL.md", "x"),
            ("profiles/other/SOUL.md", "x"),
            ("response_store.db", "x"),
            ("memory.db", "no database"),
            ("pairing/telegram.json", "{}"),
            ("whatsapp_session/creds.json", "{}"),
            (".anthropic_oauth.json", "{}"),
            ("home/.codex/auth.json", "{}"),
            ("home/notes", "x"),
            ("sessions/s.json", "{}"),
            ("gateway.parked", ""),
            ("tools/python/bin/python", "x"),
            ("workspace/x.pyc", "x"),
            ("workspace/notes", "x"),
        ] {
            write(home.join(name), text);
        }
        std::os::unix::fs::symlink(home.join("skills/a"), home.join("skills/b")).unwrap();
        let db = rusqlite::Connection::open(home.join("goals.db")).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE goal(x); INSERT INTO goal VALUES (7);")
            .unwrap();
        nix::unistd::mkfifo(home.join("workspace/pipe").as_std_path(), nix::sys::stat::Mode::S_IRUSR)
            .unwrap();
        let (default, name) = (ProfileName::default_profile(), "copy".parse().unwrap());
        let made = create(&plan(&root, &name, Some((&default, Extent::Everything))), &mut |_| true).unwrap();
        let new = made.home.path();
        let read = |name: &str| fs_err::read_to_string(new.join(name)).unwrap();
        assert_eq!(read("config.yaml"), "# mine\nmodel: a/b # best\ngateway:\n  hold_ms: 1\n");
        assert_eq!(read(".env"), "OPENAI_API_KEY=k\n");
        assert!(!read("auth.json").contains("refresh_token") && read("auth.json").contains("api_key"));
        assert_eq!(made.left_behind, ["telegram"]);
        assert_eq!(made.left_out, ["gateway.multiplex_profiles", "profile_routes"]);
        // What is said; the rest belongs to the installation of `default`, or is made again by itself.
        assert_eq!(
            made.not_copied,
            [
                ".anthropic_oauth.json",
                "cron",
                "pairing",
                "response_store.db",
                "sessions",
                "state.db",
                "whatsapp_session",
            ]
        );
        // As of one instant, while its writer still has it open.
        let goals = rusqlite::Connection::open(new.join("goals.db")).unwrap();
        assert_eq!(goals.query_row("SELECT x FROM goal", [], |row| row.get::<_, i64>(0)), Ok(7));
        drop(goals);
        assert_eq!((read("memory.db").as_str(), read("home/notes").as_str()), ("no database", "x"));
        assert!(made.warnings.iter().any(|w| w.contains("home/.codex/auth.json")), "{:?}", made.warnings);
        assert!(is_private(new) && made.has_keys);
        for gone in [
            "cron/jobs.json",
            "state.db",
            "gateway.lock",
            "gateway.parked",
            "goals.db-wal",
            "home/.codex/auth.json",
            "pairing/telegram.json",
            "tools",
            "logs/gateway.log",
            "profiles",
            "workspace/x.pyc",
            "workspace/pipe",
        ] {
            assert!(!new.join(gone).exists(), "{gone}");
        }
        assert_eq!(new.join("skills/b").read_link_utf8().unwrap(), "../skills/a");
        assert!(new.join("workspace/notes").exists() && new.join("cron").is_dir());
        assert!(made.warnings.iter().any(|w| w.contains("workspace/pipe")), "{:?}", made.warnings);
    }

    #[test]
    fn a_copy_that_fails_or_is_interrupted_leaves_nothing() {
        let (_dir, root) = place();
        write(root.path().join("config.yaml"), "a: [\n");
        write(root.path().join("SOUL.md"), "x");
        write(root.path().join("skills/a/SKILL.md"), "x");
        let (default, name) = (ProfileName::default_profile(), "copy".parse().unwrap());
        let interrupted = create(&plan(&root, &name, Some((&default, Extent::Essentials))), &mut |_| false);
        assert!(matches!(interrupted, Err(ProfileError::Interrupted)));
        fs_err::create_dir(root.path().join(".env")).unwrap();
        let failed = create(&plan(&root, &name, Some((&default, Extent::Essentials))), &mut |_| true);
        assert!(matches!(failed, Err(ProfileError::Copy(_))), "{failed:?}");
        let left: Vec<_> =
            root.profiles().read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
        assert_eq!(left, [".hermes-making.lock"]);
    }
}
