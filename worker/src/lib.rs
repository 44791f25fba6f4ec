//! One worker: serves exactly one profile, in its own process, environment and address space.
//!
//! # Theory of operation
//!
//! ```text
//!   data socket ─▶ http ─▶ platform (webhook, api_server) ─▶ inbox ─▶ turn ─▶ engine ─▶ delivery
//!                                  │ direct (api_server)        │        │       (echo, native)
//!                                  └───────────────────────────────▶ turn┘
//!   control pair ─▶ control ─▶ app (phases)          store: one writer thread, all tables of state.db
//! ```
//!
//! **Who owns what.** `app` owns the phases and every task. `control` owns the control socket. `store` owns `state.db`: one
//! thread, one connection for writing, everything that waits is committed as one transaction (`synchronous=FULL`), and only
//! then acknowledged. `inbox` owns which item runs next; `session` owns keys, ids and history; `turn` owns running turns, the
//! steps they are kept by and the limit on them; `tools` is what a model may have done here, `mcp` the servers that bring more, `memory` what it
//! keeps, `skills` what it can be told; `status` alone
//! writes `runtime_status.json` and `gateway_state.json`; `logging` alone writes `logs/`. Nobody writes to the process
//! environment; configuration is a value made once at start.
//!
//! **Guarantees.**
//! - What was acknowledged to a sender was committed before. A crash before the turn started runs the item once; a crash after
//!   resumes it from its last step: the claim, the session and the user's message row were one transaction, so they are there or
//!   not together, and so was each step.
//! - One turn at a time per session key, in order of arrival, also while two generations of this worker live: a lease row in
//!   `state.db`, void when its process is gone.
//! - A platform never sees another profile's data: there is none in this process.
//! - Draining never breaks a request: the worker stops accepting when told, keeps open connections until their client (the
//!   supervisor) closes them or the deadline passes, then exits 0.
//!
//! **Order at start.** Environment → logs → handshake → `Prepare` (the part it plays and the listeners, without which its files
//! cannot be judged) → `.env` and configuration, all problems → `Report` → `Admit` → store open → recovery of claimed items →
//! platforms start → data socket served → status `running` → `Ready` → heartbeats. Nothing is served, polled or written (logs
//! excepted) before `Admit`. A refused worker exits 78. Platforms whose connection must never stand twice connect after `Connect`,
//! which readiness does not wait for, and close on `Yield`, beside everything else.
//!
//! **Order at stop.** `StopAccepting` → no new connection, no new claim → `AcceptStopped` → `Drain` → exclusive platforms close,
//! `Yielded` → running turns finish or
//! are interrupted at the deadline (and resumed by the next process) → store flushed and closed → final status → exit 0.
//! End of file on the control socket does the same with a short deadline.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! app                                                phases, and every task
//! load                                               the profile's files and environment, read once
//! token_lock                                         whose bot it is, to others on this machine
//! mcp, platform, terminal                            what brings tools; what listens and sends, a folder each; the user's own commands
//! handover, status, stored                           other profiles' events; how it is; what commands show and change
//! commands                                           what people tell it to do
//! turn                                               turns
//! delivery, inbox                                    what came and is not done; what goes and is not there
//! prompt, session
//! engine, http, store
//! process, provider, pulse, questions, runs          what turns ask and wait for; what was asked for and is read later
//! tools
//! access                                             who may talk to it
//! fence                                              what is around the programs that are started
//! memory, skills, web
//! children, cli, clock, control, danger, formatting, inbound, json, leftovers, logging, media, outgoing, threats
//! ```

pub mod access;
mod app;
mod children;
pub mod cli;
mod clock;
pub mod commands;
mod control;
pub mod danger;
pub mod delivery;
pub mod engine;
mod fence;
pub mod formatting;
pub mod handover;
mod http;
pub mod inbound;
pub mod inbox;
mod json;
mod leftovers;
mod load;
mod logging;
mod mcp;
mod media;
pub mod memory;
mod outgoing;
pub mod platform;
mod process;
pub mod prompt;
pub mod provider;
mod pulse;
mod questions;
pub mod runs;
pub mod session;
pub mod skills;
pub mod status;
pub mod store;
pub mod stored;
mod terminal;
mod threats;
mod token_lock;
pub mod tools;
pub mod turn;
pub mod web;

pub use app::run;
pub use cli::{Mode, ServerTask, WorkerArgs};
pub use fence::enter;
pub use mcp::files as server_files;
pub use platform::{REGISTRY, whatsapp_bridge};
pub use process::settle;
pub use token_lock::{Holder, holders};
