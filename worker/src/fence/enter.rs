//! The program between a worker and what it starts: it shuts itself in and becomes that program.
//!
//! It is this very executable, started again with the environment and the descriptors that the program is to have, and nothing else. It has one
//! thread, knows no secret, reads no file of a profile, and leaves no process behind that waits: what is started has the number, the
//! group and the signals that its owner knows. Whatever goes wrong ends it with [`FAILED`]; the program is never started outside.
//!
//! The user namespace is entered twice. In the first one directories are covered; the second one only inherits that, and the kernel lets nobody
//! uncover what a namespace has inherited, whatever rights he has in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::cause::chain;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{ForkResult, fork, getegid, geteuid};

use super::landlock;
use super::plan::{Plan, Step};
use super::trial;
use super::{FAILED, Rung};

/// The hidden command.
pub(super) const COMMAND: &str = "__fence";
/// In place of a program: looks around and says what there is.
pub(super) const TRIAL: &str = "__trial";
/// Ends the steps.
pub(super) const THEN: &str = "--";
/// Variables that the dynamic linker would take for its own are passed under other names, and given back at the end.
const PUT_ASIDE: &str = "HERMES_FENCE_ASIDE_";
/// The last stage, within bubblewrap.
const LAST: &str = "last";
/// Where it is installed. `PATH` is the program's own, and may lead anywhere.
const BWRAP: [&str; 4] =
    ["/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap", "/run/current-system/sw/bin/bwrap"];
/// Signals that are meant for the program, not for what waits for it.
const PASSED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// The name that a variable has on the way.
pub(super) fn aside(name: &str) -> Option<String> {
    (name.starts_with("LD_") || name == "GLIBC_TUNABLES").then(|| format!("{PUT_ASIDE}{name}"))
}

/// Is that program, if the command line asks for it, and does not return unless it fails.
pub fn enter(args: &[OsString]) -> Option<u8> {
    if args.get(1).is_none_or(|command| command != COMMAND) {
        return None;
    }
    let Err(error) = run(args.get(2..).unwrap_or_default()) else { return Some(0) };
    say(&format!("{}: {}", super::NOT_STARTED, chain(&error)));
    Some(u8::try_from(FAILED).unwrap_or(u8::MAX))
}

#[expect(clippy::print_stderr, reason = "whoever started the program reads what it prints")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// What is wrong, and with what.
fn at(what: &str, path: &Utf8Path) -> impl FnOnce(nix::Error) -> io::Error {
    let text = format!("cannot {what} `{path}`");
    move |error| io::Error::new(io::Error::from(error).kind(), format!("{text}: {}", error.desc()))
}

/// `RUNG DIR [STEP PATH…]… -- PROGRAM [ARGUMENT…]`
fn run(args: &[OsString]) -> io::Result<()> {
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidInput, "the command line is none of this program's own");
    let (how, dir) = (args.first().ok_or_else(wrong)?, args.get(1).ok_or_else(wrong)?);
    let end = args.iter().position(|word| word == THEN).ok_or_else(wrong)?;
    let program = args.get(end + 1..).filter(|program| !program.is_empty()).ok_or_else(wrong)?;
    let words: Option<Vec<String>> =
        args.get(2..end).ok_or_else(wrong)?.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    if how == LAST {
        let number = args.get(2).and_then(|number| number.to_str()?.parse().ok()).ok_or_else(wrong)?;
        return last(dir, number, program);
    }
    let plan = words.and_then(|words| Plan::read(words.into_iter())).ok_or_else(wrong)?;
    match how.to_str().and_then(Rung::named).ok_or_else(wrong)? {
        Rung::Namespaces => namespaces(&plan)?,
        Rung::Landlock => landlock::restrict(&plan)?,
        Rung::Bubblewrap => return bubblewrap(&plan, dir, program),
        Rung::None => {}
    }
    become_program(dir, program)
}

/// The end of every way: where it is to run, with the variables that it is to have.
fn become_program(dir: &OsStr, program: &[OsString]) -> io::Result<()> {
    let [name, arguments @ ..] = program else { return Err(io::ErrorKind::InvalidInput.into()) };
    // Anew, by its path: a directory that was open before leads behind what covers it.
    nix::unistd::chdir(dir).map_err(at("enter the directory", Utf8Path::new(&dir.to_string_lossy())))?;
    if name == TRIAL {
        return trial::look(arguments);
    }
    hermes_host::private::keep_descriptors();
    let variables = std::env::vars_os().map(|(name, value)| {
        let own = name.to_str().and_then(|name| name.strip_prefix(PUT_ASIDE)).map(OsString::from);
        (own.unwrap_or(name), value)
    });
    #[expect(
        clippy::disallowed_methods,
        reason = "this process becomes it; the environment is what it was given"
    )]
    let error = std::process::Command::new(name).args(arguments).env_clear().envs(variables).exec();
    Err(io::Error::new(error.kind(), format!("cannot execute `{}`: {error}", name.to_string_lossy())))
}

/// Enters namespaces of its own, covers what the plan says, and gives up the right to change that.
fn namespaces(plan: &Plan) -> io::Result<()> {
    let no_namespace =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot make a user namespace: {error}"));
    enter_namespaces().map_err(no_namespace)?;
    // What is mounted later comes in here, nothing goes out.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(at("set apart", Utf8Path::new("/")))?;
    apply(plan)?;
    enter_namespaces().map_err(no_namespace)
}

/// A user and a mount namespace in which everybody has the number that he has outside.
#[expect(unsafe_code, reason = "`fork` and `_exit` have no safe form; there is one thread")]
fn enter_namespaces() -> io::Result<()> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    if !geteuid().is_root() {
        let (user, group) = (geteuid(), getegid());
        unshare(flags)?;
        // No group can be given up, so that none can be got rid of that is to keep somebody out.
        fs_err::write("/proc/self/setgroups", "deny")?;
        fs_err::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        return fs_err::write("/proc/self/gid_map", format!("{group} {group} 1"));
    }
    // Only somebody outside may say that everybody is there: another process, which waits until there is an inside.
    let (users, groups) = (same("/proc/self/uid_map")?, same("/proc/self/gid_map")?);
    let own = std::process::id();
    let (there, is_there) = nix::unistd::pipe()?;
    // SAFETY: this process has one thread.
    let child = match unsafe { fork() }? {
        ForkResult::Child => {
            drop(is_there);
            let mut word = [0];
            let told = nix::unistd::read(&there, &mut word).is_ok_and(|len| len == 1);
            let done = told
                && fs_err::write(format!("/proc/{own}/uid_map"), users).is_ok()
                && fs_err::write(format!("/proc/{own}/gid_map"), groups).is_ok();
            // SAFETY: ends the process at once; there is nothing to be left in order.
            unsafe { nix::libc::_exit(i32::from(!done)) }
        }
        ForkResult::Parent { child } => child,
    };
    drop(there);
    let entered = unshare(flags);
    if entered.is_ok() {
        nix::unistd::write(&is_there, &[1])?;
    }
    drop(is_there);
    let mapped = nix::sys::wait::waitpid(child, None)?;
    entered?;
    match mapped {
        nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "its users cannot be named")),
    }
}

/// The map that gives everybody the number that he has here.
fn same(file: &str) -> io::Result<String> {
    let text = fs_err::read_to_string(file)?;
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (first, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Does the steps.
fn apply(plan: &Plan) -> io::Result<()> {
    // What is put back has to be open before it is covered.
    let mut sources = Vec::new();
    for step in &plan.0 {
        if let Step::Keep(path) | Step::See(path) = step {
            sources.push((path.clone(), open(path)?));
        }
    }
    let mut sources = sources.into_iter();
    for step in &plan.0 {
        match step {
            Step::Empty(path) => empty(path, "mode=0755,size=1m")?,
            Step::Scratch(path) => empty(path, "mode=0700,size=64m")?,
            Step::Dir(path) => make_dirs(path)?,
            Step::Cover(path) => bind(Utf8Path::new("/dev/null"), path)?,
            Step::Keep(path) | Step::See(path) => {
                let (_, source) = sources.next().ok_or(io::ErrorKind::InvalidInput)?;
                make_dirs(path)?;
                let source = Utf8PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
                bind(&source, path)?;
                if matches!(step, Step::See(_)) {
                    seal(path)?;
                }
            }
            Step::Link(path, target) => {
                make_dirs(path.parent().unwrap_or(path))?;
                std::os::unix::fs::symlink(target, path)?;
            }
            Step::Seal(path) => seal(path)?,
        }
    }
    Ok(())
}

fn open(path: &Utf8Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path.as_std_path(), flags, Mode::empty()).map_err(at("open", path))
}

/// `options` say how much may be put into it: for the few directories that lead to what is put back, next to nothing.
fn empty(path: &Utf8Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path.as_std_path(), Some("tmpfs"), flags, Some(options)).map_err(at("cover", path))
}

fn bind(source: &Utf8Path, path: &Utf8Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source.as_std_path()), path.as_std_path(), None::<&str>, flags, None::<&str>)
        .map_err(at("put something in the place of", path))
}

/// From now on it can only be read. What else holds for it stays: in a namespace nobody may loosen that.
fn seal(path: &Utf8Path) -> io::Result<()> {
    let found = statvfs(path.as_std_path()).map_err(at("look at", path))?.flags();
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = pairs.into_iter().filter(|(is, _)| found.contains(*is)).map(|(_, flag)| flag);
    let flags = kept.fold(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY, MsFlags::union);
    mount(None::<&str>, path.as_std_path(), None::<&str>, flags, None::<&str>).map_err(at("seal", path))
}

fn make_dirs(path: &Utf8Path) -> io::Result<()> {
    fs_err::create_dir_all(path)
}

/// Lets bubblewrap do it. It stays and waits for the program; signals are the program's, which sets them right again.
fn bubblewrap(plan: &Plan, dir: &OsStr, program: &[OsString]) -> io::Result<()> {
    let bwrap = BWRAP
        .into_iter()
        .find(|path| Utf8Path::new(path).exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "bubblewrap is not installed"))?;
    for passed in PASSED {
        // SAFETY: no handler is installed; ignored is ignored.
        #[expect(unsafe_code, reason = "`signal` has no safe form")]
        let _before = unsafe { signal(passed, SigHandler::SigIgn) }?;
    }
    // Inherited on purpose: the last stage is this program again, whatever is at its path.
    let own = nix::fcntl::open("/proc/self/exe", OFlag::O_RDONLY, Mode::empty())?;
    let number = own.as_raw_fd().to_string();
    let mut words: Vec<OsString> = ["--unshare-user-try", "--cap-drop", "ALL", "--dev-bind", "/", "/"]
        .into_iter()
        .map(OsString::from)
        .collect();
    for step in &plan.0 {
        let step = match step {
            Step::Empty(path) => vec!["--tmpfs", path.as_str()],
            Step::Scratch(path) => vec!["--perms", "0700", "--tmpfs", path.as_str()],
            Step::Dir(path) => vec!["--dir", path.as_str()],
            Step::Cover(path) => vec!["--ro-bind", "/dev/null", path.as_str()],
            Step::Keep(path) => vec!["--bind", path.as_str(), path.as_str()],
            Step::See(path) => vec!["--ro-bind", path.as_str(), path.as_str()],
            Step::Link(path, target) => vec!["--symlink", target.as_str(), path.as_str()],
            Step::Seal(path) => vec!["--remount-ro", path.as_str()],
        };
        words.extend(step.into_iter().map(OsString::from));
    }
    words.extend(["--chdir", "/", "--"].map(OsString::from));
    words.push(format!("/proc/self/fd/{number}").into());
    words.extend([COMMAND.into(), LAST.into(), dir.to_owned(), number.into(), THEN.into()]);
    words.extend(program.iter().cloned());
    #[expect(
        clippy::disallowed_methods,
        reason = "this process becomes it; the environment is what it was given"
    )]
    let error = std::process::Command::new(bwrap).args(words).exec();
    Err(io::Error::new(error.kind(), format!("cannot execute `{bwrap}`: {error}")))
}

/// Within bubblewrap: `number` is the descriptor of this program.
fn last(dir: &OsStr, number: i32, program: &[OsString]) -> io::Result<()> {
    for passed in PASSED {
        // SAFETY: no handler is installed.
        #[expect(unsafe_code, reason = "`signal` has no safe form")]
        let _before = unsafe { signal(passed, SigHandler::SigDfl) }?;
    }
    // SAFETY: the stage before left it open for this one, and nothing else here knows its number. It is closed.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    let own = unsafe { OwnedFd::from_raw_fd(number) };
    drop(own);
    become_program(dir, program)
}
