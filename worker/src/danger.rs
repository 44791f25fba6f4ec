//! What about a command is dangerous: the judge of commands before they run. Pure.
//!
//! ```text
//!   text ─▶ read (a parser for shells) ─▶ simple commands, each with its words ─▶ rules ─▶ findings: a danger, and where it is
//! ```
//!
//! It looks at what a shell would make of the text: at names behind `sudo`, `env`, `xargs` and the like, at what `bash -c` and `eval` are
//! given, at where redirections and `rm` lead from where the command runs. What cannot be read, or is known only when it runs (a
//! command whose name is in a variable, a recursive deletion of one), is dangerous, too.
//!
//! It is there so that somebody is asked first. It is no fence: what a program does that is not named here, a script that was written
//! before, it does not know. What keeps programs from secrets is said in `docs/isolation.md`.

mod paths;
mod read;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use camino::Utf8Path;

pub(crate) use paths::LOGINS;

/// A kind of danger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Danger {
    /// The text cannot be read as a shell would.
    Unreadable,
    /// What is run is known only when it is.
    Unknown,
    /// Deletes what is outside of the workspace, or all of it.
    Delete,
    /// Deletes the machine's or the user's whole tree.
    DeleteAll,
    /// Writes to a disk, or makes a file system.
    Device,
    /// Fills the machine with processes.
    ForkBomb,
    /// Stops the machine.
    Shutdown,
    /// Runs what was just loaded or made.
    FetchedCode,
    /// Code of another language on the command line.
    InlineCode,
    /// Another user's rights.
    Privileges,
    /// Files that everybody may write, or that run with another's rights; other owners.
    Permissions,
    /// Files of the system, of logins, of what starts by itself.
    SystemFiles,
    /// Keys and logins.
    Credentials,
    /// The gateway's own files and commands.
    Gateway,
    /// Ends processes.
    Kill,
    /// Services and jobs of the system.
    Services,
    /// Packages of the system.
    Packages,
    /// Work in git that cannot be had back.
    Git,
    /// Tables and rows.
    Database,
    /// Containers, clusters, infrastructure.
    Infrastructure,
    /// Makes something public.
    Publish,
    /// Lets somebody else in.
    RemoteShell,
    /// Changes how other programs run.
    Environment,
    /// Network rules, mounts, kernel settings.
    Machine,
}

impl Danger {
    /// All kinds.
    pub const ALL: [Self; 24] = [
        Self::Unreadable,
        Self::Unknown,
        Self::Delete,
        Self::DeleteAll,
        Self::Device,
        Self::ForkBomb,
        Self::Shutdown,
        Self::FetchedCode,
        Self::InlineCode,
        Self::Privileges,
        Self::Permissions,
        Self::SystemFiles,
        Self::Credentials,
        Self::Gateway,
        Self::Kill,
        Self::Services,
        Self::Packages,
        Self::Git,
        Self::Database,
        Self::Infrastructure,
        Self::Publish,
        Self::RemoteShell,
        Self::Environment,
        Self::Machine,
    ];

    /// Its name, for `command_allowlist`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown_command",
            Self::Delete => "delete",
            Self::DeleteAll => "delete_all",
            Self::Device => "device",
            Self::ForkBomb => "fork_bomb",
            Self::Shutdown => "shutdown",
            Self::FetchedCode => "fetched_code",
            Self::InlineCode => "inline_code",
            Self::Privileges => "privileges",
            Self::Permissions => "permissions",
            Self::SystemFiles => "system_files",
            Self::Credentials => "credentials",
            Self::Gateway => "gateway",
            Self::Kill => "kill",
            Self::Services => "services",
            Self::Packages => "packages",
            Self::Git => "git",
            Self::Database => "database",
            Self::Infrastructure => "infrastructure",
            Self::Publish => "publish",
            Self::RemoteShell => "remote_shell",
            Self::Environment => "environment",
            Self::Machine => "machine",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|danger| danger.name() == name)
    }

    /// What it is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Unreadable => "a command that cannot be read before it runs",
            Self::Unknown => "what is run is known only when it runs",
            Self::Delete => "deletes files outside of the workspace, or all of it",
            Self::DeleteAll => "deletes the whole machine or the whole home",
            Self::Device => "writes to a disk or makes a file system",
            Self::ForkBomb => "starts processes without end",
            Self::Shutdown => "stops or restarts the machine",
            Self::FetchedCode => "runs code that was just fetched or made",
            Self::InlineCode => "runs code of another language given on the command line",
            Self::Privileges => "takes another user's rights",
            Self::Permissions => "opens files to everybody, or gives them to somebody else",
            Self::SystemFiles => "changes files of the system, of logins, or what starts by itself",
            Self::Credentials => "reads keys or logins",
            Self::Gateway => "changes the gateway or its files",
            Self::Kill => "ends processes",
            Self::Services => "changes services or jobs of the system",
            Self::Packages => "changes packages of the system",
            Self::Git => "throws away work in git, or overwrites that of others",
            Self::Database => "deletes tables or rows of a database",
            Self::Infrastructure => "deletes or opens containers, clusters or infrastructure",
            Self::Publish => "makes something public",
            Self::RemoteShell => "lets somebody else onto this machine",
            Self::Environment => "changes what other programs load",
            Self::Machine => "changes the network, mounts or the kernel's settings",
        }
    }

    /// What no setting turns off and no model approves of: it ends what people have, and cannot be had back.
    pub fn is_grave(self) -> bool {
        matches!(self, Self::DeleteAll | Self::Device | Self::ForkBomb | Self::Shutdown)
    }
}

/// Something dangerous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub danger: Danger,
    /// The part of the command that it is in, its words separated by spaces; all of the text where that cannot be read.
    pub part: String,
}

/// Where a command runs. All paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The directory that it begins in.
    pub dir: &'a Utf8Path,
    /// Where the profile works.
    pub workspace: &'a Utf8Path,
    /// The user's home.
    pub user: Option<&'a Utf8Path>,
    /// The profile's home.
    pub home: &'a Utf8Path,
    /// The home of `default`, with all others in it.
    pub root: &'a Utf8Path,
}

/// Everything dangerous in a command.
pub fn judge(text: &str, setting: Setting<'_>) -> Vec<Finding> {
    rules::judge(text, setting)
}

/// The simple commands of a text, their words separated by spaces; none where it cannot be read.
pub fn parts(text: &str) -> Option<Vec<String>> {
    read::read(text).map(|script| script.commands.iter().map(words::Simple::text).collect())
}

/// Whether a pattern, with `*` for anything, fits a text as a whole. White space counts as one space.
pub fn fits(pattern: &str, text: &str) -> bool {
    let one_space = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, text) = (one_space(pattern), one_space(text));
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
