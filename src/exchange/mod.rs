//! The notebook that follows a request; at its end it is the record.

pub mod failure;
