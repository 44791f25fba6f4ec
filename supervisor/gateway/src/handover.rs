//! What a gateway hands to the program that it becomes: open descriptors, and what has to be known about each.
//!
//! It is one JSON document in a file that has no name, which [`env::HANDOVER`] names: the process it belongs to, its descriptor, and where
//! the system has such a thing that of the program that wrote it. The variable of another process is ignored, and a document of a
//! [`VERSION`] that is not spoken here is refused whole.
//!
//! **Nothing is taken out of it.** Whoever reads it gets copies of descriptors. The originals stay open, and would survive another `exec`,
//! until [`Handover::keep`] closes them: so a program that cannot start may become the one before again, which then finds everything
//! as it left it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use hermes_wire::env;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

/// Form of the document. A field that an older reader may pass over does not change it.
pub(crate) const VERSION: u32 = 1;
/// Largest document that is read: a report may be long, and there may be a thousand.
const MAX_LEN: u64 = 256 * 1024 * 1024;
/// Copies get numbers above those that mean something to somebody.
const FIRST_FREE: RawFd = 10;

/// A descriptor, by number. The first three are standard input and outputs, and never handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(RawFd);

/// A socket with a name in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) listener: Number,
    /// Device and inode of the name that was made for it.
    pub(crate) id: (u64, u64),
}

/// A TCP listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    pub(crate) socket: Number,
    /// Whose it is, where the configuration names no port.
    pub(crate) platform: Option<String>,
    /// It is a service manager's, to be left open at the end.
    #[serde(default)]
    pub(crate) lent: bool,
}

/// A profile's data socket, and the processes behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) profile: String,
    /// Where it listens.
    pub(crate) data: Number,
    /// What holds that socket, whatever becomes of its name.
    pub(crate) door: Option<Number>,
    /// The newest generation that was started.
    pub(crate) started: u64,
    /// Unplanned replacements.
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<String>,
    /// The one that serves.
    pub(crate) serving: Option<Process>,
    /// Those that finish what they were sent.
    pub(crate) finishing: Vec<Process>,
}

/// One process of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) generation: u64,
    pub(crate) pid: i32,
    pub(crate) control: Number,
    pub(crate) road: Option<Number>,
    /// The version that was agreed with it.
    pub(crate) version: u16,
    /// What was read from it and not understood yet, because the rest of the message had not come.
    pub(crate) unread: Vec<u8>,
    /// Its report, as a message in [`Document::wire`].
    pub(crate) report: Vec<u8>,
    /// When that came, in milliseconds since 1970.
    pub(crate) reported_ms: Option<u64>,
    /// Its exclusive platforms may be connected.
    pub(crate) connected: bool,
    /// It was told to stop accepting, or to finish.
    pub(crate) told: Told,
    /// What it last said that does not work, as a message in [`Document::wire`].
    pub(crate) degraded: Option<Vec<u8>>,
}

/// What a process was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Serve,
    StopAccepting,
    Finish,
    End,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) version: u32,
    /// Version of the messages in it.
    pub(crate) wire: u16,
    /// The release that wrote it.
    pub(crate) release: String,
    /// Under which claims of different processes can be compared.
    pub(crate) claim_key: [u8; 32],
    /// The locked file of this home.
    pub(crate) lock: Number,
    /// What tells the guard that this process has ended.
    pub(crate) guard: Option<Number>,
    /// `supervisor.sock`.
    pub(crate) commands: Option<Named>,
    /// `gateway.sock`.
    pub(crate) programs: Option<Named>,
    /// The admin address.
    pub(crate) admin: Option<Number>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) workers: Vec<Worker>,
    /// Every profile that was served beside the gateway's own, whether or not a process of it lives.
    #[serde(default)]
    pub(crate) served: Vec<String>,
}

/// Collects descriptors on the way out. They are closed with it, as long as they were not [handed over](Outgoing::publish).
#[derive(Debug, Default)]
pub(crate) struct Outgoing(Vec<OwnedFd>);

impl Outgoing {
    /// Takes a descriptor along.
    pub(crate) fn add(&mut self, fd: impl Into<OwnedFd>) -> Number {
        let fd = fd.into();
        let number = Number(fd.as_raw_fd());
        self.0.push(fd);
        number
    }

    /// Writes the document, and lets everything survive an `exec`; the value of the variable. From here on no child may be started.
    pub(crate) fn publish(&mut self, document: &Document) -> io::Result<String> {
        let mut file = nameless()?;
        file.write_all(&serde_json::to_vec(document)?)?;
        let mut value = format!("{} {}", std::process::id(), self.add(OwnedFd::from(file)).0);
        if let Some(image) = own_image() {
            let _ = write!(value, " {}", self.add(image).0);
        }
        for fd in &self.0 {
            fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(value)
    }
}

/// What was handed to this process, by the program that it was before.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) document: Document,
    variable: Variable,
}

/// What the variable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variable {
    file: Number,
    image: Option<Number>,
}

/// Whether the variable is set for this very process, so that it goes on as a gateway that runs.
pub fn is_pending() -> bool {
    variable(std::env::var_os(env::HANDOVER).as_deref()).is_some()
}

/// The program that this process was before, as what can be executed.
pub(crate) fn image_before() -> Option<String> {
    let image = variable(std::env::var_os(env::HANDOVER).as_deref())?.image?;
    Some(format!("/proc/self/fd/{}", image.0))
}

fn variable(value: Option<&OsStr>) -> Option<Variable> {
    let mut words = value?.to_str()?.split(' ');
    let pid: u32 = words.next()?.parse().ok()?;
    let mut number = || match words.next() {
        Some(word) => word.parse().ok().filter(|fd| *fd > 2).map(|fd| Some(Number(fd))),
        None => Some(None),
    };
    let (file, image) = (number()??, number()?);
    (pid == std::process::id() && words.next().is_none()).then_some(Variable { file, image })
}

impl Handover {
    /// Reads what the variable names; `None` where that is nothing for this process. Call before it opens anything.
    pub(crate) fn take(value: Option<&OsStr>) -> io::Result<Option<Self>> {
        let Some(variable) = variable(value) else { return Ok(None) };
        let mut file = std::fs::File::from(copy(variable.file)?);
        file.rewind()?;
        let mut text = Vec::new();
        file.take(MAX_LEN).read_to_end(&mut text)?;
        let version: Version = serde_json::from_slice(&text)?;
        if version.version != VERSION {
            let version = version.version;
            return Err(invalid(&format!("it is of version {version}, and {VERSION} is spoken here")));
        }
        let document: Document = serde_json::from_slice(&text)?;
        let mut numbers = document.numbers();
        numbers.extend([variable.file].into_iter().chain(variable.image));
        let all = numbers.len();
        numbers.sort_by_key(|number| number.0);
        numbers.dedup();
        if numbers.len() != all || numbers.first().is_some_and(|number| number.0 <= 2) {
            return Err(invalid("descriptors are named twice, or are none"));
        }
        Ok(Some(Self { document, variable }))
    }

    /// A copy of one of its descriptors, closed on `exec`.
    #[expect(clippy::unused_self, reason = "numbers mean something only where there is a handover")]
    pub(crate) fn copy(&self, number: Number) -> io::Result<OwnedFd> {
        copy(number)
    }

    /// There is no way back from here: the originals are closed.
    pub(crate) fn keep(self) {
        let Variable { file, image } = self.variable;
        for number in self.document.numbers().into_iter().chain([file]).chain(image) {
            // SAFETY: named in a document that this very process wrote before it was this program, once, and only ever copied since.
            #[expect(unsafe_code, reason = "a descriptor of before an `exec` is only known by its number")]
            drop(unsafe { OwnedFd::from_raw_fd(number.0) });
        }
    }
}

/// The form alone, so that a later one is told from what is damaged.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Document {
    fn numbers(&self) -> Vec<Number> {
        let processes =
            |worker: &Worker| worker.serving.iter().chain(&worker.finishing).cloned().collect::<Vec<_>>();
        let mut all = vec![self.lock];
        all.extend(self.guard);
        all.extend(self.commands.iter().chain(&self.programs).map(|named| named.listener));
        all.extend(self.admin);
        all.extend(self.listeners.iter().map(|listener| listener.socket));
        for worker in &self.workers {
            all.push(worker.data);
            all.extend(worker.door);
            for process in processes(worker) {
                all.push(process.control);
                all.extend(process.road);
            }
        }
        all
    }
}

fn copy(number: Number) -> io::Result<OwnedFd> {
    // SAFETY: only borrowed for a call that reports a descriptor which is not open as an error.
    #[expect(unsafe_code, reason = "a descriptor of before an `exec` is only known by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number.0) };
    let raw = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE))?;
    // SAFETY: the descriptor was made by this call and nobody else has its number.
    #[expect(unsafe_code, reason = "`fcntl` hands the new descriptor over as a number")]
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The running image, open: it can be executed whatever becomes of its file.
fn own_image() -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
        nix::fcntl::open("/proc/self/exe", flags, nix::sys::stat::Mode::empty()).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(target_os = "linux")]
fn nameless() -> io::Result<std::fs::File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(nix::sys::memfd::memfd_create(c"hermes-handover", flags)?.into())
}

#[cfg(not(target_os = "linux"))]
fn nameless() -> io::Result<std::fs::File> {
    tempfile::tempfile()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(lock: Number) -> Document {
        Document {
            version: VERSION,
            wire: 2,
            release: "0.1.0".to_owned(),
            guard: None,
            claim_key: [7; 32],
            lock,
            commands: None,
            programs: None,
            admin: None,
            listeners: Vec::new(),
            workers: Vec::new(),
            served: Vec::new(),
        }
    }

    /// Hands `document` over within this process; what a program would take.
    fn handed(mut outgoing: Outgoing, document: &Document) -> (String, io::Result<Option<Handover>>) {
        let value = outgoing.publish(document).unwrap();
        // As an `exec` does: nobody owns the numbers any more.
        outgoing.0.into_iter().for_each(std::mem::forget);
        let taken = Handover::take(Some(OsStr::new(&value)));
        (value, taken)
    }

    fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
        std::io::pipe().unwrap()
    }

    #[test]
    fn what_is_handed_over_can_be_taken_again_and_again_until_it_is_kept() {
        let (mut reader, writer) = pipe();
        let mut outgoing = Outgoing::default();
        let lock = outgoing.add(OwnedFd::from(writer));
        let (value, taken) = handed(outgoing, &document(lock));
        let first = taken.unwrap().unwrap();
        drop(first.copy(lock).unwrap());
        drop(first);
        let second = Handover::take(Some(OsStr::new(&value))).unwrap().unwrap();
        assert_eq!(second.document, document(lock));
        std::fs::File::from(second.copy(lock).unwrap()).write_all(b"x").unwrap();
        second.keep();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x", "and nobody holds the other end any more");
    }

    #[test]
    fn another_process_another_version_and_nonsense_are_not_taken() {
        let (_reader, writer) = pipe();
        let mut outgoing = Outgoing::default();
        let lock = outgoing.add(OwnedFd::from(writer));
        let later = Document { version: VERSION + 1, ..document(lock) };
        let (value, taken) = handed(outgoing, &later);
        assert!(taken.unwrap_err().to_string().contains("of version 2"));
        let (own, fd) = value.split_once(' ').unwrap();
        let other = format!("{} {fd}", std::process::id() + 1);
        assert!(Handover::take(Some(OsStr::new(&other))).unwrap().is_none());
        let bad =
            [String::new(), own.to_owned(), "x 10".to_owned(), format!("{own} 2"), format!("{value} 1")];
        for nothing in &bad {
            assert!(Handover::take(Some(OsStr::new(nothing))).unwrap().is_none(), "{nothing:?}");
        }
        let mut outgoing = Outgoing::default();
        let lock = outgoing.add(OwnedFd::from(pipe().1));
        let twice = Document { admin: Some(lock), ..document(lock) };
        assert!(handed(outgoing, &twice).1.is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*") {
            let _ = variable(Some(OsStr::new(&text)));
            let _ = serde_json::from_str::<Document>(&text);
        }
    }
}
