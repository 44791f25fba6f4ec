//! `hermes mcp`: the tool servers of a profile.

mod add;
mod list;

use clap::{Args, Subcommand};
use hermes_config::path::{KeyPath, Segment};
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::exit;
use hermes_worker::{Mode, ServerTask, WorkerArgs};

use super::output::Output;
use super::{Call, Next, config};
use crate::error::{CommandError, HermesError};
use crate::settings::{Draft, SettingsError};

#[derive(Debug, Args)]
pub(super) struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Give the selected profile a tool server.
    #[command(
        after_help = "Values that look like keys go into the profile's .env; config.yaml names them. `--env NAME` without a value \
        asks for it, and shows nothing of it.\n\n\
        Examples:\n  \
        hermes mcp add time -- uvx mcp-server-time\n  \
        hermes -p coder mcp add github --env GITHUB_TOKEN -- npx -y @modelcontextprotocol/server-github\n  \
        hermes mcp add linear --url https://mcp.linear.app/mcp --auth oauth"
    )]
    Add(add::AddArgs),
    /// List the tool servers of the selected profile, and how they are.
    #[command(after_help = "Examples:\n  hermes mcp list\n  hermes -p coder mcp list --json")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Connect to a tool server once, and list its tools.
    #[command(
        after_help = "Exit codes: 0 it answers, 1 it does not.\n\nExample:\n  hermes -p coder mcp test github"
    )]
    Test {
        /// The server's name.
        #[arg(value_hint = clap::ValueHint::Other)]
        name: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Take a tool server away from the selected profile, with its login.
    Remove {
        /// The server's name.
        #[arg(value_hint = clap::ValueHint::Other)]
        name: String,
    },
    /// Log in to a tool server that wants it (`auth: oauth`), in the browser.
    #[command(after_help = "Example:\n  hermes mcp login linear --no-browser")]
    Login {
        /// The server's name.
        #[arg(value_hint = clap::ValueHint::Other)]
        name: String,
        /// Print the address, and open no browser.
        #[arg(long)]
        no_browser: bool,
    },
}

/// `hermes mcp`.
pub(super) fn run(args: McpArgs, call: &Call) -> Result<Next, HermesError> {
    let task = |name: String, task: ServerTask| {
        let selection = call.select_strict()?;
        let mode = Mode::Server { name, task };
        Ok(Next::Worker(WorkerArgs { home: selection.home(), profile: selection.profile, mode }))
    };
    match args.command {
        McpCommand::Add(args) => add::run(&args, call).map(Next::Exit),
        McpCommand::List { json } => list::run(json, call).map(Next::Exit),
        McpCommand::Remove { name } => remove(&name, call).map(Next::Exit),
        McpCommand::Test { name, json } => task(name, ServerTask::Test { json }),
        McpCommand::Login { name, no_browser } => task(name, ServerTask::Login { browser: !no_browser }),
    }
}

/// The key of a server, or of something of it.
fn key(name: &str, below: &[&str]) -> String {
    let first = ["mcp_servers", name];
    let segments = first.iter().chain(below).map(|text| Segment::key(*text));
    KeyPath::of(segments).to_string()
}

fn remove(name: &str, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let key = key(name, &[]);
    let entry = Draft::open(&selection.root, &selection.profile, &call.env)?.get(&key)?;
    let Some(entry) = entry else {
        return Err(CommandError::NoSuchServer { profile: selection.profile, name: name.to_owned() }.into());
    };
    let change = config::change(&selection, call, |draft| draft.unset(&key))?;
    let mut out = Output::stdout();
    out.line(&format!(
        "✓ Tool server '{name}' of profile '{}' is removed from {}.",
        selection.profile, change.file
    ))?;
    let home = selection.home();
    for file in hermes_worker::server_files(&home, name) {
        let removed = fs_err::remove_file(&file).or_absent();
        let is_lock = file.extension() == Some("lock");
        if removed.map_err(SettingsError::io("remove", file.clone()))?.is_some() && !is_lock {
            out.line(&format!("✓ Its login is forgotten: {file}"))?;
        }
    }
    let variables = hermes_config::redact::unresolved(&entry.value.to_string(), &|_| false);
    let bytes = disk::read_bounded(&home.env_file(), hermes_config::MAX_FILE_LEN).or_absent();
    let known =
        bytes.ok().flatten().map(|bytes| hermes_config::dotenv_edit::names(&bytes)).unwrap_or_default();
    for variable in variables.iter().filter(|variable| known.contains(variable)) {
        out.line(&format!("Note: {variable} stays in .env; `hermes config unset {variable}` removes it."))?;
    }
    Ok(exit::OK)
}
