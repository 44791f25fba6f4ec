//! Hands the exclusive platforms of a profile (those whose connection must never stand twice) from one generation to the next.
//!
//! One process at most may be connected: the one that was told `Connect`, until it has said `Yielded` or is dead; a closed link,
//! a signal or a deadline are no proof. One that says `Connected` untold counts as connected likewise, and is ended. A newer generation that is ready for HTTP stands by until the one in force has yielded,
//! which goes on serving meanwhile: should the newer one die, it is told `Connect` again and nothing has happened. Only then it
//! is retired, and only then the newer one connects. A process that does not yield in time is ended, and the newer one takes
//! over at once, but connects when the other is dead.

use super::super::super::policy::{Patience, YIELD, YIELD_SLACK};
use super::super::{Action, Exclusive, Generation, Phase};
use super::Machine;

impl Machine {
    /// Only who was told to may be. Who is all the same is ended, and nobody else connects before that.
    pub(super) fn connected(&mut self, generation: Generation) {
        if let Some(child) = self.child(generation).filter(|child| !child.may_be_connected()) {
            child.exclusive = Exclusive::Open;
            self.broke(generation, "it connected an exclusive platform before it was told to");
        }
    }

    /// Nothing is connected in it. Unasked, nothing ever will be: it is about to end.
    pub(super) fn yielded(&mut self, generation: Generation) {
        if let Some(child) = self.child(generation) {
            child.exclusive = match child.exclusive {
                Exclusive::Yielding(_) => Exclusive::Closed,
                Exclusive::Nothing | Exclusive::Open | Exclusive::Closed => Exclusive::Nothing,
            };
        }
    }

    /// After every event: lets a newer generation take over that no longer has to stand by, and connects whoever is in force
    /// once nobody else can be connected.
    pub(super) fn settle(&mut self) {
        let s = &self.s;
        let standing_by = s.next.as_ref().filter(|next| next.phase == Phase::Standby);
        let in_the_way =
            s.current.as_ref().filter(|old| old.phase == Phase::Serving && old.may_be_connected());
        match (standing_by, in_the_way) {
            (Some(next), Some(old)) if next.exclusive != Exclusive::Nothing => {
                let generation = old.generation;
                self.ask_to_yield(generation);
            }
            (Some(_), _) => {
                let old = self.s.current.take();
                self.s.current = self.s.next.take();
                if let Some(old) = old {
                    self.retire(old);
                }
            }
            (None, _) => {}
        }
        // It was next, or became the one in force when the other died.
        if let Some(current) = self.s.current.as_mut().filter(|child| child.phase == Phase::Standby) {
            current.phase = Phase::Serving;
            self.serves();
        }
        self.connect();
    }

    /// Connects the generation in force, unless another one can still be connected: that one yields first.
    fn connect(&mut self) {
        let heir = self.s.current.as_ref().filter(|child| {
            child.exclusive == Exclusive::Closed && matches!(child.phase, Phase::Admitted | Phase::Serving)
        });
        let Some(heir) = heir.map(|child| child.generation) else { return };
        let connected: Vec<(Generation, bool)> = self
            .s
            .children()
            .filter(|child| child.may_be_connected())
            .map(|child| (child.generation, child.is_ending()))
            .collect();
        if connected.is_empty() {
            if let Some(child) = self.child(heir) {
                child.exclusive = Exclusive::Open;
            }
            self.actions.push(Action::Connect { generation: heir });
        }
        for (generation, _) in connected.into_iter().filter(|(_, is_ending)| !is_ending) {
            self.ask_to_yield(generation);
        }
    }

    /// Once; who is asked already is waited for.
    fn ask_to_yield(&mut self, generation: Generation) {
        let now = self.now;
        if let Some(child) = self.child(generation).filter(|child| child.exclusive == Exclusive::Open) {
            child.exclusive = Exclusive::Yielding(Patience::new(YIELD + YIELD_SLACK, now));
            self.actions.push(Action::Yield { generation, within: YIELD });
        }
    }

    /// Ends who was asked to yield and has not said that it has.
    pub(super) fn end_who_does_not_yield(&mut self) {
        let now = self.now;
        let s = &mut self.s;
        let mut late = Vec::new();
        for child in s.current.iter_mut().chain(&mut s.next).chain(&mut s.retiring) {
            let Exclusive::Yielding(patience) = child.exclusive else { continue };
            if patience.due() > now || child.is_ending() {
                continue;
            }
            match patience.spent(now) {
                Some(left) => child.exclusive = Exclusive::Yielding(left),
                None => late.push(child.generation),
            }
        }
        for generation in late {
            let secs = (YIELD + YIELD_SLACK).as_secs();
            self.condemn(generation, Some(format!("it did not close its connections within {secs} s")));
        }
    }
}
