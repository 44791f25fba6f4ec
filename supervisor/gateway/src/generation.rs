//! Which of a profile's processes is meant. Wire, files, log and texts know it as a number, counted from 1.

use std::fmt;

/// One process of a profile, by its place in the order in which they were started since the supervisor started.
///
/// The default is 0, before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// The first process of a profile.
    pub const FIRST: Self = Self(1);

    /// The one numbered `number`; 0 is none yet.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// As wire and files have it.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one that is started after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
