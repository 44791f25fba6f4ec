//! One promise a test, against real processes and sockets. `c36_…` is item 36 of the acceptance checklist that
//! `docs/acceptance.md` lists.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod acp;
mod api;
mod approvals;
mod asked;
mod auth;
mod awake;
mod background;
mod blocked;
mod bots;
mod busy;
mod canary;
mod chaos;
mod chat;
mod clients;
mod commands;
mod conduct;
mod config;
#[cfg(target_os = "linux")]
mod container;
#[cfg(target_os = "linux")]
mod debian;
mod delegation;
mod discord;
mod edge;
mod email;
mod events;
mod failures;
#[cfg(target_os = "linux")]
mod fence;
mod flag;
mod fleet;
mod flood;
mod gateway_socket;
mod hanging;
mod home_assistant;
mod homes;
mod hooks;
mod inbox;
mod irc;
mod isolation;
mod judge;
mod keys;
mod launchd;
mod leases;
mod leftovers;
mod lifecycle;
mod logs;
mod long_lives;
mod machine;
#[cfg(target_os = "linux")]
mod managers;
mod many_gateways;
mod matrix;
mod mattermost;
mod mcp;
mod memory;
#[cfg(target_os = "linux")]
mod migrate;
mod model_options;
mod newer;
mod newer_homes;
mod ntfy;
mod on_demand;
mod one_bot;
mod openapi;
mod owners;
mod page;
mod parked;
mod people;
mod predecessor;
mod profiles;
mod provider_text;
mod recall;
mod renewal;
#[cfg(target_os = "linux")]
mod road;
mod routing;
mod runs;
mod second_gateway;
mod served;
#[cfg(target_os = "linux")]
mod service;
mod sessions;
mod shown;
mod signal;
mod skills;
mod slack;
mod sockets;
mod start;
mod status;
mod steps;
mod store;
mod stored;
mod streaming;
mod takeover;
mod talk;
mod telegram;
mod terminal;
mod testchat;
mod token_locks;
mod tools;
mod top;
mod turn;
mod verbs;
mod versions;
mod vital;
mod whatsapp;
mod why;
