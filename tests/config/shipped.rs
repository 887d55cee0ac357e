//! Everything under `config/` loads without a word, but for what needs a feature that this build has not.

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
