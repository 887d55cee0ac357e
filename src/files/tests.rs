use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use tempfile::TempDir;

use super::*;
use crate::http::sendfile::is_placeholder;

const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

fn site() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(784_111_777)).unwrap();
    };
    write("a.txt", TEXT.as_bytes());
    write("empty.txt", b"");
    write("big.bin", &vec![7; 200_000]);
    write("big.css", &vec![b'a'; 200_000]);
    write("dir/index.html", b"<p>dir</p>");
    write("bare/x.txt", b"x");
    write("index.html", b"<p>home</p>");
    write("page.html", b"<p>page</p>");
    write(".env", b"secret");
    write(".well-known/security.txt", b"mail");
    write("app.js", b"let plain = 1");
    write("app.js.br", b"BROTLI");
    write("app.js.gz", b"GZIP");
    dir
}

fn files(dir: &TempDir) -> Files {
    Files::open(Settings::new(dir.path())).unwrap()
}

type Headers = &'static [(&'static str, &'static str)];

fn header_map(pairs: Headers) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

#[derive(Default)]
struct Client {
    open: OpenFiles,
    queue: Option<SendQueue>,
    compress: Option<compress::Settings>,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }
}

impl Client {
    fn ask(&self, files: &Files, method: &str, path: &str, headers: Headers) -> Result<Got, Failure> {
        let headers = header_map(headers);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = Ask {
            method: &method,
            path,
            public_path: path,
            query: None,
            headers: &headers,
            wanted: Wanted::parse(&headers),
            compress: self.compress.as_ref(),
            open: &self.open,
            queue: self.queue.as_ref(),
        };
        run(async {
            let (head, body) = files.serve(ask).await?.into_parts();
            let body = body.collect().await.unwrap().to_bytes().to_vec();
            Ok(Got { status: head.status.as_u16(), headers: head.headers, body })
        })
    }
}

fn get(files: &Files, path: &str, headers: Headers) -> Got {
    Client::default().ask(files, "GET", path, headers).unwrap()
}

fn refused(files: &Files, path: &str) -> Kind {
    match Client::default().ask(files, "GET", path, &[]) {
        Err(failure) => failure.kind,
        Ok(got) => panic!("{path}: {}", got.status),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_file_comes_with_its_headers() {
    let (dir, client) = (site(), Client::default());
    let files = files(&dir);
    // The second answer comes from the file that is still open.
    for _ in 0..2 {
        let got = client.ask(&files, "GET", "/a.txt", &[]).unwrap();
        assert_eq!((got.status, &*got.body), (200, TEXT.as_bytes()));
        assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(got.header("content-length"), "36");
        assert_eq!(got.header("accept-ranges"), "bytes");
        assert_eq!(got.header("last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(got.header("etag"), "\"ae1b981bc490a00-24\"");
        assert_eq!(got.header("vary"), "-");
    }
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let (dir, client) = (site(), Client::default());
    let files = files(&dir);
    for path in ["/a.txt", "/big.bin", "/empty.txt"] {
        let get = client.ask(&files, "GET", path, &[]).unwrap();
        let head = client.ask(&files, "HEAD", path, &[("range", "bytes=0-1")]).unwrap();
        assert_eq!((head.status, &head.headers), (200, &get.headers));
        assert!(head.body.is_empty());
    }
}

#[test]
fn only_get_and_head_are_allowed() {
    let dir = site();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let got = Client::default().ask(&files(&dir), method, "/a.txt", &[]).unwrap();
        assert_eq!((got.status, got.header("allow")), (405, "GET, HEAD"));
    }
}

#[test]
fn directories_lead_to_their_slash_and_then_to_their_index() {
    let dir = site();
    let files = files(&dir);
    let got = get(&files, "/dir", &[]);
    assert_eq!((got.status, got.header("location")), (301, "./dir/"));
    assert_eq!(get(&files, "/dir/", &[]).body, b"<p>dir</p>");
    assert_eq!(get(&files, "/", &[]).body, b"<p>home</p>");
    assert_eq!(refused(&files, "/bare/"), Kind::NotFound);
    assert_eq!(refused(&files, "/a.txt/"), Kind::NotFound);
}

#[test]
fn a_redirect_to_a_directory_keeps_the_query_and_never_leaves_the_site() {
    let dir = site();
    let files = files(&dir);
    let (headers, open) = (HeaderMap::new(), OpenFiles::default());
    let ask = Ask {
        method: &Method::GET,
        path: "",
        public_path: "//evil.example",
        query: Some("a=b"),
        headers: &headers,
        wanted: Wanted::default(),
        compress: None,
        open: &open,
        queue: None,
    };
    let response = run(files.serve(ask)).unwrap();
    assert_eq!(response.headers()["location"], "./evil.example/?a=b");
}

#[test]
fn hidden_files_are_not_there() {
    let dir = site();
    let files = files(&dir);
    assert_eq!(refused(&files, "/.env"), Kind::NotFound);
    assert_eq!(refused(&files, "/dir/../.env"), Kind::NotFound);
    assert_eq!(get(&files, "/.well-known/security.txt", &[]).body, b"mail");
}

#[test]
fn links_stay_inside_of_the_root() {
    let (dir, outside) = (site(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let link = |target: &Path, name: &str| symlink(target, dir.path().join(name)).unwrap();
    link(&outside.path().join("secret"), "absolute");
    link(Path::new("../../../../../../etc/passwd"), "climbing");
    link(outside.path(), "directory");
    link(Path::new("loop"), "loop");
    link(Path::new("a.txt"), "inside");
    let files = files(&dir);
    for path in ["/absolute", "/climbing", "/directory/secret", "/loop"] {
        assert_eq!(refused(&files, path), Kind::NotFound, "{path}");
    }
    assert_eq!(get(&files, "/inside", &[]).body, TEXT.as_bytes());
}

#[test]
fn what_is_no_file_is_not_there() {
    let dir = site();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), 0o666.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let files = files(&dir);
    for path in ["/pipe", "/socket", "/missing", "/a.txt/x"] {
        assert_eq!(refused(&files, path), Kind::NotFound, "{path}");
    }
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(refused(&files, &long), Kind::NotFound);
}

#[test]
fn conditions_spare_the_transfer() {
    let dir = site();
    let files = files(&dir);
    let got = get(&files, "/a.txt", &[("if-none-match", "W/\"ae1b981bc490a00-24\"")]);
    assert_eq!((got.status, got.body.len()), (304, 0));
    assert_eq!(got.header("etag"), "\"ae1b981bc490a00-24\"");
    assert_eq!(got.header("content-type"), "-");
    assert_eq!(got.header("content-length"), "-");
    let since = get(&files, "/a.txt", &[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    assert_eq!(since.status, 304);
    let failed = get(&files, "/a.txt", &[("if-match", "\"other\"")]);
    assert_eq!((failed.status, failed.body.len()), (412, 0));
}

#[test]
fn ranges_give_the_parts_asked_for() {
    let dir = site();
    let files = files(&dir);
    for (value, range, body) in [
        ("bytes=0-3", "bytes 0-3/36", "0123"),
        ("bytes=30-", "bytes 30-35/36", "uvwxyz"),
        ("bytes=-2", "bytes 34-35/36", "yz"),
        ("bytes=0-3,2-5", "bytes 0-5/36", "012345"),
    ] {
        let got = get(&files, "/a.txt", Box::leak(Box::new([("range", value)])));
        assert_eq!((got.status, got.header("content-range")), (206, range));
        assert_eq!(String::from_utf8(got.body).unwrap(), body);
        assert_eq!(got.headers["content-length"], body.len().to_string().as_str());
    }
    for value in ["bytes=5-4", "lines=1-2", "bytes=0-0,1-1,2-2,3-3,4-4,5-5"] {
        let got = get(&files, "/a.txt", Box::leak(Box::new([("range", value)])));
        assert_eq!((got.status, &*got.body), (200, TEXT.as_bytes()), "{value}");
    }
    let none = get(&files, "/a.txt", &[("range", "bytes=36-")]);
    assert_eq!((none.status, none.header("content-range")), (416, "bytes */36"));
    let twice = get(&files, "/a.txt", &[("range", "bytes=0-1"), ("range", "bytes=2-3")]);
    assert_eq!(twice.status, 200);
}

#[test]
fn a_range_of_another_version_is_answered_with_the_whole() {
    let dir = site();
    let files = files(&dir);
    let same: Headers = &[("range", "bytes=0-3"), ("if-range", "\"ae1b981bc490a00-24\"")];
    assert_eq!(get(&files, "/a.txt", same).status, 206);
    let other: Headers = &[("range", "bytes=0-3"), ("if-range", "\"other\"")];
    assert_eq!(get(&files, "/a.txt", other).status, 200);
}

#[test]
fn several_ranges_come_as_multipart() {
    let dir = site();
    let got = get(&files(&dir), "/big.css", &[("range", "bytes=0-1,1000-1001")]);
    assert_eq!(got.status, 206);
    let boundary = got.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str| {
        let head = format!("\r\n--{boundary}\r\nContent-Type: text/css; charset=utf-8\r\n");
        format!("{head}Content-Range: bytes {range}/200000\r\n\r\naa")
    };
    let expected = format!("{}{}\r\n--{boundary}--\r\n", part("0-1"), part("1000-1001"));
    assert_eq!(String::from_utf8(got.body.clone()).unwrap(), expected);
    assert_eq!(got.headers["content-length"], expected.len().to_string().as_str());
    assert_eq!(got.header("content-range"), "-");
}

#[test]
fn precompressed_siblings_go_to_clients_that_take_them() {
    let dir = site();
    let files = files(&dir);
    for (accept, body, encoding) in [
        ("gzip, br", "BROTLI", "br"),
        ("gzip", "GZIP", "gzip"),
        ("zstd", "let plain = 1", "-"),
        ("identity", "let plain = 1", "-"),
        ("br;q=0.1, gzip", "GZIP", "gzip"),
    ] {
        let got = get(&files, "/app.js", Box::leak(Box::new([("accept-encoding", accept)])));
        assert_eq!(String::from_utf8(got.body.clone()).unwrap(), body);
        assert_eq!(got.header("content-encoding"), encoding);
        assert_eq!(got.header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(got.header("vary"), "Accept-Encoding");
        assert!(got.header("etag").ends_with(&format!("-{:x}\"", body.len())));
    }
    assert_eq!(get(&files, "/app.js.gz", &[]).header("content-type"), "application/gzip");
}

#[test]
fn whatever_may_be_compressed_varies_by_encoding() {
    let dir = site();
    let files = files(&dir);
    let client = Client { compress: Some(compress::Settings::default()), ..Client::default() };
    for (path, headers, status, vary) in [
        ("/big.css", &[][..], 200, "Accept-Encoding"),
        ("/big.css", &[("if-none-match", "*")], 304, "Accept-Encoding"),
        ("/big.css", &[("range", "bytes=0-1")], 206, "Accept-Encoding"),
        ("/big.bin", &[], 200, "-"),
        ("/a.txt", &[], 200, "-"),
    ] {
        let got = client.ask(&files, "GET", path, headers).unwrap();
        assert_eq!((got.status, got.header("vary")), (status, vary), "{path} {headers:?}");
    }
}

#[test]
fn missing_paths_fall_back_as_configured() {
    let dir = site();
    let try_files = vec![Try::Suffix(".html".into()), Try::File("/index.html".into())];
    let files = Files::open(Settings { try_files, ..Settings::new(dir.path()) }).unwrap();
    assert_eq!(get(&files, "/page", &[]).body, b"<p>page</p>");
    assert_eq!(get(&files, "/page/", &[]).body, b"<p>page</p>");
    let app = get(&files, "/users/17", &[]);
    assert_eq!((app.status, &*app.body), (200, &b"<p>home</p>"[..]));
    assert_eq!(app.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(refused(&files, "/.git/config"), Kind::NotFound);
}

#[test]
fn cache_control_is_on_contents_and_on_304() {
    let dir = site();
    let cache_control = Some(HeaderValue::from_static("public, max-age=60"));
    let files = Files::open(Settings { cache_control, ..Settings::new(dir.path()) }).unwrap();
    assert_eq!(get(&files, "/a.txt", &[]).header("cache-control"), "public, max-age=60");
    let unchanged = get(&files, "/a.txt", &[("if-none-match", "*")]);
    assert_eq!((unchanged.status, unchanged.header("cache-control")), (304, "public, max-age=60"));
}

/// What is answered after the bytes of a file were exchanged for others and its time of change was set back.
fn after_a_change_that_does_not_show(age: Duration) -> Vec<u8> {
    let (dir, client) = (site(), Client::default());
    let (files, path) = (files(&dir), dir.path().join("a.txt"));
    let modified = std::time::SystemTime::now() - age;
    let ask_with = |content: &str| {
        fs::write(&path, content).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        client.ask(&files, "GET", "/a.txt", &[]).unwrap().body
    };
    assert_eq!(ask_with("first"), b"first");
    ask_with("other")
}

#[test]
fn a_small_file_is_kept_only_when_its_time_of_change_can_be_trusted() {
    assert_eq!(after_a_change_that_does_not_show(Duration::from_secs(60)), b"first");
    assert_eq!(after_a_change_that_does_not_show(Duration::from_secs(1)), b"other");
}

#[test]
fn a_file_changed_or_replaced_is_noticed_at_once() {
    let (dir, client) = (site(), Client::default());
    let files = files(&dir);
    let before = client.ask(&files, "GET", "/a.txt", &[]).unwrap();
    fs::write(dir.path().join("a.txt"), "changed in place").unwrap();
    let changed = client.ask(&files, "GET", "/a.txt", &[]).unwrap();
    assert_eq!(changed.body, b"changed in place");
    assert_ne!(changed.header("etag"), before.header("etag"));

    fs::write(dir.path().join("new"), "replaced").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("a.txt")).unwrap();
    assert_eq!(client.ask(&files, "GET", "/a.txt", &[]).unwrap().body, b"replaced");

    fs::remove_file(dir.path().join("a.txt")).unwrap();
    assert_eq!(
        client.ask(&files, "GET", "/a.txt", &[]).err().map(|failure| failure.kind),
        Some(Kind::NotFound)
    );
}

#[test]
fn a_path_is_looked_up_again_when_its_time_is_over() {
    let dir = site();
    let client = Client { open: OpenFiles::new(Duration::ZERO), ..Client::default() };
    let files = files(&dir);
    client.ask(&files, "GET", "/dir/index.html", &[]).unwrap();
    // The old file keeps its name, so only a new look-up can tell.
    fs::rename(dir.path().join("dir"), dir.path().join("old")).unwrap();
    assert!(client.ask(&files, "GET", "/dir/index.html", &[]).is_err());
}

#[test]
fn large_files_go_by_sendfile_unless_they_will_be_compressed() {
    let dir = site();
    let files = files(&dir);
    let client = |compress: Option<compress::Settings>| Client {
        queue: Some(SendQueue::default()),
        compress,
        ..Client::default()
    };
    let gzip: Headers = &[("accept-encoding", "gzip")];
    let compress = || Some(compress::Settings::default());
    for (compress, path, headers, expected) in [
        (None, "/big.bin", gzip, 1),
        (None, "/big.css", gzip, 1),
        (compress(), "/big.bin", gzip, 1),
        (compress(), "/big.css", gzip, 0),
        (compress(), "/big.css", &[], 1),
        (None, "/a.txt", &[], 0),
    ] {
        let client = client(compress);
        let got = client.ask(&files, "GET", path, headers).unwrap();
        assert_eq!(client.queue.unwrap().len(), expected, "{path} {headers:?}");
        assert_eq!(got.headers["content-length"], got.body.len().to_string().as_str());
        assert_eq!(expected == 1, got.body.iter().all(|&byte| byte == 0));
    }
    assert!(!is_placeholder(&get(&files, "/big.bin", &[]).body));
}

#[test]
fn says_what_is_wrong_with_a_root() {
    let dir = site();
    for root in [dir.path().join("missing"), dir.path().join("a.txt")] {
        let error = Files::open(Settings::new(&root)).unwrap_err();
        assert!(matches!(&error, Error::Root { path, .. } if *path == root), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn unreadable_files_are_denied() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = site();
    fs::set_permissions(dir.path().join("a.txt"), fs::Permissions::from_mode(0o0)).unwrap();
    // The superuser may read everything, so there is nothing to see then.
    if fs::File::open(dir.path().join("a.txt")).is_err() {
        assert_eq!(refused(&files(&dir), "/a.txt"), Kind::Denied);
    }
    assert_eq!(Kind::Denied.row().status, StatusCode::FORBIDDEN);
}
