//! Everything built and ready, immutable, swapped whole.
