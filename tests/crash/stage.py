"""The programs under test: their config, their processes, and the folder with everything that they leave behind.

Every process dies with the test, is ended by its pid, and listens on loopback only.
"""

import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
# The words of the spool's place and size; the first that the program's own check accepts is used.
SPOOL_TABLES = (
    'spool = {{ dir = "{dir}", size = "{size}", segment = "{segment}" }}',
    'spool = {{ dir = "{dir}", size = "{size}" }}',
    'spool = {{ dir = "{dir}" }}',
    "",
)


def built():
    return os.path.join(PACKAGE, os.environ.get("CARGO_TARGET_DIR", "target"), "release", "tollgate")


class Stage:
    """One proxy and one log service. `layout` is `embedded` (the proxy starts the service) or `separate`."""

    def __init__(self, program, folder, layout="embedded", data=None, spool=None, spool_size="256MiB", buffer=None, segment="64MiB"):
        self.program, self.folder, self.layout = os.path.abspath(program), folder, layout
        self.data = data or os.path.join(folder, "logs")
        self.spool = spool or os.path.join(folder, "spool")
        self.spool_size, self.buffer, self.segment = spool_size, buffer, segment
        self.config = os.path.join(folder, "tollgate.toml")
        self.errors = os.path.join(folder, "stderr.txt")
        self.http, self.service_port = free_port(), free_port()
        self.proxy = self.service = None
        self.proxy_environment, self.service_environment = {}, {}
        self.has_spool = None
        # More words for a separate service.
        self.service_words = []
        os.makedirs(folder, exist_ok=True)

    def write_config(self, origin_port, more=""):
        for words in SPOOL_TABLES:
            with open(self.config, "w", encoding="utf-8") as file:
                file.write(self.config_text(origin_port, words, more))
            told = subprocess.run([self.program, "check", "-c", self.config], capture_output=True, timeout=30)
            if told.returncode == 0:
                self.has_spool = bool(words)
                return
        sys.exit(f"the config is refused: {told.stdout.decode()}{told.stderr.decode()}")

    def config_text(self, origin_port, spool_words, more):
        service = 'service = "embedded"' + f'\ndata = "{self.data}"'
        if self.layout == "separate":
            service = f'service = "http://127.0.0.1:{self.service_port}"'
        spool = spool_words.format(dir=self.spool, size=self.spool_size, segment=self.segment)
        buffer = f'buffer = "{self.buffer}"' if self.buffer and not spool_words else ""
        return f"""
[server]
http  = "127.0.0.1:{self.http}"
admin = "unix:{self.folder}/control.sock"
timeouts = {{ drain = "5s" }}

[log]
{service}
{spool}
{buffer}
{more}

[upstream.origin]
servers = ["127.0.0.1:{origin_port}"]

[site."localhost"]
routes = [
  {{ path = "/r/*", respond = "here" }},
  {{ path = "/p/*", proxy = "origin" }},
]
"""

    def start(self):
        self.start_service()
        self.start_proxy()

    def start_proxy(self):
        self.proxy = self._spawn(["run", "-c", self.config], self.proxy_environment)

    def start_service(self):
        if self.layout == "separate":
            address = f"127.0.0.1:{self.service_port}"
            self.service = self._spawn(["logs", "serve", "--data", self.data, "--http", address, *self.service_words], self.service_environment)

    def _spawn(self, words, environment):
        with open(self.errors, "ab") as errors:
            return subprocess.Popen(
                [self.program, *words], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd=self.folder,
                env={**os.environ, **environment}, start_new_session=True, preexec_fn=dies_with_us,
            )

    def service_pid(self):
        """The pid of the log service, or None while there is none."""
        if self.layout == "separate":
            return self.service.pid if self.service and self.service.poll() is None else None
        serving = [pid for pid in children(self.proxy.pid) if b"\0logs\0serve\0" in command_line(pid)] if self.proxy else []
        return serving[0] if serving else None

    def files(self):
        """How many files of which kind the service keeps."""
        names = [name for _, _, names in os.walk(self.data) for name in names]
        ends = ("l0.parquet", "l1.parquet", "err.parquet", ".tgr", ".tgw")
        return {end: sum(name.endswith(end) for name in names) for end in ends}

    def ask(self, target):
        """The service's answer to a GET."""
        probe = socket.socket(socket.AF_INET if self.layout == "separate" else socket.AF_UNIX)
        probe.connect(("127.0.0.1", self.service_port) if self.layout == "separate" else f"{self.data}/ingest.sock")
        with probe:
            probe.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while more := probe.recv(1 << 16):
                answer += more
        return answer.partition(b"\r\n\r\n")[2]

    def kill(self, who):
        """kill -9 of `proxy`, `service` or `both`; says whether there was anything to kill."""
        pids = []
        if who in ("service", "both"):
            pids += [self.service_pid()]
        if who in ("proxy", "both"):
            pids += [self.proxy.pid if self.proxy.poll() is None else None]
        pids = [pid for pid in pids if pid]
        for pid in pids:
            end(pid, signal.SIGKILL)
        for process in (self.proxy, self.service):
            if process and process.pid in pids:
                process.wait()
        return len(pids)

    def stop(self, seconds=30):
        """Ends both in order; the exit codes, None for one that had to be killed."""
        return [stopped(process, seconds) for process in (self.proxy, self.service) if process]

    def end_everything(self):
        for process in (self.proxy, self.service):
            if process and process.poll() is None:
                end(process.pid, signal.SIGKILL)
                process.wait()

    def command(self, *words, seconds=60):
        done = subprocess.run([self.program, *words], capture_output=True, timeout=seconds, cwd=self.folder)
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def said(self):
        """What both have written to stderr so far."""
        try:
            with open(self.errors, encoding="utf-8", errors="replace") as errors:
                return errors.read()
        except FileNotFoundError:
            return ""

    def panics(self):
        return [line for line in self.said().splitlines() if "panicked" in line]

    def is_ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.http), 1) as probe:
                probe.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return probe.recv(12).startswith(b"HTTP/1.1")
        except OSError:
            return False

    def until_ready(self, seconds=20):
        return until(self.is_ready, seconds)


def until(held, seconds, pause=0.05):
    """Polls; whether it became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if held():
            return True
        time.sleep(pause)
    return bool(held())


def stopped(process, seconds):
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        end(process.pid, signal.SIGKILL)
        process.wait()
        return None


def end(pid, how):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


def dies_with_us():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as names:
                found += [int(name) for name in names.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def free_port():
    """Below those that the kernel gives to clients: one of them would have it while we are dead."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
                return probe.getsockname()[1]
            except OSError:
                continue


def size_of(folder):
    """Bytes on disk of everything under the folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


class Folder:
    """A folder for one run, removed at the end unless it is to be kept."""

    def __init__(self, keep):
        self.keep, self.path = keep, tempfile.mkdtemp(prefix="tollgate-crash-")

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        if self.keep:
            print(f"kept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)


def plain(text):
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
