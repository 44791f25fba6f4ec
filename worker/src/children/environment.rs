//! What a program that the profile starts finds in its environment: an allow-list, and what is put there by name.
//!
//! Nothing else of this process's environment and nothing of `.env` is in it: a variable that nobody thought of is not there.
//! `HOME` is the profile's own `home/` where that exists ([`HomeMode`]), so that what programs keep of one profile does not mix with the
//! user's, or with another's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{HomeMode, ProfileConfig, Secret};
use hermes_wire::{ProfileHome, env};

/// Variables of this process that every program gets.
const PASSED: [&str; 11] = [
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
];
/// And those that begin so.
const PASSED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];
/// Those that lead back to the user's home from another one.
const OF_HOME: [&str; 4] = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
/// The user's home, for a program whose `HOME` is the profile's.
const REAL_HOME: &str = "HERMES_REAL_HOME";

/// The environment of one program: all of it. `Debug` prints names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(BTreeMap<String, Secret>);

impl Variables {
    /// One more, or another value of one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), Secret::new(value));
    }

    /// A variable's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    /// All, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What environments of one profile's programs are made of. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    profile: String,
    home: ProfileHome,
    mode: HomeMode,
    user: Option<Utf8PathBuf>,
    passed: Variables,
    /// `terminal.env_passthrough`, looked up.
    given: Variables,
}

impl Surroundings {
    /// Of a profile; `inherited` is what its worker was started with.
    pub(crate) fn new(config: &ProfileConfig, home: &ProfileHome, inherited: &[(String, String)]) -> Self {
        let theirs =
            |name: &str| inherited.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
        let (mut passed, mut given) = (Variables::default(), Variables::default());
        for (name, value) in inherited.iter().filter(|(name, _)| is_passed(name)) {
            passed.set(name, value);
        }
        for name in &config.tools.env_passthrough {
            if let Some(value) = config.env.get(name).or_else(|| theirs(name)) {
                given.set(name, value);
            }
        }
        Self(Arc::new(Parts {
            profile: config.name.to_string(),
            home: home.clone(),
            mode: config.tools.home_mode,
            user: theirs("HOME").map(Utf8PathBuf::from),
            passed,
            given,
        }))
    }

    /// The least that a program needs. Looks at the disk.
    pub(crate) fn plain(&self) -> Variables {
        let mut all = self.0.passed.clone();
        let own = self.own_home();
        if let Some(home) = own.as_deref().or(self.0.user.as_deref()) {
            all.set("HOME", home.as_str());
        }
        if own.is_some() {
            for name in OF_HOME {
                all.0.remove(name);
            }
            if let Some(user) = &self.0.user {
                all.set(REAL_HOME, user.as_str());
            }
        }
        all
    }

    /// The same, with what the profile is and what `terminal.env_passthrough` names: for commands. Looks at the disk.
    pub(crate) fn of_commands(&self) -> Variables {
        let mut all = self.plain();
        all.set(env::HERMES_HOME, self.0.home.path().as_str());
        all.set(env::HERMES_PROFILE, &self.0.profile);
        for (name, value) in self.0.given.iter() {
            all.set(name, value);
        }
        all
    }

    /// The profile's own `HOME`, if its programs have one.
    fn own_home(&self) -> Option<Utf8PathBuf> {
        let own = self.0.home.path().join("home");
        let is_own = match self.0.mode {
            HomeMode::Real => false,
            HomeMode::Profile => true,
            // What cannot be looked at is not missing.
            HomeMode::Auto => !is_missing(&own),
        };
        is_own.then_some(own)
    }
}

fn is_passed(name: &str) -> bool {
    PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_missing(path: &Utf8Path) -> bool {
    matches!(fs_err::metadata(path), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(config: &ProfileConfig, home: &Utf8Path) -> Surroundings {
        let inherited = [
            ("HOME", "/home/u"),
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("XDG_CONFIG_HOME", "/home/u/.config"),
            ("HTTPS_PROXY", "http://me:pw@proxy"),
            ("RUST_LOG", "debug"),
            ("HERMES_MANAGED_DIR", "/etc/hermes"),
        ];
        let inherited = inherited.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Surroundings::new(config, &ProfileHome::new(home), &inherited)
    }

    fn names(all: &Variables) -> Vec<&str> {
        all.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_program_gets_the_allow_list_and_what_is_named_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        config.env = config.env.with("OPENAI_API_KEY", "sk-1").with("GH_TOKEN", "ghp").with("LC_SECRET", "s");
        assert_eq!(names(&of(&config, home).plain()), ["HOME", "LC_ALL", "PATH", "XDG_CONFIG_HOME"]);
        config.tools.env_passthrough = ["GH_TOKEN", "HTTPS_PROXY", "NOBODY"].map(str::to_owned).to_vec();
        let all = of(&config, home).of_commands();
        let expected = [
            "GH_TOKEN",
            "HERMES_HOME",
            "HERMES_PROFILE",
            "HOME",
            "HTTPS_PROXY",
            "LC_ALL",
            "PATH",
            "XDG_CONFIG_HOME",
        ];
        assert_eq!(names(&all), expected);
        assert_eq!(all.get("GH_TOKEN"), Some("ghp"));
        assert_eq!(format!("{all:?}").matches("ghp").count(), 0);
    }

    #[test]
    fn home_is_the_profiles_own_where_it_has_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        let found = |config: &ProfileConfig| {
            let all = of(config, home).plain();
            (all.get("HOME").unwrap().to_owned(), all.get(REAL_HOME).map(str::to_owned))
        };
        assert_eq!(found(&config), ("/home/u".to_owned(), None));
        fs_err::create_dir(home.join("home")).unwrap();
        let own = (home.join("home").to_string(), Some("/home/u".to_owned()));
        assert_eq!(found(&config), own);
        assert!(!names(&of(&config, home).plain()).contains(&"XDG_CONFIG_HOME"));
        config.tools.home_mode = HomeMode::Real;
        assert_eq!(found(&config), ("/home/u".to_owned(), None));
        fs_err::remove_dir(home.join("home")).unwrap();
        config.tools.home_mode = HomeMode::Profile;
        assert_eq!(found(&config), own);
    }
}
