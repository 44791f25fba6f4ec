//! A real gateway process on a temporary home.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use hermes_wire::contract::gateway_status::{GatewayStatus, Profile};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::http::{self, Response};
use crate::provider::{Provider, Reply};
use crate::{Home, process, sign, wait};

/// The binary under test: beside this test's own executable.
pub fn binary() -> std::path::PathBuf {
    build_directory().join("hermes")
}

/// Where cargo put the programs of this build.
pub(crate) fn build_directory() -> std::path::PathBuf {
    let exe = std::env::current_exe().unwrap();
    let dir = exe.ancestors().find(|d| d.join("hermes").is_file());
    dir.map(std::path::Path::to_owned)
        .expect("no `hermes` beside the tests: build the workspace first (`cargo build`)")
}

/// A command of `hermes` with only this home's environment.
pub fn hermes(home: &Home, args: &[&str]) -> Command {
    hermes_at(&binary(), home, args)
}

/// The same of a program in another place.
#[expect(clippy::disallowed_methods, reason = "the harness starts the program under test")]
pub fn hermes_at(program: &std::path::Path, home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home.user())
        .env("HERMES_HOME", home.root())
        .env("XDG_RUNTIME_DIR", home.runtime())
        // Not the machine's own.
        .env("HERMES_MANAGED_DIR", home.user().join("etc"))
        .stdin(Stdio::null());
    if let Some(user) = home.runs_as() {
        command.uid(user).gid(user);
    }
    command
}

/// Runs a command to its end.
pub fn run(home: &Home, args: &[&str]) -> Output {
    hermes(home, args).output().unwrap()
}

/// Standard output and error of a finished command.
pub fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A running gateway. Stopped, and its absence checked, on drop.
pub struct Gateway<'a> {
    /// Its home.
    pub home: &'a Home,
    child: Child,
}

impl<'a> Gateway<'a> {
    /// Starts `hermes gateway run` and waits until every desired profile is ready or has a recorded reason.
    pub fn start(home: &'a Home) -> Self {
        let mut gateway = Self::spawn(home, &[], &[]);
        gateway.wait_settled();
        gateway
    }

    /// [`Self::start`] of a program in another place.
    pub fn start_at(program: &std::path::Path, home: &'a Home) -> Self {
        let mut gateway = Self::spawn_at(program, home, &[], &[]);
        gateway.wait_settled();
        gateway
    }

    /// Starts `hermes [args] gateway run` with more environment and does not wait.
    pub fn spawn(home: &'a Home, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn_at(&binary(), home, args, env)
    }

    /// [`Self::start`] of a command line of the caller's own, which is to be `gateway run` on this home.
    pub fn start_by(home: &'a Home, mut command: Command) -> Self {
        let mut gateway = Self { home, child: command.spawn().unwrap() };
        gateway.wait_settled();
        gateway
    }

    /// Starts `hermes gateway run --replace` and does not wait.
    pub fn spawn_replacing(home: &'a Home) -> Self {
        Self::spawn_with(&binary(), home, &[], &[], &["--replace"])
    }

    /// [`Self::spawn`] of a program in another place.
    pub fn spawn_at(program: &std::path::Path, home: &'a Home, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::spawn_with(program, home, args, env, &[])
    }

    fn spawn_with(
        program: &std::path::Path,
        home: &'a Home,
        args: &[&str],
        env: &[(&str, &str)],
        after: &[&str],
    ) -> Self {
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.user().join("gateway.out"))
            .unwrap();
        let (log, _) = log.into_parts();
        let mut command = hermes_at(program, home, args);
        command.args(["gateway", "run", "-v"]).args(after).envs(env.iter().copied());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self { home, child: command.spawn().unwrap() }
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        fs_err::read_to_string(self.home.user().join("gateway.out")).unwrap_or_default()
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `hermes status --json`.
    pub fn status(&self) -> GatewayStatus {
        status(self.home)
    }

    /// One profile's part of the status.
    pub fn profile(&self, name: &str) -> Profile {
        let status = self.status();
        status
            .profiles
            .into_iter()
            .find(|p| p.name == name)
            .unwrap_or_else(|| panic!("no profile {name} in the status"))
    }

    /// Process id of a profile's worker.
    pub fn worker(&self, name: &str) -> u32 {
        self.profile(name).pid.unwrap_or_else(|| panic!("{name} has no worker"))
    }

    /// Waits until no desired profile is starting any more.
    pub fn wait_settled(&mut self) {
        wait::until("the gateway to settle", || {
            if let Some(code) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {code}:\n{}", self.output());
            }
            let s = self.status();
            (!s.gateway.stale
                && s.gateway.state == "running"
                && s.profiles
                    .iter()
                    .all(|p| p.desired != "running" || !matches!(p.state.as_str(), "starting")))
            .then_some(())
        });
    }

    /// Waits until a profile is ready.
    pub fn wait_ready(&self, name: &str) {
        wait::until_true(&format!("{name} to be ready"), || {
            self.status().profiles.iter().any(|p| p.name == name && p.ready)
        });
    }

    /// Waits until a profile is ready again whose worker `dead` was killed: for a moment status may still show that one.
    pub fn wait_replaced(&self, name: &str, dead: u32) {
        wait::until_true(&format!("{name} to be ready after {dead}"), || {
            self.status().profiles.iter().any(|p| p.name == name && p.ready && p.pid != Some(dead))
        });
    }

    /// Kills a profile's worker, and waits until another one is ready.
    pub fn kill_worker(&self, name: &str) {
        let worker = self.worker(name);
        process::signal(worker, Signal::SIGKILL);
        self.wait_replaced(name, worker);
    }

    /// Waits until a profile's state is `state`.
    pub fn wait_state(&self, name: &str, state: &str) -> Profile {
        wait::until(&format!("{name} to be {state}"), || {
            self.status().profiles.into_iter().find(|p| p.name == name && p.state == state)
        })
    }

    /// The address that serves a platform.
    pub fn address(&self, platform: &str) -> String {
        address(self.home, platform)
    }

    /// The address of the API server as long as somebody says so; afterwards one where nobody listens.
    pub fn address_if_any(&self) -> String {
        let listeners = self.status().gateway.listeners;
        listeners.first().map_or_else(|| "127.0.0.1:1".to_owned(), |l| l.address.clone())
    }

    /// A request to the API listener.
    pub fn api(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        http::request(&self.address("api_server"), method, path, headers, body).unwrap()
    }

    /// A GET on the API listener with a bearer key.
    pub fn get(&self, path: &str, key: &str) -> Response {
        self.api("GET", path, &[("Authorization", &format!("Bearer {key}"))], b"")
    }

    /// A chat completion; the JSON answer.
    pub fn chat(&self, prefix: &str, key: &str, text: &str) -> Response {
        let body =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        self.api(
            "POST",
            &format!("{prefix}/v1/chat/completions"),
            &[("Authorization", &format!("Bearer {key}")), ("Content-Type", "application/json")],
            body.as_bytes(),
        )
    }

    /// Has `provider` ask for these calls of tools, one after the other in one turn of the API; their results, as JSON where they are some.
    pub fn have_done(
        &self,
        prefix: &str,
        key: &str,
        provider: &Provider,
        calls: &[(&str, Value)],
    ) -> Vec<Value> {
        let wanted: Vec<(String, String)> =
            calls.iter().map(|(name, arguments)| ((*name).to_owned(), arguments.to_string())).collect();
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let told = Arc::clone(&seen);
        provider.answer_with(move |body| {
            let messages = body["messages"].as_array().unwrap();
            let results = messages.iter().filter(|message| message["role"] == "tool");
            let results: Vec<Value> = results
                .map(|message| {
                    let text = message["content"].as_str().unwrap();
                    serde_json::from_str(text).unwrap_or_else(|_| text.into())
                })
                .collect();
            let done = results.len();
            *told.lock().unwrap() = results;
            match wanted.get(done) {
                Some((name, arguments)) => {
                    Reply::Calls(vec![(format!("call_{done}"), name.clone(), arguments.clone())])
                }
                None => Reply::text("all done"),
            }
        });
        let answer = self.chat(prefix, key, "go").json();
        assert_eq!(answer["choices"][0]["message"]["content"], "all done", "{answer}");
        let results = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(results.len(), calls.len());
        results
    }

    /// A webhook signed as GitHub does.
    pub fn hook(&self, path: &str, secret: &str, id: &str, body: &str) -> Response {
        http::request(
            &self.address("webhook"),
            "POST",
            path,
            &sign::Signed::new(secret, id, body.as_bytes()).headers(),
            body.as_bytes(),
        )
        .unwrap()
    }

    /// Sends a signal to the supervisor.
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Waits for the supervisor's end; its exit code, or `None` after a signal.
    pub fn wait(&mut self) -> Option<i32> {
        wait::until("the gateway to end", || self.child.try_wait().unwrap()).code()
    }

    /// SIGTERM and wait.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Nothing of this home runs any more.
    pub fn assert_nothing_left(&self) {
        wait::until_true("all processes of the home to end", || process::using(&self.home.root()).is_empty());
    }
}

/// The address that serves a platform of the gateway that runs for a home.
pub fn address(home: &Home, platform: &str) -> String {
    let listeners = status(home).gateway.listeners;
    let found = listeners.iter().find(|l| l.platforms.iter().any(|p| p == platform));
    found.unwrap_or_else(|| panic!("no listener for {platform}: {listeners:?}")).address.clone()
}

/// `hermes status --json` on a home.
pub fn status(home: &Home) -> GatewayStatus {
    let output = run(home, &["status", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", both(&output)))
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(self.child.id().cast_signed()),
                Signal::SIGTERM,
            );
            let deadline = crate::wait::now() + std::time::Duration::from_secs(20);
            while self.child.try_wait().ok().flatten().is_none() && crate::wait::now() < deadline {
                wait::pass(std::time::Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "what the gateway said, under the failed test")]
            {
                eprintln!("--- the gateway said:\n{}", self.output());
            }
        }
    }
}
