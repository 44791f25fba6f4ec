//! Programs that a test drives: from the distribution, and stock clients from their registries. `tests/install-tools` installs them; a
//! test installs nothing by itself.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// A program that `tests/install-tools` builds below `target/tools`. If it is not there, the test that asks is to return: it was said.
#[must_use = "the test returns where there is none"]
pub fn built(tool: &str) -> Option<PathBuf> {
    let target =
        build_directory().parent().expect("programs are built into a directory of `target`").to_owned();
    let path = target.join("tools/bin").join(tool);
    if !path.is_file() {
        skip(&format!("it needs `{tool}`; tests/install-tools installs it"));
    }
    path.is_file().then_some(path)
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

/// Whether this process sees the environment and the memory of gateways and workers, which are closed to every other user than root.
#[must_use = "the test returns where this is false"]
pub fn may_look_into_others() -> bool {
    let may = nix::unistd::geteuid().is_root();
    if !may {
        skip("it needs to be run by root, to look into processes that are closed to others");
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

/// The release before this one, which `tests/previous-release` names and `tests/install-tools` builds. If there is none, the test that asks
/// is to return: why was said. Only where the repository's history does not have it is that nobody's fault.
#[must_use = "the test returns where there is none"]
pub fn previous_release() -> Option<PathBuf> {
    let at =
        build_directory().parent().expect("programs are built into a directory of `target`").join("previous");
    let program = at.join("debug/hermes");
    if at.join("commit").exists() && program.exists() {
        return Some(program);
    }
    if at.join("absent").exists() {
        say("the release before is not in the history of this clone");
    } else {
        skip("it needs the release before; tests/install-tools builds it");
    }
    None
}

/// Stock clients of a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// `target/clients/venv`.
    Python,
    /// `target/clients/discord`: `discord.py`.
    Discord,
    /// `target/clients/chats`: `mattermostdriver` and `hass-client`.
    Chats,
    /// `target/clients/node_modules`.
    Node,
    /// `target/clients/slack`: Slack's own libraries.
    Slack,
    /// `target/clients/predecessor`: the Python program 0.19.0, for its session store.
    Predecessor,
    /// `target/clients/servers/node_modules`: tool servers, run by Node.
    Servers,
    /// `target/clients/servers/venv`: the tool server of times, as a program.
    PythonServers,
    /// `target/clients/agents`: the agent of the Python program 0.19.0, `hermes-acp`.
    HermesAcp,
    /// `target/clients/matrix`: Synapse, a homeserver.
    Matrix,
    /// `target/clients/wires`: clients of ntfy and IRC.
    Wires,
    /// `target/clients/mail`: servers of IMAP and SMTP.
    Mail,
    /// `target/clients/agents-node`: agents of npm's registry, as the directory of their programs.
    Agents,
}

impl Clients {
    /// The program that runs scripts with these clients, if they are installed. If not, the test that asks is to return: why was said.
    /// Only where the registry could not be reached is that nobody's fault; else it is written down like any other tool that is missing.
    pub fn interpreter(self) -> Option<PathBuf> {
        let (name, program) = match self {
            Self::Python => ("python", Self::directory().join("venv/bin/python")),
            Self::Discord => ("discord", Self::directory().join("discord/bin/python")),
            Self::Chats => ("chats", Self::directory().join("chats/bin/python")),
            Self::Node => ("node", PathBuf::from("node")),
            Self::Slack => ("slack", Self::directory().join("slack/bin/python")),
            Self::Predecessor => ("predecessor", Self::directory().join("predecessor/bin/python")),
            Self::Servers => ("servers_node", PathBuf::from("node")),
            Self::PythonServers => {
                ("servers_python", Self::directory().join("servers/venv/bin/mcp-server-time"))
            }
            Self::HermesAcp => ("agents", Self::directory().join("agents/bin/hermes-acp")),
            Self::Matrix => ("matrix", Self::directory().join("matrix/bin/python")),
            Self::Wires => ("wires", Self::directory().join("wires/bin/python")),
            Self::Mail => ("mail", Self::directory().join("mail/bin/python")),
            Self::Agents => ("agents_node", Self::directory().join("agents-node/node_modules/.bin")),
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

    /// Has a client of these do what `script` of `tests/clients` says, with these variables, and does each time what it asks for by a line.
    /// It says `ok` in the end. False: it is not there, which was said.
    #[expect(clippy::disallowed_methods, reason = "the test starts the client's own interpreter")]
    pub fn talk(self, script: &str, variables: &[(&str, &str)], mut act: impl FnMut(&str)) -> bool {
        let Some(interpreter) = self.interpreter() else { return false };
        let mut client = Command::new(interpreter)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        let mut stdin = client.stdin.take().unwrap();
        for line in BufReader::new(client.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            act(&line);
            said.push(line);
            // Who is gone reads nothing; why is seen below.
            let _ = stdin.write_all(b"done\n");
        }
        let status = client.wait().unwrap();
        assert!(status.success() && said.last().is_some_and(|last| last == "ok"), "{status}: {said:?}");
        true
    }

    /// Where they are installed.
    pub fn directory() -> PathBuf {
        build_directory().parent().expect("programs are built into a directory of `target`").join("clients")
    }
}

/// Where what tests have seen is kept.
pub fn artefacts() -> PathBuf {
    let place = build_directory().parent().unwrap().join("artefacts");
    fs_err::create_dir_all(&place).unwrap();
    place
}

fn is_there(tool: &str) -> bool {
    if tool == "bash-completion" {
        return Path::new("/usr/share/bash-completion/bash_completion").exists();
    }
    ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join(tool).exists())
}
