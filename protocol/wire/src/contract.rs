//! On-disk formats and the status JSON, versioned. Readers accept every older form; writers write the newest.

pub mod events;
pub mod gateway_state;
pub mod gateway_status;
pub mod healthy;
pub mod pairing;
pub mod pid_record;
pub mod platform_trials;
pub mod provider_models;
pub mod provider_trial;
pub mod runtime_status;
