//! Programs that a test drives: from the distribution, and stock clients from their registries. `tests/install-tools` installs them; a
//! test installs nothing by itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::gateway::build_directory;

/// Where a skipped test leaves its name: one line each, beside the programs under test. Whoever wants none skipped (`.ci/run`)
/// removes the file first and looks afterwards.
const SKIPPED: &str = "skipped-tests";

/// Whether `tool` (`zsh`, `fish`, `strace`, `bash-completion`) is there. If not, the test that asks is to return: what it needs was
/// said on the terminal and written down.
#[must_use = "the test returns where this is false"]
pub fn have(tool: &str) -> bool {
    let there = is_there(tool);
    if !there {
        skip(&format!("it needs `{tool}`; tests/install-tools installs it"));
    }
    there
}

/// What a test needs that only some machines allow, and nothing that is installed would change; where there is none, the test that
/// asks is to return, and why was said.
#[must_use = "the test returns where there is none"]
pub fn permitted<T>(what: &str, result: std::io::Result<T>) -> Option<T> {
    result.inspect_err(|error| drop(say(&format!("it needs {what}: {error}")))).ok()
}

/// Whether this process may become other users and give files away.
#[must_use = "the test returns where this is false"]
pub fn may_be_others() -> bool {
    let may = nix::unistd::geteuid().is_root();
    if !may {
        skip("it needs to be run by root, to start programs as other users");
    }
    may
}

/// Where the service manager of this user is reached. Most machines that run tests have none, so its absence is said and no fault.
#[must_use = "the test returns where there is none"]
#[expect(clippy::disallowed_methods, reason = "asks the service manager of this user")]
pub fn user_manager() -> Option<String> {
    let directory = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    let asked =
        std::process::Command::new("systemctl").args(["--user", "show", "--property=Version"]).output();
    let there = !directory.is_empty() && asked.is_ok_and(|output| output.status.success());
    if !there {
        say("it needs a service manager of this user (systemd --user)");
    }
    there.then_some(directory)
}

/// Says that the test that runs is skipped, where its machine does not allow it.
pub fn say(why: &str) -> String {
    let thread = std::thread::current();
    let line = format!("skipped {}: {why}\n", thread.name().unwrap_or("a test"));
    // Past the harness, which shows what a test prints only when it fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
    line
}

/// Says that the test that runs is skipped, and notes it.
pub fn skip(why: &str) {
    let line = say(why);
    let record = build_directory().join(SKIPPED);
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(record).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Stock clients of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// `target/clients/venv`.
    Python,
    /// `target/clients/node_modules`.
    Node,
    /// `target/clients/predecessor`: the Python program 0.19.0, for its session store.
    Predecessor,
}

impl Clients {
    /// The program that runs scripts with these clients, if they are installed. If not, the test that asks is to return: why was said.
    /// Only where the registry could not be reached is that nobody's fault; else it is written down like any other tool that is missing.
    pub fn interpreter(self) -> Option<PathBuf> {
        let (name, program) = match self {
            Self::Python => ("python", Self::directory().join("venv/bin/python")),
            Self::Node => ("node", PathBuf::from("node")),
            Self::Predecessor => ("predecessor", Self::directory().join("predecessor/bin/python")),
        };
        if Self::directory().join(format!("{name}.installed")).exists() {
            return Some(program);
        }
        if Self::directory().join(format!("{name}.unreachable")).exists() {
            say(&format!("the registry of {name}'s clients could not be reached by tests/install-tools"));
        } else {
            skip(&format!("it needs the stock clients of {name}; tests/install-tools installs it"));
        }
        None
    }

    /// Where they are installed.
    pub fn directory() -> PathBuf {
        build_directory().parent().expect("programs are built into a directory of `target`").join("clients")
    }
}

fn is_there(tool: &str) -> bool {
    if tool == "bash-completion" {
        return Path::new("/usr/share/bash-completion/bash_completion").exists();
    }
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists())
}
