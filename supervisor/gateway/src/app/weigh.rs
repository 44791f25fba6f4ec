//! Other settings of the primary, while the gateway runs: what is taken over at once, and what waits for somebody to ask.
//!
//! A configuration that is empty, cut or gone says the same as one whose owner wants less, and nobody can tell the two apart. So
//! what a change would take away (a listener, the others' service, the metrics) is held until a restart or a reload asks
//! for it; everything else holds at once. Pure: [`super::change`] carries it out, and what is held back is in the status.

use std::net::SocketAddr;

use hermes_wire::ProfileName;
use hermes_wire::latest::{GatewaySettings, ListenerSetting, Problem, Severity};

use super::served::allowed;
use crate::metrics::Admin;

/// What takes over what was held back.
pub(super) const RELOAD: &str =
    "`hermes gateway reload` takes it over; put the file right to keep what is in force";

/// Something that a change would take away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) key: &'static str,
    /// A part of a sentence: what would happen.
    pub(super) what: String,
}

impl Pending {
    pub(super) fn problem(&self, file: &str) -> Problem {
        Problem {
            severity: Severity::Profile,
            code: "pending".to_owned(),
            platform: None,
            file: file.to_owned(),
            line: None,
            column: None,
            key: Some(self.key.to_owned()),
            message: format!("Not taken over, because it takes something away: {}", self.what),
            fix: Some(RELOAD.to_owned()),
        }
    }
}

/// A change, weighed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Weighed {
    /// What shall be in force.
    pub(super) settings: GatewaySettings,
    /// What was held back.
    pub(super) pending: Vec<Pending>,
    /// Platforms with a listener that the new worker would not have: only the old one can go on serving them.
    pub(super) lost: Vec<String>,
}

/// Compares what is in force with what the file says now. `served` are the profiles beside the primary.
pub(super) fn weigh(old: &GatewaySettings, new: &GatewaySettings, served: &[ProfileName]) -> Weighed {
    let mut settings = new.clone();
    let mut pending = Vec::new();
    let mut hold = |key, what: String| pending.push(Pending { key, what });
    let gone = if old.multiplex && !new.multiplex {
        settings.multiplex = true;
        // Who may be served is not decided by a file that serves nobody.
        settings.allowlist.clone_from(&old.allowlist);
        (!served.is_empty()).then(|| ("gateway.multiplex_profiles", served.iter().collect::<Vec<_>>()))
    } else {
        let names: Vec<_> = served.iter().filter(|name| !allowed(new.allowlist.as_deref(), name)).collect();
        if let Some(list) = settings.allowlist.as_mut().filter(|_| new.multiplex) {
            list.extend(names.iter().map(ToString::to_string));
        }
        (new.multiplex && !names.is_empty()).then_some(("gateway.multiplex_profile_allowlist", names))
    };
    if let Some((key, names)) = gone {
        let names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
        let (plural, verb) = if names.len() == 1 { ("", "is") } else { ("s", "are") };
        hold(key, format!("profile{plural} {} {verb} not to be served any more", names.join(", ")));
    } else if settings.multiplex != new.multiplex {
        hold("gateway.multiplex_profiles", "no other profile is to be served any more".to_owned());
    }

    let same = |a: &ListenerSetting, b: &ListenerSetting| {
        (&a.platform, &a.host, a.port) == (&b.platform, &b.host, b.port)
    };
    for listener in &old.listeners {
        if new.listeners.iter().any(|other| same(listener, other)) {
            continue;
        }
        let platform = &listener.platform;
        let elsewhere = new.listeners.iter().find(|other| other.platform == *platform);
        hold(
            "platforms",
            match elsewhere {
                Some(other) => {
                    format!("{platform} is to listen on {} instead of {}", address(other), address(listener))
                }
                None => format!("{platform} is not to listen on {} any more", address(listener)),
            },
        );
        // A platform moves as a whole or not at all, and one port cannot be had twice.
        settings.listeners.retain(|other| {
            let stays = old.listeners.iter().any(|listener| same(listener, other));
            let moves = other.platform == *platform;
            let collides = other.port != 0 && other.port == listener.port && other.host != listener.host;
            stays || !moves && !collides
        });
        if !settings.listeners.iter().any(|other| same(listener, other)) {
            settings.listeners.push(listener.clone());
        }
    }
    let has = |settings: &GatewaySettings, platform: &str| {
        settings.listeners.iter().any(|listener| listener.platform == platform)
    };
    let mut lost: Vec<String> = old.listeners.iter().map(|listener| listener.platform.clone()).collect();
    lost.retain(|platform| !has(new, platform));
    lost.dedup();

    if let Some(address) = &old.admin
        && !new.admin.as_ref().is_some_and(|other| is_same(address, other))
    {
        hold("gateway.admin", format!("the metrics are not to be served on {address} any more"));
        settings.admin.clone_from(&old.admin);
    }
    let unshared: Vec<_> =
        old.shared_env.iter().filter(|name| !new.shared_env.contains(name)).cloned().collect();
    if !unshared.is_empty() {
        hold("gateway.shared_env", format!("{} is not to be shared any more", unshared.join(", ")));
        settings.shared_env.extend(unshared);
    }
    Weighed { settings, pending, lost }
}

fn address(listener: &ListenerSetting) -> String {
    let host = listener.host.as_deref().unwrap_or("*");
    if listener.port == 0 { format!("{host} (any port)") } else { format!("{host}:{}", listener.port) }
}

/// Two spellings of one address.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let parse = |text| Admin::parse(text).ok();
    a == b || parse(a).zip(parse(b)).is_some_and(|(a, b): (SocketAddr, SocketAddr)| a == b)
}

#[cfg(test)]
mod tests {
    use hermes_wire::latest::{OnProfileError, Upkeep};

    use super::*;

    fn listener(platform: &str, host: &str, port: u16) -> ListenerSetting {
        let host = (host != "*").then(|| host.to_owned());
        ListenerSetting { platform: platform.to_owned(), host, port, source: "config.yaml".to_owned() }
    }

    fn settings() -> GatewaySettings {
        GatewaySettings {
            multiplex: true,
            allowlist: None,
            on_profile_error: OnProfileError::Fail,
            shared_env: vec!["HTTPS_PROXY".to_owned()],
            listeners: vec![listener("webhook", "*", 8644), listener("api_server", "127.0.0.1", 8642)],
            admin: Some("127.0.0.1:9464".to_owned()),
            max_connections: 1,
            max_requests_per_profile: 1,
            max_body_bytes: 1,
            header_timeout_ms: 1,
            hold_ms: 1,
            response_timeout_ms: 1,
            drain_ms: 1,
            start_timeout_ms: 1,
            stuck_after_ms: 1,
            heartbeat_ms: 1,
            body_timeout_ms: 1,
            min_body_rate: 1,
            max_connections_per_address: 1,
            upkeep: Upkeep::default(),
            admin_token: None,
            keep_awake: false,
        }
    }

    fn served(names: &[&str]) -> Vec<ProfileName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn keys(weighed: &Weighed) -> Vec<&'static str> {
        weighed.pending.iter().map(|pending| pending.key).collect()
    }

    /// 28: what a change only adds or moves in numbers holds at once.
    #[test]
    fn additions_and_numbers_hold_at_once() {
        let old = GatewaySettings {
            multiplex: false,
            admin: None,
            listeners: vec![listener("webhook", "*", 8644)],
            ..settings()
        };
        let new = GatewaySettings { max_connections: 7, heartbeat_ms: 9, ..settings() };
        let weighed = weigh(&old, &new, &[]);
        assert_eq!(weighed, Weighed { settings: new, pending: Vec::new(), lost: Vec::new() });
    }

    /// 28: an empty file holds nothing of what served others, and names every part.
    #[test]
    fn an_empty_file_takes_nothing_away() {
        let old =
            GatewaySettings { allowlist: Some(vec!["coder".to_owned(), "ops".to_owned()]), ..settings() };
        let empty = GatewaySettings {
            multiplex: false,
            allowlist: None,
            shared_env: Vec::new(),
            listeners: Vec::new(),
            admin: None,
            ..settings()
        };
        let weighed = weigh(&old, &empty, &served(&["coder", "ops"]));
        assert_eq!(weighed.settings, old);
        assert_eq!(
            keys(&weighed),
            ["gateway.multiplex_profiles", "platforms", "platforms", "gateway.admin", "gateway.shared_env"]
        );
        assert_eq!(weighed.pending[0].what, "profiles 'coder', 'ops' are not to be served any more");
        assert_eq!(weighed.lost, ["webhook", "api_server"]);
    }

    /// 28: of an allow-list, those that are served stay and the others follow the new one.
    #[test]
    fn an_allow_list_takes_nobody_away_who_is_served() {
        let new =
            GatewaySettings { allowlist: Some(vec!["Ops".to_owned(), "late".to_owned()]), ..settings() };
        let weighed = weigh(&settings(), &new, &served(&["coder", "ops"]));
        assert_eq!(weighed.settings.allowlist.as_deref().unwrap(), ["Ops", "late", "coder"]);
        assert_eq!(keys(&weighed), ["gateway.multiplex_profile_allowlist"]);
        assert!(weighed.lost.is_empty());
        assert!(weigh(&settings(), &new, &served(&["ops"])).pending.is_empty());
    }

    /// 28: a platform that would move stays where it is until somebody asks, whatever part of its address is another one.
    #[test]
    fn an_address_is_only_given_up_when_somebody_asks() {
        let moved = |host: &str, port| GatewaySettings {
            listeners: vec![listener("webhook", host, port), listener("api_server", "127.0.0.1", 8642)],
            ..settings()
        };
        let weighed = weigh(&settings(), &moved("*", 8645), &[]);
        let mut ports: Vec<u16> = weighed.settings.listeners.iter().map(|listener| listener.port).collect();
        ports.sort_unstable();
        assert_eq!((ports.as_slice(), keys(&weighed).as_slice()), (&[8642, 8644][..], &["platforms"][..]));
        assert_eq!(weighed.pending[0].what, "webhook is to listen on *:8645 instead of *:8644");
        assert!(weighed.lost.is_empty(), "the new worker has the platform");
        let weighed = weigh(&settings(), &moved("127.0.0.1", 8644), &[]);
        let webhook: Vec<_> = weighed.settings.listeners.iter().filter(|l| l.platform == "webhook").collect();
        assert_eq!(webhook, [&listener("webhook", "*", 8644)]);
    }

    /// 28: two spellings of the metrics' address are no change.
    #[test]
    fn a_metrics_address_is_compared_by_what_it_means() {
        let with = |admin: &str| GatewaySettings { admin: Some(admin.to_owned()), ..settings() };
        assert!(weigh(&settings(), &with("localhost:9464"), &[]).pending.is_empty());
        let weighed = weigh(&settings(), &with("127.0.0.1:9465"), &[]);
        assert_eq!((weighed.settings.admin, weighed.pending.len()), (settings().admin, 1));
    }
}
