//! In the place of `src/process/mod.rs`.

#[path = "../../../src/process/replace.rs"]
pub mod replace;
