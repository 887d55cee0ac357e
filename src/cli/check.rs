//! `tollgate check`: everything that is wrong with a configuration, in one run.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::Exit;
use crate::access_log;
use crate::app::ground::{self, Purpose};
use crate::app::log_settings::log_settings;
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Config, Diagnostics, codes};
use crate::exchange::chain;
use crate::plan::compile::compile;

/// Reads the configuration at `path` with all its files, compiles it, and prints what is wrong or doubtful: for people
/// on stderr, as one JSON object on stdout with `json`. With `strict`, warnings count as errors. Binds nothing.
pub(super) fn check(path: &Path, json: bool, strict: bool, color: bool) -> Exit {
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

/// What the rooms say about the configuration, besides what the configuration says about itself.
fn compiled(config: &Config) -> Diagnostics {
    let ground = match ground::gather(config, Purpose::Check) {
        Ok(ground) => ground,
        Err(error) => {
            let mut found = config.diagnostics();
            found.push(Diagnostic::error(codes::BAD_CERTIFICATE, chain(&error)));
            return found;
        }
    };
    let mut found = match compile(config, &ground) {
        Ok((_, found)) | Err(found) => found,
    };
    if let Err(error) = access_log::verify(&log_settings(config)) {
        found.push(Diagnostic::error(codes::BAD_CERTIFICATE, format!("[log] {}", chain(&error))));
    }
    found
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
