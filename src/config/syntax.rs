//! What the TOML parser reports, as diagnostics.

use std::ops::Range;
use std::sync::Arc;

use super::node::{Node, Reader, Value};
use super::place::{Place, Spot};
use super::{Diagnostic, codes};

/// One error of the parser. For a key that stands twice, also where it stands first.
pub(super) fn error(message: &str, place: &Place, root: &Node, file: &Reader<'_>) -> Diagnostic {
    if !message.starts_with("duplicate key") {
        return Diagnostic::error(codes::SYNTAX, message).at(place, "");
    }
    let wrong = Diagnostic::error(codes::TWICE, "the same key stands twice").at(place, "again here");
    let Some(again) = place.spot() else { return wrong };
    let first = same_header(again, file.text).map(|span| file.place("", span));
    match first.as_ref().or_else(|| first_of(root, again, file.text)) {
        Some(first) => wrong.also(first, "first here"),
        None => wrong,
    }
}

/// The first line with the same `[header]` as the one of `again`.
fn same_header(again: &Spot, text: &str) -> Option<Range<usize>> {
    let wanted = header(again, text)?;
    let line_start = text.get(..again.start)?.rfind('\n').map_or(0, |at| at + 1);
    if !text.get(line_start..)?.trim_start().starts_with(wanted) {
        return None;
    }
    let mut start = 0;
    for line in text.get(..line_start)?.split_inclusive('\n') {
        if line.trim() == wanted {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

/// Whether `place` is on one of these lines: what else is said about a line that was not understood is confusing.
pub(super) fn is_on(wrong_lines: &[(Arc<str>, Vec<u32>)], place: &Place) -> bool {
    let Some(spot) = place.spot() else { return false };
    wrong_lines.iter().any(|(file, lines)| *file == spot.file && lines.contains(&spot.line))
}

/// The key that `again` repeats. The parser keeps the first one in the tree, but does not tell which it was.
fn first_of<'a>(node: &'a Node, again: &Spot, text: &str) -> Option<&'a Place> {
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| first_of(item, again, text)),
        Value::Table(entries) => {
            let inside = entries.iter().find_map(|entry| first_of(&entry.node, again, text));
            inside.or_else(|| {
                let keys = entries.iter().map(|entry| &entry.key_place);
                keys.filter_map(|key| Some((key, key.spot()?)))
                    .find(|(_, first)| is_first(first, node.place.spot(), again, text))
                    .map(|(key, _)| key)
            })
        }
        _ => None,
    }
}

/// Whether `first` has the same text as `again`, and stands in the same table: either inside the braces of an inline
/// `table`, or below the same header.
fn is_first(first: &Spot, table: Option<&Spot>, again: &Spot, text: &str) -> bool {
    let words = |spot: &Spot| text.get(spot.start..spot.end);
    if first.start >= again.start || words(first) != words(again) {
        return false;
    }
    let is_inline = |spot: &Spot, table: &Spot| table.start < spot.start && spot.end <= table.end;
    match table {
        Some(table) if is_inline(first, table) => is_inline(again, table),
        _ => header(first, text) == header(again, text),
    }
}

/// The last line at or above a place that begins with `[`.
fn header<'t>(spot: &Spot, text: &'t str) -> Option<&'t str> {
    let end = text.get(spot.end..)?.find('\n').map_or(text.len(), |at| spot.end + at);
    text.get(..end)?.lines().map(str::trim).rfind(|line| line.starts_with('['))
}
