//! What commands say.

use std::fmt::Write as _;

use hermes_config::access::Listed;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Inner;
use super::table;
use crate::inbound::Source;
use crate::session::chosen::{self, Chosen};
use crate::session::{epoch, routing};

/// Most skills that are listed.
const LISTED: usize = 50;

/// `/status`
pub(super) fn status(db: &Connection, inner: &Inner, key: &str) -> rusqlite::Result<String> {
    let mut text = format!(
        "Profile: {}\n{}\n",
        inner.profile,
        model_line(inner, &chosen::find(db, &inner.scopes, key)?)
    );
    let found = routing::find(db, &inner.scopes, key)?;
    let session: Option<(String, i64, f64)> = match found.as_ref().and_then(|found| found.session_id()) {
        Some(id) => db
            .prepare_cached(
                "SELECT id, message_count, started_at FROM sessions WHERE id = ?1 AND ended_at IS NULL",
            )?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?,
        None => None,
    };
    // Writing to a string cannot fail.
    let _ = match session {
        Some((id, messages, since)) => {
            writeln!(text, "Conversation: {id}, {messages} messages, begun {} ago", ago(epoch() - since))
        }
        None => writeln!(text, "Conversation: none yet"),
    };
    let (running, waiting): (bool, i64) = db
        .prepare_cached(
            "SELECT COALESCE(max(state = 'claimed'), 0), COALESCE(sum(state <> 'claimed'), 0) FROM hermes_inbox
             WHERE session_key = ?1 AND finished_at IS NULL",
        )?
        .query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let now = if running { "an answer is being made" } else { "nothing runs" };
    let _ = match waiting {
        0 => write!(text, "Now: {now}"),
        1 => write!(text, "Now: {now}; 1 message waits"),
        n => write!(text, "Now: {now}; {n} messages wait"),
    };
    Ok(text)
}

pub(super) fn ago(seconds: f64) -> String {
    let seconds = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn may(tier: Option<&Listed>, name: &str) -> bool {
    table::is_always_allowed(name) || tier.is_none_or(|tier| tier.holds(name))
}

/// `/help`: what the sender may.
pub(super) fn help(tier: Option<&Listed>) -> String {
    let mut text = "Write to me as you like; these are commands:\n".to_owned();
    for command in table::shown().filter(|command| may(tier, command.name)) {
        let arguments =
            if command.arguments.is_empty() { String::new() } else { format!(" {}", command.arguments) };
        let _ = write!(text, "\n/{}{arguments} - {}", command.name, command.about);
    }
    text
}

/// `/commands`: the same, and the skills.
pub(super) fn commands(tier: Option<&Listed>, skills: &[String]) -> String {
    let mut text = help(tier);
    let mut skills = skills.iter().filter(|name| may(tier, name)).peekable();
    if skills.peek().is_some() {
        text.push_str("\n\nSkills:\n");
    }
    let all: Vec<_> = skills.collect();
    for name in all.iter().take(LISTED) {
        let _ = write!(text, "\n/{name}");
    }
    if all.len() > LISTED {
        let _ = write!(text, "\n… and {} more", all.len() - LISTED);
    }
    text
}

/// `/whoami`
pub(super) fn whoami(source: &Source, tier: Option<&Listed>) -> String {
    let id = source.user_id.as_deref().or(source.user_id_alt.as_deref()).unwrap_or("without an id");
    let name = source.user_name.as_deref().unwrap_or("without a name");
    let chat = source.chat_id.as_deref().unwrap_or("none");
    let mut text =
        format!("You are {name} ({id}) on {}, in the chat {chat} ({}).\n", source.platform, source.chat_type);
    match tier {
        None => text.push_str("You may give every command."),
        Some(tier) if tier.all => text.push_str("You may give every command."),
        Some(tier) => {
            let all = tier.ids.iter().map(String::as_str).chain(["help", "whoami"]);
            let all: std::collections::BTreeSet<String> = all.map(|name| format!("/{name}")).collect();
            let _ =
                write!(text, "Of commands you may give {}.", all.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    text
}

/// Which model answers the next message.
fn model_line(inner: &Inner, chosen: &Chosen) -> String {
    let name = chosen.model.as_ref().map_or(inner.model.as_str(), |choice| choice.model.as_str());
    format!("Model: {name}")
}

/// `/status` in the conversation `id` of a terminal.
pub(super) fn status_of(
    db: &Connection,
    inner: &Inner,
    id: &str,
    chosen: &Chosen,
) -> rusqlite::Result<String> {
    let found: Option<(i64, f64)> = db
        .prepare_cached("SELECT message_count, started_at FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let conversation = match found {
        Some((messages, since)) => format!("{id}, {messages} messages, begun {} ago", ago(epoch() - since)),
        None => format!("{id}, which begins with your first message"),
    };
    let asked = if chosen.unasked { "\nNobody is asked before something dangerous is done." } else { "" };
    Ok(format!(
        "Profile: {}\n{}\nConversation: {conversation}{asked}",
        inner.profile,
        model_line(inner, chosen)
    ))
}

/// `/model`
pub(super) fn model(inner: &Inner, chosen: &Chosen) -> String {
    let Some(choice) = &chosen.model else { return format!("Model: {}", inner.model) };
    let provider = choice.provider.as_ref().map(|provider| format!(" ({provider})")).unwrap_or_default();
    format!(
        "Model: {}{provider}, for this conversation\nOtherwise: {}\n/model reset goes back to it.",
        choice.model, inner.model
    )
}

/// `/platform list`
pub(super) fn platforms(all: &[(String, String)]) -> String {
    let lines: Vec<String> = all.iter().map(|(name, how)| format!("{name}: {how}")).collect();
    if lines.is_empty() { "This profile is connected to nothing.".to_owned() } else { lines.join("\n") }
}

/// What 0.19.0 has and is not here.
pub(super) fn absent(name: &str) -> String {
    format!("`/{name}` is not supported by this gateway. /commands says what is.")
}

/// `/sethome`
pub(super) fn home_is_set(source: &Source) -> String {
    let chat = source.chat_name.as_deref().or(source.chat_id.as_deref()).unwrap_or_default();
    format!("This chat ({chat}) is the home channel of {} now.", source.platform)
}
