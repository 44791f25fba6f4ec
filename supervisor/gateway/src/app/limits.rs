//! How many clients are let in: as many as the settings ask for, as far as open files go.

use hermes_wire::latest::{GatewaySettings, Problem, Severity};

use super::gateway::Gateway;
use crate::descriptors::{TooFewFiles, Wanted};
use crate::proxy::Limits;

impl Gateway {
    /// What clients are held to while `profiles` are served. Fewer than asked for is said in log and status.
    pub(super) fn fit(&self, settings: &GatewaySettings, profiles: usize) -> Result<Limits, TooFewFiles> {
        let wanted =
            Wanted { profiles, listeners: settings.listeners.len(), connections: settings.max_connections };
        let fit = self.files.connections(wanted)?;
        let mut limits = Limits::from(settings);
        let mut limited = None;
        if fit < limits.connections {
            limits.connections = fit;
            limits.per_address = limits.per_address.min(fit.div_ceil(2));
            limited = Some(self.limited(fit, settings.max_connections));
        }
        self.board.gateway(|view| {
            if view.max_connections != Some(fit)
                && let Some(problem) = &limited
            {
                tracing::warn!("{}", problem.message);
            }
            view.max_connections = Some(fit);
            view.limited = limited;
        });
        Ok(limits)
    }

    /// The same after the number of profiles has changed. A gateway that runs goes on with what it has.
    pub(super) fn refit(&self) {
        let (Some(settings), Some(proxy)) = (&self.settings, &self.proxy) else { return };
        let mut before = None;
        self.board.gateway(|view| before = view.max_connections);
        match self.fit(settings, self.board.handles().len()) {
            Ok(limits) if Some(limits.connections) != before => proxy.set_limits(limits),
            Ok(_) => {}
            Err(error) => tracing::error!("{error}; {}", error.hint()),
        }
    }

    fn limited(&self, fit: u32, wanted: u32) -> Problem {
        let limit = self.files.limit();
        let key = "gateway.max_connections";
        Problem {
            severity: Severity::Warning,
            code: "descriptor_limit".to_owned(),
            platform: None,
            file: self.root.profile(&self.primary).config().to_string(),
            line: None,
            column: None,
            key: Some(key.to_owned()),
            message: format!("{fit} client connections fit into {limit} open files, instead of {wanted}"),
            fix: Some(format!(
                "raise the limit of open files (`ulimit -n`, or `LimitNOFILE=` in the unit), or set {key} to {fit}"
            )),
        }
    }
}
