//! Every command of `hermes`: what it reads from the command line and the files, what it asks a gateway that runs, what it prints.
//!
//! This is the only crate that knows gateway and worker. `cli` parses a command line and calls what carries it out; a command
//! about a gateway that runs is a client of its socket ([`hermes_gateway::client`]); `gateway run` is [`hermes_gateway::app`] in this
//! process, and `worker` is [`hermes_worker`]. Where nobody answers, files are read ([`status`]) and what they say is marked as stale.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! cli                             the command line, and what each command prints
//! report, update                  how an error looks; how the program itself is renewed
//! doctor, error                   everything that may be wrong; everything a command can end with
//! settings                        values of `config.yaml` and `.env`, read and changed
//! profile, status                 profiles and their homes; the status where nobody answers, and for people
//! archive, essentials, home, skills   profiles in one file; what a profile needs first; which home a command is about; skills
//! color, columns
//! ```

pub mod archive;
pub mod cli;
mod color;
mod columns;
mod doctor;
pub mod error;
mod essentials;
pub mod home;
mod profile;
pub mod report;
mod settings;
mod skills;
mod status;
mod update;
