//! Where a word leads, as far as its text says: links are not followed, nothing is looked at.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::Setting;
use super::words::{UNKNOWN, Word};

/// Directories of the machine whose files are not the profile's business.
const SYSTEM: [&str; 15] = [
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/srv",
    "/sys", "/usr", "/var",
];
/// Where anybody keeps what does not last.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/private/tmp", "/dev/shm"];
/// Devices that nothing is written to by.
const HARMLESS: [&str; 8] = [
    "/dev/null",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/stdin",
    "/dev/tty",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
];
/// Below the user's home: what starts by itself.
const STARTED: [&str; 15] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".config/autostart",
    ".config/systemd",
    ".config/fish",
    "Library/LaunchAgents",
    ".gitconfig",
    ".config/git",
];
/// Below the user's home: keys and logins.
pub(crate) const LOGINS: [&str; 14] = [
    ".ssh",
    ".aws",
    ".gnupg",
    ".kube",
    ".docker",
    ".azure",
    ".config/gh",
    ".config/gcloud",
    ".netrc",
    ".pgpass",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".password-store",
];
/// Of a home of the gateway: secrets, and what this program alone keeps.
const SECRET: [&str; 12] = [
    ".env",
    "auth.json",
    "auth",
    ".anthropic_oauth.json",
    "webhook_subscriptions.json",
    hermes_wire::home::SLACK_TOKENS,
    "state.db",
    "config.yaml",
    "mcp-tokens",
    "pairing",
    "platforms",
    "approvals.json",
];
/// Below a home of the gateway: what the profile's model works with.
const WORKED_WITH: [&str; 6] = ["workspace", "home", "skills", "memories", "scripts", "cache"];

/// What a path is to a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the workspace, or the profile's own.
    Inside,
    /// The workspace itself, or what it is in.
    Around,
    Temporary,
    /// `/`, or the user's home: all of it.
    Everything,
    /// The gateway's secrets.
    Secret,
    /// Other files of the gateway's homes.
    Gateway,
    Logins,
    /// Starts by itself.
    Started,
    System,
    /// A device that is no disk.
    Harmless,
    Device,
    Elsewhere,
    Unknown,
}

/// The directories that a command may be in: more than one where the script goes to others.
#[derive(Debug, Clone)]
pub(super) struct Dirs(Vec<Option<Utf8PathBuf>>);

impl Dirs {
    pub(super) fn new(dir: &Utf8Path) -> Self {
        Self(vec![Some(dir.to_owned())])
    }

    /// The script goes there, in one branch or another.
    pub(super) fn go(&mut self, word: Option<&Word>, setting: Setting<'_>) {
        let new: Vec<_> = match word {
            None => vec![setting.user.map(Utf8Path::to_owned)],
            Some(word) => self.0.iter().map(|dir| absolute(word, dir.as_deref(), setting)).collect(),
        };
        for dir in new {
            if self.0.len() < 64 && !self.0.contains(&dir) {
                self.0.push(dir);
            } else if self.0.len() >= 64 {
                self.0 = vec![None];
            }
        }
    }

    /// What a word is, wherever the command is.
    pub(super) fn places(&self, word: &Word, setting: Setting<'_>) -> Vec<Place> {
        self.0.iter().map(|dir| place(word, dir.as_deref(), setting)).collect()
    }
}

/// Lexically; `None`: not known.
fn absolute(word: &Word, dir: Option<&Utf8Path>, setting: Setting<'_>) -> Option<Utf8PathBuf> {
    if !word.is_known() {
        return None;
    }
    let text = word.text.as_str();
    let path = match text.strip_prefix('~').filter(|_| word.is_tilde) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            setting.user?.join(rest.trim_start_matches('/'))
        }
        // Somebody else's.
        Some(_) => return None,
        None if text.starts_with('/') => Utf8PathBuf::from(text),
        None => dir?.join(text),
    };
    let mut clean = Utf8PathBuf::from("/");
    for part in path.components() {
        match part {
            Utf8Component::Normal(part) => clean.push(part),
            Utf8Component::ParentDir => {
                clean.pop();
            }
            Utf8Component::RootDir | Utf8Component::CurDir | Utf8Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

fn place(word: &Word, dir: Option<&Utf8Path>, setting: Setting<'_>) -> Place {
    if word.is_pattern && word.is_known() {
        // All that fits, which is at least below what stands in front of the pattern.
        let text = &word.text;
        let at = text.find(['*', '?', '[']).unwrap_or(text.len());
        let upto = text[..at].rfind('/').map_or("", |slash| &text[..=slash]);
        let front = Word { text: upto.to_owned(), is_tilde: word.is_tilde, ..Word::default() };
        let behind = &text[at..];
        // `*/x` is something below each; `*` all of it.
        let Some(front) = absolute(&front, dir, setting) else { return Place::Unknown };
        return match of(&front, setting) {
            Place::Elsewhere | Place::Inside if behind.contains("..") => Place::Unknown,
            found => found,
        };
    }
    match absolute(word, dir, setting) {
        Some(path) => of(&path, setting),
        // What is below a place that is known stays there, unless it goes up.
        None if word.starts_with("/dev/") && !word.starts_with("/dev/shm") => Place::Device,
        None => system_of_unknown(word).unwrap_or(Place::Unknown),
    }
}

fn system_of_unknown(word: &Word) -> Option<Place> {
    let known = word.text.split(UNKNOWN).next().unwrap_or_default();
    SYSTEM.iter().any(|dir| known.starts_with(&format!("{dir}/"))).then_some(Place::System)
}

fn is_in(path: &Utf8Path, base: &Utf8Path, names: &[&str]) -> bool {
    path.strip_prefix(base).is_ok_and(|below| {
        names.iter().any(|name| below.starts_with(name) || below.as_str().starts_with(&format!("{name}-")))
    })
}

fn of(path: &Utf8Path, setting: Setting<'_>) -> Place {
    let Setting { workspace, user, home, root, .. } = setting;
    let below = |base: &Utf8Path| path.starts_with(base) && path != base;
    for base in [home, root] {
        if is_in(path, base, &SECRET) {
            return Place::Secret;
        }
    }
    // Of another profile all is.
    let profiles = root.join("profiles");
    let other = path.starts_with(&profiles) && path != profiles && !path.starts_with(home);
    if other && !path.starts_with(workspace) && !home.starts_with(path) {
        return Place::Secret;
    }
    if let Some(user) = user {
        if is_in(path, user, &LOGINS) {
            return Place::Logins;
        }
        if is_in(path, user, &STARTED) {
            return Place::Started;
        }
    }
    if below(workspace)
        || WORKED_WITH.iter().any(|name| path.starts_with(home.join(name)) && path != workspace)
    {
        return Place::Inside;
    }
    if path.as_str() == "/" || user.is_some_and(|user| path == user || user.starts_with(path)) {
        return Place::Everything;
    }
    if workspace.starts_with(path) {
        return Place::Around;
    }
    if path.starts_with(root) || path.starts_with(home) {
        return Place::Gateway;
    }
    if TEMPORARY.iter().any(|dir| below(Utf8Path::new(dir))) {
        return Place::Temporary;
    }
    if HARMLESS.iter().any(|device| path == *device) || path.starts_with("/dev/fd") {
        return Place::Harmless;
    }
    if path.starts_with("/dev") {
        return Place::Device;
    }
    // The user's own home may be there: `/root`.
    let is_users = user.is_some_and(|user| path.starts_with(user));
    if !is_users && SYSTEM.iter().any(|dir| path.starts_with(dir)) {
        return Place::System;
    }
    Place::Elsewhere
}
