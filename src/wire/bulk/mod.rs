//! Elasticsearch's bulk form: a line that says what to do, and below it the document.
//!
//! ```text
//! {"create":{"_index":"app","_id":"7"}}\n
//! {"@timestamp":"2026-11-21T09:14:03Z","message":"hello"}\n
//! ```
//!
//! Source: Elasticsearch 8 reference, "Bulk API"; the words of refusals are those of its `BulkRequestParser`.

pub mod filter_path;

use std::fmt;

use serde::Deserialize;

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Index,
    Update,
    Delete,
}

impl Action {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One action with its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'b> {
    pub action: Action,
    /// Where it goes, if the line says so.
    pub index: Option<String>,
    pub id: Option<String>,
    /// The line below, which may be no JSON; a deletion has none.
    pub document: Option<&'b [u8]>,
}

/// A body that is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    Empty,
    /// What the last line says may have been cut.
    Unterminated,
    /// More items than this.
    TooMany(usize),
    /// A line that says nothing that can be done; counted from 1.
    Line {
        number: usize,
        reason: String,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("request body is required"),
            Self::Unterminated => f.write_str("The bulk request must be terminated by a newline [\\n]"),
            Self::TooMany(most) => write!(f, "more than {most} items in one request: send smaller ones"),
            Self::Line { number, reason } => write!(f, "Malformed action/metadata line [{number}], {reason}"),
        }
    }
}

/// The items of a body, in their order, `most` of them.
///
/// # Errors
/// When where one item ends and the next begins cannot be known: then none of them is meant to be done.
pub fn items(body: &[u8], most: usize) -> Result<Vec<Item<'_>>, Malformed> {
    let Some(lines) = body.strip_suffix(b"\n") else {
        return Err(if body.is_empty() { Malformed::Empty } else { Malformed::Unterminated });
    };
    let mut lines = lines.split(|&byte| byte == b'\n').enumerate();
    let mut items = Vec::new();
    while let Some((place, line)) = lines.next() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let malformed = |reason: String| Malformed::Line { number: place + 1, reason };
        let (action, target) = action(line).map_err(malformed)?;
        let document = match action {
            Action::Delete => None,
            _ => {
                let (_, document) =
                    lines.next().ok_or_else(|| malformed("no document follows".to_owned()))?;
                Some(document.trim_ascii())
            }
        };
        if items.len() == most {
            return Err(Malformed::TooMany(most));
        }
        items.push(Item { action, index: target.index, id: target.id.map(Word::text), document });
    }
    if items.is_empty() { Err(Malformed::Empty) } else { Ok(items) }
}

/// Reads a line such as `{"create":{"_index":"app"}}`.
fn action(line: &[u8]) -> Result<(Action, Target), String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut found = [
        (Action::Create, line.create),
        (Action::Index, line.index),
        (Action::Update, line.update),
        (Action::Delete, line.delete),
    ]
    .into_iter()
    .filter_map(|(action, target)| Some((action, target?)));
    let wanted = "expected field [create], [delete], [index] or [update]";
    let (action, target) = found.next().ok_or_else(|| format!("{wanted} but found none"))?;
    if found.next().is_some() {
        return Err(format!("{wanted} but found several"));
    }
    let is_create = action == Action::Index && target.op_type.as_deref() == Some("create");
    Ok((if is_create { Action::Create } else { action }, target))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    create: Option<Target>,
    index: Option<Target>,
    update: Option<Target>,
    delete: Option<Target>,
}

/// Members of other names (`routing`, `pipeline`, `_type`…) say what has no meaning where nothing is routed.
#[derive(Deserialize)]
struct Target {
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: Option<Word>,
    op_type: Option<String>,
}

/// An id may be written as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Number(serde_json::Number),
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_action_has_the_line_below_as_its_document() {
        let body = b"{\"create\":{\"_index\":\"a\",\"_id\":7}}\n{\"x\":1}\r\n\n{\"delete\":{\"_id\":\"b\"}}\n{\"index\":{}}\nno json\n";
        let read = items(body, 20).unwrap();
        let told: Vec<_> = read
            .iter()
            .map(|item| (item.action, item.index.as_deref(), item.id.as_deref(), item.document))
            .collect();
        assert_eq!(
            told,
            [
                (Action::Create, Some("a"), Some("7"), Some(&b"{\"x\":1}"[..])),
                (Action::Delete, None, Some("b"), None),
                (Action::Index, None, None, Some(&b"no json"[..])),
            ]
        );
    }

    #[test]
    fn an_index_action_may_ask_for_a_creation() {
        assert_eq!(
            items(b"{\"index\":{\"op_type\":\"create\"}}\n{}\n", 20).unwrap()[0].action,
            Action::Create
        );
    }

    #[test]
    fn a_body_whose_items_cannot_be_told_apart_is_refused_whole() {
        assert_eq!(items(b"", 20), Err(Malformed::Empty));
        assert_eq!(items(b"\n \n", 20), Err(Malformed::Empty));
        assert_eq!(items(b"{\"create\":{}}\n{}", 20), Err(Malformed::Unterminated));
        for bad in [
            "{}\n{}\n",
            "[]\n{}\n",
            "{\"upsert\":{}}\n{}\n",
            "{\"create\":{},\"index\":{}}\n{}\n",
            "{\"create\":{}}\n",
            "{\"create\":{\"_id\":[]}}\n{}\n",
            "{\"create\":{}\n{}\n",
        ] {
            let refused = items(bad.as_bytes(), 20).unwrap_err().to_string();
            assert!(refused.starts_with("Malformed action/metadata line [1], "), "{bad}: {refused}");
        }
    }

    #[test]
    fn only_so_many_items_are_taken() {
        let body = "{\"index\":{}}\n{}\n".repeat(3);
        assert_eq!(items(body.as_bytes(), 3).map(|items| items.len()), Ok(3));
        assert_eq!(items(body.as_bytes(), 2), Err(Malformed::TooMany(2)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = items(&body, 20);
        }

        #[test]
        fn documents_come_out_as_they_went_in(documents in proptest::collection::vec("[!-~]{1,20}", 1..20)) {
            let body: String = documents.iter().map(|text| format!("{{\"create\":{{}}}}\n{text}\n")).collect();
            let read = items(body.as_bytes(), 20).unwrap();
            let read: Vec<_> = read.iter().filter_map(|item| item.document).collect();
            prop_assert_eq!(read, documents.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}
