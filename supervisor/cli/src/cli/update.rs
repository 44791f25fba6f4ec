//! `hermes update`: a new release, and the skills that come with this one.

pub(super) mod gateways;
mod program;
mod skills;

use clap::Args;
use hermes_gateway::watch;
use hermes_wire::{ProfileName, RootHome, exit};

use super::Call;
use super::output::Output;
use crate::error::HermesError;

#[derive(Debug, Args)]
#[command(
    after_help = "The program is updated where `cargo install` put it there; otherwise the way to do it is named. \
    Skills that you changed or removed stay as they are. A running gateway takes the new release up in place: turns finish, \
    connections wait, process id and ports stay. Where it cannot, the command that restarts it is named.\n\n\
    Exit codes: 0 done, 1 something could not be done, 130 interrupted.\n\n\
    Examples:\n  hermes update --check\n  hermes update\n  hermes update --skills-only"
)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    _whose: super::NotOne,
    /// Only bring the bundled skills of every profile up to date.
    #[arg(long)]
    skills_only: bool,
    /// Only say what would be done.
    #[arg(long)]
    check: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// `hermes update`.
pub(super) fn run(args: &UpdateArgs, call: &Call) -> Result<u8, HermesError> {
    let out = Output::stdout();
    // Every profile is meant, so that a sticky one that is gone does not matter.
    let selection = call.select_and_warn()?;
    let all = Profiles { names: names(&selection.root), root: selection.root };
    match (args.skills_only, args.check) {
        (true, check) => skills::run(&all, check, args.json, out),
        (false, true) => program::check(&all, &call.env, args.json, out),
        (false, false) => program::update(&all, &call.env, args.json, out),
    }
}

/// All profiles of a root home.
#[derive(Debug)]
struct Profiles {
    root: RootHome,
    names: Vec<ProfileName>,
}

/// `default` first, then by name; none where there is no home yet.
fn names(root: &RootHome) -> Vec<ProfileName> {
    if !root.path().is_dir() {
        return Vec::new();
    }
    watch::scan(root).names().cloned().collect()
}

/// The exit code of something that was done as far as it could be.
fn code(good: bool) -> u8 {
    if good { exit::OK } else { exit::FAILURE }
}
