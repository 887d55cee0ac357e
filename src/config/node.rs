//! [`Node`]: a value of a file as it stands there, with its place; variables already put in.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env::{Variables, expand};
use super::place::{Place, Spot};
use super::read::Sink;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

/// What TOML knows, as far as the language uses it.
#[derive(Clone, Debug)]
pub enum Value {
    Text(Arc<str>),
    Integer(i64),
    Bool(bool),
    List(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Entry>),
    /// What no key takes: its name in TOML, and its words.
    Other(&'static str, Arc<str>),
    /// A string whose variables could not be put in; that has been reported.
    Broken,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Arc<str>,
    pub key_place: Place,
    pub node: Node,
}

impl Node {
    pub fn default_of(value: Value) -> Self {
        Self { value, place: Place::Default }
    }

    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The words of a single value; empty for lists and tables.
    pub fn written(&self) -> Arc<str> {
        match &self.value {
            Value::Text(text) | Value::Other(_, text) => Arc::clone(text),
            Value::Integer(number) => number.to_string().into(),
            Value::Bool(on) => on.to_string().into(),
            Value::List(_) | Value::Table(_) | Value::Broken => "".into(),
        }
    }

    /// With its article, for messages.
    pub fn form(&self) -> &'static str {
        match &self.value {
            Value::Text(_) | Value::Broken => "a string",
            Value::Integer(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(form, _) => form,
        }
    }
}

/// One file while its values are taken over.
pub struct Reader<'a> {
    pub file: Arc<str>,
    pub text: &'a str,
    pub variables: Variables<'a>,
    pub sink: &'a mut Sink,
}

impl Reader<'_> {
    /// The whole file as one table.
    pub fn document(&mut self, table: &Spanned<DeTable<'_>>) -> Node {
        let place = self.place("", 0..0);
        Node { value: self.table(table.get_ref(), ""), place }
    }

    /// A place in this file.
    pub fn place(&self, key: &str, span: std::ops::Range<usize>) -> Place {
        let (line, column) = line_and_column(self.text, span.start);
        let spot = Spot {
            file: Arc::clone(&self.file),
            key: key.into(),
            line,
            column,
            start: span.start,
            end: span.end,
        };
        Place::File(Arc::new(spot))
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Value {
        let mut entries: Vec<_> = table.iter().collect();
        // The parser sorts by name; people read in the order of the file.
        entries.sort_by_key(|(key, _)| key.span().start);
        Value::Table(entries.into_iter().map(|(key, value)| self.entry(key, value, path)).collect())
    }

    fn entry(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        path: &str,
    ) -> Entry {
        let name = key.get_ref().as_ref();
        let path = join(path, name);
        let node = self.node(value, &path);
        Entry { key: name.into(), key_place: self.place(&path, key.span()), node }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, path: &str) -> Node {
        let place = self.place(path, value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => {
                expand(text, &place, self.variables, self.sink).map_or(Value::Broken, Value::Text)
            }
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("a number that is too large", number.to_string().into()),
            },
            DeValue::Float(number) => Value::Other("a number with a fraction", number.to_string().into()),
            DeValue::Boolean(on) => Value::Bool(*on),
            DeValue::Datetime(time) => Value::Other("a date or time", time.to_string().into()),
            DeValue::Array(items) => {
                let item = |(index, item)| self.node(item, &format!("{path}[{index}]"));
                Value::List(items.iter().enumerate().map(item).collect())
            }
            DeValue::Table(table) => self.table(table, path),
        };
        Node { value, place }
    }
}

/// `site` and `example.com` make `site."example.com"`.
fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let dot = if path.is_empty() { "" } else { "." };
    if bare { format!("{path}{dot}{name}") } else { format!("{path}{dot}\"{}\"", name.escape_debug()) }
}

/// Both from 1, the column in characters.
fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (short(line), short(column))
}
