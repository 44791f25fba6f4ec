//! What two states of a profile's files differ in, by name: keys and variables are compared by keyed hashes of their values, so that
//! one state can be kept beside the other without a value being kept.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::document::{Document, Unreadable};
use super::dotenv;
use super::path::KeyPath;

/// Bytes of a hash that are kept: enough to tell two values apart.
const KEPT: usize = 8;
/// Keys and variables that are looked at; a file of settings has fewer.
const MOST: usize = 4096;

/// Hashes by name.
pub type Hashes = BTreeMap<String, String>;

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// Its value is another one.
    Changed,
}

impl Difference {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// The keys of a `config.yaml`; of lists the whole. An error where it is none.
pub fn of_config(key: &[u8], yaml: &[u8]) -> Result<Hashes, Unreadable> {
    let document = Document::parse(yaml)?;
    let said = |path: &KeyPath| document.plain(path).map(|value| value.to_string()).unwrap_or_default();
    let leaves = document.leaves().into_iter().take(MOST);
    Ok(leaves.map(|path| (path.to_string(), hash(key, "config", &path.to_string(), &said(&path)))).collect())
}

/// The variables of a `.env`.
pub fn of_env(key: &[u8], env: &[u8]) -> Hashes {
    let read = dotenv::parse(env);
    let all = read.env.iter().take(MOST);
    all.map(|(name, value)| (name.to_owned(), hash(key, "env", name, value))).collect()
}

/// What differs, by name.
pub fn differences(before: &Hashes, now: &Hashes) -> Vec<(String, Difference)> {
    let mut all: Vec<(String, Difference)> = Vec::new();
    for (name, hash) in now {
        match before.get(name) {
            None => all.push((name.clone(), Difference::Added)),
            Some(old) if old != hash => all.push((name.clone(), Difference::Changed)),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    all.extend(gone.map(|name| (name.clone(), Difference::Removed)));
    all.sort();
    all
}

fn hash(key: &[u8], kind: &str, name: &str, value: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [kind, name, value] {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    let whole = mac.finalize().into_bytes();
    whole.iter().take(KEPT).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N3.11: names alone tell what has changed, and the same value under another key is another hash.
    #[test]
    fn n3_11_names_tell_what_has_changed_and_no_value_is_kept() {
        let key = [7; 32];
        let before = of_config(&key, b"model: {default: a, base_url: x}\nlist: [1, 2]\n").unwrap();
        let now =
            of_config(&key, b"# other words\nmodel:\n  default: b\nlist: [1, 2]\nnew: {key: 3}\n").unwrap();
        let named = |all: Vec<(String, Difference)>| -> Vec<String> {
            all.into_iter().map(|(name, how)| format!("{name} {}", how.as_str())).collect()
        };
        assert_eq!(
            named(differences(&before, &now)),
            ["model.base_url removed", "model.default changed", "new.key added"]
        );
        let before = of_env(&key, b"A=secret-value\nB=2\n");
        let now = of_env(&key, b"export A='secret-value'\nB=3\nC=\n");
        assert_eq!(named(differences(&before, &now)), ["B changed", "C added"]);
        assert!(!format!("{before:?}").contains("secret-value"));
        assert_ne!(before["A"], of_env(&[8; 32], b"A=secret-value\n")["A"]);
        assert!(of_config(&key, b"a: [").is_err());
        assert!(of_config(&key, b"").unwrap().is_empty());
    }
}
