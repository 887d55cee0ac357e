"""What the proofs share: a log service and a proxy of their own on free ports, and a server that a sink sends to."""

import collections
import contextlib
import gzip
import http.client
import http.server
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

PATIENCE = 60
ABSENT = 77


def absent(what):
    print(f"NOT TESTED: {what}")
    sys.exit(ABSENT)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    sys.exit(f"waited {patience} s for {what}")


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def require(promise, kept, *facts):
    if not kept:
        sys.exit(f"BROKEN: {promise}: {facts}")
    print(f"ok: {promise}", *facts)


class Service:
    """`tollgate logs serve` with one input for HTTP."""

    def __init__(self, program, folder, token=None):
        self.program, self.folder = pathlib.Path(program).resolve(), pathlib.Path(folder)
        self.port, self.own = free_port(), free_port()
        self.config = self.folder / "logs.toml"
        shown = f'\ntoken = "{token}"' if token else ""
        self.config.write_text(
            f'[log]\ndata = "{self.folder}/logs"\n[log.input.web]\ntype = "http"\nlisten = "127.0.0.1:{self.port}"{shown}\n'
        )
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [self.program, "-c", self.config, "logs", "serve", "--http", f"127.0.0.1:{self.own}"]
        out = open(self.folder / "serve.log", "ab")
        self.process = subprocess.Popen(command, stdout=out, stderr=out)
        wait_for("the log service", lambda: self.process.poll() is not None or answers(self.port))
        if self.process.poll() is not None:
            sys.exit(f"the log service ended: {(self.folder / 'serve.log').read_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)

    def status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.own}/status", timeout=10) as answer:
            return json.load(answer)

    def entries(self):
        """Everything that is stored; the service is stopped."""
        command = [self.program, "logs", "export", "--data", self.folder / "logs", "--since", "all"]
        out = subprocess.run(command, capture_output=True, text=True)
        if out.returncode:
            sys.exit(f"{command} failed: {out.stderr}")
        return [json.loads(line) for line in out.stdout.splitlines()]


@contextlib.contextmanager
def service(program, **settings):
    with tempfile.TemporaryDirectory() as folder:
        one = Service(program, folder, **settings)
        one.start()
        try:
            yield one
        finally:
            one.stop()


def count(entries, of):
    """How often each comes: `(different ones, duplicates)`."""
    counts = collections.Counter(value for value in map(of, entries) if value is not None)
    return set(counts), sum(counts.values()) - len(counts)


class Proxy:
    """`tollgate run` with one sink; its own log goes nowhere else."""

    def __init__(self, program, folder, sink):
        self.program, self.folder = pathlib.Path(program).resolve(), pathlib.Path(folder)
        self.port = free_port()
        self.dead = self.folder / "dead.jsonl"
        self.config = self.folder / "proxy.toml"
        self.config.write_text(f"""
[server]
http  = "127.0.0.1:{self.port}"
admin = "unix:{self.folder}/control.sock"
[log]
service = "none"
data    = "{self.folder}/log"
[log.sink.far]
{sink}
dead_letter = "{self.dead}"
linger      = "100ms"
retry_max   = "500ms"
[upstream.app]
workers = {{ command = ["{self.program}", "whoami"], count = 1, ready = "/healthz" }}
[site."*"]
routes = [{{ path = "/*", proxy = "app" }}]
""")
        self.process = None

    def start(self):
        out = open(self.folder / "proxy.log", "ab")
        self.process = subprocess.Popen([self.program, "run", "-c", self.config], stdout=out, stderr=out)
        wait_for("the proxy", lambda: self.process.poll() is not None or self.answers())
        if self.process.poll() is not None:
            sys.exit(f"the proxy ended: {(self.folder / 'proxy.log').read_text()}")

    def answers(self):
        with contextlib.suppress(OSError):
            return self.get("/ready") == 200
        return False

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            answer.read()
            return answer.status

    def ask(self, first, count):
        """Requests that can be told apart by their path."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            for number in range(first, first + count):
                connection.request("GET", f"/n/{number}")
                connection.getresponse().read()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE)

    def letters(self):
        return [json.loads(line) for line in self.dead.read_text().splitlines()] if self.dead.exists() else []


@contextlib.contextmanager
def proxy(program, sink):
    with tempfile.TemporaryDirectory() as folder:
        one = Proxy(program, folder, sink)
        one.start()
        try:
            yield one
        finally:
            one.stop()


def number_of(path):
    """The number of a request of `Proxy.ask`."""
    return int(path.removeprefix("/n/")) if isinstance(path, str) and path.startswith("/n/") else None


class Receiver:
    """A server for a sink: `take(path, headers, body)` answers `(status, headers, body)`. Bodies come unpacked."""

    def __init__(self, take):
        self.port, self.take, self.server = free_port(), take, None

    def start(self):
        take = self.take

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status, headers, text = take(self.path, self.headers, body)
                self.send_response(status)
                for name, value in {**headers, "content-length": len(text)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address, daemon_threads = True, True
            open_ones = []

            def process_request(self, request, address):
                self.open_ones.append(request)
                super().process_request(request, address)

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def kill(self):
        """As when its process dies: connections break off as well."""
        self.server.shutdown()
        self.server.server_close()
        for one in self.server.open_ones:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.server.open_ones.clear()


def through_a_restart(proxy, receiver, taken, each):
    """Sends three times `each` requests: to the receiver, while it is away, and when it is back. `taken()` are their numbers."""
    proxy.ask(0, each)
    wait_for("the first third", lambda: len(taken()) >= each)
    receiver.kill()
    proxy.ask(each, each)
    time.sleep(1)
    receiver.start()
    proxy.ask(2 * each, each)
    wait_for("the rest", lambda: taken() >= set(range(3 * each)), 30)
