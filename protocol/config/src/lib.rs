//! A profile's configuration: `config.yaml` and `.env` as text in, typed settings and every problem out.
//!
//! # Guarantees
//!
//! - Pure: the caller reads the files; the same bytes give the same answer.
//! - Every problem is found in one go and names its file, its line and column, its key and the next step; none carries a value
//!   that could be a secret.
//! - No fallback to defaults: a file that cannot be read as what it should be gives no [`ProfileConfig`] at all.
//! - `.env` overrides YAML, for every key, with no exception. `${NAME}` in YAML text is replaced from the profile's own `.env`
//!   and from nowhere else; a name that is not there stays as written.
//!
//! # From bytes to settings
//!
//! ```text
//! bytes ─▶ yaml (tree with places) ─▶ reader (typed access, notes problems) ─▶ sections ─▶ ProfileConfig
//!       └▶ dotenv ──────────────────▶                                          keys: unknown ones are warned by name
//! ```
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! judge                                              the one verdict, over everything below
//! channels                                           files without what belongs to a bot
//! load                                               two files, one ProfileConfig
//! gateway, unsupported
//! able, keys, platforms, routing, sections, upkeep   parts of the files
//! outward, told, tokens, tool_servers
//! reader                                             typed access to the tree, which notes problems
//! fingerprint, pins, program
//! document, legacy, redact, route
//! coerce, dotenv_edit, glance, newer, problem
//! dotenv, provider, typed
//! schema                                             the table of keys
//! edit
//! scalar, yaml
//! mask, network, types
//! access, auxiliary, chats, platform, pool           what a platform declares, and the registry
//! found, host, path, personality, profile_routes, reset, row, servers
//! secret
//! ```

mod able;
pub mod access;
mod auxiliary;
pub mod channels;
pub mod chats;
pub mod coerce;
pub mod document;
mod dotenv;
pub mod dotenv_edit;
pub mod edit;
pub mod fingerprint;
mod found;
mod gateway;
mod glance;
mod host;
pub mod judge;
mod keys;
mod legacy;
mod load;
pub mod mask;
pub mod network;
pub mod newer;
mod outward;
pub mod path;
pub mod personality;
mod pins;
pub mod platform;
mod platforms;
pub mod pool;
mod problem;
pub mod profile_routes;
pub mod program;
pub mod provider;
mod reader;
pub mod redact;
mod reset;
pub mod route;
mod routing;
pub mod row;
mod scalar;
pub mod schema;
mod secret;
mod sections;
pub mod servers;
pub mod tokens;
mod told;
mod tool_servers;
mod typed;
mod types;
pub mod unsupported;
mod upkeep;
mod yaml;

pub use auxiliary::{Auxiliaries, Auxiliary, Compression, Task};
pub use gateway::{is_loopback, is_private};
pub use glance::{
    Glance, channel_variables, glance, list_at, mcp_commands, names_at, platform_of_variable, text_at,
};
pub use load::{load, load_pinned, of_section};
pub use pins::Pins;
pub use platform::Fault;
pub use reset::{ResetMode, ResetPolicy, SessionReset};
pub use secret::{Env, Secret};
pub use types::{
    Acp, Agent, ApprovalMode, BusyAcks, BusyMode, ConfiguredPlatform, Delegation, EngineKind, FenceMode,
    Guardrails, HomeChannel, HomeMode, Input, Leaving, Loaded, Logging, MAX_FILE_LEN, Memory, Model, Notes,
    OwnUpkeep, ProfileConfig, PromptSettings, Provider, RawClaim, Repeats, Skills, Streaming, Stt,
    ToolSettings, Toolsets,
};
pub use yaml::shorten;

// The platforms of tests here are the real ones, which name this crate from outside.
#[cfg(test)]
extern crate self as hermes_config;
#[cfg(test)]
#[path = "../../../worker/src/platform/api_server/settings.rs"]
mod api_server;
#[cfg(test)]
static REGISTRY: platform::Registry =
    platform::Registry::new(&[&webhook::DECLARATION, &api_server::DECLARATION]);
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../../worker/src/platform/webhook/settings.rs"]
mod webhook;
