//! One command of a shell, from its start to its end.
//!
//! The shell gets the command as an argument and reads nothing. It has ended when the shell has: an output that something it left running
//! holds open is not waited for, and what it left running is ended, wherever it went. At the end the shell says where it is, behind a mark
//! that nobody else knows, so that the next command of the session begins there.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::ChildStdout;

use super::output::Kept;
use crate::children::{Group, Program, Variables, strays};
use crate::fence::{self, Fence};

/// What `timeout` of coreutils ends with.
pub(super) const TIMED_OUT: i32 = 124;
/// What a shell adds for a signal.
const SIGNALLED: i32 = 128;
/// Time to end by itself after it was told to.
const GRACE: Duration = Duration::from_secs(2);
/// After the shell has ended: nothing more of its own is on the way once nothing came for so long.
const QUIET: Duration = Duration::from_millis(50);
/// Longest time for that, where somebody else goes on writing.
const REST: Duration = Duration::from_secs(1);
/// Most bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Most bytes of why a program never began.
const MOST_SAID: u64 = 4096;
/// Longest path of a directory that is kept.
const LONGEST_DIR: usize = 4096;

/// `$1` is the mark, `$2` the command.
const SCRIPT: &str = "exec 2>&1\ntrap 'printf \"%s%s\\n\" \"$1\" \"$PWD\"' EXIT\neval \"$2\"";
/// The same where nothing is asked for at the end.
const PLAIN: &str = "exec 2>&1\neval \"$2\"";

/// What is to be run.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) text: &'a str,
    pub(super) dir: &'a Utf8Path,
    pub(super) environment: Variables,
    /// Most bytes of the output that are to be shown.
    pub(super) limit: usize,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) output: Kept,
    pub(super) code: i32,
    /// It was ended for its time.
    pub(super) timed_out: bool,
    /// Where the shell was at its end, if it said so.
    pub(super) dir: Option<Utf8PathBuf>,
    /// Something that it had started was still there, and was ended.
    pub(super) left_something: bool,
}

/// The program that runs commands, and its name.
pub(super) fn program(text: &str, dir: &Utf8Path, environment: Variables, mark: Option<&str>) -> Program {
    let name = if Utf8Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let script = if mark.is_some() { SCRIPT } else { PLAIN };
    Program::new(name, dir, environment)
        .arg("-c")
        .arg(script)
        .arg("hermes")
        .arg(mark.unwrap_or_default())
        .arg(text)
}

/// Kills what has this mark when it is dropped.
pub(super) struct Strays(pub(super) String);

impl Drop for Strays {
    fn drop(&mut self) {
        strays::kill(&self.0);
    }
}

/// A mark that nobody guesses.
pub(super) fn mark() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    [(); 2].map(|()| format!("{:016x}", RandomState::new().hash_one(0))).concat()
}

/// Runs it. Dropped, it takes everything with it that it has started.
pub(super) async fn run(fence: &Fence, command: Command<'_>, patience: Duration) -> std::io::Result<Ended> {
    let Command { text, dir, mut environment, limit } = command;
    let mark = mark();
    environment.set(strays::VARIABLE, &mark);
    let sign = format!("\u{1}{mark}:");
    // Declared before the group, so that it is dropped after it.
    let strays = Strays(mark);
    let mut group = fence.start(program(text, dir, environment, Some(&sign)).heard()).await?;
    let leader = group.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut pipe = Pipe { reader: group.child.stdout.take(), output: Kept::new(limit) };
    let mut timed_out = false;
    let status = {
        let ended = tokio::select! {
            status = group.child.wait() => Some(status),
            never = pipe.read_all() => never,
            () = tokio::time::sleep(patience) => None,
        };
        if let Some(status) = ended {
            status?
        } else {
            timed_out = true;
            end(&mut group, &mut pipe).await?
        }
    };
    // Its number is not given away while anything is left in the group; once nothing is, not so soon.
    let left_group = leader.is_some_and(|leader| killpg(leader, Signal::SIGKILL).is_ok());
    let _ = tokio::time::timeout(REST, pipe.read_what_is_there()).await;
    drop(strays);
    if status.code() == Some(fence::FAILED)
        && let Some(why) = said(group.child.stderr.take()).await
    {
        return Err(std::io::Error::other(why));
    }
    let code = match (timed_out, status.code(), status.signal()) {
        (true, ..) => TIMED_OUT,
        (_, Some(code), _) => code,
        (_, None, signal) => SIGNALLED + signal.unwrap_or(0),
    };
    let mut output = pipe.output;
    let dir = take_dir(&mut output, &sign);
    Ok(Ended { output, code, timed_out, dir, left_something: left_group && !timed_out })
}

/// What a program says that never began; the shell itself writes to its output alone.
async fn said(stderr: Option<tokio::process::ChildStderr>) -> Option<String> {
    let mut text = Vec::new();
    let read = async { stderr?.take(MOST_SAID).read_to_end(&mut text).await.ok() };
    tokio::time::timeout(QUIET, read).await.ok()??;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    fence::was_not_started(&text).then_some(text)
}

/// Tells the group to end, and ends it where it does not.
pub(super) async fn end(group: &mut Group, pipe: &mut Pipe) -> std::io::Result<std::process::ExitStatus> {
    if let Some(leader) = group.child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = killpg(Pid::from_raw(leader), Signal::SIGTERM);
        let waited = tokio::select! {
            waited = tokio::time::timeout(GRACE, group.child.wait()) => waited,
            never = pipe.read_all() => never,
        };
        if let Ok(status) = waited {
            return status;
        }
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
    group.child.wait().await
}

/// An output that is read as it comes.
pub(super) struct Pipe {
    /// Absent after its end.
    pub(super) reader: Option<ChildStdout>,
    pub(super) output: Kept,
}

impl Pipe {
    /// Reads for as long as it is asked to: an output that is closed is no end. Cancelled, it keeps what it has.
    pub(super) async fn read_all<T>(&mut self) -> T {
        while self.read_more().await {}
        std::future::pending().await
    }

    /// Reads what was written before the end.
    async fn read_what_is_there(&mut self) {
        while tokio::time::timeout(QUIET, self.read_more()).await.unwrap_or(false) {}
    }

    async fn read_more(&mut self) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let mut bytes = Vec::with_capacity(CHUNK);
        // A broken pipe is an end like any other; the exit status tells the rest.
        let read = reader.read_buf(&mut bytes).await.unwrap_or(0);
        if read == 0 {
            self.reader = None;
        }
        self.output.push(&bytes);
        read > 0
    }
}

/// Where the shell was, as it said behind `sign` at the end; that is no part of the output.
fn take_dir(output: &mut Kept, sign: &str) -> Option<Utf8PathBuf> {
    let ending = output.ending();
    let from = ending.len().saturating_sub(sign.len() + LONGEST_DIR + 1);
    let at = from + memchr::memmem::rfind(&ending[from..], sign.as_bytes())?;
    let said = std::str::from_utf8(&ending[at + sign.len()..]).ok()?;
    let dir = said.strip_suffix('\n').map(Utf8PathBuf::from).filter(|dir| dir.is_absolute());
    output.truncate(ending.len() - at);
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Variables {
        let mut all = Variables::default();
        all.set("PATH", "/usr/local/bin:/usr/bin:/bin");
        all
    }

    async fn ran(text: &str, secs: u64) -> Ended {
        let command = Command { text, dir: Utf8Path::new("/tmp"), environment: environment(), limit: 5000 };
        run(&Fence::off(), command, Duration::from_secs(secs)).await.unwrap()
    }

    fn is_gone(pid: i32) -> bool {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    }

    async fn until_gone(pid: i32) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !is_gone(pid) {
            assert!(tokio::time::Instant::now() < deadline, "{pid} survived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_command_has_output_code_and_place() {
        let ended = ran("cd /; echo one; echo two >&2; (exit 3)", 20).await;
        assert_eq!(ended.output.shown(&[]), "one\ntwo\n");
        assert_eq!((ended.code, ended.timed_out, ended.left_something), (3, false, false));
        assert_eq!(ended.dir.as_deref(), Some(Utf8Path::new("/")));
        for (text, code, output) in [
            ("exit 7", 7, ""),
            ("printf x", 0, "x"),
            ("kill -9 $$", 137, ""),
            ("read line || echo nothing", 0, "nothing\n"),
            ("exec true", 0, ""),
        ] {
            let ended = ran(text, 20).await;
            assert_eq!((ended.code, ended.output.shown(&[]).as_str()), (code, output), "{text}");
        }
        let ended = ran("if then", 20).await;
        assert!(ended.code != 0 && ended.output.shown(&[]).contains("syntax error"), "{ended:?}");
    }

    /// What is started in it goes with it: for its time, at its end, and when nobody waits any more.
    #[tokio::test]
    async fn nothing_outlives_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let pid_of = |name: &str| -> Option<i32> {
            fs_err::read_to_string(dir.path().join(name)).ok()?.trim().parse().ok()
        };
        let at = dir.path().display();
        let ended = ran(&format!("sleep 600 & echo $! > {at}/a; trap '' TERM; sleep 600"), 1).await;
        assert_eq!((ended.code, ended.timed_out), (TIMED_OUT, true));
        until_gone(pid_of("a").unwrap()).await;

        let ended = ran(&format!("sleep 600 & echo $! > {at}/b; echo done"), 20).await;
        assert_eq!((ended.code, ended.output.shown(&[]).as_str(), ended.left_something), (0, "done\n", true));
        until_gone(pid_of("b").unwrap()).await;

        let text = format!("sleep 600 & echo $! > {at}/c; wait");
        let running = ran(&text, 600);
        tokio::select! {
            _ = running => panic!("it ended"),
            () = async { while pid_of("c").is_none() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        }
        until_gone(pid_of("c").unwrap()).await;
    }

    #[tokio::test]
    async fn a_flood_is_kept_in_bounds() {
        let ended = ran("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end", 60).await;
        assert_eq!((ended.code, ended.output.total()), (0, 100_000_005));
        let shown = ended.output.shown(&[]);
        assert!(shown.len() < 5200 && shown.ends_with("\nend\n"), "{}", shown.len());
        assert_eq!(ended.dir.as_deref(), Some(Utf8Path::new("/tmp")));
    }
}
