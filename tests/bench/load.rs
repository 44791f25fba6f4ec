//! Load: wrk for plain requests, nginx as the proxy to beat, homes of many profiles.

use std::process::{Child, Command, Stdio};

use hermes_tests::Home;
use hermes_tests::http;

/// What wrk saw.
pub(crate) struct Seen {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
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

/// nginx in front of one worker's data socket.
pub(crate) struct Nginx {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Starts it as a person would configure it for this: keep-alive upstream, no log, one worker process a core.
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the tools it compares with")]
    pub(crate) fn start(profile: &str, socket: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // The port is free now; nobody else on this machine is racing for it.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let at = dir.path().display();
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
        let program =
            if std::path::Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let child = Command::new(program)
            .args(["-c", &format!("{at}/nginx.conf"), "-e", &format!("{at}/error.log")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let nginx = Self { child, address, _dir: dir };
        hermes_tests::wait::until_true("nginx", || {
            http::request(&nginx.address, "GET", &format!("/p/{profile}/health"), &[], b"")
                .is_ok_and(|r| r.status == 200)
        });
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM lets the master end its workers.
        hermes_tests::process::signal(self.child.id(), nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A home with `n` profiles in all.
pub(crate) fn home_of(n: usize) -> Home {
    let home = Home::new();
    for i in 1..n {
        home.profile(&format!("p{i:04}"));
    }
    home
}
