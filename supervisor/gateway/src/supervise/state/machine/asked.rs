//! What is asked of one worker, by commands, homes and files.

use super::{Desired, Event, Held, Machine, Phase, Rest};

impl Machine {
    pub(super) fn asked(&mut self, event: Event) {
        match event {
            Event::Start => {
                self.s.desired = Desired::Running;
                self.s.call();
                self.revive("start requested");
            }
            Event::Restart => {
                self.s.desired = Desired::Running;
                self.s.call();
                self.revive("restart requested");
                self.renew("restart requested");
            }
            Event::FilesChanged => {
                if self.s.wants_to_run() && !self.looked_at() {
                    self.revive("files changed");
                    self.renew("files changed");
                }
            }
            Event::Stop => {
                self.s.desired = Desired::Stopped;
                self.wind_down("stop requested");
            }
            Event::Park => {
                self.s.desired = Desired::Parked;
                self.wind_down("parked");
            }
            Event::Leave => {
                self.s.leaving = true;
                self.wind_down("leaving");
            }
            Event::Detach => {
                self.s.held = Some(Held::Detached);
                self.wind_down("detached");
            }
            Event::Conflict(why) => {
                self.s.held = Some(Held::Conflict);
                self.wind_down("conflict");
                self.s.why = Some(why);
            }
            Event::Apart { generation, why } => {
                if self.child(generation).is_some_and(|child| child.phase == Phase::Reported) {
                    self.wind_down("stands alone");
                    self.s.rest = Rest::Apart;
                    self.s.failed_generation = generation;
                    self.s.why = Some(why);
                }
            }
            _ => unreachable!("handled by the caller"),
        }
    }
}
