//! What `--from` names: files, patterns, pipes.

use std::path::{Path, PathBuf};

use super::CommandError;
use super::escape::Safe;

/// `--from` takes every word behind it; what is no file but has the form of a condition belongs to the filter.
pub(super) fn split(words: &[String]) -> Result<(Vec<PathBuf>, Vec<String>), CommandError> {
    let (paths, filter) = sorted_out(words);
    match missing(&paths) {
        Some(missing) => Err(CommandError::Usage(format!(
            "{} is no file (words of the filter stand before --from)",
            Safe(&missing.display().to_string())
        ))),
        None => Ok((paths, filter)),
    }
}

fn missing(paths: &[PathBuf]) -> Option<&PathBuf> {
    paths.iter().find(|path| *path != Path::new("-") && !path.is_file() && !is_pipe(path))
}

fn sorted_out(words: &[String]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut paths, mut filter) = (Vec::new(), Vec::new());
    for (index, word) in words.iter().enumerate() {
        let path = PathBuf::from(word);
        let matching = if word == "-" || path.exists() { Vec::new() } else { matching(word) };
        if !matching.is_empty() {
            paths.extend(matching);
        } else if index > 0 && !path.exists() && word.contains([':', '=', '<', '>', '~', '(']) {
            filter.push(word.clone());
        } else {
            paths.push(path);
        }
    }
    (paths, filter)
}

/// Files by name or pattern; every one must be there.
pub(super) fn paths(words: &[String]) -> Result<Vec<PathBuf>, CommandError> {
    let (paths, rest) = sorted_out(words);
    let missing = missing(&paths).map(|path| path.display().to_string()).or(rest.into_iter().next());
    match missing {
        Some(word) => Err(CommandError::Usage(format!("{} is no file", Safe(&word)))),
        None => Ok(paths),
    }
}

/// `--from <(zcat …)` names a pipe.
fn is_pipe(path: &Path) -> bool {
    path.exists() && !path.is_dir()
}

/// Oldest first: `access.log.2.gz`, `access.log.1`, `access.log`.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        glob::glob(pattern).into_iter().flatten().flatten().filter(|path| path.is_file()).collect();
    paths.sort_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    paths
}
