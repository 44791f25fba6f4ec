//! IRC on loopback: a real server ([`Ngircd`]), one of the tests' own for what that one has not ([`Ircd`]: accounts, tags, and whatever goes wrong),
//! and people who talk there.

mod own;
mod people;
mod real;

pub use own::{Ircd, Rules};
pub use people::Person;
pub use real::Ngircd;
