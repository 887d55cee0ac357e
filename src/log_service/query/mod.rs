//! The filter language, one for every command and for the service.
//!
//! ```text
//! query   = terms (OR terms)*
//! terms   = term ([AND] term)*              terms next to each other must all match
//! term    = (NOT | "-" | "+")* ( "(" query ")" | test | word )
//! test    = field ":" value                 matches, ignoring ASCII case; "*" stands for anything
//!         | field ("=" | "!=") value        is exactly (or is not)
//!         | field (">" | ">=" | "<" | "<=") value
//!         | field ("~" | "!~") regex
//! value   = plain | "quoted" | range | "(" list ")"
//! range   = ("[" | "{") end "TO" end ("]" | "}")     with brackets the end belongs to it; "*" is an open end
//! list    = all ([OR] all)*                 one of them does; unlike conditions, values next to each other are choices
//! all     = NOT* value (AND NOT* value)*
//! word    = a part of path, ua, err, a worker's line or an application's message, ignoring ASCII case
//! AND, OR, NOT   "and" "&&", "or" "||", "not" "!", the words in any case; a quoted "and" is a word
//! ```
//!
//! NOT binds closer than AND, AND closer than OR, as in KQL; of Lucene's query strings it takes the signs and the
//! ranges. `status:5xx` is a class, `ip:10.0.0.0/8` a network, `dur>1s` and `tx>1MB` have units, `reason:*` asks
//! whether the field is there. Negated tests match entries that lack the field. A plain value that its column can never
//! hold (`status:abc`) is an error; quoted it is looked for in what applications call so.
//!
//! Invariants: reading a query never panics and takes time linear in its length; matching takes time linear in the
//! entry's, whatever the query is.

mod field;
mod kind;
pub mod moment;
mod parse;
mod part;
mod pattern;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod values;

use serde_json::Value;

pub use field::Field;
pub use units::Unit;

pub(in crate::log_service) use field::lookup;
pub(in crate::log_service) use part::Part;
pub(in crate::log_service) use pattern::Pattern;
pub(in crate::log_service) use tree::{Bound, Node, Order, WORD_MEMBERS};

/// A checked filter. The empty one matches everything.
#[derive(Clone, Debug)]
pub struct Query {
    root: Node,
    fields: Vec<Field>,
}

impl Query {
    /// Reads a filter; the error says where it is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut fields = Vec::new();
        let root = parse::parse(text, &mut fields)?;
        Ok(Self { root, fields })
    }

    /// The filter that matches everything.
    pub fn all() -> Self {
        Self { root: Node::All(Vec::new()), fields: Vec::new() }
    }

    /// Whether a JSON object matches.
    pub fn matches(&self, entry: &Value) -> bool {
        self.root.matches(entry)
    }

    /// The tree of tests, for those that look at columns instead of objects.
    pub(in crate::log_service) fn root(&self) -> &Node {
        &self.root
    }

    /// The fields that the filter names.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields that the filter names and that no record of ours has; a hint when nothing was found.
    pub fn unknown_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| !field.is_known())
    }
}

/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, column {column}: {reason}\n  {text}\n  {caret:>width$}", caret = '^', width = *column)]
pub struct QueryError {
    /// What was written, with control characters shown as `?`.
    text: String,
    /// In characters, from 1.
    pub column: usize,
    /// Without control characters, too.
    pub reason: String,
}

impl QueryError {
    fn new(text: &str, at: usize, reason: impl Into<String>) -> Self {
        let column = text.get(..at).unwrap_or(text).chars().count() + 1;
        // The reason may quote the filter, so both go to a terminal by the same way.
        Self { text: clean(text), column, reason: clean(&reason.into()) }
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
