//! Everything under `config/` loads without a word.

use std::path::PathBuf;

use tollgate::config::{self, At};

#[test]
fn every_shipped_file_is_clean() {
    let mut files = vec![PathBuf::from("config/tollgate.toml")];
    files.extend(std::fs::read_dir("config/examples").unwrap().map(|entry| entry.unwrap().path()));
    let files: Vec<_> =
        files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let found = match config::load(&file, &crate::variables) {
            Ok(config) => config.diagnostics(),
            Err(found) => found,
        };
        assert!(found.is_empty(), "{found}");
    }
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
