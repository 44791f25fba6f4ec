//! What a home has set up and this release does not do. None of it keeps a profile from starting, all of it is named: one problem
//! a kind, which the surfaces show as one line a profile.

use camino::Utf8Path;
use serde_json::Value;

use super::found::Found;
use super::glance::is_off;
use super::platform::Settings;
use super::platforms::Blocks;
use super::pool::Pools;
use super::problem::{Place, problem};
use super::reader::{At, Reader};
use super::tool_servers;
use super::types::ProfileConfig;
use hermes_wire::ProfileHome;
use hermes_wire::latest::{Problem, Severity};

/// `code` of these problems.
pub const CODE: &str = "unsupported";
/// How their messages begin.
pub const PREFIX: &str = "configured, not supported yet: ";
/// Names that are listed before the rest is only counted.
const NAMED: usize = 5;

/// What else than the two files a home of the Python program may hold.
#[derive(Debug, Clone)]
pub struct Leftovers<B> {
    /// The older `gateway.json`, which is read below `config.yaml`.
    pub gateway: Found<B>,
    /// `auth.json`.
    pub auth: Found<B>,
    /// `cron/jobs.json`.
    pub cron: Found<B>,
    /// Names in `hooks/`, or why they cannot be seen.
    pub hooks: Result<Vec<String>, Unseen>,
    /// Boards and how many open cards each has, or why that cannot be seen. In the root home only.
    pub boards: Vec<(String, Result<u64, Unseen>)>,
}

/// Why something cannot be looked at.
pub type Unseen = String;

impl<B> Default for Leftovers<B> {
    fn default() -> Self {
        Self {
            gateway: Found::Absent,
            auth: Found::Absent,
            cron: Found::Absent,
            hooks: Ok(Vec::new()),
            boards: Vec::new(),
        }
    }
}

/// What the keys of `config.yaml` ask for in vain.
pub(super) fn of_keys(reader: &mut Reader<'_>, root: &At, config: &ProfileConfig) {
    let off = |at: &At| at.node().is_some_and(is_off);
    let names = |at: &At| -> Vec<String> {
        at.entries().into_iter().filter(|(_, at)| !off(at)).map(|(name, _)| name).collect()
    };
    let plugins = root.key("plugins.enabled");
    let memory = root.key("memory.provider");
    let texts = |reader: &mut Reader<'_>, at: &At| -> Vec<String> {
        at.items().iter().filter_map(|item| reader.text(item)).collect()
    };
    let plugin_names = texts(reader, &plugins);
    let memory_name: Vec<String> =
        if memory.is_map() { Vec::new() } else { reader.text(&memory).into_iter().collect() };
    let mut all = vec![("hooks", root.key("hooks"), names(&root.key("hooks")))];
    for platform in reader.registry.own() {
        let blocks = Blocks::new(root, platform.name);
        let idle = platform.idle.iter().map(|key| (*key, blocks.get(key)));
        all.extend(idle.map(|(key, at)| (key, at.clone(), names(&at))));
    }
    all.extend([("plugins", plugins, plugin_names), ("memory provider", memory, memory_name)]);
    for (what, at, names) in all {
        if !names.is_empty() {
            let place = reader.place(&at);
            push(reader, Severity::Warning, place, None, &listed(what, &names));
        }
    }
    servers(reader, root);
    platforms(reader, config);
    let stt = root.key("stt");
    if stt.key("enabled").says("true") && config.stt.is_none() {
        let place = reader.place(&stt);
        push(reader, Severity::Warning, place, None, "stt (of its providers only those of a command)");
    }
}

/// What tool servers are to do that is not done.
fn servers(reader: &mut Reader<'_>, root: &At) {
    for (name, at) in root.key("mcp_servers").entries() {
        let idle = tool_servers::idle(&at);
        if !idle.is_empty() && !at.node().is_some_and(is_off) {
            let idle: Vec<String> = idle.into_iter().map(str::to_owned).collect();
            let place = reader.place(&at);
            push(reader, Severity::Warning, place, None, &listed(&format!("mcp_servers.{name}"), &idle));
        }
    }
    let reload = root.key("mcp.auto_reload_on_config_change");
    if reload.says("false") {
        let place = reader.place(&reload);
        let what = "mcp.auto_reload_on_config_change: false (a changed file starts the profile anew, its tool servers as well)";
        push(reader, Severity::Warning, place, None, what);
    }
}

/// Platforms without an adapter. A profile that nothing else reaches is not able to do what it is there for.
fn platforms(reader: &mut Reader<'_>, config: &ProfileConfig) {
    let reached = config.settings.iter().any(Settings::reaches);
    let severity = if reached { Severity::Warning } else { Severity::Platform };
    for platform in config.platforms.iter().filter(|platform| !platform.supported) {
        push(reader, severity, place_of(reader, &platform.source), Some(&platform.name), &platform.name);
    }
}

/// The place that a platform's source names.
fn place_of(reader: &Reader<'_>, source: &str) -> Place {
    let Some((key, file)) = source.rsplit_once(" in ") else {
        return Place { file: source.to_owned(), ..Place::default() };
    };
    let line = reader.dotenv.lines.get(key).copied();
    Place { file: file.to_owned(), line, column: None, key: Some(key.to_owned()) }
}

fn push(reader: &mut Reader<'_>, severity: Severity, place: Place, platform: Option<&str>, what: &str) {
    let Place { file, line, column, key } = place;
    reader.problems.push(Problem {
        severity,
        code: CODE.to_owned(),
        platform: platform.map(str::to_owned),
        file,
        line,
        column,
        key,
        message: format!("{PREFIX}{what}"),
        fix: None,
    });
}

/// What lies beside the two files and nobody looks after.
pub(super) fn of_files<B: AsRef<[u8]>>(home: &ProfileHome, left: &Leftovers<B>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut say = |path: &Utf8Path, what: String| {
        problems.push(Problem {
            fix: None,
            ..problem(Severity::Warning, CODE, path, format!("{PREFIX}{what}"), "")
        });
    };
    let unseen = |what: &str, why: &str| format!("{what} (whether there are any cannot be seen: {why})");
    match &left.auth {
        Found::Absent => {}
        Found::Unreadable { why, .. } => {
            say(&home.auth_json(), unseen("keys and sign-ins of auth.json", why));
        }
        // One that is no JSON is said elsewhere.
        Found::Bytes(bytes) => match Pools::parse(bytes.as_ref()) {
            Ok(pools) if pools.sign_ins.is_empty() => {}
            Ok(pools) => say(&home.auth_json(), listed("sign-ins", &pools.sign_ins)),
            Err(_) => {}
        },
    }
    let jobs_file = home.cron_jobs();
    match &left.cron {
        Found::Absent => {}
        Found::Unreadable { why, .. } => say(&jobs_file, unseen("cron jobs", why)),
        Found::Bytes(bytes) => match jobs(bytes.as_ref()) {
            Ok(names) if names.is_empty() => {}
            Ok(names) => say(&jobs_file, listed("cron jobs", &names)),
            Err(why) => say(&jobs_file, unseen("cron jobs", &why)),
        },
    }
    match &left.hooks {
        Ok(names) if names.is_empty() => {}
        Ok(names) => say(&home.hooks(), listed("hooks", names)),
        Err(why) => say(&home.hooks(), unseen("hooks", why)),
    }
    for (board, cards) in &left.boards {
        match cards {
            Ok(0) => {}
            Ok(1) => say(&home.kanban_db(), format!("Kanban board {board} (1 open card)")),
            Ok(n) => say(&home.kanban_db(), format!("Kanban board {board} ({n} open cards)")),
            Err(why) => say(&home.kanban_db(), unseen(&format!("Kanban board {board}, open cards"), why)),
        }
    }
    problems
}

/// The names of the jobs that 0.19.0 would run.
fn jobs(bytes: &[u8]) -> Result<Vec<String>, String> {
    let file: Value = serde_json::from_slice(bytes).map_err(|e| format!("line {}: no JSON", e.line()))?;
    let Some(jobs) = file.get("jobs").and_then(Value::as_array) else { return Ok(Vec::new()) };
    let runs = |job: &&Value| {
        let state = job.get("state").and_then(Value::as_str).unwrap_or_default();
        job.get("enabled") != Some(&Value::Bool(false)) && !matches!(state, "paused" | "completed" | "error")
    };
    let name = |job: &Value| {
        let text = ["name", "id"].iter().find_map(|key| job.get(key).and_then(Value::as_str));
        text.unwrap_or("without a name").chars().filter(|c| !c.is_control()).take(40).collect()
    };
    Ok(jobs.iter().filter(runs).map(name).collect())
}

/// `cron jobs (daily, weekly and 3 more)`
fn listed(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return what.to_owned();
    }
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = names.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{what} ({}{more})", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Case, Files, judge};
    use super::*;
    use hermes_wire::ProfileName;
    use hermes_wire::latest::Role;

    fn found(yaml: &str, env: &str, leftovers: Leftovers<Vec<u8>>) -> Vec<(Severity, String)> {
        let (profile, home) = (ProfileName::default_profile(), ProfileHome::new("/h"));
        let case = Case {
            registry: &crate::REGISTRY,
            profile: &profile,
            home: &home,
            role: Role::Primary,
            multiplex: None,
            listeners: &[],
        };
        let bytes = |text: &str| Found::Bytes(text.as_bytes().to_vec());
        let files = Files { yaml: bytes(yaml), env: bytes(env), leftovers, ..Files::default() };
        let problems = judge(case, &files).problems.into_iter().filter(|p| p.code == CODE);
        problems.map(|p| (p.severity, p.message.strip_prefix(PREFIX).unwrap().to_owned())).collect()
    }

    /// 4: nothing of an old home is dropped in silence.
    #[test]
    fn c4_what_is_configured_and_not_done_is_named() {
        let yaml = "agent: {engine: echo}\n\
            mcp_servers: {github: {command: npx, sampling: {model: m}}, plain: {command: x, sampling: {enabled: false}}, off: {url: u, enabled: false}, gone: {url: u, disabled: true}, no: {url: u, enabled: no}}\n\
            hooks: {pre_tool_call: [{command: x}]}\n\
            platforms: {api_server: {enabled: true, model_routes: {fast: {model: m}}}, simplex: {enabled: true}}\n\
            plugins: {enabled: [relay]}\nmemory: {provider: honcho}\n";
        let env = "API_SERVER_KEY=0123456789abcdef\nTELEGRAM_BOT_TOKEN=t\n";
        let jobs = r#"{"jobs":[{"name":"daily","enabled":true,"state":"scheduled"},{"name":"off","enabled":false},
            {"name":"held","enabled":true,"state":"paused"},{"id":"abc"}]}"#;
        let leftovers = Leftovers {
            cron: Found::Bytes(jobs.as_bytes().to_vec()),
            auth: Found::Bytes(br#"{"providers":{"nous":{"access_token":"t"}}}"#.to_vec()),
            hooks: Ok(vec!["notify".to_owned()]),
            boards: vec![("default".to_owned(), Ok(2)), ("done".to_owned(), Ok(0))],
            ..Leftovers::default()
        };
        let mut all = found(yaml, env, leftovers);
        assert!(all.iter().all(|(severity, _)| *severity == Severity::Warning), "{all:?}");
        all.sort();
        let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Kanban board default (2 open cards)",
                "cron jobs (daily, abc)",
                "hooks (notify)",
                "hooks (pre_tool_call)",
                "mcp_servers.github (sampling)",
                "memory provider (honcho)",
                "plugins (relay)",
                "sign-ins (nous)",
                "simplex",
                "telegram",
            ]
        );
        assert_eq!(found("agent: {engine: echo}\n", "", Leftovers::default()), []);
    }

    /// 4: a profile whose only platform has no adapter is not plainly ready.
    #[test]
    fn c4_a_profile_that_only_an_unsupported_platform_reaches_is_degraded() {
        let of = |env: &str| found("agent: {engine: echo}\n", env, Leftovers::default());
        assert_eq!(of("TELEGRAM_BOT_TOKEN=t\n"), [(Severity::Platform, "telegram".to_owned())]);
        let both = "TELEGRAM_BOT_TOKEN=t\nAPI_SERVER_KEY=0123456789abcdef\n";
        assert_eq!(of(both), [(Severity::Warning, "telegram".to_owned())]);
    }

    /// 4, D17: what cannot be read is not absent.
    #[test]
    fn c4_what_cannot_be_looked_at_is_said() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        for cron in [Found::of(Err(denied()), "/h/cron/jobs.json".into()), Found::Bytes(b"{".to_vec())] {
            let left = Leftovers { cron, ..Leftovers::default() };
            let all = found("agent: {engine: echo}\n", "", left);
            assert!(all.len() == 1 && all[0].1.starts_with("cron jobs (whether there are any"), "{all:?}");
        }
        let left = Leftovers {
            hooks: Err("denied".to_owned()),
            boards: vec![("default".to_owned(), Err("locked".to_owned()))],
            ..Leftovers::default()
        };
        assert_eq!(found("agent: {engine: echo}\n", "", left).len(), 2);
    }
}
