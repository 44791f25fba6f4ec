//! Commands that do their work and end, as somebody types them: texts, exit codes, files. Nothing here needs a gateway to run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alias;
mod archive;
mod archive_hostile;
mod archive_secrets;
mod clones;
mod completion;
mod config;
mod doctor;
mod dotenv;
mod help;
mod interrupted;
mod kill;
mod logs;
mod model;
mod owners;
mod pairing;
mod profile;
mod selection;
mod sessions;
mod setup;
mod skills;
mod tools;
mod whatsapp;
