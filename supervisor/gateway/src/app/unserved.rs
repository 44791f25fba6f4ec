//! Profiles that somebody has asked not to be served, without a word that this is to last.
//!
//! They come back after [`ABSENCE`], as they would at the next look of the program that those who ask were written for: nobody stays away
//! because a program died between stopping a profile and starting it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hermes_wire::ProfileName;

/// How long such a profile stays away.
const ABSENCE: Duration = Duration::from_secs(30);

/// By name, and until when.
#[derive(Default)]
pub(super) struct Unserved(BTreeMap<ProfileName, Instant>);

impl Unserved {
    /// From now on for as long as that is.
    pub(super) fn add(&mut self, profile: ProfileName, now: Instant) {
        self.0.insert(profile, now + ABSENCE);
    }

    /// It is served again.
    pub(super) fn forget(&mut self, profile: &ProfileName) {
        self.0.remove(profile);
    }

    pub(super) fn contains(&self, profile: &ProfileName) -> bool {
        self.0.contains_key(profile)
    }

    /// Whose absence is over next. Safe to cancel.
    pub(super) async fn next(&mut self) -> ProfileName {
        let first =
            self.0.iter().min_by_key(|(_, until)| **until).map(|(name, until)| (name.clone(), *until));
        let Some((name, until)) = first else { return std::future::pending().await };
        tokio::time::sleep_until(until.into()).await;
        self.0.remove(&name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_comes_back_once_and_in_its_time() {
        let [coder, ops]: [ProfileName; 2] = ["coder", "ops"].map(|name| name.parse().unwrap());
        let mut unserved = Unserved::default();
        let began = tokio::time::Instant::now();
        unserved.add(coder.clone(), began.into_std() + Duration::from_secs(1));
        unserved.add(ops.clone(), began.into_std());
        assert!(unserved.contains(&coder) && unserved.contains(&ops));
        assert_eq!(unserved.next().await, ops);
        assert_eq!(began.elapsed(), ABSENCE);
        assert!(tokio::time::timeout(Duration::from_millis(500), unserved.next()).await.is_err(), "not yet");
        unserved.forget(&coder);
        assert!(tokio::time::timeout(ABSENCE * 2, unserved.next()).await.is_err(), "it was served meanwhile");
    }
}
