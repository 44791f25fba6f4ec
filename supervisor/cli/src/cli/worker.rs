//! `hermes worker`: a supervisor's child, a worker for debugging, or one that does a single thing.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::Args;
use hermes_wire::{ProfileHome, ProfileName};
use hermes_worker::{Mode, WorkerArgs};

use crate::error::HermesError;
use crate::home::{self, SelectionError, Surroundings};

#[derive(Debug, Default, Args)]
pub(super) struct WorkerFlags {
    /// Address of its HTTP listener [default: any free port on 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Print the webhook routes of this profile's file that belong to another profile, as JSON.
    #[arg(long, value_name = "NAME", hide = true)]
    routes_for: Option<String>,
    /// Move the sessions of a renamed home to its name.
    #[arg(long, hide = true)]
    settle_identity: bool,
    /// Ask the services of its platforms, or of the one of this name, and print what came of it, as JSON.
    #[arg(long, hide = true, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    ask_platforms: Option<String>,
    /// For that: whether the gateway has a port on which services can call.
    #[arg(long, hide = true, value_name = "BOOL")]
    webhooks: Option<bool>,
    /// Ask the provider once and print what came of it, as JSON.
    #[arg(long, hide = true)]
    ask_provider: bool,
    /// Ask the provider, or the one of this name, for its models, and print them as JSON.
    #[arg(long, hide = true, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    ask_models: Option<String>,
    /// Answer one command, whose connection is standard input.
    #[arg(long, hide = true)]
    terminal: bool,
    /// Try what can be around programs that the profile starts, or only that one, and print what came of it, as JSON.
    #[arg(long, hide = true, value_name = "RUNG", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    try_fence: Option<String>,
}

/// The profile, where the command line is exactly what a supervisor starts a worker with. A hundred of them start at once, and to
/// know every command there is costs as much as reading the profile's configuration.
pub(super) fn spawned(args: &[OsString]) -> Option<&str> {
    match args {
        [_, command, flag, name] if command == "worker" && flag == "--profile" => name.to_str(),
        _ => None,
    }
}

/// What a worker is to be.
pub(super) fn request(
    args: &WorkerFlags,
    flag: Option<&str>,
    supervised: bool,
    env: &Surroundings,
) -> Result<WorkerArgs, HermesError> {
    let named = |name: &str| ProfileName::from_user_input(name).map_err(SelectionError::Name);
    let routes_for = args.routes_for.as_deref().map(named).transpose()?;
    // A supervisor says exactly which home; nothing is looked for and nothing is guessed.
    if supervised && let (Some(flag), Some(home)) = (flag, &env.hermes_home) {
        let profile = named(flag)?;
        let mode = routes_for.map_or(Mode::Supervised, Mode::RoutesFor);
        return Ok(WorkerArgs { profile, home: ProfileHome::new(home.clone()), mode });
    }
    let selection = home::select(flag, env)?.strict()?;
    let filled = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
    let mode = if let Some(name) = routes_for {
        Mode::RoutesFor(name)
    } else if args.settle_identity {
        Mode::SettleIdentity
    } else if args.ask_provider {
        Mode::AskProvider
    } else if let Some(name) = &args.ask_platforms {
        Mode::AskPlatforms { only: filled(name), webhooks: args.webhooks }
    } else if let Some(provider) = &args.ask_models {
        Mode::AskModels { provider: filled(provider) }
    } else if args.terminal {
        Mode::Terminal
    } else if let Some(rung) = &args.try_fence {
        Mode::TryFence(rung.clone())
    } else {
        super::gateway::refuse_if_served_for_debugging(&selection, env)?;
        Mode::Standalone { http: args.http }
    };
    Ok(WorkerArgs { home: selection.home(), profile: selection.profile, mode })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn a_supervisor_starts_exactly_this() {
        let args = ["hermes-gateway", "worker", "--profile", "coder"].map(OsString::from).to_vec();
        assert_eq!(spawned(&args), Some("coder"));
        let more = ["--routes-for", "main"].map(OsString::from);
        assert_eq!(spawned(&[args.clone(), more.to_vec()].concat()), None, "the parser knows more");
        let (rest, flag) = super::super::take_profile_flag(args).unwrap();
        let Command::Worker(args) = Cli::try_parse_from(rest).unwrap().command else { panic!("worker") };
        let env = Surroundings { hermes_home: Some("/h/profiles/coder".into()), ..Surroundings::bare() };
        for args in [args, WorkerFlags::default()] {
            let request = request(&args, flag.as_deref(), true, &env).unwrap();
            assert_eq!(
                (request.profile.as_str(), request.home.path().as_str(), request.mode),
                ("coder", "/h/profiles/coder", Mode::Supervised)
            );
        }
    }
}
