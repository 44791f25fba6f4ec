//! The command line: what can be typed, and where each command goes. No logic of its own.
//!
//! Parsing needs no home, no configuration and no runtime, so `--help`, `--version` and completion answer at once and
//! everywhere.

mod chat;
mod completion;
mod config;
mod confirm;
mod debug;
mod demo;
mod doctor;
mod events;
mod gateway;
mod inbox;
mod insights;
mod interrupt;
mod json;
mod logs;
mod man;
mod mcp;
mod memory;
mod model;
mod output;
mod pairing;
mod profile;
mod sessions;
mod setup;
mod skills;
mod status;
mod target;
#[cfg(test)]
mod texts;
mod tools;
mod top;
mod update;
mod whatsapp;
mod why;
mod worker;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};
use hermes_gateway::app::lifeline;
use hermes_wire::exit;
use hermes_worker::WorkerArgs;

use crate::color::Color;
use crate::error::HermesError;
use crate::home::{self, SelectionError, Surroundings};
use crate::profile::alias::{AliasDir, AliasError};
use crate::report::report;
use crate::service;
use completion::engine::At;
use output::Output;

/// Name a supervised worker is started under, which existing readers of status files recognise.
const WORKER_NAME: &str = "hermes-gateway";

/// `0.1.0 (3f2a9c01de 2026-11-28) x86_64-unknown-linux-gnu`; no commit where the program was not built from a repository.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("HERMES_COMMIT"), " ", env!("HERMES_TARGET"));

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// One gateway for all your profiles: one service, one listener, one process for each profile.
#[derive(Debug, Parser)]
#[command(
    name = "hermes",
    version,
    long_version = VERSION,
    styles = STYLES,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        hermes demo                         try it: three profiles, no keys, removed afterwards\n  \
        hermes                              talk with the profile, on a terminal\n  \
        hermes chat -q 'who are you?'       ask the profile one thing\n  \
        hermes gateway run                  run the gateway in the foreground\n  \
        hermes status                       who runs, since when, why not\n  \
        hermes gateway restart coder        replace one profile's worker without a gap\n\n\
        Homes: HERMES_HOME, else ~/.hermes; a profile lives in <root>/profiles/<name>."
)]
pub struct Cli {
    /// The profile to work with [default: the one in `active_profile`, else `default`].
    #[arg(short, long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    profile: Option<String>,
    /// When to colour the output.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Talk with a profile, or ask it one thing.
    Chat(chat::ChatArgs),
    /// Run the gateway, or act on the one that runs.
    #[command(args_conflicts_with_subcommands = true)]
    Gateway(gateway::GatewayArgs),
    /// Show what runs, since when, and why not.
    Status(StatusArgs),
    /// Mission control: all profiles as they are, on a terminal, with one key for what is usually done about one.
    Top(top::TopArgs),
    /// Show what has happened: every change of state, why, and who wanted it.
    Events(events::EventsArgs),
    /// Show why a profile is as it is, and what can be done.
    Why(why::WhyArgs),
    /// Read the logs: of a profile, or of all and the gateway merged by time.
    Logs(logs::LogsArgs),
    /// Run the worker of one profile alone, without a gateway, to debug it.
    #[command(
        after_help = "Examples:\n  hermes worker -p coder\n  hermes worker -p coder --http 127.0.0.1:8700\n\n\
        A worker that a gateway started can be talked to as it is:\n  \
        curl --unix-socket \"$(hermes status -p coder --json | jq -r '.profiles[0].data_socket')\" http://worker/health"
    )]
    Worker(worker::WorkerFlags),
    /// Try it: a throw-away home with three profiles that need no key; Ctrl-C removes it.
    #[command(
        after_help = "Prints commands to paste into a second terminal. Nothing outside a temporary directory is touched."
    )]
    Demo(DemoArgs),
    /// Make, copy, show, rename, move and delete profiles.
    #[command(args_conflicts_with_subcommands = true)]
    Profile(profile::ProfileArgs),
    /// Show and change the configuration of a profile.
    #[command(args_conflicts_with_subcommands = true)]
    Config(config::ConfigArgs),
    /// Set up a profile: provider, key, model, platforms.
    Setup(setup::SetupArgs),
    /// Show and choose the model that a profile talks to.
    #[command(args_conflicts_with_subcommands = true)]
    Model(model::ModelArgs),
    /// Let people talk to a profile's bots, show who may, and take it back.
    Pairing(pairing::PairingArgs),
    /// Put the bridge to WhatsApp in place, and link the profile's account to it.
    Whatsapp(whatsapp::WhatsappArgs),
    /// Show what a profile keeps between sessions.
    Memory(memory::MemoryArgs),
    /// Conversations: list, read, search, export, rename and delete them.
    Sessions(sessions::SessionsArgs),
    /// Show what was used: tokens, money, sessions, by profile, day and model.
    Insights(insights::InsightsArgs),
    /// What came in and waits for its answer, or got none.
    Inbox(inbox::InboxArgs),
    /// Show the skills of a profile.
    Skills(skills::SkillsArgs),
    /// Tool servers: programs and addresses that bring a profile's model more tools (Model Context Protocol).
    Mcp(mcp::McpArgs),
    /// Show which tools the model of a profile is offered, and by whom it is asked.
    #[command(args_conflicts_with_subcommands = true)]
    Tools(tools::ToolsArgs),
    /// Update this installation, and the skills that come with it.
    Update(update::UpdateArgs),
    /// Find what is wrong, in one profile or in all.
    Doctor(doctor::DoctorArgs),
    /// Look into a profile's worker.
    Debug(debug::DebugArgs),
    /// The same as `hermes debug turn`: the last request that was made of the provider.
    Dump(debug::TurnArgs),
    /// Print a completion script for your shell.
    #[command(after_help = "Examples:\n  \
        eval \"$(hermes completion bash)\"      in ~/.bashrc\n  \
        eval \"$(hermes completion zsh)\"       in ~/.zshrc\n  \
        hermes completion fish > ~/.config/fish/completions/hermes.fish")]
    Completion(completion::CompletionArgs),
    /// Waits for the end of a gateway.
    #[command(name = hermes_gateway::guard::COMMAND, hide = true)]
    Guard,
    /// Print the manual page, or write the pages of all commands.
    Man(man::ManArgs),
    /// Asked by completion scripts.
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
}

/// A profile, where a command is about all of them unless one is named.
#[derive(Debug, Args)]
struct OneOfAll {
    /// Only this profile [default: all].
    #[arg(value_name = "NAME", value_hint = ValueHint::Other)]
    name: Option<String>,
    /// The same.
    #[arg(short, long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    profile: Option<String>,
}

/// A profile, where a command is about a gateway as a whole unless one is named.
#[derive(Debug, Args)]
struct OneOrWhole {
    /// This profile [default: the whole gateway where it serves all profiles, else the profile in `active_profile`, else
    /// `default`].
    #[arg(value_name = "NAME", value_hint = ValueHint::Other)]
    name: Option<String>,
    /// The same.
    #[arg(short, long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    profile: Option<String>,
}

/// No profile: such a command is about none, or about all.
#[derive(Debug, Args)]
struct NotOne {
    #[arg(short, long, global = true, hide = true, value_name = "NAME", value_hint = ValueHint::Other)]
    profile: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0; with --exit-code 0 all well, 3 stopped, 4 something is not ready.\n\n\
    Examples:\n  hermes status\n  hermes status coder\n  hermes status --json | jq '.profiles[] | select(.ready | not)'\n  \
    caffeinate -w \"$(hermes gateway status --pid)\""
)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct StatusArgs {
    #[command(flatten)]
    whose: OneOfAll,
    /// For programs: everything, in a form that only ever gains fields.
    #[arg(long)]
    json: bool,
    /// Look again every second until `q` or Ctrl-C.
    #[arg(short, long)]
    watch: bool,
    /// Say with the exit code whether all is well.
    #[arg(long)]
    exit_code: bool,
    /// Print the process id of the gateway and nothing else (exit 3 where none runs).
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    pid: bool,
    /// Also the last lines of the log.
    #[arg(long, conflicts_with_all = ["json", "watch", "pid"])]
    deep: bool,
    /// Nothing is cut to the width of the terminal.
    #[arg(short = 'l', long, conflicts_with = "pid")]
    full: bool,
    /// With the service of the machine, which has to be there, where the user has one as well.
    #[arg(long, conflicts_with = "pid")]
    system: bool,
    /// Of earlier versions, which did not look at it either.
    #[arg(long, hide = true, value_name = "NAME")]
    platform: Option<String>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    #[command(flatten)]
    _whose: NotOne,
    /// Show what happens inside.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// What a command was called with and in.
#[derive(Debug)]
struct Call {
    env: Surroundings,
    /// The value of `-p`.
    flag: Option<String>,
}

impl Call {
    /// The home and the profile, for commands that change something of the selected profile.
    fn select_strict(&self) -> Result<home::Selection, HermesError> {
        Ok(self.select()?.strict()?)
    }

    /// The same for commands that can do without the sticky profile: one that is gone is warned about.
    fn select_and_warn(&self) -> Result<home::Selection, HermesError> {
        let selection = self.select()?;
        if let Some(dangling) = &selection.dangling {
            output::warn(&format!(
                "{} (`{}`); `hermes profile use default` forgets it",
                dangling.message(),
                dangling.file
            ));
        }
        Ok(selection)
    }

    /// The user's alias directory.
    fn aliases(&self) -> Result<AliasDir, AliasError> {
        let commands = Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        AliasDir::of(&self.env, commands)
    }

    /// The same call about the profile that was also named as an argument; two that differ are an error.
    fn about(&self, name: Option<String>) -> Result<Self, SelectionError> {
        let flag = match name {
            Some(name) => Some(home::one_of(self.flag.clone(), name)?),
            None => self.flag.clone(),
        };
        Ok(Self { env: self.env.clone(), flag })
    }

    /// The home and the profile; a sticky profile that is gone is in `dangling`.
    fn select(&self) -> Result<home::Selection, HermesError> {
        Ok(home::select(self.flag.as_deref(), &self.env)?)
    }
}

/// What is left to do after [`run`].
#[derive(Debug)]
pub enum Next {
    /// Nothing: exit with this code.
    Exit(u8),
    /// Be a worker.
    Worker(WorkerArgs),
}

/// Does what the command line says, except for being a worker, which this crate cannot. `settle` gives back the memory that only
/// a start needed; a gateway calls it once, when it has settled.
pub fn run(args: Vec<OsString>, settle: fn()) -> Next {
    // A gateway may have become this program, which then is a gateway or becomes the one before again.
    lifeline::arm();
    let next = match dispatch(args, settle) {
        Ok(next) => next,
        Err(error) => {
            lifeline::go_back(&error.to_string());
            Next::Exit(service::launchd::exit_code(report(&error)))
        }
    };
    lifeline::go_back("it is no gateway with this command line");
    hermes_gateway::logging::end();
    next
}

fn dispatch(args: Vec<OsString>, settle: fn()) -> Result<Next, HermesError> {
    let supervised = args
        .first()
        .and_then(|arg| std::path::Path::new(arg).file_name())
        .is_some_and(|name| name == OsStr::new(WORKER_NAME));
    if supervised && let Some(name) = worker::spawned(&args) {
        let flags = worker::WorkerFlags::default();
        return worker::request(&flags, Some(name), true, &Surroundings::from_process()?).map(Next::Worker);
    }
    // A supervisor says nothing that could be taken for something else.
    let (rest, flag) =
        if supervised { home::take_profile_flag(args, |_| false)? } else { take_profile_flag(args)? };
    let rest = chat::with_oneshot(gateway::without_hooks(rest));
    let color = Color::from_arguments(rest.iter().map(OsString::as_os_str));
    let cli = match parse(rest, color) {
        Ok(cli) => cli,
        Err(e) => return Ok(Next::Exit(explain(&e, color))),
    };
    // What the parser found stood among other short options: `-vp coder`.
    let flag = match cli.profile {
        Some(second) => Some(home::one_of(flag, second)?),
        None => flag,
    };
    let out = Output::stdout();
    match cli.command {
        Command::Completion(args) => return completion::script(&args, out).map(Next::Exit),
        Command::Complete(args) => return Ok(Next::Exit(completion::answer(&args, flag, out))),
        Command::Guard => return Ok(Next::Exit(hermes_gateway::guard::run(settle))),
        Command::Man(args) => return man::run(&args, out).map(Next::Exit),
        _ => {}
    }
    let mut env = Surroundings::from_process()?;
    env.color = color.unwrap_or(env.color);
    let call = Call { env: env.clone(), flag: flag.clone() };
    let code = match cli.command {
        Command::Chat(args) => chat::run(args, &call),
        Command::Debug(args) => debug::run(&args, &call),
        Command::Dump(args) => debug::turn(&args, &call),
        Command::Gateway(args) => gateway::dispatch(args, &call, settle, out),
        Command::Status(args) => status::run(&args, &call.about(args.whose.name.clone())?, out),
        Command::Top(args) => top::run(&args, &call),
        Command::Events(args) => events::run(&args, &call.about(args.whose.name.clone())?, out),
        Command::Why(args) => why::run(&args, &call.about(args.name.clone())?, out),
        Command::Logs(args) => logs::run(&args, &call, out),
        Command::Mcp(args) => return mcp::run(args, &call),
        Command::Worker(args) => {
            return worker::request(&args, flag.as_deref(), supervised, &env).map(Next::Worker);
        }
        Command::Demo(args) => demo::run(args.verbose, &env, settle, out),
        Command::Profile(args) => profile::run(args, &call),
        Command::Config(args) => config::run(args, &call),
        Command::Setup(args) => setup::run(&args, &call),
        Command::Model(args) => model::run(args, &call),
        Command::Pairing(args) => pairing::run(args, &call),
        Command::Whatsapp(args) => whatsapp::run(args, &call),
        Command::Memory(args) => memory::run(&args, &call),
        Command::Sessions(args) => sessions::run(args, &call),
        Command::Insights(args) => insights::run(&args, &call.about(args.whose.name.clone())?),
        Command::Inbox(args) => inbox::run(args, &call),
        Command::Skills(args) => skills::run(&args, &call),
        Command::Tools(args) => tools::run(&args, &call),
        Command::Update(args) => update::run(&args, &call),
        Command::Doctor(args) => doctor::run(&args, &call.about(args.whose.name.clone())?),
        Command::Completion(_) | Command::Complete(_) | Command::Guard | Command::Man(_) => Ok(exit::OK),
    }?;
    Ok(Next::Exit(code))
}

/// The command line as the tree has it; what is wrong with it is said in `color`.
fn parse(args: Vec<OsString>, color: Option<Color>) -> Result<Cli, clap::Error> {
    let choice = match color {
        None | Some(Color::Auto) => clap::ColorChoice::Auto,
        Some(Color::Always) => clap::ColorChoice::Always,
        Some(Color::Never) => clap::ColorChoice::Never,
    };
    Cli::from_arg_matches(&Cli::command().color(choice).try_get_matches_from(args)?)
}

/// `-p` and `--profile`, wherever the command tree has no value there.
fn take_profile_flag(args: Vec<OsString>) -> Result<(Vec<OsString>, Option<String>), SelectionError> {
    let mut tree = Cli::command();
    tree.build();
    let mut at = At::start(&tree);
    home::take_profile_flag(args, |word| at.read_value(&word.to_string_lossy()))
}

/// Prints help, the version, or what is wrong with the command line. A closed pipe is not a failure.
fn explain(error: &clap::Error, color: Option<Color>) -> u8 {
    if error.use_stderr() {
        let shown = error.render();
        let color = color.unwrap_or_else(|| Color::from_environment(|name| std::env::var_os(name)));
        let text =
            if color.on(io::stderr().is_terminal()) { shown.ansi().to_string() } else { shown.to_string() };
        // One word for what is wrong, whoever found it.
        let _ = io::stderr().lock().write_all(text.replacen("error:", "Error:", 1).as_bytes());
        return exit::USAGE;
    }
    let _ = error.print();
    // Whoever asks for help may be looking for the way out of this.
    if error.kind() == clap::error::ErrorKind::DisplayHelp
        && let Ok(env) = Surroundings::from_process()
    {
        let _ = Call { env, flag: None }.select_and_warn();
    }
    exit::OK
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let (rest, _) = take_profile_flag(args.iter().map(OsString::from).collect()).unwrap();
        super::parse(rest, None)
    }

    #[test]
    fn plain_gateway_runs() {
        for args in
            [&["hermes", "gateway", "-v", "--replace"][..], &["hermes", "gateway", "run", "-v", "--replace"]]
        {
            let Command::Gateway(gateway) = parse(args).unwrap().command else { panic!("{args:?}") };
            let run = match gateway.command {
                Some(gateway::GatewayCommand::Run { run, .. }) => run,
                None => gateway.run,
                other => panic!("{other:?}"),
            };
            assert!(run.verbose == 1 && run.replace && !run.force);
        }
        assert!(parse(&["hermes", "gateway", "run", "-q", "-v"]).is_err());
        // Units of earlier versions.
        let hooks = ["hermes", "gateway", "--accept-hooks", "list"].iter().map(OsString::from).collect();
        assert!(super::parse(gateway::without_hooks(hooks), None).is_ok());
        assert!(parse(&["hermes", "nonsense"]).is_err());
    }

    #[test]
    fn help_texts() {
        let mut command = Cli::command();
        command.build();
        let mut text = command.render_long_help().to_string();
        for path in [
            &["gateway"][..],
            &["gateway", "run"],
            &["status"],
            &["top"],
            &["events"],
            &["why"],
            &["logs"],
            &["worker"],
            &["demo"],
            &["chat"],
            &["debug", "turn"],
            &["profile"],
            &["profile", "create"],
            &["config"],
            &["setup"],
            &["model"],
            &["pairing"],
            &["pairing", "approve"],
            &["memory"],
            &["sessions"],
            &["insights"],
            &["inbox"],
            &["skills"],
            &["tools"],
            &["update"],
            &["doctor"],
        ] {
            let mut at = &mut command;
            for name in path {
                at = at.find_subcommand_mut(name).unwrap();
            }
            let _ = write!(text, "\n=== {} ===\n{}", path.join(" "), at.render_long_help());
        }
        insta::assert_snapshot!(text);
    }
}
