//! `hermes profile`: what can be typed, and what is printed about what was done.

mod alias;
mod create;
mod delete;
mod describe;
mod export;
mod import;
mod look;
mod progress;
mod rename;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand, ValueHint};
use hermes_host::disk;
use hermes_wire::{ProfileName, RootHome};
use hermes_worker::REGISTRY;

use super::Call;
use super::output::{self, Output};
use crate::error::HermesError;
use crate::home::{self, Surroundings};
use crate::profile::error::ProfileError;
use crate::profile::rename as rename_of;

#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    #[command(subcommand)]
    command: Option<ProfileCommand>,
    /// For programs (without a subcommand: the selected profile).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Make a profile, empty or from another one.
    #[command(after_help = "Examples:\n  hermes profile create coder\n  \
        hermes profile create work --clone-from coder --description 'Answers work mail'\n  \
        hermes profile create twin --clone-all --no-alias")]
    Create(CreateArgs),
    /// List the profiles.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show one profile.
    Show {
        /// Which.
        #[arg(value_hint = ValueHint::Other)]
        name: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Make a profile the one that commands without -p work with.
    Use {
        /// Which; `default` goes back to the built-in one.
        #[arg(value_hint = ValueHint::Other)]
        name: String,
    },
    /// Make, or remove, the command that stands for `hermes -p NAME`.
    #[command(
        after_help = "Examples:\n  hermes profile alias coder\n  hermes profile alias coder --name code\n  \
        hermes profile alias coder --remove"
    )]
    Alias {
        /// The profile.
        #[arg(value_hint = ValueHint::Other)]
        name: String,
        /// Name of the command [default: the profile's].
        #[arg(long = "name", value_name = "ALIAS", value_hint = ValueHint::Other)]
        alias: Option<String>,
        /// Remove it; without --name, remove all of this profile's.
        #[arg(long)]
        remove: bool,
    },
    /// Give a profile another name; `default` keeps its own and is shown by the other one.
    Rename {
        /// Its name.
        #[arg(value_hint = ValueHint::Other)]
        old: String,
        /// Its new name.
        #[arg(value_hint = ValueHint::Other)]
        new: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Delete a profile and everything in its home.
    Delete {
        /// Which.
        #[arg(value_hint = ValueHint::Other)]
        name: String,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// For programs; asks nobody, so it needs --yes.
        #[arg(long, requires = "yes")]
        json: bool,
    },
    /// Write a profile, without credentials, to an archive.
    Export {
        /// Which.
        #[arg(value_hint = ValueHint::Other)]
        name: String,
        /// The archive [default: NAME.tar.gz].
        #[arg(value_name = "ARCHIVE", conflicts_with = "output", value_hint = ValueHint::FilePath)]
        archive: Option<Utf8PathBuf>,
        /// The archive [default: NAME.tar.gz].
        #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        output: Option<Utf8PathBuf>,
        /// Also the databases (session history), each as of one instant.
        #[arg(long)]
        history: bool,
        /// A variable of .env whose value is no secret and may be in the archive; may be given several times.
        #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
        allow: Vec<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Make a profile from an archive.
    Import {
        /// The archive: tar, gzip or zstd.
        #[arg(value_hint = ValueHint::FilePath)]
        archive: Utf8PathBuf,
        /// Its name here [default: the name in the archive].
        #[arg(value_name = "PROFILE", conflicts_with = "name", value_hint = ValueHint::Other)]
        here: Option<String>,
        /// Its name here [default: the name in the archive].
        #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
        name: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show or set what a profile is for.
    Describe {
        /// Which.
        #[arg(value_hint = ValueHint::Other)]
        name: Option<String>,
        /// The new description.
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        /// For programs.
        #[arg(long, conflicts_with = "text")]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct CreateArgs {
    /// Its name: lower-case letters, digits, `-` and `_`.
    #[arg(value_hint = ValueHint::Other)]
    name: String,
    /// Copy configuration, keys, SOUL.md, skills and memories of the selected profile.
    #[arg(long)]
    clone: bool,
    /// The same, of this profile.
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::Other)]
    clone_from: Option<String>,
    /// Copy everything except history, caches and what belongs to one process.
    #[arg(long)]
    clone_all: bool,
    /// Copy bot tokens, platform sections and files of bots too; two profiles cannot use one bot at a time.
    #[arg(long)]
    clone_channels: bool,
    /// Make no alias command.
    #[arg(long)]
    no_alias: bool,
    /// Leave out the bundled skills.
    #[arg(long)]
    no_skills: bool,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// `hermes profile …`.
pub(super) fn run(args: ProfileArgs, call: &Call) -> Result<u8, HermesError> {
    let out = Output::stdout();
    finish_renames(call)?;
    match args.command {
        None => look::active(args.json, call, out),
        Some(ProfileCommand::Create(args)) => create::run(&args, call, out),
        Some(ProfileCommand::List { json }) => look::list(json, call, out),
        Some(ProfileCommand::Show { name, json }) => look::show(&name, json, call, out),
        Some(ProfileCommand::Use { name }) => look::switch(&name, call, out),
        Some(ProfileCommand::Alias { name, alias: as_name, remove }) => {
            alias::run(&name, as_name.as_deref(), remove, call, out)
        }
        Some(ProfileCommand::Rename { old, new, json }) => rename::run(&old, &new, json, call, out),
        Some(ProfileCommand::Delete { name, yes, json }) => delete::run(&name, yes, json, call, out),
        Some(ProfileCommand::Export { name, archive, output: to, history, allow, json }) => {
            let asked = export::Asked { name: &name, output: to.or(archive), history, allow: &allow, json };
            export::run(&asked, call, out)
        }
        Some(ProfileCommand::Import { archive, here, name, json }) => {
            import::run(&archive, name.or(here).as_deref(), json, call, out)
        }
        Some(ProfileCommand::Describe { name, text, json }) => {
            describe::run(name.as_deref(), text.as_deref(), json, call, out)
        }
    }
}

/// A rename whose command died is finished before anything else looks at the profiles.
fn finish_renames(call: &Call) -> Result<(), HermesError> {
    let root = home::root(&call.env)?;
    for (old, new) in rename_of::finish(&root, &call.env, call.aliases().ok().as_ref()) {
        output::warn(&format!("the rename of '{old}' to '{new}' had been interrupted and was finished"));
    }
    Ok(())
}

/// What somebody typed, as a profile that exists.
fn existing(typed: &str, root: &RootHome) -> Result<ProfileName, ProfileError> {
    let name = parse(typed)?;
    let home = root.profile(&name);
    if name.is_default() || home.path().is_dir() { Ok(name) } else { Err(ProfileError::Missing(name)) }
}

fn parse(typed: &str) -> Result<ProfileName, ProfileError> {
    Ok(ProfileName::from_user_input(typed)?)
}

/// A path below the user's home directory as `~/…`.
fn tilde(path: &Utf8Path, env: &Surroundings) -> String {
    let home = env.user_home.as_ref().map(|home| home.canonicalize_utf8().unwrap_or_else(|_| home.clone()));
    match home.as_ref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{rest}"),
        None => path.to_string(),
    }
}

/// The prefix that aliases of this root's profiles get.
fn alias_prefix(root: &RootHome) -> String {
    let home = root.profile(&ProfileName::default_profile());
    let bytes = disk::read_bounded(&home.config(), hermes_config::MAX_FILE_LEN).unwrap_or_default();
    hermes_config::glance(&REGISTRY, &bytes).alias_prefix.unwrap_or_default()
}

/// What to do where a shell does not find the aliases.
fn not_on_path(dir: &Utf8Path) -> String {
    format!(
        "⚠ {dir} is not in your PATH.\n  Add to your shell config (~/.bashrc or ~/.zshrc):\n    \
         export PATH=\"$HOME/.local/bin:$PATH\"\n"
    )
}
