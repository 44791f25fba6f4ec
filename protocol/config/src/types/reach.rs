//! Which tools and skills a model is offered, and what they reach beyond the profile's own files.

use std::collections::BTreeMap;
use std::time::Duration;

/// What pieces of its work a turn may have done by children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delegation {
    /// `delegation.max_iterations`: calls to the model of one child that may want tools called. Default 50.
    pub max_iterations: u32,
    /// `delegation.max_concurrent_children`: children of one call that work at once, 1 to 16. Default 3.
    pub at_once: usize,
    /// `delegation.child_timeout_seconds`: time for one child; none: any.
    pub timeout: Option<Duration>,
    /// `delegation.max_summary_chars`: longest report that the parent is shown, in characters. Default 24 000.
    pub max_summary_chars: usize,
    /// `delegation.inherit_mcp_toolsets`: children may call the tools of servers. Default true.
    pub with_servers: bool,
}

impl Default for Delegation {
    fn default() -> Self {
        Self { max_iterations: 50, at_once: 3, timeout: None, max_summary_chars: 24_000, with_servers: true }
    }
}

/// A platform's `home_channel`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HomeChannel {
    /// The chat.
    pub chat_id: String,
    /// What it is called.
    pub name: Option<String>,
    /// A thread in it.
    pub thread_id: Option<String>,
}

/// Which groups of tools the model is offered. Names that nobody knows count for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toolsets {
    /// `toolsets`; `None`: not said.
    pub everywhere: Option<Vec<String>>,
    /// `platform_toolsets.<platform>`, instead of those.
    pub platforms: BTreeMap<String, Vec<String>>,
    /// `agent.disabled_toolsets`: never.
    pub disabled: Vec<String>,
}

/// Which skills the model is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skills {
    /// `skills.external_dirs`: where there are more than in the home.
    pub external_dirs: Vec<String>,
    /// `skills.disabled`: never.
    pub disabled: Vec<String>,
    /// `skills.platform_disabled.<platform>`: not to who comes that way.
    pub platform_disabled: BTreeMap<String, Vec<String>>,
    /// `skills.template_vars`: variables in their texts are filled in. Default true.
    pub template_vars: bool,
    /// `skills.write_approval`: the model writes none unless somebody approves of it. Default false.
    pub write_approval: bool,
}

impl Default for Skills {
    fn default() -> Self {
        Self {
            external_dirs: Vec::new(),
            disabled: Vec::new(),
            platform_disabled: BTreeMap::new(),
            template_vars: true,
            write_approval: false,
        }
    }
}
