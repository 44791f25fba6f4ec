//! `hermes profile alias`: makes and removes the commands that stand for `hermes -p NAME`.

use hermes_wire::{ProfileName, RootHome, exit};

use super::alias_prefix;
use crate::cli::Call;
use crate::cli::output::Output;
use crate::error::HermesError;
use crate::profile::alias::AliasDir;
use crate::profile::error::ProfileError;

/// `name`: the profile as typed; `alias`: what `--name` says.
pub(super) fn run(
    name: &str,
    alias: Option<&str>,
    remove: bool,
    call: &Call,
    mut out: Output,
) -> Result<u8, HermesError> {
    let root = call.select_strict()?.root;
    let aliases = call.aliases().map_err(ProfileError::Alias)?;
    let profile = ProfileName::from_user_input(name).map_err(ProfileError::Name)?;
    let exists = profile.is_default() || root.profile(&profile).path().is_dir();
    if remove {
        return take(&aliases, &profile, alias, exists, &mut out);
    }
    if !exists {
        return Err(ProfileError::Missing(profile).into());
    }
    // The alias is called as the profile was typed, so that `Coder` is refused instead of becoming another word.
    let wanted = alias.map_or_else(|| default_name(&root, name), str::to_owned);
    let created = aliases.create(&root, &profile, Some(&wanted), "").map_err(ProfileError::Alias)?;
    out.line(&format!("✓ Alias created: {}", created.path))?;
    if let Some(before) = created.before {
        out.line(&format!("  It stood for profile '{before}' before."))?;
    }
    if !aliases.is_on_path() {
        out.line(&format!("⚠ {} is not in your PATH.", aliases.path()))?;
    }
    Ok(exit::OK)
}

fn default_name(root: &RootHome, name: &str) -> String {
    if name == hermes_wire::profile::DEFAULT {
        return name.to_owned();
    }
    format!("{}{name}", alias_prefix(root))
}

/// Wrappers of a profile that is gone can be removed too.
fn take(
    aliases: &AliasDir,
    profile: &ProfileName,
    alias: Option<&str>,
    exists: bool,
    out: &mut Output,
) -> Result<u8, HermesError> {
    let (removed, kept) = aliases.remove(profile, alias);
    for alias in &removed {
        out.line(&format!("✓ Removed alias '{}'", alias.name))?;
    }
    if let Some(why) = kept.into_iter().next() {
        return Err(ProfileError::Alias(why).into());
    }
    if removed.is_empty() {
        if !exists {
            return Err(ProfileError::Missing(profile.clone()).into());
        }
        out.line(&format!("No alias '{}' found to remove.", alias.unwrap_or(profile.as_str())))?;
    }
    Ok(exit::OK)
}
