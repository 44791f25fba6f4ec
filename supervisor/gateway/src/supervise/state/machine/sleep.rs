//! Profiles that need not run all the time: looked at and put to rest, woken, and sent to sleep when they have nothing to do.
//!
//! Who is `called` is needed by somebody and served as soon as it can be; who is not, and whose files say so, rests once it has
//! reported. It never rests while another process of it serves, and a process that was told to rest and does not end in order is
//! replaced: it may have left something undone.

use super::super::super::policy::{DRAIN_SLACK, Patience};
use super::super::{Event, Exit, Generation, Phase, Rest};
use super::Machine;
use hermes_wire::contract::gateway_status::state as words;

impl Machine {
    pub(super) fn slept(&mut self, event: &Event) {
        match *event {
            Event::Begin => self.begin("begins"),
            Event::Unpark => self.begin("not parked any more"),
            Event::Doze => {
                let s = &mut self.s;
                s.desired = super::Desired::Running;
                if s.current.is_none() && s.wants_to_run() {
                    (s.rest, s.called, s.looks) = (Rest::Asleep, false, None);
                    "its files are known".clone_into(&mut s.cause);
                }
            }
            Event::Wake => self.wake("there is something for it to do"),
            Event::MaySleep { generation } => {
                if let Some(child) = self.child(generation) {
                    child.sleeps = true;
                }
            }
            Event::Spared { generation, asleep } => self.spare(generation, asleep),
            Event::Idle { generation } => self.idle(generation),
            _ => unreachable!("handled by the caller"),
        }
    }

    /// It is to run, or to rest where its files say so.
    fn begin(&mut self, cause: &str) {
        self.s.desired = super::Desired::Running;
        if !matches!(self.s.rest, Rest::Asleep | Rest::Unasked) {
            self.revive(cause);
        }
    }

    /// Somebody needs it.
    fn wake(&mut self, cause: &str) {
        let s = &mut self.s;
        if !s.wants_to_run() || s.rest == Rest::Unasked && s.current.is_none() {
            return;
        }
        let looked_at =
            matches!(&s.current, Some(child) if matches!(child.phase, Phase::Spawned | Phase::Reported));
        if looked_at {
            s.call();
        } else if s.current.is_none() && s.rest == Rest::Asleep {
            cause.clone_into(&mut s.cause);
            s.call();
            self.s.current = Some(self.spawn());
        }
    }

    /// Its files changed while it rests: a process looks at them. Nobody sees more of it, unless they are bad. Whether it rests.
    pub(super) fn looked_at(&mut self) -> bool {
        let word = match (&self.s.current, self.s.rest) {
            (None, Rest::Asleep) => words::SLEEPING,
            (None, Rest::Unasked) => words::STOPPED,
            _ => return false,
        };
        self.s.looks = Some(word);
        "files changed, looked at".clone_into(&mut self.s.cause);
        self.s.current = Some(self.spawn());
        true
    }

    /// It was told to rest instead of to serve.
    fn spare(&mut self, generation: Generation, asleep: bool) {
        let (now, drain) = (self.now, self.s.limits.drain);
        let reported =
            |child: &mut super::Child| child.generation == generation && child.phase == Phase::Reported;
        let Some(mut child) = self.s.current.take_if(reported) else { return };
        child.phase = Phase::Draining;
        child.rests = true;
        child.patience = Some(Patience::new(drain + DRAIN_SLACK, now));
        self.s.retiring.push(child);
        self.rests(if asleep { Rest::Asleep } else { Rest::Unasked });
        if asleep { "runs on demand" } else { "runs when it is started by hand" }
            .clone_into(&mut self.s.cause);
    }

    fn rests(&mut self, rest: Rest) {
        let s = &mut self.s;
        (s.rest, s.called, s.looks) = (rest, false, None);
        (s.why, s.hindered) = (None, 0);
        s.deaths.forgive();
    }

    /// It has nothing to do, and says so.
    fn idle(&mut self, generation: Generation) {
        let s = &mut self.s;
        let alone = s.next.is_none() && !s.again && s.swap_at.is_none() && s.wants_to_run();
        let sleeps = |child: &mut super::Child| {
            let serves = child.generation == generation && child.phase == Phase::Serving;
            serves && child.sleeps && child.exclusive == super::Exclusive::Nothing && !child.lost
        };
        let Some(mut child) = s.current.take_if(|child| alone && sleeps(child)) else { return };
        child.rests = true;
        self.retire(child);
        self.rests(Rest::Asleep);
        "had nothing to do".clone_into(&mut self.s.cause);
    }

    /// A process that was to rest is gone. Where it did not end in order, another one sees to what it left.
    pub(super) fn rested(&mut self, exit: Exit) {
        if exit != Exit::Code(0) && self.s.rest == Rest::Asleep {
            self.wake("it left something to do");
        }
    }
}
