//! Who writes a profile's answers.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;

/// Who writes answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// A model.
    #[default]
    Native,
    /// Nobody: what came in goes out again.
    Echo,
    /// A program that speaks the Agent Client Protocol.
    Acp,
}

/// `agent.acp.*`: a program that speaks the Agent Client Protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acp {
    /// `agent.acp.command`: the program and its arguments.
    pub command: Vec<String>,
    /// `agent.acp.cwd`: where its sessions work; the profile's workspace without it.
    pub cwd: Option<Utf8PathBuf>,
    /// `agent.acp.env`: names of variables of this profile that it gets; no other of `.env` reaches it.
    pub env: Vec<String>,
    /// `agent.acp.auth`: the agent's word for the way in which it is to sign in.
    pub auth: Option<String>,
    /// `agent.acp.mode`: the mode its sessions are put into, in its own word.
    pub mode: Option<String>,
    /// `agent.acp.start_timeout`: time it has to say what it is. Default 60 s.
    pub start_timeout: Duration,
    /// `agent.acp.instructions`: it is told who the profile is (its system prompt). Default true.
    pub instructions: bool,
}

impl Default for Acp {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            cwd: None,
            env: Vec::new(),
            auth: None,
            mode: None,
            start_timeout: Duration::from_secs(60),
            instructions: true,
        }
    }
}

impl Acp {
    /// The directory that its sessions work in; `~` is the user's home, and `workspace` what `terminal.cwd` says.
    pub fn place(
        &self,
        home: &ProfileHome,
        user_home: Option<&Utf8Path>,
        workspace: Utf8PathBuf,
    ) -> Utf8PathBuf {
        let Some(cwd) = &self.cwd else { return workspace };
        match (cwd.strip_prefix("~"), user_home) {
            (Ok(below), Some(user_home)) => user_home.join(below),
            _ => home.path().join(cwd),
        }
    }
}
