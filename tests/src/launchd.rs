//! A launchd of a test's own: a scripted `launchctl` in the PATH of what is run for a home, which starts what property lists say.
//!
//! Where there is a `launchctl`, services are launchd's, on whatever system; so every verb can be tried where the tests run.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use camino::Utf8PathBuf;
use nix::sys::signal::Signal;

use crate::command::{Ran, outside};
use crate::{Home, gateway, process};

/// The program.
const SCRIPT: &str = include_str!("launchctl.sh");

/// The jobs of the user of a home; ended on drop.
pub struct Launchd<'a> {
    home: &'a Home,
}

impl<'a> Launchd<'a> {
    /// For the user of `home`, in a graphical session.
    pub fn new(home: &'a Home) -> Self {
        let launchd = Self { home };
        let program = launchd.place().join("launchctl");
        fs_err::create_dir(launchd.place()).unwrap();
        fs_err::write(&program, SCRIPT).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        fs_err::write(launchd.place().join("session"), "Aqua\n").unwrap();
        launchd
    }

    /// Where `launchctl` and what it keeps is.
    pub fn place(&self) -> Utf8PathBuf {
        self.home.user().join("launchd")
    }

    /// Where property lists of the user are.
    pub fn agents(&self) -> Utf8PathBuf {
        self.home.user().join("Library/LaunchAgents")
    }

    /// `hermes` where there is launchd.
    pub fn hermes(&self, args: &[&str]) -> Command {
        let mut command = gateway::hermes(self.home, args);
        command.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.place()));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.hermes(args).output().unwrap().into()
    }

    /// Loads an agent, as a login does.
    pub fn load(&self, label: &str) {
        let file = self.agents().join(format!("{label}.plist"));
        let mut command = outside(&self.place().join("launchctl"));
        command.env_clear().envs(self.hermes(&[]).get_envs().filter_map(|(key, value)| Some((key, value?))));
        let domain = format!("gui/{}", nix::unistd::getuid());
        Ran::from(command.args(["bootstrap", &domain, file.as_str()]).output().unwrap()).ok();
    }

    /// Whether a job is loaded.
    pub fn is_loaded(&self, label: &str) -> bool {
        self.place().join("jobs").join(label).join("domain").exists()
    }

    /// The process that a job started last, if it lives.
    pub fn pid(&self, label: &str) -> Option<u32> {
        let text = fs_err::read_to_string(self.place().join("jobs").join(label).join("pid")).ok()?;
        text.trim().parse().ok().filter(|pid| process::is_alive(*pid))
    }

    /// What changed anything since the last call.
    pub fn asked(&self) -> Vec<String> {
        let file = self.place().join("asked");
        let text = fs_err::read_to_string(&file).unwrap_or_default();
        let _ = fs_err::remove_file(file);
        let changes = text.lines().filter(|line| !line.starts_with("print") && *line != "managername");
        changes.map(str::to_owned).collect()
    }
}

impl Drop for Launchd<'_> {
    fn drop(&mut self) {
        let jobs = fs_err::read_dir(self.place().join("jobs")).into_iter().flatten().flatten();
        for job in jobs {
            if let Some(pid) = job.file_name().to_str().and_then(|label| self.pid(label)) {
                process::signal(pid, Signal::SIGKILL);
            }
        }
    }
}
