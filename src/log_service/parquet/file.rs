//! [`StoredFile`]: one file of the store as a part that queries read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::cast::AsArray as _;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::file::metadata::{ColumnChunkMask, PageIndexPolicy};

use super::{BATCH_ROWS, EXTENT_KEY, ExtentForm, PAGE_ROWS, io_error, prune};
use crate::log_service::columns::NAMES;
use crate::log_service::part::{Each, Extent, Part, Prune};

/// A file that is listed in the manifest. It stays on the disk as long as anybody holds it.
pub(crate) struct StoredFile {
    path: PathBuf,
    extent: Extent,
    footers: Arc<Footers>,
    /// Taken out of the manifest: the last one who holds it unlinks it.
    is_removed: AtomicBool,
    /// Kept open, so that it can be read after somebody has unlinked it.
    held: OnceLock<File>,
}

impl StoredFile {
    pub(crate) fn new(path: PathBuf, extent: Extent, footers: Arc<Footers>) -> Self {
        Self { path, extent, footers, is_removed: AtomicBool::new(false), held: OnceLock::new() }
    }

    /// A file with the extent that it says itself, for reading without a manifest.
    pub(crate) fn open(path: PathBuf, footers: Arc<Footers>) -> io::Result<Self> {
        let (_, footer) = footers.open(&path)?;
        let pairs = footer.plain.metadata().file_metadata().key_value_metadata();
        let pair = pairs.into_iter().flatten().find(|pair| pair.key == EXTENT_KEY);
        let text = pair.and_then(|pair| pair.value.as_deref()).ok_or(io::ErrorKind::InvalidData)?;
        let form: ExtentForm = serde_json::from_str(text)?;
        Ok(Self::new(path, form.into(), footers))
    }

    /// Keeps the file open from now on; not when the process has too many open files, which is no error.
    pub(crate) fn hold(&self) -> io::Result<()> {
        match File::open(&self.path) {
            Ok(file) => drop(self.held.set(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn opened(&self) -> io::Result<(File, Footer)> {
        match self.held.get() {
            Some(file) => self.footers.of(&self.path, file.try_clone()?),
            None => self.footers.open(&self.path),
        }
    }

    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Unlinks the file as soon as nobody reads it any more.
    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
    }

    /// All rows of the file with all columns, sorted by `id`, in batches of `rows`.
    pub(super) fn scan(&self, rows: usize) -> io::Result<ParquetRecordBatchReader> {
        let (file, footer) = self.footers.open(&self.path)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer.plain);
        builder.with_batch_size(rows).build().map_err(io_error)
    }

    fn read_group(
        &self,
        (file, metadata): (&File, &ArrowReaderMetadata),
        (group, selection): (usize, Option<RowSelection>),
        columns: &ProjectionMask,
        prune: &Prune,
    ) -> io::Result<ParquetRecordBatchReader> {
        // Who wants the newest first stops early. All others count: a batch with several pages that have no dictionary
        // has one of its own, and the more rows share it the better.
        let rows = if prune.newest_first || prune.ids().is_some() { PAGE_ROWS } else { BATCH_ROWS };
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata.clone())
                .with_batch_size(rows)
                .with_row_groups(vec![group])
                .with_projection(columns.clone());
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        if let Some(ids) = prune.ids() {
            builder = builder.with_row_filter(only(ids, metadata));
        }
        builder.build().map_err(io_error)
    }
}

/// `ids` are sorted.
fn is_among(id: &[u8], ids: &[[u8; 16]]) -> bool {
    ids.binary_search_by(|other| other.as_slice().cmp(id)).is_ok()
}

/// Reads the ids first: the other columns only where they are.
fn only(ids: &[[u8; 16]], metadata: &ArrowReaderMetadata) -> RowFilter {
    let wanted = ids.to_vec();
    let mask = ProjectionMask::leaves(metadata.parquet_schema(), prune::column_of(metadata, "id"));
    let predicate = ArrowPredicateFn::new(mask, move |batch: RecordBatch| {
        let ids = batch.column_by_name("id").and_then(|ids| ids.as_fixed_size_binary_opt());
        Ok(match ids {
            Some(ids) => ids.iter().map(|id| Some(id.is_some_and(|id| is_among(id, &wanted)))).collect(),
            None => BooleanArray::from(vec![true; batch.num_rows()]),
        })
    });
    RowFilter::new(vec![Box::new(predicate)])
}

impl Part for StoredFile {
    fn extent(&self) -> &Extent {
        &self.extent
    }

    fn read(&self, columns: &[&str], prune: &Prune, each: &mut Each<'_>) -> io::Result<()> {
        if !prune.admits(&self.extent) {
            return Ok(());
        }
        let (file, footer) = &self.opened()?;
        let metadata = &footer.plain;
        // Whole rows are made text again, one by one.
        let counts = columns.len() < NAMES.len() && prune.id.is_none() && prune.keys.is_empty();
        let leaves: Vec<usize> = columns.iter().filter_map(|name| prune::column_of(metadata, name)).collect();
        for group in prune::row_groups(file, metadata, prune).map_err(io_error)? {
            let filled = prune::filled(metadata, group.0, &leaves);
            let filled: Vec<usize> = filled.collect();
            let is_coded = counts && prune::has_words(metadata, group.0, &filled);
            let metadata = footer.coded.as_ref().filter(|_| is_coded).unwrap_or(metadata);
            let mask = ProjectionMask::leaves(metadata.parquet_schema(), filled);
            for batch in self.read_group((file, metadata), group, &mask, prune)? {
                if each(batch.map_err(io_error)?)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if self.is_removed.load(Ordering::Acquire) {
            self.footers.forget(&self.path);
            if let Err(error) = std::fs::remove_file(&self.path) {
                tracing::warn!(file = %self.path.display(), %error, "an old log file cannot be deleted");
            }
        }
    }
}

/// What was read of the ends of files, so that the next query need not; the one unused for longest goes first.
pub(crate) struct Footers {
    kept: Mutex<Kept>,
    most_bytes: usize,
}

#[derive(Default)]
struct Kept {
    /// Paths are compared by their bytes: by components it would cost more than reading a page.
    files: HashMap<OsString, Entry, foldhash::fast::RandomState>,
    bytes: usize,
    /// Counts the uses.
    now: u64,
}

struct Entry {
    footer: Footer,
    bytes: usize,
    used: u64,
}

/// What is known of a file without reading a row.
#[derive(Clone)]
struct Footer {
    plain: ArrowReaderMetadata,
    /// The same, where the texts that have dictionaries are read as numbers of words.
    coded: Option<ArrowReaderMetadata>,
}

impl Footers {
    /// Keeps at most so many bytes, and one footer at least.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { kept: Mutex::default(), most_bytes }
    }

    /// How many there are, and their bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock().unwrap();
        (kept.files.len(), kept.bytes)
    }

    fn open(&self, path: &Path) -> io::Result<(File, Footer)> {
        self.of(path, File::open(path)?)
    }

    fn of(&self, path: &Path, file: File) -> io::Result<(File, Footer)> {
        let footer = match self.find(path) {
            Some(footer) => footer,
            None => self.keep(path, Footer::load(&file)?),
        };
        Ok((file, footer))
    }

    fn find(&self, path: &Path) -> Option<Footer> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let now = kept.now;
        let entry = kept.files.get_mut(path.as_os_str())?;
        entry.used = now;
        Some(entry.footer.clone())
    }

    fn keep(&self, path: &Path, footer: Footer) -> Footer {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(path);
        let bytes = footer.plain.metadata().memory_size() + SCHEMA_BYTES;
        while kept.bytes + bytes > self.most_bytes && kept.forget_oldest() {}
        kept.now += 1;
        let entry = Entry { footer: footer.clone(), bytes, used: kept.now };
        kept.bytes += bytes;
        kept.files.insert(path.as_os_str().to_owned(), entry);
        footer
    }

    fn forget(&self, path: &Path) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).forget(path);
    }
}

impl Kept {
    fn forget(&mut self, path: &Path) {
        if let Some(entry) = self.files.remove(path.as_os_str()) {
            self.bytes -= entry.bytes;
        }
    }

    /// False when there is none.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.files.iter().min_by_key(|(_, entry)| entry.used).map(|(path, _)| path.clone());
        oldest.inspect(|path| self.forget(Path::new(path))).is_some()
    }
}

impl Footer {
    /// With the places of all pages, but their statistics only where pages are left out by them.
    fn load(file: &File) -> io::Result<Self> {
        let with_statistics =
            ["id", "ts"].iter().filter_map(|name| NAMES.iter().position(|known| known == name));
        let options = ArrowReaderOptions::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_column_index_mask(ColumnChunkMask::columns(with_statistics));
        let plain = ArrowReaderMetadata::load(file, options).map_err(io_error)?;
        // A file of others may have other columns: then it is read as it is.
        let options = ArrowReaderOptions::new().with_schema(with_words(plain.schema()));
        let coded = ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options).ok();
        Ok(Self { plain, coded })
    }
}

/// Two Arrow schemas with their trees of columns, roughly.
const SCHEMA_BYTES: usize = 32 << 10;

/// The schema with numbers of words in place of texts that come again.
fn with_words(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match prune::WORDS.contains(&field.name().as_str()) {
        true => {
            let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(words))
        }
        false => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Bytes per row and encodings of each column that takes more than `least` bytes a row.
#[cfg(test)]
pub(super) fn column_sizes(path: &Path, least: f64) -> String {
    let footer = Footer::load(&File::open(path).unwrap()).unwrap();
    let metadata = footer.plain.metadata();
    let rows = metadata.file_metadata().num_rows() as f64;
    let mut sizes: Vec<(i64, String)> = Vec::new();
    for column in 0..metadata.file_metadata().schema_descr().num_columns() {
        let bytes = metadata.row_groups().iter().map(|group| group.column(column).compressed_size()).sum();
        let chunk = metadata.row_group(0).column(column);
        sizes.push((bytes, format!("{} {:?}", chunk.column_path(), chunk.encodings().collect::<Vec<_>>())));
    }
    sizes.sort();
    let shown = sizes.iter().rev().filter(|(bytes, _)| *bytes as f64 / rows > least);
    shown.map(|(bytes, text)| format!("  {:6.2} {text}\n", *bytes as f64 / rows)).collect()
}
