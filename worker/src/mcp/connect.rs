//! One connection to a server: from nothing to its list of tools.

use std::sync::Arc;

use hermes_config::servers::{Protocol, ToolServer};
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientLifecycleMode, Peer, RoleClient, RunningService};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beginning::Beginning;
use super::catalogue::{self, Offer};
use super::fault::{self, Fault};
use super::handler::Handler;
use super::program::Program;
use super::reader::LONGEST;
use super::{Premises, remote};

/// A server that is there.
pub(super) struct Link {
    pub(super) running: RunningService<RoleClient, Handler>,
    pub(super) program: Option<Program>,
    pub(super) offers: Arc<[Offer]>,
    /// Which way of beginning worked.
    pub(super) protocol: Protocol,
    /// The version that was agreed on.
    pub(super) version: String,
    /// Rung when its list of tools has changed.
    pub(super) changed: Arc<Notify>,
    /// Cancelled when the connection is closed.
    pub(super) gone: CancellationToken,
}

impl Link {
    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        self.running.peer()
    }

    /// Ends it, with its program. How the program ended, where that says anything.
    pub(super) async fn end(self) -> Option<String> {
        let Self { mut running, program, .. } = self;
        // Closes the program's input.
        let _ = running.close_with_timeout(std::time::Duration::from_secs(1)).await;
        match program {
            Some(program) => program.end().await,
            None => None,
        }
    }
}

/// Connects to a server within its time, by `protocol` where that is known.
pub(super) async fn connect(
    server: &ToolServer,
    prefix: &str,
    protocol: Protocol,
    premises: &Premises,
    tasks: &TaskTracker,
) -> Result<Link, Fault> {
    let limit = server.connect_timeout;
    let begin = async {
        let first = begin(server, prefix, protocol, premises, tasks).await;
        match first {
            // Some end, or answer nonsense, when they are asked something before the handshake.
            Err(fault) if protocol == Protocol::Auto && !fault.is_final => {
                begin(server, prefix, Protocol::Handshake, premises, tasks).await
            }
            first => first,
        }
    };
    timeout(limit, begin).await.unwrap_or_else(|_| Err(Fault::late(limit)))
}

async fn begin(
    server: &ToolServer,
    prefix: &str,
    protocol: Protocol,
    premises: &Premises,
    tasks: &TaskTracker,
) -> Result<Link, Fault> {
    let handler = Handler::default();
    let changed = Arc::clone(&handler.changed);
    let gone = CancellationToken::new();
    let begin = Beginning { handler, mode: mode(protocol), guard: gone.clone().drop_guard() };
    let (running, program) = if server.url.is_some() {
        (remote::begin(server, premises, begin).await?, None)
    } else {
        let (program, stdout, stdin) = Program::start(server, premises, tasks).await?;
        let transport =
            AsyncRwTransport::<RoleClient, _, _>::new(stdout, stdin).with_max_line_length(LONGEST);
        match begin.serve(transport).await {
            Ok(running) => (running, Some(program)),
            Err(error) => {
                let mut fault = fault::of_beginning(&error, server, &premises.flag);
                if let Some(end) = program.end().await {
                    fault.reason = end;
                }
                return Err(fault);
            }
        }
    };
    let version = running.peer_info().map(|info| info.protocol_version.to_string()).unwrap_or_default();
    let is_stateless = version == ProtocolVersion::V_2026_07_28.to_string();
    let protocol = if is_stateless { Protocol::Stateless } else { Protocol::Handshake };
    match catalogue::list(running.peer(), server, prefix).await {
        Ok(offers) => Ok(Link { running, program, offers: offers.into(), protocol, version, changed, gone }),
        Err(error) => {
            let mut fault = Fault::new(format!(
                "its tools cannot be listed: {}",
                fault::of_call(&error, server, &premises.flag)
            ));
            let link = Link { running, program, offers: Arc::default(), protocol, version, changed, gone };
            if let Some(end) = link.end().await {
                fault.reason = end;
            }
            Err(fault)
        }
    }
}

fn mode(protocol: Protocol) -> ClientLifecycleMode {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    match protocol {
        Protocol::Handshake => ClientLifecycleMode::Initialize,
        Protocol::Stateless => ClientLifecycleMode::Discover { preferred_versions },
        Protocol::Auto => ClientLifecycleMode::Auto {
            preferred_versions,
            legacy_version: Some(ProtocolVersion::V_2025_11_25),
        },
    }
}
