"""What every suite needs: a tollgate of its own, an origin that keeps the bytes it got, and a judge of those bytes.

Everything is on loopback and on free ports; a process that is started here is ended here.
"""

import asyncio
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

READY_SECONDS = 20


def absent(what, hint):
    """Says plainly what is missing; the caller ends with 77, the code for a skipped test."""
    print(f"SKIPPED: {what} is not here ({hint})")
    sys.exit(77)


def binary():
    path = os.environ.get("TOLLGATE") or shutil.which("tollgate")
    if not path or not pathlib.Path(path).exists():
        absent("the tollgate program", "name it in TOLLGATE")
    return path


class Tollgate:
    """A running tollgate. `rest` is the config behind `[server]` and `[log]`."""

    def __init__(self, rest, server=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-suite-"))
        lines = ['http = "127.0.0.1:0"', 'https = "127.0.0.1:0"', f'admin = "unix:{self.dir}/control.sock"']
        lines += ["h2c = true", *server]
        log = f'[log]\nservice = "none"\nfile = "{self.dir}/access.log"\n'
        (self.dir / "tollgate.toml").write_text("[server]\n" + "\n".join(lines) + "\n" + log + rest)
        self.stderr = open(self.dir / "stderr", "wb")
        command = [binary(), "run", "-c", str(self.dir / "tollgate.toml")]
        self.process = subprocess.Popen(command, cwd=self.dir, stderr=self.stderr, stdout=self.stderr)
        self.http, self.https = self._listeners()

    def _listeners(self):
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            status = self.status()
            if status and status["listeners"]:
                ports = {l["name"]: int(l["address"].rpartition(":")[2]) for l in status["listeners"]}
                return ports["http"], ports["https"]
            time.sleep(0.05)
        text = (self.dir / "stderr").read_text()
        self.end()
        raise SystemExit(f"tollgate did not start:\n{text}")

    def status(self):
        try:
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(5)
                admin.connect(str(self.dir / "control.sock"))
                admin.sendall(b"GET /status HTTP/1.1\r\nHost: tollgate\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: admin.recv(65536), b""))
            return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
        except (OSError, ValueError):
            return None

    def records(self):
        with open(self.dir / "access.log", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def authority(self):
        """The certificate of the local authority that signed our own."""
        return next((self.dir / "certs").rglob("ca.pem"))

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.stderr.close()
        self.said = (self.dir / "stderr").read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
        if "panicked" in self.said:
            print(self.said)
            raise SystemExit("tollgate panicked")
        shutil.rmtree(self.dir, ignore_errors=True)


def proxy_to(port, route=""):
    """Every host plain, `localhost` over TLS too; all to one upstream."""
    routes = f'routes = [{{ path = "/*", proxy = "app"{route} }}]\n'
    return (
        f'[upstream.app]\nservers = ["127.0.0.1:{port}"]\n[site."*"]\n{routes}'
        f'[site."localhost"]\ntls = "local"\nredirect_http = false\n{routes}'
    )


class Origin:
    """An HTTP/1 server in a thread that echoes bodies and keeps the raw bytes of each connection."""

    def __init__(self):
        self.connections = []
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait()

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def total(self):
        return sum(len(raw) for raw in self.connections)

    async def _serve(self, reader, writer):
        raw = bytearray()
        self.connections.append(raw)
        try:
            used = 0
            while part := await reader.read(65536):
                raw += part
                while (found := first_request(raw[used:])) is not None:
                    length, body, method = found
                    used += length
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
                    writer.write(head.encode() + (b"" if method == b"HEAD" else body))
                    await writer.drain()
        except (ConnectionError, Dirty):
            pass
        finally:
            writer.close()


class Dirty(Exception):
    """Bytes that a clean proxy never sends."""


TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]+)(:[0-9]+)?")
TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
FORBIDDEN_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"authorization", b"cookie", b"connection"}
OUR_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def first_request(raw):
    """Length, decoded body and method of the first request, strictly read; None while it is incomplete."""
    raw = bytes(raw)
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        if raw and not raw[:1].isalpha():
            raise Dirty("left-over bytes")
        return None
    lines = raw[: end + 2].split(b"\r\n")[:-1]
    method = request_line(lines[0])
    fields = [field(line) for line in lines[1:]]
    kind, length = framing(fields)
    if kind == "chunked":
        done = chunked(raw, end + 4)
        return done and (done[0], done[1], method)
    whole = end + 4 + length
    return (whole, raw[end + 4 : whole], method) if len(raw) >= whole else None


def request_line(line):
    words = line.split(b" ")
    if len(words) != 3 or not TOKEN.fullmatch(words[0]) or words[2] != b"HTTP/1.1":
        raise Dirty(f"request line {line[:80]!r}")
    if not TARGET.fullmatch(words[1]) or not (words[1][:1] == b"/" or words[1] == b"*"):
        raise Dirty(f"target {words[1][:80]!r}")
    return words[0]


def field(line):
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.fullmatch(name):
        raise Dirty(f"field name {line[:60]!r}")
    if any((byte < 32 and byte != 9) or byte == 127 for byte in value):
        raise Dirty(f"control byte in {line[:60]!r}")
    return name.lower(), value.strip(b" \t")


def framing(fields):
    of = lambda wanted: [value for name, value in fields if name == wanted]
    host, coding, length = of(b"host"), of(b"transfer-encoding"), of(b"content-length")
    if len(host) != 1 or not HOST.fullmatch(host[0]):
        raise Dirty(f"Host {host!r}")
    if coding and (length or coding != [b"chunked"]):
        raise Dirty(f"framing TE {coding!r} CL {length!r}")
    if len(length) > 1 or (length and not re.fullmatch(rb"[0-9]+", length[0])):
        raise Dirty(f"Content-Length {length!r}")
    ids = of(b"x-request-id")
    if len(ids) != 1 or not OUR_ID.fullmatch(ids[0]):
        raise Dirty(f"a request that tollgate did not make (X-Request-Id {ids!r})")
    return ("chunked", None) if coding else ("length", int(length[0]) if length else 0)


def chunked(raw, at):
    body = bytearray()
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return None
        if not re.fullmatch(rb"[0-9a-fA-F]+", raw[at:end]):
            raise Dirty(f"chunk line {raw[at:end][:40]!r}")
        size, at = int(raw[at:end], 16), end + 2
        if size == 0:
            return trailers(raw, at, body)
        if len(raw) < at + size + 2:
            return None
        if raw[at + size : at + size + 2] != b"\r\n":
            raise Dirty("chunk without its end")
        body += raw[at : at + size]
        at += size + 2


def trailers(raw, at, body):
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0:
            return None
        if end == at:
            return at + 2, bytes(body)
        name, _ = field(raw[at:end])
        if name in FORBIDDEN_TRAILERS or name.startswith(b"x-forwarded"):
            raise Dirty(f"trailer {name!r}")
        at = end + 2


def judge(raw):
    """Number of clean requests in all bytes of a connection, and whether the last one was cut off."""
    at = count = 0
    while at < len(raw):
        found = first_request(raw[at:])
        if found is None:
            return count, True
        at += found[0]
        count += 1
    return count, False


def unverified(protocols=("http/1.1",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


class Reply:
    """What came back for raw bytes: `status` of the first final answer (None: none), and whether it was closed."""

    def __init__(self, data, closed):
        self.data, self.closed = data, closed
        statuses = [int(code) for code in re.findall(rb"(?:^|\n)HTTP/1\.[01] ([0-9]{3})", data)]
        self.statuses = statuses
        final = [code for code in statuses if code >= 200]
        self.status = (final or statuses or [None])[0]


def send_raw(port, payload, tls=False, quiet=0.4, settle=0.05):
    """Sends `payload` on a new connection and reads until it is closed, or nothing more comes."""
    plain = socket.create_connection(("127.0.0.1", port), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link = unverified().wrap_socket(plain, server_hostname="localhost") if tls else plain
    data, closed = bytearray(), False
    try:
        try:
            link.sendall(payload)
        except OSError:
            pass
        link.settimeout(quiet)
        while True:
            part = link.recv(65536)
            if not part:
                closed = True
                break
            data += part
            link.settimeout(settle if is_whole(data) else quiet)
    except TimeoutError:
        pass
    except OSError:
        closed = True
    finally:
        link.close()
    return Reply(bytes(data), closed)


def is_whole(data):
    """Whether `data` ends with a whole answer, as far as Content-Length tells."""
    head, gap, body = bytes(data).rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    if not gap or head[:1] == b"1":
        return False
    length = re.search(rb"(?i)\ncontent-length: *([0-9]+)", head)
    return length is None or len(body) >= int(length[1])
