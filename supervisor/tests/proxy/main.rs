//! The proxy against real TCP clients and scripted workers on Unix sockets.

mod failures;
mod forwarding;
mod life;
mod limits;
mod rig;
mod strictness;
