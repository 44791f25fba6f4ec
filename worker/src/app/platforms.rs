//! Brings platforms up, and keeps trying those that may come up later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hermes_wire::contract::runtime_status::PlatformStatus;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::platform::{Platform, PlatformError};
use crate::status::{self, Status};

/// Longest time one attempt may take.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest time readiness waits for first attempts; what takes longer comes up while the rest is served.
const FIRST: Duration = Duration::from_secs(5);
/// Wait before the second attempt; doubles up to the longest.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(5);

/// Names of platforms that are configured and not connected.
pub(super) type Degraded = BTreeSet<String>;

/// What bringing platforms up reports to, and ends with.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) status: Status,
    pub(super) degraded: Arc<watch::Sender<Degraded>>,
    pub(super) stop: CancellationToken,
}

/// Starts all platforms side by side. Returns when each has connected or failed once, at the latest after [`FIRST`]; those that
/// failed for good are left out of the answer, and the rest is kept being tried in `tasks` until `stop`.
pub(super) async fn start(
    platforms: Vec<Arc<dyn Platform>>,
    scope: &Scope,
    tasks: &TaskTracker,
) -> Vec<Arc<dyn Platform>> {
    let fatal = watch::Sender::new(BTreeSet::new());
    let fatal = Arc::new(fatal);
    let first = TaskTracker::new();
    for platform in &platforms {
        let (platform, scope, fatal) = (Arc::clone(platform), scope.clone(), Arc::clone(&fatal));
        // Held until the first attempt is over.
        let token = first.token();
        tasks.spawn(async move {
            let name = platform.name();
            let failed = attempt(&*platform, &scope, 1).await;
            if failed.as_ref().is_some_and(|e| !e.retryable) {
                fatal.send_modify(|all| {
                    all.insert(name);
                });
            }
            drop(token);
            if failed.is_some_and(|e| e.retryable) {
                retry(&*platform, &scope).await;
            }
        });
    }
    first.close();
    // A platform that is slow is not lost: its status says `connecting`, and its task goes on.
    let _ = timeout(FIRST, first.wait()).await;
    let fatal = fatal.borrow().clone();
    platforms.into_iter().filter(|platform| !fatal.contains(platform.name())).collect()
}

async fn retry(platform: &dyn Platform, scope: &Scope) {
    let mut number = 1;
    loop {
        tokio::select! {
            () = scope.stop.cancelled() => return,
            () = tokio::time::sleep(delay(number)) => {}
        }
        number += 1;
        match attempt(platform, scope, number).await {
            Some(e) if e.retryable => {}
            _ => return,
        }
    }
}

/// `30 s`, doubled after each failure, at most five minutes.
fn delay(failures: u32) -> Duration {
    SHORTEST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST)
}

/// One attempt; its error, if it failed.
async fn attempt(platform: &dyn Platform, scope: &Scope, number: u32) -> Option<PlatformError> {
    let name = platform.name();
    if number == 1 {
        scope.status.set_platform(name, status::platform("connecting"));
    }
    let result = tokio::select! {
        result = timeout(CONNECT, platform.start()) => result.unwrap_or_else(|_| Err(PlatformError {
            code: "timeout".to_owned(),
            message: format!("no connection within {} s", CONNECT.as_secs()),
            retryable: true,
        })),
        () = scope.stop.cancelled() => return None,
    };
    let failed = result.err();
    match &failed {
        None => {
            info!(platform = name, "platform connected");
            scope.status.set_platform(name, status::platform("connected"));
        }
        Some(e) if e.retryable => {
            warn!(
                platform = name,
                code = e.code,
                attempt = number,
                "platform is not connected, trying again in {} s: {e}",
                delay(number).as_secs()
            );
            scope.status.set_platform(name, failure("retrying", e));
        }
        Some(e) => {
            error!(platform = name, code = e.code, "platform does not start: {e}");
            scope.status.set_platform(name, failure("fatal", e));
        }
    }
    scope.degraded.send_if_modified(|degraded| {
        if failed.is_some() { degraded.insert(name.to_owned()) } else { degraded.remove(name) }
    });
    failed
}

fn failure(state: &str, error: &PlatformError) -> PlatformStatus {
    PlatformStatus {
        error_code: Some(error.code.clone()),
        error_message: Some(error.message.clone()),
        ..status::platform(state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::platform::PlatformFuture;

    /// Fails as told, then connects.
    struct Fake(&'static str, Mutex<Vec<bool>>);

    impl Platform for Fake {
        fn name(&self) -> &'static str {
            self.0
        }

        fn routes(&self) -> axum::Router {
            axum::Router::new()
        }

        fn start(&self) -> PlatformFuture<'_, Result<(), PlatformError>> {
            Box::pin(async {
                match self.1.lock().unwrap().pop() {
                    None => Ok(()),
                    Some(retryable) => {
                        Err(PlatformError { code: "c".into(), message: "m".into(), retryable })
                    }
                }
            })
        }

        fn drain(&self, _now: CancellationToken) -> PlatformFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=6).map(|n| delay(n).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 120, 240, 300, 300]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_come_up_is_tried_again_and_what_cannot_is_left_out() {
        let platforms: Vec<Arc<dyn Platform>> = vec![
            Arc::new(Fake("good", Mutex::default())),
            Arc::new(Fake("late", Mutex::new(vec![true, true]))),
            Arc::new(Fake("never", Mutex::new(vec![false]))),
        ];
        let scope = Scope {
            status: Status::new(status::empty("coder", 1, None, Vec::new())),
            degraded: Arc::new(watch::Sender::new(Degraded::new())),
            stop: CancellationToken::new(),
        };
        let state = |name: &str| scope.status.snapshot().platforms[name].state.clone();
        let tasks = TaskTracker::new();
        let usable = start(platforms, &scope, &tasks).await;
        let names: Vec<&str> = usable.iter().map(|p| p.name()).collect();
        assert_eq!(names, ["good", "late"]);
        assert_eq!([state("good"), state("late"), state("never")], ["connected", "retrying", "fatal"]);
        let mut degraded = scope.degraded.subscribe();
        assert_eq!(degraded.borrow_and_update().iter().collect::<Vec<_>>(), ["late", "never"]);
        degraded.changed().await.unwrap();
        assert_eq!(degraded.borrow().iter().collect::<Vec<_>>(), ["never"]);
        assert_eq!(state("late"), "connected");
        tasks.close();
        tasks.wait().await;
    }
}
