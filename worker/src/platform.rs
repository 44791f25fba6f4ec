//! A platform: one way into (and out of) this profile.
//!
//! Each is one folder under `platform/`, and one line in [`FOLDERS`]. Everything that is known of platforms comes from there: the
//! [`REGISTRY`] that configuration, documentation and commands ask, the connections, and the ways out. Its [`Adapter`] keeps the connection; what it needs of
//! the worker for that, and what the worker needs to hear of it, goes through its [`Link`]. How long to wait before another try, when
//! a silent connection is a dead one, what status and log say: all of that is the worker's (`app::platforms`), and the same for all.

pub(crate) mod api_server;
mod backoff;
mod buttons;
mod discord;
mod email;
mod gather;
#[cfg(test)]
mod harness;
mod holds;
mod homeassistant;
mod irc;
mod lines;
pub(crate) mod link;
mod matrix;
mod mattermost;
mod ntfy;
mod sent;
mod settings;
mod shared;
mod signal;
mod slack;
mod telegram;
mod testchat;
pub mod webhook;
mod whatsapp;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_config::platform::{Declaration, Registry};
use hermes_wire::ProfileHome;
use hermes_wire::contract::platform_trials::Trial;
use hermes_wire::latest::{BoundListener, Family};

pub use link::{Class, Down, Link, Told};
pub use shared::Shared;
pub use whatsapp::install as whatsapp_bridge;

use crate::delivery::Deliveries;
use crate::delivery::outbound::Outbound;
use crate::fence::Fence;
use crate::handover::Reception;
use crate::http::Cors;
use crate::inbox::Inbox;
use crate::status::Status;
use crate::turn::Turns;

/// Time for one platform's check.
const ASKING: Duration = Duration::from_secs(20);

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
    /// What it declares: its name; and whether only one process may hold its connection, which is then made when the supervisor says so,
    /// and given up on its word.
    pub declaration: &'static Declaration,
    /// Routes on the data socket, without prefix; none where it only dials out.
    pub routes: Option<axum::Router>,
    /// Which web pages may call it; none: it is not for pages.
    pub(crate) pages: Option<Cors>,
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
    /// What is around such a program.
    pub(crate) fence: Fence,
    /// What connections have in common with the ways out.
    pub shared: Shared,
    /// What makes an identity this process's that the files do not name.
    pub(crate) take_identity: link::TakeIdentity,
}

/// Makes a platform's way out, where the configuration turns it on.
type WayOut = fn(&Outside<'_>) -> Option<Arc<dyn Outbound>>;

/// Asks a platform's service, where the configuration turns it on, whether what is configured works. It connects nothing, and takes nothing
/// from whoever is connected.
type Check = fn(&Outside<'_>) -> Option<PlatformFuture<'static, Trial>>;

/// What a platform's folder has to offer.
pub(crate) struct Folder {
    /// What it declares.
    declaration: &'static Declaration,
    /// Its connection, where the configuration turns it on.
    connect: fn(&Context) -> Option<Platform>,
    /// Its way out, likewise; none: answers go back through the connection they came by, or nowhere.
    outbound: Option<WayOut>,
    /// Asks its service whether what the configuration says works; none: nobody can be asked.
    check: Option<Check>,
}

/// What ways out are made of.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The profile's settings.
    pub config: &'a ProfileConfig,
    /// The profile's home.
    pub home: &'a ProfileHome,
    /// What of the gateway's environment passes into this process: proxies and certificates.
    pub inherited: &'a [(String, String)],
    /// What ways out have in common with the connections.
    pub shared: &'a Shared,
    /// The gateway has a port on which services can call; none: nobody said.
    pub webhooks: Option<bool>,
}

/// One line a platform.
const FOLDERS: [Folder; 14] = [
    webhook::FOLDER,
    api_server::FOLDER,
    discord::FOLDER,
    email::FOLDER,
    homeassistant::FOLDER,
    irc::FOLDER,
    matrix::FOLDER,
    mattermost::FOLDER,
    ntfy::FOLDER,
    signal::FOLDER,
    slack::FOLDER,
    telegram::FOLDER,
    whatsapp::FOLDER,
    testchat::FOLDER,
];

/// Every platform there is, with a folder or only known.
pub static REGISTRY: Registry = Registry::new(&DECLARATIONS);

const DECLARATIONS: [&Declaration; FOLDERS.len()] = {
    let mut all = [FOLDERS[0].declaration; FOLDERS.len()];
    let mut n = 1;
    while n < all.len() {
        all[n] = FOLDERS[n].declaration;
        n += 1;
    }
    all
};

/// Those of the platforms that configuration turns on whose connection only one process may hold.
pub fn exclusive(config: &ProfileConfig) -> Vec<String> {
    let on = |name: &str| config.platforms.iter().any(|platform| platform.name == name);
    let all = REGISTRY.own().filter(|platform| platform.exclusive && on(platform.name));
    all.map(|platform| platform.name.to_owned()).collect()
}

/// Those that are connected to a service by themselves, instead of being called through the gateway.
pub fn connections(config: &ProfileConfig) -> Vec<String> {
    let on = |name: &str| config.platforms.iter().any(|platform| platform.name == name && platform.supported);
    let all = REGISTRY.own().filter(|platform| platform.listener.is_none() && on(platform.name));
    all.map(|platform| platform.name.to_owned()).collect()
}

/// Those that can be reached through a listener of the gateway, configured or not.
pub fn families() -> Vec<Family> {
    let of_listener = |platform: &'static Declaration| {
        let listener = platform.listener.as_ref()?;
        let called = REGISTRY.own().filter(|_| platform.name == webhook::NAME).flat_map(|other| other.called);
        let paths = listener.paths.iter().chain(called).map(|&path| path.to_owned()).collect();
        Some(Family { platform: platform.name.to_owned(), paths, is_api: listener.is_api })
    };
    REGISTRY.own().filter_map(of_listener).collect()
}

/// The platforms that this profile's configuration turns on and this build has an adapter for.
pub fn connectable(context: &Context) -> Vec<Platform> {
    FOLDERS.iter().filter_map(|folder| (folder.connect)(context)).collect()
}

/// The ways out of the same platforms.
pub fn outbounds(outside: &Outside<'_>) -> Vec<Arc<dyn Outbound>> {
    FOLDERS.iter().filter_map(|folder| folder.outbound?(outside)).collect()
}

/// Asks the services of the platforms that the configuration turns on, or of the one of this name.
pub(crate) async fn trials(outside: &Outside<'_>, only: Option<&str>) -> Vec<Trial> {
    let is_on = |name: &str| outside.config.platforms.iter().any(|platform| platform.name == name);
    let folders = FOLDERS.iter().filter(|folder| folder.declaration.listener.is_none());
    let asked =
        folders.filter(|folder| only.is_none_or(|only| only == folder.declaration.name)).map(|folder| {
            let name = folder.declaration.name;
            let check = folder.check.map(|check| check(outside));
            async move {
                match check {
                    _ if !is_on(name) => only.map(|_| Trial::not_asked(name, "it is not turned on")),
                    None => only.map(|_| Trial::not_asked(name, "there is nobody to ask")),
                    Some(None) => Some(Trial::not_asked(name, "it is not turned on")),
                    Some(Some(asking)) => {
                        let asked = tokio::time::timeout(ASKING, asking).await;
                        let late =
                            || Trial::unreachable(name, format!("no answer within {} s", ASKING.as_secs()));
                        Some(asked.unwrap_or_else(|_| late()))
                    }
                }
            }
        });
    let mut all: Vec<Trial> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    if let Some(name) = only.filter(|_| all.is_empty()) {
        all.push(Trial::not_asked(name, "this version does not connect it"));
    }
    all
}

/// Whether the gateway has a port on which services can call.
pub(crate) fn is_callable(listeners: &[BoundListener]) -> bool {
    listeners.iter().any(|one| one.platforms.iter().any(|name| name == webhook::NAME))
}

/// Every platform that answers may be meant for.
pub fn targets() -> impl Iterator<Item = &'static str> {
    REGISTRY.all().filter(|platform| platform.target).map(|platform| platform.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_declared_once_with_an_adapter() {
        let mut names: Vec<_> = REGISTRY.own().map(|platform| platform.name).collect();
        assert!(REGISTRY.own().all(|platform| platform.adapter && !platform.name.is_empty()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FOLDERS.len());
    }

    /// No request could be for two platforms, and there is one API at most.
    #[test]
    fn no_two_platforms_share_a_path() {
        let all = families();
        assert!(all.iter().filter(|family| family.is_api).count() == 1);
        let paths: Vec<_> = all.iter().flat_map(|family| &family.paths).collect();
        for (n, path) in paths.iter().enumerate() {
            // One alone, and what is below it.
            let below = format!("{path}/");
            let apart = |other: &&String| {
                **other == below || (!path.starts_with(other.as_str()) && !other.starts_with(path.as_str()))
            };
            assert!(path.starts_with('/') && path.len() > 1 && paths[n + 1..].iter().all(apart), "{path}");
        }
    }

    /// What people are told to set is what turns a platform on, whoever reads it.
    #[test]
    fn every_guide_names_what_turns_its_platform_on() {
        use hermes_config::platform::guide::GUIDES;

        for guide in GUIDES {
            let platform = REGISTRY.find(guide.platform).expect(guide.platform);
            let needed: Vec<&str> = guide.variables.iter().filter(|v| v.is_needed).map(|v| v.name).collect();
            let is_named = |name: &str| needed.contains(&name);
            let is_on = platform.credentials.iter().any(|set| set.iter().all(|field| is_named(field.env)))
                || platform.switch.is_some_and(is_named);
            assert!(is_on && !guide.steps.is_empty(), "{}", guide.platform);
            for variable in guide.variables {
                assert!(variable.name.starts_with(platform.prefix), "{}", variable.name);
                assert_eq!(
                    variable.is_secret,
                    hermes_config::mask::is_secret(variable.name),
                    "{}",
                    variable.name
                );
            }
        }
    }

    /// 0.19.0's targets keep their text, with a folder or without; what has a way out is one.
    #[test]
    fn who_can_deliver_says_so() {
        for folder in &FOLDERS {
            assert_eq!(folder.outbound.is_some(), folder.declaration.target, "{}", folder.declaration.name);
        }
        let mut shown: Vec<_> = REGISTRY.shown().filter(|p| p.target).map(|p| p.name).collect();
        shown.sort_unstable();
        assert_eq!(
            shown.join(" "),
            "bluebubbles dingtalk discord email feishu homeassistant irc matrix mattermost ntfy qqbot signal slack sms telegram \
             wecom wecom_callback weixin whatsapp yuanbao"
        );
    }
}
