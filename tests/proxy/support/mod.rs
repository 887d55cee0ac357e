//! The harness: a real tollgate process, a recording origin, and clients that send exactly the bytes they are told.

pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod h2raw;
pub(crate) mod legal_h2;
pub(crate) mod oracle;
pub(crate) mod origin;
pub(crate) mod records;
pub(crate) mod tollgate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

pub(crate) use client::{Http1, Way};
pub(crate) use origin::{Origin, Talk};
pub(crate) use tollgate::{Setup, Tollgate};

/// How long anything that must happen may take before a test calls it failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Polls `probe` until it gives a value; panics with `what` when the deadline passes.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, probe).unwrap_or_else(|| panic!("never happened within {DEADLINE:?}: {what}"))
}

/// Polls `probe` until it gives a value or the time is over.
pub(crate) fn within<T>(time: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(Duration::from_millis(5));
    }
}

/// Spaces out the bytes of a deliberately slow sender. Never used to wait for a result.
pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// An address where connecting is refused, for as long as this lives: bound, so that nobody else gets it.
pub(crate) struct DeadEnd {
    pub(crate) address: SocketAddr,
    _bound: Socket,
}

impl DeadEnd {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { address, _bound: socket }
    }
}

/// A GET for the site `localhost`.
pub(crate) fn get(path: &str) -> String {
    get_with(path, "")
}

/// A GET with further header lines, each ended by CRLF.
pub(crate) fn get_with(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// A POST with a body of known length.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// `Ok` when the two are equal, else what was seen instead.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{seen:?} instead of {wanted:?}")) }
}

/// Runs every case, collects what went wrong, and fails once with the whole list.
#[derive(Default)]
pub(crate) struct Findings {
    wrong: Vec<String>,
    tried: usize,
}

impl Findings {
    pub(crate) fn check(&mut self, case: &str, outcome: Result<(), String>) {
        self.tried += 1;
        if let Err(reason) = outcome {
            self.wrong.push(format!("{case}: {reason}"));
        }
    }

    #[track_caller]
    pub(crate) fn settle(self) {
        assert!(self.tried > 0, "no case was tried");
        let (wrong, tried) = (self.wrong.len(), self.tried);
        assert!(self.wrong.is_empty(), "{wrong} of {tried} cases are wrong:\n  {}", self.wrong.join("\n  "));
    }
}

/// Where a foreign program is, if it can be used; says so when it cannot, and fails where CI promises that it is there.
/// Debian keeps servers in `/usr/sbin`, where the shells of most users do not look.
pub(crate) fn present(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is absent, and CI=true promises it");
        eprintln!("skipped: {program} is absent");
    }
    found
}
