//! The gateway: one lock, one PID record, one set of listeners, one status; one worker process per profile.
//!
//! # Layers
//!
//! A module names only modules of lower lines.
//!
//! ```text
//! app                           all parts put together: start, changes, stop, and becoming the next release
//! descriptors                   what open files are kept for
//! premises, root_state, server  what a start needs of the machine; the gateway in a file; commands on `supervisor.sock`
//! rendezvous                    how newer Python programs find this gateway, and what they ask of it
//! awake                         what keeps the machine from falling asleep
//! metrics                       the admin address: a page, Prometheus text, health
//! board, status                 what can be seen of a gateway that runs
//! predecessor, supervise        the Python program's gateway; one worker a profile
//! road, running                 what workers send each other; other gateways
//! client, journal, proxy        a command's side of `supervisor.sock`; what has happened; clients and their requests
//! accept, desired, generation, guard, instance, link, logging, manager, program, runtime, signal, status_files, watch
//! handover                      what passes to the program that this process becomes
//! inherited, news, place, rate  sockets from before this program; that something is different; where it runs; how often something may happen
//! ```
//!
//! # Theory of operation
//!
//! ```text
//!            main thread (current-thread runtime)                    proxy threads (one current-thread runtime each)
//!  signals ─▶ app ──▶ supervise::actor (one per profile) ──publishes──▶ proxy::table (ArcSwap-like watch) ──▶ proxy::conn
//!  watch  ──▶  │           │ spawn, signal (only here)                                                     per connection
//!  socket ─▶ server        ▼                                                                                   │ HTTP/1.1
//!              │        worker process ◀── control pair (frames) ── link ──┘        data socket (listening, ours for life)
//!              └─▶ status ◀── status_files reads runtime_status.json
//! ```
//!
//! **Who owns what.** `instance` owns the lock and the PID record. `app` owns the set of actors, the settings in force and the
//! listeners' descriptors. One `supervise::actor` per profile owns that worker: its desired and observed state, its children
//! (two generations during a swap), its control links and its data listener, which outlives every process behind it. The pure
//! `supervise::state` decides; the actor only carries out its actions. The proxy owns client connections and idle upstream
//! connections; it sees workers only through the route table that actors publish. `status` owns nothing: it merges the table
//! with the workers' files when asked.
//!
//! What workers send each other goes over `road`: each process is born with its own end of it.
//!
//! **Secrets.** None are here. The supervisor opens no `config.yaml` and no `.env`; what it needs comes in a worker's report.
//!
//! **Threads.** Children are spawned, and signals to them sent, on the main thread only, because the parent-death signal
//! follows the spawning thread. `reap` alone calls `waitpid`, for every child of this process, adopted grandchildren included.
//!
//! **Order at start.** Lock, PID record, runtime directory, `supervisor.sock`, signals, `default`'s worker as far as its
//! report, listeners bound, all other workers as far as their reports, claims compared, admission. Until admission is decided
//! no request is answered (connections wait in the listeners' backlog) and no platform is polled. With a fatal problem and
//! policy `fail`, everything is taken down again and the exit code is 78.
//!
//! **A worker's states** (words of `hermes_wire::contract::gateway_status::state`):
//!
//! ```text
//!   stopped ──start──▶ starting ──ready──▶ ready ◀──▶ degraded
//!      ▲                 │  │                │
//!      │stop             │  └─exit/timeout───┴──exit──▶ backoff ──due──▶ starting
//!      └── draining ◀────┴───── stop, remove             │ 5 deaths in 120 s
//!                           exit 78 ──▶ failed           └──▶ crash_loop ──due, restart, file change──▶ starting
//! ```
//!
//! A profile that runs on demand is `sleeping` instead of `stopped` once a worker has looked at its files, and `starting` when its data
//! socket has a connection (`supervise::actor::rest`); one that has nothing to do is retired as in a swap, with nobody in its place.
//!
//! A swap keeps the observed state of the old generation until the new one is ready; then the old one stops accepting, the
//! proxy's idle connections to it are dropped (the epoch in the table), and it drains beside the new one. Where platforms are
//! exclusive (a bot that polls), the new one stands by until the old one has yielded: one process of a profile at most is ever
//! told that it may be connected, and whoever was is asked, or ended, before another one is (`supervise::state::machine::exclusive`).
//!
//! **Who else asks.** `rendezvous` is for programs of the newer Python releases: `gateway.sock` and the host record. What they ask for
//! is done by the app as if a command had asked.
//!
//! **Order at stop.** Quiesce (readiness off, listeners closed) → drain requests → drain workers → SIGTERM → SIGKILL → release;
//! each phase has a deadline; a second signal jumps to SIGTERM, a third to SIGKILL. The lock is released last.
//!
//! **Becoming the next release.** As a stop, but the listening sockets stay open, and last of all this process executes the
//! program that is on disk. What connects meanwhile waits in the backlog; the new program finds the sockets by a variable and
//! starts as always. A stop signal on the way makes it a stop.
//!
//! **Dropping.** Dropping a `WorkerHandle` stops nothing; only `app` ends actors, and it awaits them.

mod accept;
pub mod app;
mod awake;
mod board;
pub mod client;
pub mod descriptors;
pub mod desired;
pub mod generation;
pub mod guard;
pub mod handover;
mod inherited;
pub mod instance;
mod journal;
mod link;
pub mod logging;
mod manager;
pub mod metrics;
mod news;
pub mod place;
pub mod predecessor;
pub mod premises;
pub mod program;
pub mod proxy;
mod rate;
pub mod rendezvous;
mod road;
mod root_state;
pub mod running;
pub mod runtime;
mod server;
mod signal;
pub mod status;
pub mod status_files;
pub mod supervise;
pub mod watch;
