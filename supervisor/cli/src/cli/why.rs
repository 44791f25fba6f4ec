//! `hermes why`: why a profile is as it is, and what can be done.

use clap::{Args, ValueHint};
use hermes_host::zone;
use hermes_wire::exit;

use super::output::Output;
use super::{Call, status};
use crate::error::HermesError;
use crate::home::SelectionError;
use crate::why;

/// Arguments of `hermes why`.
#[derive(Debug, Args)]
#[command(
    after_help = "Works with a gateway and without. Of what has changed in `config.yaml` and `.env` since the profile was last well, \
    names are shown and no values.\n\nExamples:\n  hermes why coder\n  hermes why coder --json | jq -r '.steps[]'"
)]
pub(super) struct WhyArgs {
    /// The profile [default: the one in `active_profile`, else `default`].
    #[arg(value_name = "NAME", value_hint = ValueHint::Other)]
    pub(super) name: Option<String>,
    /// For programs: everything, in a form that only ever gains fields.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub(super) fn run(args: &WhyArgs, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let name = &selection.profile;
    let status = status::look(&selection, Some(name), &call.env);
    let Some(why) = why::of(&status, &selection.root, name) else {
        let home = selection.home().path().to_owned();
        return Err(SelectionError::Missing { name: name.clone(), home, known: Vec::new() }.into());
    };
    if args.json {
        let text = serde_json::to_string_pretty(&why).expect("strings and integers always serialise");
        out.line(&text)?;
    } else {
        out.write(&why::human(&why, &zone::system(), call.env.colors()))?;
    }
    Ok(exit::OK)
}
