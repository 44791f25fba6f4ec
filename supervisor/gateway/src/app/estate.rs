//! What passes to a program that goes on with workers, between the moment at which nobody uses it any more and the change of the image.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use hermes_wire::ProfileName;
use hermes_wire::env;
use hermes_wire::version;

use crate::guard::Guard;
use crate::handover::{Document, Named, Outgoing, VERSION};
use crate::instance::Instance;
use crate::proxy::Inherited;
use crate::rendezvous::Kept;
use crate::supervise::actor::Passed;

/// Everything that has no other owner any more.
pub(super) struct Estate {
    pub(super) claim_key: [u8; 32],
    pub(super) workers: Vec<Passed>,
    /// Who was served beside the gateway's own profile.
    pub(super) served: Vec<ProfileName>,
    /// `supervisor.sock`, and what tells its name from another one.
    pub(super) commands: Option<(UnixListener, (u64, u64))>,
    pub(super) admin: Option<TcpListener>,
}

impl std::fmt::Debug for Estate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Estate").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

impl Estate {
    /// Writes it down with what belongs to it; the variables for the next program. What cannot be written is left behind: workers whose
    /// connections end finish by themselves, and the next program starts others.
    pub(super) fn publish(
        self,
        (listeners, programs): (Inherited, Option<Kept>),
        (instance, guard): (Instance, Option<Guard>),
    ) -> Vec<(&'static str, String)> {
        let Self { claim_key, workers, served, commands, admin } = self;
        let mut outgoing = Outgoing::default();
        let Some(lock) = instance.hand_over() else {
            tracing::error!("the lock cannot be handed over: the next program starts anew");
            return Vec::new();
        };
        let lock = outgoing.add(lock);
        let mut passed = Vec::new();
        for worker in workers {
            let profile = worker.profile.clone();
            match worker.write(&mut outgoing, version::NEWEST) {
                Ok(worker) => passed.push(worker),
                Err(error) => tracing::error!(%profile, %error, "its worker cannot be handed over"),
            }
        }
        let document = Document {
            version: VERSION,
            wire: version::NEWEST,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            claim_key,
            lock,
            guard: guard.map(|guard| outgoing.add(guard.into_end())),
            commands: commands.map(|(listener, id)| Named { listener: outgoing.add(listener), id }),
            programs: programs.map(|kept| {
                let (listener, id) = kept.into_parts();
                Named { listener: outgoing.add(listener), id }
            }),
            admin: admin.map(|admin| outgoing.add(admin)),
            listeners: listeners.hand_over(&mut outgoing),
            workers: passed,
            served: served.iter().map(ToString::to_string).collect(),
        };
        let published = outgoing.publish(&document);
        // Open until the image changes, and beyond.
        std::mem::forget(outgoing);
        match published {
            Ok(value) => vec![(env::HANDOVER, value)],
            Err(error) => {
                tracing::error!(%error, "nothing can be handed over: the next program starts anew");
                Vec::new()
            }
        }
    }
}
