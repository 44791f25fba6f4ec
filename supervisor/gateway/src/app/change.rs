//! Puts other settings of the primary into force while the gateway runs, as far as [`super::weigh`] lets them.

use hermes_wire::latest::{BoundListener, GatewaySettings};

use super::edge::Rebound;
use super::gateway::Gateway;
use super::weigh::{RELOAD, Weighed, is_same, weigh};
use crate::generation::Generation;
use crate::metrics::Admin;
use crate::supervise::state::{Event, Why};

impl Gateway {
    /// The primary's new generation brings other settings. Refused is what cannot be had, and what only the generation in force
    /// can go on serving.
    pub(super) async fn change_settings(
        &mut self,
        new: GatewaySettings,
        generation: Generation,
    ) -> Result<(), Why> {
        let new = self.own(new);
        let Some(old) = self.settings.clone() else {
            self.settings = Some(new);
            return Ok(());
        };
        let file = self.fleet.wanted.config();
        let weighed = if self.consent.is_given() {
            Weighed { settings: new, pending: Vec::new(), lost: Vec::new() }
        } else {
            weigh(&old, &new, &self.fleet.beside_primary())
        };
        let serves = self.fleet.handle(self.fleet.primary()).is_some_and(|handle| handle.view().ready);
        if !weighed.lost.is_empty() && serves {
            let what: Vec<_> = weighed.pending.into_iter().map(|pending| pending.what).collect();
            let reason = format!("it takes something away: {}; {RELOAD}", what.join("; "));
            return Err(Why { reason, file: Some(file) });
        }
        let settings = weighed.settings;
        let refused = |reason: String| Why { reason, file: Some(file.clone()) };
        let admin = match (&old.admin, &settings.admin) {
            (Some(old), Some(new)) if is_same(old, new) => {
                // What others reach needs its token.
                Admin::allowed(new, settings.admin_token.is_some())
                    .map_err(|error| refused(error.to_string()))?;
                None
            }
            (None, None) => None,
            (_, Some(address)) => Some(Some(
                Admin::bind(address, settings.admin_token.is_some())
                    .await
                    .map_err(|error| refused(error.to_string()))?,
            )),
            (Some(_), None) => Some(None),
        };
        // What each worker was told of how it is kept where its own file does not say it.
        let mut renew = old.multiplex != settings.multiplex || old.upkeep != settings.upkeep;
        let fit = self.edge.fit(&settings, self.fleet.handles().len());
        let limits = fit.map_err(|error| refused(format!("{error}; {}", error.hint())))?;
        if let Some(rebound) = self.edge.rebind(&settings, limits) {
            let Rebound { before, now: listeners } = match rebound {
                Ok(changed) => changed,
                Err(error) => {
                    self.refit();
                    return Err(refused(error.to_string()));
                }
            };
            let lines = |from: &[BoundListener], to: &[BoundListener], verb: &str| -> Vec<String> {
                let only = from.iter().filter(|l| !to.iter().any(|other| other.address == l.address));
                only.map(|l| format!("{verb} {} ({})", l.address, l.platforms.join(", "))).collect()
            };
            let opened = lines(&listeners, &before, "now listening on");
            let closed = lines(&before, &listeners, "no longer listening on");
            opened.into_iter().chain(closed).for_each(|line| self.consent.note(line));
            renew |= self.common.terms().listeners != listeners;
            self.common.change_terms(|terms| terms.listeners = listeners);
        }
        if old.admin_token != settings.admin_token {
            self.edge.guard(self.door(&settings));
        }
        if let Some(admin) = admin {
            self.consent.note(match &admin {
                Some(admin) => format!("the metrics are on {} now", admin.address()),
                None => "the metrics are not served any more".to_owned(),
            });
            match admin {
                Some(admin) => self.edge.serve_admin(admin),
                None => self.edge.end_admin(),
            }
        }
        self.fleet.wanted.hold_back(weighed.pending);
        if old != settings {
            self.settings = Some(settings.clone());
            renew |= self.adopt(&settings);
            let limits = self.common.terms().limits;
            for handle in self.fleet.handles() {
                handle.send(Event::Limits(limits)).await;
            }
            if renew {
                self.renew_others = Some(generation);
            }
            tracing::info!(%generation, "the gateway's settings changed");
        }
        self.fleet.converge().await;
        self.refit();
        Ok(())
    }
}
