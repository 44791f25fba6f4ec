//! `hermes pairing`: who may talk to a profile's bots because its owner let them in.
//!
//! Everything is read and written in the files of the profile that is meant ([`hermes_host::pairing`]), whether its gateway runs or not: a
//! running one looks at them when the next message comes.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueHint};
use hermes_host::pairing::{Listing, Outcome, Pairing};
use hermes_wire::contract::pairing::{Approved, Pending};
use hermes_wire::exit;
use hermes_wire::text::visible;
use hermes_worker::REGISTRY;
use serde_json::{Value, json};

use super::Call;
use super::output::{self, Output};
use crate::columns::{pad, width};
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::settings::{Draft, SettingsError};

#[derive(Debug, Args)]
pub(super) struct PairingArgs {
    #[command(subcommand)]
    command: PairingCommand,
}

#[derive(Debug, Subcommand)]
enum PairingCommand {
    /// Show who asked to talk to the profile's bots, and who was let in.
    #[command(
        after_help = "Codes are in no file: who asked has his. A request has a name of its own, for `approve --request`.\n\n\
        Examples:\n  hermes pairing list\n  hermes -p coder pairing list --json"
    )]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Let somebody in, by the code that the bot gave him.
    #[command(
        after_help = "Five wrong codes lock a platform for an hour. Exit codes: 0; 1 nobody was let in.\n\n\
        Examples:\n  hermes pairing approve telegram 6PWQY2UH\n  hermes -p coder pairing approve telegram --request 3f2a9c01"
    )]
    Approve {
        /// The platform: `telegram`.
        #[arg(value_name = "PLATFORM", value_hint = ValueHint::Other)]
        platform: String,
        /// The code; letter case does not matter.
        #[arg(value_name = "CODE", value_hint = ValueHint::Other, required_unless_present = "request", conflicts_with = "request")]
        code: Option<String>,
        /// Instead of a code: the name of the request, as `list` shows it.
        #[arg(long, value_name = "REQUEST", value_hint = ValueHint::Other)]
        request: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Take back what was given to somebody.
    #[command(
        after_help = "Exit codes: 0; 1 nobody of that id was let in.\n\nExample:\n  hermes pairing revoke telegram 777"
    )]
    Revoke {
        /// The platform: `telegram`.
        #[arg(value_name = "PLATFORM", value_hint = ValueHint::Other)]
        platform: String,
        /// His id, as `list` shows it.
        #[arg(value_name = "USER_ID", value_hint = ValueHint::Other, allow_hyphen_values = true)]
        user_id: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Forget everybody who asked and was not let in.
    ClearPending {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes pairing`.
pub(super) fn run(args: PairingArgs, call: &Call) -> Result<u8, HermesError> {
    let selection = match args.command {
        PairingCommand::List { .. } => call.select_and_warn()?,
        _ => call.select_strict()?,
    };
    let pairing = Pairing::of(&selection.home());
    let mut out = Output::stdout();
    match args.command {
        PairingCommand::List { json } => {
            let listing = pairing.list(now()).map_err(CommandError::from)?;
            if json {
                let value = shown_to_programs(&selection, &listing);
                out.line(&format!("{value:#}"))?;
            } else {
                out.write(&shown(&listing))?;
            }
            Ok(exit::OK)
        }
        PairingCommand::Approve { platform, code, request, json } => {
            let platform = platform.to_lowercase();
            let (outcome, typed) = match (code, request) {
                (_, Some(request)) => (pairing.approve_request(&platform, &request, now()), request),
                (code, None) => {
                    let code = code.unwrap_or_default();
                    (pairing.approve(&platform, &code, now()), code.trim().to_uppercase())
                }
            };
            let outcome = outcome.map_err(CommandError::from)?;
            approved(&mut out, call, &selection, &platform, &typed, outcome, json)
        }
        PairingCommand::Revoke { platform, user_id, json } => {
            let platform = platform.to_lowercase();
            let was = pairing.revoke(&platform, &user_id).map_err(CommandError::from)?;
            revoked(&mut out, call, &selection, (&platform, &user_id), was, json)
        }
        PairingCommand::ClearPending { json } => {
            let cleared = pairing.clear_pending(now()).map_err(CommandError::from)?;
            out.line(&match (json, cleared) {
                (true, _) => {
                    json!({"schema": 1, "profile": selection.profile, "cleared": cleared}).to_string()
                }
                (false, 0) => "No pending requests to clear.".to_owned(),
                (false, _) => format!("Cleared {cleared} pending pairing request(s)."),
            })?;
            Ok(exit::OK)
        }
    }
}

fn approved(
    out: &mut Output,
    call: &Call,
    selection: &Selection,
    platform: &str,
    typed: &str,
    outcome: Outcome,
    json: bool,
) -> Result<u8, HermesError> {
    let (answer, error) = match outcome {
        Outcome::Approved(person) => {
            let Approved { user_id, user_name, .. } = &person;
            let variable = list(call, selection, platform, user_id, true);
            if json {
                let value = json!({
                    "schema": 1, "profile": selection.profile, "approved": true, "platform": platform,
                    "user_id": user_id, "user_name": user_name, "variable": variable,
                });
                out.line(&value.to_string())?;
                return Ok(exit::OK);
            }
            let who = if user_name.is_empty() { user_id.clone() } else { format!("{user_name} ({user_id})") };
            out.line(&format!("Approved! User {} on {platform} can now use the bot~", visible(&who)))?;
            out.line("They'll be recognized automatically on their next message.")?;
            if let Some(variable) = variable {
                out.line(&format!("{variable} in .env names them as well."))?;
            }
            return Ok(exit::OK);
        }
        Outcome::Unknown => {
            let error = CommandError::NoSuchCode { code: typed.to_owned(), platform: platform.to_owned() };
            ("unknown_code", error)
        }
        Outcome::Locked(seconds) => (
            "locked_out",
            CommandError::LockedOut { platform: platform.to_owned(), minutes: minutes(seconds) },
        ),
    };
    if !json {
        return Err(error.into());
    }
    let value = json!({
        "schema": 1, "profile": selection.profile, "approved": false, "platform": platform,
        "error": {"code": answer, "message": error.to_string()},
    });
    out.line(&value.to_string())?;
    Ok(exit::FAILURE)
}

fn revoked(
    out: &mut Output,
    call: &Call,
    selection: &Selection,
    (platform, user_id): (&str, &str),
    was: bool,
    json: bool,
) -> Result<u8, HermesError> {
    let variable = if was { list(call, selection, platform, user_id, false) } else { None };
    // Who is listed elsewhere may still talk to the bot.
    let still = is_listed(call, selection, platform, user_id);
    if json {
        let value = json!({
            "schema": 1, "profile": selection.profile, "revoked": was, "platform": platform, "user_id": user_id,
            "variable": variable, "still_listed": still,
        });
        out.line(&value.to_string())?;
        return Ok(if was { exit::OK } else { exit::FAILURE });
    }
    if !was {
        let (user_id, platform) = (user_id.to_owned(), platform.to_owned());
        return Err(CommandError::NotApproved { user_id, platform, listed: still }.into());
    }
    out.line(&format!("Revoked access for user {} on {platform}.", visible(user_id)))?;
    if let Some(variable) = variable {
        out.line(&format!("{variable} in .env does not name them any more."))?;
    }
    if still {
        output::warn("an allowlist in config.yaml or .env still names this user, or everybody");
    }
    Ok(exit::OK)
}

/// Keeps `<P>_ALLOWED_USERS` in step, where it is set: whoever is let in is added to it, whoever is not any more is taken out. The name of the
/// variable, where it was changed. What the files of pairing say holds in any case.
fn list(call: &Call, selection: &Selection, platform: &str, user_id: &str, add: bool) -> Option<String> {
    let variable = format!("{}_ALLOWED_USERS", REGISTRY.find(platform)?.prefix);
    match change(call, selection, &variable, user_id, add) {
        Ok(changed) => changed.then_some(variable),
        Err(error) => {
            output::warn(&format!("{variable} in .env stays as it is: {error}"));
            None
        }
    }
}

fn change(
    call: &Call,
    selection: &Selection,
    variable: &str,
    user_id: &str,
    add: bool,
) -> Result<bool, SettingsError> {
    let mut draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
    let Some(said) = draft.variables().get(variable).map(str::to_owned) else { return Ok(false) };
    // What cannot be written into a list is in none.
    if user_id.contains(',') {
        return Ok(false);
    }
    let mut ids: Vec<&str> = said.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.contains(&user_id) == add || (add && (ids.contains(&"*") || ids.is_empty())) {
        return Ok(false);
    }
    if add {
        ids.push(user_id);
    } else {
        ids.retain(|id| *id != user_id);
    }
    draft.set_variable(variable, variable, &ids.join(","))?;
    draft.commit()?;
    if ids.is_empty() {
        output::warn(&format!("{variable} in .env is empty now: nobody is listed there"));
    }
    Ok(true)
}

/// Whether the files let somebody talk to the bot who was not let in by code.
fn is_listed(call: &Call, selection: &Selection, platform: &str, user_id: &str) -> bool {
    let config =
        Draft::open(&selection.root, &selection.profile, &call.env).ok().and_then(|draft| draft.config());
    let access = config.and_then(|config| config.access.get(platform).cloned());
    access.is_some_and(|access| access.users.holds(user_id) || access.everybody)
}

fn shown(listing: &Listing) -> String {
    let Listing { pending, approved } = listing;
    if pending.is_empty() && approved.is_empty() {
        return "No pairing data found. No one has tried to pair yet~\n".to_owned();
    }
    let mut text = String::new();
    if !pending.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Pending Pairing Requests ({}):", pending.len());
        let row = |(platform, one): &(String, Pending)| {
            let age = format!("{}m ago", minutes((now() - one.created_at).max(0.0)).saturating_sub(1));
            vec![platform.clone(), one.request.clone(), one.user_id.clone(), one.user_name.clone(), age]
        };
        table(&mut text, &["Platform", "Request", "User ID", "Name", "Age"], pending.iter().map(row));
        text.push_str("Whoever asked has the code: `hermes pairing approve <platform> <code>`, or `--request <request>`.\n\n");
    }
    if approved.is_empty() {
        text.push_str("No approved users.\n");
        return text;
    }
    let _ = writeln!(text, "Approved Users ({}):", approved.len());
    let row = |(platform, one): &(String, Approved)| {
        vec![platform.clone(), one.user_id.clone(), one.user_name.clone()]
    };
    table(&mut text, &["Platform", "User ID", "Name"], approved.iter().map(row));
    text
}

fn table(text: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads)
        .chain(rows.map(|row: Vec<String>| row.iter().map(|cell| visible(cell).into_owned()).collect()))
        .collect();
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|n| rows.iter().map(|row| width(&row[n])).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width, false));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn shown_to_programs(selection: &Selection, listing: &Listing) -> Value {
    let pending = |(platform, one): &(String, Pending)| {
        json!({
            "platform": platform, "request": one.request, "user_id": one.user_id, "user_name": one.user_name,
            "created_at": one.created_at,
        })
    };
    let approved = |(platform, one): &(String, Approved)| {
        json!({
            "platform": platform, "user_id": one.user_id, "user_name": one.user_name, "approved_at": one.approved_at,
        })
    };
    json!({
        "schema": 1,
        "profile": selection.profile,
        "pending": listing.pending.iter().map(pending).collect::<Vec<_>>(),
        "approved": listing.approved.iter().map(approved).collect::<Vec<_>>(),
    })
}

/// Minutes, begun ones counted.
fn minutes(seconds: f64) -> u64 {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    whole.as_secs() / 60 + 1
}

fn now() -> f64 {
    hermes_host::clock::utc().as_duration().as_secs_f64()
}
