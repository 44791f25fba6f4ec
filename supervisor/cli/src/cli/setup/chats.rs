//! Chat platforms in the wizard: what to do at each one's service, what it is told here, and whether that works.
//!
//! What is typed is written with everything else at the end of the wizard, and the service is asked afterwards, by a helper process
//! that reads it from the profile's own file: no key is in a command line.

use std::fmt;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use hermes_config::platform::guide::{GUIDES, Guide, Variable, guide};
use hermes_config::{ProfileConfig, Secret};
use hermes_wire::contract::platform_trials::{Trial, Trials, Verdict};
use hermes_wire::exit;
use hermes_worker::REGISTRY;
use inquire::{Confirm, InquireError, Select, Text};
use serde_json::json;

use super::super::Call;
use super::super::output::Output;
use super::interview::{self, Known};
use super::{SetupArgs, apply, commit, left, new_problems, now, refuse_what_cannot_run};
use crate::doctor;
use crate::error::{CommandError, HermesError};
use crate::essentials::Change;
use crate::home::Selection;
use crate::settings::Draft;

/// A platform, and what was answered about it.
pub(super) struct Chat {
    pub(super) guide: &'static Guide,
    pub(super) changes: Vec<Change>,
}

/// One line of the list.
#[derive(Clone, Copy)]
enum Line {
    None,
    Of(&'static Guide, bool),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no (more) of them"),
            Self::Of(guide, is_on) => write!(f, "{}{}", guide.title, if *is_on { " (set up)" } else { "" }),
        }
    }
}

fn is_on(config: &ProfileConfig, guide: &Guide) -> bool {
    config.platforms.iter().any(|platform| platform.name == guide.platform)
}

/// Those that this build connects.
fn offered() -> impl Iterator<Item = &'static Guide> {
    GUIDES.iter().filter(|guide| REGISTRY.find(guide.platform).is_some_and(|platform| platform.adapter))
}

/// Asks which are to be set up, and sets up each.
pub(super) fn choose(known: &Known<'_>, out: &mut Output) -> Result<Vec<Chat>, InquireError> {
    let mut chats: Vec<Chat> = Vec::new();
    loop {
        let rest = offered().filter(|guide| chats.iter().all(|chat| chat.guide.platform != guide.platform));
        let lines: Vec<Line> = std::iter::once(Line::None)
            .chain(rest.map(|guide| Line::Of(guide, is_on(known.config, guide))))
            .collect();
        let one = if chats.is_empty() { "a" } else { "another" };
        let question = format!("Set up {one} chat platform for '{}'?", known.profile);
        let Line::Of(guide, _) = Select::new(&question, lines).with_page_size(10).prompt()? else {
            return Ok(chats);
        };
        out.write(&text(guide)).map_err(InquireError::IO)?;
        let changes = ask(guide, known)?;
        chats.push(Chat { guide, changes });
    }
}

/// Asks for what a platform is told.
fn ask(guide: &'static Guide, known: &Known<'_>) -> Result<Vec<Change>, InquireError> {
    let mut changes = Vec::new();
    for variable in guide.variables {
        let Variable { name, about, is_secret, default, is_needed } = *variable;
        let there = known.config.env.get(name);
        let answer = if is_secret {
            interview::key(name, known, is_needed)?
        } else {
            let optional = if is_needed { "" } else { " Empty: none." };
            let question = format!("{name}?");
            let help = format!("{about}.{optional}");
            let mut prompt = Text::new(&question).with_help_message(&help);
            if is_needed {
                prompt = prompt.with_validator(interview::something());
            }
            if let Some(now) = there.or(Some(default)).filter(|text| !text.is_empty()) {
                prompt = prompt.with_default(now);
            }
            let typed = prompt.prompt()?.trim().to_owned();
            Some(typed).filter(|typed| !typed.is_empty() && there != Some(typed.as_str())).map(Secret::new)
        };
        changes.extend(answer.map(|value| Change::Env(name, value)));
    }
    Ok(changes)
}

/// What to do at the service.
fn text(guide: &Guide) -> String {
    let mut text = format!("\n{}\n", guide.title);
    for (n, step) in guide.steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {step}", n + 1);
    }
    text.push_str("  In .env:\n");
    for variable in guide.variables {
        let optional = if variable.is_needed { "" } else { " (not needed)" };
        let _ = writeln!(text, "    {:<26} {}{optional}", variable.name, variable.about);
    }
    if let Some(paste) = &guide.paste {
        let _ = writeln!(text, "\n  {}:\n\n{}", paste.about, paste.text);
    }
    text.push('\n');
    text
}

/// Asks whether the service is to be asked, and says what it says.
pub(super) fn offer_check(
    guide: &Guide,
    selection: &Selection,
    call: &Call,
    out: &mut Output,
) -> Result<(), HermesError> {
    let question = format!("Ask {} now whether it works?", guide.title);
    match Confirm::new(&question).with_default(true).prompt() {
        Ok(true) => {}
        // Everything is written: whoever leaves here left nothing undone.
        Ok(false) | Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => {
            return Ok(());
        }
        Err(error) => return Err(CommandError::CannotAsk { why: error.to_string() }.into()),
    }
    Ok(out.write(&said(&trial(guide, selection, call)))?)
}

fn trial(guide: &Guide, selection: &Selection, call: &Call) -> Trial {
    let name = guide.platform;
    match doctor::ask_platforms(selection, &call.env, Some(name)) {
        Ok(Trials { platforms }) => {
            let found = platforms.into_iter().find(|trial| trial.platform == name);
            found.unwrap_or_else(|| Trial::not_asked(name, "nothing was answered"))
        }
        Err(why) => Trial::not_asked(name, why),
    }
}

/// What a service says, for people.
fn said(trial: &Trial) -> String {
    let Trial { platform, verdict, message, lacks } = trial;
    let (mark, middle) = match verdict {
        Verdict::Fine => ("✓", ""),
        Verdict::Lacking => ("✗", ""),
        Verdict::Unreachable => ("✗", "not reached: "),
        Verdict::NotAsked => ("⚠", "not asked: "),
    };
    let mut text = format!("{mark} {platform}: {middle}{message}\n");
    match verdict {
        Verdict::Unreachable => {
            let _ = writeln!(text, "  fix: {}", doctor::online::UNREACHED);
        }
        Verdict::NotAsked => {
            let (needs, wrong) = (format!("`hermes setup --platform {platform}`"), "`hermes doctor`");
            let _ = writeln!(text, "  fix: {needs} says what it needs, and {wrong} what is wrong with it");
        }
        Verdict::Fine | Verdict::Lacking => {}
    }
    for lack in lacks {
        let mark = if lack.is_needed { "✗" } else { "⚠" };
        let _ = writeln!(text, "  {mark} {}\n      fix: {}", lack.what, lack.fix);
    }
    text
}

/// `--platform NAME`: one of them.
pub(super) fn run(
    name: &str,
    args: &SetupArgs,
    selection: &Selection,
    call: &Call,
) -> Result<u8, HermesError> {
    let Some(guide) = guide(name) else {
        let known: Vec<&str> = GUIDES.iter().map(|guide| guide.platform).collect();
        return Err(CommandError::NoGuide { name: name.to_owned(), known: known.join(", ") }.into());
    };
    let mut out = Output::stdout();
    let mut draft = Draft::open(&selection.root, &selection.profile, &call.env)?;
    let config = draft.config().unwrap_or_else(|| ProfileConfig::new(selection.profile.clone()));
    if args.check || args.json {
        let trial = args.check.then(|| trial(guide, selection, call));
        if args.json {
            out.write(&format!("{:#}\n", shown(guide, &config, trial.as_ref())))?;
        } else if let Some(trial) = &trial {
            out.write(&said(trial))?;
        }
        let works = trial.is_none_or(|trial| trial.verdict == Verdict::Fine);
        return Ok(if works { exit::OK } else { exit::FAILURE });
    }
    out.write(&text(guide))?;
    if REGISTRY.find(guide.platform).is_none_or(|platform| !platform.adapter) {
        out.line(&format!("This version does not connect {} yet.", guide.title))?;
    }
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    if args.non_interactive || !terminal {
        return without_questions(guide, &config, selection, &mut out);
    }
    draft.may_change()?;
    let known = Known {
        profile: &selection.profile,
        config: &config,
        listeners: draft.has_listeners(),
        colors: call.env.color.on(true),
    };
    interview::dress(&known);
    let changes = match ask(guide, &known) {
        Ok(changes) => changes,
        Err(error) => return left(error, &mut out),
    };
    let before = draft.problems();
    let mut lines = apply(&mut draft, &changes)?;
    refuse_what_cannot_run(&before, &draft)?;
    lines.extend(new_problems(&before, &draft));
    if !draft.config().is_some_and(|config| is_on(&config, guide)) {
        lines.push(format!("{} stays off: `enabled: false` stands in config.yaml", guide.platform));
    }
    if draft.is_changed() {
        out.line(&format!("\nThis will be written in {}:", selection.home().path()))?;
        for line in lines {
            out.line(&format!("  {line}"))?;
        }
        match interview::confirm("Write it?") {
            Ok(true) => commit(draft, Some(now()), &mut out)?,
            Ok(false) => return left(InquireError::OperationCanceled, &mut out),
            Err(error) => return left(error, &mut out),
        }
    } else {
        out.line("\nNothing changes: it is all set up like that already.")?;
    }
    offer_check(guide, selection, call, &mut out)?;
    Ok(exit::OK)
}

/// Nobody can be asked: says which variables there are, and how they are set.
fn without_questions(
    guide: &Guide,
    config: &ProfileConfig,
    selection: &Selection,
    out: &mut Output,
) -> Result<u8, HermesError> {
    let flag =
        if selection.profile.is_default() { String::new() } else { format!("-p {} ", selection.profile) };
    let mut text = String::from("Nobody can be asked here. Each value is read from standard input by\n");
    for variable in guide.variables {
        let state = match (config.env.get(variable.name).is_some(), variable.is_needed) {
            (true, _) => "set",
            (false, true) => "missing",
            (false, false) => "optional",
        };
        let command = format!("hermes {flag}config set {} -", variable.name);
        let _ = writeln!(text, "  {command:<52}# {state}");
    }
    let _ = writeln!(
        text,
        "\n`hermes {flag}setup --platform {} --check` asks the service whether it works.",
        guide.platform
    );
    out.write(&text)?;
    if is_on(config, guide) {
        return Ok(exit::OK);
    }
    let lack = format!("{} is not turned on", guide.platform);
    Err(HermesError::NotSetUp { profile: selection.profile.clone(), lack })
}

/// For programs; fields are only ever added.
fn shown(guide: &Guide, config: &ProfileConfig, trial: Option<&Trial>) -> serde_json::Value {
    let variables: Vec<_> = guide
        .variables
        .iter()
        .map(|variable| {
            json!({
                "name": variable.name,
                "about": variable.about,
                "secret": variable.is_secret,
                "needed": variable.is_needed,
                "default": Some(variable.default).filter(|text| !text.is_empty()),
                "set": config.env.get(variable.name).is_some(),
            })
        })
        .collect();
    json!({
        "schema": 1,
        "platform": guide.platform,
        "title": guide.title,
        "connects": REGISTRY.find(guide.platform).is_some_and(|platform| platform.adapter),
        "on": is_on(config, guide),
        "steps": guide.steps,
        "variables": variables,
        "paste": guide.paste.as_ref().map(|paste| json!({"about": paste.about, "text": paste.text})),
        "check": trial,
    })
}
