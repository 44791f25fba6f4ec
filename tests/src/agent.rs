//! An agent of the Agent Client Protocol in a home: a program that does what its questions say (`agent.py`), and writes down what it gets.

use camino::Utf8PathBuf;
use serde_json::Value;

use crate::{Home, wait};

/// Where it is, and for which profile.
pub struct Agent {
    script: Utf8PathBuf,
    log: Utf8PathBuf,
}

impl Agent {
    /// Puts the program there. Its log is in the profile's home.
    pub fn new(home: &Home, profile: &str) -> Self {
        let script = home.user().join("agent.py");
        fs_err::write(&script, include_str!("agent.py")).unwrap();
        Self { script, log: home.of(profile).join("workspace/agent.log") }
    }

    /// What stands below `agent` of the profile that it answers for, with more settings of the engine.
    pub fn section(&self, more: &str) -> String {
        format!("engine: acp, acp: {{command: [python3, {}]{more}}}", self.script)
    }

    /// What it wrote down.
    pub fn log(&self) -> Vec<Value> {
        let text = fs_err::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Lines of one kind.
    pub fn said(&self, what: &str) -> Vec<Value> {
        self.log().into_iter().filter(|line| line["what"] == what).collect()
    }

    /// Waits until there are so many of them.
    pub fn wait_for(&self, what: &str, count: usize) {
        wait::until_true(&format!("{count} × {what} of the agent"), || self.said(what).len() >= count);
    }

    /// The process that was started last.
    pub fn pid(&self) -> u32 {
        let started = self.said("start");
        let pid = started.last().and_then(|line| line["pid"].as_u64()).expect("an agent that was started");
        u32::try_from(pid).unwrap()
    }
}
