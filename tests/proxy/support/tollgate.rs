//! A real tollgate process on loopback: started from a config text, waited for, and stopped in order at the end.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Http1, Reader};
use super::h2raw::H2;
use super::records::Records;
use super::{certs, eventually, within};

/// What a tollgate is started with: lines of `[server]` and `[log]`, and the rest of the config.
pub(crate) struct Setup {
    pub(crate) dir: TempDir,
    server: Vec<String>,
    log: Vec<String>,
    rest: String,
    cores: usize,
    h2c: bool,
    https: bool,
    service: String,
    file: bool,
}

impl Setup {
    /// One core, HTTP/1 and cleartext HTTP/2 on port 0. `DIR` in any text stands for the test's own directory.
    pub(crate) fn new(rest: impl Into<String>) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            server: Vec::new(),
            log: Vec::new(),
            rest: rest.into(),
            cores: 1,
            h2c: true,
            https: false,
            service: "none".to_owned(),
            file: true,
        }
    }

    /// A site for every host that sends everything to `address`.
    pub(crate) fn proxy(address: SocketAddr) -> Self {
        Self::new(format!("[upstream.app]\nservers = [\"{address}\"]\n{CATCH_ALL}"))
    }

    pub(crate) fn server(mut self, line: impl Into<String>) -> Self {
        self.server.push(line.into());
        self
    }

    pub(crate) fn log(mut self, line: impl Into<String>) -> Self {
        self.log.push(line.into());
        self
    }

    /// Ships the records to a log service, beside the file.
    pub(crate) fn ship_to(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// No lines beside: only the log service keeps records.
    pub(crate) fn without_file(mut self) -> Self {
        self.file = false;
        self
    }

    pub(crate) fn cores(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    pub(crate) fn without_h2c(mut self) -> Self {
        self.h2c = false;
        self
    }

    /// Adds a https listener; the sites of the config must have `tls`.
    pub(crate) fn https(mut self) -> Self {
        self.https = true;
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a certificate for the names and gives the `tls = …` value for it.
    pub(crate) fn certificate(&self, file: &str, names: &[&str]) -> String {
        let (pem, key) = certs::write(self.dir(), file, names);
        format!("{{ cert = {:?}, key = {:?} }}", pem.display().to_string(), key.display().to_string())
    }

    /// Adds to the config text.
    pub(crate) fn and(mut self, rest: impl AsRef<str>) -> Self {
        self.rest.push_str(rest.as_ref());
        self
    }

    pub(crate) fn text(&self) -> String {
        let mut server =
            vec!["http = \"127.0.0.1:0\"".to_owned(), "admin = \"unix:DIR/control.sock\"".to_owned()];
        server.push(format!("cores = {}", self.cores));
        if self.h2c {
            server.push("h2c = true".to_owned());
        }
        if self.https {
            server.push("https = \"127.0.0.1:0\"".to_owned());
        }
        server.extend(self.server.iter().cloned());
        let mut log = vec![format!("service = \"{}\"", self.service)];
        log.extend(self.file.then(|| "file = \"DIR/access.log\"".to_owned()));
        log.extend(self.log.iter().cloned());
        let text = format!("[server]\n{}\n[log]\n{}\n{}", server.join("\n"), log.join("\n"), self.rest);
        text.replace("DIR", &self.dir().display().to_string())
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Tollgate {
        let config = self.dir().join(CONFIG);
        std::fs::write(&config, self.text()).unwrap();
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let child = self.spawn();
        let mut tollgate = Tollgate { child, config, setup: self, http: nowhere, https: None, ended: None };
        tollgate.get_ready();
        tollgate
    }

    fn spawn(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["run", "-c", CONFIG])
            .env_remove("RUST_LOG")
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .stdout(File::create(self.dir().join("stdout")).unwrap())
            .stderr(File::create(self.dir().join("stderr")).unwrap())
            .spawn()
            .unwrap()
    }
}

/// Named as a user would name it, from the directory that it stands in: records and messages repeat that name.
const CONFIG: &str = "tollgate.toml";

/// The site that takes every host and sends everything to the upstream `app`.
pub(crate) const CATCH_ALL: &str = "[site.\"*\"]\nroutes = [{ path = \"/*\", proxy = \"app\" }]\n";

pub(crate) struct Tollgate {
    child: Child,
    pub(crate) config: PathBuf,
    pub(crate) setup: Setup,
    pub(crate) http: SocketAddr,
    https: Option<SocketAddr>,
    ended: Option<ExitStatus>,
}

impl Tollgate {
    #[track_caller]
    fn get_ready(&mut self) {
        let tollgate = self;
        let listeners = eventually("tollgate serves", || {
            if let Some(status) = tollgate.child.try_wait().unwrap() {
                tollgate.ended = Some(status);
                let (config, stderr) = (tollgate.setup.text(), tollgate.stderr());
                panic!("tollgate ended at its start ({status}):\n{stderr}\n--- config:\n{config}");
            }
            let status = tollgate.try_status()?;
            let listeners = status["listeners"].as_array()?;
            (!listeners.is_empty()).then(|| listeners.clone())
        });
        for listener in listeners {
            let address = listener["address"].as_str().and_then(|text| text.parse().ok());
            match listener["name"].as_str() {
                Some("http") => tollgate.http = address.expect("an address"),
                Some("https") => tollgate.https = address,
                _ => {}
            }
        }
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // What it was asked to do.
        self.ended = Some(ExitStatus::default());
    }

    /// Starts it again where it was killed.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        (self.child, self.ended) = (self.setup.spawn(), None);
        self.get_ready();
    }

    #[track_caller]
    pub(crate) fn https(&self) -> SocketAddr {
        self.https.expect("status lists no listener named https")
    }

    pub(crate) fn plain(&self) -> Http1 {
        Http1::plain(self.http)
    }

    /// HTTP/1.1 over TLS to the site `localhost`.
    #[track_caller]
    pub(crate) fn tls(&self) -> Http1 {
        self.tls_with("localhost", &certs::client(&["http/1.1"])).expect("a TLS handshake")
    }

    pub(crate) fn tls_with(&self, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Http1> {
        Http1::tls(self.https(), name, config)
    }

    /// Frames over cleartext HTTP/2.
    pub(crate) fn h2c(&self) -> H2 {
        H2::plain(self.http)
    }

    /// Frames over HTTP/2 with TLS.
    #[track_caller]
    pub(crate) fn h2(&self) -> H2 {
        H2::tls(self.https(), "localhost")
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.plain().ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    pub(crate) fn records(&self) -> Records {
        Records { file: self.setup.dir().join("access.log") }
    }

    pub(crate) fn stderr(&self) -> String {
        let bytes = std::fs::read(self.setup.dir().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The answer of `GET /status` on the admin socket.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        eventually("the admin socket answers", || self.try_status())
    }

    fn try_status(&self) -> Option<Value> {
        let mut socket = UnixStream::connect(self.setup.dir().join("control.sock")).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        socket.write_all(b"GET /status HTTP/1.1\r\nHost: tollgate\r\nConnection: close\r\n\r\n").ok()?;
        let answer = Reader::new(socket).answer(false).ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Runs a tollgate command beside the running one, in its directory.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(words).args(["-c", CONFIG]).current_dir(self.setup.dir());
        command.output().unwrap()
    }

    /// One line more in `[server]`, for the next reload.
    pub(crate) fn also_server(&mut self, line: &str) {
        self.setup.server.push(line.to_owned());
    }

    /// Replaces the config text and reloads; gives what the command said.
    pub(crate) fn reload(&mut self, rest: impl Into<String>) -> Output {
        self.setup.rest = rest.into();
        std::fs::write(&self.config, self.setup.text()).unwrap();
        self.command(&["reload"])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    fn process(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait_exit(&mut self, time: Duration) -> Option<ExitStatus> {
        let child = &mut self.child;
        self.ended = within(time, || child.try_wait().unwrap());
        self.ended
    }

    /// Stops it by SIGTERM, checks that it ended in order, and gives all its records.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Vec<Value> {
        self.end();
        self.records().all()
    }

    /// Memory of the process in KiB that is its own.
    pub(crate) fn memory_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    #[track_caller]
    fn end(&mut self) {
        if self.ended.is_none() {
            let _ = kill_process(self.process(), Signal::TERM);
            if self.wait_exit(Duration::from_secs(15)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.ended = Some(ExitStatus::default());
                if !std::thread::panicking() {
                    panic!("tollgate did not end within 15 s of SIGTERM:\n{}", self.stderr());
                }
            }
        }
        if std::thread::panicking() {
            return;
        }
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked"), "tollgate panicked:\n{stderr}");
        let status = self.ended.unwrap();
        assert!(status.success(), "tollgate ended with {status}:\n{stderr}");
    }
}

impl Drop for Tollgate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what tollgate said:\n{}", self.stderr());
        }
        self.end();
    }
}
