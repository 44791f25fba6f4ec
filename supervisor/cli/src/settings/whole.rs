//! `config.yaml` as a whole: made for the first time, or replaced by a text that somebody edited.

use hermes_config::schema;
use hermes_host::disk;
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hermes_worker::REGISTRY;

use super::admin;
use super::error::SettingsError;
use super::file::{self, Source};
use crate::home::{Selection, Surroundings};

/// Only the root home may be missing: a named profile's was found, or it could not have been selected.
pub(crate) fn make_home(profile: &ProfileName, home: &ProfileHome) -> Result<(), SettingsError> {
    let path = home.path();
    if !profile.is_default() || path.exists() {
        return Ok(());
    }
    disk::make_dirs(path, 0o700).map_err(SettingsError::io("make", path))
}

/// Refuses where a package manager owns the files of a home.
pub(crate) fn may_change(home: &ProfileHome, surroundings: &Surroundings) -> Result<(), SettingsError> {
    admin::package_manager(home, surroundings).map_or(Ok(()), |text| Err(SettingsError::PackageManaged(text)))
}

/// Makes a `config.yaml` that says nothing yet: every key as a comment.
pub(crate) fn create(root: &RootHome, profile: &ProfileName) -> Result<(), SettingsError> {
    let home = root.profile(profile);
    make_home(profile, &home)?;
    let _lock = file::lock(home.path(), &[])?;
    let mut file = Source::open(home.config())?;
    if file.exists() {
        return Ok(());
    }
    file.text = schema::docs::template(&REGISTRY, profile.is_default());
    file.write()
}

/// Puts a whole new text in the place of `config.yaml`, if it is still what it was.
pub(crate) fn replace_config(selection: &Selection, text: &[u8], before: &[u8]) -> Result<(), SettingsError> {
    let home = selection.home();
    let file = home.config();
    let _lock = file::lock(home.path(), &[&file])?;
    if file::bytes(&file)?.unwrap_or_default() != before {
        return Err(SettingsError::Changed(file));
    }
    disk::replace(&file, text).map_err(SettingsError::io("write", file))
}
