//! What somebody who sits at a terminal is shown first, and the commands that they type.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use hermes_wire::terminal::{Greeting, Host, Order, Said, is_id};
use rusqlite::OptionalExtension as _;

use super::talk::failure;
use super::{Desk, failed, known, read, whole};
use crate::commands::NotTold;

/// Who answers, in which session, and what can be typed.
pub(super) async fn welcome(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    whole(&match read::<Greeting>(request.into_body()).await {
        Ok(greeting) => desk.welcome(greeting).await.unwrap_or_else(|said| said),
        Err(said) => said,
    })
}

/// What is said to a command.
pub(super) async fn command(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    whole(&match read::<Order>(request.into_body()).await {
        Ok(order) => desk.obey(order).await.unwrap_or_else(|said| said),
        Err(said) => said,
    })
}

impl Desk {
    async fn welcome(&self, greeting: Greeting) -> Result<Said, Said> {
        known(greeting.schema).map_err(|said| *said)?;
        let (session, before) = self.session(&greeting.session).await?;
        let id = session.clone();
        let title = self.store.aside(move |db| {
            let title = db
                .prepare_cached("SELECT title FROM sessions WHERE id = ?1")?
                .query_row([id], |row| row.get::<_, Option<String>>(0));
            title.optional().map(Option::flatten)
        });
        let title = title
            .await
            .map_err(|error| failed("store", format!("the session store failed: {error}"), None))?;
        let offered = self.commands.offered_at_terminal().await;
        Ok(Said::Welcome(Host {
            session,
            before,
            title,
            model: self.commands.model_name().to_owned(),
            offered,
        }))
    }

    async fn obey(&self, order: Order) -> Result<Said, Said> {
        known(order.schema).map_err(|said| *said)?;
        if !is_id(&order.session) {
            return Err(failed("malformed", "the session has no sane name", None));
        }
        match self.commands.at_terminal(&self.turns, order).await {
            Ok((text, then)) => Ok(Said::Told { text, then }),
            Err(NotTold::Turn(error)) => Err(failure(&error)),
            Err(NotTold::Store(error)) => {
                Err(failed("store", format!("the session store failed: {}", error.reason()), None))
            }
        }
    }
}
