//! `tollgate explain`: what would happen to a request, by the code that serves it.

use std::path::Path;

use super::args::ExplainArgs;
use super::Exit;

/// Prints the fate of a request. Sends nothing.
pub(super) fn explain(_file: &Path, _request: &ExplainArgs, _json: bool) -> Exit {
    Exit::Failed
}
