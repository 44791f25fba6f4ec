//! Where this profile's turns go, and what a failed call says about it. What the files say is judged in one place, for every
//! command and for the worker: `hermes_config::provider`.

pub(crate) mod fault;
pub(crate) mod health;
pub(crate) mod said;

pub use fault::Fault;
pub use hermes_config::provider::{
    Endpoint, NO_KEY, ProviderError, auxiliary, delegation, fallbacks, is_loopback, resolve, routed,
};
