//! The fence around what a profile starts: commands, servers of tools, agents, hooks and scripts.
//!
//! # Theory of operation
//!
//! A program that a profile starts runs as the same user as the gateway, so files alone would not keep it from anything. Behind the fence the
//! root home with the secrets and the homes of all profiles is an empty directory, into which only what programs are for is put back
//! ([`plan`]); the gateway's sockets are not there; other processes cannot be looked into. The network, the rest of the disk and the
//! processes of the machine are as they are.
//!
//! There are several ways to build it, the *rungs*, best first ([`Rung`]). A worker takes the first one that holds, and knows that by
//! trying ([`trial`]): once, when its first program is started, so a profile that starts nothing pays nothing. What is in force is said
//! ([`Fence::standing`]), and nothing else is.
//!
//! ```text
//!   worker ── Program ──▶ Fence::start ──▶ __fence RUNG DIR STEPS -- PROGRAM      this executable again (enter)
//!                                            │ covers, puts back, lets go of the right to undo it
//!                                            ▼
//!                                          PROGRAM                               the same process
//! ```
//!
//! With `auto` programs are started without a fence where none holds, and that is said; with `require` they are not started.

#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod landlock;
mod mounts;
mod plan;
mod trial;

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{FenceMode, ProfileConfig};
use hermes_host::blocking;
use hermes_wire::ProfileHome;
use hermes_wire::contract::runtime_status::FenceStatus;
use hermes_wire::endpoint::RuntimeDir;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OnceCell, watch};

use crate::children::{Group, Program, Variables};

#[cfg(target_os = "linux")]
pub use enter::enter;
#[cfg(target_os = "linux")]
use enter::{COMMAND, THEN, TRIAL, aside};
use plan::{Place, Plan};
use trial::Trial;

/// Time that a trial has.
const TRIAL_TIME: Duration = Duration::from_secs(10);
/// Most that is read of what a trial prints, in bytes.
const TRIAL_OUTPUT: u64 = 64 * 1024;
/// Exit code of a program that could not be shut in or started; what shells say of one that cannot be started.
pub(crate) const FAILED: i32 = 126;
/// How the error output of a program that never began begins, where it was the fence that failed.
const NOT_STARTED: &str = "hermes: cannot start the program behind the fence";
/// What a program without a `PATH` is looked for in, as the C library does it.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A way to build the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// `bwrap`, where it is installed.
    Bubblewrap,
    /// Namespaces that this program makes itself.
    Namespaces,
    /// The kernel's access lists.
    Landlock,
    /// There is no fence.
    None,
}

impl Rung {
    /// Its name, in status and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }

    /// The one of that name.
    #[cfg(target_os = "linux")]
    fn named(name: &str) -> Option<Self> {
        [Self::Bubblewrap, Self::Namespaces, Self::Landlock, Self::None]
            .into_iter()
            .find(|rung| rung.name() == name)
    }

    /// Those that are tried, best first. Bubblewrap knows one user only; what root starts may need to be others.
    fn to_try(is_root: bool) -> &'static [Self] {
        match (cfg!(target_os = "linux"), is_root) {
            (false, _) => &[],
            (true, false) => &[Self::Bubblewrap, Self::Namespaces, Self::Landlock],
            (true, true) => &[Self::Namespaces, Self::Bubblewrap, Self::Landlock],
        }
    }
}

/// Nothing is fenced in where there is no way to.
#[cfg(not(target_os = "linux"))]
pub fn enter(_args: &[OsString]) -> Option<u8> {
    None
}

#[cfg(not(target_os = "linux"))]
const COMMAND: &str = "";
#[cfg(not(target_os = "linux"))]
const THEN: &str = "";
#[cfg(not(target_os = "linux"))]
const TRIAL: &str = "";
#[cfg(not(target_os = "linux"))]
fn aside(_name: &str) -> Option<String> {
    None
}

/// The fence of one profile. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Fence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mode: FenceMode,
    place: Place,
    /// Those that are tried.
    rungs: Vec<Rung>,
    /// The rung in force, and why it is no better one.
    reached: OnceCell<(Rung, Option<String>)>,
    standing: watch::Sender<FenceStatus>,
}

impl Fence {
    /// Of a profile; nothing is tried yet. `inherited` looks up what its worker was started with; `supervisor` is its gateway.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: impl Fn(&str) -> Option<Utf8PathBuf>,
        managed: &Utf8Path,
        supervisor: Option<u32>,
    ) -> Self {
        let user = inherited("HOME");
        let parent = home.path().parent().filter(|parent| parent.file_name() == Some("profiles"));
        let root = parent.and_then(Utf8Path::parent).unwrap_or(home.path()).to_owned();
        let uid = nix::unistd::geteuid();
        let usual = Utf8PathBuf::from(format!("/run/user/{uid}"));
        let base =
            inherited("XDG_RUNTIME_DIR").filter(|dir| dir.is_absolute()).unwrap_or_else(|| usual.clone());
        // The system's directory for this user is the way to all his services; any other one may be anything.
        let runtime = if base == usual { vec![usual] } else { vec![base.join("hermes"), usual] };
        let real = root.canonicalize_utf8().unwrap_or_else(|_| root.clone());
        let sockets = [RuntimeDir::below(&base, &real), RuntimeDir::in_home(&real)];
        Self::with(
            config.tools.fence,
            Place {
                home: home.path().to_owned(),
                workspace: config.tools.workspace(home, user.as_deref()),
                runtime,
                managed: managed.to_owned(),
                named: config.skills.external_dirs.clone(),
                sockets: sockets.map(|dir| dir.path().to_owned()).to_vec(),
                supervisor,
                is_root: uid.is_root(),
                root,
            },
            Rung::to_try(uid.is_root()).to_vec(),
        )
    }

    fn with(mode: FenceMode, place: Place, rungs: Vec<Rung>) -> Self {
        let first = FenceStatus { mode: mode.word().to_owned(), rung: None, reason: None, notes: Vec::new() };
        Self(Arc::new(Inner {
            mode,
            place,
            rungs,
            reached: OnceCell::new(),
            standing: watch::Sender::new(first),
        }))
    }

    /// With that rung alone, if there is one of that name.
    pub(crate) fn narrowed(self, rung: &str) -> Self {
        match self.0.rungs.iter().find(|known| known.name() == rung) {
            Some(rung) => Self::with(self.0.mode, self.0.place.clone(), vec![*rung]),
            None => self,
        }
    }

    /// None at all: for who starts nothing, and for tests of what is started.
    pub(crate) fn off() -> Self {
        let nowhere = Utf8PathBuf::new();
        Self::with(
            FenceMode::Off,
            Place {
                home: nowhere.clone(),
                root: nowhere.clone(),
                workspace: nowhere.clone(),
                runtime: Vec::new(),
                managed: nowhere,
                named: Vec::new(),
                sockets: Vec::new(),
                supervisor: None,
                is_root: false,
            },
            Vec::new(),
        )
    }

    /// What is in force, and every change of it.
    pub(crate) fn standing(&self) -> watch::Receiver<FenceStatus> {
        self.0.standing.subscribe()
    }

    /// Why nothing can be started, where that is so.
    pub(crate) fn refusal(&self) -> Option<String> {
        let (rung, reason) = self.0.reached.get()?;
        (*rung == Rung::None && self.is_required()).then(|| refusal(reason.as_deref().unwrap_or_default()))
    }

    /// Whether no program may be started without it.
    pub(crate) fn is_required(&self) -> bool {
        self.0.mode == FenceMode::Require
    }

    /// Tries what can be had, unless that was done before.
    pub(crate) async fn settle(&self) {
        self.reached().await;
    }

    /// Starts a program behind the fence. A program that is not there, or not to be seen from inside, is an error like that of a start without
    /// one.
    pub(crate) async fn start(&self, program: Program) -> io::Result<Group> {
        let (rung, reason) = self.reached().await;
        match rung {
            Rung::None if self.is_required() => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                refusal(reason.as_deref().unwrap_or_default()),
            )),
            Rung::None => program.start_bare(),
            rung => self.behind(*rung, program).await?.start_bare(),
        }
    }

    async fn reached(&self) -> &(Rung, Option<String>) {
        self.0.reached.get_or_init(|| self.try_all()).await
    }

    /// The first rung that holds.
    async fn try_all(&self) -> (Rung, Option<String>) {
        let mode = self.0.mode;
        let mut reasons = Vec::new();
        let mut found = (Rung::None, Vec::new());
        if mode == FenceMode::Off {
            reasons.push("`terminal.fence` is off".to_owned());
        } else if self.0.rungs.is_empty() {
            reasons.push("there is none on this system".to_owned());
        } else {
            for rung in &self.0.rungs {
                match self.attempt(*rung).await {
                    Ok(notes) => {
                        found = (*rung, notes);
                        break;
                    }
                    Err(why) => reasons.push(format!("{}: {why}", rung.name())),
                }
            }
        }
        let (rung, notes) = found;
        let reason = Some(reasons.join("; ")).filter(|reason| !reason.is_empty());
        match (rung, mode) {
            (Rung::None, FenceMode::Off) => {}
            (Rung::None, _) => {
                let why = reason.as_deref().unwrap_or_default();
                tracing::warn!("there is no fence around what this profile starts: {why}");
            }
            _ => tracing::info!(rung = rung.name(), "what this profile starts is fenced in"),
        }
        for note in &notes {
            tracing::warn!("the fence: {note}");
        }
        self.0.standing.send_replace(FenceStatus {
            mode: mode.word().to_owned(),
            rung: Some(rung.name().to_owned()),
            reason: reason.clone().filter(|_| rung == Rung::None),
            notes,
        });
        (rung, reason)
    }

    /// Lets something behind it try what must not be possible; what there is to say of one that holds, or why it does not.
    async fn attempt(&self, rung: Rung) -> Result<Vec<String>, String> {
        let look = async || -> io::Result<(String, String)> {
            let place = self.0.place.clone();
            let trial = blocking::run(move || Trial::of(&place)).await.map_err(io::Error::other)??;
            let mut environment = Variables::default();
            environment.set("PATH", DEFAULT_PATH);
            let mut program = Program::new(TRIAL, Utf8Path::new("/"), environment).heard();
            program.arguments = trial.0.into_iter().map(OsString::from).collect();
            let mut group = self.behind(rung, program).await?.start_bare()?;
            let (mut out, mut err) = (String::new(), String::new());
            let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
            let read = async {
                let out = async {
                    if let Some(stdout) = stdout {
                        stdout.take(TRIAL_OUTPUT).read_to_string(&mut out).await?;
                    }
                    Ok::<_, io::Error>(())
                };
                let err = async {
                    if let Some(stderr) = stderr {
                        stderr.take(TRIAL_OUTPUT).read_to_string(&mut err).await?;
                    }
                    Ok::<_, io::Error>(())
                };
                tokio::try_join!(out, err)?;
                group.child.wait().await
            };
            let status =
                tokio::time::timeout(TRIAL_TIME, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if status.success() { Ok((out, err)) } else { Err(io::Error::other(said(&err, status))) }
        };
        let (printed, _) = look().await.map_err(|error| error.to_string())?;
        let verdict = trial::judge(rung, &printed, &self.0.place.workspace);
        verdict.broken.map_or(Ok(verdict.notes), Err)
    }

    /// The program that becomes that one behind the fence.
    async fn behind(&self, rung: Rung, program: Program) -> io::Result<Program> {
        let place = self.0.place.clone();
        let name = program.name.clone();
        let path = program.environment.get("PATH").map(str::to_owned);
        let dir = program.dir.clone();
        let prepared = move || -> io::Result<(Plan, OsString)> {
            let plan = Plan::of(&place)?;
            if name == TRIAL {
                return Ok((plan, name));
            }
            let found = find(&name, path.as_deref(), &dir)?;
            let real = found.canonicalize_utf8()?;
            let hidden = [&found, &real].into_iter().find(|path| !plan.shows(path));
            if let Some(hidden) = hidden {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "`{hidden}` is not to be seen behind the fence; put it somewhere outside the homes of profiles"
                    ),
                ));
            }
            Ok((plan, found.into_os_string()))
        };
        let (plan, name) = blocking::run(prepared).await.map_err(io::Error::other)??;
        let mut words: Vec<OsString> =
            vec![COMMAND.into(), rung.name().into(), program.dir.clone().into_os_string()];
        words.extend(plan.words().into_iter().map(OsString::from));
        words.extend([THEN.into(), name]);
        words.extend(program.arguments);
        let mut environment = Variables::default();
        for (name, value) in program.environment.iter() {
            environment.set(&aside(name).unwrap_or_else(|| name.to_owned()), value);
        }
        Ok(Program {
            name: "/proc/self/exe".into(),
            arguments: words,
            dir: "/".into(),
            environment,
            ..program
        })
    }
}

/// Whether a program's error output says that it never began.
pub(crate) fn was_not_started(stderr: &str) -> bool {
    stderr.starts_with(NOT_STARTED)
}

/// Why nothing is started.
fn refusal(reason: &str) -> String {
    format!(
        "`terminal.fence` is `require`, and there is no fence ({reason}); `hermes doctor` says what would help, `terminal.fence: auto` starts \
         programs without one"
    )
}

/// What a trial that ended early said, or how it ended.
fn said(err: &str, status: std::process::ExitStatus) -> String {
    let line = err.lines().rfind(|line| !line.trim().is_empty());
    line.map_or_else(|| format!("it ended with {status}"), |line| line.trim().to_owned())
}

/// The program that a name means, as a start would look for it. Blocks.
fn find(name: &OsStr, path: Option<&str>, dir: &Utf8Path) -> io::Result<Utf8PathBuf> {
    let name = Utf8Path::from_path(name.as_ref()).ok_or(io::ErrorKind::InvalidInput)?;
    let is_usable = |path: &Utf8Path| -> io::Result<()> {
        let found = fs_err::metadata(path)?;
        nix::unistd::access(path.as_std_path(), nix::unistd::AccessFlags::X_OK)?;
        if found.is_file() { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    };
    if name.as_str().contains('/') {
        let path = dir.join(name);
        return is_usable(&path).map(|()| path);
    }
    // What is there and cannot be used is a better word than that there is nothing.
    let mut refused = io::Error::new(io::ErrorKind::NotFound, format!("there is no program `{name}`"));
    for place in path.unwrap_or(DEFAULT_PATH).split(':') {
        let path = dir.join(place).join(name);
        match is_usable(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

impl Default for Fence {
    fn default() -> Self {
        Self::off()
    }
}
