//! Every key of the language with its type, default and description: for the reference in `config/README.md`.

use std::fmt::Write as _;

use super::alert::{Alert, Notify};
use super::limit::Limit;
use super::log::Log;
use super::read::{Read, Word};
use super::server::Server;
use super::shape::{Key, Kind, Literal, Presence, Shape};
use super::site::Site;
use super::upstream::Upstream;
use super::words::{Host, Name, Text};

/// One key, as it is documented.
#[derive(Clone, Debug)]
pub struct KeyDoc {
    /// The table: `server.timeouts`, `site.HOST.routes[]`.
    pub table: String,
    pub key: &'static str,
    /// What may be written.
    pub kind: String,
    /// As it would be written; `required`, or empty when there is none.
    pub default: String,
    pub doc: String,
}

/// The root of the language.
pub fn root() -> Shape {
    let named = |key, kind| Kind::Map { key, value: Box::new(kind) };
    let optional = |name, kind, doc| Key { name, kind, presence: Presence::Optional, doc };
    Shape {
        name: "Config",
        about: &["The configuration of tollgate."],
        keys: vec![
            optional(
                "include",
                Kind::List(Box::new(Text::kind())),
                &["Further files, relative to this one; `*` as in a shell. Main file only."],
            ),
            optional("server", Server::kind(), &["The proxy itself."]),
            optional("log", Log::kind(), &["Where the access records go."]),
            optional("limit", named(<Name as Word>::WHAT, Limit::kind()), &["Limits, by name."]),
            optional("upstream", named(<Name as Word>::WHAT, Upstream::kind()), &["Upstreams, by name."]),
            optional("site", named(<Host as Word>::WHAT, Site::kind()), &["Sites, by host name."]),
            optional("alert", named(<Name as Word>::WHAT, Alert::kind()), &["Alarms, by name."]),
            optional("notify", named(<Name as Word>::WHAT, Notify::kind()), &["Whom alarms tell, by name."]),
        ],
    }
}

/// Every key, in the order of the reference.
pub fn reference() -> Vec<KeyDoc> {
    let mut keys = Vec::new();
    for (table, shape) in tables() {
        keys.extend(shape.keys.iter().map(|key| document(&table, key)));
    }
    keys
}

/// The reference as Markdown: a section for each table, a line for each key.
pub fn markdown() -> String {
    let mut text = String::new();
    for (table, shape) in tables() {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "### `{table}`\n\n{}\n", prose(shape.about));
        text.push_str("| key | value | default | |\n|---|---|---|---|\n");
        for key in shape.keys.iter().map(|key| document(&table, key)) {
            let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.key, key.kind, key.default, key.doc);
        }
        text.push('\n');
    }
    text
}

/// Every table of the language once, by the first way that leads to it.
fn tables() -> Vec<(String, Shape)> {
    let mut found = Vec::new();
    for key in root().keys {
        let path = match key.kind {
            Kind::Map { key: word, .. } => {
                format!("{}.{}", key.name, if word == Host::WHAT { "\"HOST\"" } else { "NAME" })
            }
            _ => key.name.to_owned(),
        };
        collect(&path, &key.kind, &mut found);
    }
    found
}

fn collect(path: &str, kind: &Kind, found: &mut Vec<(String, Shape)>) {
    match kind {
        Kind::Table(shape) => {
            if found.iter().any(|(_, known)| known.name == shape.name) {
                return;
            }
            found.push((path.to_owned(), shape.clone()));
            for key in &shape.keys {
                collect(&format!("{path}.{}", key.name), &key.kind, found);
            }
        }
        Kind::List(item) => collect(&format!("{path}[]"), item, found),
        Kind::OneOrMany(item) | Kind::Map { value: item, .. } => collect(path, item, found),
        Kind::Any(kinds) => kinds.iter().for_each(|kind| collect(path, kind, found)),
        Kind::Word { .. } | Kind::Choice { .. } | Kind::Bool | Kind::Only(_) | Kind::Integer { .. } => {}
    }
}

fn document(table: &str, key: &Key) -> KeyDoc {
    KeyDoc {
        table: table.to_owned(),
        key: key.name,
        kind: match (&key.kind, &key.presence) {
            // The default is example enough.
            (Kind::Word { what, .. }, Presence::Default(Literal::Text(_))) => (*what).to_owned(),
            (kind, _) => cell(kind),
        },
        default: match &key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional | Presence::Default(Literal::Table) => String::new(),
            Presence::Default(literal) => format!("`{}`", written(literal)),
        },
        doc: prose(key.doc).replace('|', "\\|"),
    }
}

/// What may be written, short enough for a cell.
fn cell(kind: &Kind) -> String {
    match kind {
        Kind::Word { what, example: "" } => (*what).to_owned(),
        Kind::Word { what, example } => format!("{what}: `\"{example}\"`"),
        Kind::Choice { words, .. } => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Only(on) => format!("`{on}`"),
        Kind::Integer { min, max } if *max == i64::from(u32::MAX) => format!("number from {min}"),
        Kind::Integer { min, max } => format!("number from {min} to {max}"),
        Kind::List(item) if matches!(**item, Kind::Table(_)) => "list of tables".to_owned(),
        Kind::List(item) => format!("list: {}", cell(item)),
        Kind::OneOrMany(item) => format!("{}, or a list of them", cell(item)),
        Kind::Map { key, value } => format!("table: {key} = {}", cell(value)),
        Kind::Table(_) => "table".to_owned(),
        Kind::Any(kinds) => kinds.iter().map(cell).collect::<Vec<_>>().join("; "),
    }
}

/// A default as TOML.
pub fn written(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => format!("\"{text}\""),
        Literal::Integer(number) => number.to_string(),
        Literal::Bool(on) => on.to_string(),
        Literal::List(items) => {
            let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(", "))
        }
        Literal::Table => "{}".to_owned(),
    }
}

/// The lines of a doc comment as one.
pub fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
