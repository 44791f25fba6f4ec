//! The program that answers for a profile: where it is, and what is wrong when it is not there. The one search, for whoever starts it
//! and whoever only checks.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;
use hermes_wire::latest::{Problem, Severity};

use super::found::Look;
use super::problem::problem;
use super::secret::Env;
use super::types::{EngineKind, ProfileConfig};

/// Why there is no such program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A name that no directory of `PATH` has.
    #[error("there is no program `{name}` in PATH ({path})")]
    Unknown {
        /// The name.
        name: String,
        /// The directories, as they are set.
        path: String,
    },
    /// A path, or a name that was found, of something that cannot be started.
    #[error("`{path}` cannot be started: {why}")]
    Unusable {
        /// The file.
        path: Utf8PathBuf,
        /// The system's words.
        why: String,
    },
}

/// Finds a program: a name in `path`, the directories of the variable `PATH`; with a slash in it relative to `home`.
pub fn find(name: &str, home: &Utf8Path, path: &str, look: Look) -> Result<Utf8PathBuf, ProgramError> {
    if name.contains('/') {
        let file = home.join(name);
        return match look(&file) {
            Ok(()) => Ok(file),
            Err(why) => Err(ProgramError::Unusable { path: file, why }),
        };
    }
    // An empty item means the directory one happens to be in; nobody means that here.
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    let mut places = dirs.map(|dir| Utf8Path::new(dir).join(name));
    places.find(|place| look(place).is_ok()).ok_or_else(|| ProgramError::Unknown {
        name: name.to_owned(),
        path: if path.is_empty() { "which is not set".to_owned() } else { path.to_owned() },
    })
}

/// The problem of a profile whose agent is a program that is not there.
pub(super) fn missing(
    config: &ProfileConfig,
    home: &ProfileHome,
    surroundings: &Env,
    look: Look,
) -> Option<Problem> {
    let name = config.agent.acp.command.first().filter(|_| config.agent.engine == EngineKind::Acp)?;
    let path = surroundings.get("PATH").unwrap_or_default();
    let error = find(name, home.path(), path, look).err()?;
    let message = format!("`agent.acp.command`: {error}: its agent cannot answer");
    let fix = match error {
        ProgramError::Unknown { .. } => {
            "Install it where the gateway's PATH finds it, or write its whole path into `agent.acp.command`."
        }
        ProgramError::Unusable { .. } => {
            "Correct the path in `agent.acp.command`, or make the file executable."
        }
    };
    let problem = problem(Severity::Platform, "no_agent", &home.config(), message, fix);
    Some(Problem { key: Some("agent.acp.command".to_owned()), ..problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &Utf8Path) -> Result<(), String> {
        match path.as_str() {
            "/usr/bin/agent" | "/h/bin/agent" => Ok(()),
            _ => Err("No such file or directory".to_owned()),
        }
    }

    #[test]
    fn a_name_is_looked_for_in_path_and_a_path_is_one() {
        let of = |name, path| find(name, Utf8Path::new("/h"), path, look);
        assert_eq!(of("agent", "/bin:.::/usr/bin").unwrap(), "/usr/bin/agent");
        assert_eq!(of("bin/agent", "/usr/bin").unwrap(), "/h/bin/agent");
        assert_eq!(of("/usr/bin/agent", "").unwrap(), "/usr/bin/agent");
        let error = of("agent", "/bin").unwrap_err().to_string();
        assert_eq!(error, "there is no program `agent` in PATH (/bin)");
        let error = of("./agent", "/usr/bin").unwrap_err().to_string();
        assert!(error.starts_with("`/h/./agent` cannot be started: No such"), "{error}");
        assert!(of("agent", "").unwrap_err().to_string().contains("not set"));
    }
}
