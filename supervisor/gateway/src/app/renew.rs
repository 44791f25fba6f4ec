//! Becoming the program on disk, as far as the gateway that runs decides it: see [`super::renewal`].

use std::time::Duration;

use hermes_host::clock;
use hermes_wire::contract::events::{By, who};
use hermes_wire::exit;
use hermes_wire::latest::ClientReply;

use super::answers::{Replies, UNAWAITED, answer, done};
use super::gateway::Gateway;
use super::renewal::{Asked, Check, Proved};
use crate::program;
use crate::server::refused;
use tokio::sync::mpsc;

/// For requests on connections that were accepted in the last moment.
const LAST_REQUESTS: Duration = Duration::from_millis(100);
/// Time between two looks at connections that end.
const LOOK: Duration = Duration::from_millis(1);

impl Gateway {
    /// Lets the program on disk prove itself, if there is one and this process may become it; [`Self::renew`] goes on.
    pub(super) async fn prove(&mut self, waits: bool, replies: Replies) {
        if self.may_renew(&replies).await {
            let asked = Asked { waits, check: None };
            self.renewals.ask(&self.common.tracker, self.common.children.clone(), asked, replies);
        }
    }

    /// What a daemon does on SIGHUP: the program on disk is taken up where it is another one than the one that runs; else what the
    /// files of the gateway's own profile say is put into force. Nobody has checked anything, and nobody waits.
    pub(super) async fn renew_or_reload(&mut self) {
        let changed = self.renewals.are_possible()
            && program::own_path().is_ok_and(|path| {
                program::is_same(path, program::image_of(std::process::id())) != Some(true)
            });
        let (replies, mut answers) = mpsc::channel(16);
        if changed {
            tracing::info!("SIGHUP: taking up the program on disk");
            if self.may_renew(&replies).await {
                let root = self.fleet.wanted.root.path().to_owned();
                let check = Check { root, profile: self.primary() };
                let asked = Asked { waits: true, check: Some(check) };
                self.renewals.ask(&self.common.tracker, self.common.children.clone(), asked, replies);
            }
        } else {
            tracing::info!("SIGHUP: taking over what the files say");
            self.fleet.wanted.look_now().await;
            self.reload(false, By::named(who::SIGNAL, "SIGHUP"), Some(replies));
        }
        self.manager.reloading("looking at the program and the files again");
        // It hears of the end when every profile is served, or of another program.
        self.manager.settle();
        let board = self.board.clone();
        self.common.tracker.spawn(async move {
            let refused = loop {
                match answers.recv().await {
                    Some(ClientReply::Progress(line)) => tracing::info!("{line}"),
                    Some(ClientReply::Refused { message, .. }) => break Some(message),
                    // The next program says that it is ready.
                    Some(ClientReply::Done(_)) if changed => return,
                    Some(_) | None => break None,
                }
            };
            if let Some(why) = refused {
                tracing::error!("SIGHUP: {why}");
                if changed {
                    super::succession::say_returned(&board, &why);
                }
            }
        });
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
        let line = format!("the gateway (PID {}) takes up {}", std::process::id(), program.path.display());
        answer(replies, done(&line)).await;
        self.renewals.begin(program);
        true
    }

    /// Lets connections wait from now on, before anything is taken down. Those that are open end with their next answer: who has one
    /// under way, or asks once more in this moment, gets it.
    pub(super) async fn keep_listeners(&mut self) {
        if self.renewals.is_under_way()
            && let Some(listeners) = self.edge.keep_listeners()
        {
            self.renewals.take_along(listeners);
            let over = clock::now() + LAST_REQUESTS;
            while self.edge.load().0 > 0 && clock::now() < over {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
