//! What of a profile's configuration stands in the unit of its gateway.

use std::time::Duration;

use super::Draft;
use super::judge::Part;
use crate::home::Surroundings;
use crate::service::Owner;
use crate::service::facts::Times;

/// After so long without a sign of life a gateway is ended, where the configuration says nothing.
const WATCHDOG: Duration = Duration::from_secs(60);
/// `agent.restart_drain_timeout` where the configuration cannot be read.
const DRAIN: Duration = Duration::from_secs(20);

/// `agent.restart_drain_timeout` and `gateway.systemd_watchdog_seconds` (0: none), or what holds where they cannot be read.
pub(crate) fn times(owner: &Owner, env: &Surroundings) -> Times {
    known_times(owner, env).unwrap_or(Times { drain: DRAIN, watchdog: Some(WATCHDOG) })
}

/// The same; nothing where they cannot be read.
pub(crate) fn known_times(owner: &Owner, env: &Surroundings) -> Option<Times> {
    let Owner { root, profile } = owner;
    let config = Part::of(root, profile, env).look(profile, &root.profile(profile)).config?;
    let seconds =
        Draft::open(root, profile, env).ok().and_then(|draft| draft.at("gateway.systemd_watchdog_seconds"));
    let seconds = seconds.and_then(|settled| serde_json::to_value(settled.value).ok()?.as_u64());
    Some(Times {
        drain: config.agent.restart_drain_timeout,
        watchdog: seconds
            .map_or(Some(WATCHDOG), |seconds| (seconds > 0).then(|| Duration::from_secs(seconds))),
    })
}
