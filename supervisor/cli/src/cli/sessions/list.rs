//! `hermes sessions list` and `search`.

use std::fmt::Write as _;

use clap::{Args, ValueHint};
use hermes_host::clock;
use hermes_wire::exit;
use hermes_worker::stored::{By, Hit, Searched, Session, Tokens, Wanted};
use jiff::Zoned;
use serde_json::{Value, json};

use super::super::Call;
use super::super::output::{self, Output};
use super::look;
use super::words::{ago, flat, iso};
use crate::columns::{cut, pad, width};
use crate::error::{HermesError, StoredError};

/// Columns where the width is not known, and the least that a preview gets.
const WIDTH: usize = 110;
const LEAST: usize = 20;
/// Widest workspace.
const WORKSPACE: usize = 24;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those that came this way: cli, telegram, webhook, cron, …
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::Other)]
    source: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Only those whose directory has this in its path.
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    workspace: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// What to look for.
    #[arg(value_name = "WORD", required = true, value_hint = ValueHint::Other)]
    words: Vec<String>,
    /// Only in sessions that came this way.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::Other)]
    source: Option<String>,
    /// At most so many messages.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let wanted = Wanted {
        source: args.source.clone(),
        workspace: args.workspace.clone(),
        // One more tells whether there are more.
        limit: Some(args.limit.saturating_add(1)),
    };
    let mut sessions = look.map_or(Ok(Vec::new()), |look| look.list(&wanted)).map_err(StoredError::from)?;
    let most = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let is_cut = sessions.len() > most;
    sessions.truncate(most);
    if args.json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "home": selection.home().path(),
            "more": is_cut,
            "sessions": sessions.iter().map(value).collect::<Vec<_>>(),
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if sessions.is_empty() {
        out.line("No sessions found.")?;
        return Ok(exit::OK);
    }
    out.write(&table(&sessions, out.width().unwrap_or(WIDTH), &clock::local()))?;
    if is_cut {
        output::note(&format!(
            "there are more; `--limit {}` shows twice as many",
            args.limit.saturating_mul(2)
        ));
    }
    Ok(exit::OK)
}

/// A session for programs.
pub(super) fn value(session: &Session) -> Value {
    let Tokens { input, output, cache_read, cache_write, reasoning } = session.tokens;
    json!({
        "id": session.id,
        "source": session.source,
        "title": session.title,
        "preview": session.preview,
        "workspace": session.workspace,
        "model": session.model,
        "started_at": iso(session.started_at),
        "last_active": iso(session.last_active),
        "ended_at": session.ended_at.map(iso),
        "end_reason": session.end_reason,
        "messages": session.messages,
        "tool_calls": session.tool_calls,
        "tokens": {
            "input": input,
            "output": output,
            "cache_read": cache_read,
            "cache_write": cache_write,
            "reasoning": reasoning,
        },
    })
}

/// What stands for a session: its title, else what was asked first.
pub(super) fn name(session: &Session) -> String {
    let name = session.title.as_deref().or(session.preview.as_deref()).map(flat);
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "-".to_owned())
}

fn table(sessions: &[Session], columns: usize, now: &Zoned) -> String {
    let directory = |session: &Session| {
        let path = session.workspace.as_deref().unwrap_or_default().trim_end_matches('/');
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let has_workspace = sessions.iter().any(|session| session.workspace.is_some());
    let rows: Vec<[String; 5]> = sessions
        .iter()
        .map(|session| {
            let place =
                Some(directory(session)).filter(|name| !name.is_empty()).unwrap_or_else(|| "-".to_owned());
            [
                name(session),
                cut(&place, WORKSPACE),
                ago(session.last_active, now),
                session.source.clone(),
                session.id.clone(),
            ]
        })
        .collect();
    let titles = ["Preview", "Workspace", "Last Active", "Src", "ID"];
    let shown: Vec<usize> = (0..5).filter(|at| has_workspace || *at != 1).collect();
    let mut widths = titles.map(width);
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            widths[at] = widths[at].max(width(cell));
        }
    }
    let others: usize = shown.iter().skip(1).map(|at| widths[*at] + 2).sum();
    widths[0] = widths[0].min(columns.saturating_sub(others).max(LEAST));
    let line = |row: [&str; 5]| {
        let cells = shown.iter().map(|at| pad(&cut(row[*at], widths[*at]), widths[*at], false));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let total: usize = shown.iter().map(|at| widths[*at] + 2).sum::<usize>() - 2;
    let mut text = format!("{}\n{}\n", line(titles), "─".repeat(total));
    for row in &rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line([&row[0], &row[1], &row[2], &row[3], &row[4]]));
    }
    text
}

pub(super) fn search(args: &SearchArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let words = args.words.join(" ");
    let nothing = Searched { by: By::Index, hits: Vec::new() };
    let found = look.map_or(Ok(nothing), |look| look.search(&words, args.source.as_deref(), args.limit));
    let found = found.map_err(StoredError::from)?;
    if found.by == By::ReadingForLack {
        output::warn(
            "the search index is missing or stale, so every message was read; `hermes sessions repair` makes it anew",
        );
    }
    if args.json {
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "query": words,
            "by_index": found.by == By::Index,
            "hits": found.hits.iter().map(hit).collect::<Vec<_>>(),
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if found.hits.is_empty() {
        out.line("No matching sessions found.")?;
        return Ok(exit::OK);
    }
    let (now, colors) = (clock::local(), call.env.colors());
    let mut text = String::new();
    for hit in &found.hits {
        let title = hit.title.as_deref().map(|title| format!("  {}", flat(title))).unwrap_or_default();
        let _ = writeln!(text, "{}  {}  {}  {}{title}", hit.session, hit.source, ago(hit.at, &now), hit.role);
        let _ = writeln!(text, "  {}", marked(hit, colors));
    }
    out.write(&text)?;
    Ok(exit::OK)
}

fn hit(hit: &Hit) -> Value {
    json!({
        "session": hit.session,
        "source": hit.source,
        "title": hit.title,
        "message": hit.message,
        "role": hit.role,
        "at": iso(hit.at),
        "text": hit.pieces.iter().map(|(_, text)| text.as_str()).collect::<String>(),
        "matches": hit.pieces.iter().filter(|(is_hit, _)| *is_hit).map(|(_, text)| text).collect::<Vec<_>>(),
    })
}

/// What was found on one line, the hits in bold where there are colours.
fn marked(hit: &Hit, colors: bool) -> String {
    let mut text = String::new();
    for (is_hit, piece) in &hit.pieces {
        let piece: String = piece.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if *is_hit && colors {
            let _ = write!(text, "\u{1b}[1m{piece}\u{1b}[0m");
        } else {
            text.push_str(&piece);
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, title: Option<&str>, workspace: Option<&str>) -> Session {
        Session {
            id: id.to_owned(),
            source: "cli".to_owned(),
            title: title.map(str::to_owned),
            preview: Some("what is\nthe door code?".to_owned()),
            workspace: workspace.map(str::to_owned),
            model: None,
            started_at: 1_795_223_999.0,
            last_active: 1_795_223_999.0,
            ended_at: None,
            end_reason: None,
            messages: 2,
            tool_calls: 0,
            tokens: Tokens::default(),
        }
    }

    #[test]
    fn the_columns_are_those_of_0_19_0() {
        let now: Zoned = "2026-11-21T01:20:59+00:00[UTC]".parse().unwrap();
        let plain = table(&[session("20261121_011956_f39954", None, None)], 80, &now);
        assert_eq!(
            plain,
            "Preview                 Last Active  Src  ID\n\
             ────────────────────────────────────────────────────────────────\n\
             what is the door code?  1m ago       cli  20261121_011956_f39954\n"
        );
        let long = "模型".repeat(30);
        let both = [session("a", Some(&long), Some("/home/user/work/")), session("b", None, None)];
        let text = table(&both, 60, &now);
        assert!(text.starts_with("Preview") && text.contains("Workspace  Last Active  Src  ID\n"), "{text}");
        assert!(text.contains("…") && text.contains("  work ") && text.contains("  - "), "{text}");
        assert!(text.lines().all(|line| width(line) <= 60), "{text}");
    }
}
