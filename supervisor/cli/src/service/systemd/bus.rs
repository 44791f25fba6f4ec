//! Why a service manager cannot be reached, what helps, and whether the user's services outlive his session.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::child;
use hermes_wire::absence::OrAbsent as _;

use super::super::{Scope, ServiceError};

/// Where the machine's manager is known by.
const BOOTED: &str = "/run/systemd/system";
/// Time that `loginctl` has to answer.
const ASKED: Duration = Duration::from_secs(5);

/// Whether `systemctl` was not answered, by what it said.
pub(super) fn is_silence(said: &str) -> bool {
    [
        "Failed to connect to",
        "not been booted with systemd",
        "No medium found",
        "Failed to get D-Bus connection",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// The user's runtime directory, where this process was started without the variable that names it.
pub(super) fn usual_directory() -> Option<Utf8PathBuf> {
    if std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let usual = Utf8PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid()));
    usual.is_dir().then_some(usual)
}

/// What decides which fix is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    /// `systemctl` is there.
    installed: bool,
    /// The machine was started by systemd.
    booted: bool,
    /// The user has a runtime directory.
    has_directory: bool,
    lingers: Option<bool>,
}

/// The manager does not answer, and said `why`.
pub(super) fn unreachable(scope: Scope, why: &str) -> ServiceError {
    let booted = Utf8Path::new(BOOTED).is_dir();
    let usual = Utf8PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid()));
    let facts = Facts {
        installed: !why.contains("No such file or directory (os error 2)"),
        booted,
        has_directory: usual.is_dir(),
        lingers: lingers(),
    };
    let (title, uid) =
        (if scope == Scope::User { "User" } else { "System" }, nix::unistd::geteuid().as_raw());
    let why = if facts.installed { why } else { "there is no `systemctl` on this machine" };
    ServiceError::Unreachable { scope: title, why: why.to_owned(), fix: fix(scope, facts, &user(), uid) }
}

/// The command that helps, and what works without.
fn fix(scope: Scope, facts: Facts, user: &str, uid: u32) -> String {
    let otherwise = "`hermes gateway run` runs the gateway without a service manager";
    if !facts.installed || !facts.booted {
        return format!("this machine was not started by systemd; {otherwise}");
    }
    if scope == Scope::System {
        return format!("`systemctl is-system-running` says how the machine's manager is; {otherwise}");
    }
    let first = match (facts.lingers, facts.has_directory) {
        (Some(true), false) => {
            format!("`sudo systemctl start user@{uid}.service` starts your service manager")
        }
        (_, false) => format!(
            "`sudo loginctl enable-linger {user}` starts your service manager now and with the machine, and keeps it when you log out"
        ),
        (_, true) => format!(
            "`export XDG_RUNTIME_DIR=/run/user/{uid}` lets this shell reach it; where that is set, log out and in again"
        ),
    };
    format!("{first}; {otherwise}")
}

/// The name of this user.
pub(crate) fn user() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Lets this user's services start with the machine, and go on when he logs out.
pub(crate) fn enable_linger() -> Result<(), ServiceError> {
    let user = user();
    let mut command = child::command("loginctl");
    command.args(["enable-linger", &user]);
    let why = match child::run(command, ASKED) {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ServiceError::NoLinger { user, why })
}

/// Whether this user's services go on when he logs out; `None` where that cannot be told.
pub(crate) fn lingers() -> Option<bool> {
    lingers_in(Utf8Path::new("/var/lib/systemd/linger"), &user())
}

fn lingers_in(directory: &Utf8Path, user: &str) -> Option<bool> {
    if fs_err::symlink_metadata(directory.join(user)).or_absent().ok()?.is_some() {
        return Some(true);
    }
    let mut command = child::command("loginctl");
    command.args(["show-user", user, "--property=Linger", "--value"]);
    let asked = child::run(command, ASKED);
    match asked {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).trim() == "yes")
        }
        // Whoever is not logged in and does not linger is nobody to the manager of sessions; the directory has said so.
        _ => Some(false).filter(|_| directory.parent().is_some_and(Utf8Path::is_dir)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N5.3: the exact command, for each of the ways in which a manager is out of reach.
    #[test]
    fn n5_3_the_fix_fits_what_is_wrong() {
        let facts = |lingers, has_directory| Facts { installed: true, booted: true, has_directory, lingers };
        let user = |facts| fix(Scope::User, facts, "ada", 1000);
        assert!(user(facts(Some(false), false)).starts_with("`sudo loginctl enable-linger ada`"));
        assert!(user(facts(None, false)).starts_with("`sudo loginctl enable-linger ada`"));
        assert!(user(facts(Some(true), false)).starts_with("`sudo systemctl start user@1000.service`"));
        assert!(user(facts(Some(true), true)).starts_with("`export XDG_RUNTIME_DIR=/run/user/1000`"));
        for facts in
            [Facts { installed: false, ..facts(None, true) }, Facts { booted: false, ..facts(None, true) }]
        {
            assert!(user(facts).starts_with("this machine was not started by systemd"), "{facts:?}");
        }
        assert!(fix(Scope::System, facts(None, true), "root", 0).contains("is-system-running"));
        assert!(is_silence("Failed to connect to bus: No such file or directory"));
        assert!(!is_silence("Failed to start hermes-gateway.service: Unit not found."));
    }

    #[test]
    fn who_lingers_has_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::write(path.join("ada"), "").unwrap();
        assert_eq!(lingers_in(path, "ada"), Some(true));
        assert_ne!(lingers_in(path, "nobody-of-that-name"), Some(true));
    }
}
