//! Becoming the program on disk, as far as the gateway that runs decides it: see [`super::renewal`].

use std::time::Duration;

use hermes_wire::exit;
use hermes_wire::latest::ClientReply;

use super::answers::{Replies, UNAWAITED, answer, done};
use super::gateway::Gateway;
use super::renewal::Proved;
use crate::server::refused;

/// For requests on connections that were accepted in the last moment.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

impl Gateway {
    /// Lets the program on disk prove itself, if there is one and this process may become it; [`Self::renew`] goes on.
    pub(super) async fn prove(&mut self, waits: bool, replies: Replies) {
        if self.may_renew(&replies).await {
            self.renewals.ask(&self.common.tracker, self.common.children.clone(), waits, replies);
        }
    }

    /// Whether it may at all; says why not.
    async fn may_renew(&self, replies: &Replies) -> bool {
        if !self.renewals.are_possible() {
            let message = "a gateway of `hermes demo` cannot take up another program";
            let hint = Some("end it and start it again".to_owned());
            answer(replies, refused(exit::FAILURE, message, hint)).await;
            return false;
        }
        if let Some(profile) = self.fleet.released() {
            let message = format!("a command is moving or removing profile '{profile}'");
            answer(replies, refused(exit::RESTART, &message, Some("try again in a moment".to_owned()))).await;
            return false;
        }
        true
    }

    /// Remembers that this process shall become the program on disk. True: begin.
    pub(super) async fn renew(&mut self, proved: Proved) -> bool {
        let Proved { program, waits, replies } = proved;
        let replies = &replies;
        let program = match program {
            Ok(program) => program,
            Err((message, hint)) => {
                answer(replies, refused(exit::FAILURE, &message, Some(hint.to_owned()))).await;
                return false;
            }
        };
        if !self.may_renew(replies).await {
            return false;
        }
        if !waits {
            answer(replies, ClientReply::Progress(UNAWAITED.to_owned())).await;
        }
        let line = format!("the gateway (PID {}) takes up {}", std::process::id(), program.display());
        answer(replies, done(&line)).await;
        self.renewals.begin(program);
        true
    }

    /// Lets connections wait from now on, before anything is taken down.
    pub(super) async fn keep_listeners(&mut self) {
        if self.renewals.is_under_way()
            && let Some(listeners) = self.edge.keep_listeners()
        {
            self.renewals.take_along(listeners);
            tokio::time::sleep(LAST_REQUESTS).await;
        }
    }
}
