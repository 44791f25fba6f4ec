//! The fence of the profile that is served: made from what its files say, and shown in its status. And the helper process behind a line of
//! `hermes doctor`, which tries it as a worker would when it starts its first program, prints what came of it, and ends.

use std::io::Write as _;

use camino::Utf8PathBuf;
use futures_util::FutureExt as _;
use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;
use hermes_wire::contract::runtime_status::FenceStatus;
use hermes_wire::exit;
use tokio_util::sync::CancellationToken;

use super::{Who, ask};
use crate::fence::Fence;
use crate::process::Environment;
use crate::status::Status;

/// The fence of a profile; `supervisor` is its gateway.
pub(super) fn fence(
    config: &ProfileConfig,
    home: &ProfileHome,
    environment: &Environment,
    supervisor: Option<u32>,
) -> Fence {
    let inherited = |name: &str| environment.inherited(name).map(Utf8PathBuf::from);
    Fence::new(config, home, inherited, &environment.managed_dir, supervisor)
}

/// Writes what is in force into the status, as soon as that is known, until the end. Where it is required, that is found out now: a profile
/// that can start nothing is not ready for what it is asked.
pub(super) fn keep_shown(
    fence: &Fence,
    status: &Status,
    end: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (fence, status, end) = (fence.clone(), status.clone(), end.clone());
    let mut standing = fence.standing();
    // With what else is written at the start.
    status.set_fence(standing.borrow_and_update().clone());
    let shown = async move {
        if fence.is_required() {
            fence.settle().await;
        }
        while standing.changed().await.is_ok() {
            status.set_fence(standing.borrow_and_update().clone());
        }
    };
    end.run_until_cancelled_owned(shown).map(drop)
}

/// The whole life of the helper; prints one line of JSON.
pub(super) async fn run(who: &Who, environment: &Environment, rung: &str) -> u8 {
    let standing = match ask::config(who, environment).await {
        None => FenceStatus {
            reason: Some("its configuration cannot be used".to_owned()),
            ..FenceStatus::default()
        },
        Some(config) => {
            let fence = fence(&config, &who.home, environment, None);
            let fence = fence.narrowed(rung);
            fence.settle().await;
            fence.standing().borrow().clone()
        }
    };
    let Ok(text) = serde_json::to_vec(&standing) else { return exit::FAILURE };
    let mut out = std::io::stdout().lock();
    if out.write_all(&text).and_then(|()| out.flush()).is_ok() { exit::OK } else { exit::FAILURE }
}
