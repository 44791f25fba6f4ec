//! `hermes setup`: the wizard, and its form without questions.
//!
//! Everything is decided first and written last, in one go: `.env`, then `config.yaml`, each by a rename. Leaving the wizard at any
//! question, by whatever key or signal, leaves both files as they were.

mod chats;
mod interview;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Read as _};

use clap::{Args, ValueEnum};
use hermes_config::{ProfileConfig, Secret};
use hermes_host::clock;
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::{ProfileName, exit};
use inquire::InquireError;

use super::Call;
use super::output::{self, Output};
use crate::error::{CommandError, HermesError, ValueError};
use crate::essentials::{self, Change, Platforms};
use crate::home::Selection;
use crate::profile::skeleton;
use crate::settings::{self, As, Draft, Note, SettingsError};
use crate::status::render;
use interview::{Answers, Known};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hermes setup\n  hermes -p coder setup model\n  \
        hermes setup --set model.provider=openrouter --set model.default=anthropic/claude-sonnet-4 --set openrouter_api_key=-\n\n\
        A value of `-` is read from standard input, so that a key stands in no command line (one such value at most).")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct SetupArgs {
    /// Only this part.
    #[arg(value_enum)]
    section: Option<Section>,
    /// Set this, and ask nothing; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Ask nothing.
    #[arg(long)]
    non_interactive: bool,
    /// Begin with an empty config.yaml; the old one is kept beside it.
    #[arg(long)]
    reset: bool,
    /// Only this chat platform: says what to do at its service, and asks for what it needs.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["section", "set", "reset"])]
    platform: Option<String>,
    /// Ask the platform's service whether what is set works, and nothing else.
    #[arg(long, requires = "platform")]
    check: bool,
    /// For programs: what to do, what is set, and with --check what the service says.
    #[arg(long, requires = "platform")]
    json: bool,
}

impl SetupArgs {
    /// The same, about how the profile is reached, unless another part was named.
    pub(super) fn about_platforms(self) -> Self {
        let section = self.section.or(Some(Section::Gateway)).filter(|_| self.platform.is_none());
        Self { section, ..self }
    }
}

/// A part of the wizard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Section {
    /// Provider, key and model.
    Model,
    /// How the profile is reached.
    Gateway,
}

/// `hermes setup`.
pub(super) fn run(args: &SetupArgs, call: &Call) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    if let Some(name) = &args.platform {
        return chats::run(name, args, &selection, call);
    }
    let open = if args.reset { Draft::open_blank } else { Draft::open };
    let draft = open(&selection.root, &selection.profile, &call.env)?;
    draft.may_change()?;
    let out = Output::stdout();
    let done = ask(args, draft, &selection, call, out)?;
    let home = selection.home();
    // Whoever left the wizard changed nothing.
    if done == exit::OK
        && home.path().is_dir()
        && let Err(e) = skeleton::seed_soul(home.path())
    {
        output::warn(&format!("{} was not made: {e}", home.soul()));
    }
    Ok(done)
}

fn ask(
    args: &SetupArgs,
    draft: Draft,
    selection: &Selection,
    call: &Call,
    out: Output,
) -> Result<u8, HermesError> {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !args.set.is_empty() {
        return batch(&args.set, args.reset, draft, selection, out);
    }
    if args.non_interactive || !terminal {
        let why = if terminal { "--non-interactive" } else { "no TTY detected" };
        return without_questions(why, args.reset, draft, selection, out);
    }
    wizard(args.section, draft, selection, call, out)
}

/// `--set KEY=VALUE …`: all of them, or none.
fn batch(
    pairs: &[String],
    reset: bool,
    mut draft: Draft,
    selection: &Selection,
    mut out: Output,
) -> Result<u8, HermesError> {
    let before = draft.problems();
    let mut lines = Vec::new();
    let mut piped = false;
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or(ValueError::NoPair)?;
        let value = if value == "-" {
            if std::mem::replace(&mut piped, true) {
                return Err(ValueError::Twice.into());
            }
            Secret::new(super::config::from_stdin(key)?)
        } else {
            Secret::new(value)
        };
        let change = draft.set(key, value.expose(), As::Schema)?;
        lines.push(change.echo());
        lines.extend(said(&change));
    }
    refuse_what_cannot_run(&before, &draft)?;
    lines.extend(new_problems(&before, &draft));
    // What is still missing is no news, and still worth a line.
    lines.extend(
        lack(&draft)
            .filter(|problem| is_among(&before, problem))
            .map(|problem| render::problem(Some(selection.profile.as_str()), &problem).trim_end().to_owned()),
    );
    // Edits lose nothing; only what a reset throws away is kept.
    let stamp = reset.then(now);
    commit(draft, stamp, &mut out)?;
    for line in lines {
        out.line(&line)?;
    }
    Ok(exit::OK)
}

/// Nobody can be asked: says how it is done, and whether anything is left to do.
fn without_questions(
    why: &str,
    reset: bool,
    draft: Draft,
    selection: &Selection,
    mut out: Output,
) -> Result<u8, HermesError> {
    let lack = lack(&draft);
    let flag =
        if selection.profile.is_default() { String::new() } else { format!("-p {} ", selection.profile) };
    if reset {
        commit(draft, Some(now()), &mut out)?;
        out.line("✓ Configuration reset to defaults.")?;
    }
    out.write(&format!(
        "\n⚕ Hermes Setup — Non-interactive mode\n\n\
         The wizard cannot ask anything here ({why}). Configure with commands instead:\n\n  \
         hermes {flag}config set model.provider openrouter\n  \
         hermes {flag}config set model.default anthropic/claude-sonnet-4\n  \
         hermes {flag}config set openrouter_api_key -        # reads the key from standard input\n\n\
         or all at once:\n\n  \
         hermes {flag}setup --set model.provider=openrouter --set model.default=anthropic/claude-sonnet-4 --set openrouter_api_key=-\n\n\
         Keys go to .env: OPENROUTER_API_KEY, OPENAI_API_KEY, or the name your provider uses.\n"
    ))?;
    let Some(lack) = lack else { return Ok(exit::OK) };
    Err(HermesError::NotSetUp { profile: selection.profile.clone(), lack: lack.message })
}

fn wizard(
    section: Option<Section>,
    mut draft: Draft,
    selection: &Selection,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    out.write(&format!("\n⚕ Hermes Setup — profile '{}'\n\n", selection.profile))?;
    let config = draft.config().unwrap_or_else(|| ProfileConfig::new(selection.profile.clone()));
    let known = Known {
        profile: &selection.profile,
        config: &config,
        listeners: draft.has_listeners(),
        colors: call.env.color.on(true),
    };
    let asked = interview::ask(&known, section).and_then(|answers| {
        let chats = if answers.platforms.is_some() { chats::choose(&known, &mut out)? } else { Vec::new() };
        Ok((answers, chats))
    });
    let (Answers { engine, platforms }, chats) = match asked {
        Ok(answers) => answers,
        Err(error) => return left(error, &mut out),
    };
    let before = draft.problems();
    let mut changes: Vec<Change> = engine.iter().flat_map(essentials::engine_changes).collect();
    changes.extend(platforms.iter().flat_map(|p| essentials::platform_changes(p, known.listeners)));
    changes.extend(chats.iter().flat_map(|chat| chat.changes.clone()));
    let mut lines = apply(&mut draft, &changes)?;
    refuse_what_cannot_run(&before, &draft)?;
    lines.extend(new_problems(&before, &draft));
    if !draft.is_changed() {
        out.line("\nNothing changes: it is all set up like that already.")?;
        return Ok(exit::OK);
    }
    out.line(&format!("\nThis will be written in {}:", selection.home().path()))?;
    for line in lines {
        out.line(&format!("  {line}"))?;
    }
    match interview::confirm("Write it?") {
        Ok(true) => {}
        Ok(false) => return left(InquireError::OperationCanceled, &mut out),
        Err(error) => return left(error, &mut out),
    }
    let env_file = draft.env_file().to_owned();
    commit(draft, Some(now()), &mut out)?;
    for chat in &chats {
        chats::offer_check(chat.guide, selection, call, &mut out)?;
    }
    out.write(&farewell(platforms.as_ref(), &selection.profile, &env_file))?;
    Ok(exit::OK)
}

/// Changes the draft; what is said about it. A key that stands there already is not said.
fn apply(draft: &mut Draft, changes: &[Change]) -> Result<Vec<String>, HermesError> {
    let mut lines = Vec::new();
    for change in changes {
        let before = draft.clone();
        let done = match change {
            Change::Env(name, value) => draft.set_variable(name, name, value.expose())?,
            Change::Set(key, value) => draft.set(key, value, As::Schema)?,
            Change::Unset(key) => match draft.unset(key) {
                Ok(done) => done,
                Err(SettingsError::NotSet { .. }) => continue,
                Err(error) => return Err(error.into()),
            },
        };
        if draft.says_the_same(&before) {
            continue;
        }
        let file = done.file.file_name().unwrap_or_default();
        lines.push(match change {
            Change::Unset(_) => format!("{file:<12} {} removed", done.key),
            Change::Env(..) => format!("{file:<12} {} (not shown)", done.key),
            Change::Set(_, value) => format!("{file:<12} {} = {value}", done.key),
        });
        lines.extend(said(&done));
    }
    Ok(lines)
}

/// What there is to say about one change of several. What a start would say is asked after the last one: another may mend it.
fn said(change: &settings::Change) -> impl Iterator<Item = String> {
    change.notes.iter().filter(|note| !matches!(note, Note::Problem(_))).map(ToString::to_string)
}

fn is_among(before: &[Problem], problem: &Problem) -> bool {
    before.iter().any(|old| (&old.code, &old.key) == (&problem.code, &problem.key))
}

/// What a start would say and would not have said before.
fn new_problems(before: &[Problem], draft: &Draft) -> Vec<String> {
    // Said with its change already.
    let unknown_key = |problem: &Problem| problem.code == "unknown_key";
    let new =
        draft.problems().into_iter().filter(|problem| !is_among(before, problem) && !unknown_key(problem));
    new.map(|problem| render::problem(None, &problem).trim_end().to_owned()).collect()
}

/// Nothing is written that a start would refuse, unless it would have before, for the same reason.
fn refuse_what_cannot_run(before: &[Problem], draft: &Draft) -> Result<(), HermesError> {
    let bad = |problem: &&Problem| problem.severity.stops_profile() && !is_among(before, problem);
    let problems = draft.problems();
    let Some(problem) = problems.iter().find(bad) else { return Ok(()) };
    let place = problem.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
    let (message, fix) = (problem.message.clone(), problem.fix.clone());
    Err(CommandError::NotWritten { place, message, fix }.into())
}

/// The time, as it stands in names of copies.
fn now() -> String {
    clock::local().strftime("%Y%m%d_%H%M%S").to_string()
}

/// Writes; with a stamp a copy of the old `config.yaml` is kept beside it.
fn commit(draft: Draft, stamp: Option<String>, out: &mut Output) -> Result<(), HermesError> {
    let kept = stamp.map(|stamp| draft.keep_old_config(&stamp)).transpose()?.flatten();
    let written = draft.commit()?;
    for file in &written {
        out.line(&format!("✓ Wrote {file}"))?;
    }
    if let Some(kept) = kept {
        out.line(&format!("  the old one: {kept}"))?;
    }
    Ok(())
}

/// What to do now.
fn farewell(platforms: Option<&Platforms>, profile: &ProfileName, env_file: &camino::Utf8Path) -> String {
    let mut text = String::from("\nNext steps:\n");
    if platforms.is_some_and(|p| p.api.is_some()) {
        let _ = writeln!(text, "  callers of the API send the key {} of {env_file}", essentials::API_KEY);
    }
    if platforms.is_some_and(|p| p.webhook.is_some()) {
        let _ = writeln!(text, "  webhook senders sign with {} of {env_file}", essentials::WEBHOOK_SECRET);
    }
    let flag = if profile.is_default() { String::new() } else { format!(" -p {profile}") };
    let _ = writeln!(text, "  hermes gateway check{:<9}say what a start would refuse", "");
    let _ = writeln!(
        text,
        "  hermes gateway run{:<11}start; a gateway that runs takes the change over by itself",
        ""
    );
    let _ = writeln!(text, "  hermes status{flag:<16}see who runs");
    text
}

/// The wizard was left.
fn left(error: InquireError, out: &mut Output) -> Result<u8, HermesError> {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            out.line("Nothing was changed.")?;
            Ok(exit::INTERRUPTED)
        }
        InquireError::IO(source) => Err(HermesError::Output(source)),
        other => Err(CommandError::CannotAsk { why: other.to_string() }.into()),
    }
}

/// What keeps a profile's agent from answering.
fn lack(draft: &Draft) -> Option<Problem> {
    // What no release does yet is not missing here.
    let is_missing = |problem: &Problem| {
        problem.severity != Severity::Warning && problem.code != hermes_config::unsupported::CODE
    };
    draft.problems().into_iter().find(is_missing)
}

/// 32 random bytes as text.
fn random_key() -> io::Result<Secret> {
    let mut bytes = [0; 32];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(Secret::new(text))
}
