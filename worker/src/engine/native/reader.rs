//! Events of the other wires, told as chunks of chat completions.

use hermes_wire::providers::Wire;
use serde_json::Value;

use super::{messages, responses};

/// Reads the events of a wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Reader {
    /// They are what everything else reads.
    #[default]
    Chat,
    Messages(messages::Reader),
    Responses(responses::Reader),
}

impl Reader {
    /// For what an endpoint speaks.
    pub(super) fn of(wire: Wire) -> Self {
        match wire {
            Wire::Messages => Self::Messages(messages::Reader::default()),
            Wire::Responses => Self::Responses(responses::Reader::default()),
            Wire::Chat | Wire::Other(_) => Self::Chat,
        }
    }

    /// An event, or a whole answer, as a chunk of chat completions; `None` where it is none of this wire's.
    pub(super) fn chunk(&mut self, event: &Value) -> Option<Value> {
        match self {
            Self::Chat => None,
            Self::Messages(reader) => reader.chunk(event),
            Self::Responses(reader) => reader.chunk(event),
        }
    }

    /// Nothing follows.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Chat => false,
            Self::Messages(reader) => reader.over,
            Self::Responses(reader) => reader.over,
        }
    }

    /// What the model thought, in the form that its provider wants back.
    pub(super) fn thoughts(&mut self) -> Vec<Value> {
        match self {
            Self::Chat => Vec::new(),
            Self::Messages(reader) => std::mem::take(&mut reader.thoughts),
            Self::Responses(reader) => std::mem::take(&mut reader.thoughts),
        }
    }
}
