"""A log service with one input, and a proxy with one sink, for the scripts beside this one: started, killed, started again on
the same port."""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ABSENT = 77
PATIENCE = 30


def arguments(about):
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True, help="the binary")
    return parser.parse_args()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def absent(why):
    print(f"absent: {why}")
    sys.exit(ABSENT)


def installed(folder, *packages):
    """Installs npm packages there."""
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *packages]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run(command, capture_output=True, timeout=90, check=False).returncode == 0:
            return
    absent(f"npm cannot install {' '.join(packages)}")


class Verdict:
    """What was promised, and whether it was kept."""

    def __init__(self):
        self.broken = 0

    def check(self, promise, is_kept, figures=""):
        self.broken += not is_kept
        print(f"{'kept  ' if is_kept else 'BROKEN'} {promise}{': ' if figures else ''}{figures}", flush=True)

    def end(self):
        sys.exit(1 if self.broken else 0)


class Door:
    """The service."""

    def __init__(self, tollgate, kind, **settings):
        self.tollgate = os.path.abspath(tollgate)
        self.folder = tempfile.TemporaryDirectory(prefix="tollgate-logs-")
        self.port, self.http = free_port(), free_port()
        self.config = os.path.join(self.folder.name, "tollgate.toml")
        lines = [f'type = "{kind}"', f'listen = "127.0.0.1:{self.port}"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("[log.input.peer]\n" + "\n".join(lines) + "\n")
        self.process = None
        self.told = open(os.path.join(self.folder.name, "stderr"), "ab")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.told.close()
        self.folder.cleanup()

    def start(self):
        data = os.path.join(self.folder.name, "logs")
        command = [self.tollgate, "-c", self.config, "logs", "serve", "--data", data, "--http", f"127.0.0.1:{self.http}"]
        self.process = subprocess.Popen(command, stderr=self.told, cwd=self.folder.name)
        until(lambda: self.status() is not None, "the service answers")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def status(self):
        try:
            return json.loads(self.get("/status"))
        except OSError:
            return None

    def rows(self):
        lines = self.get("/logs/search?since=all&n=10000").splitlines()
        rows = [json.loads(line) for line in lines if line.startswith("{")]
        return [row for row in rows if "from" in row]

    def words(self):
        """What the service says on its standard error."""
        with open(self.told.name, encoding="utf-8", errors="replace") as file:
            return file.read()


class Proxy:
    """A proxy that answers everything itself, with one sink."""

    def __init__(self, tollgate, kind, port, **settings):
        self.tollgate = os.path.abspath(tollgate)
        self.folder = tempfile.TemporaryDirectory(prefix="tollgate-logs-")
        self.port = free_port()
        lines = [f'type = "{kind}"', f'to = "tcp://127.0.0.1:{port}"', 'retry_max = "500ms"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        with open(os.path.join(self.folder.name, "tollgate.toml"), "w", encoding="utf-8") as file:
            file.write(f'[server]\nhttp = "127.0.0.1:{self.port}"\nadmin = "unix:control.sock"\n[log]\nservice = "none"\n'
                       "[log.sink.peer]\n" + "\n".join(lines) + '\n[site."*"]\nroutes = [{ path = "/*", respond = "ok" }]\n')
        self.told = open(os.path.join(self.folder.name, "stderr"), "ab")
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([self.tollgate, "-c", "tollgate.toml", "run"], stderr=self.told, stdout=self.told,
                                        cwd=self.folder.name)
        until(lambda: self.ask(["/begin"]) == 1, "the proxy answers")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.told.close()
        self.folder.cleanup()

    def ask(self, paths):
        """Sends requests one after the other; returns how many were answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        answered = 0
        with contextlib.suppress(OSError):
            for path in paths:
                connection.request("GET", path)
                answered += connection.getresponse().read() == b"ok"
        connection.close()
        return answered

    def dead_letters(self):
        with contextlib.suppress(FileNotFoundError):
            for root, _, names in os.walk(self.folder.name):
                if "peer.jsonl" in names:
                    with open(os.path.join(root, "peer.jsonl"), encoding="utf-8") as file:
                        return file.read().splitlines()
        return []


def shipped(verdict, what, tollgate, kind, port, paths, seen, during=None, **settings):
    """Sends requests to a proxy with such a sink; `seen()` gives the paths that arrived. Promises that all arrive."""
    with Proxy(tollgate, kind, port, **settings) as proxy:
        half = len(paths) // 2
        answered = proxy.ask(paths[:half])
        if during:
            during()
        answered += proxy.ask(paths[half:])
        with contextlib.suppress(TimeoutError):
            until(lambda: set(paths) <= set(seen()), "all arrive")
        arrived, dead = [path for path in seen() if path != "/begin"], proxy.dead_letters()
    missing = set(paths) - set(arrived)
    verdict.check(what, answered == len(paths) and not missing and not dead,
                  f"{len(paths)} records, {len(missing)} missing, {len(arrived) - len(set(arrived))} twice, {len(dead)} dead letters")
    return arrived


def until(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience} s: {what}")
        time.sleep(0.02)
