//! Bad files: `cases/NAME.toml` (or `cases/NAME/main.toml`) and exactly what is said about it, `NAME.expected`.
//! `UPDATE=1` writes the expected files; read the difference before you keep it.

use std::path::{Path, PathBuf};

use tollgate::config::{self, Diagnostics};

const CASES: &str = "tests/config/cases";

#[test]
fn bad_files_are_told_exactly_this() {
    let cases = cases();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (file, expected) in &cases {
        let told = told(file);
        if update {
            std::fs::write(expected, &told).unwrap();
        } else if std::fs::read_to_string(expected).unwrap_or_default() != told {
            wrong.push(format!("--- {}\n{told}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_error_code_has_a_case() {
    let mut all: String =
        cases().iter().map(|(_, expected)| std::fs::read_to_string(expected).unwrap_or_default()).collect();
    // What only shows when the plan is built, `tollgate check` tells.
    for entry in std::fs::read_dir("tests/cli/golden").unwrap() {
        all.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    // Its file has to have another mode: `values` tells it.
    let elsewhere = ["W0106"];
    let missing: Vec<&str> = config::codes::ALL
        .iter()
        .map(|code| code.code)
        .filter(|code| !all.contains(&format!("[{code}]")) && !elsewhere.contains(code))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn json_has_place_key_code_and_help() {
    let file = Path::new(CASES).join("unknown_upstream.toml");
    let found = config::load(&file, &crate::variables).unwrap_err().to_json();
    let first = &found[0];
    assert_eq!(first["code"], "E0203");
    assert_eq!(first["severity"], "error");
    assert_eq!(first["file"], file.to_str().unwrap());
    assert_eq!(first["key"], "site.localhost.routes[0].proxy");
    assert_eq!((&first["line"], &first["column"]), (&9.into(), &30.into()));
    assert_eq!(first["help"][0], "did you mean `api`?");
}

#[test]
fn colour_changes_nothing_but_colour() {
    let file = Path::new(CASES).join("unknown_upstream.toml");
    let found = config::load(&file, &crate::variables).unwrap_err();
    let coloured = found.render(true);
    assert!(coloured.contains("\u{1b}["));
    assert!(!found.render(false).contains('\u{1b}'));
}

fn told(file: &Path) -> String {
    let found = match config::load(file, &crate::variables) {
        Ok(config) => config.diagnostics(),
        Err(found) => found,
    };
    assert!(!found.is_empty(), "nothing is said about {}", file.display());
    text(&found)
}

fn text(found: &Diagnostics) -> String {
    format!("{}{}\n", found.render(false), found.summary())
}

fn cases() -> Vec<(PathBuf, PathBuf)> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(CASES).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cases.push((path.join("main.toml"), path.join("main.expected")));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            cases.push((path.clone(), path.with_extension("expected")));
        }
    }
    cases.sort();
    cases
}
