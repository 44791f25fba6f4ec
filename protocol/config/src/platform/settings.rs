//! What platforms' sections say, each in its platform's own type.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::secret::Secret;

/// A model that clients may ask for by another name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelRoute {
    /// That name.
    pub alias: String,
    /// Model id on the wire.
    pub model: String,
    /// Who serves it; without it and an address, whoever serves the profile's model.
    pub provider: Option<String>,
    /// Key.
    pub api_key: Option<Secret>,
    /// Address.
    pub base_url: Option<String>,
}

/// What a platform's section says, in the platform's own type, and what everybody may ask of any such type.
pub trait Settings: Any + Debug + Same + Send + Sync {
    /// Why the platform must not start although it is configured.
    fn fault(&self) -> Option<&Fault> {
        None
    }

    /// Whether the profile can be reached through the platform as it is configured.
    fn reaches(&self) -> bool {
        self.fault().is_none()
    }

    /// Most turns whose client waits, of those that come by it; 0: no limit; none: it has no such turns.
    fn direct_turns(&self) -> Option<u32> {
        None
    }

    /// Other models that whoever comes by it may ask for.
    fn model_routes(&self) -> &[ModelRoute] {
        &[]
    }

    /// Everything in it that must never be logged.
    fn secrets(&self) -> Vec<&Secret> {
        Vec::new()
    }
}

/// Comparison of what may be of different types.
pub trait Same {
    /// Whether both are of one type and say the same.
    fn is_same(&self, other: &dyn Any) -> bool;
}

impl<T: Any + PartialEq> Same for T {
    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| other == self)
    }
}

/// Why a platform must not start although it is configured: its state is `fatal`, and retrying is useless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For programs, as in [`Problem::code`](hermes_wire::latest::Problem::code).
    pub code: String,
    /// For people.
    pub message: String,
}

/// Where a platform is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// Host; none: all interfaces.
    pub host: Option<String>,
    /// Port as configured; of the gateway's listener, as bound.
    pub port: u16,
    /// The listener is the gateway's, and another profile's files decide it.
    pub shared: bool,
}

/// The settings of every platform that is on, by its name, and where those are reached that the gateway listens for.
#[derive(Debug, Clone, Default)]
pub struct AllSettings {
    all: BTreeMap<&'static str, Arc<dyn Settings>>,
    listeners: BTreeMap<&'static str, ListenAddress>,
}

impl AllSettings {
    /// Those of one platform, where it is on.
    pub fn get(&self, name: &str) -> Option<&dyn Settings> {
        self.all.get(name).map(|settings| &**settings)
    }

    /// The same, where they are of this type.
    pub fn of<T: Any>(&self, name: &str) -> Option<&T> {
        let settings: &dyn Any = self.get(name)?;
        settings.downcast_ref()
    }

    /// Those of all platforms.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Settings> {
        self.all.values().map(|settings| &**settings)
    }

    /// Adds, or replaces, those of one platform.
    pub fn set(&mut self, name: &'static str, settings: Arc<dyn Settings>) {
        self.all.insert(name, settings);
    }

    /// Where a platform is reached, where it is on and the gateway listens for it.
    pub fn listener(&self, name: &str) -> Option<&ListenAddress> {
        self.listeners.get(name)
    }

    /// Whether the gateway listens for any.
    pub fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Says where one is reached.
    pub fn listen(&mut self, name: &'static str, address: ListenAddress) {
        self.listeners.insert(name, address);
    }
}

impl PartialEq for AllSettings {
    fn eq(&self, other: &Self) -> bool {
        let same = |(x, y): (&Arc<dyn Settings>, &Arc<dyn Settings>)| x.is_same(&**y);
        self.listeners == other.listeners
            && self.all.keys().eq(other.all.keys())
            && self.all.values().zip(other.all.values()).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Port(u16);

    impl Settings for Port {}

    #[test]
    fn settings_are_of_one_type_and_compared_by_what_they_say() {
        let all = |port: u16| {
            let mut all = AllSettings::default();
            all.set("chat", Arc::new(Port(port)));
            all
        };
        assert_eq!(all(1).of::<Port>("chat"), Some(&Port(1)));
        assert!(all(1).of::<u32>("chat").is_none() && all(1).of::<Port>("other").is_none());
        assert!(all(1) == all(1) && all(1) != all(2) && all(1) != AllSettings::default());
        let mut reached = all(1);
        reached.listen("chat", ListenAddress { host: None, port: 1, shared: false });
        assert!(
            reached != all(1) && reached.listener("chat").is_some() && reached.listener("other").is_none()
        );
    }
}
