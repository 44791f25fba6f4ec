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
//! top                             mission control on a terminal
//! why                             why a profile is as it is
//! stored                          what a profile has stored, changed by whoever may
//! chat                            a question to a profile's worker, whose it may be
//! migrate                         from a gateway for each profile to one, and back
//! settings                        values of `config.yaml` and `.env`, read and changed
//! profile, status                 profiles and their homes; the status where nobody answers, and for people
//! events                          what has happened, from the journals
//! service                         services of gateways, and their managers
//! archive, essentials, home, logs, skills   profiles in one file; what a profile needs first; which home a command is about; logs; skills
//! color, columns
//! ```

pub mod archive;
pub mod chat;
pub mod cli;
mod color;
mod columns;
mod doctor;
pub mod error;
mod essentials;
mod events;
pub mod home;
mod logs;
mod migrate;
mod profile;
pub mod report;
mod service;
mod settings;
mod skills;
mod status;
pub mod stored;
mod top;
mod update;
mod why;
