#!/usr/bin/env python3
"""h2spec through tollgate, all cases and the strict ones, plain and over TLS. Usage: h2spec.py H2SPEC (the program).

The worker is `whoami`: it reads a request's body before it answers, and its answers have a body, without which h2spec
leaves four cases out and fails three.
"""

import pathlib
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import ground

if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).exists():
    ground.absent("h2spec", "usage: h2spec.py H2SPEC")

CASES = 147
# Of the plain port alone, which speaks HTTP/1.1 too: what does not begin as HTTP/2 is a bad HTTP/1.1 request there. It
# is answered 400 and the connection closed, and h2spec takes the text of that answer for a frame.
OF_TWO_PROTOCOLS = "Sends invalid connection preface"
INVALID_PREFACE = b"INVALID CONNECTION PREFACE\r\n\r\n"
READY_SECONDS = 20

ROUTES = 'routes = [{ path = "/*", proxy = "app" }]\n'
CONFIG = (
    f'[upstream.app]\nworkers = {{ command = ["{ground.binary()}", "whoami"], count = 1, ready = "/healthz" }}\n'
    f'[site."*"]\n{ROUTES}[site."localhost"]\ntls = "local"\nredirect_http = false\n{ROUTES}'
)


def wait_for_worker(port):
    until = time.monotonic() + READY_SECONDS
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while time.monotonic() < until:
        if ground.send_raw(port, request).status == 200:
            return
        time.sleep(0.05)
    raise SystemExit("the worker did not get ready")


def h2spec(port, *more):
    """What failed, and how many passed."""
    command = [sys.argv[1], "-h", "localhost", "-p", str(port), "--strict", *more]
    said = subprocess.run(command, capture_output=True, timeout=300, check=False).stdout.decode(errors="replace")
    summary = re.search(r"^\d+ tests, (\d+) passed, \d+ skipped, \d+ failed$", said, re.M)
    if not summary:
        raise SystemExit(f"h2spec ended without a summary:\n{said[-2000:]}")
    failures = said.partition("Failures:")[2]
    return re.findall(r"× \d+: (.*)", failures), int(summary[1]), failures


wrong = 0
with ground.Tollgate(CONFIG) as tollgate:
    wait_for_worker(tollgate.http)
    refused = ground.send_raw(tollgate.http, INVALID_PREFACE)
    is_refused = refused.status == 400 and refused.closed
    for way, port, more in (("plain", tollgate.http, ()), ("TLS", tollgate.https, ("--tls", "--insecure"))):
        failed, passed, told = h2spec(port, *more)
        justified = [case for case in failed if way == "plain" and is_refused and case == OF_TWO_PROTOCOLS]
        good = len(failed) == len(justified) and passed + len(justified) == CASES
        wrong += not good
        print(f"h2spec, {way}: {passed} of {CASES} passed, {len(justified)} failed with reason", "" if good else told)
sys.exit(bool(wrong))
