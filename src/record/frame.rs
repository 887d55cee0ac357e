//! The compact binary form of a record: what a core writes into its ring.
