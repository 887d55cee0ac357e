"""The clients: wrk and h2load, and what they report."""

import os
import re
import subprocess
import time

import process

UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


class Load:
    """What one measurement sent. Latencies in microseconds; None when the client does not tell them."""

    def __init__(self, requests, seconds, errors, p50_us=None, p99_us=None):
        self.requests, self.seconds, self.errors = requests, seconds, errors
        self.p50_us, self.p99_us = p50_us, p99_us


def wrk(url, connections, seconds, headers=()):
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "5s"]
    for header in headers:
        argv += ["-H", header]
    text = output(argv + [url], seconds)
    requests, took = re.search(r"(\d+) requests in ([\d.]+\w+),", text).groups()
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = sum(map(int, socket_errors.groups())) if socket_errors else 0
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors += int(refused.group(1)) if refused else 0
    return Load(int(requests), micros(took) / 1e6, errors, percentile(text, 50), percentile(text, 99))


def percentile(text, rank):
    found = re.search(rf"^\s+{rank}%\s+(\S+)$", text, re.MULTILINE)
    return micros(found.group(1)) if found else None


def micros(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS_US[unit]


def h2load(url, connections, streams, seconds, folder):
    """A fixed time over HTTP/2. The latencies are read from the log, because h2load sums up no percentiles."""
    log = os.path.join(folder, "h2load.tsv")
    if os.path.exists(log):
        os.remove(log)
    argv = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), f"--log-file={log}", url]
    # The time limit cuts the streams that are still open; they count as unanswered, though nothing went wrong.
    done, bad, _cut = totals(output(argv, seconds))
    with open(log, encoding="utf-8") as lines:
        times = sorted(int(line.rsplit("\t", 1)[1]) for line in lines)
    ranks = [times[int(len(times) * part)] if times else None for part in (0.50, 0.99)]
    return Load(done, float(seconds), bad, *ranks)


def handshakes(url, seconds, batch=256):
    """New connections with one request each, in batches. h2load never resumes a session (wrk does)."""
    argv = ["h2load", "--h1", "-t1", f"-c{batch}", f"-n{batch}", url]
    begin, done, failed = time.monotonic(), 0, 0
    while time.monotonic() - begin < seconds:
        good, bad, unanswered = totals(output(argv, 30))
        done, failed = done + good, failed + bad + unanswered
    return Load(done, time.monotonic() - begin, failed)


def totals(text):
    """Good answers, bad answers, and requests without an answer."""
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    good, *bad = map(int, codes.groups())
    unanswered = re.search(r"(\d+) failed,", text)
    return good, sum(bad), int(unanswered.group(1))


def output(argv, seconds):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode != 0 or ("requests" not in done.stdout):
        raise process.Failed(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout
