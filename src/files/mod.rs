//! Static files: from a path beneath a root to a response that streams.
//!
//! [`path`] makes the path safe, [`root`] opens it beneath the root, [`open`] keeps files open for a moment,
//! [`condition`] and [`range`] read the request, [`answer`] builds the response, [`body`] sends the bytes.
//! No routing and no compression on the fly here; siblings that were compressed before (`app.js.br`) are.
//!
//! Invariant: nothing outside the root is ever opened, a file is never whole in memory unless it is small, and
//! what is sent has the length that was announced or the connection breaks.

mod answer;
mod body;
mod condition;
mod media;
mod open;
mod path;
mod range;
mod root;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response};

use crate::exchange::failure::{Failure, Kind};
use crate::filter::compress::{self, Codec, Wanted};
use crate::http::Body;
use crate::http::sendfile::SendQueue;
use open::Open;
pub use open::OpenFiles;
use root::{NoFile, Opened, Root};

/// The files of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub root: PathBuf,
    /// Names that are looked for in a directory, in this order.
    pub index: Vec<Box<str>>,
    /// What is looked for when the path itself is not there, in this order.
    pub try_files: Vec<Try>,
    /// Serve `NAME.br`, `NAME.zst` or `NAME.gz` instead of `NAME` to clients that take it.
    pub precompressed: bool,
    pub cache_control: Option<HeaderValue>,
    /// Also serve names that begin with a dot. `/.well-known/` is served in any case (RFC 8615).
    pub dotfiles: bool,
    /// More ranges than this in one request are ignored, and the whole file is sent.
    pub max_ranges: usize,
}

impl Settings {
    /// The defaults for a root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: vec!["index.html".into()],
            try_files: Vec::new(),
            precompressed: true,
            cache_control: None,
            dotfiles: false,
            max_ranges: 5,
        }
    }
}

/// A second place to look for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Try {
    /// The path with this appended: `.html`.
    Suffix(Box<str>),
    /// This file, whatever the path is: `index.html` for single-page applications.
    File(Box<str>),
}

/// Why a root cannot be served from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the directory {path}")]
    Root { path: PathBuf, source: std::io::Error },
    #[error("this kernel has no openat2 (Linux 5.6), which keeps file requests inside their root")]
    NoOpenat2,
}

/// One request for a file.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub method: &'a Method,
    /// What to look for beneath the root: canonical, still percent-encoded.
    pub path: &'a str,
    /// The path that the client asked for; it may have a prefix that the route strips.
    pub public_path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub wanted: Wanted,
    /// What the compression filter will do with the answer: file bytes that it must see are not sent by sendfile.
    pub compress: Option<&'a compress::Settings>,
    pub open: &'a OpenFiles,
    /// The queue of the connection, when it is plain-text HTTP/1.
    pub queue: Option<&'a SendQueue>,
}

/// A root, ready to serve. Shared by the cores; what a core keeps open is in its own [`OpenFiles`].
#[derive(Debug)]
pub struct Files {
    settings: Settings,
    root: Arc<Root>,
}

/// What a path leads to.
enum Found {
    File(Rc<Open>),
    /// A directory, asked for without the slash at its end.
    Directory,
}

impl Files {
    /// Opens the root and makes sure that the kernel can keep requests inside it.
    ///
    /// # Errors
    /// When the root is no directory that we may open, or the kernel is too old.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let root = Arc::new(Root::open(&settings.root)?);
        Ok(Self { settings, root })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers a request: the file, a part of it, a redirect to the directory, 304, 405, 412 or 416.
    ///
    /// # Errors
    /// `NotFound` for what is not there, hidden or outside the root; `Denied` for what we may not read;
    /// `Internal` when the system is out of files or memory.
    pub async fn serve(&self, ask: Ask<'_>) -> Result<Response<Body>, Failure> {
        if *ask.method != Method::GET && *ask.method != Method::HEAD {
            return Ok(answer::method_not_allowed());
        }
        let path = path::decode(ask.path, self.settings.dotfiles)?;
        match self.find(&path, &ask).await.map_err(NoFile::into_failure)? {
            Found::File(file) => Ok(answer::file(&self.settings, &ask, &file)),
            Found::Directory => answer::add_slash(&ask),
        }
    }

    async fn find(&self, path: &[u8], ask: &Ask<'_>) -> Result<Found, NoFile> {
        match self.look(path, ask).await {
            Err(NoFile::NotFound) => {}
            other => return other,
        }
        for second in &self.settings.try_files {
            let found = match second {
                Try::File(name) => self.file(ask.open, path::relative(name.as_bytes())).await,
                Try::Suffix(suffix) => self.file(ask.open, &with_suffix(path, suffix)).await,
            };
            match found {
                Ok(Some(file)) => return Ok(Found::File(file)),
                Ok(None) | Err(NoFile::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        Err(NoFile::NotFound)
    }

    async fn look(&self, path: &[u8], ask: &Ask<'_>) -> Result<Found, NoFile> {
        if let Some(file) = self.file(ask.open, path).await? {
            return Ok(Found::File(file));
        }
        let slash = if path.is_empty() { ask.public_path.as_bytes() } else { path };
        if !slash.ends_with(b"/") {
            return Ok(Found::Directory);
        }
        for index in &self.settings.index {
            match self.file(ask.open, &[path, index.as_bytes()].concat()).await {
                Ok(Some(file)) => {
                    ask.open.put(&self.root, path, &file);
                    return Ok(Found::File(file));
                }
                Ok(None) | Err(NoFile::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        Err(NoFile::NotFound)
    }

    /// The file of a path, `None` when it is a directory.
    async fn file(&self, open: &OpenFiles, path: &[u8]) -> Result<Option<Rc<Open>>, NoFile> {
        if let Some(file) = open.get(&self.root, path) {
            return Ok(Some(file));
        }
        let Opened::File(fd, stat) = Root::find(&self.root, path).await? else { return Ok(None) };
        let siblings = if self.settings.precompressed { self.siblings(path).await } else { Vec::new() };
        let remote = self.root.is_remote();
        let file = Rc::new(Open::new(fd, &stat, media::content_type(path), remote, siblings));
        open.put(&self.root, path, &file);
        Ok(Some(file))
    }

    async fn siblings(&self, path: &[u8]) -> Vec<(Codec, Open)> {
        let mut siblings = Vec::new();
        for (codec, suffix) in SIBLINGS {
            if let Ok(Opened::File(fd, stat)) = Root::find(&self.root, &with_suffix(path, suffix)).await {
                let open = Open::new(fd, &stat, media::content_type(path), self.root.is_remote(), Vec::new());
                siblings.push((codec, open));
            }
        }
        siblings
    }
}

/// In the order in which we prefer them: made beforehand, so the smallest is best.
const SIBLINGS: [(Codec, &str); 3] = [(Codec::Brotli, ".br"), (Codec::Zstd, ".zst"), (Codec::Gzip, ".gz")];

fn with_suffix(path: &[u8], suffix: &str) -> Vec<u8> {
    [path.strip_suffix(b"/").unwrap_or(path), suffix.as_bytes()].concat()
}

impl NoFile {
    fn into_failure(self) -> Failure {
        match self {
            Self::NotFound => Failure::refuse(Kind::NotFound, "no such file"),
            Self::Outside => Failure::refuse(Kind::NotFound, "the path leaves the root of the files"),
            Self::Denied => Failure::refuse(Kind::Denied, "no permission to read the file"),
            Self::System(source) => Failure::refuse(Kind::Internal, "cannot open a file").from_source(source),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;
