//! What goes wrong. Each fault is over when it returns, but for the provider's, which comes and goes.

use std::io::Write as _;
use std::process::Stdio;

use hermes_tests::gateway::{both, hermes_at, run};
use hermes_tests::installed::Installed;
use hermes_tests::process::{self, Resource};
use hermes_tests::{Loop, process::limit};

use super::*;

/// How long the machine refuses something.
const FOR: Duration = Duration::from_millis(1500);

pub(super) struct Faults<'a> {
    home: &'a Home,
    disk: Option<&'a Disk>,
    lines: &'a [talk::Line],
    /// Where the gateway writes what it has to say: full, and read by nobody.
    printed: (std::io::PipeReader, std::io::PipeWriter),
    kills: u32,
    /// Where the provider is, when it is there.
    provider: &'a Place,
    /// The program, in a place where another release can take its place.
    installed: Installed,
}

impl<'a> Faults<'a> {
    pub(super) fn new(
        home: &'a Home,
        disk: Option<&'a Disk>,
        lines: &'a [talk::Line],
        provider: &'a Place,
    ) -> Self {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let (reader, mut writer) = std::io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        while writer.write(b"x").is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        Self { home, disk, lines, printed: (reader, writer), kills: 0, provider, installed: Installed::new() }
    }

    /// A gateway that has much to say, to nobody.
    pub(super) fn start(&self) -> Gateway<'a> {
        let mut command = hermes_at(&self.installed.program(), self.home, &["gateway", "run", "-vv"]);
        command.stdout(Stdio::null()).stderr(self.printed.1.try_clone().unwrap());
        Gateway::start_by(self.home, command)
    }

    /// One fault more.
    pub(super) fn one(&mut self, random: &mut Random, gateway: Gateway<'a>, shared: &Shared) -> Gateway<'a> {
        let target = TARGETS[usize::try_from(random.below(3)).unwrap()];
        let pid = gateway.status().profiles.into_iter().find(|p| p.name == target).and_then(|p| p.pid);
        let send = |signal| {
            if let Some(pid) = pid {
                // It may be gone by itself.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal);
            }
        };
        match random.below(20) {
            0..=4 => {
                send(Signal::SIGKILL);
                self.kills += 1;
            }
            5 | 6 => send(Signal::SIGSTOP),
            7 => pid.into_iter().for_each(starve),
            8 => return self.restart(gateway, shared),
            9 => {
                // A worker that dies meanwhile needs what there is none of.
                shared.excused(|| Self::without(gateway.pid(), || send(Signal::SIGKILL)));
            }
            10 => pid.into_iter().for_each(|pid| Self::without(pid, || {})),
            11 => self.on_a_full_disk(|| send(Signal::SIGKILL)),
            12 => self.without_profiles(|| send(Signal::SIGKILL)),
            13 => self.without_sockets(|| send(Signal::SIGKILL)),
            14 => self.provider(shared),
            15 => self.upgrade(&gateway, || {}),
            // A worker dies while its supervisor is neither the one program nor the other.
            16 => self.upgrade(&gateway, || send(Signal::SIGKILL)),
            17 | 18 => {
                (self.lines[usize::try_from(random.next()).unwrap_or_default() % self.lines.len()].cut)();
            }
            _ => drop(run(self.home, &["gateway", "restart", "-p", target])),
        }
        // Enough deaths in a row are a crash loop, which is right and would end the load: clear it.
        if self.kills % 4 == 3 {
            drop(run(self.home, &["gateway", "restart", "-p", target]));
        }
        gateway
    }

    /// Puts right what goes on.
    pub(super) fn end(&mut self, shared: &Shared) {
        if shared.provider.lock().unwrap().is_none() {
            self.provider(shared);
        }
    }

    /// Another release in place: the same process goes on, and the untouched profile is answered all the time.
    fn upgrade(&self, gateway: &Gateway<'a>, meanwhile: impl FnOnce()) {
        let before = gateway.pid();
        self.installed.replace();
        let mut command = hermes_at(&self.installed.program(), self.home, &["gateway", "restart"]);
        let restart = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        meanwhile();
        let output = restart.wait_with_output().unwrap();
        // A profile that was hit otherwise may not be ready, which is said and no fault of this.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", both(&output));
        assert!(process::is_alive(before), "{}", both(&output));
    }

    fn restart(&self, mut gateway: Gateway<'a>, shared: &Shared) -> Gateway<'a> {
        shared.excused(|| {
            gateway.signal(Signal::SIGKILL);
            gateway.wait();
            gateway.assert_nothing_left();
            let next = self.start();
            shared.meet(&next);
            next
        })
    }

    /// No further descriptor for a process.
    fn without(pid: u32, meanwhile: impl FnOnce()) {
        if !process::is_alive(pid) {
            return;
        }
        limit(pid, Resource::Nofile, Some(8));
        meanwhile();
        wait::pass(FOR);
        if process::is_alive(pid) {
            limit(pid, Resource::Nofile, None);
        }
    }

    fn on_a_full_disk(&self, meanwhile: impl FnOnce()) {
        let Some(disk) = self.disk else { return };
        disk.fill();
        meanwhile();
        wait::pass(FOR);
        disk.free();
    }

    fn without_profiles(&self, meanwhile: impl FnOnce()) {
        let broken = Loop::put(self.home.root().join("profiles"));
        meanwhile();
        wait::pass(FOR);
        broken.remove();
    }

    /// As a cleaner takes them away.
    fn without_sockets(&self, meanwhile: impl FnOnce()) {
        for entry in self.home.runtime().read_dir_utf8().unwrap() {
            let _ = fs_err::remove_dir_all(entry.unwrap().path());
        }
        meanwhile();
        wait::pass(FOR);
    }

    /// It goes away, or comes back at the same address.
    fn provider(&mut self, shared: &Shared) {
        let mut provider = shared.provider.lock().unwrap();
        if provider.take().is_none() {
            let back = Provider::start_at(self.provider);
            back.never_answer(POISON);
            *provider = Some(back);
        }
    }
}

/// Lets a worker have next to no CPU for a while: the lowest priority, beside a busy machine.
fn starve(pid: u32) {
    #[expect(clippy::disallowed_methods, reason = "renice is the tool for it")]
    let _ = std::process::Command::new("renice").args(["-n", "19", "-p", &pid.to_string()]).output();
}
