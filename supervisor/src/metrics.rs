//! Prometheus text, `/health` and `/ready` on the admin address: loopback only, off unless configured.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::proxy::Reader;
use crate::supervise::WorkerTable;

/// Where worker facts come from; called once a scrape.
pub type Facts = Arc<dyn Fn() -> Arc<WorkerTable> + Send + Sync>;

/// The admin listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Not an address.
    #[error("gateway.admin `{0}` is not an address; use 127.0.0.1:PORT")]
    Address(String),
    /// Not loopback.
    #[error("gateway.admin `{0}` is not a loopback address; it has no authentication, use 127.0.0.1:PORT")]
    NotLoopback(SocketAddr),
    /// Not to be bound.
    #[error("cannot listen on gateway.admin `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// The admin listener, bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds `address` (`127.0.0.1:9464`, `[::1]:0`, `localhost:9464`).
    pub async fn bind(address: &str) -> Result<Self, AdminError> {
        let literal = address.strip_prefix("localhost:").map_or_else(|| address.to_owned(), |p| format!("127.0.0.1:{p}"));
        let wanted: SocketAddr = literal.parse().map_err(|_| AdminError::Address(address.to_owned()))?;
        if !wanted.ip().to_canonical().is_loopback() {
            return Err(AdminError::NotLoopback(wanted));
        }
        let bind = |source| AdminError::Bind { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address })
    }

    /// The address as bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn serve(self, reader: Reader, facts: Facts, stop: CancellationToken) -> std::io::Result<()> {
        let app = axum::Router::new().with_state((reader, facts));
        axum::serve(self.listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}
