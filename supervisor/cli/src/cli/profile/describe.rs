//! `hermes profile describe`.

use hermes_wire::exit;

use super::super::Call;
use super::super::output::Output;
use super::parse;
use crate::error::{CommandError, HermesError};
use crate::profile::{describe, overview};

pub(super) fn run(
    typed: Option<&str>,
    text: Option<&str>,
    json: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let Some(typed) = typed else {
        return Err(CommandError::NoProfileNamed.into());
    };
    let name = parse(typed)?;
    let home = selection.root.profile(&name);
    if let Some(text) = text {
        if !home.path().is_dir() {
            return Err(HermesError::NoHome { home: home.path().to_owned() });
        }
        describe::write(home.path(), text.trim())?;
        out.line(&format!("Description updated for '{typed}'."))?;
        return Ok(exit::OK);
    }
    if !home.path().is_dir() {
        return Err(HermesError::NoProfile { name: typed.to_owned() });
    }
    let description = overview::description(home.path());
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
