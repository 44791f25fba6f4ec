//! What a profile is for and how it is shown: `profile.yaml`, whose other keys are kept.

use camino::Utf8Path;
use hermes_config::edit;
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;

use super::error::ProfileError;

/// Largest `profile.yaml`, in bytes.
const LIMIT: usize = 256 * 1024;

/// Longest display name, in characters, as releases from 0.20.5 on have it.
pub(crate) const LONGEST_NAME: usize = 64;

/// Writes the description into the home at `home`.
pub(crate) fn write(home: &Utf8Path, description: &str) -> Result<(), ProfileError> {
    let (text, by_hand) = (serde_json::json!(description), serde_json::json!(false));
    set(home, &[("description", text), ("description_auto", by_hand)])
}

/// Writes the name that is shown in place of `default`. It may be any short line of text.
pub(crate) fn show_as(home: &Utf8Path, name: &str) -> Result<(), ProfileError> {
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(ProfileError::DisplayName);
    }
    set(home, &[("display_name", serde_json::json!(name))])
}

/// The name that is shown for the profile; what cannot be one is none.
pub(crate) fn shown_as(home: &Utf8Path) -> Option<String> {
    let bytes = disk::read_bounded(&home.join("profile.yaml"), LIMIT).ok()?;
    let name = hermes_config::text_at(&bytes, &["display_name"])?;
    (name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control)).then_some(name)
}

/// Takes that name away: a copy of the profile is another one.
pub(crate) fn forget_name(home: &Utf8Path) -> Result<(), ProfileError> {
    if shown_as(home).is_none() {
        return Ok(());
    }
    let path = home.join("profile.yaml");
    let unset = edit::unset(&read(&path)?, &["display_name"]);
    match unset.map_err(|e| ProfileError::Unreadable { path: path.clone(), why: e.to_string() })? {
        Some(text) => disk::replace(&path, text.as_bytes()).map_err(ProfileError::io("write", path)),
        None => Ok(()),
    }
}

/// The text of a `profile.yaml`; nothing where there is none.
fn read(path: &Utf8Path) -> Result<String, ProfileError> {
    let not_text = |_| ProfileError::Unreadable { path: path.to_owned(), why: "it is not UTF-8".to_owned() };
    let bytes = disk::read_bounded(path, LIMIT).or_absent().map_err(ProfileError::io("read", path))?;
    bytes.map_or(Ok(String::new()), |bytes| String::from_utf8(bytes).map_err(not_text))
}

fn set(home: &Utf8Path, keys: &[(&str, serde_json::Value)]) -> Result<(), ProfileError> {
    let path = home.join("profile.yaml");
    let unreadable = |why: String| ProfileError::Unreadable { path: path.clone(), why };
    let mut text = read(&path)?;
    for (key, value) in keys {
        let edited = edit::set(&text, &[key], &edit::Value::from(value.clone()));
        text = edited.map_err(|e| unreadable(e.to_string()))?.text;
    }
    disk::replace(&path, text.as_bytes()).map_err(ProfileError::io("write", path))
}

/// Whether the description was generated.
pub(crate) fn is_generated(home: &Utf8Path) -> bool {
    let bytes = disk::read_bounded(&home.join("profile.yaml"), LIMIT).unwrap_or_default();
    hermes_config::text_at(&bytes, &["description_auto"]).as_deref() == Some("true")
}
