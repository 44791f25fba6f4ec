//! The phases of a worker's life and the owner of every task.
//!
//! [`run`] prepares the process and a runtime of one thread; [`supervised`] and [`standalone`] say who tells the worker what to
//! do; [`serving`] is what both run: store, turns, platforms, HTTP. Whatever ends a worker, it passes through here: the last
//! status is written, the logs are flushed, and nothing it started is left behind.

mod ask;
mod board;
mod changes;
mod fenced;
mod given;
mod gone;
mod healthy;
mod idle;
mod platforms;
mod pools;
mod reconnected;
mod rhythm;
mod servers;
mod serving;
mod settling;
mod standalone;
mod supervised;
mod terminal;

use std::time::Duration;

use hermes_host::signals::{came, unless_ignored};
use hermes_host::{blocking, cause, fault};
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileHome, ProfileName, exit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::children;
use crate::cli::{Mode, WorkerArgs};
use crate::load;
use crate::logging::{Logging, Output};
use crate::process::{self, Environment};
use crate::store::Store;
use crate::{handover, leftovers};

/// Threads for work that blocks: status files and name resolution.
const BLOCKING_THREADS: usize = 3;
/// Longest wait at the end for blocking work that does not come back.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// The profile that is served.
struct Who {
    profile: ProfileName,
    home: ProfileHome,
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended(u8);

/// Runs one worker process to its end and returns its exit code.
///
/// Blocks the calling thread, which must be the process's main thread: the parent-death signal belongs to it.
pub fn run(args: WorkerArgs) -> u8 {
    let environment = Environment::read();
    let WorkerArgs { profile, home, mode } = args;
    let who = Who { profile, home };
    match mode {
        Mode::RoutesFor(name) => {
            process::harden(true);
            load::print_routes(&name, &who.home)
        }
        Mode::SettleIdentity => match Store::settle_identity(&who.home) {
            Ok(()) => exit::OK,
            Err(e) => refuse(&e),
        },
        Mode::AskProvider => {
            process::harden(true);
            within(&Logging::silent(), async { Ended(ask::run(&who, &environment).await) })
        }
        Mode::AskPlatforms { only, webhooks } => {
            process::harden(true);
            let asked = async { Ended(ask::platforms(&who, &environment, only.as_deref(), webhooks).await) };
            within(&Logging::silent(), asked)
        }
        Mode::AskModels { provider } => {
            process::harden(true);
            let asked = async { Ended(ask::models(&who, &environment, provider.as_deref()).await) };
            within(&Logging::silent(), asked)
        }
        Mode::Terminal => {
            process::harden(false);
            children::adopt();
            let input = match process::take_standard_input() {
                Ok(input) => input,
                Err(e) => return refuse(&e),
            };
            match Logging::start(&who.profile, &who.home, Output::Captured, environment.log.clone()) {
                Ok(logging) => within(&logging, terminal::run(&who, &environment, &logging, input)),
                Err(e) => refuse(&e),
            }
        }
        Mode::Server { name, task } => {
            process::harden(false);
            within(&Logging::silent(), async { Ended(servers::run(&who, &environment, &name, task).await) })
        }
        Mode::TryFence(rung) => {
            process::harden(true);
            within(&Logging::silent(), async { Ended(fenced::run(&who, &environment, &rung).await) })
        }
        Mode::Supervised => {
            process::harden(true);
            process::limit_files(environment.open_files);
            let inherited = match process::take_inherited(&environment) {
                Ok(inherited) => inherited,
                Err(e) => return refuse(&e),
            };
            let logging = if environment.examined {
                Ok(Logging::silent())
            } else {
                Logging::start(&who.profile, &who.home, Output::Captured, environment.log.clone())
            };
            let code = match logging {
                Ok(logging) => {
                    if !environment.examined {
                        leftovers::sweep(&who.home);
                        handover::forget(&who.home);
                    }
                    within(&logging, supervised::run(&who, &environment, &logging, inherited))
                }
                Err(e) => refuse(&e),
            };
            process::end_group();
            code
        }
        Mode::Standalone { http } => {
            process::harden(false);
            match Logging::start(&who.profile, &who.home, Output::Mirrored, environment.log.clone()) {
                Ok(logging) => {
                    leftovers::sweep(&who.home);
                    handover::forget(&who.home);
                    within(&logging, standalone::run(&who, &environment, &logging, http))
                }
                Err(e) => refuse(&e),
            }
        }
    }
}

/// Runs `life` on a runtime of this thread, and flushes the logs whatever came of it.
fn within(logging: &Logging, life: impl Future<Output = Ended>) -> u8 {
    let code = match blocking::build(BLOCKING_THREADS) {
        Ok(runtime) => {
            let Ended(code) = runtime.block_on(with_children(life));
            runtime.shutdown_timeout(LAST_WAIT);
            code
        }
        Err(e) => refuse(&e),
    };
    logging.flush();
    code
}

/// Collects what was left behind to us for as long as `life` lasts.
async fn with_children(life: impl Future<Output = Ended>) -> Ended {
    let collected = async {
        let Err(error) = children::collect().await;
        tracing::warn!(%error, "what programs of this profile leave behind is not collected");
        std::future::pending().await
    };
    tokio::select! {
        biased;
        ended = life => ended,
        ended = collected => ended,
    }
}

/// Before there is a log, standard error is all there is.
#[expect(clippy::print_stderr, reason = "there is no log yet, and somebody has to be told")]
fn refuse(error: &(dyn std::error::Error + 'static)) -> u8 {
    let code = code_of(error);
    eprintln!("Error: {error}");
    cause::causes(error).for_each(|cause| eprintln!("  caused by: {cause}"));
    code
}

/// The exit code of a worker that an error ends.
fn code_of(error: &(dyn std::error::Error + 'static)) -> u8 {
    if fault::caused_by_machine(error) { exit::MACHINE } else { exit::FAILURE }
}

/// One line a problem, at the level it deserves.
fn log_problems(problems: &[Problem]) {
    for problem in problems {
        let text = describe(problem);
        match problem.severity {
            Severity::Warning => tracing::warn!(code = problem.code, "{text}"),
            Severity::Platform | Severity::Profile | Severity::Gateway => {
                tracing::error!(code = problem.code, "{text}");
            }
        }
    }
}

/// `/h/config.yaml:3:7: platforms.webhook: what is wrong; what to do`
fn describe(problem: &Problem) -> String {
    use std::fmt::Write as _;
    let mut text = problem.file.clone();
    for number in [problem.line, problem.column].into_iter().flatten() {
        let _ = write!(text, ":{number}");
    }
    text.push_str(": ");
    if let Some(key) = &problem.key {
        let _ = write!(text, "{key}: ");
    }
    text.push_str(&problem.message);
    if let Some(fix) = &problem.fix {
        let _ = write!(text, " ({fix})");
    }
    text
}

/// The signals a worker reacts to. Installing them keeps each from its default, which would be a death without a drain.
struct Signals {
    terminate: Signal,
    /// `None` where whoever started this process had it ignored (`nohup`): so it stays.
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        })
    }

    /// SIGTERM. Under a supervisor the other two are meant for it: it has the terminal, and tells its workers.
    async fn terminated(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                () = came(&mut self.interrupt) => {}
                () = came(&mut self.hangup) => {}
            }
        }
    }

    /// Any of them: without a supervisor each means "stop".
    async fn any(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            () = came(&mut self.interrupt) => "SIGINT",
            () = came(&mut self.hangup) => "SIGHUP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_names_place_key_and_next_step() {
        let mut problem = Problem {
            severity: Severity::Warning,
            code: "unknown_key".into(),
            platform: None,
            file: "/h/config.yaml".into(),
            line: Some(3),
            column: Some(7),
            key: Some("agent.engin".into()),
            message: "unknown key".into(),
            fix: Some("did you mean `engine`?".into()),
        };
        assert_eq!(
            describe(&problem),
            "/h/config.yaml:3:7: agent.engin: unknown key (did you mean `engine`?)"
        );
        (problem.line, problem.column, problem.key, problem.fix) = (None, None, None, None);
        assert_eq!(describe(&problem), "/h/config.yaml: unknown key");
    }
}
