//! Everything under `config/` loads without a word, but for what needs a feature that this build has not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tollgate::config::{self, At, Diagnostics};

/// What is wrong with a file.
fn found(file: &Path) -> Diagnostics {
    match config::load(file, &crate::variables) {
        Ok(config) => config.diagnostics(),
        Err(found) => found,
    }
}

#[test]
fn every_shipped_file_is_clean() {
    let mut files = vec![PathBuf::from("config/tollgate.toml")];
    files.extend(std::fs::read_dir("config/examples").unwrap().map(|entry| entry.unwrap().path()));
    let files: Vec<_> =
        files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files.iter().filter(|file| cfg!(feature = "kafka") || !file.ends_with(KAFKA)) {
        let found = found(file);
        assert!(found.is_empty(), "{found}");
    }
}

const KAFKA: &str = "config/examples/to-kafka.toml";

/// Nothing else is wrong with it; in a build with the feature it is as clean as the others.
#[test]
#[cfg(not(feature = "kafka"))]
fn the_file_for_kafka_is_refused_only_for_want_of_the_feature() {
    let found = found(KAFKA.as_ref());
    let said = found.to_string();
    assert_eq!(found.iter().count(), 1, "{said}");
    assert!(said.contains("this program was built without sinks of type `kafka`"), "{said}");
    assert!(said.contains("cargo build --release --features kafka"), "{said}");
    assert!(said.contains(&format!("{KAFKA}:8:")), "{said}");
}

/// The tables of the manual name a file for each, and there it is.
#[test]
fn every_sink_and_every_input_has_an_example_that_is_checked_and_found() {
    let readme = std::fs::read_to_string("config/README.md").unwrap();
    for (table, heading) in [("log.sink", "## Sinks"), ("log.input", "### Inputs")] {
        let reference = config::reference();
        let key = reference.iter().find(|key| key.table == table && key.key == "type").unwrap();
        let types: BTreeSet<&str> = key.kind.split('"').skip(1).step_by(2).collect();
        assert!(types.len() > 5, "{types:?}");
        let (_, part) = readme.split_once(&format!("\n{heading}")).unwrap();
        let (_, rows) = part.split_once("\n| `type` |").unwrap();
        let (rows, _) = rows.split_once("\n\n").unwrap();
        let mut shown = BTreeSet::new();
        for row in rows.lines().skip(2) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let (_, file) = cells.last().unwrap().split_once("](").unwrap();
            let file = Path::new("config").join(file.split(')').next().unwrap());
            let has = types_in(&std::fs::read_to_string(&file).unwrap(), table);
            for kind in cells[0].split('`').skip(1).step_by(2) {
                assert!(has.contains(kind), "{} has no {table} of type {kind}", file.display());
                shown.insert(kind);
            }
        }
        assert_eq!(shown, types, "{table}");
    }
}

/// Of the tables `[table.NAME]`.
fn types_in(text: &str, table: &str) -> BTreeSet<String> {
    let (mut is_there, mut found) = (false, BTreeSet::new());
    for line in text.lines() {
        if line.starts_with('[') {
            is_there = line.starts_with(&format!("[{table}."));
        }
        if let Some((key, value)) = line.split_once('=').filter(|_| is_there)
            && key.trim() == "type"
        {
            found.extend(value.split('"').nth(1).map(str::to_owned));
        }
    }
    found
}

/// But for what a reader has to have of his own: certificates.
#[test]
fn what_the_manual_shows_is_taken() {
    const FILES: [&str; 4] = ["ca", "cert", "key", "client_ca"];
    const SERVER: &str = "[server]\nhttp = \"127.0.0.1:1\"\n";
    const SITE: &str = "[site.\"*\"]\nroutes = [{ path = \"/*\", respond = \"x\" }]\n";
    let variables = |name: &str| match name {
        "SLACK_URL" => Some("https://hooks.slack.com/services/x".to_owned()),
        name => crate::variables(name),
    };
    let mut seen = 0;
    for manual in ["README.md", "config/README.md"] {
        let text = std::fs::read_to_string(manual).unwrap();
        for part in text.split("\n```toml\n").skip(1) {
            let (shown, _) = part.split_once("\n```").unwrap();
            let is_ours = |line: &&str| !FILES.contains(&line.split('=').next().unwrap().trim());
            let mut text: String = shown.lines().filter(is_ours).map(|line| format!("{line}\n")).collect();
            for (table, whole) in [("[server]", SERVER), ("[site.", SITE)] {
                if !text.contains(table) {
                    text.push_str(whole);
                }
            }
            let found = match config::from_text(manual, &text, &variables) {
                Ok(config) => config.diagnostics(),
                Err(found) => found,
            };
            let is_for_kafka = shown.contains("type     = \"kafka\"") && !cfg!(feature = "kafka");
            assert_eq!(found.iter().count(), usize::from(is_for_kafka), "{manual}: {found}");
            assert!(!is_for_kafka || found.to_string().contains("--features kafka"), "{found}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn the_default_serves_localhost_with_workers_and_a_log() {
    let config = config::load("config/tollgate.toml".as_ref(), &crate::variables).unwrap();
    assert_eq!(config.sites[0].name.to_string(), "localhost");
    let app = config.upstream("app").unwrap();
    let command = &app.body.workers.as_ref().unwrap().command;
    let words: Vec<&str> = command.iter().map(|word: &At<_>| &*word.value).map(AsRef::as_ref).collect();
    assert_eq!(words, ["/usr/bin/tollgate", "whoami"]);
    assert_eq!(config.log.service.value, config::log::LogService::Embedded);
}
