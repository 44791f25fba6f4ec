//! The service manager that started this gateway: what it is told of it. Nothing happens without one.
//!
//! It hears `READY` when profiles are served, `STATUS` with how many are, `RELOADING` and `READY` again around a reload or another program,
//! `STOPPING`, and as long as there is something to say at all, signs of life (`WATCHDOG`, and while starting or ending a little more time). Signs of
//! life are no thread's and no task's: the app gives them between two things that it does ([`Manager::due`] is one of the things that can
//! happen to it), so that one which is stuck is silent, and the manager ends it.
//!
//! The words are the crate `sd-notify`'s. The way is our own: a manager that does not read must not stop us, and its address may be abstract.

use std::ffi::{OsStr, OsString};
use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use hermes_host::clock;
use hermes_wire::contract::gateway_status::readiness;
use sd_notify::NotifyState;

/// How long a service manager may take to be told.
const TIME: Duration = Duration::from_millis(500);
/// Between two looks at what there is to say.
const PERIOD: Duration = Duration::from_secs(5);
/// Signs of life in the time after which the manager misses one.
const SIGNS: u32 = 3;
/// Between two looks at whether everybody who should be served is, or has said why not.
const GLANCE: Duration = Duration::from_millis(20);
/// The longest that a start is waited for because of somebody who is slow.
const SETTLING: Duration = Duration::from_secs(30);
/// What each sign of life asks for while the gateway starts or ends.
const MORE: Duration = Duration::from_secs(30);

/// How many profiles are served, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Serve, the degraded ones among them.
    pub(crate) serving: u32,
    pub(crate) desired: u32,
    pub(crate) degraded: u32,
    /// Turns that run.
    pub(crate) turns: u64,
    /// Of whom it is not known yet whether they come to serve.
    pub(crate) starting: u32,
}

/// How far the gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    /// Requests are answered; some profiles are not ready yet.
    Settling(Instant),
    Running,
    Leaving,
}

/// What is known of the manager, and what it was told.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: Option<OsString>,
    /// It ends us where it hears nothing for so long.
    watchdog: Option<Duration>,
    stage: Stage,
    /// When there is something to look at.
    due: Instant,
    /// When a sign of life is.
    sign: Instant,
    /// The last status.
    said: String,
}

impl Manager {
    /// The one that started this process, if one did.
    pub(crate) fn of_this_process() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        Self { watchdog: sd_notify::watchdog_enabled(), ..Self::at(socket) }
    }

    /// There is none.
    pub(crate) fn none() -> Self {
        Self::at(None)
    }

    fn at(socket: Option<OsString>) -> Self {
        let now = clock::now();
        Self { socket, watchdog: None, stage: Stage::Starting, due: now, sign: now, said: String::new() }
    }

    /// Requests are answered; it is told so when every profile is served, or has said why not.
    pub(crate) fn settle(&mut self) {
        self.due = clock::now();
        self.stage = Stage::Settling(self.due + SETTLING);
    }

    /// Profiles are served; after a reload, again.
    pub(crate) fn ready(&mut self, counts: Counts) {
        self.stage = Stage::Running;
        let text = status(counts);
        self.tell(&[NotifyState::Ready, NotifyState::Status(&text)]);
        self.said = text;
        self.sign = clock::now() + self.period();
        self.due = self.sign;
    }

    /// Other settings, or another program, are taken up; the next word is [`Self::ready`], perhaps another program's.
    pub(crate) fn reloading(&mut self, what: &str) {
        let mut words = vec![NotifyState::Reloading, NotifyState::Status(what)];
        match NotifyState::monotonic_usec_now() {
            Ok(stamp) => words.insert(1, stamp),
            Err(error) => {
                tracing::warn!(%error, "the service manager is not told since when this gateway reloads");
            }
        }
        self.tell(&words);
        what.clone_into(&mut self.said);
    }

    /// The gateway ends, within `budget` at most.
    pub(crate) fn stopping(&mut self, what: &str, budget: Duration) {
        self.stage = Stage::Leaving;
        let more = NotifyState::ExtendTimeoutUsec(micros(budget + MORE));
        self.tell(&[NotifyState::Stopping, NotifyState::Status(what), more]);
        what.clone_into(&mut self.said);
    }

    /// When there is something to look at. Never without a manager.
    pub(crate) async fn due(&self) {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.due.into()).await;
    }

    /// Looks, and says what is due.
    pub(crate) fn look(&mut self, counts: Counts) {
        let now = clock::now();
        if let Stage::Settling(until) = self.stage
            && (counts.starting == 0 || now >= until)
        {
            return self.ready(counts);
        }
        if now >= self.sign {
            let text = if self.stage == Stage::Running { status(counts) } else { self.said.clone() };
            self.tell(&signs(self.stage, self.watchdog.is_some(), (text != self.said).then_some(&text)));
            self.said = text;
            self.sign = now + self.period();
        }
        self.due = if matches!(self.stage, Stage::Settling(_)) { now + GLANCE } else { self.sign };
    }

    fn period(&self) -> Duration {
        self.watchdog.map_or(PERIOD, |limit| (limit / SIGNS).min(PERIOD))
    }

    fn tell(&self, words: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = words.iter().map(ToString::to_string).collect();
        if lines.is_empty() {
            return;
        }
        let sent = address(socket).and_then(|address| {
            let sender = UnixDatagram::unbound()?;
            sender.set_write_timeout(Some(TIME))?;
            sender.send_to_addr(lines.join("\n").as_bytes(), &address)
        });
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// What a sign of life says.
fn signs(stage: Stage, watched: bool, news: Option<&String>) -> Vec<NotifyState<'_>> {
    let more = (stage != Stage::Running).then(|| NotifyState::ExtendTimeoutUsec(micros(MORE)));
    let alive = watched.then_some(NotifyState::Watchdog);
    alive.into_iter().chain(more).chain(news.map(|text| NotifyState::Status(text))).collect()
}

/// `3 of 3 profiles ready, 1 turn runs`.
fn status(counts: Counts) -> String {
    let Counts { serving, desired, degraded, turns, .. } = counts;
    let ready = readiness(serving, desired, degraded, "profile");
    let turns = match turns {
        0 => String::new(),
        1 => ", 1 turn runs".to_owned(),
        many => format!(", {many} turns run"),
    };
    format!("{ready}{turns}")
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stage: Stage, watched: bool, news: Option<&str>) -> Vec<String> {
        let news = news.map(str::to_owned);
        signs(stage, watched, news.as_ref()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sign_of_life_says_what_the_stage_needs() {
        assert_eq!(said(Stage::Starting, false, None), ["EXTEND_TIMEOUT_USEC=30000000"]);
        assert_eq!(said(Stage::Starting, true, None), ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]);
        assert_eq!(said(Stage::Running, true, None), ["WATCHDOG=1"]);
        assert_eq!(said(Stage::Running, false, None), [""; 0]);
        assert_eq!(
            said(Stage::Running, false, Some("2 of 3 profiles ready")),
            ["STATUS=2 of 3 profiles ready"]
        );
        assert_eq!(said(Stage::Leaving, true, None), ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]);
    }

    #[test]
    fn what_is_served_is_said_in_words() {
        let status =
            |serving, desired, turns| status(Counts { serving, desired, turns, ..Counts::default() });
        assert_eq!(status(1, 1, 0), "1 of 1 profile ready");
        assert_eq!(status(2, 3, 1), "2 of 3 profiles ready, 1 turn runs");
        assert_eq!(status(3, 3, 4), "3 of 3 profiles ready, 4 turns run");
    }

    /// A manager that does not read, or is gone, stops nobody; one at an abstract address is reached.
    #[test]
    #[cfg(target_os = "linux")]
    fn an_abstract_address_is_reached() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("hermes-test-{}-manager", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        let mut manager = Manager::at(Some(format!("@{name}").into()));
        manager.settle();
        manager.look(Counts { desired: 1, starting: 1, ..Counts::default() });
        manager.look(Counts { serving: 1, desired: 1, ..Counts::default() });
        let mut bytes = [0; 256];
        for said in ["EXTEND_TIMEOUT_USEC=30000000", "READY=1\nSTATUS=1 of 1 profile ready"] {
            let len = heard.recv(&mut bytes).unwrap();
            assert_eq!(std::str::from_utf8(&bytes[..len]).unwrap(), said);
        }
        drop(heard);
        manager.sign = clock::now();
        manager.look(Counts::default());
        manager.stopping("stopping", Duration::from_secs(20));
    }
}
