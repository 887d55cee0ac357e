//! `logs recover`: what a dead process has left of its log, without starting another.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{CommandError, output};
use crate::access_log::{Directory, Recovered, recovery};

#[derive(Debug, Args)]
pub(super) struct RecoverArgs {
    /// The data directory of the log.
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Remove what was printed.
    #[arg(long)]
    pub(super) remove: bool,
}

/// Prints the records as JSON lines. Tells whether there were any.
pub(super) fn run(args: &RecoverArgs) -> Result<bool, CommandError> {
    // The data directory of the log, or the one within it.
    let inner = recovery::directory(&args.directory);
    let path = if inner.is_dir() { &inner } else { &args.directory };
    if !path.is_dir() {
        return Err(CommandError::Usage(format!("{} is not a directory", path.display())));
    }
    let directory = Directory::open(path)?;
    // What is wrong is said where it is found.
    let (recovered, harms) = recovery::examine(&directory);
    let mut out = io::stdout().lock();
    let (mut records, mut in_flight) = (0, 0);
    for one in &recovered {
        out.write_all(&one.lines()?)?;
        records += one.entries.len();
        in_flight += one.in_flight.len();
    }
    out.flush()?;
    // Only now are they elsewhere.
    if args.remove {
        // What is lost is still for the log to tell.
        directory.forget_but(&harms);
        recovered.iter().for_each(Recovered::remove);
    }
    let kept = if args.remove || recovered.is_empty() { "" } else { "; the files stay (--remove)" };
    output::note(&format!("{records} records and {in_flight} exchanges that were under way{kept}"));
    Ok(records + in_flight > 0)
}
