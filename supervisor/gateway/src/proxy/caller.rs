//! A client while it is connected: what a connection keeps from request to request, and an exchange uses of it.

use std::rc::Rc;
use std::sync::Arc;

use super::client::Client;
use super::listener::Gate;
use super::local::Local;
use super::places::Place;
use super::timer::Deadline;
use super::wire::private::Private;

/// One client. An idle one owns no buffer.
pub(super) struct Caller {
    /// The thread it is served on.
    pub(super) local: Rc<Local>,
    pub(super) client: Client,
    /// The listener it came through.
    pub(super) gate: Arc<Gate>,
    pub(super) place: Place,
    /// Received and not used yet: the start of a head, or of what follows a request in progress.
    pub(super) carry: Private,
    pub(super) deadline: Deadline,
}
