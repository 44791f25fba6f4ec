//! The one place where the clocks are read. Whoever decides by time is given it, so that a test can say what time it is; whoever acts
//! reads it here, where it can be found.

#![expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]

use std::time::{Instant, SystemTime};

use jiff::{Timestamp, Zoned};

/// For durations: never goes back, means nothing to people.
pub fn now() -> Instant {
    Instant::now()
}

/// For times of files.
pub fn system() -> SystemTime {
    SystemTime::now()
}

/// For people and files, in UTC.
pub fn utc() -> Timestamp {
    Timestamp::now()
}

/// For people, where they are.
pub fn local() -> Zoned {
    Zoned::now()
}
