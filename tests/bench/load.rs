//! Load: wrk for plain requests, nginx and HAProxy as the proxies to beat, homes of many profiles.

use std::process::{Child, Command, Stdio};

use hermes_tests::Home;
use hermes_tests::http;

/// What wrk saw.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Connections that broke.
    pub(crate) broken: u64,
}

/// Runs wrk for some seconds. `None` where it is not installed.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts the tools it compares with")]
pub(crate) fn wrk(url: &str, connections: u32, seconds: u32) -> Option<Seen> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", url])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{url}: {text}");
    let field = |name: &str| text.lines().find_map(|l| Some(l.trim().strip_prefix(name)?.trim().to_owned()));
    Some(Seen {
        per_second: field("Requests/sec:")?.parse().ok()?,
        p50_us: micros(&field("50%")?)?,
        p99_us: micros(&field("99%")?)?,
        broken: field("Socket errors:").map_or(0, |errors| {
            let numbers = errors.split(|c: char| !c.is_ascii_digit());
            numbers.filter_map(|n| n.parse::<u64>().ok()).sum()
        }),
    })
}

fn micros(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = text[..split].parse().ok()?;
    Some(match &text[split..] {
        "us" => value,
        "ms" => value * 1e3,
        "s" => value * 1e6,
        _ => return None,
    })
}

/// Another program in the place of ours, running.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    _dir: Option<tempfile::TempDir>,
}

impl Peer {
    /// nginx in front of one worker's data socket, as a person would configure it for this: keep-alive upstream, no log, one worker
    /// process a core. `None` where it is not installed.
    pub(crate) fn nginx(profile: &str, socket: &str) -> Option<Self> {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = dir.path().display().to_string();
        // The sockets are for one user; nginx started by root would otherwise become another.
        let user = if nix::unistd::geteuid().is_root() { "user root; " } else { "" };
        let config = format!(
            "{user}daemon off; worker_processes auto; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             client_max_body_size 64m; keepalive_requests 1000000000;\n\
             upstream worker {{ server unix:{socket}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; location /p/{profile}/ {{ proxy_pass http://worker/; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header X-Hermes-Profile {profile}; proxy_set_header X-Forwarded-Prefix /p/{profile}; proxy_set_header X-Hermes-Listener api_server; proxy_buffering off; proxy_request_buffering off; }} }}\n}}\n"
        );
        fs_err::write(dir.path().join("nginx.conf"), config).unwrap();
        let args = ["-c", &format!("{at}/nginx.conf"), "-e", &format!("{at}/error.log")];
        Self::start("nginx", &args, dir, address, &format!("/p/{profile}/health"))
    }

    /// HAProxy in the same place, the same way: one thread a core, connections to the worker reused whoever made them.
    pub(crate) fn haproxy(profile: &str, socket: &str) -> Option<Self> {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = dir.path().display().to_string();
        let config = format!(
            "global\n  maxconn 4096\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
             frontend front\n  bind {address}\n  default_backend worker\n\
             backend worker\n  http-request replace-path /p/{profile}(/.*) \\1\n  http-request set-header X-Hermes-Profile {profile}\n\
             \u{20}\u{20}http-request set-header X-Forwarded-Prefix /p/{profile}\n  http-request set-header X-Hermes-Listener api_server\n\
             \u{20}\u{20}server one unix@{socket} pool-max-conn 64\n"
        );
        fs_err::write(dir.path().join("haproxy.cfg"), config).unwrap();
        let args = ["-db", "-q", "-f", &format!("{at}/haproxy.cfg")];
        Self::start("haproxy", &args, dir, address, &format!("/p/{profile}/health"))
    }

    /// A worker reached directly: no proxy at all.
    pub(crate) fn worker(home: &Home, profile: &str) -> Self {
        let address = free_address();
        let mut command = hermes_tests::gateway::hermes(home, &["worker", "-p", profile, "--http", &address]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, address, _dir: None }.answering("/health")
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the tools it compares with")]
    fn start(name: &str, args: &[&str], dir: tempfile::TempDir, address: String, path: &str) -> Option<Self> {
        // Not in everybody's PATH, being a server.
        let installed = std::path::Path::new("/usr/sbin").join(name);
        let program = if installed.exists() { installed } else { name.into() };
        let child =
            Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { child, address, _dir: Some(dir) }.answering(path))
    }

    fn answering(self, path: &str) -> Self {
        hermes_tests::wait::until_true(path, || {
            http::request(&self.address, "GET", path, &[], b"").is_ok_and(|r| r.status == 200)
        });
        self
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM lets a master end its workers.
        hermes_tests::process::signal(self.child.id(), nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Free now; nobody else on this machine is racing for it.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A home with `n` profiles in all.
pub(crate) fn home_of(n: usize) -> Home {
    let home = Home::new();
    for i in 1..n {
        home.profile(&format!("p{i:04}"));
    }
    home
}
