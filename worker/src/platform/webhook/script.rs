//! Route scripts: a program that looks at an event before anything else happens, and may change or drop it.
//!
//! A script runs with a cleared environment, in its own folder and its own process group, for a bounded time, with bounded
//! output, and at most [`MAX_RUNNING`] at once. Cut short, by time or because its sender went away, it takes its whole group
//! with it; what it left running on purpose before it ended by itself stays.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::children::Group;

/// Scripts of one profile that run at the same time.
const MAX_RUNNING: usize = 8;
/// Time for the rest of an output after the script has ended.
const REST: Duration = Duration::from_secs(1);
/// Longest output that is read.
const MAX_OUTPUT: u64 = 1024 * 1024;
/// Longest error output that is logged, in characters.
const MAX_LOGGED: usize = 500;

/// What a script made of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// Go on with this payload.
    Continue(Value),
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
    env: Vec<(String, String)>,
    timeout: Duration,
    running: Arc<Semaphore>,
}

impl Runner {
    pub(super) fn new(dir: Utf8PathBuf, env: Vec<(String, String)>, timeout: Duration) -> Self {
        Self { dir, env, timeout, running: Arc::new(Semaphore::new(MAX_RUNNING)) }
    }

    /// Runs `script` on `payload`. Dropping the future kills the script and everything it started.
    pub(super) async fn run(&self, script: &str, payload: Value) -> Verdict {
        let path = match self.resolve(script) {
            Ok(path) => path,
            Err(failed) => return failed.into(),
        };
        let Ok(_permit) = self.running.acquire().await else {
            return Verdict::Unavailable("scripts are switched off".to_owned());
        };
        let input = match serde_json::to_vec(&payload) {
            Ok(input) => input,
            Err(error) => return Verdict::Ignore(format!("the payload cannot be written: {error}")),
        };
        match tokio::time::timeout(self.timeout, self.output(&path, &input)).await {
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

    #[expect(
        clippy::disallowed_methods,
        reason = "route scripts are started here and nowhere else, with a cleared environment"
    )]
    async fn output(&self, path: &Utf8Path, input: &[u8]) -> Result<String, Failed> {
        let interpreter = match path.extension() {
            Some("sh" | "bash") => "bash",
            _ => "python3",
        };
        let child = Command::new(interpreter)
            .arg(path.as_str())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(path.parent().unwrap_or(&self.dir))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failed::before(&error, format!("`{interpreter}` cannot be started: {error}")))?;
        let mut group = Group::new(child);
        let child = &mut group.child;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A script need not read its input.
                let _ = stdin.write_all(input).await;
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = {
            let passed = async { tokio::join!(feed, read(stdout, &mut out), read(stderr, &mut err)) };
            tokio::pin!(passed);
            tokio::select! {
                ended = child.wait() => {
                    // What it leaves running may hold its outputs open for ever.
                    let _ = tokio::time::timeout(REST, passed).await;
                    ended
                }
                _ = &mut passed => child.wait().await,
            }
        };
        let status =
            ended.map_err(|error| Failed::Unavailable(format!("it cannot be waited for: {error}")))?;
        if out.len() as u64 > MAX_OUTPUT {
            return Err(Failed::Itself(format!("it wrote more than {MAX_OUTPUT} bytes")));
        }
        if status.success() {
            return String::from_utf8(out).map_err(|_| Failed::Itself("its output is not UTF-8".to_owned()));
        }
        let err = String::from_utf8_lossy(&err).into_owned();
        let err = crate::platform::wire::first_chars(err.trim(), MAX_LOGGED);
        Err(Failed::Itself(format!("it ended with {status}: {err}")))
    }
}

/// Reads to the end, or a little more than [`MAX_OUTPUT`].
async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>, out: &mut Vec<u8>) {
    if let Some(pipe) = pipe {
        // A broken pipe is an end like any other; the exit status tells the rest.
        let _ = pipe.take(MAX_OUTPUT + 1).read_to_end(out).await;
    }
}

/// What an output means.
fn apply(output: &str, payload: Value) -> Verdict {
    let output = output.trim();
    if output.is_empty() || output == "[SILENT]" {
        return Verdict::Ignore("it asked for silence".to_owned());
    }
    match crate::json::parse(output.as_bytes()) {
        Ok(Value::Object(new)) => {
            let silent =
                ["[SILENT]", "__hermes_ignore__"].iter().any(|key| new.get(*key) == Some(&Value::Bool(true)));
            if silent {
                Verdict::Ignore("it asked for silence".to_owned())
            } else {
                Verdict::Continue(Value::Object(new))
            }
        }
        Ok(_) => Verdict::Ignore("its output is JSON but no object".to_owned()),
        Err(_) => {
            let mut payload = payload;
            if let Value::Object(fields) = &mut payload {
                fields.insert("script_output".to_owned(), Value::String(output.to_owned()));
            }
            Verdict::Continue(payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::libc::{EACCES, EAGAIN, EIO, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR};
    use serde_json::json;

    use super::*;

    fn runner(dir: &Utf8Path, timeout: Duration) -> Runner {
        let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HERMES_PROFILE", "x")];
        Runner::new(
            dir.to_owned(),
            env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            timeout,
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

        async fn run(&self, body: &str, payload: Value) -> Verdict {
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
        let text = value["script_output"].as_str().unwrap();
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
        let left: i32 =
            value["script_output"].as_str().unwrap().strip_prefix("pid ").unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).unwrap();
        // Both outputs at once, beyond what a pipe holds.
        let much = "head -c 500000 /dev/zero | tr '\\0' x; head -c 500000 /dev/zero | tr '\\0' x >&2";
        let Verdict::Continue(value) = dir.run(much, json!({})).await else { panic!() };
        assert_eq!(value["script_output"].as_str().unwrap().len(), 500_000);
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
        runner.env = vec![("PATH".to_owned(), "/nowhere".to_owned())];
        let verdict = runner.run("s.sh", json!({})).await;
        assert!(
            matches!(&verdict, Verdict::Broken(why) if why.contains("`bash` cannot be started")),
            "{verdict:?}"
        );
    }
}
