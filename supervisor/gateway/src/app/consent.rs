//! Reloads that are under way. For as long as one is, somebody has consented to what [`super::weigh`] would hold back.

use hermes_wire::ProfileName;
use hermes_wire::contract::events::By;
use hermes_wire::latest::ClientReply;
use tokio::sync::mpsc;

use super::answers::{Replies, answer};

/// One reload, between its two steps.
pub(super) struct Reload {
    /// Every worker is replaced, not the primary's alone.
    pub(super) everybody: bool,
    /// Who asked.
    pub(super) by: By,
    /// Nobody waits for one before the next is replaced.
    pub(super) at_once: bool,
    /// Who was served before.
    pub(super) served: Vec<ProfileName>,
    pub(super) replies: Option<Replies>,
    pub(super) failed: Vec<String>,
}

impl Reload {
    /// Tells whoever asked, or the log.
    pub(super) async fn say(&self, line: String) {
        let Some(replies) = &self.replies else { return tracing::info!("{line}") };
        answer(replies, ClientReply::Progress(line)).await;
    }
}

/// All reloads under way.
pub(super) struct Consent {
    under_way: usize,
    /// Where the ends of first steps are told.
    ends: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    /// What the next answer is to mention.
    notes: Vec<String>,
}

impl Consent {
    pub(super) fn new() -> Self {
        Self { under_way: 0, ends: mpsc::channel(16), notes: Vec::new() }
    }

    /// Whether somebody has asked for all that the files say.
    pub(super) fn is_given(&self) -> bool {
        self.under_way > 0
    }

    /// From here on it is; the end of the first step is told there.
    pub(super) fn begin(&mut self) -> mpsc::Sender<Reload> {
        self.under_way += 1;
        self.ends.0.clone()
    }

    /// A first step is over; what there is to mention of it.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.under_way -= 1;
        std::mem::take(&mut self.notes)
    }

    /// Mentions something in the next answer, where there will be one.
    pub(super) fn note(&mut self, line: String) {
        if self.is_given() {
            self.notes.push(line);
        }
    }

    /// The next first step that is over. Safe to cancel.
    pub(super) async fn next(&mut self) -> Reload {
        match self.ends.1.recv().await {
            Some(reload) => reload,
            // A sender is held here.
            None => std::future::pending().await,
        }
    }
}
