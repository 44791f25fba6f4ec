//! How this executable was installed, and bringing it up to date the same way.
//!
//! What installed it is read from what installers leave behind (`origin`): cargo's own list of installed crates, the cache tag of
//! a build directory, the place in the file system. Nothing is guessed beyond that: a file nobody can account for is said to be
//! one. Only `cargo install` is carried out (`cargo`), with the source, the features and the root that it was called with
//! before; cargo replaces the executable as its last step, so a failed build leaves the old one.
//!
//! A supervisor starts every worker from the image it runs itself, so replacing workers would bring none of a new release. A
//! gateway that runs ([`hermes_gateway::running`]) is asked to take the new program up in place (`renew`); where it cannot, the command that
//! restarts it is named.

pub(crate) mod cargo;
pub(crate) mod origin;
pub(crate) mod renew;
