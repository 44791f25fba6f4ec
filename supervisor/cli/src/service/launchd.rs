//! launchd: what `launchctl` is asked, and what its answers mean.
//!
//! A job is known to launchd by its label in a *domain*: that of the user's graphical session (`gui/501`) or of the user as such
//! (`user/501`, where he came by SSH). Stopping is unloading (`bootout`): a job that is loaded is started again. So a job may be unloaded
//! while its file is there, and starting one begins with loading it (`bootstrap`). launchd knows no readiness: a start is done when the
//! gateway that it started answers.
//!
//! Exit codes of `launchctl` that mean something: 3 and 113 "no such service here", 125 "this domain does not do that", 5 "input or output
//! error", which is also what loading a job says that is half loaded. Where loading fails with 5 or 125 for good, launchd cannot manage
//! the gateway; that is an error, and nothing is started in its place without saying so.

pub(crate) mod plist;

use std::ffi::OsStr;
use std::io;
use std::process::Output;
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_gateway::client::Client;
use hermes_gateway::runtime::SocketPlaces;
use hermes_host::{child, clock, disk, wait};
use hermes_wire::exit;

use super::{Exit, Owner, Phase, Progress, Service, ServiceError, State, name, unit};
use crate::home::Surroundings;

/// What asks launchd.
pub(crate) const PROGRAM: &str = "launchctl";
/// Time that `launchctl` has to answer.
const ASKED: Duration = Duration::from_secs(20);
/// Time that a gateway has until it is ready.
const START: Duration = Duration::from_secs(180);
/// Time that a gateway has beyond the limit of its job to be gone: launchd kills it at that.
const STOP: Duration = Duration::from_secs(300);
/// Time between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);
/// No such service here; or, of `kickstart`, none that is loaded.
const UNLOADED: [i32; 3] = [3, 113, 125];
/// Loading does not work.
const REFUSED: [i32; 2] = [5, 125];

/// How launchd is asked.
pub(crate) trait Launchctl {
    /// Runs `launchctl` with these words.
    fn run(&self, words: &[&str]) -> io::Result<Output>;

    /// Unloads `target`, however long it drains, and loads and starts what `file` says, in a group of processes of its own: it comes to
    /// its end whatever becomes of this command. Does not wait.
    fn reload(&self, target: &str, domain: &str, file: &str) -> io::Result<()>;
}

/// What is asked one after the other: loading fails as long as the job before has not ended.
const RELOAD: &str = r#"
trap '' HUP
"$1" bootout "$2"
n=0
until "$1" bootstrap "$3" "$4"; do n=$((n + 1)); [ $n -lt 3000 ] || exit 1; sleep 0.1; done
"$1" kickstart "$2"
"#;

/// The system's own program, or another one of that name.
#[derive(Debug, Clone)]
pub(crate) struct Program(pub(crate) Utf8PathBuf);

impl Default for Program {
    fn default() -> Self {
        Self(PROGRAM.into())
    }
}

impl Launchctl for Program {
    fn run(&self, words: &[&str]) -> io::Result<Output> {
        let mut command = child::command(self.0.as_str());
        command.args(words);
        child::run(command, ASKED)
    }

    fn reload(&self, target: &str, domain: &str, file: &str) -> io::Result<()> {
        use std::os::unix::process::CommandExt as _;
        let mut command = child::command("sh");
        command.args(["-c", RELOAD, "sh", self.0.as_str(), target, domain, file]).process_group(0);
        let nothing = std::process::Stdio::null;
        command.stdin(nothing()).stdout(nothing()).stderr(nothing());
        command.spawn().map(drop)
    }
}

/// Whether the gateway of `owner` that is process `pid` is ready.
fn is_ready(owner: &Owner, pid: u32) -> bool {
    // There are no runtime directories of a session here; the record says where its sockets are.
    let places = SocketPlaces { xdg_runtime_dir: None, uid: nix::unistd::geteuid().as_raw() };
    let home = owner.root.profile(&owner.profile);
    let status = Client::connect(home.path(), &places).and_then(|client| client.status(Some(&owner.profile)));
    status.is_ok_and(|status| status.gateway.pid == Some(pid) && status.gateway.state == "running")
}

/// The jobs of one user.
pub(crate) struct Jobs<'a> {
    pub(crate) launchctl: &'a dyn Launchctl,
    pub(crate) uid: u32,
    pub(crate) ready: &'a dyn Fn(&Owner, u32) -> bool,
    /// Time that a gateway has until it is ready.
    pub(crate) start: Duration,
}

/// Runs `what` with the jobs of this user.
pub(crate) fn with<T>(what: impl FnOnce(&Jobs<'_>) -> T) -> T {
    let uid = nix::unistd::getuid().as_raw();
    what(&Jobs { launchctl: &Program::default(), uid, ready: &is_ready, start: START })
}

/// Whether launchd answers.
pub(crate) fn reach() -> Result<(), ServiceError> {
    with(|jobs| jobs.ask(&["managername"]).map(drop))
}

/// Where files of agents are: below the account's home, whatever HOME says, for that is where launchd looks.
pub(crate) fn directory(env: &Surroundings) -> Option<Utf8PathBuf> {
    account_home(env).map(|home| home.join("Library/LaunchAgents"))
}

/// Where what is said before there is a log goes. Every account has this directory, on its own disk, and launchd may write there.
pub(crate) fn log(label: &str, env: &Surroundings) -> Option<Utf8PathBuf> {
    account_home(env).map(|home| home.join("Library/Logs").join(format!("{label}.log")))
}

fn account_home(env: &Surroundings) -> Option<Utf8PathBuf> {
    let account = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let home = account.and_then(|user| Utf8PathBuf::from_path_buf(user.dir).ok());
    home.filter(|_| cfg!(target_os = "macos")).or_else(|| env.user_home.clone())
}

/// The label of a service: the name of its file without the ending.
pub(crate) fn label(name: &str) -> &str {
    name.strip_suffix(".plist").unwrap_or(name)
}

impl Jobs<'_> {
    fn ask(&self, words: &[&str]) -> Result<Output, ServiceError> {
        self.launchctl.run(words).map_err(|error| ServiceError::Unmanageable {
            why: format!("`launchctl` cannot be run: {error}"),
        })
    }

    /// Where the job is loaded, or, if it is not, would be.
    pub(crate) fn domain(&self, label: &str) -> Result<String, ServiceError> {
        let [gui, user] = ["gui", "user"].map(|kind| format!("{kind}/{}", self.uid));
        for domain in [&gui, &user] {
            if self.ask(&["print", &format!("{domain}/{label}")])?.status.success() {
                return Ok(domain.clone());
            }
        }
        let name = self.ask(&["managername"])?;
        Ok(if String::from_utf8_lossy(&name.stdout).contains("Aqua") { gui } else { user })
    }

    /// How a job is.
    pub(crate) fn state(&self, service: &Service) -> Result<State, ServiceError> {
        let label = label(&service.name);
        let target = format!("{}/{label}", self.domain(label)?);
        let output = self.ask(&["print", &target])?;
        let is_loaded = output.status.success();
        let mut state = read(&String::from_utf8_lossy(&output.stdout), is_loaded);
        state.enabled = plist::starts_at_login(&service.unit.text);
        Ok(state)
    }

    /// Loads it; one that is half loaded is unloaded first.
    fn bootstrap(&self, domain: &str, service: &Service) -> Result<(), ServiceError> {
        let target = format!("{domain}/{}", label(&service.name));
        let load = || self.ask(&["bootstrap", domain, service.file.as_str()]);
        let mut output = load()?;
        if output.status.code().is_some_and(|code| REFUSED.contains(&code)) {
            self.ask(&["bootout", &target])?;
            output = load()?;
        }
        match output.status.code() {
            Some(0) => Ok(()),
            code => {
                let said = first_line(&output);
                let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
                Err(ServiceError::Unmanageable {
                    why: format!("`launchctl bootstrap {domain}`: {code}{said}"),
                })
            }
        }
    }

    /// What is loaded may be of an older file: where nothing runs of it, it is unloaded, and its next start loads what is there now.
    pub(crate) fn refresh(&self, service: &Service, enable: bool) -> Result<State, ServiceError> {
        if enable {
            self.enable(service, true)?;
        }
        let now = self.state(service)?;
        if now.pid.is_none() {
            let label = label(&service.name);
            let target = format!("{}/{label}", self.domain(label)?);
            // One that is not loaded cannot be.
            self.ask(&["bootout", &target])?;
        }
        Ok(now)
    }

    /// Whether launchd loads it with the session is in its file; that it does not can be said beside it, while the job still runs. What
    /// does not start by itself anyway is not forbidden to be loaded.
    pub(crate) fn enable(&self, service: &Service, wanted: bool) -> Result<bool, ServiceError> {
        let label = label(&service.name);
        let target = format!("{}/{label}", self.domain(label)?);
        let is_forbidden = !wanted && plist::starts_at_login(&service.unit.text);
        self.ask(&[if is_forbidden { "disable" } else { "enable" }, &target])?;
        Ok(false)
    }

    /// Loads what its file says now in place of what runs; see [`Launchctl::reload`].
    pub(crate) fn reload(&self, service: &Service) -> Result<(), ServiceError> {
        let label = label(&service.name);
        let domain = self.domain(label)?;
        let target = format!("{domain}/{label}");
        self.launchctl
            .reload(&target, &domain, service.file.as_str())
            .map_err(|error| ServiceError::Unmanageable { why: format!("`sh` cannot be run: {error}") })
    }

    pub(crate) fn start(&self, service: &Service, progress: Progress<'_>) -> Result<State, ServiceError> {
        if self.state(service)?.pid.is_none() {
            progress(&format!("starting the {}", service.shown()));
            self.kick(service, progress)?;
        }
        self.running(service, None, "did not start")
    }

    /// Starts it, loaded or not.
    pub(crate) fn kick(&self, service: &Service, progress: Progress<'_>) -> Result<(), ServiceError> {
        let domain = self.domain(label(&service.name))?;
        let target = format!("{domain}/{}", label(&service.name));
        let mut output = self.ask(&["kickstart", &target])?;
        if output.status.code().is_some_and(|code| UNLOADED.contains(&code)) {
            progress("↻ launchd job was unloaded; reloading service definition");
            self.bootstrap(&domain, service)?;
            output = self.ask(&["kickstart", &target])?;
        }
        if output.status.success() {
            return Ok(());
        }
        let said = first_line(&output);
        Err(ServiceError::Unmanageable { why: format!("`launchctl kickstart {target}` failed{said}") })
    }

    /// Waits until the gateway answers, as another process than `before`.
    fn running(
        &self,
        service: &Service,
        before: Option<u32>,
        what: &'static str,
    ) -> Result<State, ServiceError> {
        let deadline = clock::now() + self.start;
        loop {
            let now = self.state(service)?;
            let pid = now.pid.filter(|pid| Some(*pid) != before);
            // Only this program says when it is ready.
            let owner = service.unit.owner.as_ref().filter(|_| service.unit.program == unit::Program::Hermes);
            if let Some(pid) = pid
                && owner.is_none_or(|owner| (self.ready)(owner, pid))
            {
                return Ok(now);
            }
            // It ended by itself; launchd starts no job again that ended well.
            let is_over = now.pid.is_none() && matches!(now.exit, Some(Exit::Code(0)));
            if is_over || clock::now() >= deadline {
                return Err(not_reached(service, what, &now));
            }
            wait::pause(LOOK);
        }
    }

    pub(crate) fn stop(&self, service: &Service, progress: Progress<'_>) -> Result<State, ServiceError> {
        let before = self.state(service)?;
        let label = label(&service.name);
        let target = format!("{}/{label}", self.domain(label)?);
        if before.phase != Phase::Inactive {
            progress(&format!("stopping the {}", service.shown()));
        }
        // Also one that does not run now: a job that is loaded may be started again. It may drain for longer than `launchctl` waits.
        self.ask(&["bootout", &target])?;
        let deadline = clock::now() + STOP;
        loop {
            let is_loaded = self.ask(&["print", &target])?.status.success();
            let now = self.state(service)?;
            if !is_loaded && before.pid.is_none_or(|pid| !lives(pid)) {
                return Ok(now);
            }
            if clock::now() >= deadline {
                return Err(not_reached(service, "did not stop", &now));
            }
            wait::pause(LOOK);
        }
    }

    /// Has it stopped and does not wait: it ends well, and is not started again by itself.
    pub(crate) fn stop_soon(&self, service: &Service) -> Result<(), ServiceError> {
        self.signal(service, "SIGTERM")
    }

    pub(crate) fn restart(&self, service: &Service, progress: Progress<'_>) -> Result<State, ServiceError> {
        let before = self.state(service)?;
        progress(&format!("restarting the {}", service.shown()));
        // `kickstart -k` would kill it, and start what was loaded before: this one drains, and loads what its file says now.
        self.reload(service)?;
        let deadline = clock::now() + STOP;
        while before.pid.is_some_and(lives) && clock::now() < deadline {
            wait::pause(LOOK);
        }
        self.running(service, before.pid, "did not start again")
    }

    fn signal(&self, service: &Service, signal: &str) -> Result<(), ServiceError> {
        let label = label(&service.name);
        let target = format!("{}/{label}", self.domain(label)?);
        let output = self.ask(&["kill", signal, &target])?;
        if output.status.success() {
            return Ok(());
        }
        let said = first_line(&output);
        Err(ServiceError::Unmanageable { why: format!("`launchctl kill {signal} {target}` failed{said}") })
    }

    /// Unloads and removes it. What counts is that the file is gone.
    pub(crate) fn remove(&self, service: &Service) -> io::Result<()> {
        let label = label(&service.name);
        if let Ok(domain) = self.domain(label) {
            let target = format!("{domain}/{label}");
            let _ = self.ask(&["bootout", &target]);
            fs_err::remove_file(&service.file)?;
            // Nothing is left of it that could keep a later one of that name from being loaded.
            let _ = self.ask(&["enable", &target]);
            return Ok(());
        }
        fs_err::remove_file(&service.file)
    }

    /// Installs it under another name for another gateway, loaded if it was; the file. The old one stays.
    pub(crate) fn install_as(
        &self,
        service: &Service,
        (new, name): (&Owner, &str),
        env: &Surroundings,
    ) -> io::Result<Utf8PathBuf> {
        let path = service.file.with_file_name(name);
        let text = renamed(&service.unit.text, new, label(name), env)
            .ok_or_else(|| io::Error::other(format!("{} is no property list", service.file)))?;
        disk::write_public(&path, text.as_bytes())?;
        let was_loaded = self.state(service).is_ok_and(|state| state.phase != Phase::Inactive);
        let unit = plist::read(text.as_bytes(), env);
        let new = Service { manager: service.manager, name: name.to_owned(), file: path.clone(), unit };
        if was_loaded {
            let _ = self.domain(label(&new.name)).and_then(|domain| self.bootstrap(&domain, &new));
        }
        Ok(path)
    }
}

/// The file's text for another gateway: its label, its homes, and `-p` of what it starts.
fn renamed(text: &str, new: &Owner, label: &str, env: &Surroundings) -> Option<String> {
    use ::plist::Value;
    let home = new.root.profile(&new.profile);
    let log = log(label, env);
    plist::changed(text, |file| {
        let string = |text: &str| Value::String(text.to_owned());
        file.insert("Label".to_owned(), string(label));
        file.insert("WorkingDirectory".to_owned(), string(home.path().as_str()));
        if let Some(log) = &log {
            for key in ["StandardOutPath", "StandardErrorPath"] {
                file.insert(key.to_owned(), string(log.as_str()));
            }
        }
        let variables = file.get_mut("EnvironmentVariables").and_then(Value::as_dictionary_mut);
        if let Some(home) = variables.and_then(|all| all.get_mut("HERMES_HOME")) {
            *home = string(new.root.path().as_str());
        }
        let words = file.get_mut("ProgramArguments").and_then(Value::as_array_mut);
        let mut after_flag = false;
        for word in words.into_iter().flatten() {
            let bare = word.as_string().unwrap_or_default().to_owned();
            if after_flag {
                *word = string(new.profile.as_str());
            } else if bare.starts_with("--profile=") {
                *word = string(&format!("--profile={}", new.profile));
            }
            after_flag = matches!(bare.as_str(), "-p" | "--profile");
        }
    })
}

/// What `launchctl print` says of a job. It is meant for people, so nothing but a few lines of the outermost level is looked at.
fn read(text: &str, is_loaded: bool) -> State {
    let value = |name: &str| {
        let own =
            text.lines().filter_map(|line| line.strip_prefix('\t')).filter(|line| !line.starts_with('\t'));
        own.filter_map(|line| line.split_once(" = "))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    let first_number = |text: &str| {
        let digits: String =
            text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse::<i32>().ok()
    };
    let pid = value("pid").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
    let signal = value("last terminating signal").and_then(first_number).map(Exit::Signal);
    let code =
        value("last exit code").filter(|code| !code.starts_with('(')).and_then(first_number).map(Exit::Code);
    let phase = match (is_loaded, pid, value("state")) {
        (true, Some(_), _) => Phase::Active,
        (true, None, Some("spawn scheduled" | "spawning")) => Phase::Starting,
        _ => Phase::Inactive,
    };
    State {
        phase,
        pid,
        enabled: false,
        result: None,
        exit: signal.or(code),
        status: None,
        restarts: value("runs")
            .and_then(|runs| runs.parse::<u32>().ok())
            .map_or(0, |runs| runs.saturating_sub(1)),
        stale: false,
        drop_ins: Vec::new(),
    }
}

fn not_reached(service: &Service, what: &'static str, now: &State) -> ServiceError {
    let name = label(&service.name);
    ServiceError::NotReached {
        service: service.shown(),
        what,
        result: None,
        exit: now.exit,
        next: format!(
            "`hermes gateway check` shows what a start would refuse, ~/Library/Logs/{name}.log what it said"
        ),
    }
}

fn first_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .next()
        .map(|line| format!(": {}", hermes_wire::text::visible(line.trim())))
        .unwrap_or_default()
}

/// Whether there is such a process; one of another user counts.
fn lives(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// What a command of this program ends with. launchd starts a job again whatever its exit code, but for 0: one of ours whose configuration
/// cannot be used ends with that, or it would be started every ten seconds.
pub(crate) fn exit_code(code: u8) -> u8 {
    of_job(code, std::env::var_os("XPC_SERVICE_NAME").as_deref())
}

fn of_job(code: u8, label: Option<&OsStr>) -> u8 {
    let is_ours = label.and_then(OsStr::to_str).is_some_and(|label| label.starts_with(name::LABEL));
    if is_ours && code == exit::CONFIG { exit::OK } else { code }
}

#[cfg(test)]
mod tests;
