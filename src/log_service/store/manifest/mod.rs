//! The manifest says which files count, up to where the write-ahead log is in them, and which records are known.
//!
//! One line per [`Edit`], appended and synced; after 1 000 edits the whole state is written anew as one line and takes the
//! name of the file. One writer. A torn tail is what a crash leaves, and is cut; a damaged line in the middle is
//! skipped and told, and then no unlisted file is deleted.

mod edit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use edit::{Edit, FileEntry, FileKind, KnownStream, WalPosition, path_of};

use super::files::Disk;
use crate::process::directory::is_full;

const NAME: &str = "MANIFEST";
const TEMPORARY: &str = "MANIFEST.tmp";
/// What a damaged manifest is kept as.
const DAMAGED: &str = "MANIFEST.damaged";
const SNAPSHOT_AFTER: u64 = 1000;
/// Streams remembered; the one unchanged for longest is forgotten first. That can only let a duplicate through.
const MAX_STREAMS: usize = 4096;

/// What all edits together say.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<u64, FileEntry>,
    pub(crate) wal: WalPosition,
    streams: HashMap<(String, u64, u64), (u64, KnownStream)>,
    edits: u64,
    next: u64,
}

impl State {
    pub(crate) fn streams(&self) -> impl Iterator<Item = &KnownStream> {
        self.streams.values().map(|(_, stream)| stream)
    }

    fn apply(&mut self, edit: Edit) {
        self.edits += 1;
        for number in &edit.remove {
            self.files.remove(number);
        }
        for entry in edit.add {
            self.next = self.next.max(entry.number + 1);
            self.files.insert(entry.number, entry);
        }
        self.next = self.next.max(edit.next.unwrap_or(0));
        self.wal = self.wal.max(edit.wal.unwrap_or_default());
        for stream in edit.streams {
            let key = (stream.proxy.clone(), stream.boot, stream.core);
            self.streams.insert(key, (self.edits, stream));
        }
        while self.streams.len() > MAX_STREAMS {
            let oldest = self.streams.iter().min_by_key(|(_, (edit, _))| *edit).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.streams.remove(&key));
        }
    }

    /// The whole state as one edit of an empty one.
    fn snapshot(&self) -> Edit {
        Edit {
            add: self.files.values().cloned().collect(),
            remove: Vec::new(),
            wal: Some(self.wal),
            streams: self.streams().cloned().collect(),
            next: Some(self.next),
        }
    }
}

/// The manifest of one data directory, as its only writer has it.
pub(crate) struct Manifest {
    data: PathBuf,
    disk: Disk,
    state: State,
    file: Option<File>,
    /// Bytes of the file that are known to be good.
    durable: u64,
    edits: u64,
    is_damaged: bool,
    is_new: bool,
}

impl Manifest {
    /// Reads the manifest; without one the state is empty.
    pub(crate) fn open(data: &Path, disk: Disk) -> io::Result<Self> {
        let (state, read) = read(data)?;
        if read.is_damaged {
            tracing::error!(manifest = %data.join(NAME).display(), "the manifest of the log store is damaged");
            fs::copy(data.join(NAME), data.join(DAMAGED))?;
        }
        let mut manifest = Self {
            data: data.to_owned(),
            disk,
            state,
            file: None,
            durable: 0,
            edits: 0,
            is_damaged: read.is_damaged,
            is_new: !read.is_there,
        };
        if let Err(error) = fs::remove_file(data.join(TEMPORARY))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        // What was read may not have been durable yet; and it is the cure for a torn tail.
        match manifest.write_snapshot() {
            // The first change tries again: until then only room can be made, and that must go on.
            Err(error) if is_full(&error) => {
                tracing::error!(%error, "the manifest of the log store cannot be written anew yet");
            }
            written => written?,
        }
        Ok(manifest)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Whether lines were lost, so that an unlisted file may be one that counts.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Whether there was none.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// A number that no file has.
    pub(crate) fn next_number(&mut self) -> u64 {
        let number = self.state.next;
        self.state.next += 1;
        number
    }

    /// Makes a change durable. After an error nothing has changed: neither the state nor, for whoever reads it later,
    /// the file.
    pub(crate) fn apply(&mut self, edit: Edit) -> io::Result<()> {
        if self.file.is_none() || self.edits >= SNAPSHOT_AFTER {
            self.write_snapshot()?;
        }
        let line = edit.line()?;
        self.append(&line)?;
        self.edits += 1;
        self.state.apply(edit);
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let written = self.disk.append(file, line).and_then(|()| self.disk.sync(file));
        if let Err(error) = written {
            // The line must not come to count later: the caller takes its files away. After a failed sync nobody knows
            // what the disk holds, so the next edit begins a new file.
            let cut = self.disk.truncate(file, self.durable).and_then(|()| self.disk.sync(file));
            self.file = None;
            return match cut {
                Ok(()) => Err(error),
                Err(_) => Err(self.retract(error)),
            };
        }
        self.durable += line.len() as u64;
        Ok(())
    }

    /// The line could not be cut off: a new file without it takes the place of the old one.
    fn retract(&mut self, error: io::Error) -> io::Error {
        match self.write_snapshot() {
            Ok(()) => error,
            Err(_) => io::Error::new(error.kind(), Uncertain(error)),
        }
    }

    fn write_snapshot(&mut self) -> io::Result<()> {
        let temporary = self.data.join(TEMPORARY);
        let line = self.state.snapshot().line()?;
        let mut file = self.disk.create(&temporary)?;
        self.disk.append(&mut file, &line)?;
        self.disk.sync(&file)?;
        let path = self.data.join(NAME);
        self.file = None;
        self.disk.rename(&temporary, &path)?;
        self.file = Some(OpenOptions::new().append(true).open(&path)?);
        (self.durable, self.edits) = (line.len() as u64, 0);
        Ok(())
    }
}

/// Whether the change counts will only be known when the manifest is read again: the caller must keep its files.
#[derive(Debug, thiserror::Error)]
#[error("the manifest can neither be written nor mended")]
pub(crate) struct Uncertain(#[source] io::Error);

/// Whether an error of [`Manifest::apply`] leaves it open if the change counts.
pub(crate) fn is_uncertain(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Uncertain>())
}

#[derive(Default)]
struct Read {
    is_there: bool,
    is_damaged: bool,
}

/// The state that a manifest says, for readers too that do not write.
pub(crate) fn read_state(data: &Path) -> io::Result<State> {
    read(data).map(|(state, _)| state)
}

fn read(data: &Path) -> io::Result<(State, Read)> {
    let text = match fs::read(data.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        text => text?,
    };
    let (mut state, mut has_bad) = (State::default(), false);
    let mut read = Read { is_there: true, is_damaged: false };
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n").and_then(Edit::parse) {
            Some(edit) => {
                // A bad line before a good one was whole once.
                read.is_damaged |= has_bad;
                state.apply(edit);
            }
            None => has_bad = true,
        }
    }
    // The first line is a whole snapshot that got its name only when it was durable.
    read.is_damaged |= has_bad && state.edits == 0;
    Ok((state, read))
}
