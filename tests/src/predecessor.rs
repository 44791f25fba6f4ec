//! A stand-in for the Python program's gateway: a process with its command line, its record and, if wanted, its lock.

use std::process::{Child, Command, Stdio};

use crate::{Home, process, wait};

/// The process. Killed on drop.
pub struct Predecessor {
    child: Child,
}

impl Predecessor {
    /// Starts one for a profile's home, which serves `served` and, told to end, writes `word` of the marker it found to
    /// `ended` in that home. It needs `flock` of util-linux for the lock.
    #[expect(clippy::disallowed_methods, reason = "starts the stand-in")]
    pub fn start(home: &Home, profile: &str, with_lock: bool, served: &[&str]) -> Self {
        let program = home.user().join("bin").join("hermes");
        fs_err::create_dir_all(program.parent().unwrap()).unwrap();
        let lock = if with_lock { "exec 9>>gateway.lock; flock -n -x 9 || exit 1\n" } else { "" };
        let script = format!(
            "{lock}end() {{ ls -a | grep -E '^.gateway-(takeover|planned-stop).json$' > ended; rm -f gateway.pid; exit 0; }}\n\
             trap end TERM\necho up > up\nwhile :; do sleep 0.05; done\n"
        );
        fs_err::write(&program, script).unwrap();
        let dir = home.of(profile);
        let mut command = Command::new("/bin/sh");
        command.arg(&program);
        if profile != "default" {
            command.args(["--profile", profile]);
        }
        let child = command
            .args(["gateway", "run"])
            .current_dir(&dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child };
        wait::until_true("the stand-in to be up", || dir.join("up").exists());
        let pid = started.pid();
        let record = format!(
            r#"{{"pid":{pid},"kind":"hermes-gateway","argv":["{program}","gateway","run"],"start_time":{}}}"#,
            process::start_time(pid)
        );
        fs_err::write(dir.join("gateway.pid"), &record).unwrap();
        if with_lock {
            fs_err::write(dir.join("gateway.lock"), &record).unwrap();
        }
        let served = if served.is_empty() {
            String::new()
        } else {
            format!(r#","served_profiles":{}"#, serde_json::to_string(served).unwrap())
        };
        let status = record.trim_end_matches('}').to_owned()
            + &format!(r#","gateway_state":"running","platforms":{{}}{served}}}"#);
        fs_err::write(dir.join("gateway_state.json"), status).unwrap();
        started
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        process::is_alive(self.pid())
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
