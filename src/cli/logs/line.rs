//! One entry as one line, in the form that was asked for.

use serde_json::Value;

use super::args::Form;
use super::escape;
use crate::record::line;

/// Renders an entry; `json` is its stored text.
pub(super) fn render(entry: &Value, json: &str, form: Form) -> String {
    match form {
        Form::Json => escape::json(json).into_owned(),
        Form::Line => line::render(entry, json, false),
        Form::Wide => line::render(entry, json, true),
    }
}
