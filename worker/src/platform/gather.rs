//! What is held until its other parts are there: parts of a text that somebody's program cut, and what he writes right behind each other.
//! Pure, with the time passed in. Which parts belong together, and how long more of them are waited for, each platform says.

use std::time::Duration;

use tokio::time::Instant;

/// Something that may become one with others.
pub(super) trait Part {
    /// Whether both are of the same person in the same place: what he said before is complete before this is.
    fn is_beside(&self, other: &Self) -> bool;
}

/// Parts that become one, in order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held<P> {
    pub(super) parts: Vec<P>,
    due: Instant,
}

/// What waits for more.
#[derive(Debug)]
pub(super) struct Gather<P> {
    held: Vec<Held<P>>,
}

impl<P> Default for Gather<P> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

impl<P: Part> Gather<P> {
    /// Takes a part; gives what is complete by that, in order. `joins`: whether it becomes one with these, which are beside it. `wait`: how
    /// long another one is waited for behind it; none: it is complete.
    pub(super) fn take(
        &mut self,
        part: P,
        joins: impl FnOnce(&[P], &P) -> bool,
        wait: Option<Duration>,
        now: Instant,
    ) -> Vec<Held<P>> {
        let before = self.held.iter().position(|held| held.parts.iter().any(|other| other.is_beside(&part)));
        let before = before.map(|at| self.held.remove(at));
        let due = now + wait.unwrap_or_default();
        let mut complete = Vec::new();
        let held = match before {
            Some(mut held) if joins(&held.parts, &part) => {
                held.parts.push(part);
                Held { due, ..held }
            }
            before => {
                complete.extend(before);
                Held { parts: vec![part], due }
            }
        };
        if wait.is_some() {
            self.held.push(held);
        } else {
            complete.push(held);
        }
        complete
    }
}

impl<P> Gather<P> {
    /// The first part of each that is held.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &P> {
        self.held.iter().filter_map(|held| held.parts.first())
    }

    /// When something is complete that is not yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.due).min()
    }

    /// What is complete by now, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Held<P>> {
        let (due, rest) = std::mem::take(&mut self.held).into_iter().partition(|held| held.due <= now);
        self.held = rest;
        due
    }

    /// Everything, complete or not.
    pub(super) fn all(&mut self) -> Vec<Held<P>> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Word(&'static str, u32);

    impl Part for Word {
        fn is_beside(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    fn numbers(all: Vec<Held<Word>>) -> Vec<Vec<u32>> {
        all.into_iter().map(|held| held.parts.into_iter().map(|word| word.1).collect()).collect()
    }

    #[test]
    fn parts_of_one_person_become_one_and_stay_in_order() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut gather = Gather::default();
        let mut take = |word, joins, wait| numbers(gather.take(word, |_, _| joins, wait, now));
        let none = Vec::<Vec<u32>>::new();
        assert_eq!(take(Word("ann", 1), true, Some(second)), none);
        assert_eq!(take(Word("bob", 2), true, Some(second * 3)), none);
        assert_eq!(take(Word("ann", 3), true, Some(second * 2)), none);
        assert_eq!(take(Word("ann", 4), false, Some(second)), [[1, 3]], "it begins anew");
        assert_eq!(take(Word("ann", 5), false, None), [vec![4], vec![5]]);
        assert_eq!(take(Word("eve", 6), true, None), [[6]], "nothing to join, and nothing is waited for");
        assert_eq!(gather.firsts().map(|word| word.1).collect::<Vec<_>>(), [2]);
        assert_eq!(gather.next(), Some(now + second * 3));
        assert!(gather.due(now + second * 2).is_empty());
        assert_eq!(numbers(gather.due(now + second * 3)), [[2]]);
        assert_eq!(numbers(gather.take(Word("bob", 7), |_, _| true, None, now)), [[7]]);
        assert!(gather.all().is_empty() && gather.next().is_none());
    }
}
