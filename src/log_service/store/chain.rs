//! The chain: one line for each change of what files count, each with the hash of the line before, and with the hash of
//! every file that it adds. Whoever changes a file, or cuts one out, must write all later lines anew.
//!
//! ```text
//! {"n":12,"prev":"HASH","ts":"2026-11-22T09:14:03Z","op":"flush","add":[{"file":7,"sha256":"HASH","bytes":9120}],"remove":[]}\n
//! ```
//!
//! A hash is SHA-256 in hexadecimal digits; that of a line is of its bytes without the line end, and the first line has
//! zeros in `prev`. `op`: `flush` rows became a file · `merge` files became others · `drop` too old, or no room · `found`, at
//! a start: what the manifest says and the chain does not yet, as after a crash between the two · `gone`, at a start: files
//! that the manifest lists were not there · `late`: several changes in one, as the disk did not take them before.
//!
//! A file that a start finds without a link is hashed only then, beyond 256 MiB of them not at all: what happened to it before
//! is not known. The chain is never cut.
//!
//! There is no secret in it. It proves that nothing was changed behind a hash that somebody wrote down elsewhere; without
//! one, only that nobody changed files without making the chain anew. It says nothing of rows that no file has yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifest::{self, State};
use crate::log_service::exec::{Control, ExecError};
use crate::record::escape::hex_text;

const NAME: &str = "CHAIN";
/// Of files that are found without a hash, so much is read at a start; the rest stays without.
const READ_AT_START: u64 = 256 << 20;
const BUFFER: usize = 256 << 10;
/// Problems told one by one.
const TOLD: usize = 20;
/// The manifest is changed just before the chain: a reader between the two looks again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// A hash as hexadecimal digits.
type Hash = String;

#[derive(Debug, Serialize, Deserialize)]
struct Link {
    n: u64,
    prev: Hash,
    ts: String,
    op: String,
    #[serde(default)]
    add: Vec<Sealed>,
    #[serde(default)]
    remove: Vec<u64>,
}

/// A file and what it held when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    pub(crate) file: u64,
    /// Nothing of files that were there before the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<Hash>,
    pub(crate) bytes: u64,
}

/// What a walk over a chain came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Chained {
    pub(crate) links: u64,
    /// Time of the first link.
    pub(crate) since: Option<String>,
    /// Hash of the last link, to be written down elsewhere.
    pub(crate) head: Hash,
    /// Files that count, as the chain says.
    pub(crate) listed: u64,
    /// Files that are as they were written, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Links of a start that found files which the chain did not have: what these hold was hashed only then. The first link
    /// is none of them.
    pub(crate) found: u64,
    /// Files from before the chain, whose content cannot be compared.
    pub(crate) unsealed: u64,
    /// What is wrong, in words; at most [`TOLD`] of them.
    pub(crate) problems: Vec<String>,
    pub(crate) problem_count: u64,
    /// Whether the hash that was asked for is one of the chain's.
    pub(crate) has_head: Option<bool>,
}

impl Chained {
    /// Nothing is wrong, and the hash that was asked for is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.problem_count == 0 && self.has_head != Some(false)
    }
}

/// A change of the files that the chain does not say yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    op: String,
    add: Vec<Sealed>,
    remove: Vec<u64>,
}

/// The chain of a directory, as its only writer has it.
pub(crate) struct Chain {
    path: PathBuf,
    n: u64,
    head: Hash,
    /// What the end of the file is must be read again: a line could not be written, or not be made durable.
    is_torn: bool,
    /// What the disk did not take yet; at most three, as changes of a run are put together.
    pending: Vec<Change>,
}

impl Chain {
    /// Reads the chain and makes it agree with the manifest as it was found.
    pub(crate) fn open(data: &Path, state: &State) -> io::Result<Self> {
        let path = data.join(NAME);
        let walk = Walk::of(&read(&path)?, None);
        let mut chain = Self { path, n: walk.n, head: walk.head, is_torn: walk.is_torn, pending: Vec::new() };
        let mut left = READ_AT_START;
        let found = state.files.values().filter(|entry| !walk.live.contains_key(&entry.number));
        let found = found.map(|entry| {
            let fits = entry.bytes <= left;
            left -= if fits { entry.bytes } else { 0 };
            let sha256 = if fits { hash_of(&entry.path(data)).ok() } else { None };
            Sealed { file: entry.number, sha256, bytes: entry.bytes }
        });
        let found: Vec<Sealed> = found.collect();
        let more = walk.live.into_keys().filter(|number| !state.files.contains_key(number)).collect();
        chain.note("found", found, more);
        Ok(chain)
    }

    /// Adds a link, durably, if there is anything to tell. What cannot be written is in the next link; what never can, in
    /// that of the next start.
    pub(crate) fn note(&mut self, op: &str, add: Vec<Sealed>, remove: Vec<u64>) {
        if add.is_empty() && remove.is_empty() {
            return;
        }
        self.keep(Change { op: op.to_owned(), add, remove });
        if let Err(error) = self.write() {
            self.is_torn = true;
            tracing::error!(%error, "the chain of the log store's files cannot be written yet");
        }
    }

    /// What the disk did not take yet.
    pub(crate) fn pending(&self) -> Vec<Change> {
        self.pending.clone()
    }

    fn keep(&mut self, change: Change) {
        // What a start has found, and what was gone then, is told as that.
        let last = self.pending.last_mut().filter(|last| !matches!(&*last.op, "found" | "gone"));
        let Some(last) = last.filter(|_| change.op != "gone") else { return self.pending.push(change) };
        last.add.retain(|sealed| !change.remove.contains(&sealed.file));
        last.add.extend(change.add);
        last.remove.extend(change.remove);
        if last.op != change.op {
            last.op = "late".to_owned();
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        if self.is_torn {
            let walk = Walk::of(&read(&self.path)?, None);
            file.set_len(walk.whole)?;
            self.leave_out_known(walk.live.into_keys().collect());
            // A line that was written but not synced is there all the same.
            file.sync_data()?;
            (self.n, self.head, self.is_torn) = (walk.n, walk.head, false);
        }
        while let Some(change) = self.pending.first().cloned() {
            let Change { op, add, remove } = change;
            let link = Link { n: self.n + 1, prev: self.head.clone(), ts: now(), op, add, remove };
            let line = serde_json::to_vec(&link)?;
            file.write_all(&[&line[..], b"\n"].concat())?;
            file.sync_data()?;
            (self.n, self.head) = (link.n, hex_text(digest(&SHA256, &line).as_ref()));
            self.pending.remove(0);
        }
        Ok(())
    }

    /// Takes out of what is pending what the chain says already; `known` are the files that count by it.
    fn leave_out_known(&mut self, mut known: BTreeSet<u64>) {
        for change in &mut self.pending {
            change.remove.retain(|number| known.remove(number));
            change.add.retain(|sealed| known.insert(sealed.file));
        }
        self.pending.retain(|change| !change.add.is_empty() || !change.remove.is_empty());
    }
}

/// What the lines of a chain come to.
struct Walk {
    n: u64,
    head: Hash,
    since: Option<String>,
    found: u64,
    live: BTreeMap<u64, Sealed>,
    /// Bytes of whole lines.
    whole: u64,
    is_torn: bool,
    problems: Vec<String>,
    /// Whether a hash was seen.
    has_head: bool,
}

impl Walk {
    fn of(text: &[u8], wanted: Option<&str>) -> Self {
        let zeros = "0".repeat(64);
        // The head of a chain that has no link yet.
        let has_head = wanted == Some(&zeros);
        let mut walk = Self {
            n: 0,
            head: zeros,
            since: None,
            found: 0,
            live: BTreeMap::new(),
            whole: 0,
            is_torn: false,
            problems: Vec::new(),
            has_head,
        };
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                walk.is_torn = true;
                break;
            };
            walk.whole += line.len() as u64 + 1;
            walk.line(line, wanted);
        }
        walk
    }

    fn line(&mut self, line: &[u8], wanted: Option<&str>) {
        let number = self.n + 1;
        let hash = hex_text(digest(&SHA256, line).as_ref());
        self.has_head |= wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(&hash));
        let prev = std::mem::replace(&mut self.head, hash);
        let Ok(link) = serde_json::from_slice::<Link>(line) else {
            self.problems.push(format!("link {number} of the chain cannot be read"));
            self.n = number;
            return;
        };
        if link.n != number || link.prev != prev {
            self.problems.push(format!("link {} does not follow the one before it", link.n));
        }
        self.n = link.n;
        self.since.get_or_insert(link.ts);
        self.found += u64::from(number > 1 && link.op == "found" && !link.add.is_empty());
        if link.op == "gone" {
            let files = link.remove.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            self.problems.push(format!("link {}: files {files} had disappeared", link.n));
        }
        self.change(link.add, &link.remove);
    }

    fn change(&mut self, add: Vec<Sealed>, remove: &[u64]) {
        remove.iter().for_each(|number| drop(self.live.remove(number)));
        self.live.extend(add.into_iter().map(|sealed| (sealed.file, sealed)));
    }
}

/// Walks over the chain of a directory and compares every file with it; `wanted` is a hash that somebody wrote down,
/// `pending` gives what the service in this process, if there is one, could not write yet.
pub(crate) fn verify(
    data: &Path,
    wanted: Option<&str>,
    pending: &dyn Fn() -> Vec<Change>,
    control: &Control,
) -> Result<Chained, ExecError> {
    let (mut walk, state) = agreed(data, wanted, pending)?;
    let mut chained = Chained {
        links: walk.n,
        listed: walk.live.len() as u64,
        since: walk.since.take(),
        found: walk.found,
        head: walk.head.clone(),
        has_head: wanted.map(|_| walk.has_head),
        ..Chained::default()
    };
    let mut problems = std::mem::take(&mut walk.problems);
    for (number, sealed) in &walk.live {
        let Some(entry) = state.files.get(number) else {
            problems.push(format!("the manifest does not have file {number}"));
            continue;
        };
        let hash = match hashed(&entry.path(data), || control.check()) {
            Err(ExecError::Read(error)) => Err(error),
            hash => Ok(hash?),
        };
        match (hash, &sealed.sha256) {
            // A service has taken it away meanwhile, and says so in the chain.
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound && !is_live(data, *number)? => {}
            (Err(error), _) => problems.push(format!("file {number} cannot be read: {error}")),
            (Ok(_), None) => chained.unsealed += 1,
            (Ok(hash), Some(known)) if hash != *known => {
                problems.push(format!("file {number} is not what was written"));
            }
            (Ok(_), Some(_)) => {
                (chained.files, chained.bytes) = (chained.files + 1, chained.bytes + sealed.bytes)
            }
        }
    }
    let strange = state.files.keys().filter(|number| !walk.live.contains_key(number));
    problems.extend(strange.map(|number| format!("file {number} is not in the chain")));
    chained.problem_count = problems.len() as u64;
    problems.truncate(TOLD);
    chained.problems = problems;
    Ok(chained)
}

/// Chain and manifest of the same moment, if they come to agree at all.
fn agreed(data: &Path, wanted: Option<&str>, pending: &dyn Fn() -> Vec<Change>) -> io::Result<(Walk, State)> {
    let mut tries = 0;
    loop {
        let state = manifest::read_state(data)?;
        // Before the chain: what is written meanwhile is then in both, and not in none.
        let pending = pending();
        let mut walk = Walk::of(&read(&data.join(NAME))?, wanted);
        walk.is_torn &= pending.is_empty();
        // What the service that writes the chain would have written.
        pending.into_iter().for_each(|Change { add, remove, .. }| walk.change(add, &remove));
        tries += 1;
        if tries >= TRIES || !walk.is_torn && walk.live.keys().eq(state.files.keys()) {
            return Ok((walk, state));
        }
        std::thread::park_timeout(PAUSE);
    }
}

fn is_live(data: &Path, number: u64) -> io::Result<bool> {
    Ok(manifest::read_state(data)?.files.contains_key(&number))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text,
    }
}

/// The hash of a file's content.
pub(crate) fn hash_of(path: &Path) -> io::Result<Hash> {
    hashed(path, || Ok::<(), io::Error>(()))
}

/// The same, as long as `check` lets it go on.
fn hashed<E: From<io::Error>>(path: &Path, check: impl Fn() -> Result<(), E>) -> Result<Hash, E> {
    let (digest, _) = digest_of(&mut File::open(path)?, check)?;
    Ok(hex_text(digest.as_ref()))
}

/// SHA-256 and length of what is left of a file, as long as `check` lets it go on.
pub(crate) fn digest_of<E: From<io::Error>>(
    file: &mut File,
    check: impl Fn() -> Result<(), E>,
) -> Result<(Digest, u64), E> {
    let (mut context, mut bytes) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; BUFFER];
    loop {
        check()?;
        match file.read(&mut buffer)? {
            0 => return Ok((context.finish(), bytes)),
            read => {
                context.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::super::files::tests as files;
    use super::*;

    /// A directory with two files; a third was dropped.
    fn store(data: &Path) -> Chained {
        files::three_flushes_and_a_drop(data);
        verify(data, None).unwrap()
    }

    /// The chain of that store, with its file and what the manifest says.
    fn opened(data: &Path) -> (PathBuf, State, Chain) {
        let state = manifest::read_state(data).unwrap();
        let chain = Chain::open(data, &state).unwrap();
        (data.join(NAME), state, chain)
    }

    fn sealed(file: u64) -> Sealed {
        Sealed { file, sha256: None, bytes: 1 }
    }

    fn verify(data: &Path, wanted: Option<&str>) -> Result<Chained, ExecError> {
        super::verify(data, wanted, &Vec::new, &Control::default())
    }

    fn problems(data: &Path) -> Vec<String> {
        verify(data, None).unwrap().problems
    }

    #[test]
    fn what_the_disk_refused_is_in_the_next_link() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let (path, state, mut chain) = opened(data.path());
        let first = *state.files.keys().next().unwrap();
        // No file can be opened where a directory is.
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        chain.note("flush", vec![sealed(90), sealed(91)], Vec::new());
        chain.note("drop", Vec::new(), vec![91, first]);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, [&text[..], b"{\"n\":5,\"pr"].concat()).unwrap();
        let (told, pending) = (manifest::read_state(data.path()).unwrap(), chain.pending());
        let walk = agreed(data.path(), None, &|| pending.clone()).unwrap().0;
        assert_eq!(walk.live.len(), told.files.len(), "one more and one less");
        assert!(walk.live.contains_key(&90) && !walk.live.contains_key(&first) && !walk.is_torn);
        chain.note("flush", vec![sealed(92)], Vec::new());
        assert!(chain.pending().is_empty());
        let walk = Walk::of(&fs::read(&path).unwrap(), None);
        let last = walk.live.keys().rev().take(2).copied().collect::<Vec<_>>();
        assert_eq!((walk.n, last, walk.problems.len(), walk.is_torn), (5, vec![92, 90], 0, false));
        assert!(!walk.live.contains_key(&first) && !walk.live.contains_key(&91));
    }

    #[test]
    fn a_link_that_was_written_but_not_synced_is_followed_and_not_told_twice() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let (path, _, mut chain) = opened(data.path());
        let (n, head) = (chain.n, chain.head.clone());
        chain.note("flush", vec![sealed(90)], Vec::new());
        // As if the sync had failed: the line is there, and the writer does not know.
        (chain.n, chain.head, chain.is_torn) = (n, head, true);
        chain.keep(Change { op: "flush".to_owned(), add: vec![sealed(90)], remove: Vec::new() });
        chain.note("flush", vec![sealed(91)], Vec::new());
        let walk = Walk::of(&fs::read(&path).unwrap(), None);
        assert_eq!((walk.n, walk.problems.len()), (n + 2, 0), "{:?}", walk.problems);
        assert!(walk.live.contains_key(&90) && walk.live.contains_key(&91));
    }

    #[test]
    fn a_client_that_has_gone_ends_the_walk() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let control = Control::default();
        control.stop();
        let told = super::verify(data.path(), None, &Vec::new, &control);
        assert!(matches!(told, Err(ExecError::Stopped)));
    }

    #[test]
    fn what_was_written_is_proved() {
        let data = tempfile::tempdir().unwrap();
        let told = store(data.path());
        assert_eq!((told.links, told.files, told.unsealed, told.problem_count), (4, 2, 0, 0), "{told:?}");
        let has = |head: &str| verify(data.path(), Some(head)).unwrap().has_head;
        assert_eq!((has(&told.head), has(&"1".repeat(64))), (Some(true), Some(false)));
    }

    #[test]
    fn a_changed_file_is_found() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let entry = manifest::read_state(data.path()).unwrap().files.into_values().next().unwrap();
        let path = entry.path(data.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(problems(data.path()), [format!("file {} is not what was written", entry.number)]);
        fs::remove_file(&path).unwrap();
        assert!(problems(data.path())[0].contains("cannot be read"));
    }

    #[test]
    fn a_link_that_was_changed_or_cut_out_is_found() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let path = data.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        fs::write(&path, [lines[0], lines[2], lines[3], ""].join("\n")).unwrap();
        assert!(problems(data.path())[0].contains("does not follow"), "{:?}", problems(data.path()));
        fs::write(&path, text.replacen("\"bytes\":", "\"bytes\":1", 1)).unwrap();
        assert!(problems(data.path())[0].contains("does not follow"), "{:?}", problems(data.path()));
    }

    #[test]
    fn a_half_written_link_is_made_good_at_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        store(data.path());
        let path = data.path().join(NAME);
        let text = fs::read(&path).unwrap();
        let last = memchr::memrchr(b'\n', &text[..text.len() - 1]).unwrap() + 1;
        fs::write(&path, &text[..last + 20]).unwrap();
        let state = manifest::read_state(data.path()).unwrap();
        Chain::open(data.path(), &state).unwrap();
        let told = verify(data.path(), None).unwrap();
        assert_eq!((told.files, told.links, told.found, told.problem_count), (2, 4, 0, 0), "{told:?}");
        // One that adds files is counted: what they hold was hashed only now.
        fs::write(&path, &text[..memchr::memchr_iter(b'\n', &text).nth(1).unwrap() + 1]).unwrap();
        Chain::open(data.path(), &state).unwrap();
        let told = verify(data.path(), None).unwrap();
        assert_eq!((told.files, told.found, told.problem_count), (2, 1, 0), "{told:?}");
    }
}
