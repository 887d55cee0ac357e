//! How each column is written.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::{PAGE_ROWS, ROW_GROUP_ROWS};
use crate::log_service::columns::NAMES;

/// How final a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Rows of some minutes, written quickly.
    L0,
    /// The rows of an hour, written small.
    L1,
}

/// Differ from row to row and grow: differences are short.
const GROWING: [&str; 5] = ["ts", "recv", "seq", "first_seq", "last_seq"];
/// Never sorted near to time: only a filter can leave out row groups.
const KEYS: [&str; 3] = ["rid", "trace_id", "client_ip"];
const KEY_FALSE_POSITIVES: f64 = 0.01;
/// Statistics per page only where pages are left out by them.
const PAGE_STATISTICS: [&str; 3] = ["id", "ts", "dur_us"];
/// A dictionary of numbers that grows beyond this is worse than differences.
const NUMBER_DICTIONARY_BYTES: usize = 16 << 10;
const TEXT_DICTIONARY_BYTES: usize = 256 << 10;
/// Clients come again in other minutes: one dictionary for the row group is grouped by far faster than pages without. Not so
/// for paths: a lookup by id has to read the whole dictionary for one row.
const CLIENT_DICTIONARY_BYTES: usize = 2 << 20;
/// Few different values, of which numbers of few bits remain: LZ4 finds their runs as well as Zstandard does, and a reader
/// needs no Zstandard context for the column, which costs more to make than a page to decode.
const FEW_VALUES: [&str; 42] = [
    "v",
    "kind",
    "from",
    "proxy",
    "boot",
    "core",
    "trace_flags",
    "cfg",
    "listener",
    "method",
    "scheme",
    "host",
    "site",
    "route",
    "proto",
    "req_type",
    "status",
    "up_status",
    "resp_type",
    "enc",
    "t_queue_us",
    "upstream",
    "worker",
    "up_reused",
    "pick",
    "tries",
    "end_by",
    "end_at",
    "reason",
    "cause",
    "rl",
    "rl_rule",
    "tls_ver",
    "tls_cipher",
    "tls_group",
    "tls_alpn",
    "tls_sni",
    "tls_resumed",
    "sw",
    "detail",
    "level",
    "stream",
];

pub(super) fn properties(level: Level) -> WriterProperties {
    let builder = WriterProperties::builder()
        .set_created_by(concat!("tollgate ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(compression(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        // Pages end between batches of writing only.
        .set_write_batch_size(1024)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(
            place("id")
                .map(|column_idx| vec![SortingColumn { column_idx, descending: false, nulls_first: false }]),
        );
    NAMES.iter().fold(builder, |builder, name| column(builder, name)).build()
}

fn compression(level: Level) -> Compression {
    match level {
        Level::L0 => Compression::LZ4_RAW,
        Level::L1 => ZstdLevel::try_new(3).map_or(Compression::LZ4_RAW, Compression::ZSTD),
    }
}

fn place(name: &str) -> Option<i32> {
    NAMES.iter().position(|known| *known == name).and_then(|place| i32::try_from(place).ok())
}

fn column(builder: WriterPropertiesBuilder, name: &str) -> WriterPropertiesBuilder {
    let path = || ColumnPath::from(name);
    let mut builder = match name {
        "id" => plain(builder, name, Encoding::DELTA_BYTE_ARRAY),
        name if GROWING.contains(&name) => plain(builder, name, Encoding::DELTA_BINARY_PACKED),
        "trace_id" | "span_id" | "parent_id" => plain(builder, name, Encoding::PLAIN),
        name if is_number(name) => builder
            .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_page_size_limit(path(), NUMBER_DICTIONARY_BYTES),
        "up_reused" | "tls_resumed" => builder,
        "client_ip" => builder
            .set_column_encoding(path(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_dictionary_page_size_limit(path(), CLIENT_DICTIONARY_BYTES),
        _ => builder
            .set_column_encoding(path(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            .set_column_dictionary_page_size_limit(path(), TEXT_DICTIONARY_BYTES),
    };
    if FEW_VALUES.contains(&name) {
        builder = builder.set_column_compression(path(), Compression::LZ4_RAW);
    }
    if KEYS.contains(&name) {
        builder = builder
            .set_column_bloom_filter_enabled(path(), true)
            .set_column_bloom_filter_fpp(path(), KEY_FALSE_POSITIVES)
            // The writer folds a filter to what its row group holds.
            .set_column_bloom_filter_max_ndv(path(), ROW_GROUP_ROWS as u64);
    }
    if PAGE_STATISTICS.contains(&name) {
        builder = builder.set_column_statistics_enabled(path(), EnabledStatistics::Page);
    }
    builder
}

fn plain(builder: WriterPropertiesBuilder, name: &str, encoding: Encoding) -> WriterPropertiesBuilder {
    let path = || ColumnPath::from(name);
    builder.set_column_dictionary_enabled(path(), false).set_column_encoding(path(), encoding)
}

fn is_number(name: &str) -> bool {
    use arrow_schema::DataType;
    let schema = crate::log_service::columns::schema();
    schema.field_with_name(name).is_ok_and(|field| {
        matches!(field.data_type(), DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64)
    })
}
