//! Clock, deadlines, signals, local executor.
