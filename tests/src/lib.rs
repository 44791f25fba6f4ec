//! Harness of the end-to-end tests: temporary homes, real gateways, raw HTTP, a provider that speaks the real wire.
//!
//! Everything binds port 0 on loopback, lives in a temporary directory, and ends the processes it started by their own handles.
//! Nothing here knows how the gateway works inside; it sees what a user sees, plus `/proc`.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! background, container, installed, launchd, owners, steps, systemd
//! browser, command, irc, mail, matrix, terminal
//! tools
//! chats                                              what tests of chat platforms look at
//! attack, gateway                                    a running gateway, and who attacks it
//! road                                               a worker's end of the way to others
//! agent, chat, messages, ntfy, predecessor, provider, signal, telegram
//! discord, home_assistant, http, mattermost, slack, whatsapp
//! upgraded                                           WebSockets from the side of a service
//! archive, asked, home, mounts, place, process, serving, sign, state, tap, unreadable, wait
//! ```

#![expect(clippy::unwrap_used, reason = "a harness that fails is a failed test")]

pub mod agent;
pub mod archive;
mod asked;
pub mod attack;
pub mod background;
pub mod browser;
pub mod chat;
pub mod chats;
pub mod command;
#[cfg(target_os = "linux")]
pub mod container;
pub mod discord;
pub mod gateway;
pub mod home;
pub mod home_assistant;
pub mod http;
pub mod installed;
pub mod irc;
pub mod launchd;
pub mod mail;
pub mod matrix;
pub mod mattermost;
pub mod messages;
#[cfg(target_os = "linux")]
pub mod mounts;
pub mod ntfy;
pub mod owners;
pub mod place;
pub mod predecessor;
pub mod process;
pub mod provider;
#[cfg(target_os = "linux")]
pub mod road;
mod serving;
pub mod sign;
pub mod signal;
pub mod slack;
pub mod state;
pub mod steps;
#[cfg(target_os = "linux")]
pub mod systemd;
pub mod tap;
pub mod telegram;
pub mod terminal;
pub mod tools;
pub mod unreadable;
mod upgraded;
pub mod wait;
pub mod whatsapp;

pub use gateway::Gateway;
pub use home::Home;
pub use process::Running;
pub use unreadable::Loop;
