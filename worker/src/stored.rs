//! What a profile has stored, as commands at a terminal show it and change it: conversations, what they cost, and the inbox.
//!
//! **Reading** needs nobody: [`Look`] opens `state.db` by a connection that cannot write and leaves no file beside it, whatever program and
//! release made the file and whether or not a worker serves the profile. What columns there are is looked at once; what a file lacks is
//! not known of it. That a file cannot be read is an error, and never taken for a profile that has nothing.
//!
//! **Changing** ([`mod@change`]) is a job of the one writer: of the worker that serves the profile, else of the command itself, by the same code, in a
//! transaction that makes the same sure. Nothing is taken away in which a turn runs, whoever runs it, or that a message waits for.
//!
//! **Mending** ([`repair`]) is the command's alone, and only where nobody has the file open.

mod change;
mod counts;
mod export;
mod items;
mod look;
pub mod repair;
mod search;
mod usage;

pub use change::change;
pub use counts::{BySource, Counts};
pub use items::{Answer, Item, State};
pub use look::{Found, Line, Look, Session, Tokens, Unread, Unused, Wanted};
pub use search::{By, Hit, Searched};
pub use usage::{Day, Usage, Used};

pub(crate) use change::apply;

use crate::session::lease::Watch;
use crate::store::Owner;

/// What a job of this kind needs.
#[derive(Debug)]
pub struct Stored {
    owner: Owner,
    /// What was learned of the turns of other programs.
    leases: Watch,
}

impl Stored {
    /// For this process.
    pub fn new() -> Self {
        Self { owner: Owner::current(), leases: Watch::default() }
    }
}

impl Default for Stored {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
