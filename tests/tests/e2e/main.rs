//! One promise a test, against real processes and sockets. `c36_…` is item 36 of the acceptance checklist that
//! `docs/acceptance.md` lists.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod auth;
mod blocked;
mod busy;
mod canary;
mod chaos;
mod clients;
mod conduct;
mod config;
mod edge;
mod failures;
mod flag;
mod fleet;
mod flood;
mod gateway_socket;
mod hanging;
mod homes;
mod hooks;
mod inbox;
mod isolation;
mod judge;
mod leases;
mod leftovers;
mod lifecycle;
mod machine;
mod newer;
mod newer_homes;
mod one_bot;
mod owners;
mod parked;
mod predecessor;
mod profiles;
mod provider_text;
mod renewal;
#[cfg(target_os = "linux")]
mod road;
mod routing;
mod second_gateway;
mod served;
mod sessions;
mod sockets;
mod start;
mod status;
mod steps;
mod store;
mod streaming;
mod takeover;
mod testchat;
mod turn;
mod verbs;
mod versions;
mod vital;
