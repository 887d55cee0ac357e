//! Rows as columns: the schema of the store, records and JSON objects going in, JSON objects coming out.
//!
//! Every member of the JSON form has a column of the same name; what has no column, or a value that its column cannot
//! hold exactly, stands in `body`. So a row rendered again is the object that came in, with `recv` and `from`.
//!
//! Three columns are never null, though an object may lack their members:
//!
//! * `ts` of an object without a usable time (`ts` or one of the names in [`alias`], RFC 3339 or a number since the epoch)
//!   is `recv`. A `ts` that equals `recv` is therefore not shown; where the
//!   object did say so, its `ts` stands in `body`.
//! * `id` is made at receipt where an object names none: a UUID of version 8 (RFC 9562 section 5.8), which is not shown.
//!   It may also come from another name of a request or a trace (`trace_id`, `x-request-id`, …), and is not shown then either. Where the object did say
//!   such an `id`, it stands in `body`.
//! * `kind` of an object without one is empty.
//!
//! What stands in `body` wins over the column of the same name.

mod alias;
mod builder;
mod cells;
mod extent;
mod native;
mod object;
mod render;
mod schema;
/// Records of the benchmarks.
#[cfg(test)]
#[path = "../../../tests/bench/samples.rs"]
pub(super) mod samples;
#[cfg(test)]
mod tests;

pub(crate) use crate::record::members::Members;
pub(crate) use builder::{Builder, Origin};
pub(crate) use extent::{ExtentBuilder, union_of_streams};
pub(crate) use render::RowWriter;
#[cfg(test)]
pub(crate) use render::render;
pub(crate) use render::write_time;
pub(crate) use schema::{NAMES, schema, type_of};

use crate::record::{Id, id};

/// Whether `id` was made at receipt, for an object that named none.
pub(crate) fn is_made(id: &Id) -> bool {
    id[6] >> 4 == MADE_VERSION
}

const MADE_VERSION: u8 = 8;

/// Members by which an object without `id` names the request that it belongs to, in the order of their weight.
fn other_ids() -> impl Iterator<Item = &'static str> {
    [TRACE_ID].into_iter().chain(alias::TRACES).chain(alias::RIDS)
}

const TRACE_ID: &str = "trace_id";

/// Whether an object without `id` may have its id from one of its members: this is its id, `body` holds its members.
pub(crate) fn is_of_other(id: &Id, body: &str) -> bool {
    let members: Members<'_> = serde_json::from_str(body).unwrap_or_default();
    object::names_other(&members.0, id)
}

/// Reads an id from the text of a JSON string.
fn named_id(text: &str) -> Option<Id> {
    id::parse(text.as_bytes())
}
