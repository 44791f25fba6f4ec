//! `hermes profile describe`.

use hermes_wire::exit;

use super::super::Call;
use super::super::output::Output;
use super::parse;
use crate::error::HermesError;
use crate::profile::{describe, facts};

pub(super) fn run(
    typed: Option<&str>,
    text: Option<&str>,
    json: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let Some(typed) = typed else {
        let message = "profile describe: profile name is required".to_owned();
        return Err(HermesError::Refused { code: exit::USAGE, message, hint: None });
    };
    let name = parse(typed)?;
    let home = selection.root.profile(&name);
    let refused = |message| HermesError::Known { code: exit::FAILURE, message, hint: None };
    if let Some(text) = text {
        if !home.path().is_dir() {
            return Err(refused(format!("profile directory does not exist: {}", home.path())));
        }
        describe::write(home.path(), text.trim())?;
        out.line(&format!("Description updated for '{typed}'."))?;
        return Ok(exit::OK);
    }
    if !home.path().is_dir() {
        return Err(refused(format!("profile '{typed}' not found")));
    }
    let description = facts::description(home.path());
    let generated = describe::is_generated(home.path());
    if json {
        let value = serde_json::json!({
            "schema": 1, "profile": name, "description": description, "generated": generated,
        });
        out.line(&format!("{value:#}"))?;
        return Ok(exit::OK);
    }
    match description {
        Some(text) => out.line(&format!("{}{text}", if generated { "[auto] " } else { "" }))?,
        None => out.line(&format!("(no description set for '{typed}')"))?,
    }
    Ok(exit::OK)
}
