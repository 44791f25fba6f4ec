//! Reads this profile's files and turns them into settings, claims and problems.
//!
//! Everything is read once, at start, as values; nothing is written to the process environment. What cannot be read is a
//! problem that names the file, never a default. The default profile's file is looked at by a secondary for one question only:
//! does it hold webhook routes that belong to this profile? If it may, a short-lived child answers; see [`routes`].

mod routes;

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use hermes_protocol::config::{self, Input, MAX_FILE_LEN, Pins, ProfileConfig, RawClaim};
use hermes_protocol::latest::{Claim, Prepare, Problem, Report, Role, Severity};
use hermes_protocol::{ProfileHome, ProfileName};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) use routes::print as print_routes;

use crate::process::Environment;

/// What this profile's files say.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Settings; `None` when the profile cannot be served.
    pub(crate) config: Option<ProfileConfig>,
    /// What the supervisor is told.
    pub(crate) report: Report,
}

/// Reads everything.
pub(crate) async fn load(
    name: &ProfileName,
    home: &ProfileHome,
    prepare: &Prepare,
    environment: &Environment,
) -> Profile {
    let mut problems = Vec::new();
    let yaml = read(&home.config(), &mut problems);
    let env = read(&home.env_file(), &mut problems);
    if env.as_ref().is_ok_and(Option::is_some) {
        check_mode(&home.env_file(), &mut problems);
    }
    // What is pinned and cannot be read must not be guessed.
    let dir = &environment.managed_dir;
    let pinned = (read(&dir.join("config.yaml"), &mut problems), read(&dir.join(".env"), &mut problems));
    let files = [&yaml, &env, &pinned.0, &pinned.1];
    let unusable = files.iter().any(|file| file.is_err()) || !is_writable(home, &mut problems);
    let (yaml, env) = (yaml.unwrap_or_default(), env.unwrap_or_default());
    let pinned = (pinned.0.unwrap_or_default(), pinned.1.unwrap_or_default());
    let pins = (pinned.0.is_some() || pinned.1.is_some()).then(|| Pins {
        dir,
        yaml: pinned.0.as_ref().map(|b| b.as_slice()),
        env: pinned.1.as_ref().map(|b| b.as_slice()),
    });
    let input = Input {
        profile: name,
        role: prepare.role,
        multiplex: prepare.multiplex,
        listeners: &prepare.listeners,
        home,
        yaml: yaml.as_ref().map(|b| b.as_slice()),
        env: env.as_ref().map(|b| b.as_slice()),
    };
    let loaded = config::load_pinned(input, pins);
    problems.extend(loaded.problems);
    let mut config = if unusable { None } else { loaded.config };
    if let Some(webhook) = config.as_mut().and_then(|c| c.webhook.as_mut())
        && prepare.role == Role::Secondary
    {
        let theirs = routes::of_root(name, home, environment, &mut problems).await;
        for (route, settings) in theirs {
            if webhook.routes.iter().any(|(own, _)| *own == route) {
                problems.push(routes::shadowed(name, home, &route));
            } else {
                webhook.routes.push((route, settings));
            }
        }
    }
    problems.sort_by_key(|p| std::cmp::Reverse(p.severity));
    let report = config.as_ref().map_or_else(Report::default, |config| Report {
        claims: claims(&prepare.claim_key, &config.claims),
        platforms: config.platforms.iter().map(|p| (p.name.clone(), p.supported)).collect(),
        gateway: config.gateway.clone(),
        problems: Vec::new(),
    });
    Profile { config, report: Report { problems, ..report } }
}

/// Keyed hashes of exclusive identities: equal in two workers exactly when the identities are, useless without the key.
fn claims(key: &[u8; 32], raw: &[RawClaim]) -> Vec<Claim> {
    raw.iter()
        .map(|claim| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
            mac.update(claim.scope.as_bytes());
            mac.update(&[0]);
            mac.update(claim.identity.expose().as_bytes());
            Claim {
                platform: claim.platform.clone(),
                identity: mac.finalize().into_bytes().into(),
                source: claim.source.clone(),
            }
        })
        .collect()
}

/// A file's bytes, at most one more than [`MAX_FILE_LEN`]; `Ok(None)` when there is no such file. `Err` has left a problem.
fn read(path: &Utf8Path, problems: &mut Vec<Problem>) -> Result<Option<Zeroizing<Vec<u8>>>, ()> {
    match read_bounded(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(None),
        Err(e) => {
            let fix = match e.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for the user that runs the gateway",
                io::ErrorKind::NotFound => "remove the dangling link, or restore what it points to",
                io::ErrorKind::InvalidInput => "put a plain file there",
                _ => "make the file readable",
            };
            problems.push(problem(
                Severity::Profile,
                "unreadable",
                path,
                format!("the file cannot be read: {e}"),
                fix,
            ));
            Err(())
        }
    }
}

/// Reads without ever growing the buffer, so that no freed copy of a secret stays behind, and without waiting on a FIFO.
fn read_bounded(path: &Utf8Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path);
    let file = file.map_err(|e| io::Error::new(e.kind(), plain(&e)))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(MAX_FILE_LEN).saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; len]);
    let mut filled = 0;
    let mut file = file.into_file();
    while filled < len {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The system's words alone; the path is a field of the problem already.
fn plain(error: &io::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.kind().to_string(), ToString::to_string)
}

/// Whether the home can hold a database, logs and status. Asked up front, because a worker that finds out later has nowhere to
/// say so.
fn is_writable(home: &ProfileHome, problems: &mut Vec<Problem>) -> bool {
    let Err(error) = nix::unistd::access(home.path().as_std_path(), nix::unistd::AccessFlags::W_OK) else {
        return true;
    };
    let message = format!("the home `{}` cannot be written: {}", home.path(), error.desc());
    let fix = "Make the directory writable for this user, then run `hermes gateway restart`.";
    problems.push(problem(Severity::Profile, "home_not_writable", home.path(), message, fix));
    false
}

/// Warns about credentials that other users may read.
fn check_mode(path: &Utf8Path, problems: &mut Vec<Problem>) {
    if let Ok(metadata) = fs_err::metadata(path)
        && metadata.mode() & 0o077 != 0
    {
        let message = format!(
            "the file holds credentials and has mode {:04o}, so other users may read it",
            metadata.mode() & 0o7777
        );
        problems.push(problem(Severity::Warning, "env_permissions", path, message, "chmod 600 it"));
    }
}

fn problem(severity: Severity, code: &str, file: &Utf8Path, message: String, fix: &str) -> Problem {
    Problem {
        severity,
        code: code.to_owned(),
        platform: None,
        file: file.to_string(),
        line: None,
        column: None,
        key: None,
        message,
        fix: Some(fix.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hermes_protocol::config::Secret;

    use super::*;

    fn claim(scope: &str, identity: &str) -> RawClaim {
        RawClaim {
            platform: "p".into(),
            scope: scope.into(),
            identity: Secret::new(identity),
            source: "s".into(),
        }
    }

    #[test]
    fn a_home_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let mut problems = Vec::new();
        assert!(is_writable(&home, &mut problems) && problems.is_empty());
        let gone = ProfileHome::new(home.path().join("gone"));
        assert!(!is_writable(&gone, &mut problems));
        assert_eq!(problems[0].severity, Severity::Profile);
        assert!(problems[0].message.contains(gone.path().as_str()), "{}", problems[0].message);
    }

    #[test]
    fn claims_are_equal_exactly_for_equal_identities_under_one_key() {
        let of =
            |key: u8, scope: &str, identity: &str| claims(&[key; 32], &[claim(scope, identity)])[0].identity;
        assert_eq!(of(1, "a", "token"), of(1, "a", "token"));
        assert_ne!(of(1, "a", "token"), of(2, "a", "token"));
        assert_ne!(of(1, "a", "token"), of(1, "b", "token"));
        assert_ne!(of(1, "a", "b\0c"), of(1, "a\0b", "c2"));
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_and_what_is_not_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let mut problems = Vec::new();
        assert_eq!(read(&dir.join("none"), &mut problems), Ok(None));
        assert!(problems.is_empty());
        fs_err::create_dir(dir.join("config.yaml")).unwrap();
        assert!(read(&dir.join("config.yaml"), &mut problems).is_err());
        fs_err::os::unix::fs::symlink("/nowhere/at/all", dir.join(".env")).unwrap();
        assert!(read(&dir.join(".env"), &mut problems).is_err());
        assert_eq!(problems.len(), 2);
        assert!(
            problems.iter().all(|p| p.severity == Severity::Profile && p.code == "unreadable"),
            "{problems:?}"
        );
    }

    #[test]
    fn wide_modes_are_warned_about_by_name() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join(".env");
        fs_err::write(&path, "A=b").unwrap();
        for (mode, warnings) in [(0o600, 0), (0o644, 1)] {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut problems = Vec::new();
            check_mode(&path, &mut problems);
            assert_eq!(problems.len(), warnings);
        }
    }
}
