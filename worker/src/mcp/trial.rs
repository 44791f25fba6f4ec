//! One connection to a server, to see whether it works: what `hermes mcp test` does.

use std::time::Duration;

use hermes_config::servers::ToolServer;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::catalogue::What;
use super::connect::connect;
use super::{Premises, names};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    /// The version of the protocol that was agreed on.
    pub(crate) protocol: String,
    /// What the server calls itself.
    pub(crate) server: String,
    /// From the start to the list of tools.
    pub(crate) took: Duration,
    /// What the model calls each, and what it does.
    pub(crate) tools: Vec<(String, String)>,
    /// How many of them are tools of the server itself.
    pub(crate) own: usize,
}

/// Connects once, and ends it again. The error says what is in the way.
pub(crate) async fn trial(server: &ToolServer, premises: &Premises) -> Result<Trial, String> {
    if let Some(fault) = &server.fault {
        return Err(fault.clone());
    }
    let tasks = TaskTracker::new();
    let prefix = names::prefixes(std::iter::once(server.name.as_str())).remove(0);
    let begun = Instant::now();
    let link =
        connect(server, &prefix, server.protocol, premises, &tasks).await.map_err(|fault| fault.reason)?;
    let took = begun.elapsed();
    let info = link.peer().peer_info().and_then(|info| info.server_info.clone());
    let trial = Trial {
        protocol: link.version.clone(),
        server: info.map(|info| format!("{} {}", info.name, info.version)).unwrap_or_default(),
        took,
        tools: link.offers.iter().map(|offer| (offer.name.clone(), offer.about.clone())).collect(),
        own: link.offers.iter().filter(|offer| offer.what == What::Tool).count(),
    };
    link.end().await;
    Ok(trial)
}
