//! Follows each answer; when the last byte leaves, the exchange becomes a record in the core's queue.
