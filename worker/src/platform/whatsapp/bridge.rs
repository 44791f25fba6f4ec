//! The bridge's process: started, heard and ended here, and by nobody else.
//!
//! # Guarantees
//!
//! - Only what was started here is ever ended: a program that has the port, or runs a bridge on the session, is named and left alone.
//! - The process has a few variables and no secret in its environment or arguments: the one that requests carry is written to its input. When
//!   that input ends, because this process did, it ends too.
//! - It sees what it was given and nothing else of the disk, as far as Node.js keeps it to that: its packages, its session and its own state. It is not
//!   behind the [fence](crate::fence), which hides sessions from what a model starts.
//! - It has time to write its session's keys before it is killed.

use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use hermes_config::Secret;
use hermes_host::{blocking, disk, file};
use hermes_wire::absence::OrAbsent as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};

use super::install::{self, Installed, Reach};
use super::service::Service;
use super::settings::{NAME, Settings};
use super::wire::{self, Printed};
use crate::children::{Group, Program, Variables};
use crate::platform::Down;
use crate::process;

/// Time from the start of the process to its first answer.
const FIRST: Duration = Duration::from_secs(12);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Time that it has to end when it is asked to.
const GRACE: Duration = Duration::from_millis(3500);
/// Time that another process of ours has to be gone.
const LEAVING: Duration = Duration::from_secs(4);
/// Time for what is printed before an end.
const REST: Duration = Duration::from_millis(200);
/// Time to say which Node.js it is.
const VERSION: Duration = Duration::from_secs(10);
/// What is missing before it can run, and what to do.
pub(super) const UNINSTALLED: &str = "the bridge is not installed";
pub(super) const INSTALL: &str = "`hermes whatsapp install` does that, once for all profiles";
pub(super) const UNPAIRED: &str = "no account is linked";
pub(super) const PAIR: &str = "`hermes whatsapp pair` shows what to scan with the telephone";
/// Longest line that is read of what it prints, in bytes.
const LINE: usize = 16 * 1024;
/// Variables that it gets of this process's.
const PASSED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE"];

/// What a bridge is started for.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    /// The profile's home.
    pub(super) home: Utf8PathBuf,
    /// What may pass into its environment.
    pub(super) environment: Vec<(String, String)>,
    /// Largest file that is fetched; none: any.
    pub(super) most: Option<u64>,
}

impl Plan {
    /// Where the session is. Blocks.
    pub(super) fn session(&self) -> Utf8PathBuf {
        install::session_at(self.settings.session.as_deref(), &self.home)
    }

    fn variables(&self) -> Variables {
        let mut all = Variables::default();
        for (name, value) in self.environment.iter().filter(|(name, _)| PASSED.contains(&name.as_str())) {
            all.set(name, value);
        }
        all
    }
}

/// The bridge that runs for a profile, whichever of its processes has started it. `known`: the one that was found last.
pub(super) async fn running(
    home: Utf8PathBuf,
    known: &Mutex<Option<(Reach, Service)>>,
) -> Result<Service, String> {
    let reach = blocking::run(move || install::reach(&home)).await.map_err(|error| error.to_string())?;
    let reach = reach.map_err(|error| format!("where the bridge is cannot be read: {error}"))?;
    let reach = reach.ok_or_else(|| "the bridge does not run".to_owned())?;
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let secret = reach.secret.clone().map(Secret::new);
    let service = match &*known {
        Some((before, service)) if *before == reach => return Ok(service.clone()),
        Some((_, service)) => service.at(reach.port, secret),
        None => Service::local(reach.port, secret),
    };
    let service = service.map_err(|failure| failure.to_string())?;
    *known = Some((reach, service.clone()));
    Ok(service)
}

/// A bridge that was started here.
pub(super) struct Bridge {
    group: Group,
    /// Its end is the process's.
    input: Option<ChildStdin>,
    output: FramedRead<ChildStdout, LinesCodec>,
    errors: FramedRead<ChildStderr, LinesCodec>,
    pub(super) service: Service,
    /// Beginning of the hash of another script than ours.
    script: Option<String>,
    /// The profile's home.
    home: Utf8PathBuf,
    /// Its process, also when that has ended.
    pid: Option<u32>,
    /// What it said of its end.
    last: Option<Printed>,
}

/// What is to be started, found and judged.
struct Found {
    session: Utf8PathBuf,
    state: Utf8PathBuf,
    script: Utf8PathBuf,
    /// Ours: where its packages are. Another one: the beginning of its hash.
    of: Result<Utf8PathBuf, String>,
}

impl Bridge {
    /// Starts one, and waits until it answers. Dropping the future kills what was started.
    pub(super) async fn start(plan: &Plan) -> Result<Self, Down> {
        let version = node(plan).await?;
        let looked = plan.clone();
        let found = blocking::run(move || find(&looked)).await;
        let found = found.map_err(|error| Down::retrying("whatsapp_bridge_exited", error.to_string()))??;
        alone(&found.session, &plan.home).await?;
        let asked = plan.settings.port;
        if asked != 0 {
            free(asked).await?;
        }
        // A script that is not ours says nothing of its port.
        let port = if asked == 0 && found.of.is_err() { any_port()? } else { asked };
        let secret = secret()?;
        let mut bridge = spawn(plan, &found, version, port)?;
        let deadline = Instant::now() + FIRST;
        bridge.say(&secret).await;
        let reached = if found.of.is_ok() { bridge.told_port(deadline).await? } else { port };
        let secret = found.of.is_ok().then_some(secret);
        bridge.service = bridge
            .service
            .at(reached, secret.clone().map(Secret::new))
            .map_err(|failure| Down::retrying("whatsapp_bridge_exited", failure.to_string()))?;
        bridge.answers(deadline).await?;
        let pid = bridge.pid.unwrap_or_default();
        let reach = Reach { pid, port: reached, secret, start_time: process::start_time(pid) };
        bridge.publish(&reach).await?;
        Ok(bridge)
    }

    /// Waits for the process's end; what that is to the connection. Cancel safe.
    pub(super) async fn ended(&mut self) -> Down {
        loop {
            let line = tokio::select! {
                biased;
                Some(line) = self.output.next() => line,
                Some(line) = self.errors.next() => line,
                status = self.group.child.wait() => {
                    self.drain().await;
                    let text = match status {
                        Ok(status) => format!("the bridge has ended by itself ({status})"),
                        Err(error) => format!("the bridge's end cannot be waited for: {error}"),
                    };
                    return self.verdict(text);
                }
            };
            self.heard(line);
        }
    }

    /// Ends it: asked first, killed when it does not. Whoever looks for it finds it no more.
    pub(super) async fn end(mut self) {
        let (home, pid) = (self.home.clone(), self.pid);
        let forget = move || {
            // Another process of this profile may have one of its own by now.
            let there = install::reach(&home).ok().flatten();
            if there.is_some_and(|there| Some(there.pid) == pid) {
                // What is not removed leads nowhere.
                let _ = fs_err::remove_file(install::reach_file(&home));
            }
        };
        let _ = blocking::run(forget).await;
        self.input = None;
        if let Some(pid) = self.alive() {
            // Not reaped yet: the number is nobody else's.
            let _ = kill(pid, Signal::SIGTERM);
        }
        if timeout(GRACE, self.group.child.wait()).await.is_err() {
            tracing::warn!("[{NAME}] the bridge does not end, and is killed");
        }
        self.drain().await;
    }

    fn alive(&self) -> Option<Pid> {
        self.group.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    /// Writes the first line of its input.
    async fn say(&mut self, line: &str) {
        let text = format!("{line}\n");
        if let Some(input) = &mut self.input
            && self.script.is_none()
        {
            // A process that does not read, or is gone already, is found by its silence or its end.
            let _ = timeout(FIRST, input.write_all(text.as_bytes())).await;
        }
    }

    /// Its port, as it says it.
    async fn told_port(&mut self, deadline: Instant) -> Result<u16, Down> {
        loop {
            let line = tokio::select! {
                biased;
                Some(line) = self.output.next() => line,
                Some(line) = self.errors.next() => line,
                status = self.group.child.wait() => {
                    self.drain().await;
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(self.verdict(format!("the bridge does not start ({status})")));
                }
                () = tokio::time::sleep_until(deadline) => return Err(late()),
            };
            if let Ok(line) = &line
                && let Printed::Listening(port) = wire::printed(line)
            {
                return Ok(port);
            }
            self.heard(line);
        }
    }

    /// Waits until it answers, and whether that is this one.
    async fn answers(&mut self, deadline: Instant) -> Result<(), Down> {
        loop {
            let service = self.service.clone();
            tokio::select! {
                biased;
                down = self.ended() => return Err(down),
                health = service.health() => match health {
                    Ok(health) => {
                        let is_other = |own: &String| !health.script_hash.is_empty() && *own != health.script_hash;
                        if self.script.as_ref().is_some_and(is_other) {
                            return Err(taken("another bridge"));
                        }
                        return Ok(());
                    }
                    Err(_) if Instant::now() >= deadline => return Err(late()),
                    Err(_) => {}
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn publish(&mut self, reach: &Reach) -> Result<(), Down> {
        let text = serde_json::to_vec(reach).unwrap_or_default();
        let path = install::reach_file(&self.home);
        let written = blocking::run(move || file::write_atomic(&path, &text, 0o600, false)).await;
        let written = written
            .map_err(|error| error.to_string())
            .and_then(|done| done.map_err(|error| error.to_string()));
        written.map_err(|error| {
            Down::retrying(
                "whatsapp_bridge_exited",
                format!("where the bridge is cannot be written down: {error}"),
            )
        })
    }

    /// What it printed before its end.
    async fn drain(&mut self) {
        while let Ok(Some(line)) = timeout(REST, self.output.next()).await {
            self.heard(line);
        }
        while let Ok(Some(line)) = timeout(REST, self.errors.next()).await {
            self.heard(line);
        }
    }

    fn heard(&mut self, line: Result<String, tokio_util::codec::LinesCodecError>) {
        // One that is too long is cut, and its rest skipped.
        let Ok(line) = line else { return };
        match wire::printed(&line) {
            Printed::Text(text) if text.trim().is_empty() => {}
            // What another script prints is its own way of talking.
            Printed::Text(text) if self.script.is_some() => {
                tracing::info!("[{NAME}] the bridge says: {text}");
            }
            Printed::Text(text) => tracing::warn!("[{NAME}] the bridge says: {text}"),
            Printed::State(state) => tracing::info!("[{NAME}] WhatsApp is {state}"),
            Printed::Listening(_) => {}
            last => self.last = Some(last),
        }
    }

    /// What its end is.
    fn verdict(&mut self, text: String) -> Down {
        match self.last.take() {
            Some(Printed::LoggedOut(reason)) => Down::fatal(
                "whatsapp_logged_out",
                format!(
                    "WhatsApp has ended the session ({reason}); `hermes whatsapp pair` links the account again"
                ),
            ),
            Some(Printed::NotPaired) => not_paired(),
            Some(Printed::Replaced) => Down::retrying(
                "whatsapp_session_replaced",
                "another program has connected with the same session; end it, or pair this profile by itself",
            )
            .after(Some(Duration::from_mins(1))),
            Some(Printed::PortInUse) => taken("another program"),
            Some(Printed::Unable(reason)) => {
                Down::retrying("whatsapp_bridge_exited", format!("the bridge cannot run: {reason}"))
            }
            _ => Down::retrying("whatsapp_bridge_exited", text),
        }
    }
}

fn not_paired() -> Down {
    Down::fatal("whatsapp_not_paired", format!("{UNPAIRED}; {PAIR}"))
}

fn late() -> Down {
    Down::retrying(
        "whatsapp_bridge_exited",
        format!("the bridge did not answer within {} s", FIRST.as_secs()),
    )
}

fn taken(who: &str) -> Down {
    let text = format!("{who} has the bridge's port; set `platforms.whatsapp.bridge_port` to 0, or end it");
    Down::retrying("whatsapp_port_in_use", text)
}

/// Why there is no Node.js that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoNode {
    /// There is none, or an old one.
    Missing(String),
    /// It cannot be asked.
    Unasked(String),
}

impl From<NoNode> for Down {
    fn from(why: NoNode) -> Self {
        match why {
            NoNode::Missing(what) => Self::fatal("whatsapp_node_missing", format!("{what}; {}", get_node())),
            NoNode::Unasked(what) => Self::retrying("whatsapp_bridge_exited", what),
        }
    }
}

/// What to do where there is none.
pub(super) fn get_node() -> String {
    format!("install Node.js {} or newer, where the gateway's PATH finds it", install::NODE)
}

/// The version of Node.js, where there is one that can be used.
pub(super) async fn node(plan: &Plan) -> Result<(u32, u32), NoNode> {
    let program = Program::new("node", Utf8Path::new("/"), plan.variables()).arg("--version").heard();
    let mut group = match program.start_bare() {
        Ok(group) => group,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(NoNode::Missing("there is no `node`, which the bridge is run by".to_owned()));
        }
        Err(error) => return Err(NoNode::Unasked(format!("`node` cannot be started: {error}"))),
    };
    let mut printed = String::new();
    let output = group.child.stdout.take();
    let read = async {
        if let Some(output) = output {
            output.take(200).read_to_string(&mut printed).await?;
        }
        group.child.wait().await
    };
    match timeout(VERSION, read).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(NoNode::Unasked(format!("`node --version`: {error}"))),
        Err(_) => return Err(NoNode::Unasked("`node --version` does not end".to_owned())),
    }
    match install::node_version(&printed) {
        Some(version) if version.0 >= install::NODE => Ok(version),
        _ => {
            let printed: String = printed.chars().filter(|c| !c.is_control()).take(40).collect();
            Err(NoNode::Missing(format!("`node` is {printed}, which is too old")))
        }
    }
}

/// What is to be started. Blocks.
fn find(plan: &Plan) -> Result<Found, Down> {
    let failed =
        |what: &str, error: &io::Error| Down::retrying("whatsapp_bridge_exited", format!("{what}: {error}"));
    let root = install::root_of(&plan.home);
    let (script, of) = if let Some(own) = &plan.settings.script {
        let path = plan.home.join(own);
        let bytes = disk::read_bounded(&path, 4 << 20).or_absent();
        let bytes = bytes.map_err(|error| failed("the bridge's script", &error))?;
        let missing = || {
            Down::fatal(
                "whatsapp_bridge_missing",
                format!("`{path}` (platforms.whatsapp.bridge_script) is not there"),
            )
        };
        let hash = Sha256::digest(bytes.ok_or_else(missing)?);
        (path, Err(install::short(&hash)))
    } else {
        match install::look(root).map_err(|error| failed("the bridge's packages", &error))? {
            Installed::Nothing => {
                return Err(Down::fatal("whatsapp_bridge_missing", format!("{UNINSTALLED}; {INSTALL}")));
            }
            Installed::Current => {}
            Installed::Other(version) => tracing::warn!(
                "[{NAME}] the bridge runs with other packages than it was made for ({version}); `hermes whatsapp install` brings those"
            ),
        }
        let put = install::put_scripts(root)
            .and_then(|script| Ok((script.canonicalize_utf8()?, install::place(root).canonicalize_utf8()?)));
        let (script, packages) = put.map_err(|error| failed("the bridge's scripts", &error))?;
        (script, Ok(packages))
    };
    let session = plan.session();
    let is_paired =
        disk::is_there(&session.join(install::CREDENTIALS)).map_err(|error| failed("the session", &error))?;
    if !is_paired {
        return Err(not_paired());
    }
    let state = install::state(&plan.home);
    let real = file::make_dirs(&state, 0o700)
        .and_then(|()| fs_err::create_dir_all(state.join("media")))
        .and_then(|()| fs_err::create_dir_all(state.join("outgoing")))
        .and_then(|()| Ok((session.canonicalize_utf8()?, state.canonicalize_utf8()?)));
    let (session, state) = real.map_err(|error| failed("the bridge's directories", &error))?;
    Ok(Found { session, state, script, of })
}

/// Whether no bridge runs on a session. One of ours that is just ending is waited for: the one that a process of this profile had which has yielded,
/// or was killed, is known by what was written down of it, and ends with its input.
async fn alone(session: &Utf8Path, home: &Utf8Path) -> Result<(), Down> {
    let deadline = Instant::now() + LEAVING;
    loop {
        let (of, home) = (session.to_owned(), home.to_owned());
        let look = move || {
            let ours = install::reach(&home).ok().flatten().and_then(|reach| reach.alive());
            (ours, install::holder(&of))
        };
        let others = blocking::run(look).await;
        let others = others.map_err(|error| Down::retrying("whatsapp_bridge_exited", error.to_string()))?;
        let (ours, Some(pid)) = (others.0, others.0.or(others.1)) else { return Ok(()) };
        if Instant::now() >= deadline {
            if ours.is_some() {
                let text = format!(
                    "process {pid}, the bridge of an earlier worker of this profile, does not end; end it"
                );
                return Err(Down::retrying("whatsapp_bridge_running", text));
            }
            let text = format!(
                "process {pid} runs a bridge with this session that this gateway did not start, as the Python program's gateway does; stop that gateway, or end the process"
            );
            return Err(Down::retrying("whatsapp_bridge_running", text));
        }
        sleep(LOOK).await;
    }
}

/// Whether a port can be had; else who has it.
async fn free(port: u16) -> Result<(), Down> {
    let Err(error) = std::net::TcpListener::bind(("127.0.0.1", port)) else { return Ok(()) };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Err(Down::retrying("whatsapp_port_in_use", format!("port {port} cannot be used: {error}")));
    }
    let health = match Service::local(port, None) {
        Ok(service) => service.health().await,
        Err(failure) => Err(failure),
    };
    Err(taken(&match health {
        Ok(_) => format!(
            "a bridge that this gateway did not start, as the Python program's gateway does, has port {port}:"
        ),
        Err(_) => format!("another program listens on port {port}:"),
    }))
}

/// A port that is free now.
fn any_port() -> Result<u16, Down> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| Down::retrying("whatsapp_port_in_use", format!("no port is free: {error}")))
}

/// What nobody else knows.
fn secret() -> Result<String, Down> {
    let mut bytes = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Down::retrying("whatsapp_bridge_exited", "the system gives no random numbers"))?;
    Ok(crate::platform::wire::hex(&bytes))
}

fn spawn(plan: &Plan, found: &Found, version: (u32, u32), port: u16) -> Result<Bridge, Down> {
    let mut variables = plan.variables();
    let mode = plan.settings.mode.word();
    let mut words = Vec::new();
    if let Ok(packages) = &found.of {
        words.extend(install::permissions(version, &[packages], &[&found.session, &found.state]));
    } else {
        variables.set("HERMES_HOME", plan.home.as_str());
        variables.set("WHATSAPP_MODE", mode);
        // Who may talk to the bot, and how its answers begin, is decided here.
        variables.set("WHATSAPP_ALLOWED_USERS", "*");
        variables.set("WHATSAPP_REPLY_PREFIX", "");
    }
    let port = port.to_string();
    words.extend(
        [found.script.as_str(), "--port", &port, "--session", found.session.as_str(), "--mode", mode]
            .map(str::to_owned),
    );
    if found.of.is_ok() {
        let time = plan.settings.send_timeout.as_millis().to_string();
        let most = plan.most.unwrap_or_default().to_string();
        words.extend(
            ["--state", found.state.as_str(), "--max-media", &most, "--send-timeout", &time]
                .map(str::to_owned),
        );
        words.extend(plan.settings.read_receipts.then(|| "--read-receipts".to_owned()));
    }
    let dir = found.script.parent().unwrap_or(Utf8Path::new("/"));
    let mut program = Program::new("node", dir, variables).heard();
    program.arguments = words.into_iter().map(Into::into).collect();
    program.stdin = Stdio::piped();
    let mut group = program.start_bare().map_err(|error| {
        Down::retrying("whatsapp_bridge_exited", format!("the bridge cannot be started: {error}"))
    })?;
    let pipes = (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let (Some(input), Some(output), Some(errors)) = pipes else {
        return Err(Down::retrying("whatsapp_bridge_exited", "the bridge has no pipes"));
    };
    let pid = group.child.id();
    let lines = || LinesCodec::new_with_max_length(LINE);
    let service = Service::local(0, None)
        .map_err(|failure| Down::retrying("whatsapp_bridge_exited", failure.to_string()))?;
    Ok(Bridge {
        group,
        input: Some(input),
        output: FramedRead::new(output, lines()),
        errors: FramedRead::new(errors, lines()),
        service,
        script: found.of.as_ref().err().cloned(),
        home: plan.home.clone(),
        pid,
        last: None,
    })
}
