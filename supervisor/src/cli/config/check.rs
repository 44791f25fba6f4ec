//! `hermes config check`: everything that is wrong with one profile's two files.

use std::fmt::Write as _;

use hermes_protocol::config::MAX_FILE_LEN;
use hermes_protocol::latest::{Problem, Severity};
use hermes_protocol::{ProfileHome, exit};

use super::super::Call;
use super::super::output::Output;
use crate::disk;
use crate::error::HermesError;
use crate::home::Selection;
use crate::settings::judge::{Part, Pinned};
use crate::status::render;

pub(super) fn run(json: bool, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    let selection = call.select_strict()?;
    let home = selection.home();
    let problems = judge(&selection, &home, call)?;
    let errors = problems.iter().filter(|problem| is_error(problem)).count();
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
        return Err(HermesError::Refused {
            code: exit::CONFIG,
            message: format!("{} must be fixed first", plural(errors, "problem")),
            hint: Some("fix them (`hermes config edit`) and run `hermes config check` again".to_owned()),
        });
    }
    Ok(exit::OK)
}

/// What a start would say about both files; one that cannot be read at all is an error of its own.
fn judge(selection: &Selection, home: &ProfileHome, call: &Call) -> Result<Vec<Problem>, HermesError> {
    let bytes = |path: camino::Utf8PathBuf| match disk::read_bounded(&path, MAX_FILE_LEN + 1) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HermesError::System { doing: "read", object: path.to_string(), source }),
    };
    let (yaml, env) = (bytes(home.config())?, bytes(home.env_file())?);
    let pinned = Pinned::read(&call.env.managed_dir)?;
    let part = Part::of(&selection.root, &selection.profile, pinned);
    Ok(part.load(&selection.profile, home, yaml.as_deref(), env.as_deref()).problems)
}

pub(super) fn is_error(problem: &Problem) -> bool {
    problem.severity != Severity::Warning
}

fn text(selection: &Selection, problems: &[Problem], errors: usize) -> String {
    let mut text = String::new();
    for problem in problems {
        text += &render::problem(None, problem);
    }
    if !problems.is_empty() {
        text.push('\n');
    }
    let (mark, verdict) = if errors > 0 { ("✗", "would be refused") } else { ("✓", "can be used") };
    let profile = &selection.profile;
    let _ = writeln!(text, "{mark} The configuration of '{profile}' {verdict}");
    let _ = writeln!(text, "  problems: {errors}, warnings: {}", problems.len() - errors);
    text
}

fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
