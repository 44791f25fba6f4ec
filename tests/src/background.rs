//! Gateways that a command under test has started in the background: nobody holds their handles, so they are ended by the record in
//! their home, which names the process and when it was started.

use nix::sys::signal::Signal;

use crate::{Home, process, wait};

/// Every gateway of a home. Ended on drop.
pub struct Background<'a>(pub &'a Home);

impl Background<'_> {
    /// The process of a profile's gateway, as its record says; `None` where that process is gone.
    pub fn pid(&self, profile: &str) -> Option<u32> {
        let record: serde_json::Value = serde_json::from_str(&self.0.read(profile, "gateway.pid")?).ok()?;
        let pid = u32::try_from(record["pid"].as_u64()?).ok()?;
        let is_it = process::is_alive(pid) && record["start_time"].as_u64() == Some(process::start_time(pid));
        is_it.then_some(pid)
    }

    /// The same of one that has to be there.
    pub fn running(&self, profile: &str) -> u32 {
        self.pid(profile).unwrap_or_else(|| panic!("no gateway of {profile} runs in the background"))
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        let profiles = self.0.of("default").join("profiles");
        let entries = profiles.read_dir_utf8().into_iter().flatten().filter_map(Result::ok);
        let names: Vec<String> = entries.map(|entry| entry.file_name().to_owned()).collect();
        for name in names.iter().map(String::as_str).chain(["default"]) {
            let Some(pid) = self.pid(name) else { continue };
            for (signal, time) in [(Signal::SIGTERM, 20), (Signal::SIGKILL, 5)] {
                let deadline = wait::now() + std::time::Duration::from_secs(time);
                if self.pid(name) == Some(pid) {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal);
                }
                while self.pid(name) == Some(pid) && wait::now() < deadline {
                    wait::pass(std::time::Duration::from_millis(10));
                }
            }
        }
    }
}
