#!/usr/bin/env python3
"""What `tollgate logs serve` takes of time and memory on a directory that `cargo bench --bench store` has laid.

    tests/bench/served.py --tollgate target/release/tollgate DIRECTORY [--memory-mib 512] [--ingest SECONDS]

Asks over the Unix socket as the commands do, and prints after each step the time, the resident set and its peak. With `--ingest`
requests are stored meanwhile, in a copy of links so that the directory stays as it was. Nothing is asserted.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

STARTED = 1_794_700_800
LOOKUPS = 200


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(600)
        self.sock.connect(self.path)


class Service:
    def __init__(self, program, data, memory_mib):
        self.path = os.path.join(data, "s.sock")
        words = [program, "--quiet", "logs", "serve", "--data", data, "--http", f"unix:{self.path}",
                 "--memory-mib", str(memory_mib), "--keep-days", "4000"]
        self.child = subprocess.Popen(words)
        self.until_ready()

    def until_ready(self):
        while True:
            try:
                return self.get("/status")
            except OSError:
                if self.child.poll() is not None:
                    sys.exit("the service ended")
                time.sleep(0.05)

    def ask(self, method, target, body=None):
        connection = Unix(self.path)
        connection.request(method, target, body)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def get(self, path, **arguments):
        status, text = self.ask("GET", path + ("?" + urllib.parse.urlencode(arguments) if arguments else ""))
        if status != 200:
            raise RuntimeError(f"{path}: {status} {text[:200]!r}")
        return text

    def memory(self):
        with open(f"/proc/{self.child.pid}/status", encoding="utf-8") as status:
            lines = dict(line.split(":", 1) for line in status)
        now, peak, own = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "RssAnon"))
        return f"{now:.0f} MiB now ({own:.0f} of its own), {peak:.0f} at most"

    def stop(self):
        self.child.terminate()
        self.child.wait(60)


def time_of(micros):
    seconds = micros / 1e6
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(micros % 1e6):06}Z"


def some_ids(service, hours):
    """Ids of requests at random times."""
    ids = []
    chance = random.Random(7)
    while len(ids) < LOOKUPS:
        at = int((STARTED + chance.random() * hours * 3600) * 1e6)
        rows = service.get("/logs/search", n=1, since=time_of(at), until=time_of(at + 100_000))
        found = [json.loads(row) for row in rows.splitlines() if row.startswith(b"{")]
        ids += [row["id"] for row in found if "id" in row][:1]
    return ids


def lookups(service, ids):
    times = []
    for one in ids:
        started = time.monotonic()
        told = json.loads(service.get("/logs/show", id=one))
        times.append(time.monotonic() - started)
        assert any(row["id"] == one for row in told["records"]), one
    times.sort()
    return f"median {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.1f}, slowest {times[-1] * 1e3:.1f}"


class Ingest(threading.Thread):
    """Stores JSON objects as quickly as they are taken."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.stored, self.refused, self.ending = service, 0, 0, False

    def run(self):
        while not self.ending:
            rows = "\n".join(json.dumps({
                "kind": "request", "status": 200, "method": "GET", "host": "shop.example", "path": f"/items/{random.randrange(10**6)}",
                "client_ip": f"10.{random.randrange(256)}.{random.randrange(256)}.7", "dur_us": random.randrange(10**6),
                "route": "/*", "ua": "curl/8.10.1", "line": "x" * random.randrange(200)}) for _ in range(2000))
            status, _ = self.service.ask("POST", "/logs", rows.encode())
            if status == 200:
                self.stored += 2000
            else:
                self.refused += 1
                time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--tollgate", default="target/release/tollgate")
    parser.add_argument("--memory-mib", type=int, default=512)
    parser.add_argument("--ingest", type=int, default=0, metavar="SECONDS")
    wanted = parser.parse_args()
    # The service drops and merges: never in the directory itself.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(wanted.directory))) as copy:
        shutil.copytree(wanted.directory, copy, dirs_exist_ok=True, copy_function=os.link)
        # Links would change the original's.
        for name in ("MANIFEST", "CHAIN"):
            if os.path.exists(f"{wanted.directory}/{name}"):
                shutil.copyfile(f"{wanted.directory}/{name}", f"{copy}/M")
                os.replace(f"{copy}/M", f"{copy}/{name}")
        measure(wanted, copy)


def measure(wanted, data):
    load = os.getloadavg()
    service = Service(os.path.abspath(wanted.tollgate), data, wanted.memory_mib)

    def step(name, told):
        print(f"{name:<28} {told}; {service.memory()}", flush=True)

    def timed(name, path, **arguments):
        started = time.monotonic()
        told = json.loads(service.get(path, **arguments).splitlines()[-1])
        taken = time.monotonic() - started
        report = told.get("report", told)
        step(name, f"{taken:.2f} s, {report.get('lines', 0) / 1e6:.0f} M rows looked at")

    try:
        status = json.loads(service.get("/status"))
        hours = status["files"] // 2 or 1
        print(f"{status['files']} files, {status['stored_bytes'] / 1e9:.2f} GB; load of the machine {load[0]:.1f}")
        step("at start", "")
        ids = some_ids(service, hours)
        step("random searches", "")
        step("show, first", lookups(service, ids))
        step("show, warm", lookups(service, ids))
        ingest = Ingest(service) if wanted.ingest else None
        if ingest:
            ingest.start()
        begun = time.monotonic()
        while True:
            timed("top route --by p99", "/logs/top", fields="route", by="p99", since="all")
            timed("top path", "/logs/top", fields="path", since="all")
            timed("search of a part", "/logs/search", q="items/4711x")
            both = [threading.Thread(target=service.get, args=("/logs/top",), kwargs={"fields": name, "since": "all"}) for name in ("path", "client_ip", "query", "path,client_ip")]
            for one in both:
                one.start()
            for one in both:
                one.join()
            step("four such questions at once", "")
            if time.monotonic() - begun >= wanted.ingest:
                break
        if ingest:
            ingest.ending = True
            ingest.join()
            print(f"stored meanwhile: {ingest.stored} objects, {ingest.refused} bodies told to come again")
            step("after ingest", "")
    finally:
        service.stop()


if __name__ == "__main__":
    main()
