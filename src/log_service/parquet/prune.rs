//! Which row groups and pages of a file can hold a row that is looked for.

use std::fs::File;

use arrow_array::cast::AsArray as _;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array as _, ArrayRef};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;

use crate::log_service::part::Prune;

/// The row groups to read, in this order, each with its rows; all of them where nothing is said.
pub(super) fn row_groups(
    file: &File,
    metadata: &ArrowReaderMetadata,
    prune: &Prune,
) -> Result<Vec<(usize, Option<RowSelection>)>, ParquetError> {
    let mut kept = Vec::new();
    for group in 0..metadata.metadata().num_row_groups() {
        if is_empty_of(metadata, group, prune.any_of)
            || is_ruled_out(metadata, group, prune)?
            || is_filtered_out(file, metadata, group, prune)?
        {
            continue;
        }
        match pages(metadata, group, prune)? {
            Some(selection) if !selection.selects_any() => {}
            selection => kept.push((group, selection)),
        }
    }
    if prune.newest_first {
        kept.reverse();
    }
    Ok(kept)
}

fn converter<'a>(
    metadata: &'a ArrowReaderMetadata,
    name: &str,
) -> Result<StatisticsConverter<'a>, ParquetError> {
    StatisticsConverter::try_new(name, metadata.schema(), metadata.parquet_schema())
}

/// Whether none of these columns has a value in a row group.
fn is_empty_of(metadata: &ArrowReaderMetadata, group: usize, columns: &[&str]) -> bool {
    let leaves: Vec<usize> = columns.iter().filter_map(|name| column_of(metadata, name)).collect();
    !columns.is_empty() && filled(metadata, group, &leaves).next().is_none()
}

/// By the statistics of the whole row group.
fn is_ruled_out(metadata: &ArrowReaderMetadata, group: usize, prune: &Prune) -> Result<bool, ParquetError> {
    let groups = [metadata.metadata().row_group(group)];
    let can_hold = |name: &str, test: &dyn Fn(&ArrayRef, &ArrayRef) -> Vec<bool>| {
        let converter = converter(metadata, name)?;
        let (mins, maxes) = (converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?);
        Ok::<_, ParquetError>(test(&mins, &maxes).into_iter().all(|can| can))
    };
    Ok(match prune.ts {
        Some(window) => !can_hold("ts", &|mins, maxes| in_window(mins, maxes, window))?,
        None => false,
    } || match prune.ids() {
        Some(ids) => !can_hold("id", &|mins, maxes| around_ids(mins, maxes, ids))?,
        None => false,
    })
}

/// By the Bloom filters of keys.
fn is_filtered_out(
    file: &File,
    metadata: &ArrowReaderMetadata,
    group: usize,
    prune: &Prune,
) -> Result<bool, ParquetError> {
    for (name, key) in &prune.keys {
        let Some(column) = column_of(metadata, name) else { continue };
        let file = file.try_clone()?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let filter = builder.get_row_group_column_bloom_filter(group, column)?;
        if filter.is_some_and(|filter| !filter.check(key.as_slice())) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn column_of(metadata: &ArrowReaderMetadata, name: &str) -> Option<usize> {
    metadata.parquet_schema().columns().iter().position(|column| column.name() == name)
}

/// Texts that come again: paths, and what browsers say about where they come from.
pub(super) const WORDS: [&str; 3] = ["path", "query", "referer"];

/// Whether there are such texts among the columns, and all of them are numbers of words in the row group.
pub(super) fn has_words(metadata: &ArrowReaderMetadata, group: usize, columns: &[usize]) -> bool {
    let group = metadata.metadata().row_group(group);
    let mut texts = columns
        .iter()
        .map(|&column| group.column(column))
        .filter(|chunk| WORDS.contains(&chunk.column_descr().name()))
        .peekable();
    // What grew beyond its dictionary goes on in the other encoding; then words would have to be looked up one by one.
    let is_whole = |chunk: &ColumnChunkMetaData| {
        chunk.encodings().all(|encoding| encoding != Encoding::DELTA_LENGTH_BYTE_ARRAY)
    };
    texts.peek().is_some() && texts.all(is_whole)
}

/// Those of the columns that have a value in a row group. Most rows leave half of all columns empty, and to open a column
/// costs as much as to read a page of it.
pub(super) fn filled<'c>(
    metadata: &'c ArrowReaderMetadata,
    group: usize,
    columns: &'c [usize],
) -> impl Iterator<Item = usize> + 'c {
    let group = metadata.metadata().row_group(group);
    let rows = u64::try_from(group.num_rows()).unwrap_or(0);
    columns.iter().copied().filter(move |&column| {
        let nulls = group.column(column).statistics().and_then(|statistics| statistics.null_count_opt());
        nulls.is_none_or(|nulls| nulls < rows)
    })
}

/// By the statistics of pages; `None` when they rule out nothing.
fn pages(
    metadata: &ArrowReaderMetadata,
    group: usize,
    prune: &Prune,
) -> Result<Option<RowSelection>, ParquetError> {
    let by_ts =
        prune.ts.map(|window| selection(metadata, group, "ts", |mins, maxes| in_window(mins, maxes, window)));
    let by_id =
        prune.ids().map(|ids| selection(metadata, group, "id", |mins, maxes| around_ids(mins, maxes, ids)));
    Ok(match (by_ts.transpose()?.flatten(), by_id.transpose()?.flatten()) {
        (Some(a), Some(b)) => Some(a.intersection(&b)),
        (a, b) => a.or(b),
    })
}

fn selection(
    metadata: &ArrowReaderMetadata,
    group: usize,
    name: &str,
    test: impl Fn(&ArrayRef, &ArrayRef) -> Vec<bool>,
) -> Result<Option<RowSelection>, ParquetError> {
    let converter = converter(metadata, name)?;
    let meta = metadata.metadata();
    let (Some(column), Some(index)) =
        (converter.parquet_column_index(), meta.page_index().map(AsRef::as_ref))
    else {
        return Ok(None);
    };
    let (mins, maxes) =
        (converter.data_page_mins(index, [&group])?, converter.data_page_maxes(index, [&group])?);
    let can_hold = test(&mins, &maxes);
    let Some(pages) = index.offset_index(group, column).map(|index| index.page_locations()) else {
        return Ok(None);
    };
    if can_hold.len() != pages.len() {
        return Ok(None);
    }
    let rows = usize::try_from(meta.row_group(group).num_rows()).unwrap_or(0);
    let starts: Vec<usize> =
        pages.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0)).collect();
    let ends = starts.iter().skip(1).copied().chain([rows]);
    let ranges = starts.iter().copied().zip(ends).zip(can_hold);
    let ranges = ranges.filter(|(_, can)| *can).map(|((start, end), _)| start..end);
    Ok(Some(RowSelection::from_consecutive_ranges(ranges, rows)))
}

/// For each page (or row group), whether a moment of the window can be in it. What has no statistics can hold anything.
fn in_window(mins: &ArrayRef, maxes: &ArrayRef, (first, last): (i64, i64)) -> Vec<bool> {
    let (Some(mins), Some(maxes)) = (
        mins.as_primitive_opt::<TimestampMicrosecondType>(),
        maxes.as_primitive_opt::<TimestampMicrosecondType>(),
    ) else {
        return vec![true; mins.len()];
    };
    mins.iter()
        .zip(maxes.iter())
        .map(|(min, max)| min.is_none_or(|min| min <= last) && max.is_none_or(|max| max >= first))
        .collect()
}

/// The same for ids, which are sorted.
fn around_ids(mins: &ArrayRef, maxes: &ArrayRef, ids: &[[u8; 16]]) -> Vec<bool> {
    let (Some(mins), Some(maxes)) = (mins.as_fixed_size_binary_opt(), maxes.as_fixed_size_binary_opt())
    else {
        return vec![true; mins.len()];
    };
    let can_hold = |(min, max): (Option<&[u8]>, Option<&[u8]>)| {
        let from = min.map_or(0, |min| ids.partition_point(|id| id.as_slice() < min));
        ids.get(from).is_some_and(|id| max.is_none_or(|max| id.as_slice() <= max))
    };
    mins.iter().zip(maxes.iter()).map(can_hold).collect()
}
