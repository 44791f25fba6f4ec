//! Webhook routes that stand in the default profile's file but belong to another profile.
//!
//! The default profile's file may hold the default profile's secrets, so the worker of another profile must not keep it in
//! memory. It looks into a buffer that is overwritten at once, and only when the bytes can concern it at all does it start a
//! child of the same executable, with an empty environment, that parses the file and prints nothing but those routes.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use hermes_config::judge::problem;
use hermes_config::of_section;
use hermes_wire::absence::{OrAbsent as _, is_absence};
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileHome, ProfileName, env, exit};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::{Hindrance, read_bounded};
use crate::children::{self, Owned};
use crate::platform::REGISTRY;
use crate::platform::webhook::{self, Route};
use crate::process::Environment;

/// Largest answer of the child, in bytes.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;
/// Time the child has.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the child prints.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    routes: Vec<(String, Route)>,
    problems: Vec<Problem>,
}

/// Why the child gave no answer.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("the helper process cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the helper process did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("the helper process gave no usable answer")]
    Answer,
}

/// Routes in the default profile's file that carry `profile: <name>`.
pub(super) async fn of_root(
    name: &ProfileName,
    home: &ProfileHome,
    environment: &Environment,
    problems: &mut Vec<Problem>,
    hindrance: &Hindrance,
) -> Vec<(String, Route)> {
    let Some(root) = root_of(home) else { return Vec::new() };
    let file = ProfileHome::new(root).config();
    match read_bounded(&file) {
        Ok(bytes) if !may_concern(&bytes, name) => return Vec::new(),
        Ok(_) => {}
        Err(e) if is_absence(&e) => return Vec::new(),
        Err(e) => {
            hindrance.note("read", &file, &e);
            let message = format!(
                "whether this file has routes with `profile: {name}` is not known: it cannot be read: {e}"
            );
            let fix = "make the file readable, then restart the profile";
            problems.push(problem(Severity::Platform, "routes_unreadable", &file, message, fix));
            return Vec::new();
        }
    }
    match ask(name, root, environment).await {
        Ok(answer) => {
            problems.extend(answer.problems);
            answer.routes
        }
        Err(e) => {
            if let ChildError::Start(error) = &e {
                hindrance.note("read the routes in", &file, error);
            }
            let message = format!("routes with `profile: {name}` in this file are not served: {e}");
            problems.push(problem(
                Severity::Platform,
                "routes_unreadable",
                &file,
                message,
                "restart the profile",
            ));
            Vec::new()
        }
    }
}

/// The warning about a route that both files define.
pub(super) fn shadowed(name: &ProfileName, home: &ProfileHome, route: &str) -> Problem {
    let file = root_of(home).map_or_else(|| home.config(), |root| ProfileHome::new(root).config());
    let message = format!(
        "route `{route}` with `profile: {name}` is ignored: profile `{name}` defines a route of that name itself"
    );
    let mut problem =
        problem(Severity::Warning, "route_shadowed", &file, message, "rename or remove one of the two");
    problem.key = Some(format!("platforms.webhook.extra.routes.{route}"));
    problem
}

/// `<root>` of `<root>/profiles/<name>`.
fn root_of(home: &ProfileHome) -> Option<&Utf8Path> {
    let profiles = home.path().parent()?;
    (profiles.file_name() == Some("profiles")).then(|| profiles.parent()).flatten()
}

/// Whether the file can hold a route of `name`: cheap, and never wrong with "no", escapes aside that no one writes by hand.
fn may_concern(bytes: &[u8], name: &ProfileName) -> bool {
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    contains(b"profile") && contains(b"routes") && contains(name.as_str().as_bytes())
}

async fn ask(name: &ProfileName, root: &Utf8Path, environment: &Environment) -> Result<Answer, ChildError> {
    let child = spawn(name, root, environment).map_err(ChildError::Start)?;
    let own = children::own(Some(child.id()));
    let mut child = Reaped(child, own);
    let stdout = child.0.stdout.take().ok_or(ChildError::Answer)?;
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout.into()).map_err(ChildError::Start)?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(4096));
    match tokio::time::timeout(PATIENCE, pipe.take(MAX_ANSWER).read_to_end(&mut bytes)).await {
        Err(_) => Err(ChildError::Timeout),
        Ok(Err(_)) => Err(ChildError::Answer),
        Ok(Ok(_)) => serde_json::from_slice(&bytes).map_err(|_| ChildError::Answer),
    }
}

/// Never outlives its owner, never stays a zombie.
struct Reaped(Child, #[expect(dead_code, reason = "lives as long as the child")] Owned);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It has answered, or is late: in both cases there is nothing left to wait for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the one child of this module, with an environment of its own")]
fn spawn(name: &ProfileName, root: &Utf8Path, environment: &Environment) -> std::io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    Command::new(own_executable()?)
        .arg0("hermes-gateway")
        .args(["worker", "--routes-for", name.as_str(), "--profile", hermes_wire::profile::DEFAULT])
        .env_clear()
        .envs(environment.base.iter().map(|(k, v)| (k, v)))
        .env(env::HERMES_HOME, root)
        .env(env::HERMES_PROFILE, hermes_wire::profile::DEFAULT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}

/// The running image, even where the file on disk was replaced meanwhile.
fn own_executable() -> std::io::Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// The child's side: prints the routes of `home`'s file that belong to `name`.
pub(crate) fn print(name: &ProfileName, home: &ProfileHome) -> u8 {
    use std::io::Write as _;
    let (config, env) = (home.config(), home.env_file());
    let (Ok(yaml), Ok(env_bytes)) = (read_bounded(&config), read_bounded(&env).or_absent()) else {
        return exit::CONFIG;
    };
    let env_bytes = env_bytes.unwrap_or_default();
    let files = ((config.as_path(), yaml.as_slice()), (env.as_path(), env_bytes.as_slice()));
    let (routes, problems) =
        of_section(&REGISTRY, webhook::NAME, name, files.0, files.1, webhook::settings::given);
    let routes = routes.unwrap_or_default();
    let Ok(text) = serde_json::to_vec(&Answer { routes, problems }) else { return exit::FAILURE };
    let mut out = std::io::stdout().lock();
    if out.write_all(&text).and_then(|()| out.flush()).is_ok() { exit::OK } else { exit::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_names_the_profile_is_worth_a_child() {
        let coder: ProfileName = "coder".parse().unwrap();
        assert!(may_concern(b"platforms:\n webhook:\n  extra:\n   routes:\n    x: {profile: coder}", &coder));
        assert!(!may_concern(b"platforms:\n webhook:\n  extra:\n   routes:\n    x: {profile: ops}", &coder));
        assert!(!may_concern(b"", &coder));
    }

    #[test]
    fn the_root_of_a_named_profile_is_two_up() {
        assert_eq!(root_of(&ProfileHome::new("/h/profiles/coder")), Some(Utf8Path::new("/h")));
        assert_eq!(root_of(&ProfileHome::new("/h/.hermes")), None);
    }
}
