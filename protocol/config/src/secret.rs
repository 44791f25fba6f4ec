//! Values that must never be seen: not in `Debug`, not in an error, not in freed memory; and which values are such, by the names
//! they stand under and by their looks.

pub(crate) mod looks;
pub(crate) mod names;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A secret text. `Debug` prints `***`; dropping it overwrites it.
///
/// Serialising one is the deliberate act of handing it to a process of the same profile.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Name it only where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The variables of one profile's `.env`. `Debug` prints names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Env(BTreeMap<String, Secret>);

impl Env {
    /// A variable's value; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// A variable's value, possibly empty.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    /// All variables with their values, sorted by name; for children of the worker.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }

    /// These variables, with those of `over` laid over them.
    #[must_use]
    pub fn under(&self, over: &Self) -> Self {
        let mut all = self.0.clone();
        all.extend(over.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(all)
    }

    /// These variables and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut all = self.clone();
        all.0.insert(name.to_owned(), Secret::new(value));
        all
    }

    /// These variables without one.
    #[must_use]
    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Secret)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_never_values() {
        let env: Env = [("KEY".to_owned(), Secret::new("hunter2")), ("EMPTY".to_owned(), Secret::default())]
            .into_iter()
            .collect();
        let shown = format!("{env:?} {:?}", Secret::new("hunter2"));
        assert!(shown.contains("KEY") && shown.contains("***") && !shown.contains("hunter2"), "{shown}");
        assert_eq!((env.get("KEY"), env.get("EMPTY"), env.get("NONE")), (Some("hunter2"), None, None));
    }
}
