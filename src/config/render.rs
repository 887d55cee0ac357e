//! Diagnostics as text with source lines and carets, and as JSON.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Severity, Sources};
use super::place::{Place, Spot};

/// Every diagnostic, an empty line after each.
pub(super) fn text(list: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in list {
        text.push_str(&renderer.render(&[group(diagnostic, sources)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.code);
    let mut group = Group::with_title(title);
    for (file, source) in files_of(diagnostic, sources) {
        group = group.element(snippet(diagnostic, file, source));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// The files that a diagnostic points into, its own first.
fn files_of<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Vec<(&'a str, &'a str)> {
    let mut files: Vec<(&str, &str)> = Vec::new();
    for place in std::iter::once(&diagnostic.place).chain(diagnostic.also.iter().map(|(place, _)| place)) {
        let Some(spot) = place.spot() else { continue };
        let Some(text) = sources.text(&spot.file) else { continue };
        if !files.iter().any(|(file, _)| **file == *spot.file) {
            files.push((&spot.file, text));
        }
    }
    files
}

fn snippet<'a>(
    diagnostic: &'a Diagnostic,
    file: &'a str,
    source: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let mut snippet = Snippet::source(source).path(file);
    let in_file = |place: &'a Place| place.spot().filter(|spot| *spot.file == *file);
    if let Some(spot) = in_file(&diagnostic.place) {
        let mark = AnnotationKind::Primary.span(shown(spot, source));
        snippet = snippet.annotation(mark.label(some(&diagnostic.label)));
    }
    for (place, label) in &diagnostic.also {
        if let Some(spot) = in_file(place) {
            let mark = AnnotationKind::Context.span(shown(spot, source));
            snippet = snippet.annotation(mark.label(some(label)));
        }
    }
    snippet
}

fn some(label: &str) -> Option<&str> {
    if label.is_empty() { None } else { Some(label) }
}

/// A value of many lines is marked in its first one only: the caret has to stand somewhere.
fn shown(spot: &Spot, source: &str) -> std::ops::Range<usize> {
    let end = spot.end.clamp(spot.start, source.len());
    let line_end = source.get(spot.start..end).and_then(|text| text.find('\n')).map(|at| spot.start + at);
    spot.start..line_end.unwrap_or(end)
}

/// A list of objects with file, line, column, key, severity, code, message and help.
pub(super) fn json(list: &[Diagnostic]) -> Value {
    Value::Array(list.iter().map(object).collect())
}

fn object(diagnostic: &Diagnostic) -> Value {
    let spot = diagnostic.place.spot();
    json!({
        "severity": match diagnostic.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "code": diagnostic.code.code,
        "message": diagnostic.message,
        "file": spot.map(|spot| &*spot.file),
        "line": spot.map(|spot| spot.line),
        "column": spot.map(|spot| spot.column),
        "key": spot.map(|spot| &*spot.key).filter(|key| !key.is_empty()),
        "label": some(&diagnostic.label),
        "notes": diagnostic.notes,
        "help": diagnostic.help,
    })
}
