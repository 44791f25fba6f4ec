//! Where the gateway is reached over TCP: the proxy's listeners, the metrics, and how many clients are let in.

use std::net::TcpListener;
use std::sync::Arc;

use camino::Utf8PathBuf;
use hermes_wire::latest::{BoundListener, GatewaySettings, Problem, Severity};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::AppError;
use crate::board::Board;
use crate::descriptors::{Files, TooFewFiles, Wanted};
use crate::metrics::{Admin, Door, Entrance, Shown, Workers};
use crate::proxy::{Bound, Families, Inherited, Limits, Proxy, Reader, RebindError};

/// What other settings did to the listeners.
pub(super) struct Rebound {
    pub(super) before: Vec<BoundListener>,
    pub(super) now: Vec<BoundListener>,
}

/// Addresses and what listens there. The board shows what is changed here.
pub(super) struct Edge {
    /// Runs from the end of the start to the end of the gateway.
    proxy: Option<Proxy>,
    /// Routes, for the metrics.
    reader: Option<Reader>,
    /// Who may look at the admin listener.
    entrance: Entrance,
    /// Ends the admin listener, and gets what it listened on.
    admin: Option<(CancellationToken, oneshot::Receiver<TcpListener>)>,
    /// Listening sockets from before this process became this program.
    inherited: Inherited,
    files: Files,
    /// Client connections that are let in.
    let_in: Option<u32>,
    board: Board,
    /// The primary's file, for what is said about its settings.
    config: Utf8PathBuf,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Edge {
    /// Nothing is bound yet. `stop` ends the admin listener, whose task `tracker` owns.
    pub(super) fn new(
        files: Files,
        inherited: Inherited,
        board: Board,
        config: Utf8PathBuf,
        (tracker, stop): (TaskTracker, CancellationToken),
    ) -> Self {
        Self {
            proxy: None,
            reader: None,
            entrance: Entrance::default(),
            admin: None,
            inherited,
            files,
            let_in: None,
            board,
            config,
            tracker,
            stop,
        }
    }

    /// The limit of open files of a worker that has `requests` at a time, where it is not the gateway's.
    pub(super) fn files_of_worker(&self, requests: u32) -> Option<u64> {
        self.files.of_worker(requests)
    }

    /// Binds what the settings ask for; nobody is answered yet.
    pub(super) fn bind(&mut self, settings: &GatewaySettings, families: Families) -> Result<Bound, AppError> {
        let inherited = std::mem::take(&mut self.inherited);
        let bound = Bound::bind(settings, families, inherited)
            .map_err(|error| AppError::Bind { error, remedies: Vec::new() })?;
        self.board.gateway(|view| view.listeners = bound.listeners());
        if settings.listeners.is_empty() {
            tracing::warn!("no platform of the primary opens a listener: nothing is reachable over HTTP");
        }
        Ok(bound)
    }

    /// Answers from now on.
    pub(super) fn open(
        &mut self,
        bound: Bound,
        admin: Option<Admin>,
        reader: Reader,
        (settings, profiles): (&GatewaySettings, usize),
    ) -> Result<(), AppError> {
        self.reader = Some(reader.clone());
        if let Some(admin) = admin {
            self.serve_admin(admin);
        }
        let limits = self.fit(settings, profiles)?;
        self.proxy = Some(bound.start(reader, limits)?);
        Ok(())
    }

    /// What clients are held to while `profiles` are served. Fewer than asked for is said in log and status.
    pub(super) fn fit(&mut self, settings: &GatewaySettings, profiles: usize) -> Result<Limits, TooFewFiles> {
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
        if self.let_in != Some(fit)
            && let Some(problem) = &limited
        {
            tracing::warn!("{}", problem.message);
        }
        self.let_in = Some(fit);
        self.board.gateway(|view| {
            view.max_connections = Some(fit);
            view.limited = limited;
        });
        Ok(limits)
    }

    /// The same after the number of profiles has changed. A gateway that runs goes on with what it has.
    pub(super) fn refit(&mut self, settings: &GatewaySettings, profiles: usize) {
        if self.proxy.is_none() {
            return;
        }
        let before = self.let_in;
        match (self.fit(settings, profiles), &self.proxy) {
            (Ok(limits), Some(proxy)) if Some(limits.connections) != before => proxy.set_limits(limits),
            (Ok(_), _) => {}
            (Err(error), _) => tracing::error!("{error}; {}", error.hint()),
        }
    }

    fn limited(&self, fit: u32, wanted: u32) -> Problem {
        let limit = self.files.limit();
        let key = "gateway.max_connections";
        Problem {
            severity: Severity::Warning,
            code: "descriptor_limit".to_owned(),
            platform: None,
            file: self.config.to_string(),
            line: None,
            column: None,
            key: Some(key.to_owned()),
            message: format!("{fit} client connections fit into {limit} open files, instead of {wanted}"),
            fix: Some(format!(
                "raise the limit of open files (`ulimit -n`, or `LimitNOFILE=` in the unit), or set {key} to {fit}"
            )),
        }
    }

    /// Listens where the settings say now. `None`: nothing is open yet. With an error nothing changes.
    pub(super) fn rebind(
        &mut self,
        settings: &GatewaySettings,
        limits: Limits,
    ) -> Option<Result<Rebound, RebindError>> {
        let proxy = self.proxy.as_mut()?;
        let before = proxy.listeners();
        Some(proxy.rebind(settings, limits).map(|listeners| {
            self.board.gateway(|view| view.listeners.clone_from(&listeners));
            Rebound { before, now: listeners }
        }))
    }

    /// From now on whoever looks needs this token, or none.
    pub(super) fn guard(&self, door: Option<Door>) {
        self.entrance.set(door);
    }

    /// Serves the metrics there, and nowhere else any more.
    pub(super) fn serve_admin(&mut self, admin: Admin) {
        self.end_admin();
        let Some(reader) = self.reader.clone() else { return };
        let address = admin.address().to_string();
        self.board.gateway(|view| view.admin = Some(address));
        let board = self.board.clone();
        let workers: Workers = Arc::new(move || Arc::new(board.snapshot()));
        let (journal, entrance) = (self.board.journal(), self.entrance.clone());
        let shown = Shown { reader, workers, journal, entrance };
        let stop = self.stop.child_token();
        let (give, back) = oneshot::channel();
        self.admin = Some((stop.clone(), back));
        self.tracker.spawn(async move {
            match admin.serve(shown, stop).await {
                // Nobody wants it but the program that this one becomes.
                Ok(listener) => drop(give.send(listener)),
                Err(error) => tracing::error!(%error, "the admin listener ended"),
            }
        });
    }

    /// Whether the metrics are served.
    pub(super) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// Serves the metrics no more; what they were served on, still listening.
    pub(super) async fn keep_admin(&mut self) -> Option<TcpListener> {
        let (stop, back) = self.admin.take()?;
        stop.cancel();
        back.await.ok()
    }

    /// Serves the metrics no more.
    pub(super) fn end_admin(&mut self) {
        if let Some((stop, _)) = self.admin.take() {
            stop.cancel();
        }
        self.board.gateway(|view| view.admin = None);
    }

    /// Lets connections wait from now on in the sockets that are returned, where there are any.
    pub(super) fn keep_listeners(&mut self) -> Option<Inherited> {
        self.proxy.as_mut().map(Proxy::keep_listeners)
    }

    /// Connections of clients, and requests of them in flight.
    pub(super) fn load(&self) -> (usize, usize) {
        self.proxy.as_ref().map_or((0, 0), |proxy| (proxy.connections(), proxy.requests()))
    }

    /// Listens no more.
    pub(super) fn quiesce(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            proxy.quiesce();
        }
    }

    /// The proxy, for as long as its requests are waited for; [`Self::put_back`] it.
    pub(super) fn take_out(&mut self) -> Option<Proxy> {
        self.proxy.take()
    }

    /// See [`Self::take_out`].
    pub(super) fn put_back(&mut self, proxy: Proxy) {
        self.proxy = Some(proxy);
    }

    /// Cuts what is left.
    pub(super) fn close(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
    }
}
