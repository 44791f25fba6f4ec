//! `hermes completion`: scripts for shells, and the hidden `hermes __complete` that these ask at every TAB.
//!
//! A script knows nothing but how its shell hands over words and takes candidates; what can follow is decided here (`engine`),
//! from the command tree itself and from the directories of the home, so that a script never goes stale. No file is opened
//! but aliases, and nothing that goes wrong is ever printed: a shell that completes shows no errors.

use std::ffi::OsString;

use camino::Utf8Path;
use clap::{Args, CommandFactory as _};
use hermes_wire::{RootHome, exit};

use super::output::Output;
use super::{Call, Cli};
use crate::error::HermesError;
use crate::home::{self, Surroundings};
use engine::{Answer, Candidate, Line, Names};
use hermes_gateway::watch;

pub(super) mod engine;

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// Which shell.
    #[arg(value_enum, default_value = "bash")]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What a script asks.
#[derive(Debug, Args)]
pub(super) struct CompleteArgs {
    #[arg(value_enum)]
    what: What,
    /// Place of the word under the cursor; 0 is the command.
    index: Option<usize>,
    /// The command line as far as the shell has split it.
    #[arg(last = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The profiles, one a line.
    Profiles,
    /// The alias commands, one a line.
    Aliases,
    /// What can stand at the cursor, for this shell.
    Bash,
    Zsh,
    Fish,
}

/// `hermes completion`.
pub(super) fn script(args: &CompletionArgs, mut out: Output) -> Result<u8, HermesError> {
    out.write(match args.shell {
        Shell::Bash => include_str!("../../../../deploy/completions/hermes.bash"),
        Shell::Zsh => include_str!("../../../../deploy/completions/hermes.zsh"),
        Shell::Fish => include_str!("../../../../deploy/completions/hermes.fish"),
    })?;
    Ok(exit::OK)
}

/// `hermes __complete`. Never fails.
pub(super) fn answer(args: &CompleteArgs, flag: Option<String>, mut out: Output) -> u8 {
    let text = Surroundings::from_process().map(|env| lines(args, &Call { env, flag })).unwrap_or_default();
    // A shell that lost interest has closed the pipe.
    let _ = out.write(&text);
    exit::OK
}

fn lines(args: &CompleteArgs, call: &Call) -> String {
    let root = home::root_of(&call.env).ok().map(|(root, _)| root);
    let each = |names: Vec<String>| names.into_iter().map(|name| name + "\n").collect();
    match args.what {
        What::Profiles => each(Home { root, call }.profiles()),
        What::Aliases => each(Home { root, call }.aliases()),
        What::Bash | What::Zsh | What::Fish => {
            let words: Vec<String> =
                args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            let mut line = Line::new(words, args.index, args.what == What::Bash);
            // An alias is `hermes -p NAME`, with the root home it was made for.
            let alias = Utf8Path::new(line.command()).file_name().filter(|name| *name != "hermes");
            let alias = alias.and_then(|name| call.aliases().ok()?.named(name));
            line.profile_is_chosen = alias.is_some();
            let root = alias.and_then(|alias| alias.root).map(RootHome::new).or(root);
            let mut tree = Cli::command();
            tree.build();
            print(&engine::complete(&tree, &line, &Home { root, call }), args.what)
        }
    }
}

/// What can be known by looking at names.
struct Home<'a> {
    root: Option<RootHome>,
    call: &'a Call,
}

impl Names for Home<'_> {
    fn profiles(&self) -> Vec<String> {
        let Some(root) = &self.root else { return Vec::new() };
        watch::scan(root).names().map(ToString::to_string).collect()
    }

    fn aliases(&self) -> Vec<String> {
        let all = self.call.aliases().map(|dir| dir.everywhere()).unwrap_or_default();
        all.into_iter().map(|alias| alias.name).collect()
    }
}

/// Bash wants words, the others a tab and a description behind each; `//files` and `//directories` leave it to the shell.
fn print(answer: &Answer, shell: What) -> String {
    let line = |candidate: &Candidate| match &candidate.help {
        Some(help) if shell != What::Bash => format!("{}\t{help}\n", candidate.value),
        _ => format!("{}\n", candidate.value),
    };
    match answer {
        Answer::These(all) => all.iter().map(line).collect(),
        Answer::Files => "//files\n".to_owned(),
        Answer::Directories => "//directories\n".to_owned(),
    }
}
