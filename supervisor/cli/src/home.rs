//! Which home and which profile a command is about.
//!
//! Precedence: `-p NAME` → `HERMES_HOME` that is itself a profile's home → `active_profile` in the root home → the root home.
//! The process environment is read here, once ([`Surroundings`]); everything behind it gets values.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{Env, Secret};
use hermes_gateway::rendezvous::Places;
use hermes_gateway::runtime::SocketPlaces;
use hermes_gateway::supervise::env::multiplex_override;
use hermes_host::disk;
use hermes_wire::absence::{self, OrAbsent as _};
use hermes_wire::home::IDENTITY_FILES;
use hermes_wire::profile::NameError;
use hermes_wire::{ProfileHome, ProfileName, RootHome, env, exit};

use crate::color::Color;

/// What a command takes from its environment.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// `HERMES_HOME`, unless blank.
    pub hermes_home: Option<Utf8PathBuf>,
    /// The user's home directory.
    pub user_home: Option<Utf8PathBuf>,
    /// What decides where gateways have their sockets.
    pub sockets: SocketPlaces,
    /// Where programs of newer Python releases find the gateway that this process may be.
    pub rendezvous: Places,
    /// `TMPDIR`, else `/tmp`.
    pub temp_dir: Utf8PathBuf,
    /// The working directory, for relative paths.
    pub current_dir: Utf8PathBuf,
    /// Directories of the PATH that are absolute.
    pub path: Vec<Utf8PathBuf>,
    /// `~/.hermes` of the user who called `sudo`, for root.
    pub sudo_root: Option<Utf8PathBuf>,
    /// `HERMES_S6_SUPERVISED_CHILD` or `HERMES_GATEWAY_DETACHED`: the root home's own place in a container, or a gateway in the
    /// background, which follows no sticky profile.
    pub supervised_slot: bool,
    /// `HERMES_GATEWAY_DETACHED`: this process is a gateway in the background.
    pub detached: bool,
    /// When output is coloured; a `--color` of the command line is in here too.
    pub color: Color,
    /// `HERMES_MANAGED`, unless it says no: a package manager owns the configuration.
    pub managed: Option<String>,
    /// Where an administrator's files are: `HERMES_MANAGED_DIR`, else `/etc/hermes`.
    pub managed_dir: Utf8PathBuf,
    /// `EDITOR`, else `VISUAL`: a command line.
    pub editor: Option<String>,
    /// `GATEWAY_MULTIPLEX_PROFILES`, where it says something: overrides the configuration.
    pub multiplex: Option<bool>,
    /// The variables that pass into a worker ([`env::is_allowed`]): a profile's `.env` may refer to them.
    pub passed: Env,
}

impl Surroundings {
    /// Reads the process environment.
    pub fn from_process() -> Result<Self, SelectionError> {
        let passed = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| env::is_allowed(name))
            .map(|(name, value)| (name, Secret::new(value)))
            .collect();
        Ok(Self { passed, ..Self::read(|name| std::env::var_os(name))? })
    }

    fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, SelectionError> {
        let path = |name: &'static str| -> Result<Option<Utf8PathBuf>, SelectionError> {
            let Some(value) = get(name) else { return Ok(None) };
            let text = value.into_string().map_err(|_| SelectionError::NotUtf8 { what: name })?;
            let text = text.trim();
            Ok((!text.is_empty()).then(|| Utf8PathBuf::from(text)))
        };
        let current_dir = std::env::current_dir()
            .ok()
            .and_then(|dir| Utf8PathBuf::from_path_buf(dir).ok())
            .unwrap_or_else(|| "/".into());
        Ok(Self {
            hermes_home: path("HERMES_HOME")?,
            user_home: path("HOME")?,
            sockets: SocketPlaces {
                xdg_runtime_dir: path("XDG_RUNTIME_DIR")?,
                uid: nix::unistd::geteuid().as_raw(),
            },
            rendezvous: Places::read(&get, std::process::id(), Some(std::os::unix::process::parent_id())),
            temp_dir: path("TMPDIR")?.unwrap_or_else(|| "/tmp".into()),
            current_dir,
            path: search_path(get("PATH")),
            sudo_root: sudo_root(nix::unistd::geteuid().is_root(), get("SUDO_USER")),
            supervised_slot: ["HERMES_S6_SUPERVISED_CHILD", env::DETACHED]
                .into_iter()
                .any(|name| get(name).is_some_and(|value| !value.is_empty())),
            detached: get(env::DETACHED).is_some_and(|value| !value.is_empty()),
            color: Color::from_environment(&get),
            managed: managed(get("HERMES_MANAGED")),
            managed_dir: path(env::MANAGED_DIR)?.unwrap_or_else(|| env::DEFAULT_MANAGED_DIR.into()),
            editor: ["EDITOR", "VISUAL"].into_iter().find_map(|name| words(get(name))),
            multiplex: multiplex_override(get(env::MULTIPLEX).as_deref()).unwrap_or_default(),
            passed: Env::default(),
        })
    }

    /// Whether standard output wants colours.
    pub fn colors(&self) -> bool {
        self.color.on(std::io::stdout().is_terminal())
    }

    /// What a process without any environment has.
    #[cfg(test)]
    pub(crate) fn bare() -> Self {
        Self {
            hermes_home: None,
            user_home: None,
            sockets: SocketPlaces { xdg_runtime_dir: None, uid: 1 },
            rendezvous: Places { temp_dir: "/tmp".into(), host: None, supervisor: "manual" },
            temp_dir: "/tmp".into(),
            current_dir: "/".into(),
            path: Vec::new(),
            sudo_root: None,
            supervised_slot: false,
            detached: false,
            color: Color::Never,
            managed: None,
            managed_dir: "/nowhere".into(),
            editor: None,
            multiplex: None,
            passed: Env::default(),
        }
    }
}

/// The directories in which a shell looks for commands; what is not UTF-8 or not absolute is left out.
fn search_path(value: Option<OsString>) -> Vec<Utf8PathBuf> {
    let dirs = value.map(|value| std::env::split_paths(&value).collect::<Vec<_>>()).unwrap_or_default();
    dirs.into_iter()
        .filter_map(|dir| Utf8PathBuf::from_path_buf(dir).ok())
        .filter(|dir| dir.is_absolute())
        .collect()
}

/// A variable that holds words.
fn words(value: Option<OsString>) -> Option<String> {
    let text = value?.into_string().ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Who manages this installation, where somebody does.
fn managed(value: Option<OsString>) -> Option<String> {
    words(value).filter(|word| !["0", "false", "no", "off"].contains(&word.to_ascii_lowercase().as_str()))
}

/// Where the user who called `sudo` has his profiles.
fn sudo_root(is_root: bool, user: Option<OsString>) -> Option<Utf8PathBuf> {
    let user =
        user.filter(|_| is_root)?.into_string().ok().filter(|user| !user.is_empty() && user != "root")?;
    let home = nix::unistd::User::from_name(&user).ok()??.dir;
    Some(Utf8PathBuf::from_path_buf(home).ok()?.join(".hermes"))
}

/// Who chose the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// `-p` on the command line.
    Flag,
    /// `HERMES_HOME` is the profile's home.
    Home,
    /// The file `active_profile`.
    Sticky,
    /// Nobody: it is `default`.
    Nobody,
}

/// What a command is about.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The root home, absolute and resolved where it exists.
    pub root: RootHome,
    /// The profile.
    pub profile: ProfileName,
    /// Who chose it.
    pub chosen: Chosen,
    /// `active_profile` names a profile that does not exist; it was ignored.
    pub dangling: Option<Dangling>,
}

/// A sticky profile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dangling {
    /// What the file says.
    pub name: String,
    /// The file.
    pub file: Utf8PathBuf,
    /// The file could not be read, for this reason, so nobody knows what it says.
    pub why: Option<String>,
}

impl Dangling {
    /// What is wrong, in the middle of a sentence.
    pub fn message(&self) -> String {
        match &self.why {
            None => format!("the sticky profile '{}' does not exist", self.name),
            Some(why) => format!("which profile is selected cannot be read: {why}"),
        }
    }
}

impl Selection {
    /// The profile's home.
    pub fn home(&self) -> ProfileHome {
        self.root.profile(&self.profile)
    }

    /// Whether somebody named a profile, so that the command is about that one alone.
    pub fn is_named(&self) -> bool {
        self.chosen != Chosen::Nobody
    }

    /// For the supervisor, which belongs to the root home: what `active_profile` says about later commands is nothing to it, so
    /// that a service does not move into another profile at its next start.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        self.dangling = None;
        if self.chosen == Chosen::Sticky {
            self.profile = ProfileName::default_profile();
            self.chosen = Chosen::Nobody;
        }
        self
    }

    /// This selection, unless it rests on a sticky profile that is gone: commands that change something must not silently turn
    /// to another profile.
    pub fn strict(self) -> Result<Self, SelectionError> {
        match &self.dangling {
            Some(dangling) => Err(SelectionError::Dangling(dangling.clone())),
            None => Ok(self),
        }
    }
}

/// Why no profile could be selected. Texts are those existing scripts know.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// Two `-p` with different values.
    #[error("two different profiles are selected: '{0}' and '{1}'")]
    Twice(String, String),
    /// Not a profile name.
    #[error(transparent)]
    Name(NameError),
    /// No such profile.
    #[error("Profile '{name}' does not exist. Create it with: hermes profile create {name}")]
    Missing {
        /// The name.
        name: ProfileName,
        /// Where its home would be.
        home: Utf8PathBuf,
        /// The profiles there are.
        known: Vec<ProfileName>,
    },
    /// The sticky profile does not exist.
    #[error("{}", dangling_text(.0))]
    Dangling(Dangling),
    /// Whether it exists cannot be told.
    #[error("cannot look at `{path}`: {why}")]
    Unseen {
        /// The directory.
        path: Utf8PathBuf,
        /// Why not.
        why: String,
    },
    /// Neither `HERMES_HOME` nor `HOME`.
    #[error("neither HERMES_HOME nor HOME is set, so there is no home to work in")]
    NoHome,
    /// `HERMES_HOME` is a place among the profiles where nothing is and where no profile can be.
    #[error("`{home}` does not exist, and '{name}' can be no profile's name")]
    NoProfileHome {
        /// What `HERMES_HOME` says.
        home: Utf8PathBuf,
        /// Its last part.
        name: String,
    },
    /// The root home is something else.
    #[error("`{0}` is not a directory")]
    NotADirectory(Utf8PathBuf),
    /// A variable that is not text.
    #[error("the variable {what} is not UTF-8")]
    NotUtf8 {
        /// Its name.
        what: &'static str,
    },
}

impl SelectionError {
    /// 2 for a wrong command line, else 1, as existing scripts expect.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Twice(..) | Self::Name(_) => exit::USAGE,
            Self::Missing { .. }
            | Self::Dangling(_)
            | Self::Unseen { .. }
            | Self::NoHome
            | Self::NoProfileHome { .. }
            | Self::NotADirectory(_)
            | Self::NotUtf8 { .. } => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { known, home, .. } => {
                let names: Vec<_> = known.iter().map(ProfileName::as_str).collect();
                let names = names.join(", ");
                Some(format!("profiles here: {names}; `hermes profile create` makes another one at `{home}`"))
            }
            Self::Dangling(Dangling { why: Some(_), file, .. }) => {
                Some(format!("make `{file}` readable, or remove it; `-p NAME` selects a profile without it"))
            }
            Self::Unseen { .. } => {
                Some("check owner and mode, and whether its file system answers".to_owned())
            }
            Self::Dangling(d) => Some(format!(
                "`{}` selects it; `hermes profile use default` forgets it, and `-p NAME` selects another one",
                d.file
            )),
            Self::NoHome => Some("set HERMES_HOME to the directory that holds your profiles".to_owned()),
            Self::NoProfileHome { .. } => Some(
                "HERMES_HOME names it; point it at a profile that exists, or unset it and use -p NAME"
                    .to_owned(),
            ),
            Self::Twice(..) => Some("give -p once".to_owned()),
            Self::Name(_) | Self::NotADirectory(_) | Self::NotUtf8 { .. } => None,
        }
    }
}

fn dangling_text(dangling: &Dangling) -> String {
    match (&dangling.why, &dangling.name) {
        (Some(why), _) => format!("which profile is selected cannot be read from `{}`: {why}", dangling.file),
        (None, name) => {
            format!("Profile '{name}' does not exist. Create it with: hermes profile create {name}")
        }
    }
}

/// Takes `-p NAME`, `-pNAME`, `-p=NAME`, `--profile NAME` and `--profile=NAME` out of a command line, wherever they stand
/// before `--`. `is_value` is shown every other word in turn and says whether that one is the value of an argument, whatever
/// it looks like. A flag without its value is left for the parser to complain about.
pub fn take_profile_flag(
    args: Vec<OsString>,
    mut is_value: impl FnMut(&OsStr) -> bool,
) -> Result<(Vec<OsString>, Option<String>), SelectionError> {
    let mut rest = Vec::with_capacity(args.len());
    let mut found: Option<String> = None;
    let mut args = args.into_iter();
    rest.extend(args.next());
    while let Some(arg) = args.next() {
        if is_value(&arg) {
            rest.push(arg);
            continue;
        }
        // What follows `mcp add … --args` is another program's.
        let before = |word: &str| rest.iter().any(|known| known == word);
        if arg == "--" || arg == "--args" && before("mcp") && before("add") {
            rest.push(arg);
            rest.extend(args);
            break;
        }
        let value: OsString = if arg == "-p" || arg == "--profile" {
            match args.next() {
                Some(value) if !value.as_encoded_bytes().starts_with(b"-") => value,
                other => {
                    rest.push(arg);
                    rest.extend(other);
                    continue;
                }
            }
        } else if let Some(value) = attached(&arg) {
            value.to_owned()
        } else {
            rest.push(arg);
            continue;
        };
        let value = value.into_string().map_err(|_| SelectionError::NotUtf8 { what: "-p" })?;
        found = Some(one_of(found, value)?);
    }
    Ok((rest, found))
}

/// Two flags that mean the same are one.
pub(crate) fn one_of(first: Option<String>, second: String) -> Result<String, SelectionError> {
    match first {
        Some(first) if !first.trim().eq_ignore_ascii_case(second.trim()) => {
            Err(SelectionError::Twice(first, second))
        }
        _ => Ok(second),
    }
}

fn attached(arg: &OsStr) -> Option<&OsStr> {
    let text = arg.to_str()?;
    let value = text.strip_prefix("--profile=").or_else(|| {
        let value = text.strip_prefix("-p")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })?;
    Some(OsStr::new(value))
}

/// Selects the home and the profile. `flag` is the value of `-p`.
pub fn select(flag: Option<&str>, env: &Surroundings) -> Result<Selection, SelectionError> {
    let (root, from_home) = root_of(env)?;
    if found(root.path())?.is_some_and(|found| !found.is_dir()) {
        return Err(SelectionError::NotADirectory(root.path().to_owned()));
    }
    if let Some(text) = flag {
        let profile = ProfileName::from_user_input(text).map_err(SelectionError::Name)?;
        let root = match &env.sudo_root {
            // `sudo hermes -p NAME`: the profile is the caller's.
            Some(theirs)
                if must_exist(&root, &profile).is_err()
                    && theirs.join("profiles").join(profile.as_str()).is_dir() =>
            {
                RootHome::new(resolve(theirs, env))
            }
            _ => root,
        };
        must_exist(&root, &profile)?;
        return Ok(Selection { root, profile, chosen: Chosen::Flag, dangling: None });
    }
    if let Some(profile) = from_home {
        must_exist(&root, &profile)?;
        return Ok(Selection { root, profile, chosen: Chosen::Home, dangling: None });
    }
    let nobody = |root, dangling| Selection {
        root,
        profile: ProfileName::default_profile(),
        chosen: Chosen::Nobody,
        dangling,
    };
    let read = if env.supervised_slot { Ok(None) } else { sticky(&root) };
    let dangling = |name: String, why: Option<String>| Dangling { name, file: root.active_profile(), why };
    let text = match read {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(nobody(root, None)),
        // Which one it names is not known; that is not "none".
        Err(error) => {
            let dangling = dangling("?".to_owned(), Some(absence::words(&error)));
            return Ok(nobody(root, Some(dangling)));
        }
    };
    match ProfileName::from_user_input(&text) {
        Ok(profile) if profile.is_default() => Ok(nobody(root, None)),
        Ok(profile) if found(root.profile(&profile).path())?.is_some_and(|found| found.is_dir()) => {
            Ok(Selection { root, profile, chosen: Chosen::Sticky, dangling: None })
        }
        _ => {
            let dangling = dangling(text, None);
            Ok(nobody(root, Some(dangling)))
        }
    }
}

/// What is at `path`. A directory that cannot be looked at is not one that does not exist.
fn found(path: &Utf8Path) -> Result<Option<std::fs::Metadata>, SelectionError> {
    let found = fs_err::metadata(path).or_absent();
    found.map_err(|error| SelectionError::Unseen { path: path.to_owned(), why: absence::words(&error) })
}

fn must_exist(root: &RootHome, profile: &ProfileName) -> Result<(), SelectionError> {
    let home = root.profile(profile);
    if profile.is_default() || found(home.path())?.is_some_and(|found| found.is_dir()) {
        return Ok(());
    }
    let known = hermes_gateway::watch::scan(root).names().cloned().collect();
    Err(SelectionError::Missing { name: profile.clone(), home: home.path().to_owned(), known })
}

/// `~/.hermes`.
pub(crate) fn usual(env: &Surroundings) -> Option<Utf8PathBuf> {
    env.user_home.as_ref().map(|home| resolve(&home.join(".hermes"), env))
}

/// Whose gateway a command line that somebody wrote down is about, by the `HERMES_HOME` and the `-p` in it. A profile need not
/// exist; what is sticky is nothing to a service.
pub(crate) fn meant(
    hermes_home: Option<Utf8PathBuf>,
    flag: Option<&str>,
    env: &Surroundings,
) -> Option<(RootHome, ProfileName)> {
    let below = hermes_home.as_deref().and_then(as_profile_home);
    let (root, of_home) = root_of(&Surroundings { hermes_home, ..env.clone() }).ok()?;
    let named = flag.map(ProfileName::from_user_input).transpose().ok()?;
    // A home that is gone, or was renamed, is not looked like a profile's any more; the command line says that it was.
    let (root, of_home) = match (&of_home, below, &named) {
        (None, Some((above, name)), Some(flag)) if name == *flag => {
            (RootHome::new(resolve(&above, env)), Some(name))
        }
        _ => (root, of_home),
    };
    Some((root, named.or(of_home).unwrap_or_else(ProfileName::default_profile)))
}

/// The root home.
pub(crate) fn root(env: &Surroundings) -> Result<RootHome, SelectionError> {
    Ok(root_of(env)?.0)
}

/// The sticky profile, where the file names one.
pub(crate) fn sticky_profile(root: &RootHome) -> Option<ProfileName> {
    ProfileName::from_user_input(&sticky(root).ok()??).ok()
}

/// The sticky profile; a file that holds no text is ignored.
fn sticky(root: &RootHome) -> std::io::Result<Option<String>> {
    let bytes = disk::read_bounded(&root.active_profile(), 4096).or_absent()?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    // Some editors put a mark first, which is no white space.
    let text = text.trim_start_matches('\u{feff}').trim();
    let names = !text.is_empty() && !text.eq_ignore_ascii_case(hermes_wire::profile::DEFAULT);
    Ok(names.then(|| text.to_owned()))
}

/// The root home, and the profile where `HERMES_HOME` is the home of a named one.
pub(crate) fn root_of(env: &Surroundings) -> Result<(RootHome, Option<ProfileName>), SelectionError> {
    let usual = usual(env);
    let Some(given) = &env.hermes_home else {
        return usual.map(|u| (RootHome::new(u), None)).ok_or(SelectionError::NoHome);
    };
    let given = resolve(given, env);
    if let Some((root, name)) = as_profile_home(&given)
        && (Some(&root) == usual.as_ref() || looks_like_root(&root))
    {
        return Ok((RootHome::new(root), Some(name)));
    }
    // A root home of that name would be made among the profiles, and nobody would find it there.
    if let Some((root, name)) = among_profiles(&given)
        && (Some(root) == usual.as_deref() || looks_like_root(root))
        && found(&given)?.is_none()
    {
        return Err(SelectionError::NoProfileHome { home: given.clone(), name: name.to_owned() });
    }
    Ok((RootHome::new(given), None))
}

/// `<root>/profiles/<name>` taken apart.
fn as_profile_home(home: &Utf8Path) -> Option<(Utf8PathBuf, ProfileName)> {
    let (root, name) = among_profiles(home)?;
    let name: ProfileName = name.parse().ok()?;
    (!name.is_default()).then(|| (root.to_owned(), name))
}

/// The same, whatever the name is.
fn among_profiles(home: &Utf8Path) -> Option<(&Utf8Path, &str)> {
    let profiles = home.parent().filter(|p| p.file_name() == Some("profiles"))?;
    Some((profiles.parent()?, home.file_name()?))
}

/// A directory called `profiles` alone proves nothing (`/srv/profiles/x`).
fn looks_like_root(root: &Utf8Path) -> bool {
    root.join("config.yaml").exists()
        || root.join(".env").exists()
        || root.join("active_profile").exists()
        || root.join("profiles").read_dir_utf8().is_ok_and(|entries| {
            entries
                .filter_map(Result::ok)
                .any(|e| IDENTITY_FILES.iter().take(3).any(|file| e.path().join(file).exists()))
        })
}

/// Absolute; symbolic links resolved as far as the path exists, so that two spellings of one home meet.
fn resolve(path: &Utf8Path, env: &Surroundings) -> Utf8PathBuf {
    let path = match (path.as_str().strip_prefix('~'), &env.user_home) {
        (Some(""), Some(home)) => home.clone(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => path.to_owned(),
    };
    let path = if path.is_absolute() { path } else { env.current_dir.join(path) };
    if let Ok(real) = path.canonicalize_utf8() {
        return real;
    }
    match (path.parent().map(Utf8Path::canonicalize_utf8), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    }
}

#[cfg(test)]
#[path = "home/tests.rs"]
mod tests;
