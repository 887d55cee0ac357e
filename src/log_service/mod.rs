//! Ingest, store and read records.
