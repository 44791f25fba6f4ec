//! What the journal is told of one worker: every change of its state, why, and who wanted it.
//!
//! Who wanted something is known when it is asked, and what comes of it later (a process that drains, a newer one that takes over)
//! is put down to the same. What nobody asked for is the worker's, the machine's or the gateway's own doing.

use hermes_wire::contract::events::{By, Event as Entry, what, who};
use hermes_wire::contract::gateway_status::state as words;
use hermes_wire::exit;

use super::super::state::{Event, Exit, State};
use super::Actor;
use crate::generation::Generation;

/// What was last asked of a worker.
#[derive(Debug)]
pub(super) struct Asked {
    by: By,
    cause: &'static str,
    /// Its files have changed, and whether they can be used is not known yet.
    files: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { by: By::who(who::GATEWAY), cause: "the gateway starts", files: false }
    }
}

impl Asked {
    /// Remembers who asks; of those that ask for nothing, nothing.
    pub(super) fn hear(&mut self, event: &Event, by: Option<By>) {
        let (usual, cause) = match event {
            Event::Begin => (who::GATEWAY, "the gateway starts"),
            Event::Start => (who::GATEWAY, "start requested"),
            Event::Restart => (who::GATEWAY, "restart requested"),
            Event::FilesChanged => (who::FILES, "files changed"),
            Event::Stop => (who::GATEWAY, "stop requested"),
            Event::Park => (who::FILES, "parked"),
            Event::Unpark => (who::FILES, "not parked any more"),
            Event::Leave => (who::GATEWAY, "leaving"),
            Event::Detach => (who::COMMAND, "detached"),
            Event::Conflict(_) => (who::GATEWAY, "conflict"),
            _ => return,
        };
        self.files |= matches!(event, Event::FilesChanged);
        self.by = by.unwrap_or_else(|| By::who(usual));
        self.cause = cause;
    }
}

/// What must be known of a step before it is done.
pub(super) struct Step {
    by: By,
    /// The process ends.
    ended: Option<Entry>,
    /// A newer process is told that it may not serve, or has found so itself.
    refuses: bool,
}

impl Actor {
    /// Who is behind an event, and what is known of a process that ends with it.
    pub(super) fn foresee(&self, event: &Event) -> Step {
        let (mut ended, mut refuses) = (None, false);
        let by = match event {
            Event::Begin
            | Event::Doze
            | Event::Start
            | Event::Restart
            | Event::FilesChanged
            | Event::Stop
            | Event::Park
            | Event::Unpark
            | Event::Leave
            | Event::Detach
            | Event::Conflict(_) => self.asked.by.clone(),
            Event::Exited { generation, exit } => {
                refuses = *exit == Exit::Code(i32::from(exit::CONFIG));
                let (by, entry) = self.end(*generation, *exit);
                ended = Some(entry);
                by
            }
            Event::Refused { .. } => {
                refuses = true;
                By::who(who::GATEWAY)
            }
            Event::Wake => By::named(who::GATEWAY, "request"),
            Event::Spared { .. } => By::who(who::FILES),
            Event::SpawnFailed { .. } => By::who(who::MACHINE),
            Event::Tick | Event::Apart { .. } | Event::Undecided { .. } | Event::Escalate(_) => {
                By::who(who::GATEWAY)
            }
            _ => By::who(who::WORKER),
        };
        Step { by, ended, refuses }
    }

    fn end(&self, generation: Generation, exit: Exit) -> (By, Entry) {
        let (told, blame, said) = self.state.end_of(generation).unwrap_or((true, None, None));
        let (by, cause) = match (blame, exit) {
            (Some(why), _) => (By::who(who::GATEWAY), why.reason.clone()),
            (None, Exit::Code(0)) if self.state.rests(generation) => {
                (By::who(who::GATEWAY), "nothing to do".to_owned())
            }
            (None, Exit::OutOfMemory | Exit::OverLimit) => (By::named(who::MACHINE, "memory"), String::new()),
            (None, _) if told => (self.asked.by.clone(), self.asked.cause.to_owned()),
            (None, _) => (By::who(who::WORKER), said.unwrap_or("nobody asked for it").to_owned()),
        };
        let pid =
            self.state.children().find(|child| child.generation == generation).and_then(|child| child.pid);
        let entry = Entry {
            what: what::EXIT.to_owned(),
            cause,
            by: Some(by.clone()),
            generation: Some(generation.get()),
            pid,
            exit: Some(exit.to_string()),
            file: blame.and_then(|why| why.file.clone()),
            ..Entry::default()
        };
        (by, entry)
    }

    /// Writes down what a step has changed.
    pub(super) fn note(&mut self, before: &State, step: Step) {
        let Step { by, ended, refuses } = step;
        if let Some(ended) = ended {
            self.write(ended);
        }
        let (from, to) = (before.observed(), self.state.observed());
        let serving =
            |state: &State| state.current().filter(|child| child.has_served()).map(|child| child.generation);
        let (was, is) = (serving(before), serving(&self.state));
        let file = self.state.why().and_then(|why| why.file.clone());
        if from != to {
            let of = |word: &str| Some(word.to_owned());
            let entry =
                Entry { what: what::STATE.to_owned(), from: of(from), to: of(to), ..Entry::default() };
            let file = file.clone().filter(|_| !matches!(to, words::READY | words::DEGRADED));
            let by = Some(by.clone());
            self.write(Entry { cause: self.state.cause().to_owned(), by, file, ..self.of_current(entry) });
        }
        if let (Some(was), Some(is)) = (was, is)
            && was != is
        {
            let entry = Entry {
                what: what::SWAP.to_owned(),
                from: Some(format!("generation {was}")),
                to: Some(format!("generation {is}")),
                cause: self.asked.cause.to_owned(),
                by: Some(self.asked.by.clone()),
                ..Entry::default()
            };
            self.write(self.of_current(entry));
        }
        let is_news = self.state.why().is_some() && before.why() != self.state.why();
        if is_news && (refuses || was.is_some() && was == is && from == to) {
            let (what, to) = if refuses { (what::CONFIG, "refused") } else { (what::SWAP, "failed") };
            self.asked.files &= !refuses;
            self.write(Entry {
                what: what.to_owned(),
                to: Some(to.to_owned()),
                cause: self.state.why().map(|why| why.reason.clone()).unwrap_or_default(),
                by: Some(if refuses { self.asked.by.clone() } else { by }),
                file,
                ..Entry::default()
            });
        }
        if self.state.succeeds(before).is_some() && std::mem::take(&mut self.asked.files) {
            let entry = Entry {
                what: what::CONFIG.to_owned(),
                to: Some("applied".to_owned()),
                cause: "files changed".to_owned(),
                by: Some(By::who(who::FILES)),
                ..Entry::default()
            };
            self.write(self.of_current(entry));
        }
    }

    /// Writes down which platforms are connected that were not, and which are not any more.
    pub(super) fn note_platforms(&self, generation: Generation, before: &[String]) {
        let Some(link) = self.links.get(&generation) else { return };
        let now = &link.condition.platforms;
        let entry = |platform: &String, from: &str, to: &str| Entry {
            what: what::PLATFORM.to_owned(),
            platform: Some(platform.clone()),
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            cause: link.condition.reason.clone().filter(|_| to == "down").unwrap_or_default(),
            by: Some(By::who(who::WORKER)),
            generation: Some(generation.get()),
            pid: u32::try_from(link.pid.as_raw()).ok(),
            ..Entry::default()
        };
        for platform in now.iter().filter(|platform| !before.contains(platform)) {
            self.write(entry(platform, "up", "down"));
        }
        for platform in before.iter().filter(|platform| !now.contains(platform)) {
            self.write(entry(platform, "down", "up"));
        }
    }

    /// Writes down that the connection of an exclusive platform stands.
    pub(super) fn note_connected(&self, generation: Generation, platform: String) {
        self.write(Entry {
            what: what::PLATFORM.to_owned(),
            platform: Some(platform),
            to: Some("up".to_owned()),
            cause: "connected".to_owned(),
            by: Some(By::who(who::WORKER)),
            generation: Some(generation.get()),
            ..Entry::default()
        });
    }

    fn of_current(&self, entry: Entry) -> Entry {
        let current = self.state.current();
        Entry {
            generation: current.map(|child| child.generation.get()),
            pid: current.and_then(|child| child.pid),
            ..entry
        }
    }

    fn write(&self, entry: Entry) {
        self.common.journal.note(Entry { profile: Some(self.spec.name.to_string()), ..entry });
    }
}
