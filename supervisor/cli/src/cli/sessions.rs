//! `hermes sessions`: the conversations that a profile has stored.

mod change;
mod export;
mod list;
mod repair;
mod show;
pub(super) mod words;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand, ValueHint};
use hermes_worker::stored::{Found, Look};

use super::Call;
use crate::error::{HermesError, StoredError};
use crate::home::Selection;
use crate::stored;

#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List the sessions, the one that was used last first.
    #[command(
        after_help = "A conversation that was made shorter is shown once; sub-agents have none of their own.\n\n\
        Examples:\n  hermes sessions list\n  hermes -p coder sessions list --source telegram --limit 5\n  \
        hermes sessions list --json | jq -r '.sessions[].id'"
    )]
    List(list::ListArgs),
    /// Show what was said in a session.
    #[command(
        after_help = "Examples:\n  hermes sessions show 20261121_0119\n  hermes sessions show 'Door codes' --full"
    )]
    Show(show::ShowArgs),
    /// Find messages by words in them.
    #[command(after_help = "All words must occur; OR, NOT, \"phrases\" and prefixes (deploy*) work.\n\n\
        Examples:\n  hermes sessions search door code\n  hermes sessions search 'deploy* NOT staging' --source cli")]
    Search(list::SearchArgs),
    /// Write sessions as JSON, one a line.
    #[command(
        after_help = "Each line is a session with every column of its row, and its messages in `messages`, as 0.19.0 exports them.\n\n\
        Examples:\n  hermes sessions export backup.jsonl\n  hermes sessions export --session-id 20261121_0119 - | jq .title"
    )]
    Export(export::ExportArgs),
    /// Give a session another title.
    #[command(after_help = "Example:\n  hermes sessions rename 20261121_0119 Door codes")]
    Rename {
        /// The session: its id, the beginning of it, or its title.
        #[arg(value_name = "SESSION", value_hint = ValueHint::Other)]
        session: String,
        /// The title; no other session may have it.
        #[arg(value_name = "TITLE", required = true, value_hint = ValueHint::Other)]
        title: Vec<String>,
    },
    /// Delete sessions with all their messages.
    #[command(
        after_help = "One in which a turn runs, or a message waits for its answer, is kept, and that is said (exit 1).\n\n\
        Example:\n  hermes sessions delete 20261121_0119"
    )]
    Delete {
        /// The sessions: their ids, the beginnings of them, or their titles.
        #[arg(value_name = "SESSION", required = true, value_hint = ValueHint::Other)]
        sessions: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete sessions that nobody has used for long.
    #[command(
        after_help = "What is pinned or archived stays, and so does what has not ended, unless --open says otherwise.\n\n\
        Examples:\n  hermes sessions prune --older-than 90\n  hermes sessions prune --older-than 7 --source webhook --yes"
    )]
    Prune(change::PruneArgs),
    /// Show how much there is.
    Stats {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Look the database and its search index over, and mend them.
    #[command(
        after_help = "A copy from before stays beside the file, and no row is removed. While a gateway serves the profile it is only looked \
        over.\n\nExit codes: 0 it is whole, 1 it is not.\n\nExamples:\n  hermes sessions repair --check\n  hermes -p coder sessions repair"
    )]
    Repair {
        /// Only look.
        #[arg(long)]
        check: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// `hermes sessions`.
pub(super) fn run(args: SessionsArgs, call: &Call) -> Result<u8, HermesError> {
    match args.command {
        SessionsCommand::List(args) => list::list(&args, call),
        SessionsCommand::Show(args) => show::run(&args, call),
        SessionsCommand::Search(args) => list::search(&args, call),
        SessionsCommand::Export(args) => export::run(&args, call),
        SessionsCommand::Rename { session, title } => change::rename(&session, &title.join(" "), call),
        SessionsCommand::Delete { sessions, yes } => change::delete(&sessions, yes, call),
        SessionsCommand::Prune(args) => change::prune(&args, call),
        SessionsCommand::Stats { json } => show::stats(json, call),
        SessionsCommand::Repair { check, json } => repair::run(check, json, call),
    }
}

/// The database of the profile that a command is about; `None`: nothing was ever stored.
fn look(call: &Call) -> Result<(Selection, Option<Look>), HermesError> {
    let selection = call.select_strict()?;
    let look = stored::look(&selection)?;
    Ok((selection, look))
}

/// The id of the session that somebody names.
fn find(look: Option<&Look>, name: &str) -> Result<String, HermesError> {
    let found = look.map_or(Ok(Found::None), |look| look.find(name)).map_err(StoredError::from)?;
    match found {
        Found::One(id) => Ok(id),
        Found::Several(ids) => Err(StoredError::Several { name: name.to_owned(), ids }.into()),
        Found::None => Err(StoredError::NoSession { name: name.to_owned() }.into()),
    }
}

/// Where something is written; `None`: standard output.
fn place(path: Option<&Utf8PathBuf>) -> Option<&Utf8PathBuf> {
    path.filter(|path| path.as_str() != "-")
}
