//! Changes of what the profile has stored, which its one writer makes.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use hermes_wire::stored::{Change, Changed, MOST, Order, SCHEMA};
use hermes_wire::terminal::Said;

use super::{Desk, bytes, failed, whole};
use crate::session::delete;
use crate::stored;

/// Answers with one line: what was changed and what was not.
pub(super) async fn change(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let said = match bytes(request.into_body()).await {
        Ok(bytes) => match understood(&bytes) {
            Ok(change) => carry_out(&desk, change).await,
            Err(said) => *said,
        },
        Err(said) => said,
    };
    whole(&said)
}

fn understood(bytes: &[u8]) -> Result<Change, Box<Said>> {
    let order: Order = serde_json::from_slice(bytes)
        .map_err(|error| failed("malformed", format!("the change cannot be read: {error}"), None))?;
    if order.schema > SCHEMA {
        let hint = "`hermes gateway restart` brings the worker to the release of the command";
        return Err(Box::new(failed("schema", "the worker is older than the command that asks", Some(hint))));
    }
    let many = match &order.change {
        Change::Rename { .. } => 1,
        Change::Delete { sessions, .. } => sessions.len(),
        Change::Retry { items } | Change::Drop { items } => items.len(),
    };
    if many > MOST {
        return Err(Box::new(failed(
            "too_many",
            format!("more than {MOST} things cannot be changed at once"),
            None,
        )));
    }
    Ok(order.change)
}

async fn carry_out(desk: &Desk, change: Change) -> Said {
    let (stored, wanted) = (Arc::clone(&desk.stored), change.clone());
    let (changed, gone) = match desk.store.write(move |db| stored::apply(db, &stored, &wanted)).await {
        Ok(changed) => changed,
        Err(error) => return failed("store", error.reason(), None),
    };
    note(&change, &changed);
    if matches!(change, Change::Retry { .. } | Change::Drop { .. }) {
        desk.store.look_again();
    }
    delete::clear(desk.store.home(), gone).await;
    Said::Changed(changed)
}

/// Writes down what somebody at a terminal has decided.
fn note(change: &Change, changed: &Changed) {
    for done in &changed.done {
        let id = &done.id;
        match change {
            Change::Rename { .. } => tracing::info!("session {id} was renamed at a terminal"),
            Change::Delete { .. } => {
                tracing::info!("session {id} was deleted at a terminal, with {} messages", done.messages);
            }
            Change::Retry { .. } => {
                tracing::info!("message {id} of the inbox is tried again, as somebody wants it");
            }
            Change::Drop { .. } => tracing::warn!("message {id} of the inbox was dropped at a terminal"),
        }
    }
}
