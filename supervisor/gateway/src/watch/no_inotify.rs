//! When to scan where there is no `inotify`: at every interval.

use std::convert::Infallible;
use std::io;

use camino::Utf8Path;
use hermes_wire::ProfileName;

/// Never exists.
#[derive(Debug)]
pub(super) struct Source(Infallible);

/// Never exists.
#[derive(Debug)]
pub(super) struct Watcher(Infallible);

/// Never exists.
#[derive(Debug)]
pub(super) struct Watched(Infallible);

/// What would be watched.
#[derive(Debug)]
pub(super) enum Place {
    Root,
    Profiles,
    Home(#[expect(dead_code, reason = "nothing is watched here")] ProfileName),
}

impl Watcher {
    pub(super) fn add(&self, _path: &Utf8Path, _place: Place) -> Watched {
        match self.0 {}
    }
}

impl Source {
    pub(super) fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "not available on this system"))
    }

    pub(super) fn watcher(&self) -> Watcher {
        match self.0 {}
    }

    pub(super) fn is_complete(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn follow(&mut self, _watches: Vec<Watched>) {
        match self.0 {}
    }

    pub(super) async fn stirred(&mut self) -> bool {
        match self.0 {}
    }
}

/// Irrelevant: everything is scanned anyway.
pub(super) fn is_silent(_path: &Utf8Path) -> bool {
    true
}
