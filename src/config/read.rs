//! Reading nodes into the types of the language; whatever is wrong goes into the [`Sink`] and reading goes on.

use std::ops::Deref;

use super::codes;
use super::diagnostic::{Diagnostic, Severity};
use super::node::{Entry, Node, Value};
use super::place::{At, Place};
use super::shape::{Kind, Literal, Shape, with_article};
use crate::units::Count;

/// A type of the language.
pub trait Read: Sized {
    /// What it says about itself.
    fn kind() -> Kind;
    /// None when nothing usable is written; what is wrong is in the sink then.
    fn read(node: &Node, sink: &mut Sink) -> Option<Self>;
}

/// A type that is written as a string with a grammar.
pub trait Word: Sized {
    /// What it is, without article: `duration`.
    const WHAT: &'static str;
    const EXAMPLE: &'static str;
    fn parse(text: &str) -> Result<Self, Problem>;
}

/// Why a string is not the word that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub message: String,
    pub help: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Where everything that is wrong is collected.
#[derive(Debug, Default)]
pub struct Sink {
    pub found: Vec<Diagnostic>,
}

impl Sink {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// The text of a string.
    pub fn text<'n, T: Read>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_form(node, &T::kind());
                None
            }
        }
    }

    /// A value that has another form than its key wants. What was never understood has been reported.
    pub fn wrong_form(&mut self, node: &Node, expected: &Kind) {
        if matches!(node.value, Value::Broken) {
            return;
        }
        let message = format!("expected {}, found {}", expected.describe(), node.form());
        let mut wrong = Diagnostic::error(codes::WRONG_FORM, message).at(&node.place, "");
        if let (Kind::Word { example, .. }, Value::Integer(_) | Value::Other(..)) = (expected, &node.value) {
            wrong = wrong.help(format!("write it as a string, such as \"{example}\""));
        }
        self.push(wrong);
    }

    pub fn bad_value(&mut self, place: &Place, what: &str, example: &str, problem: Problem) {
        let label = if example.is_empty() {
            String::new()
        } else {
            format!("expected {} such as \"{example}\"", with_article(what))
        };
        let mut wrong = Diagnostic::error(codes::BAD_VALUE, problem.message).at(place, label);
        if let Some(help) = problem.help {
            wrong = wrong.help(help);
        }
        self.push(wrong);
    }

    pub fn not_among(&mut self, node: &Node, what: &str, word: &str, known: &[&str]) {
        let message = format!("there is no {what} `{}`", word.escape_debug());
        let wrong = Diagnostic::error(codes::BAD_VALUE, message).at(&node.place, "");
        self.push(wrong.nearest(word, known.iter().copied()));
    }

    /// Whether something inside the value at `place` was wrong, so that what follows from it need not be said.
    pub fn is_broken(&self, place: &Place) -> bool {
        self.errors_below(place).next().is_some()
    }

    /// As [`Sink::is_broken`], for some keys of the table at `place` only. A key that the table does not have counts:
    /// it may be meant to be one of them.
    pub fn is_broken_at(&self, place: &Place, keys: &[&str]) -> bool {
        self.errors_below(place).any(|(code, rest)| {
            let key = rest.trim_start_matches('.').split(['.', '[']).next().unwrap_or("");
            code == codes::UNKNOWN_KEY || keys.contains(&key)
        })
    }

    /// Whether the key of this name, in the table in which the value at `place` stands, is written and wrong.
    pub fn is_broken_beside(&self, place: &Place, key: &str) -> bool {
        let table = place.spot().and_then(|spot| spot.key.rsplit_once('.'));
        let wanted = table.map(|(table, _)| format!("{table}.{key}"));
        let mut errors = self.found.iter().filter(|one| one.severity == Severity::Error);
        wanted
            .is_some_and(|wanted| errors.any(|one| one.place.spot().is_some_and(|spot| *spot.key == *wanted)))
    }

    /// The errors inside the value at `place`, with the rest of their keys.
    fn errors_below(&self, place: &Place) -> impl Iterator<Item = (codes::Code, &str)> {
        let outer = place.spot().map(|spot| spot.key.to_string());
        let errors = self.found.iter().filter(|one| one.severity == Severity::Error);
        errors.filter_map(move |one| {
            let rest = one.place.spot()?.key.strip_prefix(outer.as_deref()?)?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((one.code, rest))
        })
    }
}

/// A value with its place.
pub fn read_at<T: Read>(node: &Node, sink: &mut Sink) -> Option<At<T>> {
    Some(At::new(T::read(node, sink)?, node.place.clone(), node.written()))
}

/// What a table is when nothing is written in it. None for a table with required keys.
pub fn defaults<T: Read>() -> Option<T> {
    T::read(&Literal::Table.node(), &mut Sink::default())
}

/// The keys of one table while they are read.
pub struct Fields<'a> {
    entries: &'a [Entry],
    place: &'a Place,
    sink: &'a mut Sink,
}

impl<'a> Fields<'a> {
    /// Reports every key that the table does not have. None when it is no table at all.
    pub fn open(node: &'a Node, shape: &Shape, sink: &'a mut Sink) -> Option<Self> {
        let Some(entries) = node.entries() else {
            sink.wrong_form(node, &Kind::Table(shape.clone()));
            return None;
        };
        for entry in entries {
            if !shape.keys.iter().any(|key| *key.name == *entry.key) {
                sink.push(unknown_key(entry, shape));
            }
        }
        Some(Self { entries, place: &node.place, sink })
    }

    pub fn required<T: Read>(&mut self, key: &str) -> Option<At<T>> {
        if let Some(node) = self.node(key) {
            return read_at(node, self.sink);
        }
        let missing = Diagnostic::error(codes::MISSING_KEY, format!("`{key}` is missing"))
            .at(self.place, "in this table")
            .help(format!("`{key}` is {}", T::kind().describe()));
        self.sink.push(missing);
        None
    }

    pub fn optional<T: Read>(&mut self, key: &str) -> Option<At<T>> {
        read_at(self.node(key)?, self.sink)
    }

    /// What is written, else the default; also where what is written is wrong.
    pub fn or_default<T: Read>(&mut self, key: &str, default: &Literal) -> Option<At<T>> {
        let written = self.node(key).and_then(|node| read_at(node, self.sink));
        written.or_else(|| read_at(&default.node(), self.sink))
    }

    fn node(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| *entry.key == *key).map(|entry| &entry.node)
    }
}

/// What is said about a key that a table does not have.
pub fn unknown_key(entry: &Entry, shape: &Shape) -> Diagnostic {
    Diagnostic::error(codes::UNKNOWN_KEY, format!("there is no key `{}` here", entry.key.escape_debug()))
        .at(&entry.key_place, "")
        .nearest(&entry.key, shape.keys.iter().map(|key| key.name))
}

impl<T: Word> Read for T {
    fn kind() -> Kind {
        Kind::Word { what: T::WHAT, example: T::EXAMPLE }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let text = sink.text::<Self>(node)?;
        T::parse(text).map_err(|problem| sink.bad_value(&node.place, T::WHAT, T::EXAMPLE, problem)).ok()
    }
}

impl Read for bool {
    fn kind() -> Kind {
        Kind::Bool
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        match node.value {
            Value::Bool(on) => Some(on),
            _ => {
                sink.wrong_form(node, &Self::kind());
                None
            }
        }
    }
}

/// A whole number within bounds.
pub fn integer(node: &Node, min: i64, max: i64, sink: &mut Sink) -> Option<i64> {
    match node.value {
        Value::Integer(number) if (min..=max).contains(&number) => Some(number),
        Value::Integer(number) => {
            let problem = Problem::new(format!("{number} is not between {min} and {max}"));
            sink.bad_value(&node.place, "number", "", problem);
            None
        }
        _ => {
            sink.wrong_form(node, &Kind::Integer { min, max });
            None
        }
    }
}

impl Read for u32 {
    fn kind() -> Kind {
        Kind::Integer { min: 0, max: i64::from(Self::MAX) }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        Self::try_from(integer(node, 0, i64::from(Self::MAX), sink)?).ok()
    }
}

impl Read for Count {
    fn kind() -> Kind {
        Kind::Integer { min: 1, max: i64::from(u32::MAX) }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        u32::try_from(integer(node, 1, i64::from(u32::MAX), sink)?).ok().and_then(Self::new)
    }
}

impl<T: Read> Read for Vec<At<T>> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| read_at(item, sink)).collect()),
            _ => {
                sink.wrong_form(node, &Self::kind());
                None
            }
        }
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<At<T>>);

impl<T> Deref for OneOrMany<T> {
    type Target = [At<T>];

    fn deref(&self) -> &[At<T>] {
        &self.0
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn kind() -> Kind {
        Kind::OneOrMany(Box::new(T::kind()))
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        match node.value {
            Value::List(_) => Vec::read(node, sink).map(Self),
            _ => read_at(node, sink).map(|one| Self(vec![one])),
        }
    }
}

/// Keys of the user's choice, each with a value, in the order of the file.
#[derive(Clone, Debug)]
pub struct Map<K, T>(pub Vec<(At<K>, At<T>)>);

impl<K, T> Deref for Map<K, T> {
    type Target = [(At<K>, At<T>)];

    fn deref(&self) -> &[(At<K>, At<T>)] {
        &self.0
    }
}

impl<K: Word, T: Read> Read for Map<K, T> {
    fn kind() -> Kind {
        Kind::Map { key: K::WHAT, value: Box::new(T::kind()) }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let Some(entries) = node.entries() else {
            sink.wrong_form(node, &Self::kind());
            return None;
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = read_key::<K>(entry, sink);
            let value = read_at(&entry.node, sink);
            pairs.extend(key.zip(value));
        }
        Some(Self(pairs))
    }
}

/// A key that is a word of the language.
pub fn read_key<K: Word>(entry: &Entry, sink: &mut Sink) -> Option<At<K>> {
    match K::parse(&entry.key) {
        Ok(key) => Some(At::new(key, entry.key_place.clone(), entry.key.clone())),
        Err(problem) => {
            sink.bad_value(&entry.key_place, K::WHAT, "", problem);
            None
        }
    }
}
