"""What the scripts beside this need: processes that end with them, free ports, certificates, a log service of their own,
and a list of promises that were kept or not. Everything is on loopback."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

PATIENCE = 30


def absent(what):
    """Ends with the code for a test that could not be made."""
    print(f"SKIPPED: {what}")
    sys.exit(77)


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def until(what, is_so, patience=PATIENCE):
    """Waits for a condition; tells what did not come."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = is_so()
        if found:
            return found
        time.sleep(0.05)
    raise SystemExit(f"FAILED: {what} did not come within {patience} s")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Stage:
    """A folder, and the processes that run in it."""

    def __init__(self, tollgate):
        self.tollgate = pathlib.Path(tollgate).resolve()
        if not self.tollgate.is_file():
            raise SystemExit(f"there is no program {self.tollgate}")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-logs-"))
        self.processes, self.kept, self.broken = [], 0, 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        if kind is None and not self.broken:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"what was written is in {self.folder}")

    def check(self, promise, is_kept, seen=""):
        self.kept += bool(is_kept)
        self.broken += not is_kept
        print(f"{'ok    ' if is_kept else 'BROKEN'} {promise}" + (f": {seen}" if seen != "" else ""), flush=True)

    def end(self):
        print(f"{self.kept} promises kept, {self.broken} broken")
        return 1 if self.broken else 0

    def run(self, name, argv, environment=None):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(part) for part in argv], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=os.environ | (environment or {}),
        )
        self.processes.append(process)
        return process

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def certificates(self):
        """An authority, and a pair for localhost: (ca, cert, key)."""
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                "-subj", "/CN=tests of tollgate", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "pair.key", "-out", "pair.csr", "-subj", "/CN=localhost")
        self.write("pair.ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", "pair.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "pair.ext", "-out", "pair.pem")
        return self.folder / "ca.pem", self.folder / "pair.pem", self.folder / "pair.key"


class Service:
    """A log service with the inputs of this configuration."""

    def __init__(self, stage, inputs, name="service"):
        self.stage, self.name = stage, name
        self.socket = stage.folder / f"{name}.sock"
        text = f'[server]\nhttp = "127.0.0.1:0"\n[log]\ndata = "{stage.folder}/{name}.data"\n{inputs}\n'
        text += '[site."localhost"]\nroutes = [{ path = "/*", respond = "ok" }]\n'
        self.config = stage.write(f"{name}.toml", text)
        self.process = None

    def start(self):
        argv = [self.stage.tollgate, "logs", "serve", "--config", self.config, "--http", f"unix:{self.socket}"]
        self.process = self.stage.run(self.name, argv)
        until("the log service", lambda: self.process.poll() is not None or self.answers())
        if self.process.poll() is not None:
            raise SystemExit((self.stage.folder / f"{self.name}.log").read_text())

    def answers(self):
        try:
            return self.status()
        except OSError:
            return None

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def get(self, target):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(self.socket))
        connection.request("GET", target)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"{target}: {answer.status} {body[:300]}")
        return body

    def status(self):
        return json.loads(self.get("/status"))

    def rows(self, query=""):
        asked = urllib.parse.urlencode({"q": query, "since": "all", "n": 10_000})
        rows = [json.loads(line) for line in self.get(f"/logs/search?{asked}").splitlines() if line.startswith(b"{")]
        return [row for row in rows if "from" in row]


class Proxy:
    """A tollgate that answers every request itself, with these sinks."""

    def __init__(self, stage, sinks, name="proxy"):
        self.stage, self.name, self.port = stage, name, free_port()
        self.config = stage.write(f"{name}.toml", f'''[server]
http = "127.0.0.1:{self.port}"
admin = "unix:{stage.folder}/{name}.control"
cores = 2
[log]
service = "none"
spool = {{ dir = "{stage.folder}/{name}.spool" }}
{sinks}
[site."localhost"]
routes = [{{ path = "/*", respond = "ok" }}]
''')

    def start(self):
        self.process = self.stage.run(self.name, [self.stage.tollgate, "run", "-c", self.config])
        until("the proxy", lambda: self.process.poll() is not None or listens(self.port))
        if self.process.poll() is not None:
            raise SystemExit((self.stage.folder / f"{self.name}.log").read_text())

    def ask(self, paths, pause=0):
        """Requests, one after the other on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for path in paths:
            connection.request("GET", path, headers={"host": "localhost", "user-agent": "né \"quoted\" ] \\"})
            connection.getresponse().read()
            time.sleep(pause)
        connection.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
