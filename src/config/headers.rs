//! Changes to header fields, and the words for the fields that the proxy itself writes.

use http::{HeaderName, HeaderValue};

use super::place::At;
use super::read::Map;
use super::shape::{either, table};
use super::words::Text;

table! {
    /// Changes to header fields. Levels add up (server, then site, then route); within one: remove, set, add.
    pub struct HeaderChanges {
        /// Replaces every field of that name.
        set: default Map<HeaderName, HeaderValue> = ();
        /// Adds a field beside those of that name.
        add: default Map<HeaderName, HeaderValue> = ();
        /// Removes every field of that name.
        remove: default Vec<At<HeaderName>> = &[] as &[&str];
    }
}

/// What becomes of the `Server` field of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Remove,
    Pass,
    Replace(HeaderValue),
}

either! {
    /// Whether `Via` is sent, and under which name.
    pub enum Via {
        Switch(bool),
        Name(Text),
    }
}
