//! From one gateway a profile to one for all of them, and back.
//!
//! # Theory of operation
//!
//! [`observe`] looks at what is there: units of the service managers, gateways that run, the flag. [`plan`] decides, purely, what is to be
//! done with each profile, or why nothing may be. What was there before is written to `gateway_migration.json` ([`manifest`]) before
//! anything is changed, and every step is noted there; the file is also the one that newer Python releases write and read.
//!
//! [`forward`] never leaves a profile without a gateway: the one gateway comes first, in one transaction of the service manager where it
//! takes the place of default's old one; then, one profile after the other, it is asked to serve the profile *as soon as* the gateway of
//! its own has ended, and only then that one is stopped. Whoever kills the command between two steps finds each profile served by one of
//! the two. [`back`] takes the opposite way: units are put back first, then each profile is taken out of service for as long as this
//! command lives, its own gateway started, and the one gateway told at last that it serves one profile.
//!
//! Every step looks first whether it is done already, so that a command that was killed is finished by the next one, in either direction.

mod act;
pub(crate) mod back;
pub(crate) mod error;
pub(crate) mod forward;
pub(crate) mod legacy;
pub(crate) mod lost;
pub(crate) mod manifest;
pub(crate) mod observe;
pub(crate) mod plan;

pub(crate) use act::Job;
pub(crate) use error::MigrateError;
