//! Real servers behind and a real client in front: nginx, Python, Node, curl. Without them the test says so.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Setup, eventually, get, get_with, post, present};

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a program that listens on `address`, and waits until it does.
    fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let server = Self { child, address };
        eventually("the server listens", || TcpStream::connect(address).ok().map(drop));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port. Another program may take it in between; these servers cannot be told to take any.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn nginx(program: &Path, dir: &Path) -> Server {
    let address = free();
    std::fs::create_dir_all(dir.join("www")).unwrap();
    std::fs::write(dir.join("www/page.txt"), "from nginx").unwrap();
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
         uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; server {{ listen {address}; root {dir}/www;\n\
         location /id {{ return 200 \"$http_x_request_id $http_x_forwarded_for $host\"; }} }} }}\n",
        dir = dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    Server::start(command, address)
}

#[test]
fn stands_in_front_of_nginx() {
    let Some(program) = present("nginx") else { return };
    let dir = tempfile::tempdir().unwrap();
    let server = nginx(&program, dir.path());
    let tollgate = Setup::proxy(server.address).start();
    let mut connection = tollgate.plain();
    assert_eq!(connection.ask(get("/page.txt")).text(), "from nginx");
    let part = connection.ask(get_with("/page.txt", "Range: bytes=5-\r\n"));
    assert_eq!((part.status, part.text().as_str()), (206, "nginx"));
    let id = connection.ask(get("/id"));
    assert_eq!(id.text(), format!("{} 127.0.0.1 localhost", id.header("x-request-id").unwrap()));
    assert_eq!(connection.ask(get("/missing")).status, 404);
}

#[test]
fn stands_in_front_of_pythons_server() {
    let Some(program) = present("python3") else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("page.txt"), "from python").unwrap();
    let address = free();
    let mut command = Command::new(program);
    command
        .args(["-m", "http.server", "--bind", "127.0.0.1"])
        .arg(address.port().to_string())
        .current_dir(dir.path());
    let server = Server::start(command, address);
    let tollgate = Setup::proxy(server.address).start();
    // It speaks HTTP/1.0 and closes after each answer.
    let mut connection = tollgate.plain();
    for _ in 0..3 {
        assert_eq!(connection.ask(get("/page.txt")).text(), "from python");
    }
}

const NODE: &str = "require('http').createServer((q, s) => { let n = 0; q.on('data', d => n += d.length); \
    q.on('end', () => { s.setHeader('x-len', n); s.end(q.method + ' ' + q.url) }) }).listen(process.argv[1], '127.0.0.1')";

#[test]
fn stands_in_front_of_node() {
    let Some(program) = present("node") else { return };
    let address = free();
    let mut command = Command::new(program);
    command.args(["-e", NODE]).arg(address.port().to_string());
    let server = Server::start(command, address);
    let tollgate = Setup::proxy(server.address).start();
    let mut connection = tollgate.plain();
    assert_eq!(connection.ask(get("/a?b")).text(), "GET /a?b");
    let answer = connection.ask(post("/up", &"x".repeat(100_000)));
    assert_eq!((answer.text().as_str(), answer.header("x-len")), ("POST /up", Some("100000")));
}

#[test]
fn curl_speaks_to_it_in_every_way() {
    let Some(program) = present("curl") else { return };
    let setup = Setup::new("");
    let tls = setup.certificate("site", &["localhost"]);
    let site = format!(
        "[site.localhost]\ntls = {tls}\ncompress = [\"gzip\"]\nroutes = [{{ path = \"/*\", respond = \"hello\" }}]\n"
    );
    let tollgate = setup.https().and(site).start();
    let curl = |arguments: &[&str]| {
        let output =
            Command::new(&program).args(["-sk", "--max-time", "10"]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let https = format!("https://localhost:{}/", tollgate.https().port());
    let resolve = format!("localhost:{}:127.0.0.1", tollgate.https().port());
    for way in ["--http1.1", "--http2", "--http1.0"] {
        assert_eq!(curl(&[way, "--resolve", &resolve, &https]), "hello", "{way}");
    }
    let plain = format!("http://127.0.0.1:{}/", tollgate.http.port());
    let code = curl(&["-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: localhost", &plain]);
    assert_eq!(code, "308");
    assert_eq!(curl(&["--compressed", "--resolve", &resolve, &https]), "hello");
}
