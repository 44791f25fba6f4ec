//! `hermes config check`: everything that is wrong with one profile's two files.

use std::fmt::Write as _;

use hermes_wire::exit;
use hermes_wire::latest::{Problem, Severity};

use super::super::Call;
use super::super::output::Output;
use crate::error::{CommandError, HermesError};
use crate::home::Selection;
use crate::settings::judge::Part;
use crate::status::render;

pub(super) fn run(json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    let problems =
        Part::of(&selection.root, &selection.profile, &call.env).look(&selection.profile, &home).problems;
    let errors = problems.iter().filter(|problem| problem.severity.stops_profile()).count();
    if json {
        let value = serde_json::json!({
            "schema": 1,
            "profile": selection.profile,
            "config": home.config(),
            "env_file": home.env_file(),
            "refused": errors > 0,
            "problems": problems,
        });
        out.line(&format!("{value:#}"))?;
        return Ok(if errors > 0 { exit::CONFIG } else { exit::OK });
    }
    out.write(&text(&selection, &problems, errors))?;
    if errors > 0 {
        return Err(CommandError::ConfigProblems { count: errors }.into());
    }
    Ok(exit::OK)
}

fn text(selection: &Selection, problems: &[Problem], errors: usize) -> String {
    let mut text = String::new();
    for problem in render::others(problems) {
        text += &render::problem(None, problem);
    }
    text += &render::unsupported(None, problems);
    if !problems.is_empty() {
        text.push('\n');
    }
    let lesser = problems.iter().filter(|problem| problem.severity == Severity::Platform).count();
    let (mark, verdict) = match (errors, lesser) {
        (0, 0) => ("✓", "can be used"),
        (0, _) => ("⚠", "can be used, in part: the profile would be degraded"),
        _ => ("✗", "would be refused"),
    };
    let profile = &selection.profile;
    let warnings = problems.len() - errors - lesser;
    let _ = writeln!(text, "{mark} The configuration of '{profile}' {verdict}");
    let _ = writeln!(text, "  problems: {}, warnings: {warnings}", errors + lesser);
    text
}
