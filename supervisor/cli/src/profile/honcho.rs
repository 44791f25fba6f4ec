//! The host block of a profile in `honcho.json`, as 0.19.0's memory plug-in keeps it: it follows a rename.

use camino::Utf8Path;
use hermes_host::disk;
use hermes_wire::{ProfileName, RootHome};
use serde_json::Value;

use crate::home::Surroundings;

/// Largest file, in bytes.
const LIMIT: usize = 1024 * 1024;

/// Moves `hermes_OLD` (or `hermes.OLD`) to `hermes_NEW` wherever it stands. What could not be done.
pub(crate) fn rename(
    root: &RootHome,
    env: &Surroundings,
    old: &ProfileName,
    new: &ProfileName,
) -> Vec<String> {
    let own = root.profile(new).path().join("honcho.json");
    let shared = root.path().join("honcho.json");
    let user = env.user_home.as_ref().map(|home| home.join(".honcho/config.json"));
    [Some(own), Some(shared), user]
        .into_iter()
        .flatten()
        .filter_map(|path| in_file(&path, old, new).err())
        .collect()
}

fn in_file(path: &Utf8Path, old: &ProfileName, new: &ProfileName) -> Result<(), String> {
    let Ok(bytes) = disk::read_bounded(path, LIMIT) else { return Ok(()) };
    let Ok(mut json) = serde_json::from_slice::<Value>(&bytes) else {
        return Err(format!("{path} is not JSON and was left alone"));
    };
    let Some(hosts) = json.get_mut("hosts").and_then(Value::as_object_mut) else { return Ok(()) };
    let Some(key) =
        [format!("hermes_{old}"), format!("hermes.{old}")].into_iter().find(|k| hosts.contains_key(k))
    else {
        return Ok(());
    };
    let to = format!("hermes_{new}");
    if hosts.contains_key(&to) {
        return Err(format!("{path} has a block `{to}` already; `{key}` was left alone"));
    }
    if let Some(mut block) = hosts.shift_remove(&key) {
        if let Some(block) = block.as_object_mut() {
            block.entry("aiPeer").or_insert_with(|| old.as_str().into());
        }
        hosts.insert(to, block);
    }
    let text = format!("{json:#}\n");
    disk::replace(path, text.as_bytes()).map_err(|e| format!("{path} was not changed: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_moves_and_keeps_its_peer() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("honcho.json")).unwrap();
        let (old, new) = ("coder".parse().unwrap(), "dev".parse().unwrap());
        fs_err::write(&path, r#"{"hosts":{"hermes.coder":{"x":1},"other":{}}}"#).unwrap();
        in_file(&path, &old, &new).unwrap();
        let json: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({"hosts":{"other":{},"hermes_dev":{"x":1,"aiPeer":"coder"}}}));
        fs_err::write(&path, r#"{"hosts":{"hermes_coder":{},"hermes_dev":{}}}"#).unwrap();
        assert!(in_file(&path, &old, &new).unwrap_err().contains("already"));
    }
}
