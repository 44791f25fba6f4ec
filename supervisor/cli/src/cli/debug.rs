//! `hermes debug turn` and `hermes dump`: the requests that a profile's worker makes of its provider, as they are sent.

use std::fmt::Write as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueHint};
use hermes_wire::exit;
use hermes_wire::terminal::{LAST_REQUEST, REQUESTS, Said, Sent};

use super::Call;
use super::interrupt::Interrupt;
use super::output::{self, Output};
use crate::chat::line::{Heard, Line};
use crate::chat::sent::{readable, write};
use crate::chat::way::Way;
use crate::error::{ChatError, HermesError};

/// Time between two looks at whether somebody wants to leave.
const LOOK: Duration = Duration::from_millis(40);

#[derive(Debug, Args)]
pub(super) struct DebugArgs {
    #[command(subcommand)]
    command: DebugCommand,
}

#[derive(Debug, Subcommand)]
enum DebugCommand {
    /// Show the last request that was made of the provider, byte for byte, secrets masked.
    Turn(TurnArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "The worker of the gateway keeps its last request in memory, up to 1 MB of it, and writes nothing down.\n\
    Without a gateway, `hermes chat -q TEXT --dump FILE` keeps the requests of one question.\n\n\
    Examples:\n  hermes debug turn\n  hermes -p coder dump --next\n  hermes dump --follow --json | jq .body"
)]
pub(super) struct TurnArgs {
    /// Only of this session.
    #[arg(value_name = "SESSION", value_hint = ValueHint::Other)]
    session: Option<String>,
    /// Wait for the next request.
    #[arg(long, conflicts_with = "follow")]
    next: bool,
    /// Show every request from now on, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// For programs: one JSON object a line, the body as text in `body`.
    #[arg(long)]
    json: bool,
    /// Write it into this file, which nobody else can read.
    #[arg(short, long, value_name = "FILE", conflicts_with = "follow", value_hint = ValueHint::FilePath)]
    output: Option<Utf8PathBuf>,
}

/// `hermes debug`.
pub(super) fn run(args: &DebugArgs, call: &Call) -> Result<u8, HermesError> {
    let DebugCommand::Turn(args) = &args.command;
    turn(args, call)
}

/// `hermes debug turn`.
pub(super) fn turn(args: &TurnArgs, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let profile = selection.profile.clone();
    let mut way = Way::to_served(&selection, &call.env)?;
    let stream = way.connect().map_err(|source| ChatError::Gateway { profile: profile.clone(), source })?;
    let waits = args.next || args.follow;
    let path = if waits { REQUESTS } else { LAST_REQUEST };
    let which =
        args.session.as_ref().map(|session| format!("?session={}", encoded(session))).unwrap_or_default();
    let interrupt = Interrupt::new();
    let mut line = Line::ask(stream, "GET", &format!("{path}{which}"), b"");
    let mut out = Output::stdout();
    let mut is_first = true;
    loop {
        if interrupt.came_within(Duration::ZERO) {
            return if args.follow { Ok(exit::OK) } else { Err(left()) };
        }
        let said = match line.next(LOOK) {
            Heard::Nothing => continue,
            Heard::NotFound => return Err(ChatError::Older { profile }.into()),
            Heard::End => {
                let why = "its worker has ended or was replaced while it was looked at".to_owned();
                return Err(ChatError::Silent { profile, why }.into());
            }
            Heard::Line(said) => said,
        };
        match said {
            Said::Request(sent) => {
                let text = if args.json { json(&sent) } else { readable(&sent) };
                if let Some(path) = &args.output {
                    write(path, &text)?;
                    out.line(&format!("✓ Wrote {path}"))?;
                } else {
                    if !is_first && !args.json {
                        out.line("")?;
                    }
                    out.line(text.trim_end_matches('\n'))?;
                }
                if !args.follow {
                    return Ok(exit::OK);
                }
            }
            Said::Failed { code, message, .. } if code == "no_request" => {
                let hint = "`hermes debug turn --next` waits for the next one".to_owned();
                return Err(ChatError::Failed { code, message, hint: Some(hint) }.into());
            }
            Said::Failed { code, message, hint, .. } => {
                return Err(ChatError::Failed { code, message, hint }.into());
            }
            Said::Lost { requests } => {
                output::warn(&format!("{requests} requests came too fast to be shown"));
            }
            Said::Alive if is_first && args.next && output::stderr_is_terminal() => {
                output::note("waiting for the next request; Ctrl-C ends this");
            }
            _ => continue,
        }
        is_first = false;
    }
}

fn left() -> HermesError {
    HermesError::Interrupted { state: "no request was made meanwhile", hint: None }
}

fn json(sent: &Sent) -> String {
    serde_json::to_string(sent).unwrap_or_default()
}

/// A text as part of a query.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_any_name_can_be_asked_for() {
        assert_eq!(encoded("a b/ä"), "a%20b%2F%C3%A4");
    }
}
