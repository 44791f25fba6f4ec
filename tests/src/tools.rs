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
        missing(&format!("`{tool}`"));
    }
    there
}

/// Says on the terminal that this test is skipped, and writes it down.
fn missing(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("skipped {test}: it needs {what}; tests/install-tools installs it\n");
    // Past the harness, which shows what a test prints only when it fails.
    let _ = std::io::stderr().write_all(line.as_bytes());
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
}

impl Clients {
    /// The program that runs scripts with these clients, if they are installed. If not, the test that asks is to return: why was said.
    /// Only where the registry could not be reached is that nobody's fault; else it is written down like any other tool that is missing.
    pub fn interpreter(self) -> Option<PathBuf> {
        let (name, program) = match self {
            Self::Python => ("python", Self::directory().join("venv/bin/python")),
            Self::Node => ("node", PathBuf::from("node")),
        };
        if Self::directory().join(format!("{name}.installed")).exists() {
            return Some(program);
        }
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        if Self::directory().join(format!("{name}.unreachable")).exists() {
            let line = format!(
                "skipped {test}: the registry of {name}'s clients could not be reached by tests/install-tools\n"
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
        } else {
            missing(&format!("the stock clients of {name}"));
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
