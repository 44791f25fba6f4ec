//! The supervisor's answers to the command line, over `supervisor.sock`.
//!
//! One request a connection. The supervisor answers with any number of `Progress`, `Gateway` and `Profile` frames and exactly
//! one final `Done` or `Refused`, then closes. Status travels as JSON (the very objects of `hermes status --json`), one frame a
//! profile, so that a thousand profiles fit and a field more breaks nobody.

use serde::{Deserialize, Serialize};

/// One frame of the supervisor's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientReply {
    /// One line for people while the request is carried out.
    Progress(String),
    /// JSON of [`crate::contract::gateway_status::Gateway`].
    Gateway(String),
    /// JSON of [`crate::contract::gateway_status::Profile`].
    Profile(String),
    /// Carried out; one line for people, possibly empty.
    Done(String),
    /// Not carried out.
    Refused {
        /// The exit code the command ends with.
        code: u8,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
}
