//! The proxy against real TCP clients and scripted workers on Unix sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so where it stands")]

mod admin;
mod failures;
mod flood;
mod forwarding;
mod life;
mod limits;
mod rig;
mod strictness;
