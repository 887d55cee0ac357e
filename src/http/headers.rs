//! Hop-by-hop removal and header names that matter.
