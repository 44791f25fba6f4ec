//! What an adapter and the worker say to each other while a connection lives.
//!
//! The adapter holds a [`Link`]; the worker holds the other two ends: what it [hears](Heard), and what it [orders](Order). A link says
//! nothing about waits and tries: an adapter that lost its connection ends with a [`Down`], and is run again when it is time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Whether another try can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Not before the files change: a refused token, a missing setting.
    Fatal,
    /// It may: the network, the service, a limit.
    Retrying,
    /// It does when another gateway does not use the identity any more.
    Used,
}

/// Why a connection was lost, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Down {
    /// Whether another try can help.
    pub class: Class,
    /// For programs; shown in the status file.
    pub code: String,
    /// For people. Holds no secret.
    pub message: String,
    /// What the service asked to wait before the next try.
    pub retry_after: Option<Duration>,
}

impl Down {
    /// Another try cannot help until the files change.
    pub fn fatal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: Class::Fatal, code: code.into(), message: message.into(), retry_after: None }
    }

    /// Another try may help.
    pub fn retrying(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: Class::Retrying, code: code.into(), message: message.into(), retry_after: None }
    }

    /// The same, with the wait that the service asked for.
    #[must_use]
    pub fn after(self, wait: Option<Duration>) -> Self {
        Self { retry_after: wait, ..self }
    }
}

/// Gives an identity up again.
pub(crate) type GiveUp = BoxFuture<'static, ()>;

/// Takes an identity (platform, kind, text) that only the service could name, before anybody else on this machine uses it. An error says whose
/// it is.
pub(crate) type TakeIdentity =
    Arc<dyn Fn(&'static str, &'static str, &str) -> BoxFuture<'static, Result<GiveUp, Down>> + Send + Sync>;

/// What an adapter is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Another process takes the connection over.
    Yield,
    /// This process ends.
    Stop,
}

/// What holds for all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Exclusive ones stay, or become, closed.
    Hold,
    /// All may live.
    Connect,
    /// None goes on.
    Stop,
}

impl Order {
    /// What this means for one connection.
    pub(crate) fn told(self, exclusive: bool) -> Option<Told> {
        match self {
            Self::Stop => Some(Told::Stop),
            Self::Hold if exclusive => Some(Told::Yield),
            Self::Hold | Self::Connect => None,
        }
    }
}

/// What was heard of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    /// It is usable.
    pub(crate) up: bool,
    /// How it is made, where there are several ways.
    pub(crate) mode: Option<&'static str>,
    /// It stands, and the service does not get through by it, for this reason.
    pub(crate) ails: Option<Down>,
    /// What it is not usable for all the same.
    pub(crate) lack: Option<Lack>,
}

/// What a connection that stands cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    /// For programs; shown in the status file.
    pub(crate) code: &'static str,
    /// For people. Holds no secret.
    pub(crate) message: String,
}

/// An adapter's end. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Link {
    heard: watch::Sender<Heard>,
    orders: watch::Receiver<Order>,
    exclusive: bool,
}

impl Link {
    /// A link for one connection, and what will be heard of it.
    pub(crate) fn new(orders: watch::Receiver<Order>, exclusive: bool) -> (Self, watch::Receiver<Heard>) {
        let heard = watch::Sender::new(Heard::default());
        let receiver = heard.subscribe();
        (Self { heard, orders, exclusive }, receiver)
    }

    /// The connection is usable.
    pub fn up(&self) {
        self.heard.send_modify(|heard| heard.up = true);
    }

    /// The same, with the word for the way it is made, where there are several. What [ailed](Self::ails) it is over.
    pub fn up_by(&self, mode: &'static str) {
        self.heard.send_modify(|heard| {
            (heard.up, heard.mode, heard.ails) = (true, Some(mode), None);
        });
    }

    /// The connection stands and goes on, and is not usable for now: the service says that it does not get through.
    pub fn ails(&self, down: Down) {
        self.heard.send_modify(|heard| heard.ails = Some(down));
    }

    /// The connection is usable, but not for this; nothing: for everything.
    pub(crate) fn lacks(&self, lack: Option<Lack>) {
        self.heard.send_if_modified(|heard| {
            let is_new = heard.lack != lack;
            heard.lack = lack;
            is_new
        });
    }

    /// The service was heard: the connection lives.
    pub fn progress(&self) {
        self.heard.send_modify(|_| {});
    }

    /// Waits for what the worker does with something that came. The service waits meanwhile, which is no silence of its own: `window`
    /// is what would be one. `None`: the connection is to be closed before.
    pub async fn during<T>(&self, window: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut beat = tokio::time::interval(window / 3);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                _ = self.told() => return None,
                _ = beat.tick() => self.progress(),
            }
        }
    }

    /// Waits until the connection is to be closed. Cancel safe; answers at once, every time, from then on.
    pub async fn told(&self) -> Told {
        let mut orders = self.orders.clone();
        let told = orders.wait_for(|order| order.told(self.exclusive).is_some()).await;
        // Who gave orders is gone: so is everything.
        told.ok().and_then(|order| order.told(self.exclusive)).unwrap_or(Told::Stop)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_exclusive_connections_are_yielded_and_all_are_stopped() {
        let orders = watch::Sender::new(Order::Hold);
        let told = |exclusive| {
            let (link, _heard) = Link::new(orders.subscribe(), exclusive);
            link.told().now_or_never()
        };
        assert_eq!([told(true), told(false)], [Some(Told::Yield), None]);
        orders.send_replace(Order::Connect);
        assert_eq!([told(true), told(false)], [None, None]);
        orders.send_replace(Order::Stop);
        assert_eq!([told(true), told(false)], [Some(Told::Stop), Some(Told::Stop)]);
        let (link, _heard) = Link::new(orders.subscribe(), true);
        drop(orders);
        assert_eq!(link.told().now_or_never(), Some(Told::Stop));
    }
}
