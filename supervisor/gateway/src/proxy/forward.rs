//! What an exchange starts with.

use tokio::time::Instant;

use super::route::Admitted;
use super::wire::body::Body;
use super::wire::private::Private;
use super::wire::response;

/// A request on its way to a worker.
pub(super) struct Forward {
    pub(super) admitted: Admitted,
    /// The head, and the part of the body that came with it, as the worker gets them.
    pub(super) first: Private,
    pub(super) upload: Body,
    pub(super) repeatable: bool,
    pub(super) context: response::Context,
    pub(super) started: Instant,
    pub(super) body_bytes: u64,
}
