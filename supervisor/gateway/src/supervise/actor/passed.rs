//! A worker on its way from one program to the next: what is known of it, in memory and written down.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream as Blocking};
use std::time::{Duration, SystemTime};

use hermes_wire::latest::{FromWorker, Message as _, Report};
use hermes_wire::version::Version;
use hermes_wire::{ProfileName, endpoint};
use nix::unistd::Pid;

use super::super::state::Resumed;
use super::view::Condition;
use crate::generation::Generation;
use crate::handover::{self, Handover, Told};
use crate::link::Handed;
use crate::runtime::{Listening, Runtime};

/// A worker on its way.
pub(crate) struct Passed {
    pub(crate) profile: ProfileName,
    pub(super) listening: Listening,
    /// The newest generation that was started.
    pub(super) started: Generation,
    /// Unplanned replacements.
    pub(super) restarts: u64,
    pub(super) last_exit: Option<String>,
    pub(super) serving: Option<PassedProcess>,
    pub(super) finishing: Vec<PassedProcess>,
}

/// One of its processes.
pub(super) struct PassedProcess {
    pub(super) generation: Generation,
    pub(super) pid: Pid,
    pub(super) control: Handed<Blocking>,
    pub(super) road: Option<Blocking>,
    pub(super) report: Report,
    pub(super) reported: Option<SystemTime>,
    pub(super) connected: bool,
    pub(super) told: Told,
    pub(super) condition: Condition,
}

impl Passed {
    /// What the process that serves reported when it came; `None` where none serves.
    pub(crate) fn report(&self) -> Option<(Generation, &Report)> {
        self.serving.as_ref().map(|process| (process.generation, &process.report))
    }

    /// Whether there is any process of it.
    pub(crate) fn lives(&self) -> bool {
        self.serving.is_some() || !self.finishing.is_empty()
    }

    /// Says so of the process that serves.
    pub(crate) fn change_report(&mut self, change: impl FnOnce(&mut Report)) {
        if let Some(process) = &mut self.serving {
            change(&mut process.report);
        }
    }

    /// Writes it down, with messages in `wire`.
    pub(crate) fn write(
        self,
        outgoing: &mut handover::Outgoing,
        wire: Version,
    ) -> io::Result<handover::Worker> {
        let Self { profile, listening, started, restarts, last_exit, serving, finishing } = self;
        let Listening { listener, door } = listening;
        #[cfg(target_os = "linux")]
        let door = door.map(|door| door.copy()).transpose()?.map(|door| outgoing.add(door));
        #[cfg(not(target_os = "linux"))]
        let door = door.and(None);
        Ok(handover::Worker {
            profile: profile.to_string(),
            data: outgoing.add(listener.try_clone()?),
            door,
            started: started.get(),
            restarts,
            last_exit,
            serving: serving.map(|process| process.write(outgoing, wire)).transpose()?,
            finishing: finishing
                .into_iter()
                .map(|process| process.write(outgoing, wire))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Reads it.
    pub(crate) fn read(
        handover: &Handover,
        worker: &handover::Worker,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        let profile: ProfileName = worker.profile.parse().map_err(io::Error::other)?;
        let listener = UnixListener::from(handover.copy(worker.data)?);
        let door = worker.door.map(|door| handover.copy(door)).transpose()?;
        let listening = runtime.adopt(&endpoint::data_socket(&profile), listener, door)?;
        let read = |process: &handover::Process| PassedProcess::read(handover, process);
        Ok(Self {
            profile,
            listening,
            started: Generation::new(worker.started),
            restarts: worker.restarts,
            last_exit: worker.last_exit.clone(),
            serving: worker.serving.as_ref().map(read).transpose()?,
            finishing: worker.finishing.iter().map(read).collect::<Result<_, _>>()?,
        })
    }
}

impl PassedProcess {
    fn write(self, outgoing: &mut handover::Outgoing, wire: Version) -> io::Result<handover::Process> {
        let message = |message: FromWorker| {
            let bytes = message.encode(wire).map_err(io::Error::other)?;
            bytes.ok_or_else(|| io::Error::other("the next program has no word for a worker's report"))
        };
        let Condition { platforms, reason, last_error } = self.condition;
        let is_well = platforms.is_empty() && reason.is_none() && last_error.is_none();
        let degraded = FromWorker::Degraded { platforms, reason, last_error };
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        let ms = |time: Duration| u64::try_from(time.as_millis()).ok();
        Ok(handover::Process {
            generation: self.generation.get(),
            pid: self.pid.as_raw(),
            control: outgoing.add(self.control.stream),
            road: self.road.map(|road| outgoing.add(road)),
            version: self.control.version,
            unread: self.control.unread,
            report: message(FromWorker::Report(self.report))?,
            reported_ms: self.reported.and_then(since).and_then(ms),
            connected: self.connected,
            told: self.told,
            degraded: (!is_well).then(|| message(degraded)).transpose()?,
        })
    }

    fn read(handover: &Handover, process: &handover::Process) -> io::Result<Self> {
        let message =
            |bytes: &[u8]| FromWorker::decode(handover.document.wire, bytes).map_err(io::Error::other);
        let other = || io::Error::other("a worker's report is none");
        let FromWorker::Report(report) = message(&process.report)? else { return Err(other()) };
        let condition = match process.degraded.as_deref().map(message).transpose()? {
            Some(FromWorker::Degraded { platforms, reason, last_error }) => {
                Condition { platforms, reason, last_error }
            }
            Some(_) => return Err(other()),
            None => Condition::default(),
        };
        let blocking = |fd: OwnedFd| {
            let stream = Blocking::from(fd);
            stream.set_nonblocking(true).map(|()| stream)
        };
        let control = blocking(handover.copy(process.control)?)?;
        let road = process.road.map(|road| handover.copy(road)).transpose()?.map(blocking).transpose()?;
        let reported = process.reported_ms.map(Duration::from_millis);
        Ok(Self {
            generation: Generation::new(process.generation),
            pid: Pid::from_raw(process.pid),
            control: Handed { stream: control, version: process.version, unread: process.unread.clone() },
            road,
            report,
            reported: reported.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
            connected: process.connected,
            told: process.told,
            condition,
        })
    }

    pub(super) fn resumed(&self) -> Resumed {
        Resumed {
            generation: self.generation,
            pid: self.pid.as_raw().unsigned_abs(),
            told: self.told,
            exclusive: !self.report.exclusive.is_empty(),
            connected: self.connected,
            degraded: self.condition.describe().is_some(),
        }
    }
}
