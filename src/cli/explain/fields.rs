//! Header fields before and after, fit to be shown.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::report::{Change, Field};
use crate::record::{Id, id};

/// The id of a request that is not made: what is shown in its place is [`Shown::text`]'s business.
pub(super) const NO_ID: Id = *b"\x01\0\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x01";

/// Fields whose values are credentials.
const SECRET: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token"];

/// How values are shown: what is made anew for each request or each start stands there by its name.
pub(super) struct Shown {
    /// Longest first, so that no part of one is taken for another.
    made: Vec<(String, &'static str)>,
}

impl Shown {
    /// `instance`: the pseudonym in `Via`, when it is drawn at each start.
    pub(super) fn new(instance: Option<&str>) -> Self {
        let text = String::from_utf8_lossy(&id::text(&NO_ID)).into_owned();
        let digits = text.replace('-', "");
        let span = digits[16..].to_owned();
        let mut made = vec![(text, "<request id>"), (digits, "<trace id>"), (span, "<span id>")];
        made.extend(instance.map(|name| (name.to_owned(), "tollgate-<instance>")));
        Self { made }
    }

    pub(super) fn text(&self, name: &HeaderName, value: &HeaderValue) -> String {
        if SECRET.contains(&name.as_str()) {
            return "(not shown)".to_owned();
        }
        let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        for (made, word) in &self.made {
            text = text.replace(made.as_str(), word);
        }
        text
    }

    /// Fields that went, came or changed, in the order of their names.
    pub(super) fn changes(&self, before: &HeaderMap, after: &HeaderMap) -> Vec<Change> {
        let mut names: Vec<&HeaderName> = before.keys().chain(after.keys()).collect();
        names.sort_by_key(|name| name.as_str());
        names.dedup();
        let is_changed = |name: &&HeaderName| !before.get_all(*name).iter().eq(after.get_all(*name));
        let all = |headers: &HeaderMap, name: &HeaderName| -> Vec<String> {
            headers.get_all(name).iter().map(|value| self.text(name, value)).collect()
        };
        let change = |name: &HeaderName| Change {
            name: name.to_string(),
            before: all(before, name),
            after: all(after, name),
        };
        names.into_iter().filter(is_changed).map(change).collect()
    }

    pub(super) fn fields(&self, headers: &HeaderMap) -> Vec<Field> {
        let field =
            |(name, value)| Field { name: HeaderName::to_string(name), value: self.text(name, value) };
        headers.iter().map(field).collect()
    }
}
