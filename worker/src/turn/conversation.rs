//! What a turn works on: whose conversation, by which lease, and what its prompts are made of beside what is stored.

use std::sync::Arc;

use super::Inner;
use super::lease::Lease;
use crate::engine::{ModelId, Prompt, Role};

/// See the module.
pub(super) struct Conversation {
    pub(super) inner: Arc<Inner>,
    /// Where the turn began.
    pub(super) session_id: String,
    /// By which the turn may write.
    pub(super) lease: Lease,
    /// What follows the stored prompt.
    pub(super) own: String,
    /// Who answers, where that is not the profile's model.
    pub(super) model: Option<ModelId>,
    /// Exchanges with tools are part of its prompts.
    pub(super) with_tools: bool,
}

impl Conversation {
    /// That of a turn that begins with `prompt`.
    pub(super) fn new(inner: &Arc<Inner>, prompt: &Prompt, lease: &Lease) -> Self {
        let with_tools = inner.session.has_tools
            || prompt.options.contains_key("tools")
            || prompt.messages.iter().any(|message| message.role == Role::Tool);
        Self {
            inner: Arc::clone(inner),
            session_id: prompt.session_id.clone(),
            lease: lease.clone(),
            own: prompt.system.get(prompt.stored..).unwrap_or_default().to_owned(),
            model: prompt.wishes.model.as_ref().map(|choice| inner.engine.model_of(Some(choice))),
            with_tools,
        }
    }
}
