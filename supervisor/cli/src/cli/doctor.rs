//! `hermes doctor`: finds what is wrong, in one profile or in all; exit 1 when something fails.

use clap::Args;
use hermes_wire::exit;

use super::Call;
use super::output::Output;
use crate::doctor::{self, Grade};
use crate::error::HermesError;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing fails (warnings may stand), 1 something fails.\n\n\
    Examples:\n  hermes doctor\n  hermes doctor --online\n  hermes doctor coder --fix\n  \
    hermes doctor --json | jq '.findings[] | select(.grade == \"failure\")'")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) whose: super::OneOfAll,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Ask the provider of each profile as well: its list of models, then for one token; and the services of its chat platforms.
    #[arg(long)]
    online: bool,
    /// Repair what can be repaired without losing anything.
    #[arg(long)]
    fix: bool,
}

/// `hermes doctor`.
pub(super) fn run(args: &DoctorArgs, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let selection = call.select()?;
    let mut findings = doctor::examine(&selection, &call.env, args.online);
    if args.fix {
        doctor::apply(&mut findings);
    }
    let text = if args.json { doctor::json(&findings) } else { doctor::text(&findings, call.env.colors()) };
    out.write(&text)?;
    let fails = findings.iter().any(|f| f.stands() && f.grade == Grade::Failure);
    Ok(if fails { exit::FAILURE } else { exit::OK })
}
