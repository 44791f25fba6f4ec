//! A platform: one way into (and out of) this profile.
//!
//! Each is one folder under `platform/`, and one line in [`connectable`]. Its [`Adapter`] keeps the connection; what it needs of
//! the worker for that, and what the worker needs to hear of it, goes through its [`Link`]. How long to wait before another try, when
//! a silent connection is a dead one, what status and log say: all of that is the worker's (`app::platforms`), and the same for all.

mod api_server;
#[cfg(test)]
mod harness;
pub(crate) mod link;
mod webhook;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;
use hermes_wire::latest::BoundListener;

pub use link::{Class, Down, Link, Told};

use crate::delivery::Deliveries;
use crate::handover::Reception;
use crate::inbox::Inbox;
use crate::status::Status;
use crate::turn::Turns;

/// A boxed future of a platform.
pub type PlatformFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps one platform's connection.
pub trait Adapter: Send + Sync {
    /// One connection, from dialling to its end. Says [`Link::up`] once it is usable and [`Link::progress`] whenever the service was
    /// heard, and listens to [`Link::told`] throughout; then it confirms what it accepted, closes and returns `Ok`. An error says how
    /// the connection was lost, or could not be made: the worker judges when to call again.
    ///
    /// The future may be dropped at any await (an end without patience, a silence beyond [`window`](Self::window)), which is what a
    /// crash there would be: what is confirmed to the service was stored before.
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>>;

    /// Longest silence of a connection that lives; none where silence means nothing (who only listens).
    fn window(&self) -> Option<Duration> {
        None
    }
}

/// A platform that this profile's configuration turns on and this build has an adapter for.
pub struct Platform {
    /// Name in configuration, status and logs.
    pub name: &'static str,
    /// Only one process may hold its connection: it is made when the supervisor says so, and given up on its word.
    pub exclusive: bool,
    /// Routes on the data socket, without prefix; none where it only dials out.
    pub routes: Option<axum::Router>,
    /// The connection.
    pub adapter: Arc<dyn Adapter>,
}

/// What platforms are made of.
#[derive(Clone)]
pub struct Context {
    /// The profile's settings.
    pub config: Arc<ProfileConfig>,
    /// The profile's home.
    pub home: ProfileHome,
    /// The way in for events that are this profile's own.
    pub inbox: Inbox,
    /// The way in for what comes through a bot, which may be for another profile.
    pub reception: Reception,
    /// Turns whose client waits.
    pub turns: Turns,
    /// The way out for what needs no turn.
    pub deliveries: Deliveries,
    /// What this worker says about itself.
    pub status: Status,
    /// The gateway's listeners, as bound: rules that hold on loopback only look at these.
    pub listeners: Vec<BoundListener>,
    /// The whole environment of a program that a platform starts (route scripts): the allow-list of this process, plus
    /// `HERMES_HOME` and `HERMES_PROFILE`. No secret is in it.
    pub child_env: Vec<(String, String)>,
}

/// Names of platforms whose connection only one process may hold.
const EXCLUSIVE: &[&str] = &[];

/// Those of the platforms that configuration turns on whose connection only one process may hold.
pub fn exclusive(config: &ProfileConfig) -> Vec<String> {
    let names = config.platforms.iter().map(|platform| &platform.name);
    names.filter(|name| EXCLUSIVE.contains(&name.as_str())).cloned().collect()
}

/// The platforms that this profile's configuration turns on and this build has an adapter for.
pub fn connectable(context: &Context) -> Vec<Platform> {
    [webhook::connect(context), api_server::connect(context)].into_iter().flatten().collect()
}
