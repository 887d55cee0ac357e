//! `workers = {…}` of an upstream: processes that tollgate starts and keeps alive.

use super::place::At;
use super::read::Map;
use super::shape::{choice, either, table};
use super::words::{Auto, EnvName, Text, UrlPath};
use crate::units::{Count, Duration, Size};

table! {
    /// Processes behind an upstream. Each gets `PORT`, `TOLLGATE_WORKER` (its index) and `TOLLGATE_UPSTREAM`.
    pub struct Workers {
        /// Program and arguments; no shell.
        command: required Vec<At<Text>>;
        /// How many; `auto` is one for each core.
        count: default WorkerCount = "auto";
        /// Asked on the worker's port until it answers 2xx; without it, a port that accepts connections is enough.
        ready: optional UrlPath;
        /// How long a worker may take to become ready.
        ready_timeout: default Duration = "30s";
        /// Environment beside our own.
        env: default Map<EnvName, Text> = ();
        /// Working directory; ours when left out.
        cwd: optional Text;
        /// Asks the worker to stop.
        stop_signal: default StopSignal = "TERM";
        /// From that signal to KILL.
        stop_timeout: default Duration = "10s";
        /// Resident memory at which a worker is replaced. No bound when left out.
        max_memory: optional Size;
        /// Starting again what has died.
        restart: default Restart = ();
    }
}

either! {
    /// How many workers.
    pub enum WorkerCount {
        Auto(Auto),
        Number(Count),
    }
}

choice! {
    /// A signal that asks a process to stop.
    pub enum StopSignal ("signal") {
        Term = "TERM",
        Int = "INT",
        Quit = "QUIT",
        Hup = "HUP",
        Usr1 = "USR1",
        Usr2 = "USR2",
    }
}

table! {
    /// Starting again: the pause doubles with every quick death.
    pub struct Restart {
        /// First pause.
        delay: default Duration = "100ms";
        /// Longest pause.
        max_delay: default Duration = "15s";
        /// A worker that has served for this long starts again after the first pause; a shorter life is a quick death.
        reset_after: default Duration = "2s";
        /// Quick deaths in a row after which it is left alone.
        max_quick_deaths: default Count = 16;
    }
}
