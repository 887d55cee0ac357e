//! tollgate: a front proxy that terminates TLS, routes, serves files, compresses, throttles and balances,
//! keeps its own backend workers alive, and writes one structured record for every request.
//!
//! # The house
//!
//! The modules below stand in **path order**: the way of a request from the socket to the record. A module may
//! import only modules listed above it, so the list is at once the import order and the reading order for a
//! newcomer. `tests/architecture.rs` enforces it.
//!
//! ```text
//! units metrics process http │ config record wire exchange │ listener → tls → downstream → route → filter → files
//!   materials                │ contracts                   │ → cache → upstream → worker → access_log │ plan proxy app
//!                                                            the path, in walking order               │ assembly
//!                                                          │ log_service │ cli
//!                                                            beside        door
//! ```
//!
//! # One request
//!
//! `listener` accepts on one core → `tls` shakes hands → `downstream` serves the connection and guards it →
//! `proxy::Proxy::handle` walks: `http::target` makes the one canonical request, `route` decides, `filter` limits,
//! `proxy::forward` cleans the headers; then `proxy::way` waits: `upstream` picks an endpoint, borrows a connection and sends →
//! the answer comes back through `filter` → `access_log` follows its body and writes the record when the last
//! byte has left or the connection has died.
//!
//! # One record
//!
//! By file, from the core to the terminal:
//!
//! * **on the core**: `proxy/begin.rs` enters the exchange in the in-flight table (`access_log/flight`) → when `access_log/follow.rs`
//!   sees it end, `access_log/compose.rs` makes the [`record::Record`] → `access_log/core_log.rs` numbers it and encodes it
//!   ([`record::binary`]) straight into the core's `access_log/ring`: no lock, no allocation, no system call.
//! * **on the log's thread**: `access_log/collector.rs` looks at all rings every 10 ms → `intake.rs` takes out and declares what is
//!   missing → `shed.rs` samples, and leaves out what `pressure.rs` says → `framer.rs` makes frames ([`record::frame`]) →
//!   `spool/writer.rs` appends them; only then the ring may use the room again.
//! * **on a thread for each sink**: `sink/mod.rs` reads the spool (`spool/reader.rs`) → `file.rs` and `stdout.rs` write lines
//!   (`render.rs`, with [`record::json`], [`mod@record::line`] or [`record::combined`]), `service.rs` posts the frames as they are,
//!   `ship/` sends entries one by one to the services of others (a file for each form; [`wire`] has the bytes) and keeps what they
//!   refuse (`ship/letters.rs`) → what was taken moves `spool/cursor.rs`.
//! * **in the log service**, a process of its own: `log_service/door/frames.rs` takes them in and `log_service/frames.rs` checks
//!   them → `store/commit.rs`, the one writing thread: `claim.rs` (what of it is new) → `wal.rs`, synced → `rows.rs` makes columns
//!   (`columns/native.rs`) and counts them (`rollup`) → answers the sender, and the live tails → `flush.rs` makes a Parquet file
//!   of the rows in `hot.rs` (`parquet/write.rs`), which counts when `manifest` says so → `compact.rs` merges closed hours,
//!   `retention.rs` drops old ones.
//! * **for a reader**: [`log_service::query`] reads the filter → `log_service/exec` (in the service) or [`log_service::read`] (a directory,
//!   files of others by [`log_service::foreign`]) finds the rows → `cli/logs` prints them.
//!
//! What others send comes in at `log_service/door` (a file for each form) and goes the same way from `store/commit.rs` on. Alarms:
//! `log_service/alert/watch.rs` looks at the rollups → `engine.rs` decides → `outbox.rs` keeps what is to be told → `hook.rs` and
//! `command.rs` tell it.
//!
//! What the machine and the process use is a record, too: `app/host.rs` makes one every few seconds, and
//! `log_service/rollup/host.rs` counts them by the minute.
//!
//! After `kill -9` the next start goes on at `access_log/recovery.rs`; the log service at `store/recover.rs`.
//!
//! # Words
//!
//! **downstream** who connects to us · **upstream** a named group that we send to · **endpoint** one address in it ·
//! **worker** a backend process that tollgate started · **core** one of our event-loop threads · **listener,
//! connection, exchange** (one request with its response) · **site** (a host name with its routes) · **route,
//! filter, plan, settings, record, sink, spool, frame, segment, drain, reload, attempt, failure**.
//!
//! # Why it is quick
//!
//! * A core shares nothing that a request writes: it has its own plan ([`plan::Plans`]), its own upstream connections
//!   ([`upstream::local`]), its own cache lines of shared counters ([`upstream::striped`]).
//! * Deadlines are slots of a table that is swept every 50 ms ([`process::deadline`]): setting one is a store.
//! * An exchange drives its upstream connection itself ([`upstream::connection`]), without a task in between, and its own
//!   steps do not wake it ([`process::bell`]), nor is a socket asked that has nothing: a plain request takes two turns of
//!   its task and four system calls.
//! * What the log does for a request after its record (sinks, the embedded service) runs at a lower priority, in small portions.
//! * The walk waits for nothing, so a request's future ([`proxy::way`]) is small and holds only what waits.
//! * An idle HTTP/1 connection is parked ([`downstream::parked`]): it keeps its socket and its facts, under 700 bytes with
//!   its task, and gives back the rest.
//!
//! # Three kinds of configuration
//!
//! `config` holds the user's words (strings, spans, defaults), each room's `Settings` the checked values it needs,
//! and `plan` the live, immutable whole that is swapped on reload.

// The samples of the benchmarks, which tests use too, name the package as everybody does.
#[cfg(test)]
extern crate self as tollgate;

pub mod units;
pub mod metrics;
pub mod process;
pub mod http;
pub mod config;
pub mod record;
pub mod wire;
pub mod exchange;
pub mod listener;
pub mod tls;
pub mod downstream;
pub mod route;
pub mod filter;
pub mod files;
pub mod cache;
pub mod upstream;
pub mod worker;
pub mod access_log;
pub mod plan;
pub mod proxy;
pub mod app;
pub mod log_service;
pub mod cli;
