//! `hermes sessions rename`, `delete` and `prune`.

use clap::{Args, ValueHint};
use hermes_host::clock;
use hermes_wire::exit;
use hermes_wire::stored::{Change, Changed};
use serde_json::json;

use super::super::Call;
use super::super::confirm::confirmed;
use super::super::output::{self, Output};
use super::list::name;
use super::words::{ago, many};
use super::{find, look};
use crate::columns::cut;
use crate::error::{HermesError, StoredError};
use crate::stored;

/// Most sessions that are named before they go.
const NAMED: usize = 10;
/// Columns of such a name.
const NAME: usize = 60;
/// Seconds of a day.
const DAY: f64 = 86_400.0;

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Only those that were last used before so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    older_than: u32,
    /// Only those that came this way.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::Other)]
    source: Option<String>,
    /// Also those that have not ended: a chat begins anew with its next message.
    #[arg(long)]
    open: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// For programs; asks nobody, so it needs --yes.
    #[arg(long, requires = "yes")]
    json: bool,
}

pub(super) fn rename(session: &str, title: &str, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let session = find(look.as_ref(), session)?;
    let change = Change::Rename { session: session.clone(), title: title.to_owned() };
    let changed = stored::change(&selection, &call.env, &change)?;
    if let Some(kept) = changed.kept.into_iter().next() {
        return Err(StoredError::Kept { id: kept.id, why: kept.why }.into());
    }
    out.line(&format!("Session '{session}' renamed to: {}", super::words::flat(title)))?;
    Ok(exit::OK)
}

pub(super) fn delete(named: &[String], yes: bool, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let mut ids = Vec::new();
    for one in named {
        let id = find(look.as_ref(), one)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if !yes && let Some(look) = &look {
        let now = clock::local();
        for id in &ids {
            let Some(session) = look.session(id).map_err(StoredError::from)? else { continue };
            out.line(&format!(
                "{id}  {}, {}  {}",
                many(session.messages, "message"),
                ago(session.last_active, &now),
                cut(&name(&session), NAME)
            ))?;
        }
    }
    drop(look);
    let question = match &ids[..] {
        [one] => format!("Delete session '{one}' and all its messages?"),
        _ => format!("Delete {} sessions and all their messages?", ids.len()),
    };
    if !confirmed(&question, yes, &mut out)? {
        return Ok(exit::FAILURE);
    }
    let delete = |sessions| Change::Delete { sessions, unused_since: None };
    let changed = stored::change_each(&selection, &call.env, &ids, delete)?;
    for done in &changed.done {
        let more = if done.sessions > 1 { format!(", in {} parts", done.sessions) } else { String::new() };
        let messages = many(i64::try_from(done.messages).unwrap_or(i64::MAX), "message");
        out.line(&format!("Deleted session '{}' ({messages}{more}).", done.id))?;
    }
    Ok(told(&changed))
}

/// Says what was kept, and why.
fn told(changed: &Changed) -> u8 {
    for kept in &changed.kept {
        output::warn(&format!("session '{}' was kept: {}", kept.id, kept.why));
    }
    if changed.kept.is_empty() { exit::OK } else { exit::FAILURE }
}

pub(super) fn prune(args: &PruneArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    #[expect(clippy::cast_precision_loss, reason = "a time of these days")]
    let now = clock::utc().as_millisecond() as f64 / 1e3;
    let before = now - f64::from(args.older_than) * DAY;
    let unused = look.as_ref().map(|look| look.unused(before, args.source.as_deref(), args.open));
    let unused = unused.transpose().map_err(StoredError::from)?.unwrap_or_default();
    if !args.json {
        let than = format!("unused for {}", many(i64::from(args.older_than), "day"));
        if unused.open > 0 {
            output::note(&format!("{} {than} have not ended and stay; `--open` takes them too", unused.open));
        }
        if unused.pinned > 0 {
            output::note(&format!("{} {than} are pinned or archived and stay", unused.pinned));
        }
        if unused.sessions.is_empty() {
            out.line("Nothing to prune.")?;
            return Ok(exit::OK);
        }
        let zone = clock::local();
        for id in unused.sessions.iter().take(NAMED) {
            let session =
                look.as_ref().map(|look| look.session(id)).transpose().map_err(StoredError::from)?;
            if let Some(session) = session.flatten() {
                let (name, last) = (cut(&name(&session), NAME), ago(session.last_active, &zone));
                out.line(&format!("  {id}  {}  {last}  {name}", session.source))?;
            }
        }
        if unused.sessions.len() > NAMED {
            out.line(&format!("  … and {} more", unused.sessions.len() - NAMED))?;
        }
    }
    drop(look);
    let of = args.source.as_ref().map(|source| format!(" from '{source}'")).unwrap_or_default();
    let question = format!(
        "Delete {} older than {}{of} and all their messages?",
        many(i64::try_from(unused.sessions.len()).unwrap_or(i64::MAX), "session"),
        many(i64::from(args.older_than), "day")
    );
    if !confirmed(&question, args.yes, &mut out)? {
        return Ok(exit::FAILURE);
    }
    let delete = |sessions| Change::Delete { sessions, unused_since: Some(before) };
    let changed = stored::change_each(&selection, &call.env, &unused.sessions, delete)?;
    if args.json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "deleted": changed.done.iter().map(|done| &done.id).collect::<Vec<_>>(),
            "messages": changed.done.iter().map(|done| done.messages).sum::<u64>(),
            "kept": changed.kept,
            "open": unused.open,
            "pinned": unused.pinned,
        });
        out.line(&format!("{value:#}"))?;
        return Ok(if changed.kept.is_empty() { exit::OK } else { exit::FAILURE });
    }
    out.line(&format!("Pruned {} session(s).", changed.done.len()))?;
    Ok(told(&changed))
}
