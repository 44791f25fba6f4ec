//! `hermes sessions show` and `stats`.

use std::fmt::Write as _;

use clap::{Args, ValueHint};
use hermes_host::zone;
use hermes_wire::exit;
use hermes_worker::stored::{Line, Session};
use jiff::tz::TimeZone;
use serde_json::json;

use super::super::Call;
use super::super::output::{self, Output};
use super::words::{grouped, iso, many, size, when};
use super::{find, look};
use crate::error::{HermesError, StoredError};

/// Lines and characters of a tool's result, and characters of its arguments, that are shown unless everything is wanted.
const LINES: usize = 6;
const CHARS: usize = 600;
const ARGUMENTS: usize = 160;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The session: its id, the beginning of it, or its title.
    #[arg(value_name = "SESSION", value_hint = ValueHint::Other)]
    session: String,
    /// Only the last so many messages.
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Calls and results of tools whole.
    #[arg(long)]
    full: bool,
    /// For programs: as `export` writes it.
    #[arg(long, conflicts_with_all = ["last", "full"])]
    json: bool,
}

pub(super) fn run(args: &ShowArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (_, look) = look(call)?;
    let id = find(look.as_ref(), &args.session)?;
    let gone = || HermesError::from(StoredError::NoSession { name: args.session.clone() });
    let look = look.ok_or_else(gone)?;
    if args.json {
        let value = look.export(&id).map_err(StoredError::from)?.ok_or_else(gone)?;
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    let session = look.session(&id).map_err(StoredError::from)?.ok_or_else(gone)?;
    let lines = look.messages(&id).map_err(StoredError::from)?;
    let zone = zone::system();
    out.write(&head(&session, &zone))?;
    let left_out = args.last.map_or(0, |last| lines.len().saturating_sub(last));
    if left_out > 0 {
        out.line(&format!("\n  … {} before", many(i64::try_from(left_out).unwrap_or(i64::MAX), "message")))?;
    }
    let mut cut = false;
    for line in lines.iter().skip(left_out) {
        let (text, is_cut) = said(line, args.full, &zone);
        cut |= is_cut;
        out.write(&text)?;
    }
    if cut {
        output::note("what tools were given and said is shortened; `--full` shows it whole");
    }
    Ok(exit::OK)
}

fn head(session: &Session, zone: &TimeZone) -> String {
    let mut text = format!("Session {}\n", session.id);
    let mut row = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    if let Some(title) = &session.title {
        row("title", title);
    }
    let model = session.model.as_deref().map(|model| format!(", model {model}")).unwrap_or_default();
    row("source", &format!("{}{model}", session.source));
    if let Some(workspace) = &session.workspace {
        row("directory", workspace);
    }
    row("began", &when(session.started_at, zone));
    row("last used", &when(session.last_active, zone));
    if let Some(ended) = session.ended_at {
        let why = session.end_reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        row("ended", &format!("{}{why}", when(ended, zone)));
    }
    row("size", &format!("{}, {}", many(session.messages, "message"), many(session.tool_calls, "tool call")));
    let tokens = session.tokens;
    row(
        "tokens",
        &format!(
            "{} in, {} from the cache, {} out",
            grouped(tokens.input),
            grouped(tokens.cache_read),
            grouped(tokens.output)
        ),
    );
    text
}

/// A message, and whether something of it is left out.
fn said(line: &Line, full: bool, zone: &TimeZone) -> (String, bool) {
    let who = match (line.role.as_str(), &line.tool) {
        ("tool", Some(name)) => format!("tool {name}"),
        (role, _) => role.to_owned(),
    };
    let out = if line.active { "" } else { "  (the model is not told this any more)" };
    let mut text = format!("\n{who}  {}{out}\n", when(line.at, zone));
    let (shown, mut is_cut) =
        if line.role == "tool" && !full { shortened(&line.text) } else { (line.text.clone(), false) };
    for part in shown.lines() {
        let _ = writeln!(text, "{}", format!("  {part}").trim_end());
    }
    for (name, arguments) in &line.calls {
        let is_long = !full && arguments.chars().count() > ARGUMENTS;
        let mut arguments: String =
            if is_long { arguments.chars().take(ARGUMENTS).collect() } else { arguments.clone() };
        if is_long {
            arguments.push('…');
        }
        is_cut |= is_long;
        let _ = writeln!(text, "  → {name} {arguments}");
    }
    (text, is_cut)
}

fn shortened(text: &str) -> (String, bool) {
    let lines = text.lines().take(LINES).collect::<Vec<_>>().join("\n");
    let shown: String = lines.chars().take(CHARS).collect();
    if shown.len() >= text.trim_end().len() {
        return (shown, false);
    }
    (format!("{shown}…"), true)
}

pub(super) fn stats(as_json: bool, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let (selection, look) = look(call)?;
    let Some(look) = look else {
        if as_json {
            let value = json!({"schema": 1, "profile": selection.profile, "sessions": 0, "messages": 0, "sources": []});
            out.line(&format!("{value:#}"))?;
        } else {
            out.line("No sessions found.")?;
        }
        return Ok(exit::OK);
    };
    let counts = look.counts().map_err(StoredError::from)?;
    if as_json {
        let source = |of: &hermes_worker::stored::BySource| json!({"source": of.source, "sessions": of.sessions, "messages": of.messages});
        let value = json!({
            "schema": 1,
            "profile": selection.profile,
            "path": selection.home().state_db(),
            "sessions": counts.sessions,
            "open": counts.open,
            "messages": counts.messages,
            "sources": counts.sources.iter().map(source).collect::<Vec<_>>(),
            "first": counts.span.map(|(first, _)| iso(first)),
            "last": counts.span.map(|(_, last)| iso(last)),
            "bytes": counts.bytes,
            "free_bytes": counts.free_bytes,
            "database_schema": counts.schema,
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    let mut text = format!(
        "Total sessions: {} ({} not ended)\nTotal messages: {}\n",
        grouped(counts.sessions),
        grouped(counts.open),
        grouped(counts.messages)
    );
    for of in &counts.sources {
        let name = if of.source.is_empty() { "(none)" } else { &of.source };
        let _ =
            writeln!(text, "  {name}: {}, {}", many(of.sessions, "session"), many(of.messages, "message"));
    }
    if let Some((first, last)) = counts.span {
        let zone = zone::system();
        let _ = writeln!(text, "From {} to {}", when(first, &zone), when(last, &zone));
    }
    let free = if counts.free_bytes >= 1 << 20 {
        format!(", of which {} are free for new messages", size(counts.free_bytes))
    } else {
        String::new()
    };
    let _ = writeln!(text, "Database size: {}{free}", size(counts.bytes));
    out.write(&text)?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_tools_are_shortened_and_nothing_else_is() {
        let mut line = Line {
            id: 1,
            role: "tool".to_owned(),
            at: 1_795_223_999.0,
            text: "a\n".repeat(9),
            tool: Some("terminal".to_owned()),
            calls: Vec::new(),
            active: true,
        };
        let (text, cut) = said(&line, false, &TimeZone::UTC);
        assert!(
            text.starts_with("\ntool terminal  2026-11-21 01:19:59\n  a\n") && text.ends_with("a…\n") && cut
        );
        assert!(!said(&line, true, &TimeZone::UTC).1);
        line.text = "short\n".to_owned();
        assert_eq!(
            said(&line, false, &TimeZone::UTC),
            ("\ntool terminal  2026-11-21 01:19:59\n  short\n".to_owned(), false)
        );
        line.role = "assistant".to_owned();
        line.active = false;
        line.calls = vec![("memory".to_owned(), "x".repeat(ARGUMENTS + 1))];
        let (text, cut) = said(&line, false, &TimeZone::UTC);
        assert!(
            text.contains("(the model is not told this any more)") && text.contains("→ memory xxx") && cut
        );
    }
}
