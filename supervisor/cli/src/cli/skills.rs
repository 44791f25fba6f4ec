//! `hermes skills`: which skills a profile has, and which of them count.

mod change;

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use hermes_wire::exit;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Call;
use super::output::{self, Output};
use crate::error::HermesError;
use crate::skills::installed::{self, Skill, Source};
use crate::skills::{bundle, sync};

/// Columns where the width is not known, and the least that a description gets.
const WIDTH: usize = 110;
const LEAST: usize = 24;
/// Widest name and category.
const CELL: usize = 32;

#[derive(Debug, Args)]
pub(super) struct SkillsArgs {
    #[command(subcommand)]
    command: SkillsCommand,
}

#[derive(Debug, Subcommand)]
enum SkillsCommand {
    /// List the skills of the selected profile.
    #[command(
        after_help = "Source: bundled with this program, modified by you, yours, or external (skills.external_dirs).\n\n\
        Examples:\n  hermes skills list\n  hermes -p coder skills list --json"
    )]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Only those that the model is offered.
        #[arg(long)]
        enabled_only: bool,
    },
    /// Offer a skill to the model again.
    Enable {
        /// The skill's name.
        #[arg(value_hint = clap::ValueHint::Other)]
        name: String,
    },
    /// Offer a skill to the model no more; it stays where it is.
    Disable {
        /// The skill's name.
        #[arg(value_hint = clap::ValueHint::Other)]
        name: String,
    },
    /// Copy a skill from a directory into the profile.
    #[command(after_help = "Example:\n  hermes -p coder skills install ./my-skill")]
    Install {
        /// The directory with its `SKILL.md`.
        #[arg(value_hint = clap::ValueHint::DirPath)]
        path: Utf8PathBuf,
        /// Also where its text looks like an attack on the model.
        #[arg(long)]
        force: bool,
    },
}

/// `hermes skills`.
pub(super) fn run(args: &SkillsArgs, call: &Call) -> Result<u8, HermesError> {
    match &args.command {
        SkillsCommand::List { json, enabled_only } => list(*json, *enabled_only, call),
        SkillsCommand::Enable { name } => change::turn(name, true, call),
        SkillsCommand::Disable { name } => change::turn(name, false, call),
        SkillsCommand::Install { path, force } => change::install(path, *force, call),
    }
}

fn list(json: bool, enabled_only: bool, call: &Call) -> Result<u8, HermesError> {
    let mut out = Output::stdout();
    let selection = call.select_and_warn()?;
    let home = selection.home();
    let (mut skills, flaw) = installed::list(&home, bundle::all());
    skills.retain(|skill| !enabled_only || (!skill.disabled && skill.problem.is_none()));
    if let Some(flaw) = flaw {
        output::warn(&format!("what was bundled cannot be told, so every skill is shown as yours: {flaw}"));
    }
    let opted_out = fs_err::symlink_metadata(home.path().join(sync::OPT_OUT)).is_ok();
    if json {
        let value = serde_json::json!({
            "schema": 1,
            "profile": selection.profile,
            "home": home.path(),
            "opted_out": opted_out,
            "skills": skills.iter().map(entry).collect::<Vec<_>>(),
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    if skills.is_empty() {
        let why = if opted_out { " (it has .no-bundled-skills)" } else { "" };
        let next = "`hermes update --skills-only` brings the bundled ones";
        let next = if opted_out { String::new() } else { format!("; {next}") };
        out.line(&format!("No skills in profile '{}'{why}{next}.", selection.profile))?;
        return Ok(exit::OK);
    }
    out.write(&table(&skills, out.width().unwrap_or(WIDTH)))?;
    for skill in &skills {
        if let Some(problem) = &skill.problem {
            let file = installed::clean(skill.path.join("SKILL.md").as_str());
            output::warn(&format!("`{file}` cannot be used: {problem}"));
        }
    }
    Ok(exit::OK)
}

fn entry(skill: &Skill) -> serde_json::Value {
    serde_json::json!({
        "name": skill.name,
        "category": skill.category,
        "description": skill.description,
        "source": skill.source.word(),
        "enabled": !skill.disabled,
        "path": skill.path,
        "problem": skill.problem,
    })
}

fn table(skills: &[Skill], width: usize) -> String {
    let state = |skill: &Skill| match (&skill.problem, skill.disabled) {
        (Some(_), _) => "broken",
        (None, true) => "disabled",
        (None, false) => "enabled",
    };
    let cells: Vec<[String; 4]> = skills
        .iter()
        .map(|skill| {
            [
                cut(&skill.name, CELL),
                cut(skill.category.as_deref().unwrap_or("-"), CELL),
                skill.source.word().to_owned(),
                state(skill).to_owned(),
            ]
        })
        .collect();
    let titles = ["NAME", "CATEGORY", "SOURCE", "STATE"];
    let mut widths = titles.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let used = widths.iter().map(|width| width + 2).sum::<usize>();
    let room = width.saturating_sub(used).max(LEAST);
    let mut text = String::new();
    let mut push = |row: [&str; 4], last: &str| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell}{}", " ".repeat(width.saturating_sub(cell.width()) + 2));
        }
        line += last;
        let _ = writeln!(text, "{}", line.trim_end());
    };
    push(titles, "DESCRIPTION");
    for (row, skill) in cells.iter().zip(skills) {
        let row = [&row[0], &row[1], &row[2], &row[3]].map(String::as_str);
        push(row, &cut(skill.description.as_deref().unwrap_or("-"), room));
    }
    let count = |wanted: fn(&Skill) -> bool| skills.iter().filter(|skill| wanted(skill)).count();
    let _ = write!(
        text,
        "\n{} bundled, {} modified, {} yours",
        count(|s| s.source == Source::Bundled),
        count(|s| s.source == Source::Modified),
        count(|s| s.source == Source::Yours),
    );
    let external = count(|s| s.source == Source::External);
    if external > 0 {
        let _ = write!(text, ", {external} external");
    }
    let broken = count(|s| s.problem.is_some());
    let disabled = count(|s| s.problem.is_none() && s.disabled);
    let _ = write!(text, " — {} enabled, {disabled} disabled", skills.len() - broken - disabled);
    if broken > 0 {
        let _ = write!(text, ", {broken} broken");
    }
    text.push('\n');
    text
}

/// At most `room` columns.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_cut_to_the_terminal() {
        assert_eq!([cut("abc", 3), cut("abcd", 3), cut("a  bcd", 3)], ["abc", "ab…", "a…"]);
        assert_eq!(cut("日本語です", 6), "日本…");
        let skill = |name: &str| Skill {
            name: name.to_owned(),
            category: None,
            description: Some("word ".repeat(60)),
            source: Source::Yours,
            disabled: false,
            path: "/s".into(),
            problem: None,
        };
        for width in [60, 80, 200] {
            let text = table(&[skill("short"), skill(&"long".repeat(40))], width);
            let widest = text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width.max(4 * 2 + 32 + 8 + 6 + 7 + LEAST), "{width}: {widest}");
        }
    }
}
