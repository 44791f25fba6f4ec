//! A real server: ngIRCd, as distributions have it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use crate::tools;

/// The server's program, where distributions put it.
const PROGRAM: &str = "/usr/sbin/ngircd";

/// A running server.
pub struct Ngircd {
    /// Where it listens.
    pub address: String,
    listener: TcpListener,
    place: tempfile::TempDir,
    process: Child,
}

impl Ngircd {
    /// Starts one; `None`: it is not installed, which was said.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// The same with more in its configuration, behind `[Global]`.
    pub fn with(more: &str) -> Option<Self> {
        if !tools::have("ngircd") {
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        let config = format!(
            "[Global]\nName = irc.test.example\nInfo = test\nAdminInfo1 = test\nListen = 127.0.0.1\nPorts = 1\nMotdPhrase = hi\n{more}\n\
             [Limits]\nMaxConnectionsIP = 0\nMaxJoins = 0\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        fs_err::write(place.path().join("conf"), config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let process = Self::run(&listener, &place);
        Some(Self { address, listener, place, process })
    }

    /// It takes its port as service managers hand one over.
    #[expect(clippy::disallowed_methods, reason = "the test starts the server itself")]
    fn run(listener: &TcpListener, place: &tempfile::TempDir) -> Child {
        let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" -n -f \"$1\"";
        Command::new("/bin/sh")
            .args(["-c", script, PROGRAM])
            .arg(place.path().join("conf"))
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// `.env` lines for a bot on it.
    pub fn env(&self) -> String {
        env(&self.address)
    }

    /// It dies; who connects meanwhile waits.
    pub fn kill(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// It dies and comes back.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Self::run(&self.listener, &self.place);
    }
}

impl Drop for Ngircd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `.env` lines for a bot of a server, in one channel.
pub(super) fn env(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!("IRC_SERVER={host}\nIRC_PORT={port}\nIRC_USE_TLS=false\nIRC_CHANNEL='#hermes'\n")
}
