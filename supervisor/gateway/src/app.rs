//! Puts the parts together: the only place that knows all of them.
//!
//! [`run`] is the gateway from its lock to its end; [`check`] does what a start does as far as the decision about admission,
//! beside a running gateway and without any effect.
//!
//! Each part owns its state: `wanted` who should be served, `fleet` who is, `released` who is held by a command, `unserved` who is away for a moment, `edge` where
//! clients connect, `consent` the reloads under way, `renewal` what this process is to become. `gateway` is all of them, and
//! whatever happens to them, one thing at a time. What concerns several stands above it: `start` the order at start, `change` other
//! settings, `requests`, `asked`, `reload`, `release` and `renew` what the command line may ask, `shutdown` the end in phases, `life` all of it.
//! Pure rules are in `claims`, `served` and `weigh`.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_host::{blocking, child, clock, fault, wait};
use hermes_wire::endpoint::RuntimeDir;
use hermes_wire::latest::{ClientRequest, OnProfileError, Problem, Severity};
use hermes_wire::{ProfileName, RootHome, exit};

use crate::client::Client;
use crate::descriptors::{Files, TooFewFiles, Wanted};
use crate::guard;
use crate::handover::{self, Handover};
use crate::instance::{self, Instance, InstanceError, Liveness};
use crate::logging;
use crate::metrics::AdminError;
use crate::predecessor::{Predecessor, Purpose};
use crate::premises::Premises;
use crate::proxy::{BindError, Inherited, StartError};
use crate::rendezvous::{self, HostConflict};
use crate::running;
use crate::runtime::{Runtime, SocketPlaces};

mod answers;
mod asked;
mod change;
pub mod claims;
mod consent;
mod edge;
mod estate;
mod fleet;
mod gateway;
mod known;
mod life;
pub mod lifeline;
mod release;
mod released;
mod reload;
mod renew;
mod renewal;
mod requests;
mod served;
mod shutdown;
mod start;
mod succeed;
mod succession;
mod unserved;
mod wanted;
mod weigh;

pub use answers::UNAWAITED;
use life::{Ended, Sockets};
use lifeline::Lifeline;
pub use served::unseen;
use start::Examined;

/// How long a gateway that is to be replaced has, beyond its own deadlines, before it is ended by signal.
const REPLACE_TIME: Duration = Duration::from_mins(2);
/// After SIGTERM, until SIGKILL, for a gateway that does not answer.
const REPLACE_TERM: Duration = Duration::from_secs(30);
/// Threads that look at homes, which may lie on a file system that hangs.
const BLOCKING_THREADS: usize = 4;
/// Time between two looks at a lock that somebody else must give up.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What `hermes gateway run` was asked to do. The command line has already refused a profile that a live gateway serves, and
/// with `--force` has asked that gateway to detach it.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// The root home, absolute and resolved.
    pub root: RootHome,
    /// The profile whose gateway this is: `default`, or a profile that runs on its own.
    pub profile: ProfileName,
    /// Take over from a gateway that already runs for this home.
    pub replace: bool,
    /// The command line of this process, executed again, is this gateway again.
    pub repeatable: bool,
    /// Gives back the memory that only a start needed.
    pub settle: fn(),
    /// Where it may have its sockets.
    pub sockets: SocketPlaces,
    /// Where programs of newer Python releases are to find it; `None` for one that is nobody's business.
    pub rendezvous: Option<rendezvous::Places>,
}

/// What `hermes gateway check` was asked to do.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The root home, absolute and resolved.
    pub root: RootHome,
    /// The profile whose gateway would start.
    pub profile: ProfileName,
    /// Where it would have its sockets.
    pub sockets: SocketPlaces,
    /// Where the host record would be.
    pub host: Option<Utf8PathBuf>,
    /// Where sockets of the check itself may be.
    pub temp_dir: Utf8PathBuf,
    /// As if this gateway served everybody, which it does not yet.
    pub as_one: Option<AsOne>,
}

/// The gateway of all profiles that would take the place of one for each: multiplexing is taken to be on, and nobody's own gateway
/// to be in the way.
#[derive(Debug, Clone, Default)]
pub struct AsOne {
    /// Profiles that are not to run then.
    pub parked: std::collections::BTreeSet<ProfileName>,
}

/// What a start would meet.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Profiles that would be served, `default` first.
    pub served: Vec<ProfileName>,
    /// Everything that is wrong, by profile (`None`: the gateway itself), worst first.
    pub problems: Vec<(Option<ProfileName>, Problem)>,
    /// Whether a start would be refused: then the exit code is 78.
    pub refused: bool,
    /// How many problems refuse it.
    pub stopping: usize,
    /// Profiles that a start would leave out.
    pub left_out: Vec<ProfileName>,
    /// Profiles that would be served without one of their platforms.
    pub degraded: Vec<ProfileName>,
}

impl CheckReport {
    /// The verdict, from what was found: the same rules as a start's.
    fn conclude(&mut self, primary: &ProfileName, strict: bool) {
        self.problems.sort_by_key(|(_, problem)| std::cmp::Reverse(problem.severity));
        let stops = |(profile, problem): &&(Option<ProfileName>, Problem)| match profile {
            Some(profile) if profile != primary => strict && problem.severity == Severity::Gateway,
            _ => problem.severity.stops_profile(),
        };
        self.stopping = self.problems.iter().filter(stops).count();
        self.refused = self.stopping > 0;
        let having = |wanted: fn(Severity) -> bool| -> Vec<ProfileName> {
            let has = |name: &&ProfileName| {
                let own = |(whose, _): &&(Option<ProfileName>, Problem)| whose.as_ref() == Some(*name);
                self.problems.iter().filter(own).any(|(_, problem)| wanted(problem.severity))
            };
            self.served.iter().filter(has).cloned().collect()
        };
        let (left_out, degraded) = (having(Severity::stops_profile), having(|s| s == Severity::Platform));
        self.served.retain(|name| !left_out.contains(name));
        self.degraded = degraded.into_iter().filter(|name| !left_out.contains(name)).collect();
        self.left_out = left_out;
    }
}

/// Why the gateway could not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no such home.
    #[error("the home `{path}` cannot be used")]
    Home {
        /// The home.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The instance lock could not be taken.
    #[error("cannot take the instance lock")]
    Instance(#[from] InstanceError),
    /// Some part could not be set up.
    #[error("cannot {what} `{object}`")]
    System {
        /// What was being done.
        what: &'static str,
        /// To what.
        object: String,
        /// Why not.
        source: io::Error,
    },
    /// Profiles break the contract, or the primary's configuration cannot be used.
    #[error("{}", Refusal(.problems))]
    Refused {
        /// The profile whose settings are the gateway's.
        primary: ProfileName,
        /// All of them.
        problems: Vec<(ProfileName, Problem)>,
    },
    /// The primary's worker did not get as far as its report.
    #[error("the worker of profile `{profile}`, whose settings are the gateway's, does not start: {reason}")]
    Primary {
        /// The primary.
        profile: ProfileName,
        /// How it ended.
        reason: String,
    },
    /// An address is not to be had.
    #[error("{error}")]
    Bind {
        /// Which.
        error: BindError,
        /// The commands that choose others.
        remedies: Vec<String>,
    },
    /// The admin address is not to be had.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// No threads.
    #[error(transparent)]
    Proxy(#[from] StartError),
    /// Somebody asked for the end before there was a result.
    #[error("interrupted by {name}")]
    Interrupted {
        /// The signal.
        name: &'static str,
    },
    /// Too few open files.
    #[error("the gateway does not start")]
    Files(#[from] TooFewFiles),
    /// Another gateway serves this home.
    #[error("the gateway does not start beside another one")]
    Host(#[from] HostConflict),
    /// The gateway that is to be replaced does not go.
    #[error("the running gateway (PID {pid}) does not stop")]
    Replace {
        /// Its process.
        pid: u32,
        /// What the last attempt met.
        source: io::Error,
    },
}

impl AppError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        let of_machine = match self {
            Self::Bind { error: BindError(failures), .. } => {
                failures.iter().all(|f| fault::is_of_machine(&f.error))
            }
            other => fault::caused_by_machine(other),
        };
        if of_machine {
            return exit::MACHINE;
        }
        match self {
            // A limit of open files is a setting, too: no retry changes it.
            Self::Home { .. }
            | Self::Refused { .. }
            | Self::Bind { .. }
            | Self::Admin(_)
            | Self::Files(_) => exit::CONFIG,
            Self::Instance(e) => e.exit_code(),
            Self::Host(e) => e.exit_code(),
            Self::System { source, .. } => lasting(source.kind()),
            Self::Primary { .. } | Self::Proxy(_) | Self::Replace { .. } => exit::FAILURE,
            Self::Interrupted { .. } => exit::INTERRUPTED,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Home { .. } => "create it, or point HERMES_HOME at the right one".to_owned(),
            Self::Refused { primary, problems } => {
                let flag = if primary.is_default() { String::new() } else { format!(" -p {primary}") };
                let mut hint = format!("`hermes gateway check{flag}` lists these again");
                // Without the profile whose settings are the gateway's there is no gateway.
                if problems.iter().all(|(profile, _)| profile != primary) {
                    hint += "; `gateway.on_profile_error: skip` starts without the offenders";
                }
                hint
            }
            Self::Instance(e) => e.hint(),
            Self::Host(e) => e.hint(),
            Self::Primary { profile, .. } => {
                format!(
                    "its log is `logs/gateway.log` in its home; `hermes worker -p {profile}` runs it alone"
                )
            }
            Self::System { .. } => "check owner, mode and free space, and the limit of open files".to_owned(),
            Self::Bind { remedies, .. } if !remedies.is_empty() => {
                let all: Vec<_> = remedies.iter().map(|command| format!("`{command}`")).collect();
                format!("{} chooses another port; then start again", all.join(", "))
            }
            Self::Proxy(_) => {
                "look at the limits of threads and open files (`ulimit -a`), and at free memory".to_owned()
            }
            Self::Files(few) => few.hint(),
            Self::Bind { .. } | Self::Admin(_) | Self::Interrupted { .. } => return None,
            Self::Replace { pid, .. } => format!("end process {pid} yourself, then start again"),
        })
    }
}

/// What belongs to somebody else, or may not be touched, does so at the next attempt too.
fn lasting(kind: io::ErrorKind) -> u8 {
    use io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    match kind {
        AlreadyExists | NotADirectory | PermissionDenied | ReadOnlyFilesystem => exit::CONFIG,
        _ => exit::FAILURE,
    }
}

/// All problems of a refused start, one paragraph each.
struct Refusal<'a>(&'a [(ProfileName, Problem)]);

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the gateway does not start: {count} problem{}", if count == 1 { "" } else { "s" })?;
        for (profile, problem) in self.0 {
            write!(f, "\n\n  profile {profile}")?;
            if let Some(platform) = &problem.platform {
                write!(f, ", {platform}")?;
            }
            write!(f, ": {}\n    in {}", problem.message, problem.file)?;
            for number in [problem.line, problem.column].into_iter().flatten() {
                write!(f, ":{number}")?;
            }
            if let Some(key) = &problem.key {
                write!(f, " ({key})")?;
            }
            if let Some(fix) = &problem.fix {
                write!(f, "\n    fix: {fix}")?;
            }
        }
        Ok(())
    }
}

fn cannot(what: &'static str, object: impl fmt::Display) -> impl FnOnce(io::Error) -> AppError {
    let object = object.to_string();
    move |source| AppError::System { what, object, source }
}

/// Runs the gateway until it is told to stop, in a runtime of its own; the result is the exit code.
pub fn run(options: GatewayOptions) -> Result<u8, AppError> {
    let mut lifeline = lifeline::take();
    let handover = if handover::is_pending() {
        match Handover::take(std::env::var_os(hermes_wire::env::HANDOVER).as_deref()) {
            Ok(handover) => handover,
            Err(source) => {
                let error = cannot("read", "what the program before has left")(source);
                return Err(go_back(lifeline, error));
            }
        }
    } else {
        None
    };
    // So far no socket of ours can have the number of one that was handed over.
    let sockets = Sockets {
        inherited: Inherited::take(std::env::var_os(hermes_wire::env::LISTENERS).as_deref()),
        socket: rendezvous::Kept::take(std::env::var_os(hermes_wire::env::GATEWAY_SOCKET).as_deref()),
        ..Sockets::default()
    };
    let result = begin(options, sockets, handover, &mut lifeline);
    result.map_err(|error| go_back(lifeline, error))
}

/// Lets a program that panics before it serves go back as well.
fn caught<T>(
    lifeline: &mut Option<Lifeline>,
    life: impl FnOnce(&mut Option<Lifeline>) -> Result<T, AppError>,
) -> Result<T, AppError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life(lifeline))) {
        Ok(result) => result,
        Err(_) if lifeline.is_some() => {
            Err(cannot("go on", "it panicked")(io::Error::other("its log says where")))
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Becomes the program before, where there is one. Returns the error where not.
fn go_back(lifeline: Option<Lifeline>, error: AppError) -> AppError {
    if let Some(lifeline) = lifeline {
        let why = hermes_host::cause::Chain(&error).to_string();
        Lifeline::go_back(lifeline, why.lines().next().unwrap_or_default());
    }
    error
}

/// The life of a gateway and what holds its home. As long as the lifeline is there, an error leaves everything as it was found.
fn begin(
    options: GatewayOptions,
    mut handed: Sockets,
    handover: Option<Handover>,
    lifeline: &mut Option<Lifeline>,
) -> Result<u8, AppError> {
    let sockets = options.sockets.clone();
    let host = options.rendezvous.as_ref().and_then(|places| places.host.clone());
    let home = options.root.profile(&options.profile);
    let path = home.path();
    let found = fs_err::metadata(path).and_then(|found| {
        if found.is_dir() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
    });
    found.map_err(|source| AppError::Home { path: path.to_owned(), source })?;
    // Before anything is opened that could fail with a worse reason.
    let files = enough_files()?;
    if options.replace && handover.is_none() {
        replace(path, &sockets)?;
    }
    let argv = child::argv();
    let runtime = runtime(sockets.of(path))?;
    let (instance, guard) = match &handover {
        None => {
            let instance = Instance::acquire(path, &options.profile, argv, &runtime.path())?;
            // Before there is anything that it could have to end.
            let guard = guard::start().unwrap_or_else(|error| {
                tracing::warn!(%error, "if this gateway is killed, what scripts leave running stays");
                None
            });
            (instance, guard)
        }
        Some(handover) => {
            let go_on = cannot("go on with", "what the program before has left");
            let (lock, guard) = handed.take_up(handover, &runtime).map_err(go_on)?;
            (Instance::go_on(lock, path, &options.profile, argv, &runtime.path())?, guard)
        }
    };
    let (root, profile) = (options.root.clone(), options.profile.clone());
    let life = |lifeline: &mut Option<Lifeline>| {
        within_runtime(life::run(options, runtime, (handed, handover), files, lifeline))
    };
    let mut result = if lifeline.is_some() { caught(lifeline, life) } else { life(lifeline) };
    if let Err(AppError::Bind { error, remedies }) = &mut result {
        let premises = Premises { root: &root, profile: &profile, sockets: &sockets, host: host.as_deref() };
        premises.name_holders(error);
        *remedies = error.0.iter().filter_map(|failure| premises.remedy(failure)).collect();
    }
    if let Err(error) = &result {
        // The terminal is told by the command itself.
        tracing::error!(target: logging::FILE_ONLY, "the gateway does not start: {}", hermes_host::cause::Chain(error));
        if lifeline.is_some() {
            // The program before has the lock.
            drop(instance.hand_over());
            return result.map(|_| exit::FAILURE);
        }
    }
    Ok(match result {
        Ok(Ended::Renewing(renewal)) => renewal::execute(*renewal, (instance, guard)),
        Ok(Ended::Stopped(code)) => {
            drop(guard);
            instance.release();
            code
        }
        Err(error) => {
            drop(guard);
            instance.release();
            return Err(error);
        }
    })
}

/// Does what a start does as far as the decision about admission, and starts nothing.
pub fn check(options: &CheckOptions) -> Result<CheckReport, AppError> {
    let CheckOptions { root, profile, sockets, host, temp_dir, as_one: _ } = options;
    // Sockets of its own, so that it can run beside the gateway.
    let directory = tempfile::Builder::new()
        .prefix("hermes-check-")
        .tempdir_in(temp_dir)
        .map_err(cannot("make a directory in", temp_dir))?;
    let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).map_err(|path| AppError::System {
        what: "use the directory",
        object: path.display().to_string(),
        source: io::Error::from(io::ErrorKind::InvalidFilename),
    })?;
    let files = enough_files()?;
    let runtime = runtime(vec![RuntimeDir::at(base.join("run"))])?;
    let premises = Premises { root, profile, sockets, host: host.as_deref() };
    let place = premises.problems();
    let Examined { mut report, settings } = within_runtime(life::check(options.clone(), runtime, files))?;
    report.problems.extend(place.into_iter().map(|problem| (None, problem)));
    let mut strict = true;
    if let Some(settings) = settings {
        strict = settings.on_profile_error == OnProfileError::Fail;
        let found = premises.addresses(&settings).into_iter().chain(premises.another_host(&settings));
        report.problems.extend(found.map(|problem| (None, problem)));
    }
    report.conclude(profile, strict);
    Ok(report)
}

fn runtime(choices: Vec<RuntimeDir>) -> Result<Arc<Runtime>, AppError> {
    let names = choices.iter().map(|choice| choice.path().as_str()).collect::<Vec<_>>().join("` or `");
    Runtime::open(choices).map(Arc::new).map_err(cannot("keep sockets in", names))
}

fn within_runtime<T>(life: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
    let runtime = blocking::build(BLOCKING_THREADS).map_err(cannot("start", "the runtime"))?;
    let result = runtime.block_on(life);
    // A home on a file system that hangs must not keep us.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Raises the limit of open files, which must be enough for one profile at least.
fn enough_files() -> Result<Files, AppError> {
    let files = Files::raise();
    files.connections(Wanted { profiles: 1, listeners: 1, connections: u32::MAX })?;
    Ok(files)
}

/// Ends the gateway that runs for `home`, if one does: asks it, and if it does not answer sends signals to the very process that
/// holds the lock.
fn replace(home: &camino::Utf8Path, sockets: &SocketPlaces) -> Result<(), AppError> {
    if let Some(predecessor) = Predecessor::find(home) {
        tracing::info!("taking over from {predecessor}");
        let pid = predecessor.pid;
        return predecessor.end(Purpose::TakeOver).map_err(|source| AppError::Replace { pid, source });
    }
    let Liveness::Running { record } = instance::probe(home) else { return Ok(()) };
    // A service manager would start it again.
    let unit = record.as_deref().filter(|record| instance::is_alive(record)).map(|record| record.pid);
    if let Some((pid, stopped)) = unit.and_then(|pid| Some((pid, running::stop_unit(pid)?))) {
        stopped.map_err(|source| AppError::Replace { pid, source })?;
        if wait_for_lock(home, REPLACE_TERM) {
            return Ok(());
        }
    }
    let asked = Client::connect(home, sockets)
        .and_then(|client| client.ask(&ClientRequest::Shutdown, REPLACE_TIME, |_| {}));
    match &asked {
        Ok(outcome) => tracing::info!(?outcome, "the running gateway was asked to stop"),
        Err(error) => tracing::warn!(%error, "the running gateway does not answer"),
    }
    if asked_to_stop(&asked) && wait_for_lock(home, REPLACE_TIME) {
        return Ok(());
    }
    let Some(record) = record.filter(|record| instance::is_alive(record)) else { return Ok(()) };
    let pid = record.pid;
    let process = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(0));
    for (signal, time) in [
        (nix::sys::signal::Signal::SIGTERM, REPLACE_TERM),
        (nix::sys::signal::Signal::SIGKILL, Duration::from_secs(5)),
    ] {
        // The number could be somebody else's by now.
        if process.as_raw() > 1 && instance::is_alive(&record) {
            nix::sys::signal::kill(process, signal)
                .map_err(|errno| AppError::Replace { pid, source: errno.into() })?;
        }
        if wait_for_lock(home, time) {
            return Ok(());
        }
    }
    Err(AppError::Replace { pid, source: io::Error::from(io::ErrorKind::TimedOut) })
}

fn asked_to_stop(asked: &Result<crate::client::Outcome, crate::client::ClientError>) -> bool {
    matches!(asked, Ok(crate::client::Outcome::Done(_)))
}

/// Waits without a runtime: there is none yet.
fn wait_for_lock(home: &camino::Utf8Path, time: Duration) -> bool {
    let deadline = clock::now() + time;
    loop {
        if !matches!(instance::probe(home), Liveness::Running { .. }) {
            return true;
        }
        if clock::now() >= deadline {
            return false;
        }
        wait::pause(LOCK_PAUSE);
    }
}
