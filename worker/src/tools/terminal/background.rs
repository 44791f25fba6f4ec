//! Programs that go on while the conversation does: one registry owns them all.
//!
//! Each has a task of its own that reads what it writes into a bounded ring, feeds it what it is to read, and waits for its end; nobody else
//! touches it. A program ends with its worker: [`Registry::close`] ends all, and whoever asks for one that an earlier worker had started is
//! told that it has ended and nobody knows how. At most [`MOST`] run at once, and the last [`REMEMBERED`] that have ended are known for
//! [`FOR`].

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::output::Kept;
use super::shell::{self, Strays};
use crate::children::{Group, Variables, strays};
use crate::clock;
use crate::fence::Fence;

/// Most programs of a profile that run in the background at once.
pub(super) const MOST: usize = 16;
/// Most that have ended and are still known.
const REMEMBERED: usize = 48;
/// How long those are known.
const FOR: Duration = Duration::from_mins(30);
/// Most bytes of an output that are kept, as in 0.19.0.
const OUTPUT: usize = 200_000;
/// Writes that wait for a program that does not read.
const INPUTS: usize = 16;
/// Time to end by itself after it was told to.
const GRACE: Duration = Duration::from_secs(2);
/// After its end: how long what it wrote is still read.
const REST: Duration = Duration::from_millis(500);
/// Most bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// What a shell adds for a signal.
const SIGNALLED: i32 = 128;

/// See the module. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Mutex<BTreeMap<u64, Entry>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Whose it is.
    owner: String,
    process: Arc<Process>,
}

/// One program.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) command: String,
    pub(super) pid: u32,
    pub(super) started: Instant,
    output: Mutex<Output>,
    state: watch::Sender<State>,
    input: mpsc::Sender<Input>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Output {
    kept: Kept,
    /// Bytes that were there at the last look.
    seen: u64,
}

/// Where a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// With its exit code, after so long.
    Ended {
        code: i32,
        after: Duration,
        killed: bool,
    },
}

/// For a program's input.
#[derive(Debug)]
pub(super) enum Input {
    Bytes(Vec<u8>),
    /// There will be no more.
    End,
}

/// Why a program is not started.
#[derive(Debug)]
pub(super) enum NotStarted {
    TooMany,
    Closed,
    Io(std::io::Error),
}

impl Registry {
    /// Starts a command for `owner`.
    pub(super) async fn start(
        &self,
        fence: &Fence,
        owner: &str,
        text: &str,
        dir: &camino::Utf8Path,
        mut environment: Variables,
    ) -> Result<Arc<Process>, NotStarted> {
        if self.0.stop.is_cancelled() {
            return Err(NotStarted::Closed);
        }
        self.forget();
        if self.lock().values().filter(|entry| entry.process.is_running()).count() >= MOST {
            return Err(NotStarted::TooMany);
        }
        let mark = shell::mark();
        environment.set(strays::VARIABLE, &mark);
        let strays = Strays(mark.clone());
        let mut program = shell::program(text, dir, environment, None).heard();
        program.stdin = std::process::Stdio::piped();
        let mut group = fence.start(program).await.map_err(NotStarted::Io)?;
        let (input, inputs) = mpsc::channel(INPUTS);
        let process = Arc::new(Process {
            id: format!("proc_{}", &mark[..12]),
            command: text.to_owned(),
            pid: group.child.id().unwrap_or_default(),
            started: Instant::now(),
            output: Mutex::new(Output { kept: Kept::new(OUTPUT), seen: 0 }),
            state: watch::Sender::new(State::Running),
            input,
            stop: self.0.stop.child_token(),
        });
        let (stdin, stdout) = (group.child.stdin.take(), group.child.stdout.take());
        let task = Arc::clone(&process).attend(group, stdin, stdout, inputs, strays);
        self.0.tasks.spawn(task);
        let entry = Entry { owner: owner.to_owned(), process: Arc::clone(&process) };
        let mut all = self.lock();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, entry);
        Ok(process)
    }

    /// One of `owner`'s.
    pub(super) fn find(&self, owner: &str, id: &str) -> Option<Arc<Process>> {
        self.forget();
        let all = self.lock();
        all.values()
            .find(|entry| entry.owner == owner && entry.process.id == id)
            .map(|entry| Arc::clone(&entry.process))
    }

    /// All of `owner`'s, oldest first.
    pub(super) fn of(&self, owner: &str) -> Vec<Arc<Process>> {
        self.forget();
        let all = self.lock();
        all.values().filter(|entry| entry.owner == owner).map(|entry| Arc::clone(&entry.process)).collect()
    }

    /// Whether any runs.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().values().any(|entry| entry.process.is_running())
    }

    /// Ends all programs, and starts no more.
    pub(super) async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn forget(&self) {
        let mut all = self.lock();
        let ended = |entry: &Entry| match *entry.process.state.borrow() {
            State::Running => None,
            State::Ended { after, .. } => Some((entry.process.started + after).elapsed()),
        };
        all.retain(|_, entry| ended(entry).is_none_or(|ago| ago < FOR));
        let old: Vec<u64> =
            all.iter().filter(|(_, entry)| ended(entry).is_some()).map(|(number, _)| *number).collect();
        for number in old.iter().take(old.len().saturating_sub(REMEMBERED)) {
            all.remove(number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    fn is_running(&self) -> bool {
        self.state() == State::Running
    }

    /// Looks at what it wrote; what is new since the last look is not any more.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Kept, u64) -> T) -> T {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let new = output.kept.total() - output.seen;
        output.seen = output.kept.total();
        look(&output.kept, new)
    }

    /// Waits for its end, at most so long.
    pub(super) async fn wait(&self, patience: Duration) -> State {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| *state != State::Running);
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(state)) => *state,
            Ok(Err(_)) | Err(_) => self.state(),
        }
    }

    /// Ends it, and waits until it has.
    pub(super) async fn kill(&self) -> State {
        self.stop.cancel();
        self.wait(GRACE * 3).await
    }

    /// Gives it something to read. `false`: it does not take it.
    pub(super) async fn feed(&self, input: Input) -> bool {
        self.is_running()
            && tokio::time::timeout(GRACE, self.input.send(input)).await.is_ok_and(|sent| sent.is_ok())
    }

    async fn attend(
        self: Arc<Self>,
        mut group: Group,
        stdin: Option<ChildStdin>,
        mut stdout: Option<ChildStdout>,
        inputs: mpsc::Receiver<Input>,
        strays: Strays,
    ) {
        let feeding = feed(stdin, inputs);
        tokio::pin!(feeding);
        let (mut told, mut killed) = (None, false);
        let status = loop {
            tokio::select! {
                status = group.child.wait() => break status,
                () = self.read(&mut stdout) => {}
                () = &mut feeding => {}
                () = self.stop.cancelled(), if told.is_none() => {
                    signal(&group, Signal::SIGTERM);
                    (told, killed) = (Some(Instant::now() + GRACE), true);
                }
                () = clock::until(told) => {
                    signal(&group, Signal::SIGKILL);
                    told = Some(Instant::now() + Duration::from_hours(1));
                }
            }
        };
        // What is left of the group and beyond it ends with its first.
        if let Ok(leader) = i32::try_from(self.pid) {
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
        drop(strays);
        let rest = async {
            while stdout.is_some() {
                self.read(&mut stdout).await;
            }
        };
        let _ = tokio::time::timeout(REST, rest).await;
        let code = status
            .map_or(-1, |status| status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or(0)));
        self.state.send_replace(State::Ended { code, after: self.started.elapsed(), killed });
    }

    /// Reads once. Pending for ever once there is nothing more to come. Cancel safe.
    async fn read(&self, stdout: &mut Option<ChildStdout>) {
        let Some(reader) = stdout else { return std::future::pending().await };
        let mut bytes = Vec::with_capacity(CHUNK);
        if reader.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            *stdout = None;
        }
        self.output.lock().unwrap_or_else(PoisonError::into_inner).kept.push(&bytes);
    }
}

/// Feeds a program until its input is ended; pending from then on.
async fn feed(mut stdin: Option<ChildStdin>, mut inputs: mpsc::Receiver<Input>) {
    while let (Some(pipe), Some(input)) = (&mut stdin, inputs.recv().await) {
        let is_taken = match input {
            Input::Bytes(bytes) => pipe.write_all(&bytes).await.is_ok() && pipe.flush().await.is_ok(),
            Input::End => false,
        };
        if !is_taken {
            stdin = None;
        }
    }
    drop(inputs);
    std::future::pending::<()>().await;
}

fn signal(group: &Group, signal: Signal) {
    if let Some(leader) = group.child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    async fn start(registry: &Registry, text: &str) -> Arc<Process> {
        let mut environment = Variables::default();
        environment.set("PATH", "/usr/local/bin:/usr/bin:/bin");
        registry.start(&Fence::off(), "me", text, Utf8Path::new("/tmp"), environment).await.unwrap()
    }

    fn text(process: &Process) -> String {
        process.look(|kept, _| kept.shown(&[]))
    }

    #[tokio::test]
    async fn a_program_is_fed_read_and_waited_for() {
        let registry = Registry::default();
        let process = start(&registry, "while read line; do echo got $line; done; echo end; exit 4").await;
        assert!(process.feed(Input::Bytes(b"one\n".to_vec())).await);
        let deadline = Instant::now() + Duration::from_secs(10);
        while text(&process) != "got one\n" {
            assert!(Instant::now() < deadline, "{}", text(&process));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(process.wait(Duration::from_millis(50)).await, State::Running);
        assert!(process.feed(Input::End).await);
        let State::Ended { code: 4, killed: false, .. } = process.wait(Duration::from_secs(10)).await else {
            panic!()
        };
        assert_eq!(text(&process), "got one\nend\n");
        assert!(!process.feed(Input::End).await);
        assert!(registry.find("somebody else", &process.id).is_none());
        assert_eq!(registry.of("me").len(), 1);
    }

    #[tokio::test]
    async fn one_is_killed_with_all_that_it_started_and_all_are_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let registry = Registry::default();
        let process =
            start(&registry, &format!("trap '' TERM; sleep 600 & echo $! > {}; wait; wait", file.display()))
                .await;
        let deadline = Instant::now() + Duration::from_secs(10);
        let pid = loop {
            if let Ok(pid) = fs_err::read_to_string(&file).unwrap_or_default().trim().parse::<i32>() {
                break pid;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let State::Ended { killed: true, .. } = process.kill().await else { panic!() };
        while nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
            && !fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
        {
            assert!(Instant::now() < deadline, "a child survived");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let other = start(&registry, "sleep 600").await;
        registry.close().await;
        assert!(!other.is_running());
        let again =
            registry.start(&Fence::off(), "me", "true", Utf8Path::new("/tmp"), Variables::default()).await;
        assert!(matches!(again, Err(NotStarted::Closed)));
    }

    #[tokio::test]
    async fn only_so_many_run_and_a_flood_is_kept_in_bounds() {
        let registry = Registry::default();
        let flood = start(&registry, "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo end").await;
        flood.wait(Duration::from_secs(30)).await;
        let (shown, total) = flood.look(|kept, new| (kept.shown(&[]), new));
        assert!(shown.ends_with("\nend\n") && shown.len() < OUTPUT + 200 && total == 30_000_005, "{total}");
        for _ in 0..MOST {
            start(&registry, "sleep 600").await;
        }
        let more =
            registry.start(&Fence::off(), "me", "true", Utf8Path::new("/tmp"), Variables::default()).await;
        assert!(matches!(more, Err(NotStarted::TooMany)));
        registry.close().await;
    }
}
