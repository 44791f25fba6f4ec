//! Logs of profiles and of the gateway, read from their files: by this program and by the Python one, running or not.
//!
//! # Theory of operation
//!
//! A log is a *chain*: a file and its rotated predecessors (`x.log`, `x.log.1`, …). A *record* is a line that begins with a time and
//! a level (`record`), and the lines behind it that do not. What is asked for is a [`Filter`].
//!
//! Reading has two passes. The first goes backwards from the ends of all chains at once, in blocks, newest record first, until
//! as many records as wanted have passed the filter; it keeps no text, only where to begin in each chain. Where a time is given
//! instead of a number, the beginning is found by bisection. The second pass goes forward from there, merges by time, and hands
//! out each record once. So the cost is that of what is shown, whatever the size of the files, and memory is bounded by a block a
//! chain. Files stay open between the passes, so that a rotation in between changes nothing.
//!
//! Following goes on where the second pass ended, through rotation, truncation, and files that come later.
//!
//! Times are compared as the clock on the wall showed them, because that is all that lines say.

mod bounds;
mod chain;
mod file;
mod filter;
mod follow;
mod merge;
mod names;
mod record;
mod show;
mod twins;

pub(crate) use bounds::{BadTime, End, moment, parse as time};
pub(crate) use filter::{COMPONENTS, Filter, component, grep};
pub(crate) use follow::Following;
pub(crate) use merge::{Span, read};
pub(crate) use names::{Entry, NAMES, Name, Place, in_folder, places};
pub(crate) use record::Level;
pub(crate) use show::{Look, human, json};
