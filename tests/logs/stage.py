"""What the scripts beside this are made of: processes that end with them, free ports, certificates, a log service, a proxy and a
server of their own, and a count of promises that were kept or not. Everything is on loopback.

Each script is called as

    SCRIPT.py --tollgate PROGRAM [--peers FOLDER]

and ends within two minutes, besides what it installs: with 0 when each promise was kept, with 77 when some could not be tested, as
a line `NOT TESTED: peer: why` says, with something else when one was broken. FOLDER keeps what it installs for the next time."""

import argparse
import collections
import concurrent.futures
import contextlib
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
import threading
import time
import urllib.parse

PATIENCE = 30
LIMIT = 115
ABSENT = 77


def absent(peer, why="it is not here"):
    """Ends with the code for a test that could not be made."""
    print(f"NOT TESTED: {peer}: {why}", flush=True)
    sys.exit(ABSENT)


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def comes(is_so, patience=PATIENCE):
    """Waits for a condition; None when it does not come."""
    end = time.monotonic() + patience
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def until(what, is_so, patience=PATIENCE):
    """Waits for a condition, without which there is nothing more to test."""
    found = comes(is_so, patience)
    if not found:
        raise SystemExit(f"FAILED: {what} did not come within {patience} s")
    return found


def listens(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def count(entries, of):
    """How often each comes: (different ones, duplicates)."""
    counts = collections.Counter(value for value in map(of, entries) if value is not None)
    return set(counts), counts.total() - len(counts)


def beside(work, *arguments):
    """Does it at the same time; what it raises comes with `result()`."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)

    # The threads of a pool would hold up the end of a script that has failed.
    threading.Thread(target=run, daemon=True).start()
    return future


class Stage:
    """A folder, and the processes that run in it."""

    def __init__(self, about):
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--tollgate", required=True, type=pathlib.Path, help="the program")
        parser.add_argument("--peers", type=pathlib.Path, help="where what is installed is kept")
        wanted = parser.parse_args()
        self.tollgate = wanted.tollgate.resolve()
        if not self.tollgate.is_file():
            raise SystemExit(f"there is no program {self.tollgate}")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-logs-"))
        self.peers = (wanted.peers or self.folder / "peers").resolve()
        self.processes, self.kept, self.broken, self.facts, self.untested = [], 0, 0, 0, 0

    def __enter__(self):
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"FAILED: not done within {LIMIT} s"))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("FAILED: it was told to end"))
        signal.alarm(LIMIT)
        return self

    def __exit__(self, kind, error, trace):
        signal.alarm(0)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if (kind is None or kind is SystemExit and error.code == ABSENT) and not self.broken:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"what was written is in {self.folder}")

    def check(self, promise, is_kept, seen=""):
        self.kept += bool(is_kept)
        self.broken += not is_kept
        print(f"{'ok    ' if is_kept else 'BROKEN'} {promise}" + (f": {seen}" if seen != "" else ""), flush=True)

    def fact(self, what, holds, seen=""):
        """One of many: told only when it does not hold, and then it is the last."""
        self.facts += 1
        if not holds:
            self.check(what, False, seen)
            sys.exit(1)

    def skip(self, peer, why="it is not here"):
        """The others are tested all the same."""
        self.untested += 1
        print(f"NOT TESTED: {peer}: {why}", flush=True)

    def end(self):
        facts = f" and {self.facts} facts" if self.facts else ""
        print(f"{self.kept} promises kept{facts}, {self.broken} broken, {self.untested} peers absent")
        return 1 if self.broken else ABSENT if self.untested else 0

    def run(self, name, argv, environment=None, **options):
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(
            [str(part) for part in argv],
            **{"cwd": self.folder, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "env": os.environ | (environment or {})} | options,
        )
        self.processes.append(process)
        return process

    def said(self, name):
        """What that process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def until_up(self, name, process, is_up):
        until(f"{name}", lambda: process.poll() is not None or is_up())
        if process.poll() is not None:
            raise SystemExit(f"FAILED: {name} ended at once: {self.said(name)[-2000:]}")

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
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

    def tell(self, *words, environment=None):
        """What `tollgate …` answers."""
        argv = [self.tollgate, *map(str, words)]
        return subprocess.run(argv, cwd=self.folder, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=PATIENCE)


def one_input(kind, **settings):
    """The settings of an input on a port of its own: (text, port)."""
    port = free_port()
    return f'[log.input.peer]\ntype = "{kind}"\nlisten = "127.0.0.1:{port}"\n{as_toml(settings)}', port


def one_sink(kind, to, **settings):
    return f'[log.sink.peer]\ntype = "{kind}"\nto = "{to}"\n{as_toml({"retry_max": "500ms"} | settings)}'


def as_toml(settings):
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items())


class Service:
    """A log service with the inputs of this configuration."""

    def __init__(self, stage, inputs="", name="service"):
        self.stage, self.name, self.process = stage, name, None
        self.socket, self.data = stage.folder / f"{name}.sock", stage.folder / f"{name}.data"
        self.config = stage.write(f"{name}.toml", f'[log]\ndata = "{self.data}"\n{inputs}\n')

    def start(self):
        argv = [self.stage.tollgate, "logs", "serve", "--config", self.config, "--http", f"unix:{self.socket}"]
        self.process = self.stage.run(self.name, argv)
        self.stage.until_up(self.name, self.process, self.answers)
        return self

    def answers(self):
        with contextlib.suppress(OSError):
            return self.status()
        return None

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def kill(self):
        self.stop(signal.SIGKILL)

    def kill_and_start(self, accepted):
        """Dies when it has taken so many."""
        until(f"{accepted} records taken by the service", lambda: self.status()["accepted"] >= accepted)
        self.kill()
        self.start()

    def call(self, method, target, body=None, headers=None):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.socket))
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            told = answer.read()
        if answer.status != 200:
            raise SystemExit(f"FAILED: {target}: {answer.status} {told[:300]}")
        return told

    def status(self):
        return json.loads(self.call("GET", "/status"))

    def rows(self, query=""):
        asked = urllib.parse.urlencode({"q": query, "since": "all", "n": 10_000})
        lines = self.call("GET", f"/logs/search?{asked}").splitlines()
        return [row for row in (json.loads(line) for line in lines if line.startswith(b"{")) if "from" in row]

    def exported(self):
        """Everything that is stored; the service is stopped."""
        done = self.stage.tell("logs", "export", "--data", self.data, "--since", "all")
        if done.returncode:
            raise SystemExit(f"FAILED: the export ends with {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def said(self):
        return self.stage.said(self.name)


class Proxy:
    """A tollgate with these sinks that answers every request itself, or with workers of its own."""

    environment = {}

    def __init__(self, stage, sinks="", name="proxy", workers=False):
        self.stage, self.name, self.port, self.process = stage, name, free_port(), None
        self.config = stage.write(f"{name}.toml", self.text(sinks, workers))
        (stage.folder / name).mkdir()

    def text(self, sinks, workers):
        """The configuration; others write their own."""
        folder = self.stage.folder
        upstream = f'[upstream.app]\nworkers = {{ command = ["{self.stage.tollgate}", "whoami"], count = 1, ready = "/healthz" }}\n'
        return f'''[server]
http = "127.0.0.1:{self.port}"
admin = "unix:{folder}/{self.name}.control"
cores = 2
[log]
service = "none"
spool = {{ dir = "{folder}/{self.name}/spool" }}
{sinks}
{upstream if workers else ""}
[site."localhost"]
routes = [{{ path = "/*", {'proxy = "app"' if workers else 'respond = "ok"'} }}]
'''

    def start(self):
        self.process = self.stage.run(self.name, [self.stage.tollgate, "run", "-c", self.config], self.environment)
        self.stage.until_up(self.name, self.process, self.answers)
        return self

    def answers(self):
        with contextlib.suppress(OSError):
            return self.ask(["/begin"]) == 1
        return False

    def ask(self, paths, pause=0):
        """Requests, one after the other on one connection; how many were answered well."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        answered = 0
        with contextlib.closing(connection):
            for path in paths:
                connection.request("GET", path, headers={"host": "localhost", "user-agent": "né \"quoted\" ] \\"})
                answer = connection.getresponse()
                answer.read()
                answered += answer.status == 200
                time.sleep(pause)
        return answered

    def asking(self, paths, pause):
        """The same beside other things; `result()` waits for the end."""
        return beside(self.ask, paths, pause)

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def letters(self):
        """The dead letters of all sinks that do not say where theirs go."""
        files = (self.stage.folder / self.name / "dead").glob("*.jsonl")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]
