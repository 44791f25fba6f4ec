//! Where programs of the newer Python releases look for a gateway, and what they may ask of it there.
//!
//! Two things, both for whoever knows nothing of `supervisor.sock`:
//!
//! - `gateway.sock` in the gateway's home ([`socket`]): one JSON line in, one JSON line out ([`request`]), answered by [`server`] with
//!   what [`answers`] makes of the board, or, where something is to be done, by the app.
//! - the host record ([`host`]): one lock and one file for each user of the system, by which a second `gateway run` finds the first one.
//!
//! **Who owns what.** [`Rendezvous`] owns the socket's name and the seat of the host, both shared between the app, which takes the
//! seat at start and gives it up at the end, and the server, which looks every few seconds whether both are still there. Everything on a disk is done on
//! the threads for that.
//!
//! **What is guaranteed.** Only who holds the lock of the home touches `gateway.sock`; only a file of our own is ever unlinked, and at
//! the end only the very one that was made. Nothing here keeps a gateway from running, with one exception: a host that lives and says
//! that it serves this very home. A client that leaves takes nothing back of what it asked for.

use std::ffi::OsString;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{blocking, clock};

mod answers;
pub(crate) mod host;
mod inherit;
mod request;
pub(crate) mod server;
mod socket;

pub use host::HostConflict;
pub(crate) use inherit::Kept;
pub(crate) use server::{Ask, Asked, CLIENTS, Looked, Pausing};

/// How long the look for another host may keep a start waiting: its directory may be on a file system that hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// What starts a process again that was told so, and nothing else.
pub const EXTERNAL: &str = "external";

/// Where those programs look, and what starts this process, as its environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// For a socket whose path in the home would be too long.
    pub temp_dir: Utf8PathBuf,
    /// Of the host record; `None` where the environment names no directory for it.
    pub host: Option<Utf8PathBuf>,
    /// What starts this process again: `systemd`, `launchd`, `desktop`, [`EXTERNAL`] or `manual`.
    pub supervisor: &'static str,
}

impl Places {
    /// Reads them; `pid` and `parent` are this process's.
    pub fn read(get: impl Fn(&str) -> Option<OsString>, pid: u32, parent: Option<u32>) -> Self {
        let text = |name: &str| get(name)?.into_string().ok().map(|text| text.trim().to_owned());
        let path = |name: &str| {
            text(name)
                .filter(|text| !text.is_empty())
                .map(Utf8PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let below = |state: Utf8PathBuf| state.join("hermes/gateway-locks");
        let state = || path("XDG_STATE_HOME").or_else(|| path("HOME").map(|home| home.join(".local/state")));
        Self {
            temp_dir: path("TMPDIR").unwrap_or_else(|| "/tmp".into()),
            host: path("HERMES_GATEWAY_LOCK_DIR").or_else(|| state().map(below)),
            supervisor: supervisor(text, pid, parent),
        }
    }
}

/// Who starts this process again. A shell in a desktop's terminal inherits the variables of the unit that the terminal runs in: newer managers
/// name the process that they are meant for.
fn supervisor(text: impl Fn(&str) -> Option<String>, pid: u32, parent: Option<u32>) -> &'static str {
    let meant = |by: String| by.parse().is_ok_and(|by: u32| by == pid || Some(by) == parent);
    if text("INVOCATION_ID").is_some_and(|id| !id.is_empty()) && text("SYSTEMD_EXEC_PID").is_none_or(meant) {
        return "systemd";
    }
    let yes = |value: String| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
    if text(hermes_wire::env::EXTERNAL_SUPERVISOR).is_some_and(yes) {
        return EXTERNAL;
    }
    let of_launchd = |name: &str| text(name).is_some_and(|value| value.contains("hermes"));
    if cfg!(target_os = "macos") && (of_launchd("XPC_SERVICE_NAME") || text("LAUNCHD_SOCKET").is_some()) {
        return "launchd";
    }
    if text("HERMES_DESKTOP_MANAGED").is_some_and(|value| !value.is_empty()) { "desktop" } else { "manual" }
}

/// The socket's name and the seat of the host. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Rendezvous {
    supervisor: &'static str,
    home: Utf8PathBuf,
    door: Arc<Mutex<socket::Door>>,
    seat: Arc<Mutex<host::Seat>>,
    /// Whether this process becomes another program, and the listener for it, when it is not served any more.
    renewal: Arc<Mutex<(bool, Option<Kept>)>>,
}

impl Rendezvous {
    /// Of the gateway of `home`, whose sockets are in `runtime_dir`; touches nothing.
    pub(crate) fn new(places: Places, home: &Utf8Path, runtime_dir: &Utf8Path) -> Self {
        Self {
            supervisor: places.supervisor,
            home: home.to_owned(),
            door: Arc::new(Mutex::new(socket::Door::new(home, &places.temp_dir, runtime_dir))),
            seat: Arc::new(Mutex::new(host::Seat::new(places.host, home))),
            renewal: Arc::default(),
        }
    }

    /// Makes the socket, or goes on with the one from before; its listener. Where that cannot be now, it is tried again by the server.
    pub(crate) fn open(&self, kept: Option<Kept>) -> Option<UnixListener> {
        let mut door = lock(&self.door);
        kept.and_then(|kept| door.adopt(kept)).or_else(|| door.look())
    }

    /// The socket is handed to another program: said before whoever serves it is told to end.
    pub(crate) fn keep_socket(&self) {
        lock(&self.renewal).0 = true;
    }

    /// This process becomes another program: the names stay, and so does the record, which is of this process.
    pub(crate) async fn keep(&self) {
        self.keep_socket();
        // Where it cannot be had now, the lock of the record is gone when this process is another program.
        self.on_disk("kept", |both| lock(&both.seat).keep()).await;
    }

    /// What the next program is handed, once nobody is served any more.
    pub(crate) fn take_kept(&self) -> Option<Kept> {
        lock(&self.renewal).1.take()
    }

    /// After all there is no next program.
    pub(crate) async fn discard(&self) {
        self.on_disk("removed", |both| {
            lock(&both.door).remove();
            lock(&both.seat).remove_record();
        })
        .await;
    }

    /// Says that this gateway is the host of `profiles`, before any of them connects. Refused is a start beside a host of this very home.
    pub(crate) async fn claim(&self, profiles: Vec<String>) -> Result<(), HostConflict> {
        let seat = Arc::clone(&self.seat);
        let claimed = blocking::run(move || lock(&seat).claim(&profiles, clock::now()));
        match tokio::time::timeout(PATIENCE, claimed).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(error)) => {
                tracing::warn!(%error, "there is no host record: newer Python programs do not find this gateway");
                Ok(())
            }
            Err(_) => {
                tracing::warn!(
                    "the directory of the host record does not answer: newer Python programs may not find this gateway"
                );
                Ok(())
            }
        }
    }

    /// Gives the seat up. Short of a file system that hangs this is done when it returns.
    pub(crate) async fn leave(&self) {
        self.on_disk("removed", |both| lock(&both.seat).leave()).await;
    }

    /// Does `work` on a thread for that. Another one may hang in a file system with what it needs: nobody waits for that.
    async fn on_disk(&self, what: &str, work: impl FnOnce(&Self) + Send + 'static) {
        let both = self.clone();
        let worked = blocking::run(move || work(&both));
        if !matches!(tokio::time::timeout(PATIENCE, worked).await, Ok(Ok(()))) {
            tracing::warn!(
                "the host record could not be {what} in time; it counts as dead when this process is"
            );
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Places {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Places::read(get, 40, Some(30))
    }

    #[test]
    fn directories_are_those_of_the_python_program() {
        let home = ("HOME", "/home/u");
        let usual = read(&[home]);
        assert_eq!(usual.host.unwrap(), "/home/u/.local/state/hermes/gateway-locks");
        assert_eq!(usual.temp_dir, "/tmp");
        let state = ("XDG_STATE_HOME", "/state");
        assert_eq!(read(&[home, state]).host.unwrap(), "/state/hermes/gateway-locks");
        let own = read(&[home, state, ("HERMES_GATEWAY_LOCK_DIR", "/locks"), ("TMPDIR", "/scratch")]);
        assert_eq!((own.host.unwrap().as_str(), own.temp_dir.as_str()), ("/locks", "/scratch"));
        assert_eq!(
            read(&[("HERMES_GATEWAY_LOCK_DIR", "locks"), ("HOME", " ")]).host,
            None,
            "nowhere is no place"
        );
    }

    /// A directory that hangs has whoever looks there, and neither the end of this process nor its next program.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_directory_that_hangs() {
        let rendezvous = Rendezvous::new(read(&[]), "/h".into(), "/r".into());
        let seat = Arc::clone(&rendezvous.seat);
        let (tell, told) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hanging = std::thread::spawn(move || {
            let _seat = lock(&seat);
            tell.send(()).unwrap();
            released.recv().is_err()
        });
        told.recv().unwrap();
        let time = || async {
            tokio::task::yield_now().await;
            tokio::time::advance(PATIENCE).await;
        };
        tokio::join!(rendezvous.keep(), time());
        tokio::join!(rendezvous.discard(), time());
        tokio::join!(rendezvous.leave(), time());
        assert!(lock(&rendezvous.renewal).0, "what is handed on does not need the seat");
        drop(release);
        assert!(hanging.join().unwrap());
    }

    #[test]
    fn only_who_is_started_by_a_manager_says_so() {
        let unit = ("INVOCATION_ID", "6f1e");
        for (variables, expected) in [
            (vec![], "manual"),
            (vec![unit], "systemd"),
            (vec![unit, ("SYSTEMD_EXEC_PID", "40")], "systemd"),
            (vec![unit, ("SYSTEMD_EXEC_PID", "30")], "systemd"),
            (vec![unit, ("SYSTEMD_EXEC_PID", "7")], "manual"),
            (vec![("HERMES_DESKTOP_MANAGED", "1")], "desktop"),
        ] {
            assert_eq!(read(&variables).supervisor, expected, "{variables:?}");
        }
    }
}
