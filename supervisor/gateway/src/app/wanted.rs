//! Which profiles should be served, and which of them run: what homes, settings and earlier commands say together.

use std::time::{Duration, Instant};

use hermes_host::clock;
use hermes_host::homes::Parked;
use hermes_wire::latest::{GatewaySettings, Problem};
use hermes_wire::{ProfileName, RootHome};

use super::served::{parked_default, served, unseen};
use super::weigh::Pending;
use crate::desired::{Desired, DesiredError, Rest};
use crate::watch::{HomeEvent, HomeWatch, Homes};

/// Time between two attempts to read something that could not be read.
const RETRY: Duration = Duration::from_secs(2);

/// What is news of it.
pub(super) enum News {
    /// A home is another one than before.
    Home(HomeEvent),
    /// Something that could not be read may be readable now.
    Retry,
}

/// What is asked for, of whom. Nobody is started or ended here.
pub(super) struct Wanted {
    pub(super) primary: ProfileName,
    pub(super) root: RootHome,
    /// Other profiles than the primary are served.
    multiplex: bool,
    /// Of those, only these.
    allowlist: Option<Vec<String>>,
    /// Absent until everybody else may be looked for, and while stopping.
    watch: Option<HomeWatch>,
    desired: Desired,
    /// When [`News::Retry`] is due, while there is something to try again.
    retry: Instant,
    /// What a change of the primary's settings would take away, and nobody has asked for.
    held_back: Vec<Pending>,
}

impl Wanted {
    /// The primary alone, until [`Self::follow`] and [`Self::look`].
    pub(super) fn new(root: RootHome, primary: ProfileName) -> Self {
        let home = RootHome::new(root.profile(&primary).path());
        let desired = Desired::load(&home);
        if let Some(trouble) = desired.trouble() {
            tracing::warn!(path = %home.desired_state(), "{trouble}");
        }
        Self {
            primary,
            root,
            multiplex: false,
            allowlist: None,
            watch: None,
            desired,
            retry: clock::now(),
            held_back: Vec::new(),
        }
    }

    /// These settings decide from now on.
    pub(super) fn follow(&mut self, settings: &GatewaySettings) {
        self.multiplex = settings.multiplex;
        self.allowlist.clone_from(&settings.allowlist);
    }

    /// Whether `/p/<profile>/` is in force.
    pub(super) fn multiplex(&self) -> bool {
        self.multiplex
    }

    /// Whether this home's changes are the gateway's business.
    pub(super) fn concerns(&self, name: &ProfileName) -> bool {
        self.multiplex || *name == self.primary
    }

    /// The primary's file of settings, in which what is remarked on the gateway as a whole stands.
    pub(super) fn config(&self) -> String {
        self.root.profile(&self.primary).config().to_string()
    }

    /// Looks at homes from now on.
    pub(super) async fn look(&mut self) {
        self.watch = Some(HomeWatch::start(self.root.clone()).await);
    }

    /// Looks no more.
    pub(super) fn close(&mut self) {
        self.watch = None;
    }

    /// Looks now, instead of soon. What was seen is taken by [`Self::seen`].
    pub(super) async fn look_now(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.look_now().await;
        }
    }

    /// What [`Self::look_now`] saw.
    pub(super) fn seen(&mut self) -> Option<HomeEvent> {
        self.watch.as_mut().and_then(HomeWatch::take)
    }

    /// Whether homes are looked at, and this one is none.
    pub(super) fn is_gone(&self, name: &ProfileName) -> bool {
        self.homes().is_some_and(|homes| !homes.contains(name))
    }

    fn homes(&self) -> Option<&Homes> {
        self.watch.as_ref().map(HomeWatch::homes)
    }

    /// Which state a profile's files are in; nothing where they could not be looked at.
    pub(super) fn files(&self, name: &ProfileName) -> Option<u64> {
        self.homes()?.files(name)
    }

    /// Whoever should be served, the primary first, and what is odd about the rest.
    pub(super) fn names(&self) -> (Vec<ProfileName>, Vec<Problem>) {
        let alone = || vec![self.primary.clone()];
        let Some(homes) = self.homes() else { return (alone(), Vec::new()) };
        if !self.multiplex {
            return (alone(), unseen(homes, Some(&self.primary)));
        }
        served(homes, self.allowlist.as_deref(), &self.config())
    }

    /// `problems`, and what else there is to say about the gateway as a whole.
    pub(super) fn remarks(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        let config = self.config();
        problems.extend(self.held_back.iter().map(|pending| pending.problem(&config)));
        problems.extend(self.desired.problem());
        let default = ProfileName::default_profile();
        if self.primary.is_default()
            && self.homes().is_some_and(|homes| homes.parked(&default) == Parked::Yes)
        {
            problems.push(parked_default(&self.root.profile(&default).parked()));
        }
        problems
    }

    /// This is held back from now on, and nothing else; the log is told of what was not before.
    pub(super) fn hold_back(&mut self, pending: Vec<Pending>) {
        for pending in pending.iter().filter(|pending| !self.held_back.contains(pending)) {
            tracing::error!(file = %self.config(), key = pending.key, "not taken over until a reload: {}", pending.what);
        }
        self.held_back = pending;
    }

    /// Why it is not to run; nothing where it is to.
    pub(super) fn rest(&self, name: &ProfileName) -> Option<Rest> {
        self.desired.rest(name, self.parked(name))
    }

    /// What its home says. The primary has a gateway of its own, this one, and no marker of it counts.
    fn parked(&self, name: &ProfileName) -> Parked {
        if *name == self.primary {
            Parked::No
        } else {
            self.homes().map_or(Parked::No, |homes| homes.parked(name))
        }
    }

    /// Remembers whether it is stopped on purpose, with the marker where its home has it. An error: it holds, and is not
    /// remembered.
    pub(super) fn set_stopped(&mut self, name: &ProfileName, stopped: bool) -> Result<(), DesiredError> {
        if stopped && self.parked(name) == Parked::Yes {
            return self.desired.set_parked(name);
        }
        self.desired.set_stopped(name, stopped)
    }

    /// What is remembered of `from` is remembered of `to` instead; the marker has moved with its home.
    pub(super) fn rename(&mut self, from: &ProfileName, to: &ProfileName) -> Result<(), DesiredError> {
        self.desired.rename(from, to)
    }

    /// Looks again what was stopped on purpose; who is not to run, where it can be read now.
    pub(super) fn retry(&mut self) -> Option<Vec<ProfileName>> {
        let read = self.desired.retry();
        read.then(|| {
            self.desired.stopped().filter(|name| self.rest(name) == Some(Rest::Stopped)).cloned().collect()
        })
    }

    /// The next news. Safe to cancel.
    pub(super) async fn next(&mut self) -> News {
        let home = async {
            match &mut self.watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = home => News::Home(event),
            () = tokio::time::sleep_until(self.retry.into()), if self.desired.is_unknown() => {
                self.retry = clock::now() + RETRY;
                News::Retry
            }
        }
    }
}
