//! `tollgate check`: everything that is wrong with a configuration, in one run.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::Exit;
use crate::config::{self, Config, Diagnostics};

/// Reads the configuration at `path` with all its files and prints what is wrong or doubtful: for people on stderr,
/// as one JSON object on stdout with `json`. With `strict`, warnings count as errors. Binds nothing.
pub fn check(path: &Path, json: bool, strict: bool, color: bool) -> Exit {
    let found = match config::load(path, &config::process_env) {
        Ok(config) => compiled(&config),
        Err(found) => found,
    };
    let is_good = found.errors() == 0 && !(strict && found.warnings() > 0);
    let printed = if json { print_json(&found, is_good) } else { print_text(&found, color) };
    match (printed, is_good) {
        (Err(_), _) => Exit::Failed,
        (Ok(()), true) => Exit::Done,
        (Ok(()), false) => Exit::BadConfig,
    }
}

/// The checks of those who build rooms from the configuration go here.
fn compiled(config: &Config) -> Diagnostics {
    config.diagnostics()
}

fn print_text(found: &Diagnostics, color: bool) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    out.write_all(found.render(color).as_bytes())?;
    writeln!(out, "{}", found.summary())
}

fn print_json(found: &Diagnostics, is_good: bool) -> std::io::Result<()> {
    let report = json!({
        "ok": is_good,
        "errors": found.errors(),
        "warnings": found.warnings(),
        "diagnostics": found.to_json(),
    });
    writeln!(std::io::stdout().lock(), "{report}")
}
