//! What a unit says that the one gateway would not do: settings of somebody's own, in the unit or in a drop-in beside it.
//!
//! The units that the Python program and this one write say a known set of things; anything else was put there by somebody who wanted it.
//! Values are never shown: names alone.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;

use crate::service::launchd::plist;
use crate::service::unit::{self, Author, Program};
use crate::service::{Manager, Service};

/// Settings that a unit of either program has by itself, or that say how it is started and stopped, which the new one says as well.
const USUAL: [&str; 36] = [
    "Type",
    "NotifyAccess",
    "User",
    "Group",
    "ExecStart",
    "ExecReload",
    "ExecStopPost",
    "WorkingDirectory",
    "Environment",
    "Restart",
    "RestartSec",
    "RestartSteps",
    "RestartMaxDelaySec",
    "RestartForceExitStatus",
    "RestartPreventExitStatus",
    "SuccessExitStatus",
    "KillMode",
    "KillSignal",
    "SendSIGKILL",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "TimeoutSec",
    "WatchdogSec",
    "StandardInput",
    "StandardOutput",
    "StandardError",
    "SyslogIdentifier",
    "UMask",
    "NoNewPrivileges",
    "Delegate",
    "LimitNOFILE",
    "OOMPolicy",
    "StartLimitInterval",
    "StartLimitIntervalSec",
    "StartLimitBurst",
    "RemainAfterExit",
];
/// The same of launch agents.
const AGENTS: [&str; 16] = [
    "Label",
    "ProgramArguments",
    "WorkingDirectory",
    "EnvironmentVariables",
    "LimitLoadToSessionType",
    "RunAtLoad",
    "KeepAlive",
    "ThrottleInterval",
    "ExitTimeOut",
    "ProcessType",
    "SoftResourceLimits",
    "HardResourceLimits",
    "Umask",
    "StandardInPath",
    "StandardOutPath",
    "StandardErrorPath",
];
/// How settings begin that keep a service from the rest of the machine; whoever writes units has his own.
const FENCES: [&str; 7] = ["Private", "Protect", "Restrict", "Lock", "System", "Capability", "Ambient"];
/// Variables that either program writes into its units.
const VARIABLES: [&str; 7] =
    ["PATH", "VIRTUAL_ENV", "HERMES_HOME", "HOME", "USER", "LOGNAME", "HERMES_GATEWAY_EXTERNAL_SUPERVISOR"];

/// Settings of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) file: Utf8PathBuf,
    /// `MemoryMax`, `Environment OPENAI_API_KEY`.
    pub(crate) what: Vec<String>,
    /// They are variables, and nothing else.
    pub(crate) only_variables: bool,
}

/// What of a service would be lost. The drop-ins of default's stay, because the one service has its name.
pub(crate) fn of(service: &Service, drop_ins: &[Utf8PathBuf], is_default: bool) -> Vec<Lost> {
    let mut all = Vec::new();
    // Default's unit of ours stays, whoever edited it.
    let stays = is_default && service.unit.program == Program::Hermes;
    if service.unit.author != Author::Us && !stays {
        all.extend(match service.manager {
            Manager::Systemd(_) => in_text(&service.file, &service.unit.text, false),
            Manager::Launchd => in_agent(&service.file, &service.unit.text),
        });
    }
    if !is_default {
        let texts = drop_ins.iter().filter_map(|file| Some((file, text_of(file)?)));
        all.extend(texts.filter_map(|(file, text)| in_text(file, &text, true)));
    }
    all
}

/// A drop-in that says what is started: under the new service it would start the old program.
pub(crate) fn commands(drop_ins: &[Utf8PathBuf]) -> Option<Utf8PathBuf> {
    let says = |text: &str| {
        unit::entries(text).iter().any(|entry| entry.section == "Service" && entry.key == "ExecStart")
    };
    drop_ins.iter().find(|file| text_of(file).is_some_and(|text| says(&text))).cloned()
}

fn in_text(file: &Utf8Path, text: &str, is_drop_in: bool) -> Option<Lost> {
    let mut what = Vec::new();
    let mut only_variables = true;
    for entry in unit::entries(text).iter().filter(|entry| entry.section == "Service") {
        if entry.key == "Environment" {
            let words = shlex::split(&entry.value).unwrap_or_default();
            let names = words.iter().filter_map(|word| word.split_once('=').map(|(name, _)| name));
            what.extend(
                names.filter(|name| !VARIABLES.contains(name)).map(|name| format!("Environment {name}")),
            );
        } else if is_drop_in || !is_usual(&entry.key) {
            only_variables &= entry.key == "EnvironmentFile";
            what.push(entry.key.clone());
        }
    }
    what.dedup();
    (!what.is_empty()).then(|| Lost { file: file.to_owned(), what, only_variables })
}

/// The same of a launch agent.
fn in_agent(file: &Utf8Path, text: &str) -> Option<Lost> {
    let (keys, variables) = plist::names(text)?;
    let keys: Vec<String> = keys.into_iter().filter(|key| !AGENTS.contains(&key.as_str())).collect();
    let only_variables = keys.is_empty();
    let variables = variables.into_iter().filter(|name| !VARIABLES.contains(&name.as_str()));
    let what: Vec<String> =
        keys.into_iter().chain(variables.map(|name| format!("Environment {name}"))).collect();
    (!what.is_empty()).then(|| Lost { file: file.to_owned(), what, only_variables })
}

/// What a drop-in says.
fn text_of(file: &Utf8Path) -> Option<String> {
    let bytes = disk::read_bounded(file, unit::MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_usual(key: &str) -> bool {
    USUAL.contains(&key) || FENCES.iter().any(|fence| key.starts_with(fence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str, is_drop_in: bool) -> Vec<String> {
        in_text("/u".into(), text, is_drop_in).map(|lost| lost.what).unwrap_or_default()
    }

    /// The unit of 0.19.0, system scope, loses nothing; what somebody added is named, and never its value.
    #[test]
    fn what_somebody_added_is_named() {
        let theirs = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=simple\nUser=u\nGroup=u\n\
            ExecStart=/v/bin/python -m hermes_cli.main gateway run\nWorkingDirectory=/h\nEnvironment=\"HOME=/home/u\"\n\
            Environment=\"USER=u\"\nEnvironment=\"LOGNAME=u\"\nEnvironment=\"PATH=/v/bin:/bin\"\nEnvironment=\"VIRTUAL_ENV=/v\"\n\
            Environment=\"HERMES_HOME=/h\"\nRestart=always\nRestartSec=5\nRestartForceExitStatus=75\n\
            RestartPreventExitStatus=78\nKillMode=mixed\nKillSignal=SIGTERM\nExecReload=/bin/kill -USR1 $MAINPID\n\
            ExecStopPost=-/v/bin/python -m gateway.cgroup_cleanup\nTimeoutStopSec=60\nStandardOutput=journal\n\
            StandardError=journal\n[Install]\nWantedBy=default.target\n";
        assert_eq!(what(theirs, false), Vec::<String>::new());
        let more = theirs
            .replace("RestartSec=5", "MemoryMax=2G\nEnvironment=PATH=/x OPENAI_API_KEY=sk-1 'B=c d'\nNice=5");
        assert_eq!(what(&more, false), ["MemoryMax", "Environment OPENAI_API_KEY", "Environment B", "Nice"]);
        assert_eq!(what("[Service]\nRestart=no\nEnvironmentFile=/e\n", true), ["Restart", "EnvironmentFile"]);
        assert_eq!(what("[Unit]\nAfter=x.service\n", true), Vec::<String>::new());
        let agent = "<plist version=\"1.0\"><dict><key>Label</key><string>x</string><key>Nice</key><integer>5</integer>\
            <key>EnvironmentVariables</key><dict><key>PATH</key><string>/bin</string><key>A</key><string>sk-1</string></dict></dict></plist>";
        assert_eq!(in_agent("/a".into(), agent).unwrap().what, ["Nice", "Environment A"]);
    }
}
