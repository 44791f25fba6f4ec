//! `gateway.pid`: who holds the instance lock. A hint for people and for 0.19.0's readers; the lock is the truth.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// `kind` of every record, as 0.19.0 writes it.
pub const KIND: &str = "hermes-gateway";

/// The record. The first four keys are 0.19.0's; the rest is ours and additive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidRecord {
    /// Process id.
    pub pid: u32,
    /// [`KIND`].
    pub kind: String,
    /// Command line.
    pub argv: Vec<String>,
    /// Field 22 of `/proc/<pid>/stat`, clock ticks since boot; `None` where unknown.
    pub start_time: Option<u64>,
    /// 1; absent in records of 0.19.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// `supervisor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Root home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Utf8PathBuf>,
    /// The profile whose settings are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where `supervisor.sock` is, so that a command with another environment still finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_dir: Option<Utf8PathBuf>,
    /// Where the process id counts: boot of the machine and PID namespace. Opaque; only equality means something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What that machine or container calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl PidRecord {
    /// Reads a record of any release. A bare integer is accepted as 0.19.0's readers do.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        if let Ok(pid) = text.trim().parse::<u32>() {
            return Ok(Self {
                pid,
                kind: KIND.to_owned(),
                argv: Vec::new(),
                start_time: None,
                schema: None,
                role: None,
                home: None,
                profile: None,
                version: None,
                runtime_dir: None,
                place: None,
                host: None,
            });
        }
        serde_json::from_str(text)
    }

    /// The text to write.
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("strings and integers always serialise")
    }
}

/// Field 22 (`starttime`) of the text of `/proc/<pid>/stat`. The command name, which may hold spaces and parentheses, ends at
/// the last `)`.
pub fn start_time_from_stat(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// 0.19.0's own rule for command lines of gateways.
pub fn is_gateway(argv: &[String]) -> bool {
    let words: Vec<String> = argv.iter().map(|word| word.to_lowercase()).collect();
    let base =
        |word: &str| word.rsplit(['/', '\\']).next().unwrap_or(word).trim_end_matches(".exe").to_owned();
    if words.iter().any(|word| word.ends_with("gateway/run.py") || base(word) == "hermes-gateway") {
        return true;
    }
    let program = |word: &&String| base(word) == "hermes" || word.contains("hermes_cli.main");
    let Some(at) = words.iter().position(|word| program(&word)) else { return false };
    let mut rest = words[at + 1..].iter();
    let mut plain = Vec::new();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-p" | "--profile" => drop(rest.next()),
            word if word.starts_with("--profile=") => {}
            word => plain.push(word),
        }
    }
    let after = plain.iter().position(|word| *word == "gateway").map(|at| plain.get(at + 1).copied());
    match after {
        Some(None | Some("run" | "restart")) => true,
        Some(Some(flag)) => flag.starts_with('-'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_0_19_0_left_behind() {
        let old =
            r#"{"pid":54,"kind":"hermes-gateway","argv":["hermes","gateway","run"],"start_time":163917}"#;
        let record = PidRecord::read(old).unwrap();
        assert_eq!((record.pid, record.start_time, record.schema), (54, Some(163_917), None));
        assert_eq!(record.write(), old);
        assert_eq!(PidRecord::read("4242\n").unwrap().pid, 4242);
        assert!(PidRecord::read("garbage").is_err());
    }

    #[test]
    fn start_time_survives_spaces_in_the_command_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 163917 1000 200";
        assert_eq!(start_time_from_stat(stat), Some(163_917));
    }

    fn argv(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// 3: the rule of 0.19.0's readers, so that what they call a gateway is one here.
    #[test]
    fn command_lines_of_gateways() {
        for yes in [
            "/usr/bin/python3 /home/u/.local/bin/hermes gateway run",
            "/v/bin/python -m hermes_cli.main --profile coder gateway run --replace",
            "hermes -p coder gateway",
            "hermes gateway restart",
            "hermes-gateway",
            "python /src/gateway/run.py",
        ] {
            assert!(is_gateway(&argv(yes)), "{yes}");
        }
        for no in
            ["sleep 60", "hermes status", "hermes gateway status", "vim gateway", "hermes -p gateway chat"]
        {
            assert!(!is_gateway(&argv(no)), "{no}");
        }
    }
}
