//! What the service of a gateway is made from, whatever its manager: this program, the user it runs as, where his tools are.
//!
//! Found out once, before anything is written. It is not made from the shell that called, but for directories of its PATH, which no
//! comparison looks at.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::program;

use super::{Manager, Owner, ServiceError};
use crate::home::Surroundings;

/// What a stop may take beyond the time that turns have: the gateway's own escalation, and then some.
const BEYOND_DRAIN: Duration = Duration::from_secs(30);
/// Directories of every PATH, as managers would have them.
const STANDARD: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Directories that are emptied.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/private/tmp", "/private/var/tmp"];

/// Who the service runs as, where it is the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) home: Utf8PathBuf,
    pub(crate) is_root: bool,
}

/// What a service is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) owner: Owner,
    pub(crate) manager: Manager,
    /// The file that is started.
    pub(crate) program: Utf8PathBuf,
    /// `None`: the user's own service.
    pub(crate) account: Option<Account>,
    /// Directories in front of the standard ones.
    pub(crate) path: Vec<Utf8PathBuf>,
    pub(crate) times: Times,
    /// It starts with the user's session, or with the machine. systemd knows that by itself, launchd by the file.
    pub(crate) on_login: bool,
}

/// Times that the configuration decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// `agent.restart_drain_timeout`.
    pub(crate) drain: Duration,
    /// The manager ends a gateway that gives no sign of life for so long; `None`: it does not.
    pub(crate) watchdog: Option<Duration>,
}

impl Facts {
    /// Seconds that a stop may take.
    pub(crate) fn stop(&self) -> u64 {
        (self.times.drain + BEYOND_DRAIN).as_secs()
    }

    /// The PATH of the gateway and of what its profiles start.
    pub(crate) fn search_path(&self) -> String {
        let own = self.program.parent().into_iter().map(Utf8Path::as_str);
        let mut path: Vec<&str> = Vec::new();
        for directory in own.chain(self.path.iter().map(|d| d.as_str())).chain(STANDARD) {
            if !path.contains(&directory) {
                path.push(directory);
            }
        }
        path.join(":")
    }
}

/// All of it, as things are now; of a service that starts by itself.
pub(crate) fn gather(
    owner: Owner,
    manager: Manager,
    account: Option<Account>,
    times: Times,
    env: &Surroundings,
) -> Result<Facts, ServiceError> {
    let program =
        program::path_of(std::process::id()).map_err(|source| ServiceError::NoProgram { source })?;
    let program = Utf8PathBuf::from_path_buf(program)
        .map_err(|_| ServiceError::NoProgram { source: std::io::ErrorKind::InvalidFilename.into() })?;
    let path = directories(account.as_ref(), env);
    Ok(Facts { owner, manager, program, account, path, times, on_login: true })
}

/// Directories of the caller's PATH in which tools of his may be; for a service of the machine, those that every user has.
fn directories(account: Option<&Account>, env: &Surroundings) -> Vec<Utf8PathBuf> {
    let temporary = temporary(env);
    let home = account.map(|account| account.home.clone()).or_else(|| env.user_home.clone());
    let usual = home.into_iter().flat_map(|home| [home.join(".local/bin"), home.join(".cargo/bin")]);
    let own = env.path.iter().filter(|_| account.is_none()).cloned();
    let mut found: Vec<Utf8PathBuf> = Vec::new();
    for directory in usual.chain(own) {
        let lasts = !temporary.iter().any(|temporary| directory.starts_with(temporary));
        if lasts && directory.is_dir() && !found.contains(&directory) && !directory.as_str().contains(':') {
            found.push(directory);
        }
    }
    found
}

/// Who a service of the machine runs as: `named`, else who called `sudo`. Root has to be named.
pub(crate) fn account(named: Option<&str>) -> Result<Account, ServiceError> {
    let variable = |name: &str| std::env::var_os(name).and_then(|user| user.into_string().ok());
    let user = match named {
        Some(user) => user.to_owned(),
        None => ["SUDO_USER", "USER", "LOGNAME"]
            .into_iter()
            .filter_map(variable)
            .find(|user| !user.is_empty())
            .unwrap_or_else(|| "root".to_owned()),
    };
    let unknown = || ServiceError::UnknownUser { user: user.clone() };
    let found = nix::unistd::User::from_name(&user).ok().flatten().ok_or_else(unknown)?;
    if found.uid.is_root() && named.is_none() {
        return Err(ServiceError::AsRoot);
    }
    let group = nix::unistd::Group::from_gid(found.gid).ok().flatten();
    Ok(Account {
        home: Utf8PathBuf::from_path_buf(found.dir).map_err(|_| unknown())?,
        group: group.map_or_else(|| found.gid.to_string(), |group| group.name),
        is_root: found.uid.is_root(),
        name: user,
    })
}

/// Directories whose content does not last.
pub(crate) fn temporary(env: &Surroundings) -> Vec<Utf8PathBuf> {
    let own = env.temp_dir.canonicalize_utf8().unwrap_or_else(|_| env.temp_dir.clone());
    TEMPORARY.iter().map(Utf8PathBuf::from).chain([own]).filter(|dir| dir.as_str() != "/").collect()
}
