//! When to scan where there is no `inotify`: at every interval.

use std::convert::Infallible;
use std::io;

use camino::Utf8Path;
use hermes_protocol::{ProfileName, RootHome};

/// Never exists.
#[derive(Debug)]
pub(super) struct Source(Infallible);

impl Source {
    pub(super) fn new(_root: &RootHome) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "not available on this system"))
    }

    pub(super) fn is_complete(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn follow(&mut self, _root: &RootHome, _directories: &[ProfileName]) -> bool {
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
