#!/usr/bin/env python3
"""Mixed load for half an hour, with reloads and murdered workers; then every promise is counted.

At the end: no panic, memory and open files flat, nothing in flight, and exactly one record per request sent.
Standard library only; h2load adds HTTP/2 when it is there. Exit 0 when every promise held, 1 when not.
"""

import argparse
import asyncio
import collections
import glob
import json
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

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import clients  # noqa: E402
import wire  # noqa: E402

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELOAD_EVERY, KILL_EVERY, SAMPLE_EVERY, HTTP2_EVERY = 10, 5, 5, 30
HTTP2_REQUESTS = 1000
GROWTH_ALLOWED_KIB, GROWTH_ALLOWED = 8192, 0.10
FILES_ALLOWED = 40


class Soak:
    """The proxy under load, with what was done to it and what was seen."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.config = os.path.join(folder, "tollgate.toml")
        self.http, self.https = free_port(), free_port()
        self.ledger = clients.Ledger()
        self.samples = []
        self.done = collections.Counter()
        self.promises_broken = []
        self.http2_sent = 0
        self.proxy = None

    def write_config(self, revision, echo_port, bad=False):
        text = f"""
[server]
http  = "127.0.0.1:{self.http}"
https = "127.0.0.1:{self.https}"
admin = "unix:{self.folder}/control.sock"
timeouts = {{ header = "5s", drain = "20s" }}

[log]
service = "none"
file    = "{self.folder}/access.log"

[upstream.app]
workers = {{ command = ["{self.program}", "whoami"], count = 3, ready = "/healthz" }}
balance = "least-conn"

[upstream.echo]
servers = ["127.0.0.1:{echo_port}"]

[site."localhost"]
tls           = {{ cert = "{self.folder}/cert.pem", key = "{self.folder}/key.pem" }}
redirect_http = false
headers       = {{ set = {{ x-revision = "{revision}" }} }}
routes = [
  {{ path = "/ws", proxy = "echo" }},
  {{ path = "/*",  proxy = "{'nowhere' if bad else 'app'}" }},
]
"""
        # Replaced at once: a reload must never see half of it.
        with open(self.config + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(self.config + ".new", self.config)

    def start(self):
        with open(self.errors_path(), "ab") as errors:
            self.proxy = subprocess.Popen(
                [self.program, "run", "-c", self.config],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd=self.folder, start_new_session=True,
            )

    def errors_path(self):
        return os.path.join(self.folder, "stderr.txt")

    def is_running(self):
        return self.proxy.poll() is None

    def promise(self, held, text):
        print(f"{'ok  ' if held else 'FAIL'} {text}", flush=True)
        if not held:
            self.promises_broken.append(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tollgate", default=built(), help="the program (release build of this package)")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--keep", action="store_true", help="keep the folder with config, log and stderr")
    wanted = parser.parse_args()
    if not os.access(wanted.tollgate, os.X_OK):
        sys.exit(f"mixed: absent: {wanted.tollgate}")
    folder = tempfile.mkdtemp(prefix="tollgate-soak-")
    soak = Soak(os.path.abspath(wanted.tollgate), folder)
    try:
        asyncio.run(run(soak, wanted.minutes * 60))
    finally:
        end_everything(soak)
        if not wanted.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"kept: {folder}")
    sys.exit(1 if soak.promises_broken else 0)


def built():
    return os.path.join(PACKAGE, os.environ.get("CARGO_TARGET_DIR", "target"), "release", "tollgate")


def end_everything(soak):
    if soak.proxy is None:
        return
    try:
        os.killpg(soak.proxy.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    soak.proxy.wait()


async def run(soak, seconds):
    certificate(soak.folder)
    echo = await wire.echo_origin()
    echo_port = echo.sockets[0].getsockname()[1]
    soak.write_config(0, echo_port)
    soak.start()
    await until_ready(soak)
    target = clients.Target(soak.http, soak.https)
    began = time.monotonic()
    load = clients.all_of_them(target, soak.ledger)
    trouble = [
        asyncio.create_task(repeat(target, every, action, soak, echo_port))
        for every, action in (
            (RELOAD_EVERY, reload), (KILL_EVERY, kill_a_worker), (SAMPLE_EVERY, sample), (HTTP2_EVERY, http2),
        )
    ]
    while time.monotonic() - began < seconds and soak.is_running():
        await asyncio.sleep(1)
    target.stopping.set()
    _, late = await asyncio.wait(load + trouble, timeout=90)
    for task in late:
        task.cancel()
    soak.promise(not late, f"every client ended ({len(late)} did not)")
    for task in (task for task in load + trouble if task not in late and task.exception()):
        soak.promise(False, f"the test itself failed: {task.exception()!r}")
    await verdict(soak, time.monotonic() - began)
    echo.close()


async def repeat(target, every, action, soak, echo_port):
    turn = 0
    while not target.stopping.is_set():
        turn += 1
        await action(soak, turn, echo_port)
        await target.pause(every)


async def reload(soak, turn, echo_port):
    """By signal and by command in turn; every fifth file is bad, and must change nothing."""
    bad = turn % 5 == 0
    soak.write_config(turn, echo_port, bad)
    if turn % 2:
        os.kill(soak.proxy.pid, signal.SIGHUP)
    else:
        code, _, text = await command(soak, "reload")
        if (code != 0) != bad:
            soak.done["reload command answered wrongly"] += 1
            print(f"reload of a {'bad' if bad else 'good'} file: exit {code}: {text.strip()[-300:]}")
    soak.done["bad reloads" if bad else "good reloads"] += 1


async def kill_a_worker(soak, _turn, _echo_port):
    workers = [pid for pid in children(soak.proxy.pid) if b"whoami" in command_line(pid)]
    if workers:
        try:
            os.kill(random.choice(workers), signal.SIGKILL)
            soak.done["workers killed"] += 1
        except ProcessLookupError:
            pass


async def sample(soak, _turn, _echo_port):
    pid = soak.proxy.pid
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            resident = int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))
        soak.samples.append((time.monotonic(), resident, len(os.listdir(f"/proc/{pid}/fd"))))
    except (FileNotFoundError, AttributeError):
        pass


async def http2(soak, _turn, _echo_port):
    if shutil.which("h2load") is None:
        return
    url = f"https://localhost:{soak.https}/h2?n=h2"
    child = await asyncio.create_subprocess_exec(
        "h2load", "-t1", "-c4", "-m8", f"-n{HTTP2_REQUESTS}", "--rps=100", url, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    text = (await child.communicate())[0].decode()
    totals = re.search(r"(\d+) total, (\d+) started, (\d+) done, \d+ succeeded, \d+ failed, (\d+) errored", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    soak.http2_sent += sum(map(int, codes.groups())) if codes else 0
    soak.done["h2 requests without an answer"] += int(totals.group(4)) if totals else 0


async def command(soak, *words):
    child = await asyncio.create_subprocess_exec(
        soak.program, *words, "-c", soak.config, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(child.communicate(), 30)
    return child.returncode, output.decode(errors="replace"), errors.decode(errors="replace")


async def until_ready(soak):
    for _ in range(300):
        if not soak.is_running():
            with open(soak.errors_path(), encoding="utf-8", errors="replace") as errors:
                sys.exit(f"mixed: tollgate ended at its start: {errors.read()[-2000:]}")
        try:
            reader, writer = await wire.connect(soak.https, True)
            writer.write(wire.head("/ready", "ready", "Connection: close\r\n"))
            status, _ = await asyncio.wait_for(wire.answer(reader), 5)
            writer.close()
            if status == 200:
                return
        except clients.BROKEN:
            pass
        await asyncio.sleep(0.1)
    sys.exit("mixed: tollgate is not ready after 30 s")


async def verdict(soak, seconds):
    ledger = soak.ledger
    print(f"\n{len(ledger.sent)} requests in {seconds / 60:.1f} minutes: {dict(ledger.statuses)}, {dict(soak.done)}")
    print(f"broken off: {dict(ledger.faults)}")
    soak.promise(soak.is_running(), "tollgate ran to the end")
    soak.promise(bool(soak.samples), "memory was watched")
    flat(soak, 1, GROWTH_ALLOWED_KIB, "resident KiB")
    flat(soak, 2, FILES_ALLOWED, "open files")
    soak.promise(not soak.done["reload command answered wrongly"], "every reload command told the truth")
    soak.promise(not ledger.faults["web socket: wrong echo"], "every echo was right")
    bad = sum(count for status, count in ledger.statuses.items() if status >= 500)
    allowed = 4 * soak.done["workers killed"] + 10
    soak.promise(bad <= allowed, f"{bad} answers of 5xx, {allowed} allowed for the workers killed")
    wrong = {status: count for status, count in ledger.statuses.items() if status not in (101, 200, 502, 503, 504)}
    soak.promise(not wrong, f"no other status than 101, 200, 502, 503, 504 ({wrong or 'none'})")
    await nothing_in_flight(soak)
    stop(soak)
    count_records(soak)


def flat(soak, column, allowed, name):
    """Compares the median of the last quarter with that of the second one: the first is warm-up."""
    values = [one[column] for one in soak.samples]
    quarter = len(values) // 4
    if quarter < 2:
        print(f"skip {name}: too few samples for a slope")
        return
    early, late = (sorted(part)[len(part) // 2] for part in (values[quarter : 2 * quarter], values[-quarter:]))
    allowed = max(allowed, early * GROWTH_ALLOWED)
    minutes = (soak.samples[-1][0] - soak.samples[0][0]) / 60
    slope = (late - early) / (minutes * 0.5)
    soak.promise(late - early <= allowed, f"{name}: {early} → {late} ({slope:+.1f} per minute)")


async def nothing_in_flight(soak):
    """Polls `status --json` until every count of something open is zero."""
    counts, status = {}, {}
    for _ in range(300):
        code, text, _ = await command(soak, "status", "--json")
        status = json.loads(text) if code == 0 else {}
        counts = dict(open_counts(status))
        if counts and not any(counts.values()):
            break
        await asyncio.sleep(0.1)
    left = {name: count for name, count in counts.items() if count}
    soak.promise(bool(counts) and not left, f"nothing in flight: {len(counts)} counts, left over: {left or 'none'}")
    agrees(soak, status)


def open_counts(value, name=""):
    """Every `open` and `in_flight` of the status, with its path."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        if key in ("open", "in_flight") and isinstance(part, int):
            yield f"{name}.{key}", part
        else:
            yield from open_counts(part, f"{name}.{key}")


def agrees(soak, status):
    """What the proxy says of itself against what was done to it."""
    upstreams = status.get("upstreams", [])
    restarts = sum(worker.get("restarts", 0) for upstream in upstreams for worker in upstream.get("workers", []))
    killed = soak.done["workers killed"]
    soak.promise(restarts >= killed, f"{killed} workers killed, {restarts} restarts told")
    plans, good = status.get("plans", 0), soak.done["good reloads"]
    soak.promise(plans == 1 + good, f"{good} good reloads, {plans} plans since the start")
    dropped = {reason: count for reason, count in status.get("log", {}).get("dropped", {}).items() if count}
    soak.promise(not dropped, f"no record dropped ({dropped or 'none'})")


def stop(soak):
    soak.proxy.terminate()
    try:
        code = soak.proxy.wait(40)
    except subprocess.TimeoutExpired:
        code = None
    soak.promise(code == 0, f"ends in order after SIGTERM (exit {code})")
    with open(soak.errors_path(), encoding="utf-8", errors="replace") as errors:
        panics = [line for line in errors if "panicked" in line]
    soak.promise(not panics, f"no panic ({panics[:2] or 'none'})")


def count_records(soak):
    seen = bytearray(len(soak.ledger.sent))
    http2_seen, gaps, strangers, torn = 0, 0, 0, 0
    for path in glob.glob(os.path.join(soak.folder, "access.log*")):
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    torn += 1
                    continue
                gaps += record.get("kind") == "gap"
                # A tunnel leaves an `open` when it begins; its one record is the `close`.
                number = re.search(r"(?:^|&)n=(\w+)", record.get("query") or "")
                if number is None or record.get("kind") not in ("request", "close"):
                    continue
                if number.group(1) == "h2":
                    http2_seen += 1
                elif number.group(1).isdigit() and int(number.group(1)) < len(seen):
                    at = int(number.group(1))
                    seen[at] = min(seen[at] + 1, 255)
                else:
                    strangers += number.group(1) != "ready"
    counted(soak, seen)
    soak.promise(http2_seen == soak.http2_sent, f"HTTP/2: {soak.http2_sent} answers, {http2_seen} records")
    soak.promise(not (gaps or torn or strangers), f"{gaps} gap records, {torn} torn lines, {strangers} strangers")


def counted(soak, seen):
    pairs = list(zip(soak.ledger.sent, seen))
    missing = [at for at, (due, count) in enumerate(pairs) if due == clients.ONE and count == 0]
    doubled = [at for at, (_, count) in enumerate(pairs) if count > 1]
    doubted = sum(due == clients.ONE_OR_NONE for due, _ in pairs)
    soak.promise(not missing, f"{len(missing)} requests without a record (n={missing[:5]})")
    soak.promise(not doubled, f"{len(doubled)} requests with more than one record (n={doubled[:5]})")
    soak.promise(doubted <= len(pairs) * 0.02 + 10, f"{doubted} requests broken off, whose record may or may not be")


def children(pid):
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []
    found = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", encoding="utf-8") as names:
                found += [int(name) for name in names.read().split()]
        except FileNotFoundError:
            continue
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read()
    except FileNotFoundError:
        return b""


def certificate(folder):
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
    files = ["-keyout", os.path.join(folder, "key.pem"), "-out", os.path.join(folder, "cert.pem")]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(argv + files + names, check=True, capture_output=True)
    os.chmod(os.path.join(folder, "key.pem"), 0o600)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
