//! Providers with several keys, in the status: how many of them are left alone, why and until when, and nothing of the keys.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use hermes_host::clock::system;
use hermes_wire::contract::runtime_status::{KeyPool, LeftAlone};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::provider::health::{Health, Pools};
use crate::status::Status;

/// Writes what is known of keys into the status, whenever that changes or the time of one is over, until the end.
pub(super) fn keep_shown(
    health: &Health,
    status: &Status,
    end: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (mut pools, status, end) = (health.pools(), status.clone(), end.clone());
    let shown = async move {
        let mut before = BTreeMap::new();
        loop {
            let now = system().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            let (shown, next) = shown(&pools.borrow_and_update(), now);
            if shown != before {
                status.set_key_pools(shown.clone());
                before = shown;
            }
            tokio::select! {
                changed = pools.changed() => match changed {
                    Ok(()) => {}
                    Err(_gone) => return,
                },
                () = until(next.map(|at| at - now)) => {}
            }
        }
    };
    end.run_until_cancelled_owned(shown).map(drop)
}

/// Lets so many seconds pass; `None`: for ever.
async fn until(seconds: Option<f64>) {
    let Some(seconds) = seconds else { return std::future::pending().await };
    tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.01, 3600.0))).await;
}

/// What is shown at a time, and when that is over.
fn shown(pools: &Pools, now: f64) -> (BTreeMap<String, KeyPool>, Option<f64>) {
    let left = |until: f64| until > now;
    let times = pools.values().flat_map(|pool| &pool.left_alone).map(|(_, until)| *until);
    let next = times.filter(|until| left(*until) && until.is_finite()).min_by(f64::total_cmp);
    let pools = pools.iter().map(|(provider, pool)| {
        let refused = pool.left_alone.iter().filter(|(_, until)| left(*until));
        let left_alone = refused
            .map(|(why, until)| LeftAlone { reason: (*why).to_owned(), until: clock::at(*until) })
            .collect();
        (provider.clone(), KeyPool { keys: u32::try_from(pool.keys).unwrap_or(u32::MAX), left_alone })
    });
    (pools.collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::health::Standing;

    #[test]
    fn a_key_whose_time_is_over_is_used_again() {
        let left_alone = vec![("unauthorized", 50.0), ("quota", 60.0), ("unauthorized", f64::INFINITY)];
        let pools = BTreeMap::from([("p".to_owned(), Standing { keys: 4, left_alone })]);
        let lines = |now: f64| {
            let (shown, next) = shown(&pools, now);
            (shown["p"].line().unwrap(), next)
        };
        let (line, next) = lines(1.0);
        assert!(line.starts_with("3 of 4 left alone: unauthorized (until 1970-01-01T00:00:50"), "{line}");
        assert_eq!(next, Some(50.0));
        let (line, next) = lines(55.0);
        assert!(line.starts_with("2 of 4 left alone: quota (until "), "{line}");
        assert_eq!(next, Some(60.0));
        assert_eq!(lines(99.0), ("1 of 4 left alone: unauthorized (for good)".to_owned(), None));
    }
}
