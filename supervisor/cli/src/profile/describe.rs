//! What a profile is for: `profile.yaml`, whose other keys are kept.

use camino::Utf8Path;
use hermes_config::edit;
use hermes_host::disk;

use super::error::ProfileError;

/// Largest `profile.yaml`, in bytes.
const LIMIT: usize = 256 * 1024;

/// Writes the description into the home at `home`.
pub(crate) fn write(home: &Utf8Path, description: &str) -> Result<(), ProfileError> {
    let path = home.join("profile.yaml");
    let unreadable = |why: String| ProfileError::Unreadable { path: path.clone(), why };
    let text = match disk::read_bounded(&path, LIMIT) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(ProfileError::io("read", path.clone())(e)),
    };
    let edited = edit::set(&text, &["description"], &edit::Value::from(description))
        .and_then(|new| {
            edit::set(&new.text, &["description_auto"], &edit::Value::from(serde_json::json!(false)))
        })
        .map_err(|e| unreadable(e.to_string()))?;
    disk::replace(&path, edited.text.as_bytes()).map_err(ProfileError::io("write", path))
}

/// Whether the description was generated.
pub(crate) fn is_generated(home: &Utf8Path) -> bool {
    let bytes = disk::read_bounded(&home.join("profile.yaml"), LIMIT).unwrap_or_default();
    hermes_config::text_at(&bytes, &["description_auto"]).as_deref() == Some("true")
}
