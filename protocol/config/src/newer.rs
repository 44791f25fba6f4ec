//! What a `config.yaml` says about the program that wrote it, and to it alone: the version of its configuration, and the keys that
//! came after 0.19.0 and mean nothing here.
//!
//! The version is only looked at. Nothing in this program writes `_config_version`, neither down nor up: another program's migrations
//! go by it, and one that finds its own number where it did not migrate would skip what it has to do.

use super::schema;
use super::yaml::{self, Node, Value};

/// Version of 0.19.0's configuration.
const OURS: u64 = 33;
/// Newest version whose keys are known here.
pub const NEWEST: u64 = 51;

/// What one look shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// `_config_version`, where it is newer than 0.19.0's.
    pub version: Option<u64>,
    /// Keys of newer releases that mean nothing here, as in the file, those of one section together: `gateway: a, b`.
    pub keys: Vec<String>,
    /// `agent.max_turns` is not set: newer releases have another default.
    pub default_turns: bool,
}

/// Looks at a file's bytes. Of a file that cannot be read nothing is said; whoever judges it says that.
pub fn look(bytes: &[u8]) -> Written {
    let (node, flaws) = yaml::parse(bytes);
    let Some(root) = node.filter(|_| flaws.iter().all(|flaw| !flaw.fatal)) else { return Written::default() };
    let mut keys: Vec<String> = Vec::new();
    for key in schema::newer() {
        for path in [key.path].into_iter().chain(key.also.iter().copied()) {
            // A platform's section may stand in four places; the one below `gateway` is the one that newer releases document.
            let places = match path.strip_prefix("platforms.") {
                Some(rest) => vec![
                    path.to_owned(),
                    format!("gateway.{path}"),
                    format!("gateway.{rest}"),
                    rest.to_owned(),
                ],
                None => vec![path.to_owned()],
            };
            for path in places.into_iter().filter(|path| is_set(&root, path)) {
                add(&mut keys, &path);
            }
        }
    }
    let default_turns = !is_set(&root, "agent.max_turns") && !is_set(&root, "max_turns");
    Written { version: version(Some(&root)), keys, default_turns }
}

/// Keys of one section become one entry.
fn add(keys: &mut Vec<String>, path: &str) {
    let Some((section, name)) = path.rsplit_once('.') else {
        keys.push(path.to_owned());
        return;
    };
    let head = format!("{section}: ");
    match keys.iter_mut().find(|entry| entry.starts_with(&head)) {
        Some(entry) => entry.extend([", ", name]),
        None => keys.push(format!("{head}{name}")),
    }
}

fn is_set(root: &Node, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (root.get(first), rest) {
        (None, _) => false,
        (Some(entry), None) => !entry.value.is_null(),
        (Some(entry), Some(rest)) => is_set(&entry.value, rest),
    }
}

/// The version of the configuration, where a program newer than 0.19.0 wrote it.
pub(super) fn version(root: Option<&Node>) -> Option<u64> {
    let entry = root?.get("_config_version")?;
    let Value::Scalar { text, .. } = &entry.value.value else { return None };
    text.trim().parse().ok().filter(|version| *version > OURS)
}

#[cfg(test)]
mod tests;
