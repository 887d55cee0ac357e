#!/usr/bin/env python3
"""Real servers behind, real clients in front: nginx, Python's and Node's servers; curl, h2load, wrk, websockets.

Usage: peers.py [WEBSOCKETS_PYTHON] (a Python that has the package `websockets`). What is not installed is named and
left out; with nothing to talk to, the suite is skipped.
"""

import hashlib
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import ground

# Debian puts nginx where only root looks.
os.environ["PATH"] += os.pathsep + "/usr/sbin"

SIZES = {"empty": 0, "small": 12, "page": 4096, "large": 3_000_000}
failures, done = [], []


def check(name, is_good, detail=""):
    done.append(name)
    if not is_good:
        failures.append(name)
        print(f"FAIL {name}: {str(detail)[:600]}")


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, port, **options):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{command[0]} does not listen")


def nginx(folder, port):
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error; events {{}}\n"
        f"http {{ access_log off; {temporary} client_max_body_size 100m; gzip on; gzip_proxied any; gzip_min_length 1000; gzip_types text/plain;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}/www; location /headers {{ return 200 "
        f'"$host|$http_x_forwarded_for|$http_x_forwarded_proto|$http_connection|$server_protocol"; }} }} }}\n'
    )
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]


def python(folder, port):
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder / "www")]
    return [*command, str(port)]


NODE = """
const http = require('http'), fs = require('fs'), crypto = require('crypto');
const server = http.createServer((request, response) => {
  const hash = crypto.createHash('sha256'); let length = 0;
  request.on('data', part => { hash.update(part); length += part.length; });
  request.on('end', () => {
    const file = process.argv[1] + request.url;
    if (request.method === 'GET' && fs.existsSync(file) && fs.statSync(file).isFile()) {
      fs.createReadStream(file).pipe(response);
    } else if (request.url === '/trailers') {
      response.writeHead(200, {Trailer: 'Server-Timing', 'Transfer-Encoding': 'chunked'});
      response.write('body'); response.addTrailers({'Server-Timing': 'x'}); response.end();
    } else { response.end(request.method + ' ' + length + ' ' + hash.digest('hex')); }
  });
});
server.on('upgrade', (request, link) => link.end('HTTP/1.1 400 Bad Request\\r\\nConnection: close\\r\\n\\r\\n'));
server.listen(Number(process.argv[2]), '127.0.0.1');
"""


def node(folder, port):
    return ["node", "-e", NODE, str(folder / "www"), str(port)]


def run(command, seconds=60):
    return subprocess.run(command, capture_output=True, timeout=seconds, check=False)


def curl(tollgate, way, path, *more):
    tls = way != "plain"
    port = tollgate.https if tls else tollgate.http
    url = f"{'https' if tls else 'http'}://localhost:{port}{path}"
    options = {"plain": [], "h1": ["--http1.1"], "h2": ["--http2"], "1.0": ["--http1.0"]}[way]
    common = ["curl", "-sS", "--max-time", "30", "--cacert", str(tollgate.authority()), "--resolve", f"localhost:{port}:127.0.0.1"]
    return run([*common, *options, *more, url])


def bodies(tollgate, server, folder):
    for way in ("plain", "h1", "h2", "1.0"):
        for name in SIZES:
            ended = curl(tollgate, way, f"/{name}.txt", "-D", str(folder / "head"))
            check(f"{server}: curl {way} GET {name}", ended.stdout == (folder / f"www/{name}.txt").read_bytes(), ended.stderr or ended.stdout[:200])
        head = curl(tollgate, way, "/page.txt", "-I")
        check(f"{server}: curl {way} HEAD", re.search(rb"(?i)content-length: 4096|transfer-encoding: chunked| 200", head.stdout) is not None, head.stdout + head.stderr)
    missing = curl(tollgate, "h2", "/missing.txt", "-o", "/dev/null", "-w", "%{http_code}")
    wanted = b"200" if server == "node" else b"404"
    check(f"{server}: curl h2 of a missing file", missing.stdout == wanted, missing.stdout)


def nginx_only(tollgate, folder):
    for way in ("plain", "h1", "h2"):
        part = curl(tollgate, way, "/large.txt", "-r", "1000-1099")
        check(f"nginx: curl {way} range", part.stdout == (folder / "www/large.txt").read_bytes()[1000:1100])
        packed = curl(tollgate, way, "/page.txt", "--compressed", "-D", "-")
        check(f"nginx: curl {way} compressed", b"gzip" in packed.stdout and packed.stdout.endswith((folder / "www/page.txt").read_bytes()), packed.stdout[:300])
        seen = curl(tollgate, way, "/headers").stdout.decode()
        proto = "http" if way == "plain" else "https"
        check(f"nginx: what it sees ({way})", seen == f"localhost|127.0.0.1|{proto}||HTTP/1.1", seen)
        stamp = re.search(rb"(?i)etag: *(\S+)", curl(tollgate, way, "/small.txt", "-I").stdout)
        again = curl(tollgate, way, "/small.txt", "-H", f"If-None-Match: {stamp[1].decode()}", "-o", "/dev/null", "-w", "%{http_code}")
        check(f"nginx: 304 ({way})", again.stdout == b"304", again.stdout)


def node_only(tollgate, folder):
    data = os.urandom(2_000_000)
    (folder / "upload").write_bytes(data)
    wanted = f"POST {len(data)} {hashlib.sha256(data).hexdigest()}".encode()
    for way in ("plain", "h1", "h2", "1.0"):
        sent = curl(tollgate, way, "/up", "--data-binary", f"@{folder / 'upload'}", "-H", "Content-Type: application/octet-stream")
        check(f"node: curl {way} upload", sent.stdout == wanted, sent.stdout + sent.stderr)
    for way in ("plain", "h1", "h2"):
        sent = curl(tollgate, way, "/up", "-X", "POST", "-T", str(folder / "upload"), "-H", "Transfer-Encoding: chunked" if way != "h2" else "X: y")
        check(f"node: curl {way} chunked upload", sent.stdout == wanted, sent.stdout + sent.stderr)
        got = curl(tollgate, way, "/up", "-X", "GET", "--data-binary", "abc")
        check(f"node: curl {way} GET with a body", got.stdout.startswith(b"GET 3 "), got.stdout + got.stderr)
        waits = curl(tollgate, way, "/up", "--data-binary", f"@{folder / 'upload'}", "-H", "Expect: 100-continue", "-H", "Content-Type: application/octet-stream")
        check(f"node: curl {way} Expect", waits.stdout == wanted, waits.stdout + waits.stderr)
        tail = curl(tollgate, way, "/trailers", "-H", "TE: trailers", "-H", "Connection: TE") if way != "h2" else curl(tollgate, way, "/trailers", "-H", "TE: trailers")
        check(f"node: curl {way} trailers", tail.stdout == b"body", tail.stdout + tail.stderr)
    link = http.client.HTTPConnection("127.0.0.1", tollgate.http)
    for number in range(50):
        link.request("POST", f"/keep?{number}", body=iter([b"abc", b"def"]), headers={"Host": "localhost"}, encode_chunked=True)
        check("node: http.client keeps its connection", link.getresponse().read().startswith(b"POST 6 "))
    link.close()


def load(tollgate, server):
    before = len(tollgate.records())
    sent = 0
    if shutil.which("wrk"):
        said = run(["wrk", "-t1", "-c16", "-d2s", f"http://127.0.0.1:{tollgate.http}/page.txt"]).stdout.decode()
        check(f"{server}: wrk", "Requests/sec" in said and "Non-2xx" not in said and "Socket errors" not in said, said)
    if shutil.which("h2load"):
        for name, url in (("h2c", f"http://127.0.0.1:{tollgate.http}/page.txt"), ("h2", f"https://localhost:{tollgate.https}/page.txt")):
            said = run(["h2load", "-n2000", "-c4", "-m16", url]).stdout.decode()
            check(f"{server}: h2load {name}", "2000 succeeded, 0 failed, 0 errored" in said, said)
            sent += 2000
        said = run(["h2load", "--h1", "-n1000", "-c8", f"https://localhost:{tollgate.https}/small.txt"]).stdout.decode()
        check(f"{server}: h2load http/1.1", "1000 succeeded, 0 failed, 0 errored" in said, said)
        sent += 1000
    until = time.monotonic() + 5
    while len(tollgate.records()) < before + sent and time.monotonic() < until:
        time.sleep(0.2)
    check(f"{server}: at least a record per request of h2load", len(tollgate.records()) >= before + sent, (len(tollgate.records()), before, sent))


WEBSOCKETS = """
import asyncio, pathlib, ssl, sys, websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
async def echo(link):
    async for message in link:
        await link.send(message)
async def server():
    async with serve(echo, "127.0.0.1", int(sys.argv[2]), max_size=None):
        await asyncio.sleep(600)
async def client():
    context = ssl.create_default_context(cafile=sys.argv[3]) if sys.argv[2].startswith("wss") else None
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(talk(sys.argv[2], context, number))
    print("good")
async def talk(url, context, number):
    async with connect(url, ssl=context, max_size=None) as link:
        for size in (0, 1, 125, 126, 65535, 65536, 1_000_000):
            await link.send(bytes(size))
            assert len(await link.recv()) == size
        await link.send("text \u20ac")
        assert await link.recv() == "text \u20ac"
        await (await link.ping())
asyncio.run(server() if sys.argv[1] == "server" else client())
"""


def websockets(interpreter):
    port = free()
    server = start([interpreter, "-c", WEBSOCKETS, "server", str(port)], port)
    try:
        with ground.Tollgate(ground.proxy_to(port)) as tollgate:
            for url in (f"ws://127.0.0.1:{tollgate.http}/", f"wss://localhost:{tollgate.https}/"):
                ended = run([interpreter, "-c", WEBSOCKETS, "client", url, str(tollgate.authority())])
                check(f"websockets over {url[:3]}", ended.stdout == b"good\n", ended.stderr[-600:])
    finally:
        server.terminate()
        server.wait()


servers = {"nginx": nginx, "python3": python, "node": node}
present = [name for name in servers if shutil.which(name)]
if not present or not shutil.which("curl"):
    ground.absent("curl or a server", "nginx, python3 and node would do")
print("absent:", [name for name in (*servers, "wrk", "h2load") if not shutil.which(name)] or "nothing")
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "www").mkdir()
    os.chmod(folder, 0o755)
    for name, size in SIZES.items():
        text = b"".join(b"%015d\n" % number for number in range(size // 16 + 1))[:size]
        (folder / f"www/{name}.txt").write_bytes(text)
    for name in present:
        port = free()
        process = start(servers[name](folder, port), port)
        try:
            with ground.Tollgate(ground.proxy_to(port)) as tollgate:
                bodies(tollgate, name, folder)
                {"nginx": nginx_only, "node": node_only}.get(name, lambda *_: None)(tollgate, folder)
                # Python's server has one thread per connection and speaks HTTP/1.0: no load for it.
                if name != "python3":
                    load(tollgate, name)
        finally:
            process.terminate()
            process.wait()
if len(sys.argv) > 1:
    websockets(sys.argv[1])
print(f"peers: {len(done) - len(failures)}/{len(done)} good")
sys.exit(bool(failures))
