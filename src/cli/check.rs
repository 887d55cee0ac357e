//! `tollgate check`: everything that is wrong with a configuration, in one run.

use std::io::{self, Write};
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
    let printed = if json {
        print_json(&found, is_good, &mut io::stdout().lock())
    } else {
        print_text(&found, color, &mut io::stderr().lock())
    };
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

/// Everything that was found, and the count as the last line.
pub(super) fn print_text(found: &Diagnostics, color: bool, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(found.render(color).as_bytes())?;
    writeln!(out, "{}", found.summary())
}

fn print_json(found: &Diagnostics, is_good: bool, out: &mut dyn Write) -> io::Result<()> {
    let report = json!({
        "ok": is_good,
        "errors": found.errors(),
        "warnings": found.warnings(),
        "diagnostics": found.to_json(),
    });
    writeln!(out, "{report}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBTFUL: &str = "[server]\nhttp = \":80\"\n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn warnings_fail_only_when_strict() {
        let file = file(DOUBTFUL);
        assert_eq!(check(file.path(), false, false, false), Exit::Done);
        assert_eq!(check(file.path(), false, true, false), Exit::BadConfig);
    }

    #[test]
    fn errors_and_missing_files_are_bad_configurations() {
        assert_eq!(check(file("[server]\nhttp = 5\n").path(), false, false, false), Exit::BadConfig);
        assert_eq!(check(Path::new("/nowhere/tollgate.toml"), false, false, false), Exit::BadConfig);
    }

    #[test]
    fn the_last_line_counts_and_json_is_one_line() {
        let found = config::from_text("a.toml", DOUBTFUL, &|_| None).unwrap().diagnostics();
        let mut text = Vec::new();
        print_text(&found, false, &mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().ends_with("\n\na.toml: 1 warning.\n"));
        let mut text = Vec::new();
        print_json(&found, true, &mut text).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&report["ok"], &report["warnings"]), (&true.into(), &1.into()));
        assert_eq!(report["diagnostics"][0]["code"], "W0107");
    }
}
