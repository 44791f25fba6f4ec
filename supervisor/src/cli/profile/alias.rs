//! `hermes profile alias`.

use hermes_protocol::exit;

use super::super::Call;
use super::super::output::Output;
use super::{alias_prefix, existing, not_on_path};
use crate::error::HermesError;
use crate::profile::error::ProfileError;

pub(super) fn run(
    typed: &str,
    name: Option<&str>,
    remove: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let selection = call.select_and_warn()?;
    let profile = existing(typed, &selection.root)?;
    let aliases = call.aliases().map_err(ProfileError::Alias)?;
    if remove {
        let removed = aliases.remove(&profile, name);
        for alias in &removed {
            out.line(&format!("✓ Removed alias '{}'", alias.name))?;
        }
        if removed.is_empty() {
            out.line(&format!("No alias '{}' found to remove.", name.unwrap_or(profile.as_str())))?;
        }
        return Ok(exit::OK);
    }
    let prefix = alias_prefix(&selection.root);
    // The built-in profile needs no alias; it may have one under a name of its own.
    let wanted = name.or_else(|| profile.is_default().then_some(profile.as_str()));
    let made = aliases.create(&selection.root, &profile, wanted, &prefix).map_err(ProfileError::Alias)?;
    if let Some(why) = made.instead {
        out.line(&format!("⚠ {why}"))?;
    }
    out.line(&format!("✓ Alias created: {}", made.path))?;
    if !aliases.is_on_path() {
        out.line("")?;
        out.write(&not_on_path(aliases.path()))?;
    }
    Ok(exit::OK)
}
