//! The name of `gateway.sock`: where it is, how it is made, looked after and removed.
//!
//! In the gateway's home, where the path fits into a socket address everywhere; else in the directory for temporary files under a name made
//! of the home's, and `gateway.sock.path` in the home says so: clients look there second. That directory is everybody's. So what is in it
//! is believed only as far as it is a socket of this user that nobody answers on; anything else is left alone and the next place is
//! taken. The socket has its mode from birth, and is known afterwards by device and inode: what somebody else put in its
//! place is neither kept nor removed. Only who holds the lock of the home calls anything here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::endpoint::{SOCKET_MODE, short_hash};
use socket2::{Domain, SockAddr, Socket, Type};

use super::inherit::{Id, Kept};

/// Longest path in bytes: what newer Python programs believe to fit everywhere.
const LONGEST: usize = 100;
/// Longest pointer that is read.
const POINTER: usize = 4096;
/// Connections that wait while all places are taken.
const BACKLOG: i32 = 64;
/// Bits of a directory that others may write to.
const OTHERS_WRITE: u32 = 0o022;
/// With this one they may only remove what is theirs.
const STICKY: u32 = 0o1000;

/// One place for it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In the home.
    Home(Utf8PathBuf),
    /// In a directory that others use as well; the home has the pointer.
    Shared(Utf8PathBuf),
    /// In a directory of this gateway's own; the home has the pointer.
    Own(Utf8PathBuf),
}

impl Place {
    fn path(&self) -> &Utf8Path {
        match self {
            Self::Home(path) | Self::Shared(path) | Self::Own(path) => path,
        }
    }
}

/// The places for the socket of `home`, the best first.
fn places(home: &Utf8Path, temp_dir: &Utf8Path, runtime_dir: &Utf8Path) -> Vec<Place> {
    let direct = ProfileHome::new(home).gateway_socket();
    let name = format!("hermes-gw-{}.sock", short_hash(home.as_str()));
    let mut places = vec![Place::Home(direct), Place::Shared(temp_dir.join(&name))];
    if temp_dir != "/tmp" {
        places.push(Place::Shared(Utf8Path::new("/tmp").join(&name)));
    }
    places.push(Place::Own(runtime_dir.join("gateway.sock")));
    places.retain(|place| place.path().as_str().len() <= LONGEST);
    places
}

/// The socket's name, made or not yet.
#[derive(Debug)]
pub(super) struct Door {
    home: ProfileHome,
    places: Vec<Place>,
    made: Option<(Place, Id)>,
    /// What was said last about not being able to.
    said: String,
}

impl Door {
    pub(super) fn new(home: &Utf8Path, temp_dir: &Utf8Path, runtime_dir: &Utf8Path) -> Self {
        let places = places(home, temp_dir, runtime_dir);
        Self { home: ProfileHome::new(home), places, made: None, said: String::new() }
    }

    /// A listener, where there is none yet or its name is lost. What keeps it from being made is said once.
    pub(super) fn look(&mut self) -> Option<UnixListener> {
        if self.is_in_place() {
            return None;
        }
        // What is left of it would count as somebody's who answers.
        self.remove();
        match self.make() {
            Ok(listener) => {
                self.said.clear();
                let path = self.path().unwrap_or(self.home.path());
                tracing::info!(%path, "newer Python programs reach this gateway");
                Some(listener)
            }
            Err(why) => {
                if why != self.said {
                    tracing::warn!("newer Python programs do not reach this gateway: {why}");
                    self.said = why;
                }
                None
            }
        }
    }

    /// Goes on with what was made before this process became another program, where its name still leads to it.
    pub(super) fn adopt(&mut self, kept: Kept) -> Option<UnixListener> {
        let is_it = |place: &&Place| id_of(place.path()).is_ok_and(|found| found == Some(kept.id));
        let place = self.places.iter().find(is_it).cloned()?;
        if !matches!(place, Place::Home(_)) && !self.points_to(place.path()) {
            return None;
        }
        self.made = Some((place, kept.id));
        Some(kept.listener)
    }

    /// What tells it from another one.
    pub(super) fn id(&self) -> Option<Id> {
        self.made.as_ref().map(|(_, id)| *id)
    }

    /// Where it is.
    pub(super) fn path(&self) -> Option<&Utf8Path> {
        self.made.as_ref().map(|(place, _)| place.path())
    }

    /// Removes what was made, where it is still there.
    pub(super) fn remove(&mut self) {
        let Some((place, id)) = self.made.take() else { return };
        let removed = if id_of(place.path()).is_ok_and(|found| found == Some(id)) {
            fs_err::remove_file(place.path())
        } else {
            Ok(())
        };
        let pointed = if self.points_to(place.path()) {
            fs_err::remove_file(self.home.gateway_socket_pointer())
        } else {
            Ok(())
        };
        for error in [removed.err(), pointed.err()].into_iter().flatten() {
            tracing::warn!(%error, "a name for newer Python programs cannot be removed");
        }
    }

    /// Whether clients find it. What cannot be looked at counts as found: it is looked at again.
    fn is_in_place(&self) -> bool {
        let Some((place, id)) = &self.made else { return false };
        let found = id_of(place.path()).map_or(true, |found| found == Some(*id));
        found && (matches!(place, Place::Home(_)) || self.points_to(place.path()))
    }

    fn points_to(&self, path: &Utf8Path) -> bool {
        disk::read_own(&self.home.gateway_socket_pointer(), POINTER)
            .is_ok_and(|text| text.trim_ascii() == path.as_str().as_bytes())
    }

    /// Makes it in the first place that can be had.
    fn make(&mut self) -> Result<UnixListener, String> {
        let mut refused = Vec::new();
        for place in self.places.clone() {
            match self.make_at(&place) {
                Ok((listener, id)) => {
                    self.made = Some((place, id));
                    return Ok(listener);
                }
                Err(error) => refused.push(format!("`{}`: {error}", place.path())),
            }
            // What is in the home is what clients take, whatever it is.
            if matches!(place, Place::Home(_)) && !matches!(id_of(place.path()), Ok(None)) {
                break;
            }
        }
        Err(if refused.is_empty() { "no path is short enough".to_owned() } else { refused.join("; ") })
    }

    fn make_at(&self, place: &Place) -> io::Result<(UnixListener, Id)> {
        let path = place.path();
        if let Place::Shared(_) = place {
            check_shared(path)?;
        }
        clear(place)?;
        let listener = listen(path)?;
        if let Place::Home(_) = place {
            #[cfg(target_os = "linux")]
            give_to_owner(path);
        }
        let id = id_of(path)?.ok_or(io::ErrorKind::NotFound)?;
        let pointer = self.home.gateway_socket_pointer();
        let told = match place {
            // One from before leads elsewhere.
            Place::Home(_) if fs_err::symlink_metadata(&pointer).is_ok_and(|found| found.is_file()) => {
                fs_err::remove_file(&pointer)
            }
            Place::Home(_) => Ok(()),
            Place::Shared(_) | Place::Own(_) => disk::write_atomic(&pointer, path.as_str().as_bytes(), false),
        };
        if let Err(error) = told {
            let _ = fs_err::remove_file(path);
            return Err(error);
        }
        Ok((listener, id))
    }
}

/// Whether in the directory of `path` nobody but root could take away what is ours.
fn check_shared(path: &Utf8Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Utf8Path::new("/"));
    let found = fs_err::metadata(directory)?;
    let own = nix::unistd::geteuid().as_raw();
    let safe = found.mode() & OTHERS_WRITE == 0 || found.mode() & STICKY != 0;
    if safe && (found.uid() == 0 || found.uid() == own) {
        return Ok(());
    }
    Err(refused("others may change what is in its directory"))
}

/// Takes away what an earlier run has left. The lock of the home says that no gateway listens there; in a directory of everybody's the
/// name may also be that of another home of the same path, in a container that shares it.
fn clear(place: &Place) -> io::Result<()> {
    let path = place.path();
    let Some(found) = fs_err::symlink_metadata(path).or_absent()? else { return Ok(()) };
    let own = nix::unistd::geteuid();
    let is_ours = found.uid() == own.as_raw() || (own.is_root() && matches!(place, Place::Home(_)));
    if !found.file_type().is_socket() || !is_ours {
        return Err(refused("what is there is no socket of ours; move it away"));
    }
    if matches!(place, Place::Shared(_)) && std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(refused("somebody answers there"));
    }
    fs_err::remove_file(path)
}

/// Listens on `path`, where nothing may be; with its mode from the first moment.
fn listen(path: &Utf8Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    bind(&socket, &SockAddr::unix(path)?)?;
    let mode = fs_err::symlink_metadata(path)?.mode() & 0o777;
    if mode != SOCKET_MODE {
        let _ = fs_err::remove_file(path);
        return Err(refused(&format!("its file system gives it mode {mode:o}")));
    }
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

/// The file gets the mode of the socket, less the mask: no mask lets more through.
#[cfg(target_os = "linux")]
fn bind(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    use nix::sys::stat::{Mode, fchmod};
    fchmod(socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(address)
}

/// Here only the mask decides. It is the whole process's: what another thread makes in this moment is closed to others as well.
#[cfg(not(target_os = "linux"))]
fn bind(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    use nix::sys::stat::{Mode, umask};
    let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = socket.bind(address);
    umask(before);
    bound
}

/// In a user's home what root makes is that user's, and this user could put another file in its place in this moment: given away is only a
/// socket of root's with one name. Where that fails, nothing but its owner is another one.
#[cfg(target_os = "linux")]
fn give_to_owner(path: &Utf8Path) {
    use nix::fcntl::{AtFlags, OFlag, open};
    use nix::sys::stat::{Mode, SFlag, fstat};
    use nix::unistd::{Gid, Uid, fchownat};
    let directory = path.parent().unwrap_or(Utf8Path::new("/"));
    let Ok(owner) = fs_err::metadata(directory) else { return };
    if !nix::unistd::geteuid().is_root() || owner.uid() == 0 {
        return;
    }
    let given = open(path.as_std_path(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|fd| {
            let found = fstat(&fd)?;
            let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
            if kind != SFlag::S_IFSOCK || found.st_uid != 0 || found.st_nlink != 1 {
                return Err(nix::errno::Errno::EPERM);
            }
            let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
            fchownat(&fd, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
        });
    if let Err(error) = given {
        tracing::warn!(%path, %error, "the socket stays root's");
    }
}

fn id_of(path: &Utf8Path) -> io::Result<Option<Id>> {
    Ok(fs_err::symlink_metadata(path).or_absent()?.map(|found| (found.dev(), found.ino())))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A home, a directory for temporary files, a directory of the gateway's own.
    struct Machine {
        _keep: tempfile::TempDir,
        home: Utf8PathBuf,
        temp: Utf8PathBuf,
        run: Utf8PathBuf,
    }

    impl Machine {
        fn new(home: &str) -> Self {
            let keep = tempfile::Builder::new().prefix("h").tempdir_in("/tmp").unwrap();
            let path = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
            let [home, temp, run] = [home, "temp", "run"].map(|name| path.join(name));
            for directory in [&home, &temp, &run] {
                fs_err::create_dir_all(directory).unwrap();
                fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
            }
            Self { _keep: keep, home, temp, run }
        }

        /// With a home too deep for a socket.
        fn deep() -> Self {
            Self::new(&"deep/".repeat(25))
        }

        fn door(&self) -> Door {
            Door::new(&self.home, &self.temp, &self.run)
        }

        fn shared(&self) -> Utf8PathBuf {
            self.temp.join(format!("hermes-gw-{}.sock", short_hash(self.home.as_str())))
        }

        fn pointer(&self) -> String {
            fs_err::read_to_string(self.home.join("gateway.sock.path")).unwrap()
        }
    }

    fn mode(path: &Utf8Path) -> u32 {
        fs_err::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn it_is_in_the_home_where_it_fits() {
        let machine = Machine::new("home");
        let mut door = machine.door();
        fs_err::write(machine.home.join("gateway.sock.path"), "/from/before").unwrap();
        let listener = door.look().unwrap();
        let path = machine.home.join("gateway.sock");
        assert_eq!((door.path(), mode(&path)), (Some(path.as_path()), 0o600));
        assert!(!machine.home.join("gateway.sock.path").exists());
        UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok() && door.look().is_none(), "it is there");

        // Lost; then another one in its place.
        fs_err::remove_file(&path).unwrap();
        let again = door.look().unwrap();
        UnixStream::connect(&path).unwrap();
        assert!(again.accept().is_ok());
        door.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_gateway_has_left_is_taken_away_and_nothing_else() {
        let machine = Machine::new("home");
        let path = machine.home.join("gateway.sock");
        drop(UnixListener::bind(&path).unwrap());
        let mut door = machine.door();
        let _listener = door.look().unwrap();
        UnixStream::connect(&path).unwrap();

        // Another one's, that came while this one ran, stays.
        fs_err::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        door.remove();
        UnixStream::connect(&path).unwrap();

        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, "a file of the user").unwrap();
        let mut door = machine.door();
        assert!(
            door.look().is_none() && door.said.contains("no socket of ours"),
            "no client would look elsewhere"
        );
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "a file of the user");
        door.remove();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "a file of the user");
    }

    /// What it was made for goes on, and what has another one in its place does not.
    #[test]
    fn a_socket_is_adopted_by_its_name() {
        for machine in [Machine::new("home"), Machine::deep()] {
            let mut door = machine.door();
            let listener = door.look().unwrap();
            let (id, path) = (door.id().unwrap(), door.path().unwrap().to_owned());
            let waiting = UnixStream::connect(&path).unwrap();
            let mut next = machine.door();
            let listener = next.adopt(Kept { listener, id }).unwrap();
            assert!(listener.accept().is_ok() && next.look().is_none());
            drop(waiting);
            fs_err::remove_file(&path).unwrap();
            let _other = UnixListener::bind(&path).unwrap();
            if id_of(&path).unwrap() != Some(id) {
                assert!(machine.door().adopt(Kept { listener, id }).is_none());
            }
        }
    }

    #[test]
    fn a_home_too_deep_has_a_pointer() {
        let machine = Machine::deep();
        let mut door = machine.door();
        let _listener = door.look().unwrap();
        let path = machine.shared();
        assert_eq!((machine.pointer(), mode(&path)), (path.to_string(), 0o600));
        assert!(path.as_str().len() <= LONGEST);
        UnixStream::connect(&path).unwrap();
        assert!(door.look().is_none());
        fs_err::remove_file(machine.home.join("gateway.sock.path")).unwrap();
        let _again = door.look().unwrap();
        assert_eq!(machine.pointer(), path);
        door.remove();
        assert!(!path.exists() && !machine.home.join("gateway.sock.path").exists());
    }

    /// What others can do in a directory of everybody's costs nothing but the place.
    #[test]
    fn in_a_directory_of_everybodys_nothing_of_others_is_touched() {
        let machine = Machine::deep();
        let shared = machine.shared();
        let elsewhere = machine.run.join("gateway.sock");
        let taken = |occupy: &dyn Fn()| {
            occupy();
            let before = id_of(&shared).unwrap();
            let mut door = machine.door();
            door.places.retain(|place| !place.path().as_str().starts_with("/tmp/hermes-gw-"));
            let listener = door.look().unwrap();
            assert_eq!(machine.pointer(), elsewhere);
            door.remove();
            assert_eq!(id_of(&shared).unwrap(), before);
            drop(listener);
        };
        // A link, also one that leads nowhere; a file; a socket that lives.
        taken(&|| std::os::unix::fs::symlink(machine.temp.join("nowhere"), &shared).unwrap());
        assert!(!machine.temp.join("nowhere").exists());
        fs_err::remove_file(&shared).unwrap();
        taken(&|| fs_err::write(&shared, "").unwrap());
        fs_err::remove_file(&shared).unwrap();
        let living = UnixListener::bind(&shared).unwrap();
        taken(&|| {});
        drop(living);
        // Left by a killed gateway, but in a directory where others could exchange it.
        fs_err::set_permissions(&machine.temp, std::fs::Permissions::from_mode(0o777)).unwrap();
        taken(&|| {});
        fs_err::set_permissions(&machine.temp, std::fs::Permissions::from_mode(0o1777)).unwrap();
        let mut door = machine.door();
        let _listener = door.look().unwrap();
        assert_eq!(machine.pointer(), shared);
    }

    #[test]
    fn places_by_length() {
        let names = |home: &str, temp: &str, run: &str| {
            let places = places(home.into(), temp.into(), run.into());
            places.iter().map(|place| place.path().to_string()).collect::<Vec<_>>()
        };
        // Of the program that clients are: the hash of the home's resolved path.
        let hashed = format!("hermes-gw-{}.sock", short_hash("/home/u/.hermes"));
        assert_eq!(
            names("/home/u/.hermes", "/tmp", "/run/r"),
            [
                "/home/u/.hermes/gateway.sock".to_owned(),
                format!("/tmp/{hashed}"),
                "/run/r/gateway.sock".to_owned()
            ]
        );
        let fits = format!("/{}", "h".repeat(LONGEST - "//gateway.sock".len()));
        assert!(names(&fits, "/tmp", "/run/r")[0].ends_with("h/gateway.sock"));
        let long = format!("{fits}h");
        assert!(names(&long, "/tmp", "/run/r")[0].starts_with("/tmp/"));
        let temp = format!("/{}", "t".repeat(90));
        assert!(names(&long, &temp, "/run/r")[0].starts_with("/tmp/"), "a directory too deep is passed over");
    }
}
