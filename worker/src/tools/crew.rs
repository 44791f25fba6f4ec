//! Children of a turn: pieces of its work that are done by the same model in conversations of their own, while the turn waits.
//!
//! A tool hands an [`Errand`] to the crew and waits for its [`Report`]; whoever runs the turn runs the errand. Nobody waits for a report any
//! more: the errand is dropped.

use tokio::sync::{mpsc, oneshot};

/// A piece of work.
#[derive(Debug)]
pub struct Errand {
    /// What the child is told: all that it knows.
    pub task: String,
    /// Most calls to the model that may want tools called.
    pub limit: u32,
    /// Whether it may call the tools of servers.
    pub with_servers: bool,
    /// Who waits.
    pub report: oneshot::Sender<Report>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the child said at its end, or why it did not.
    pub result: Result<String, String>,
    /// Calls made to the provider.
    pub calls: u32,
}

/// Whoever runs errands of a turn.
#[derive(Debug, Clone)]
pub struct Crew(mpsc::Sender<Errand>);

impl Crew {
    /// A crew, and where its errands arrive.
    pub fn new() -> (Self, mpsc::Receiver<Errand>) {
        // Who has one waits for its report anyway.
        let (errands, arriving) = mpsc::channel(1);
        (Self(errands), arriving)
    }

    /// Has a piece of work done.
    pub async fn run(&self, task: String, limit: u32, with_servers: bool) -> Report {
        let (report, reported) = oneshot::channel();
        let gone = || Report { result: Err("whoever ran it is gone".to_owned()), calls: 0 };
        if self.0.send(Errand { task, limit, with_servers, report }).await.is_err() {
            return gone();
        }
        reported.await.unwrap_or_else(|_| gone())
    }
}
