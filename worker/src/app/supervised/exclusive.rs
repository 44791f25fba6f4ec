//! What is said to the supervisor about exclusive platforms, and done on its word.
//!
//! Yielding goes on beside everything else: a worker that closes its connections beats, serves and listens meanwhile. Every order
//! to yield is answered by one `Yielded` when nothing is connected any more; connections that stand are named once each.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use hermes_wire::latest::FromWorker;
use tokio::sync::watch;
use tracing::info;

use super::super::platforms::{Connections, Phase, Phases};

/// The exclusive platforms of this process.
pub(super) struct Exclusive {
    connections: Connections,
    names: BTreeSet<&'static str>,
    phases: watch::Receiver<Phases>,
    /// Those that the supervisor knows to be connected.
    told: BTreeSet<&'static str>,
    yielding: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Exclusive {
    /// Those of all connections that are exclusive; none is connected before [`Exclusive::connect`].
    pub(super) fn new(connections: Connections) -> Self {
        let names = connections.exclusive().collect();
        let phases = connections.phases();
        Self { connections, names, phases, told: BTreeSet::new(), yielding: None }
    }

    /// Whether there are any.
    pub(super) fn is_any(&self) -> bool {
        !self.names.is_empty()
    }

    /// They may connect from now on. An order to yield that was not carried out yet is void, and gets no answer.
    pub(super) fn connect(&mut self) {
        self.yielding = None;
        if self.is_any() {
            info!("exclusive platforms may connect");
        }
        self.connections.connect();
    }

    /// Closes what is connected within that time, from this call on; [`Exclusive::news`] says when nothing is.
    pub(super) fn yield_within(&mut self, time: Duration) {
        if self.is_any() {
            info!("exclusive platforms give up their connections");
        }
        if self.yielding.is_none() {
            self.connections.hold(time);
            let connections = self.connections.clone();
            self.yielding = Some(Box::pin(async move { connections.held().await }));
        }
    }

    /// What the supervisor is to hear next. Cancel safe.
    pub(super) async fn news(&mut self) -> FromWorker {
        loop {
            let connected: BTreeSet<&'static str> = {
                let phases = self.phases.borrow_and_update();
                let stands = |name: &&str| phases.get(*name) == Some(&Phase::Connected);
                self.names.iter().copied().filter(stands).collect()
            };
            self.told.retain(|name| connected.contains(name));
            if let Some(name) = connected.into_iter().find(|name| !self.told.contains(name)) {
                self.told.insert(name);
                return FromWorker::Connected { platform: name.to_owned() };
            }
            let closed = async {
                match &mut self.yielding {
                    Some(closed) => closed.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = closed => {
                    self.yielding = None;
                    self.told.clear();
                    return FromWorker::Yielded;
                }
                changed = self.phases.changed() => if changed.is_err() {
                    // The connections end with this; nothing more is heard of them.
                    std::future::pending::<()>().await;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use hermes_config::platform::{BASE, Declaration};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::platform::{Adapter, Down, Link, Platform, PlatformFuture};
    use crate::status::{self, Status};
    use crate::token_lock::Identities;

    /// Is up until told otherwise, and takes so long to close.
    struct Closes(Duration);

    impl Adapter for Closes {
        fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
            Box::pin(async move {
                link.up();
                link.told().await;
                sleep(self.0).await;
                Ok(())
            })
        }
    }

    async fn exclusive(platforms: &[(&'static str, bool, Duration)]) -> Exclusive {
        let platform = |&(name, exclusive, closing)| {
            let adapter = Arc::new(Closes(closing));
            // Few, and only in tests: declarations live as long as the program.
            let declaration = Box::leak(Box::new(Declaration { name, exclusive, ..BASE }));
            Platform { declaration, routes: None, pages: None, adapter }
        };
        let status = Status::new(status::empty("coder", 1, None, Vec::new()));
        Exclusive::new(
            Connections::start(platforms.iter().map(platform).collect(), status, &Identities::default())
                .await,
        )
    }

    fn connected(platform: &str) -> FromWorker {
        FromWorker::Connected { platform: platform.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_stands_is_named_once_and_yielding_is_answered_when_nothing_does() {
        let short = Duration::from_secs(2);
        let mut all = exclusive(&[("bot", true, short), ("web", false, short)]).await;
        let nothing = tokio::time::timeout(Duration::from_hours(1), all.news()).await;
        assert!(nothing.is_err(), "not before the word: {nothing:?}");
        all.connect();
        all.connect();
        assert_eq!(all.news().await, connected("bot"));
        assert!(all.news().now_or_never().is_none(), "and no other");

        let began = Instant::now();
        all.yield_within(Duration::from_secs(5));
        all.yield_within(Duration::from_secs(5));
        // Interrupted, as everything else that is waited for interrupts it.
        assert!(tokio::time::timeout(Duration::from_secs(1), all.news()).await.is_err());
        assert_eq!((all.news().await, began.elapsed()), (FromWorker::Yielded, short));
        assert!(all.news().now_or_never().is_none(), "one answer");

        all.connect();
        assert_eq!(all.news().await, connected("bot"), "again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_to_connect_voids_one_to_yield_and_later_ones_are_carried_out() {
        let mut all = exclusive(&[("bot", true, Duration::from_secs(2))]).await;
        all.connect();
        assert_eq!(all.news().await, connected("bot"));
        // Both before anything is heard of either; the connection goes on closing, and is made again.
        all.yield_within(Duration::from_secs(5));
        sleep(Duration::from_secs(1)).await;
        all.connect();
        let nothing = tokio::time::timeout(Duration::from_mins(1), all.news()).await;
        assert_ne!(nothing, Ok(FromWorker::Yielded));
        assert_eq!(all.phases.borrow().get("bot"), Some(&Phase::Connected));
        let began = Instant::now();
        all.yield_within(Duration::from_secs(5));
        assert_eq!((all.news().await, began.elapsed()), (FromWorker::Yielded, Duration::from_secs(2)));
        assert_eq!(all.phases.borrow().get("bot"), Some(&Phase::Held));
    }

    #[tokio::test(start_paused = true)]
    async fn yielding_begins_with_the_order_whoever_listens() {
        let mut all = exclusive(&[("bot", true, Duration::from_secs(2))]).await;
        all.connect();
        all.news().await;
        all.yield_within(Duration::from_secs(5));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(all.phases.borrow().get("bot"), Some(&Phase::Held));
        assert_eq!(all.news().now_or_never(), Some(FromWorker::Yielded));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_close_in_time_is_cut() {
        let mut all = exclusive(&[("bot", true, Duration::from_hours(1))]).await;
        all.connect();
        all.news().await;
        let began = Instant::now();
        all.yield_within(Duration::from_millis(700));
        assert_eq!((all.news().await, began.elapsed()), (FromWorker::Yielded, Duration::from_millis(700)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_to_yield_is_answered_where_there_is_nothing_to_close() {
        let mut none = exclusive(&[("web", false, Duration::ZERO)]).await;
        assert!(!none.is_any());
        none.yield_within(Duration::from_secs(5));
        assert_eq!(none.news().await, FromWorker::Yielded);
        // Nor where nothing was connected yet.
        let mut held = exclusive(&[("bot", true, Duration::ZERO)]).await;
        held.yield_within(Duration::from_secs(5));
        assert_eq!(held.news().await, FromWorker::Yielded);
    }
}
