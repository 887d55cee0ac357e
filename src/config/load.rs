//! Reading all files of a configuration into one [`Config`], or into everything that is wrong with it.

use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

use super::alert::Alerts;
use super::env::Variables;
use super::files::{self, LoadedFile, LoadedFiles};
use super::log::{Log, LogService};
use super::node::{Entry, Node, Reader};
use super::place::At;
use super::read::{Read, Sink, Word, read_at, read_key, unknown_key};
use super::reference;
use super::server::Server;
use super::shape::{Kind, Literal};
use super::words::{Listen, Text};
use super::{Config, Diagnostic, Diagnostics, Named, Service, Severity, Sources, check, codes, syntax};

/// No configuration is that large; a mistaken name of a file may be.
const MAX_TEXT: u64 = 16 << 20;

/// Reads a configuration with all that it includes and names. `variables` are those of `${VAR}`.
///
/// # Errors
/// Every error of every file, with the warnings.
pub fn load(path: &Path, variables: Variables<'_>) -> Result<Config, Diagnostics> {
    Loader::open(path, variables)?.finish()
}

/// Reads a configuration from a text, under the name that diagnostics and records call it by. It cannot include.
///
/// # Errors
/// As [`load`].
pub fn from_text(name: &str, text: &str, variables: Variables<'_>) -> Result<Config, Diagnostics> {
    let mut loader = Loader::new(variables);
    let root = loader.parse(name.into(), &text.into());
    loader.refuse_include(&root);
    loader.finish()
}

/// The control socket that a configuration names, as far as it can be read: whatever else is wrong with it must keep
/// nobody from talking to the running instance. `None` where it names none.
pub fn admin(path: &Path, variables: Variables<'_>) -> Option<Listen> {
    let mut loader = Loader::open(path, variables).ok()?;
    let server = loader.whole.server.take();
    loader.value(server.as_ref(), "admin")
}

/// Who takes the records of a configuration, where the embedded log service keeps them, and what another one is shown.
pub struct Records {
    pub service: LogService,
    pub data: Option<Text>,
    /// Where the proxy's spool is to be.
    pub spool: Option<Text>,
    pub token: Option<Text>,
    pub ca: Option<Text>,
    pub cert: Option<Text>,
    pub key: Option<Text>,
}

/// Where the records of a configuration go, again as far as it can be read. `None` without a file.
pub fn records(path: &Path, variables: Variables<'_>) -> Option<Records> {
    let mut loader = Loader::open(path, variables).ok()?;
    let log = loader.whole.log.take();
    let service = loader.value(log.as_ref(), "service").unwrap_or(LogService::Embedded);
    let entries = log.as_ref().and_then(|log| log.node.entries());
    let spool = entries.and_then(|entries| entries.iter().find(|entry| &*entry.key == "spool"));
    let spool = loader.value(spool, "dir");
    let mut text = |key| loader.value(log.as_ref(), key);
    Some(Records {
        service,
        spool,
        data: text("data"),
        token: text("token"),
        ca: text("ca"),
        cert: text("cert"),
        key: text("key"),
    })
}

/// What a log service needs of a configuration. Nothing else of it is looked at.
///
/// # Errors
/// Every error of `[log]`, `[alert.NAME]` and `[notify.NAME]`, and of files that cannot be read.
pub fn service(path: &Path, variables: Variables<'_>) -> Result<Service, Diagnostics> {
    let mut loader = Loader::open(path, variables)?;
    let service = loader.service();
    loader.conclude(service).map(|(service, ..)| service)
}

/// All files while they are put together.
struct Loader<'a> {
    variables: Variables<'a>,
    sources: Sources,
    sink: Sink,
    whole: Whole,
    syntax_errors: Vec<Diagnostic>,
    /// The lines with syntax errors, by file: whatever else is said about them is confusing.
    wrong_lines: Vec<(Arc<str>, Vec<u32>)>,
}

/// The tables of all files.
#[derive(Default)]
struct Whole {
    server: Option<Entry>,
    log: Option<Entry>,
    limits: Vec<Entry>,
    upstreams: Vec<Entry>,
    sites: Vec<Entry>,
    alerts: Vec<Entry>,
    notifies: Vec<Entry>,
}

impl<'a> Loader<'a> {
    /// All files, however much is wrong with them.
    fn open(path: &Path, variables: Variables<'a>) -> Result<Self, Diagnostics> {
        let mut loader = Self::new(variables);
        let name: Arc<str> = path.to_string_lossy().into();
        match read_text(path, &name) {
            Ok(text) => {
                let root = loader.parse(name, &text);
                loader.include(path, &root);
                Ok(loader)
            }
            Err(wrong) => {
                loader.sources.add(name, "".into());
                Err(Diagnostics::new(loader.sources, vec![*wrong]))
            }
        }
    }

    /// A value of a table, if it is written and can be read.
    fn value<T: Read>(&mut self, table: Option<&Entry>, key: &str) -> Option<T> {
        let entries = table?.node.entries()?;
        let written = entries.iter().find(|entry| *entry.key == *key)?;
        T::read(&written.node, &mut self.sink)
    }

    fn new(variables: Variables<'a>) -> Self {
        let (sources, sink, whole) = (Sources::default(), Sink::default(), Whole::default());
        Self { variables, sources, sink, whole, syntax_errors: Vec::new(), wrong_lines: Vec::new() }
    }

    /// Takes the tables of a file over; returns its root for `include`.
    fn parse(&mut self, name: Arc<str>, text: &Arc<str>) -> Node {
        self.sources.add(Arc::clone(&name), Arc::clone(text));
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader =
            Reader { file: Arc::clone(&name), text, variables: self.variables, sink: &mut self.sink };
        let root = reader.document(&table);
        let mut wrong_lines = Vec::new();
        for error in &errors {
            let place = reader.place("", error.span().unwrap_or(0..0));
            wrong_lines.push(place.line());
            let wrong = syntax::error(error.message(), &place, &root, &reader);
            self.syntax_errors.push(wrong);
        }
        self.take(&root);
        self.wrong_lines.push((name, wrong_lines));
        root
    }

    fn take(&mut self, root: &Node) {
        for entry in root.entries().unwrap_or_default() {
            let Whole { server, log, limits, upstreams, sites, alerts, notifies } = &mut self.whole;
            match &*entry.key {
                "include" => {}
                "server" => only_once(server, entry, &mut self.sink),
                "log" => only_once(log, entry, &mut self.sink),
                "limit" => add_all(limits, entry, &mut self.sink),
                "upstream" => add_all(upstreams, entry, &mut self.sink),
                "site" => add_all(sites, entry, &mut self.sink),
                "alert" => add_all(alerts, entry, &mut self.sink),
                "notify" => add_all(notifies, entry, &mut self.sink),
                "cache" => self.sink.push(no_cache_yet(entry)),
                _ => self.sink.push(unknown_key(entry, &reference::root())),
            }
        }
    }

    fn include(&mut self, main: &Path, root: &Node) {
        let Some(patterns) = include_entry(root) else { return };
        let base = main.parent().unwrap_or(Path::new(""));
        for pattern in Vec::<At<Arc<str>>>::read(&patterns.node, &mut self.sink).unwrap_or_default() {
            let full = base.join(&*pattern.value);
            for path in find(&full.to_string_lossy(), &pattern, &mut self.sink) {
                let name: Arc<str> = path.to_string_lossy().into();
                if self.sources.text(&name).is_some() {
                    continue;
                }
                match read_text(&path, &name) {
                    Ok(text) => {
                        let root = self.parse(name, &text);
                        self.refuse_include(&root);
                    }
                    Err(wrong) => self.sink.push((*wrong).at(&pattern.place, "included here")),
                }
            }
        }
    }

    fn refuse_include(&mut self, root: &Node) {
        if let Some(entry) = include_entry(root) {
            let wrong = Diagnostic::error(codes::NESTED_INCLUDE, "only the main file may include");
            self.sink.push(wrong.at(&entry.key_place, ""));
        }
    }

    fn finish(mut self) -> Result<Config, Diagnostics> {
        let config = self.config();
        let (config, sources, warnings) = self.conclude(config)?;
        Ok(Config { sources, warnings, ..config })
    }

    /// What was read, with the texts and the warnings, if there is no error.
    fn conclude<T>(mut self, read: Option<T>) -> Result<(T, Sources, Vec<Diagnostic>), Diagnostics> {
        let wrong_lines = &self.wrong_lines;
        self.sink.found.retain(|one| !syntax::is_on(wrong_lines, &one.place));
        self.sink.found.append(&mut self.syntax_errors);
        let has_errors = self.sink.found.iter().any(|one| one.severity == Severity::Error);
        match read {
            Some(read) if !has_errors => Ok((read, self.sources, self.sink.found)),
            _ => Err(Diagnostics::new(self.sources, self.sink.found)),
        }
    }

    /// What a log service needs, read and checked.
    fn service(&mut self) -> Option<Service> {
        let whole = std::mem::take(&mut self.whole);
        let sink = &mut self.sink;
        let log = single::<Log>(whole.log.as_ref(), sink);
        let alerts = alerts(&whole, sink);
        let mut service = Service { log: log?, alerts, files: LoadedFiles::new() };
        if self.syntax_errors.is_empty() {
            check::log::check(&service.log, sink);
            check::alerts::check(&service.alerts, &whole.notifies, sink);
            files::of_log(&service.log, &mut service.files, sink);
            files::of_alerts(&service.alerts, &mut service.files, sink);
        }
        Some(service)
    }

    /// Everything read and checked; None when too little was understood to go on.
    fn config(&mut self) -> Option<Config> {
        let whole = std::mem::take(&mut self.whole);
        let names = check::Declared::new(&whole.limits, &whole.upstreams);
        let sink = &mut self.sink;
        let server = single::<Server>(whole.server.as_ref(), sink);
        let log = single::<Log>(whole.log.as_ref(), sink);
        let mut config = Config {
            limits: all(&whole.limits, sink),
            upstreams: all(&whole.upstreams, sink),
            sites: all(&whole.sites, sink),
            alerts: alerts(&whole, sink),
            server: server?,
            log: log?,
            files: LoadedFiles::new(),
            sources: Sources::default(),
            warnings: Vec::new(),
        };
        // What follows from a line that was not understood would only hide the reason.
        if self.syntax_errors.is_empty() {
            check::check(&config, &names, &mut self.sink);
            check::alerts::check(&config.alerts, &whole.notifies, &mut self.sink);
            config.files = files::read_all(&config, &mut self.sink);
        }
        Some(config)
    }
}

fn include_entry(root: &Node) -> Option<&Entry> {
    root.entries()?.iter().find(|entry| *entry.key == *"include")
}

fn read_text(path: &Path, name: &str) -> Result<Arc<str>, Box<Diagnostic>> {
    let shown = name.escape_debug();
    let file = LoadedFile::read_at_most(path, MAX_TEXT).map_err(|error| {
        Diagnostic::error(codes::UNREADABLE_FILE, format!("cannot read `{shown}`: {}", files::reason(&error)))
    })?;
    match std::str::from_utf8(&file.bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let message = format!("`{shown}` is not UTF-8: wrong byte at offset {}", error.valid_up_to());
            Err(Box::new(Diagnostic::error(codes::NOT_TEXT, message)))
        }
    }
}

/// The files that a pattern of `include` names, by name. A pattern may name none, a plain path must be there.
fn find(full: &str, pattern: &At<Arc<str>>, sink: &mut Sink) -> Vec<std::path::PathBuf> {
    let is_pattern = pattern.contains(['*', '?', '[']);
    let found = match glob::glob(full) {
        Ok(paths) => paths.filter_map(Result::ok).collect::<Vec<_>>(),
        Err(error) => {
            let message = format!("`{}` is not a usable pattern: {}", pattern.escape_debug(), error.msg);
            sink.push(Diagnostic::error(codes::NO_INCLUDE, message).at(&pattern.place, ""));
            return Vec::new();
        }
    };
    if found.is_empty() && !is_pattern {
        let message = format!("there is no file `{}`", full.escape_debug());
        let wrong = Diagnostic::error(codes::NO_INCLUDE, message).at(&pattern.place, "");
        sink.push(wrong.help("includes are relative to the file that they stand in"));
    }
    found
}

fn only_once(place: &mut Option<Entry>, entry: &Entry, sink: &mut Sink) {
    match place {
        Some(first) => sink.push(twice(first, entry)),
        None => *place = Some(entry.clone()),
    }
}

fn add_all(named: &mut Vec<Entry>, entry: &Entry, sink: &mut Sink) {
    let Some(entries) = entry.node.entries() else {
        sink.wrong_form(&entry.node, &Kind::Map { key: "name", value: Box::new(Kind::Bool) });
        return;
    };
    for entry in entries {
        match named.iter().find(|first| first.key == entry.key) {
            Some(first) => sink.push(twice(first, entry)),
            None => named.push(entry.clone()),
        }
    }
}

fn twice(first: &Entry, second: &Entry) -> Diagnostic {
    Diagnostic::error(codes::TWICE, format!("`{}` stands twice", second.key.escape_debug()))
        .at(&second.key_place, "again here")
        .also(&first.key_place, "first here")
        .help("files are put together by name; give one of them another name, or move its keys")
}

fn no_cache_yet(entry: &Entry) -> Diagnostic {
    Diagnostic::error(codes::NOT_YET, "the response cache is not available in this version")
        .at(&entry.key_place, "")
}

/// `[server]` or `[log]`; all defaults when nobody wrote it.
fn single<T: Read>(entry: Option<&Entry>, sink: &mut Sink) -> Option<At<T>> {
    match entry {
        Some(entry) => read_at(&entry.node, sink),
        None => read_at(&Literal::Table.node(), sink),
    }
}

fn alerts(whole: &Whole, sink: &mut Sink) -> Alerts {
    Alerts { rules: all(&whole.alerts, sink), notifies: all(&whole.notifies, sink) }
}

fn all<N: Word, T: Read>(entries: &[Entry], sink: &mut Sink) -> Vec<Named<N, T>> {
    let mut named = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = read_key::<N>(entry, sink);
        let body = T::read(&entry.node, sink);
        named.extend(name.zip(body).map(|(name, body)| Named { name, body }));
    }
    named
}
