//! Route scripts: a program that looks at an event before anything else happens, and may change or drop it.
//!
//! A script runs with a cleared environment, in its own folder and its own process group, for a bounded time, with bounded
//! output, and at most [`MAX_RUNNING`] at once. Cut short, by time or because its sender went away, it takes its whole group
//! with it; what it left running on purpose before it ended by itself stays.
//!
//! **Its exit decides**, not its outputs, which a program that it left running may hold open for ever: what was written until then is
//! the answer. What that program writes later is read and thrown away, so that it neither waits for a reader nor dies for want of one.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::tree::Node;
use crate::children::{Program, Variables};
use crate::fence::{self, Fence};

/// Scripts of one profile that run at the same time.
const MAX_RUNNING: usize = 8;
/// After the script has ended: nothing more of its own is on the way once nothing came for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Longest time for that, where somebody else goes on writing.
const REST: Duration = Duration::from_secs(1);
/// Outputs left open that are read at once; beyond these they are closed.
const MAX_LEFT: usize = 32;
/// Longest output that is read.
const MAX_OUTPUT: usize = 1024 * 1024;
/// Longest error output that is logged, in characters.
const MAX_LOGGED: usize = 500;

/// What a script made of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Go on with this payload.
    Continue(Node),
    /// Drop the event; the reason is for the log.
    Ignore(String),
    /// There is no script to ask, and there will be none before somebody changes the files.
    Broken(String),
    /// It could not be asked for now (no process, no memory, no descriptor): the sender is to come again.
    Unavailable(String),
}

/// Why a script gave no output.
#[derive(Debug, Clone, PartialEq)]
enum Failed {
    /// It ran, and failed.
    Itself(String),
    Broken(String),
    Unavailable(String),
}

impl Failed {
    /// What an error on the way to a running script means: what does not exist, or may not be used, is a matter of configuration;
    /// anything else is the machine's state.
    fn before(error: &std::io::Error, text: String) -> Self {
        use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
        if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied | InvalidInput)
            || error.raw_os_error() == Some(nix::libc::ELOOP)
        {
            Self::Broken(text)
        } else {
            Self::Unavailable(text)
        }
    }
}

impl From<Failed> for Verdict {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Itself(reason) => Self::Ignore(reason),
            Failed::Broken(reason) => Self::Broken(reason),
            Failed::Unavailable(reason) => Self::Unavailable(reason),
        }
    }
}

/// Runs the scripts of one profile.
#[derive(Debug)]
pub(super) struct Runner {
    /// `scripts/` of the profile's home.
    dir: Utf8PathBuf,
    /// The whole environment of a script.
    env: Variables,
    timeout: Duration,
    fence: Fence,
    running: Arc<Semaphore>,
    left: Arc<Semaphore>,
    /// Of what scripts left running: ended with the runtime, nothing waits for them.
    drains: TaskTracker,
}

impl Runner {
    pub(super) fn new(dir: Utf8PathBuf, env: &[(String, String)], timeout: Duration, fence: Fence) -> Self {
        let mut variables = Variables::default();
        for (name, value) in env {
            variables.set(name, value);
        }
        let (running, left) = (Semaphore::new(MAX_RUNNING), Semaphore::new(MAX_LEFT));
        Self {
            dir,
            env: variables,
            timeout,
            fence,
            running: Arc::new(running),
            left: Arc::new(left),
            drains: TaskTracker::new(),
        }
    }

    /// Runs `script` on `payload`. Dropping the future kills the script and everything it started.
    pub(super) async fn run(&self, script: &str, payload: Node) -> Verdict {
        let path = match self.resolve(script) {
            Ok(path) => path,
            Err(failed) => return failed.into(),
        };
        let Ok(_permit) = self.running.acquire().await else {
            return Verdict::Unavailable("scripts are switched off".to_owned());
        };
        let input = payload.to_string().into_bytes();
        match tokio::time::timeout(self.timeout, self.output(&path, input)).await {
            Ok(Ok(output)) => apply(&output, payload),
            Ok(Err(failed)) => failed.into(),
            Err(_) => Verdict::Ignore(format!("it ran longer than {} s", self.timeout.as_secs())),
        }
    }

    /// Why a script can never run as things are, if so.
    pub(super) fn fault(&self, script: &str) -> Option<String> {
        match self.resolve(script) {
            Err(Failed::Broken(reason)) => Some(reason),
            _ => None,
        }
    }

    /// The real path of a script: a file below `scripts/`, wherever links lead.
    fn resolve(&self, script: &str) -> Result<Utf8PathBuf, Failed> {
        let broken = |text: &str| Failed::Broken(text.to_owned());
        let canonical = |path: &Utf8Path| {
            let path = fs_err::canonicalize(path)
                .map_err(|error| Failed::before(&error, format!("it cannot be found: {error}")))?;
            Utf8PathBuf::from_path_buf(path).map_err(|_| broken("its path is not UTF-8"))
        };
        let script = script.strip_prefix("~/.hermes/scripts/").unwrap_or(script);
        let dir = canonical(&self.dir)?;
        let path = canonical(&dir.join(script))?;
        if !path.starts_with(&dir) {
            return Err(broken("it lies outside `scripts`"));
        }
        let metadata = fs_err::metadata(&path)
            .map_err(|error| Failed::before(&error, format!("it cannot be looked at: {error}")))?;
        if !metadata.is_file() {
            return Err(broken("it is not a file"));
        }
        Ok(path)
    }

    async fn output(&self, path: &Utf8Path, input: Vec<u8>) -> Result<String, Failed> {
        let interpreter = match path.extension() {
            Some("sh" | "bash") => "bash",
            _ => "python3",
        };
        let dir = path.parent().unwrap_or(&self.dir);
        let mut program = Program::new(interpreter, dir, self.env.clone()).arg(path.as_str()).heard();
        program.stdin = Stdio::piped();
        let mut group = (self.fence.start(program).await)
            .map_err(|error| Failed::before(&error, format!("`{interpreter}` cannot be started: {error}")))?;
        let child = &mut group.child;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A script need not read its input.
                let _ = stdin.write_all(&input).await;
            }
        };
        let (mut out, mut err) = (Pipe::new(stdout), Pipe::new(stderr));
        // Outputs that are closed are no end: a script may have redirected them.
        let passed = async {
            tokio::join!(feed, out.read(), err.read());
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = child.wait() => ended,
            never = passed => never,
        };
        // What it wrote itself is in the pipes by now.
        let rest = async { tokio::join!(out.read_what_is_there(), err.read_what_is_there()) };
        let _ = tokio::time::timeout(REST, rest).await;
        out.leave(&self.left, &self.drains);
        err.leave(&self.left, &self.drains);
        let (out, err) = (out.bytes, err.bytes);
        let status =
            ended.map_err(|error| Failed::Unavailable(format!("it cannot be waited for: {error}")))?;
        if out.len() > MAX_OUTPUT {
            return Err(Failed::Itself(format!("it wrote more than {MAX_OUTPUT} bytes")));
        }
        if status.success() {
            return String::from_utf8(out).map_err(|_| Failed::Itself("its output is not UTF-8".to_owned()));
        }
        let err = String::from_utf8_lossy(&err).into_owned();
        let is_begun = !fence::was_not_started(&err);
        let err = crate::platform::wire::first_chars(err.trim(), MAX_LOGGED);
        if !is_begun {
            return Err(Failed::Unavailable(err.to_owned()));
        }
        Err(Failed::Itself(format!("it ended with {status}: {err}")))
    }
}

/// One output of a script.
struct Pipe<R> {
    /// Absent after its end.
    reader: Option<R>,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Send + Unpin + 'static> Pipe<R> {
    fn new(reader: Option<R>) -> Self {
        Self { reader, bytes: Vec::new() }
    }

    /// Reads to the end, or a little more than [`MAX_OUTPUT`]. Cancelled, it keeps what it has.
    async fn read(&mut self) {
        while self.read_more().await {}
    }

    /// The same, until nothing comes for [`QUIET`].
    async fn read_what_is_there(&mut self) {
        while tokio::time::timeout(QUIET, self.read_more()).await.unwrap_or(false) {}
    }

    async fn read_more(&mut self) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let room = (MAX_OUTPUT + 1).saturating_sub(self.bytes.len());
        // A broken pipe is an end like any other; the exit status tells the rest.
        let read = reader.take(room as u64).read_buf(&mut self.bytes).await.unwrap_or(0);
        if read == 0 {
            self.reader = None;
        }
        read > 0
    }

    /// Goes on reading, and keeps nothing, for as long as somebody may write.
    fn leave(&mut self, places: &Arc<Semaphore>, drains: &TaskTracker) {
        let Some(mut reader) = self.reader.take() else { return };
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            drains.spawn(async move {
                let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
                drop(place);
            });
        }
    }
}

/// What an output means.
fn apply(output: &str, payload: Node) -> Verdict {
    let output = output.trim();
    if output.is_empty() || output == "[SILENT]" {
        return Verdict::Ignore("it asked for silence".to_owned());
    }
    match Node::parse(output.as_bytes()) {
        Some(new @ Node::Map(_)) => {
            let silent = |key: &str| new.get(key).is_some_and(Node::is_true);
            if ["[SILENT]", "__hermes_ignore__"].iter().any(|key| silent(key)) {
                Verdict::Ignore("it asked for silence".to_owned())
            } else {
                Verdict::Continue(new)
            }
        }
        Some(_) => Verdict::Ignore("its output is JSON but no object".to_owned()),
        None => {
            let mut payload = payload;
            if let Node::Map(fields) = &mut payload {
                fields.retain(|(key, _)| key != "script_output");
                fields.push(("script_output".to_owned(), Node::Text(output.to_owned())));
            }
            Verdict::Continue(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::webhook::tree::json;
    use nix::libc::{EACCES, EAGAIN, EIO, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR};

    /// The text that a script gave beside the payload.
    fn said(value: &Node) -> &str {
        value.get("script_output").and_then(Node::as_str).unwrap()
    }

    fn runner(dir: &Utf8Path, timeout: Duration) -> Runner {
        let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HERMES_PROFILE", "x")];
        Runner::new(
            dir.to_owned(),
            &env.map(|(name, value)| (name.to_owned(), value.to_owned())),
            timeout,
            Fence::off(),
        )
    }

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self) -> &Utf8Path {
            Utf8Path::from_path(self.0.path()).unwrap()
        }

        async fn run(&self, body: &str, payload: Node) -> Verdict {
            fs_err::write(self.path().join("s.sh"), body).unwrap();
            runner(self.path(), Duration::from_secs(20)).run("s.sh", payload).await
        }
    }

    #[test]
    fn outputs_replace_extend_or_drop() {
        let payload = json!({"a": 1});
        for (output, expected) in [
            (r#"{"b": 2}"#, Some(json!({"b": 2}))),
            ("plain\n", Some(json!({"a": 1, "script_output": "plain"}))),
            ("", None),
            (" [SILENT]\n", None),
            (r#"{"[SILENT]": true}"#, None),
            (r#"{"__hermes_ignore__": true}"#, None),
            (r#"{"__hermes_ignore__": false}"#, Some(json!({"__hermes_ignore__": false}))),
            ("[1]", None),
            ("7", None),
        ] {
            let got = match apply(output, payload.clone()) {
                Verdict::Continue(value) => Some(value),
                _ => None,
            };
            assert_eq!(got, expected, "{output}");
        }
    }

    #[tokio::test]
    async fn a_script_sees_its_payload_and_a_clean_environment() {
        let dir = Dir::new();
        assert_eq!(dir.run("cat", json!({"a": "ä"})).await, Verdict::Continue(json!({"a": "ä"})));
        let Verdict::Continue(value) =
            dir.run("env | cut -d= -f1 | sort | tr '\\n' ' '; pwd", json!({})).await
        else {
            panic!()
        };
        let text = said(&value);
        assert!(text.starts_with("HERMES_PROFILE PATH PWD SHLVL _ "), "{text}");
        assert!(text.ends_with(fs_err::canonicalize(dir.path()).unwrap().to_str().unwrap()), "{text}");
        assert_eq!(
            dir.run("echo no; exit 3", json!({})).await,
            Verdict::Ignore("it ended with exit status: 3: ".to_owned())
        );
        let Verdict::Ignore(reason) = dir.run("yes", json!({})).await else { panic!() };
        assert!(reason.contains("more than"), "{reason}");
    }

    /// 11: a script that has ended has answered, whatever it left running with its output in hand.
    #[tokio::test]
    async fn an_output_that_stays_open_is_not_waited_for() {
        let dir = Dir::new();
        let Verdict::Continue(value) = dir.run("sleep 600 & echo pid $!", json!({})).await else { panic!() };
        let left: i32 = said(&value).strip_prefix("pid ").unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).unwrap();
        // Both outputs at once, beyond what a pipe holds.
        let much = "head -c 500000 /dev/zero | tr '\\0' x; head -c 500000 /dev/zero | tr '\\0' x >&2";
        let Verdict::Continue(value) = dir.run(much, json!({})).await else { panic!() };
        assert_eq!(said(&value).len(), 500_000);
    }

    /// Wires 8: a program that a script leaves running writes on, for ever if it likes: it is neither waited for, nor blocked, nor killed.
    #[tokio::test]
    async fn w8_what_a_script_leaves_running_may_write_on() {
        let dir = Dir::new();
        let (go, done) = (dir.path().join("go"), dir.path().join("done"));
        // More than a pipe holds, once the script is gone.
        let body = format!(
            "(while [ ! -e {go} ]; do sleep 0.02; done; head -c 300000 /dev/zero; echo end; echo end >&2; touch {done}) &\necho '{{\"answer\": 1.10}}'"
        );
        let started = tokio::time::Instant::now();
        let verdict = dir.run(&body, json!({})).await;
        assert_eq!(verdict, Verdict::Continue(Node::parse(br#"{"answer": 1.10}"#).unwrap()));
        fs_err::write(&go, "").unwrap();
        while !fs_err::exists(&done).unwrap() {
            assert!(started.elapsed() < Duration::from_secs(30), "it is blocked, or was killed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Wires 8: a script sees what came, digit for digit.
    #[tokio::test]
    async fn w8_a_script_gets_the_payload_as_it_came() {
        let payload = r#"{"id":12345678901234567890123,"price":1.10,"huge":1e400,"b":1,"a":2,"b":3}"#;
        let node = Node::parse(payload.as_bytes()).unwrap();
        let Verdict::Continue(value) = Dir::new().run("echo got; cat", node).await else { panic!() };
        assert_eq!(said(&value), format!("got\n{payload}"));
    }

    #[tokio::test]
    async fn a_script_that_hangs_is_killed_with_its_children() {
        let dir = Dir::new();
        let file = dir.path().join("pid");
        fs_err::write(dir.path().join("s.sh"), format!("sleep 600 & echo $! > {file}; wait")).unwrap();
        let verdict = runner(dir.path(), Duration::from_millis(1500)).run("s.sh", json!({})).await;
        assert_eq!(verdict, Verdict::Ignore("it ran longer than 1 s".to_owned()));
        let pid: i32 = fs_err::read_to_string(&file).unwrap().trim().parse().unwrap();
        let gone = || {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(tokio::time::Instant::now() < deadline, "the child survived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn scripts_stay_inside_their_folder() {
        let dir = Dir::new();
        let scripts = dir.path().join("scripts");
        fs_err::create_dir(&scripts).unwrap();
        fs_err::write(dir.path().join("out.sh"), "echo out").unwrap();
        fs_err::os::unix::fs::symlink(dir.path().join("out.sh"), scripts.join("link.sh")).unwrap();
        let runner = runner(&scripts, Duration::from_secs(5));
        for bad in ["../out.sh", "link.sh", "none.sh", "", "/bin/sh"] {
            assert!(matches!(runner.run(bad, json!({})).await, Verdict::Broken(_)), "{bad}");
            assert!(runner.fault(bad).is_some(), "{bad}");
        }
    }

    /// 32: what is missing is a matter of the files, what cannot be had for now is to be asked for again.
    #[tokio::test]
    async fn n32_a_script_that_cannot_be_started_is_not_one_that_said_no() {
        let error = |code: i32| Failed::before(&std::io::Error::from_raw_os_error(code), String::new());
        for passing in [EAGAIN, ENOMEM, EMFILE, ENFILE, EIO] {
            assert_eq!(error(passing), Failed::Unavailable(String::new()), "{passing}");
        }
        for lasting in [ENOENT, ENOTDIR, EACCES] {
            assert_eq!(error(lasting), Failed::Broken(String::new()), "{lasting}");
        }
        let dir = Dir::new();
        fs_err::write(dir.path().join("s.sh"), "cat").unwrap();
        let mut runner = runner(dir.path(), Duration::from_secs(5));
        runner.env.set("PATH", "/nowhere");
        let verdict = runner.run("s.sh", json!({})).await;
        assert!(
            matches!(&verdict, Verdict::Broken(why) if why.contains("`bash` cannot be started")),
            "{verdict:?}"
        );
    }
}
