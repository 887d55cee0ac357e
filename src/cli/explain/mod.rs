//! `tollgate explain`: what would happen to a request, by the code that serves it.
//!
//! [`ask`] makes the request that the server would have parsed, [`walk`] takes it along the way of `proxy::walk` with
//! the same functions and writes a [`report`], which [`text`] prints. Invariant: nothing is sent, nothing is charged
//! to a limit, no file of the configuration is written; what is decided here is decided by the rooms, never anew.

mod ask;
mod candidates;
mod fields;
mod report;
mod rules;
mod text;
#[cfg(test)]
mod tests;
mod walk;

use std::path::Path;

use super::args::ExplainArgs;
use super::{Exit, print, run};
use crate::app::ground::{self, Purpose};
use crate::config::diagnostic::Diagnostic;
use crate::config::{self, Config, Diagnostics, codes};
use crate::exchange::chain;
use crate::plan::Plan;
use crate::plan::compile::compile;
use crate::record::line::safe;
use ask::Ask;

/// Prints the fate of a request under the configuration at `file`: lines for people, or one JSON object.
pub(super) fn explain(file: &Path, arguments: &ExplainArgs, json: bool) -> Exit {
    let (config, plan) = match load(file) {
        Ok(loaded) => loaded,
        Err(found) => return run::bad(&found),
    };
    let report = match Ask::new(arguments) {
        Ok(ask) => walk::explain(&config, &plan, &ask),
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    if !json {
        return print(text::render(&report).trim_end());
    }
    match serde_json::to_string_pretty(&report) {
        // Line by line: the line feeds between members are ours.
        Ok(json) => print(&json.lines().map(safe::json).collect::<Vec<_>>().join("\n")),
        Err(error) => {
            eprintln!("error: cannot write the report: {error}");
            Exit::Failed
        }
    }
}

fn load(file: &Path) -> Result<(Config, Plan), Diagnostics> {
    let config = config::load(file, &config::process_env)?;
    let ground = ground::gather(&config, Purpose::Check).map_err(|error| {
        let mut found = config.diagnostics();
        found.push(Diagnostic::error(codes::BAD_CERTIFICATE, chain(&error)));
        found
    })?;
    let (plan, _) = compile(&config, &ground)?;
    Ok((config, plan))
}
