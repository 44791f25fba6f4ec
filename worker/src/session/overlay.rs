//! What the model is told behind the stored prompt in every chat of the profile and at its terminal: a personality, or what else stands in
//! `agent.system_prompt`. It is looked at when a turn begins and stored with none.

use std::sync::{Arc, PoisonError, RwLock};

use hermes_config::personality::Personalities;

/// See the module. Cloning shares it; `/personality` alone writes it.
#[derive(Debug, Clone, Default)]
pub struct Overlay(Arc<RwLock<Option<String>>>);

impl Overlay {
    /// As the profile's files say.
    pub(crate) fn of(personalities: &Personalities) -> Self {
        Self(Arc::new(RwLock::new(personalities.told().map(str::to_owned))))
    }

    /// What is told from the next turn on.
    pub(crate) fn set(&self, text: Option<&str>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.map(str::to_owned);
    }

    /// What is told.
    pub(crate) fn text(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
