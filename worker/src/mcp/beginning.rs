//! The beginning of a conversation, over whatever transport; and that its end is noticed.

use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, RoleClient, RunningService,
    RxJsonRpcMessage, TxJsonRpcMessage,
};
use rmcp::transport::{IntoTransport, Transport};
use tokio_util::sync::DropGuard;

use super::handler::Handler;

/// How a conversation begins.
pub(super) struct Beginning {
    pub(super) handler: Handler,
    pub(super) mode: ClientLifecycleMode,
    /// Lives as long as the connection.
    pub(super) guard: DropGuard,
}

impl Beginning {
    /// Begins it.
    pub(super) async fn serve<T, E, A>(
        self,
        transport: T,
    ) -> Result<RunningService<RoleClient, Handler>, ClientInitializeError>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let transport = Watched { inner: transport.into_transport(), _guard: self.guard };
        self.handler.serve_with_lifecycle(transport, self.mode).await
    }
}

/// A transport whose end is noticed: the library drops it then, and says so to nobody.
struct Watched<T> {
    inner: T,
    _guard: DropGuard,
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Watched<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    fn receive(&mut self) -> impl Future<Output = Option<RxJsonRpcMessage<RoleClient>>> + Send {
        self.inner.receive()
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}
