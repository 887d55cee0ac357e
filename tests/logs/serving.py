"""A log service of its own for a proof: started on free ports, killed, started again, asked what it holds."""

import collections
import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
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
