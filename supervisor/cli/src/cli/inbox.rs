//! `hermes inbox`: messages that were taken in and have no answer, and what is to become of them.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use hermes_host::{clock, zone};
use hermes_wire::exit;
use hermes_wire::stored::{Change, Changed};
use hermes_worker::stored::{Item, Look, State};
use serde_json::{Value, json};

use super::Call;
use super::confirm::confirmed;
use super::output::{self, Output};
use super::sessions::words::{ago, flat, iso, many, when};
use crate::columns::{cut, pad, width};
use crate::error::{HermesError, StoredError};
use crate::home::Selection;
use crate::stored;

/// Columns where the width is not known, and the least that a text gets.
const WIDTH: usize = 110;
const LEAST: usize = 20;
/// Widest chat.
const CELL: usize = 28;

#[derive(Debug, Args)]
pub(super) struct InboxArgs {
    #[command(subcommand)]
    command: InboxCommand,
}

#[derive(Debug, Subcommand)]
enum InboxCommand {
    /// List what waits, runs and was given up, the oldest first.
    #[command(after_help = "What failed is kept for a week, what was answered or dropped for a day.\n\n\
        Examples:\n  hermes inbox list\n  hermes -p coder inbox list --json | jq '.messages[] | select(.state == \"failed\")'")]
    List {
        /// Also what was answered or dropped.
        #[arg(long)]
        all: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show one message.
    #[command(after_help = "Example:\n  hermes inbox show 7")]
    Show {
        /// Its number.
        #[arg(value_name = "NUMBER")]
        id: i64,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Try messages again now: those that failed, and those that were put off.
    #[command(after_help = "Examples:\n  hermes inbox retry 7\n  hermes -p coder inbox retry --all")]
    Retry {
        /// Their numbers.
        #[arg(value_name = "NUMBER", required_unless_present = "all")]
        ids: Vec<i64>,
        /// Everything that failed or was put off.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Give messages no answer any more.
    #[command(
        after_help = "The log says what was dropped. A sender that repeats itself within a day is told that it is known.\n\n\
        Examples:\n  hermes inbox drop 7\n  hermes inbox drop --failed --yes"
    )]
    Drop {
        /// Their numbers.
        #[arg(value_name = "NUMBER", required_unless_present = "failed")]
        ids: Vec<i64>,
        /// Everything that failed.
        #[arg(long, conflicts_with = "ids")]
        failed: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

/// `hermes inbox`.
pub(super) fn run(args: InboxArgs, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let look = stored::look(&selection)?;
    let mut out = Output::stdout();
    match args.command {
        InboxCommand::List { all, json } => list(&selection, look.as_ref(), all, json, &mut out),
        InboxCommand::Show { id, json } => show(&selection, look.as_ref(), id, json, &mut out),
        InboxCommand::Retry { ids, all } => {
            let ids = if all { those(look.as_ref(), &[State::Failed, State::Postponed])? } else { ids };
            drop(look);
            retry(&selection, call, &ids, &mut out)
        }
        InboxCommand::Drop { ids, failed, yes } => {
            let ids = if failed { those(look.as_ref(), &[State::Failed])? } else { ids };
            give_up(&selection, look, call, &ids, yes, &mut out)
        }
    }
}

fn items(look: Option<&Look>, all: bool) -> Result<Vec<Item>, HermesError> {
    Ok(look.map_or_else(|| Ok(Vec::new()), |look| look.inbox(all)).map_err(StoredError::from)?)
}

/// The numbers of what is in one of these states.
fn those(look: Option<&Look>, states: &[State]) -> Result<Vec<i64>, HermesError> {
    let items = items(look, false)?;
    Ok(items.iter().filter(|item| states.contains(&item.state)).map(|item| item.id).collect())
}

fn list(
    selection: &Selection,
    look: Option<&Look>,
    all: bool,
    as_json: bool,
    out: &mut Output,
) -> Result<u8, HermesError> {
    let items = items(look, all)?;
    if as_json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "messages": items.iter().map(value).collect::<Vec<_>>(),
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if items.is_empty() {
        let text = if all { "The inbox is empty." } else { "Nothing waits, and nothing failed." };
        out.line(text)?;
        return Ok(exit::OK);
    }
    out.write(&table(&items, out.width().unwrap_or(WIDTH)))?;
    Ok(exit::OK)
}

fn value(item: &Item) -> Value {
    json!({
        "id": item.id,
        "state": item.state.name(),
        "platform": item.platform,
        "session_key": item.key,
        "session": item.session,
        "chat": item.chat,
        "user": item.user,
        "text": item.text,
        "run": item.run,
        "answer_goes_to": item.answer.as_ref().map(|answer| &answer.kind),
        "sender_id": item.sender_id,
        "received_at": iso(item.received_at),
        "finished_at": item.finished_at.map(iso),
        "due_at": item.due_at.map(iso),
        "put_off": item.postponed,
        "why": item.why,
    })
}

/// What was said, on one line.
fn words(item: &Item) -> String {
    match (&item.run, &item.text) {
        (Some(run), _) => format!("run {run} of the API"),
        (None, Some(text)) => flat(text),
        (None, None) => "-".to_owned(),
    }
}

fn table(items: &[Item], columns: usize) -> String {
    let now = clock::local();
    let rows: Vec<[String; 6]> = items
        .iter()
        .map(|item| {
            [
                item.id.to_string(),
                item.state.name().to_owned(),
                item.platform.clone(),
                cut(&flat(item.chat.as_deref().unwrap_or("-")), CELL),
                ago(item.received_at, &now),
                words(item),
            ]
        })
        .collect();
    let titles = ["NUMBER", "STATE", "PLATFORM", "CHAT", "CAME", "MESSAGE"];
    let mut widths = titles.map(width);
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    let used: usize = widths[..5].iter().map(|width| width + 2).sum();
    let room = columns.saturating_sub(used).max(LEAST);
    let line = |row: [&str; 6]| {
        let mut text = String::new();
        for (at, cell) in row[..5].iter().enumerate() {
            text += &pad(cell, widths[at] + 2, false);
        }
        text += &cut(row[5], room);
        text.trim_end().to_owned()
    };
    let mut text = format!("{}\n", line(titles));
    for (row, item) in rows.iter().zip(items) {
        let [id, state, platform, chat, came, words] = row;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line([id, state, platform, chat, came, words]));
        if let Some(why) = &item.why {
            let _ = writeln!(text, "        {}", cut(&flat(why), columns.saturating_sub(8).max(LEAST)));
        }
    }
    text
}

fn show(
    selection: &Selection,
    look: Option<&Look>,
    id: i64,
    as_json: bool,
    out: &mut Output,
) -> Result<u8, HermesError> {
    let found = look.map(|look| look.item(id)).transpose().map_err(StoredError::from)?.flatten();
    let Some(item) = found else {
        return Err(StoredError::NoItem { profile: selection.profile.clone(), id }.into());
    };
    if as_json {
        out.line(&format!("{:#}", value(&item)))?;
        return Ok(exit::OK);
    }
    let zone = zone::system();
    let mut text = format!("Message {id} of profile '{}': {}\n", selection.profile, item.state.name());
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name:<10} {value}");
        }
    };
    row("came", Some(format!("{}, by {}", when(item.received_at, &zone), item.platform)));
    row("chat", item.chat.clone());
    row("from", item.user.clone());
    row("its id", item.sender_id.clone());
    row("talk", Some(item.key.clone()).filter(|key| !key.is_empty()));
    row("session", item.session.clone());
    row("answer to", item.answer.as_ref().map(|answer| answer.kind.clone()));
    row("over", item.finished_at.map(|at| when(at, &zone)));
    let put_off = if item.postponed > 0 {
        format!(", put off {} so far", many(item.postponed, "time"))
    } else {
        String::new()
    };
    row("tried next", item.due_at.map(|at| format!("{}{put_off}", when(at, &zone))));
    row("why", item.why.clone());
    match (&item.run, &item.text) {
        (Some(run), _) => {
            let _ = writeln!(text, "\nIt is run {run} of the API.");
        }
        (None, Some(said)) => {
            text.push('\n');
            for line in said.lines() {
                let _ = writeln!(text, "{}", format!("  {line}").trim_end());
            }
        }
        (None, None) => text += "\nWhat it said is not kept any more.\n",
    }
    out.write(&text)?;
    Ok(exit::OK)
}

/// Says what stays as it is, and why.
fn told(changed: &Changed) -> u8 {
    for kept in &changed.kept {
        output::warn(&format!("message {} stays as it is: {}", kept.id, kept.why));
    }
    if changed.kept.is_empty() { exit::OK } else { exit::FAILURE }
}

fn retry(selection: &Selection, call: &Call, ids: &[i64], out: &mut Output) -> Result<u8, HermesError> {
    if ids.is_empty() {
        out.line("Nothing failed, and nothing was put off.")?;
        return Ok(exit::OK);
    }
    let is_served = stored::is_served(selection, &call.env)?;
    let changed = stored::change_each(selection, &call.env, ids, |items| Change::Retry { items })?;
    for done in &changed.done {
        out.line(&format!("✓ Message {} is tried again", done.id))?;
    }
    if !changed.done.is_empty() && !is_served {
        output::note("no gateway serves the profile now: it is tried when one does");
    }
    Ok(told(&changed))
}

fn give_up(
    selection: &Selection,
    look: Option<Look>,
    call: &Call,
    ids: &[i64],
    yes: bool,
    out: &mut Output,
) -> Result<u8, HermesError> {
    if ids.is_empty() {
        out.line("Nothing failed.")?;
        return Ok(exit::OK);
    }
    if !yes {
        let known: Vec<Item> =
            items(look.as_ref(), true)?.into_iter().filter(|item| ids.contains(&item.id)).collect();
        if !known.is_empty() {
            out.write(&table(&known, out.width().unwrap_or(WIDTH)))?;
        }
    }
    drop(look);
    let question = match ids {
        [one] => format!("Drop message {one}? Nobody is answered."),
        _ => format!("Drop {} messages? Nobody is answered.", ids.len()),
    };
    if !confirmed(&question, yes, out)? {
        return Ok(exit::FAILURE);
    }
    let changed = stored::change_each(selection, &call.env, ids, |items| Change::Drop { items })?;
    for done in &changed.done {
        out.line(&format!("✓ Message {} is dropped", done.id))?;
    }
    Ok(told(&changed))
}
