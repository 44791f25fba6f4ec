//! Everything the supervisor and its workers agree on, and nothing else.
//!
//! # Theory of operation
//!
//! Two processes that trust only what is written here meet on three surfaces:
//!
//! | Surface | Modules | Encoding | Evolves by |
//! |---|---|---|---|
//! | control socket, `supervisor.sock` | [`handshake`], [`frame`], [`codec`], [`message`], [`v2`], [`v3`] | hand-laid handshake, then length-delimited frames | a new message version beside the old one |
//! | data socket | [`http`], [`road`], [`stored`], [`terminal`] | HTTP/1.1 | headers and paths, additive |
//! | files in a home | [`contract`], [`home`], `hermes-config` | JSON, YAML, `.env` | a `schema` number, readers accept older |
//!
//! The crate is pure: it parses and prints bytes that callers hand in. It opens no file or socket, reads no clock and no
//! environment variable, and starts no task. That is what makes every rule here testable by example and by fuzzing.
//!
//! A name from outside becomes a [`ProfileName`] once, at the edge; a path under a home is a method of
//! [`home::ProfileHome`]. No other code joins path literals or validates names.
//!
//! # Versions
//!
//! | What | Now | Reads |
//! |---|---|---|
//! | message version | [`version::NEWEST`] | [`version::SUPPORTED`] |
//! | hand-over and delivery between workers | [`road::SCHEMA`] | 1 |
//! | a turn of a terminal | [`terminal::SCHEMA`] | 1 |
//! | a change of what is stored | [`stored::SCHEMA`] | 1 |
//! | `runtime_status.json` | `schema` 1 | absent (0.19.0), 1 |
//! | PID record | `schema` 1 | absent (0.19.0), 1 |
//! | status JSON of `hermes status --json` | `schema` 1 | 1 |
//!
//! # To change a message
//!
//! 1. Never edit a released module: bincode has no additive change (a field more makes old bytes undecodable).
//! 2. Add `v4.rs` with only the types that changed, conversions from and to their older form in `Message`, and re-export the mix
//!    from `latest.rs`.
//! 3. Widen [`version::SUPPORTED`]; keep exactly N and N-1.
//! 4. Commit golden bytes for every new message in `tests/golden/wire`.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! contract, latest                                                files, and the messages in use
//! v3                                                              what version 3 changed
//! v2                                                              frozen messages
//! message                                                         between versions
//! codec, endpoint, handshake, home, http, road, session_key, terminal
//! absence, admin, env, exit, frame, mark, profile, providers, release, request_id, spaced, stored, text, version
//! ```

pub mod absence;
pub mod admin;
pub mod codec;
pub mod contract;
pub mod endpoint;
pub mod env;
pub mod exit;
pub mod frame;
pub mod handshake;
pub mod home;
pub mod http;
pub mod latest;
pub mod mark;
pub mod message;
pub mod profile;
pub mod providers;
mod release;
pub mod request_id;
pub mod road;
pub mod session_key;
pub mod spaced;
pub mod stored;
pub mod terminal;
pub mod text;
pub mod v2;
pub mod v3;
pub mod version;

pub use home::{ProfileHome, RootHome};
pub use profile::ProfileName;
pub use release::{COMPATIBLE_WITH, VERSION};
