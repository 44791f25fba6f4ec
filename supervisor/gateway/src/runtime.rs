//! The runtime directory: where the sockets of this gateway have their names.
//!
//! Names are for people and commands. The gateway itself depends on none: a data socket is held ([`Door`]) from the moment it was
//! bound, so that requests reach the worker whatever becomes of the directory. A command finds the directory by the PID record,
//! and believes the socket in it only after a look at who listens there.
//!
//! [`Runtime::keep`] looks every [`LOOK`], on a thread of its own because a file system may hang, whether the names are still there. A lost
//! directory is made again, or, where that is refused, another one is taken and told to the PID record: logind removes a user's
//! directory with his last session. `supervisor.sock` is bound anew; a data socket's name becomes a link to the one that is held.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_wire::endpoint::{RuntimeDir, SUPERVISOR_SOCKET};

mod directory;
mod door;
#[cfg(target_os = "linux")]
mod relay;

use directory::{Directory, Id};
pub(crate) use door::{Door, dial, verify};

/// What decides where a user's gateways have their sockets.
#[derive(Debug, Clone)]
pub struct SocketPlaces {
    /// `XDG_RUNTIME_DIR`, unless blank.
    pub xdg_runtime_dir: Option<Utf8PathBuf>,
    /// Effective user id.
    pub uid: u32,
}

impl SocketPlaces {
    /// Where a gateway whose instance home is `home` may have its sockets, the best place first: the system's directory for what
    /// this user runs, else one in the home.
    pub fn of(&self, home: &Utf8Path) -> Vec<RuntimeDir> {
        let home = home.canonicalize_utf8().unwrap_or_else(|_| home.to_owned());
        let usual = || Some(Utf8PathBuf::from(format!("/run/user/{}", self.uid))).filter(|dir| dir.is_dir());
        let base = self.xdg_runtime_dir.clone().filter(|dir| dir.is_absolute()).or_else(usual);
        let below = base.map(|base| RuntimeDir::below(&base, &home));
        below.into_iter().chain([RuntimeDir::in_home(&home)]).collect()
    }
}

/// Time between two looks at the directory.
const LOOK: Duration = Duration::from_secs(2);
/// Time that a look may still take when the gateway ends.
const END: Duration = Duration::from_secs(1);

/// The directory in use, and those that may take its place.
#[derive(Debug)]
pub(crate) struct Runtime {
    choices: Vec<RuntimeDir>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Arc<Directory>,
    /// `supervisor.sock` as bound.
    commands: Option<Id>,
    /// The data sockets by name.
    doors: BTreeMap<String, Weak<Door>>,
    /// What was made again under such a name, where only that could be.
    relays: BTreeMap<String, Id>,
    /// The directory's stamp at the last look that found every name.
    seen: Option<(i64, i64)>,
}

/// A data socket with its listener, which outlives every process behind it.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) listener: Arc<UnixListener>,
    pub(crate) door: Option<Arc<Door>>,
}

impl Runtime {
    /// Takes the first of these directories that can be used, making it where it is missing. What is no directory is a mistake that
    /// is not passed over.
    pub(crate) fn open(choices: Vec<RuntimeDir>) -> io::Result<Self> {
        let directory = first(&choices, false)?;
        let inner = Inner {
            directory: Arc::new(directory),
            commands: None,
            doors: BTreeMap::new(),
            relays: BTreeMap::new(),
            seen: None,
        };
        Ok(Self { choices, inner: Mutex::new(inner) })
    }

    /// The directory in use.
    pub(crate) fn path(&self) -> Utf8PathBuf {
        self.lock().directory.path().to_owned()
    }

    /// Where people find the socket `name`.
    pub(crate) fn path_of(&self, name: &str) -> Utf8PathBuf {
        self.lock().directory.path().join(name)
    }

    /// Listens for commands.
    pub(crate) fn listen_for_commands(&self) -> io::Result<UnixListener> {
        let directory = self.directory();
        let listener = directory.listen(SUPERVISOR_SOCKET)?;
        self.lock().commands = directory.id(SUPERVISOR_SOCKET);
        Ok(listener)
    }

    /// Goes on with the listener for commands of the program that this process was before, where its name still leads to it.
    pub(crate) fn adopt_commands(&self, id: Id) -> bool {
        let is_it = self.directory().id(SUPERVISOR_SOCKET) == Some(id);
        if is_it {
            self.lock().commands = Some(id);
        }
        is_it
    }

    /// What tells the listener for commands from another one of its name.
    pub(crate) fn commands(&self) -> Option<(u64, u64)> {
        self.lock().commands
    }

    /// Goes on with a data socket of that program, by whatever holds it.
    pub(crate) fn adopt(
        &self,
        name: &str,
        listener: UnixListener,
        door: Option<std::os::fd::OwnedFd>,
    ) -> io::Result<Listening> {
        listener.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        let door = door.and_then(Door::held).map(Arc::new);
        #[cfg(not(target_os = "linux"))]
        let door: Option<Arc<Door>> = door.and(None);
        if let Some(door) = &door {
            self.lock().doors.insert(name.to_owned(), Arc::downgrade(door));
        }
        Ok(Listening { listener: Arc::new(listener), door })
    }

    /// Makes the data socket `name`.
    pub(crate) fn listen(&self, name: &str) -> io::Result<Listening> {
        let directory = self.directory();
        let listener = match directory.listen(name) {
            Ok(listener) => listener,
            // Lost, and not made again yet: this look comes early.
            Err(_) if !directory.is_in_place() => {
                let directory = Arc::new(first(&self.choices, true)?);
                let listener = directory.listen(name)?;
                return Ok(self.held(&directory, name, listener));
            }
            Err(error) => return Err(error),
        };
        Ok(self.held(&directory, name, listener))
    }

    fn held(&self, directory: &Directory, name: &str, listener: UnixListener) -> Listening {
        #[cfg(target_os = "linux")]
        let door = Door::of(directory, name, &listener).map(Arc::new);
        #[cfg(not(target_os = "linux"))]
        let door: Option<Arc<Door>> = {
            let _ = directory;
            None
        };
        if let Some(door) = &door {
            self.lock().doors.insert(name.to_owned(), Arc::downgrade(door));
        }
        Listening { listener: Arc::new(listener), door }
    }

    /// Removes the name of a data socket.
    pub(crate) fn remove(&self, name: &str) {
        self.lock().doors.remove(name);
        if let Err(error) = self.directory().remove(name) {
            tracing::warn!(%error, "the data socket cannot be removed");
        }
    }

    /// Removes the directory with what is left in it of ours.
    pub(crate) fn close(&self) {
        let directory = self.directory();
        if let Err(error) = directory.remove(SUPERVISOR_SOCKET) {
            tracing::warn!(%error, "the command socket cannot be removed");
        }
        directory.dissolve();
    }

    /// Starts to look after the names. A listener in place of the one for commands goes to `replaced`, the directory that is used
    /// instead of a lost one to `moved`.
    pub(crate) fn keep(
        self: &Arc<Self>,
        replaced: tokio::sync::mpsc::Sender<UnixListener>,
        moved: impl Fn(&Utf8Path) + Send + 'static,
    ) -> io::Result<Keeper> {
        let (stop, stopped) = channel();
        let runtime = Arc::clone(self);
        let look = move || {
            let mut refused = String::new();
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                match runtime.restore() {
                    Ok(None) => refused.clear(),
                    Ok(Some((listener, path))) => {
                        refused.clear();
                        tracing::warn!(%path, "the directory of the sockets was lost; commands find it again");
                        moved(&path);
                        if replaced.blocking_send(listener).is_err() {
                            return;
                        }
                    }
                    // The same every few seconds is said once.
                    Err(error) if error.to_string() != refused => {
                        refused = error.to_string();
                        tracing::error!(
                            "the directory of the sockets was lost and cannot be made again, so that no command reaches this gateway; requests go on: {refused}"
                        );
                    }
                    Err(_) => {}
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("runtime-dir".to_owned()).stack_size(128 * 1024).spawn(look)?;
        Ok(Keeper { stop, thread })
    }

    /// Puts names that are missing in their place. A new listener for commands, where that was one of them.
    fn restore(&self) -> io::Result<Option<(UnixListener, Utf8PathBuf)>> {
        let (held, commands, seen) = {
            let inner = self.lock();
            (Arc::clone(&inner.directory), inner.commands, inner.seen)
        };
        let in_place = held.is_in_place();
        if in_place && seen.is_some() && held.stamp() == seen {
            return Ok(None);
        }
        let doors = self.lock().doors.clone();
        let directory = if in_place { held } else { Arc::new(first(&self.choices, true)?) };
        // From before the look: what changes meanwhile is looked at again.
        let stamp = directory.stamp();
        let mut replaced = None;
        if commands.is_none() || directory.id(SUPERVISOR_SOCKET) != commands {
            let listener = directory.listen(SUPERVISOR_SOCKET)?;
            let mut inner = self.lock();
            inner.commands = directory.id(SUPERVISOR_SOCKET);
            inner.directory = Arc::clone(&directory);
            replaced = Some((listener, directory.path().to_owned()));
        }
        for (name, door) in doors {
            let relay = self.lock().relays.get(&name).copied();
            let named = match door.upgrade() {
                Some(door) => name_again(&directory, &name, &door, relay),
                None => Ok(None),
            };
            match named {
                Ok(Some(relay)) => drop(self.lock().relays.insert(name, relay)),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, name, "the name of a data socket is lost"),
            }
        }
        self.lock().seen = stamp;
        Ok(replaced)
    }

    fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.lock().directory)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a held socket its name again; by another socket that leads to it, which has that number, where nobody could follow a link.
#[cfg(target_os = "linux")]
fn name_again(
    directory: &Directory,
    name: &str,
    door: &Arc<Door>,
    relay: Option<Id>,
) -> io::Result<Option<Id>> {
    let (target, there) = (door.path(), directory.id(name));
    if there == door.id() || (there.is_some() && there == relay) || directory.is_link(name, &target) {
        return Ok(None);
    }
    // A link would lead into this process, which is closed to every other but root's.
    let is_closed = !nix::sys::prctl::get_dumpable().unwrap_or(true);
    if is_closed && !nix::unistd::geteuid().is_root() {
        relay::start(directory.listen(name)?, Arc::downgrade(door))?;
        return Ok(directory.id(name));
    }
    directory.link(name, &target)?;
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn name_again(_: &Directory, _: &str, _: &Arc<Door>, _: Option<Id>) -> io::Result<Option<Id>> {
    Ok(None)
}

/// The first of `choices` that can be used. The error names what is wrong with each. With `any`, nothing is a mistake.
fn first(choices: &[RuntimeDir], any: bool) -> io::Result<Directory> {
    let mut refused = Vec::new();
    for choice in choices {
        match Directory::open(choice) {
            Ok(directory) => {
                for reason in refused {
                    tracing::warn!(instead = %choice.path(), "sockets cannot be where they should: {reason}");
                }
                return Ok(directory);
            }
            Err(error) if !any && error.kind() == io::ErrorKind::NotADirectory => return Err(error),
            Err(error) => refused.push(error.to_string()),
        }
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, refused.join("; ")))
}

/// Why [`Runtime::open`] would refuse, where that can be seen without making anything.
pub fn unusable(choices: &[RuntimeDir]) -> Option<String> {
    let mut refused = Vec::new();
    for choice in choices {
        let error = directory::objection(choice)?;
        if error.kind() == io::ErrorKind::NotADirectory {
            return Some(error.to_string());
        }
        refused.push(error.to_string());
    }
    Some(refused.join("; "))
}

/// Why `place` would not be used, where that can be seen without making anything.
pub fn objection(place: &RuntimeDir) -> Option<String> {
    directory::objection(place).map(|error| error.to_string())
}

/// The address of the socket at `path`, of whatever length, with what keeps it valid.
pub(crate) fn address(path: &Utf8Path) -> io::Result<(socket2::SockAddr, std::os::fd::OwnedFd)> {
    let directory = path.parent().unwrap_or(Utf8Path::new("/"));
    // Not `fs_err`, whose errors have lost the system's code.
    let fd = nix::fcntl::open(
        directory.as_std_path(),
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let address = directory::address(directory, &fd, path.file_name().unwrap_or_default())?;
    Ok((address, fd))
}

/// The thread that looks after the names.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Ends it; one that hangs in a file system is left behind.
    pub(crate) fn end(self) {
        drop(self.stop);
        let deadline = clock::now() + END;
        while !self.thread.is_finished() && clock::now() < deadline {
            hermes_host::wait::pause(Duration::from_millis(1));
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> (tempfile::TempDir, Utf8PathBuf, Arc<Runtime>) {
        let keep = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
        let choices = vec![RuntimeDir::below(&path.join("xdg"), "/h".into()), RuntimeDir::in_home(&path)];
        fs_err::create_dir(path.join("xdg")).unwrap();
        let runtime = Arc::new(Runtime::open(choices).unwrap());
        (keep, path, runtime)
    }

    fn reaches(listening: &Listening) -> bool {
        let knock = dial(listening.door.as_ref().unwrap().address());
        knock.is_ok() && listening.listener.accept().is_ok()
    }

    /// 23: a socket is held, so that its name may be removed, its directory moved away and another one put in its place.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_held_socket_is_reached_whatever_its_name_leads_to() {
        let (_keep, path, runtime) = runtime();
        let coder = runtime.listen("w-coder.sock").unwrap();
        assert!(reaches(&coder));
        fs_err::rename(path.join("xdg"), path.join("away")).unwrap();
        assert!(reaches(&coder));
        fs_err::create_dir_all(runtime.path()).unwrap();
        let _impostor = UnixListener::bind(runtime.path_of("w-coder.sock")).unwrap();
        assert!(reaches(&coder));
        fs_err::remove_dir_all(path.join("away")).unwrap();
        assert!(reaches(&coder));
    }

    /// 23: a lost directory is made again with every name in it; where it may not be, the next choice takes its place.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_lost_directory_is_made_again() {
        let (_keep, path, runtime) = runtime();
        let coder = runtime.listen("w-coder.sock").unwrap();
        let _commands = runtime.listen_for_commands().unwrap();
        assert!(runtime.restore().unwrap().is_none(), "everything is there");

        fs_err::remove_dir_all(path.join("xdg")).unwrap();
        let (_again, told) = runtime.restore().unwrap().unwrap();
        assert_eq!(told, runtime.path());
        for name in ["w-coder.sock", SUPERVISOR_SOCKET] {
            std::os::unix::net::UnixStream::connect(runtime.path_of(name)).unwrap();
        }
        assert!(coder.listener.accept().is_ok());
        assert!(runtime.restore().unwrap().is_none());

        // A single name, too.
        fs_err::remove_file(runtime.path_of("w-coder.sock")).unwrap();
        assert!(runtime.restore().unwrap().is_none());
        std::os::unix::net::UnixStream::connect(runtime.path_of("w-coder.sock")).unwrap();

        // Taken by something that is no directory of ours.
        fs_err::remove_dir_all(path.join("xdg")).unwrap();
        fs_err::write(path.join("xdg"), "").unwrap();
        let (_elsewhere, told) = runtime.restore().unwrap().unwrap();
        assert_eq!(told, path.join("gateway.run"));
        std::os::unix::net::UnixStream::connect(runtime.path_of("w-coder.sock")).unwrap();

        drop(coder);
        runtime.remove("w-coder.sock");
        runtime.close();
        assert!(!path.join("gateway.run").exists());
    }

    /// 23: a listener of another process is not a worker's.
    #[tokio::test]
    async fn only_our_own_listeners_are_spoken_to() {
        let (_keep, _path, runtime) = runtime();
        let coder = runtime.listen("w-coder.sock").unwrap();
        let stream = dial(coder.door.as_ref().unwrap().address()).unwrap();
        verify(&tokio::net::UnixStream::from_std(stream).unwrap()).unwrap();
    }
}
