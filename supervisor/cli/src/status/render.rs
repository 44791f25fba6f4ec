//! Status for people: a table of everybody, one profile in detail, problems with the next step. Pure.
//!
//! Columns are aligned by what a terminal shows, not by bytes. Text that came out of files is never trusted with control
//! characters. Every hint is a command that works in the state shown.

mod cells;
mod columns;
mod fit;

use std::fmt::Write as _;

use hermes_config::unsupported;
use hermes_wire::contract::gateway_status::{Gateway, GatewayStatus, Profile, state};
use hermes_wire::contract::runtime_status::ToolServerStatus;
use hermes_wire::latest::{LastError, Problem, Severity};

pub(crate) use cells::{Look, Paint, age, bytes, clean, duration};
use cells::{cpu, plural};

/// Warnings shown in the table view before they are only counted.
const WARNINGS_SHOWN: usize = 5;

/// Everybody. Where there are fewer rows than that takes, those in trouble come first and the rest is counted, or, where all of it
/// scrolls, the last line sums up.
pub(crate) fn table(status: &GatewayStatus, look: Look) -> String {
    let mut below = String::new();
    for problem in &status.gateway.problems {
        below += &self::problem(None, problem);
    }
    below += &problems(&status.profiles);
    let all = Parts {
        header: header(&status.gateway, Paint(look.color)),
        below,
        hints: hints(status).iter().map(|hint| format!("hint: {hint}\n")).collect(),
    };
    let whole = all.around(&columns::table(&status.profiles, look));
    match look.rows {
        Some(rows) if fit::rows_of(&whole, look.width) > rows => {
            if look.scrolls {
                return format!("{whole}\n{}\n", fit::summary(&status.profiles));
            }
            fit::table(&status.profiles, all, look, rows)
        }
        _ => whole,
    }
}

/// What stands around the table.
struct Parts {
    header: String,
    below: String,
    hints: String,
}

impl Parts {
    fn around(&self, table: &str) -> String {
        let parts = [self.header.as_str(), table, &self.below, &self.hints];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// One profile.
pub(crate) fn detail(status: &GatewayStatus, look: Look) -> String {
    let paint = Paint(look.color);
    let mut text = String::new();
    for (n, profile) in status.profiles.iter().enumerate() {
        text += if n == 0 { "" } else { "\n" };
        text += &one(profile, &status.gateway, paint);
    }
    let hints = hints(status);
    if !hints.is_empty() {
        text.push('\n');
        for hint in hints {
            let _ = writeln!(text, "hint: {hint}");
        }
    }
    text
}

/// What `hermes gateway run` says once it is up.
pub(crate) fn banner(status: &GatewayStatus) -> String {
    let gateway = &status.gateway;
    let mut text = format!(
        "⚕ Hermes Gateway {} (PID {})\n",
        gateway.version.as_deref().unwrap_or_default(),
        gateway.pid.unwrap_or_default()
    );
    for listener in &gateway.listeners {
        let _ = writeln!(text, "  http://{}  {}", listener.address, listener.platforms.join(", "));
    }
    if let Some(admin) = &gateway.admin {
        let _ = writeln!(text, "  http://{admin}  metrics");
    }
    let _ = writeln!(
        text,
        "  {}{}",
        gateway.readiness("profile"),
        if gateway.profiles_ready < gateway.profiles_desired { "; `hermes status` says why" } else { "" }
    );
    let bad: Vec<Profile> = status
        .profiles
        .iter()
        .filter(|p| p.desired == "running" && (is_impaired(p) || (!p.ready && p.state != state::STARTING)))
        .cloned()
        .collect();
    text += &problems(&bad);
    text += "  Press Ctrl+C to stop\n";
    text
}

/// Whether it serves, but not with everything that its files ask for.
fn is_impaired(profile: &Profile) -> bool {
    profile.ready && profile.problems.iter().any(|problem| problem.severity == Severity::Platform)
}

/// One problem: what, where, what to do.
pub(crate) fn problem(profile: Option<&str>, problem: &Problem) -> String {
    let mark = if problem.severity == Severity::Warning { "⚠" } else { "✗" };
    let who = profile.map(|name| format!("{name}: ")).unwrap_or_default();
    let mut text = format!("{mark} {who}{}\n", clean(&problem.message));
    if !problem.file.is_empty() {
        let mut place = clean(&problem.file);
        for number in [problem.line, problem.column].into_iter().map_while(|n| n) {
            let _ = write!(place, ":{number}");
        }
        if let Some(key) = &problem.key {
            let _ = write!(place, " ({})", clean(key));
        }
        let _ = writeln!(text, "    at {place}");
    }
    if let Some(fix) = &problem.fix {
        let _ = writeln!(text, "    fix: {}", clean(fix));
    }
    text
}

/// What is configured and not supported yet, in one line; nothing where there is none.
pub(crate) fn unsupported(profile: Option<&str>, problems: &[Problem]) -> String {
    let all: Vec<&Problem> = problems.iter().filter(|problem| problem.code == unsupported::CODE).collect();
    let mut names: Vec<String> = Vec::new();
    for problem in &all {
        let name = clean(problem.message.strip_prefix(unsupported::PREFIX).unwrap_or(&problem.message));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let mark = if all.iter().any(|problem| problem.severity != Severity::Warning) { "✗" } else { "⚠" };
    let who = profile.map(|name| format!("{name}: ")).unwrap_or_default();
    format!("{mark} {who}{}{}\n", unsupported::PREFIX, names.join(", "))
}

/// The problems that have lines of their own.
pub(crate) fn others(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    problems.iter().filter(|problem| problem.code != unsupported::CODE)
}

fn header(gateway: &Gateway, paint: Paint) -> String {
    let mut text = format!("Gateway {}", paint.state(&gateway.state, &gateway.state));
    let mut parts = Vec::new();
    parts.extend(gateway.pid.map(|pid| format!("PID {pid}")));
    parts.extend(gateway.uptime_secs.map(|s| format!("up {}", duration(s))));
    parts.extend(gateway.version.as_ref().map(|v| format!("version {}", clean(v))));
    parts.extend(gateway.mode.as_deref().map(clean));
    if !gateway.stale {
        parts.push(gateway.readiness(""));
    }
    for part in &parts {
        let _ = write!(text, " · {part}");
    }
    if gateway.stale && gateway.state != "stopped" {
        text += " · does not answer";
    }
    text.push('\n');
    let _ = writeln!(text, "  home       {}", clean(&gateway.home));
    for (n, listener) in gateway.listeners.iter().enumerate() {
        let label = if n == 0 { "listening" } else { "" };
        let _ =
            writeln!(text, "  {label:<9}  http://{} ({})", listener.address, listener.platforms.join(", "));
    }
    if let Some(admin) = &gateway.admin {
        let _ = writeln!(text, "  metrics    http://{admin}");
    }
    if let Some(awake) = gateway.keep_awake.as_ref().filter(|awake| awake.held) {
        let _ = writeln!(text, "  awake      kept by {}", clean(&awake.by));
    }
    if let Some(rss) = gateway.rss_bytes {
        let _ = write!(text, "  usage      {}", bytes(rss));
        if let Some(ms) = gateway.cpu_ms {
            let _ = write!(text, ", {} of CPU time", cpu(ms));
        }
        text.push('\n');
    }
    if gateway.stale && gateway.state == "stopped" {
        text += &paint.dim("  nobody answers: what follows is what the files say");
        text.push('\n');
    }
    text
}

/// Problems of all profiles, worst first within each; warnings beyond a few are only counted.
fn problems(profiles: &[Profile]) -> String {
    let mut text = String::new();
    let warnings: usize = profiles
        .iter()
        .map(|p| others(&p.problems).filter(|p| p.severity == Severity::Warning).count())
        .sum();
    for profile in profiles {
        text += &reason(profile);
        text += &approvals(profile);
        text += &inbox(profile);
        text += &gone_chats(profile);
        for p in others(&profile.problems).filter(|p| p.severity != Severity::Warning) {
            text += &problem(Some(&profile.name), p);
        }
        text += &last_error(profile);
        text += &unsupported(Some(&profile.name), &profile.problems);
        for (name, platform) in &profile.platforms {
            let said = |message: &String| profile.problems.iter().any(|problem| problem.message == *message);
            if let (Some(_), Some(message)) =
                (profile.pid, platform.error_message.as_ref().filter(|m| !said(m)))
            {
                let mark = if platform.state == "fatal" { "✗" } else { "⚠" };
                let _ =
                    writeln!(text, "{mark} {}: {name} {}: {}", profile.name, platform.state, clean(message));
            }
        }
        text += &tool_servers(profile);
        for (provider, line) in key_pools(profile) {
            let _ = writeln!(text, "⚠ {}: keys of {provider}: {line}", profile.name);
        }
        let count = others(&profile.problems).filter(|p| p.severity == Severity::Warning).count();
        if warnings <= WARNINGS_SHOWN {
            for p in others(&profile.problems).filter(|p| p.severity == Severity::Warning) {
                text += &problem(Some(&profile.name), p);
            }
        } else if count > 0 {
            let n = plural(count, "warning");
            let _ =
                writeln!(text, "⚠ {name}: {n}; `hermes status -p {name}` lists them", name = profile.name);
        }
    }
    text
}

/// Tool servers that are not there.
fn tool_servers(profile: &Profile) -> String {
    let mut text = String::new();
    let is_gone = |server: &ToolServerStatus| {
        matches!(server.state.as_str(), "parked" | "retrying" | "unusable") && profile.pid.is_some()
    };
    for (name, server) in profile.tool_servers.iter().filter(|(_, server)| is_gone(server)) {
        let _ = writeln!(text, "⚠ {}: tool server {}", profile.name, tool_server(name, server));
    }
    text
}

/// Providers some of whose keys are left alone, and which.
fn key_pools(profile: &Profile) -> impl Iterator<Item = (String, String)> {
    let running = profile.key_pools.iter().filter(|_| profile.pid.is_some());
    running.filter_map(|(provider, pool)| Some((clean(provider), clean(&pool.line()?))))
}

/// `time connected (2 tools)`, `github parked: why`
fn tool_server(name: &str, server: &ToolServerStatus) -> String {
    let tools = plural(usize::try_from(server.tools).unwrap_or(usize::MAX), "tool");
    let tools = if server.tools > 0 { format!(" ({tools})") } else { String::new() };
    let reason = server.reason.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
    format!("{} {}{tools}{reason}", clean(name), clean(&server.state))
}

/// Turns that have asked whether they may do something.
fn approvals(profile: &Profile) -> String {
    let Some(approvals) = &profile.approvals else { return String::new() };
    let n = usize::try_from(approvals.waiting).unwrap_or(usize::MAX);
    let (turns, verb) = (plural(n, "turn"), if n == 1 { "waits" } else { "wait" });
    let ago = profile.approvals_secs.map(|secs| format!(", for {}", duration(secs))).unwrap_or_default();
    format!("⚠ {}: {turns} {verb} for somebody's approval{ago}\n", profile.name)
}

/// What to do about chats that are gone.
pub(crate) const BACK: &str = "they are sent nothing unasked; let the bot in again and write to it there, or send elsewhere (home channel, `deliver`)";

/// Chats that are gone.
fn gone_chats(profile: &Profile) -> String {
    let Some(gone) = &profile.gone_chats else { return String::new() };
    format!("⚠ {}: {}; {BACK}\n", profile.name, clean(&gone.line()))
}

/// Messages that wait for their provider, and those that were given up.
fn inbox(profile: &Profile) -> String {
    let mut text = String::new();
    if profile.inbox_postponed > 0 {
        let n = usize::try_from(profile.inbox_postponed).unwrap_or(usize::MAX);
        let (messages, verb) = (plural(n, "message"), if n == 1 { "waits" } else { "wait" });
        let reason = profile.inbox_reason.as_deref().map(clean).unwrap_or_default();
        let _ = writeln!(
            text,
            "⚠ {}: {messages} {verb} for the provider, tried again until it answers: {reason}",
            profile.name
        );
    }
    if profile.inbox_failed > 0 {
        let n = usize::try_from(profile.inbox_failed).unwrap_or(usize::MAX);
        let _ = writeln!(
            text,
            "⚠ {}: {} could not be answered; the log says why, and sending again runs it again",
            profile.name,
            plural(n, "message")
        );
    }
    if profile.undelivered > 0 {
        let n = usize::try_from(profile.undelivered).unwrap_or(usize::MAX);
        let _ = writeln!(
            text,
            "⚠ {}: {} could not be delivered; the log says why",
            profile.name,
            plural(n, "answer")
        );
    }
    text
}

/// What its provider said last, while it gives no answer.
fn last_error(profile: &Profile) -> String {
    let Some(error) = &profile.last_error else { return String::new() };
    let code = error.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let ago = profile.last_error_secs.map(|secs| format!(", {} ago", duration(secs))).unwrap_or_default();
    let times = if error.count == 1 { String::new() } else { format!(", {} times in a row", error.count) };
    format!(
        "✗ {}: provider {} {}{code}{ago}{times}: {}\n",
        profile.name,
        clean(&error.provider),
        clean(&error.class),
        clean(&error.message)
    )
}

/// Why a profile is as it is, unless one of its problems says the same.
fn reason(profile: &Profile) -> String {
    let Some(reason) = profile.reason.as_deref().map(clean).filter(|r| !r.is_empty()) else {
        return String::new();
    };
    // What it is not able to do has lines of its own.
    let of_provider = |error: &LastError| reason.contains(&clean(&error.message));
    let said = profile
        .problems
        .iter()
        .any(|p| p.severity != Severity::Warning && reason.contains(&clean(&p.message)))
        || profile.state == state::DEGRADED
            && (profile.last_error.as_ref().is_some_and(of_provider)
                || reason.starts_with("not connected: "));
    if let Some((read, refused)) = profile.config_at.as_ref().zip(profile.refused_at.as_ref()) {
        let mut text = format!(
            "✗ {}: config of {} in force; the newer one was refused",
            profile.name,
            cells::moment(read, refused)
        );
        if !said {
            let _ = write!(text, ": {reason}");
            if let Some(file) = &profile.file {
                let _ = write!(text, "\n    at {}", clean(file));
            }
        }
        return text + "\n";
    }
    if said {
        return String::new();
    }
    let mark = if state::is_at_rest(&profile.state) { "·" } else { "✗" };
    let mut text = format!("{mark} {}: {reason}\n", profile.name);
    if let Some(file) = &profile.file {
        let _ = writeln!(text, "    at {}", clean(file));
    }
    if let Some(ms) = profile.next_attempt_ms {
        let _ = writeln!(text, "    next attempt in {}", age(ms));
    }
    text
}

fn one(profile: &Profile, gateway: &Gateway, paint: Paint) -> String {
    let mut text = format!("Profile {}\n", paint.bold(&profile.name));
    let mut row = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<12} {value}");
    };
    let mut now = paint.state(&profile.state, &profile.state);
    if let Some(secs) = profile.since_secs {
        let _ = write!(now, " for {}", duration(secs));
    }
    if profile.stale {
        now += if profile.pid.is_some() { " (no sign of life lately)" } else { " (from files)" };
    }
    row("state", now);
    if gateway.state != "stopped" {
        let wanted = if profile.desired == "running" { "yes" } else { "no" };
        row("wanted", wanted.to_owned());
    }
    if let Some(pid) = profile.pid {
        row("PID", format!("{pid}, process {} since the gateway started", profile.generation));
    }
    if !profile.stale || profile.pid.is_some() {
        row("restarts", profile.restarts.to_string());
    }
    if let Some(last) = &profile.last_exit {
        row("last exit", clean(last));
    }
    if let Some(ms) = profile.next_attempt_ms {
        row("next attempt", format!("in {}", age(ms)));
    }
    row("home", clean(&profile.home));
    for (n, (name, platform)) in profile.platforms.iter().enumerate() {
        let mut value = format!("{name} {}", paint.platform(&platform.state));
        if profile.pid.is_none() {
            value = format!("{name} (was {})", clean(&platform.state));
        } else if let Some(mode) = &platform.mode {
            let _ = write!(value, " ({})", clean(mode));
        }
        if let Some(message) = &platform.error_message {
            let _ = write!(value, ": {}", clean(message));
        }
        row(if n == 0 { "platforms" } else { "" }, value);
    }
    if let Some(takeover) = &profile.takeover {
        let names: Vec<String> = takeover.platforms.iter().map(|name| clean(name)).collect();
        let (names, pause) = (names.join(", "), takeover.pause_ms);
        row(
            "taken over",
            format!("{names} from process {}, without a connection for {pause} ms", takeover.from_generation),
        );
    }
    let servers = profile.tool_servers.iter().filter(|_| profile.pid.is_some());
    for (n, (name, server)) in servers.enumerate() {
        row(if n == 0 { "tools from" } else { "" }, tool_server(name, server));
    }
    for (provider, line) in key_pools(profile) {
        row("keys", format!("{provider}: {line}"));
    }
    if profile.pid.is_some() {
        row("turns", format!("{} in progress, {} waiting", profile.active_agents, profile.inbox_waiting));
        let lately = profile.requests_per_sec.map(|n| format!(", {n:.1} a second")).unwrap_or_default();
        let p99 = profile.latency_p99_ms.map(|ms| format!(", p99 {ms:.0} ms")).unwrap_or_default();
        row("requests", format!("{}, {} in flight{lately}{p99}", profile.requests, profile.requests_active));
        if let Some(rss) = profile.rss_bytes {
            row("memory", bytes(rss));
        }
        if let Some(ms) = profile.cpu_ms {
            row("CPU time", cpu(ms));
        }
        if let Some(ms) = profile.heartbeat_age_ms {
            row("heartbeat", format!("{} ago", age(ms)));
        }
    }
    if let Some(fence) = profile.fence.as_ref().filter(|_| profile.pid.is_some()) {
        row("fence", clean(&fence.line()));
    }
    if let Some(updated) = &profile.updated_at {
        row("status file", format!("written {}", clean(updated)));
    }
    if let Some(socket) = &profile.data_socket {
        row("data socket", clean(socket));
    }
    row("log", format!("{}/logs/gateway.log", clean(&profile.home)));
    let mut below = reason(profile) + &last_error(profile) + &approvals(profile) + &inbox(profile);
    below += &gone_chats(profile);
    below += &unsupported(None, &profile.problems);
    let mut sorted: Vec<&Problem> = others(&profile.problems).collect();
    sorted.sort_by_key(|p| std::cmp::Reverse(p.severity));
    for p in sorted {
        below += &problem(None, p);
    }
    if !below.is_empty() {
        text.push('\n');
        text += &below;
    }
    text
}

/// The next step for each kind of trouble, once.
pub(crate) fn hints(status: &GatewayStatus) -> Vec<String> {
    let gateway = &status.gateway;
    // The words of the Python program, for whoever looks for them.
    let parked = status.profiles.iter().filter(|p| p.state == state::PARKED);
    let mut hints: Vec<String> =
        parked.map(|p| format!("Profile '{0}': parked (hermes -p {0} gateway start)", p.name)).collect();
    if gateway.state == "stopped" {
        if !status.profiles.iter().any(|p| p.pid.is_some()) {
            hints.push("start it with `hermes gateway run`".to_owned());
        }
        return hints;
    }
    if gateway.stale {
        return hints;
    }
    let first = |wanted: &str| status.profiles.iter().find(|p| p.state == wanted && !p.stale);
    if let Some(p) = first(state::FAILED) {
        hints.push(mending(p));
    }
    if let Some(p) = first(state::CRASH_LOOP) {
        let (name, home) = (&p.name, clean(&p.home));
        hints.push(format!(
            "{name}: see {home}/logs/gateway.log; `hermes gateway restart -p {name}` tries again at once"
        ));
    }
    if let Some(p) = first(state::STOPPED).filter(|p| p.desired == "stopped") {
        hints.push(format!("`hermes gateway start -p {0}` starts {0} again", p.name));
    }
    if let Some(p) = first(state::STANDALONE).filter(|p| p.pid.is_none()) {
        hints.push(format!(
            "`hermes gateway run -p {0}` runs the gateway of its own that {0} asks for",
            p.name
        ));
    }
    for wanted in [state::DETACHED, state::CONFLICT] {
        if let Some(p) = first(wanted) {
            hints.push(format!("{0}: stop its own gateway, then `hermes gateway start -p {0}`", p.name));
        }
    }
    hints
}

/// What to do about a profile that failed. Only a change of what the gateway watches is seen by itself.
pub(crate) fn mending(profile: &Profile) -> String {
    let (name, home) = (&profile.name, clean(&profile.home));
    let is_at = |place: &str, path: &str| {
        place.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let watched = ["config.yaml", ".env", "gateway.json", "state.db"].map(|file| format!("{home}/{file}"));
    let file = profile.file.as_deref().map(clean);
    let named = file.as_ref().filter(|file| watched.iter().any(|path| is_at(file, path)));
    let told = |path: &&String| {
        profile.reason.as_deref().is_some_and(|reason| reason.contains(&format!("`{path}`")))
    };
    if let Some(path) = named.or_else(|| watched.iter().find(told)) {
        return format!("{name}: fix {path}; the change is seen by itself");
    }
    let what = match file {
        Some(file) => format!("fix {file}"),
        None => format!("see {home}/logs/gateway.log"),
    };
    format!("{name}: {what}; then `hermes gateway restart -p {name}`")
}

#[cfg(test)]
#[path = "render/tests.rs"]
pub(crate) mod tests;
