#!/usr/bin/env python3
"""h1spec through tollgate. Usage: h1spec.py CHECKOUT DENO (the checkout of uNetworking/h1spec, the deno program)."""

import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
import ground

if len(sys.argv) != 3 or not pathlib.Path(sys.argv[1], "http_test.ts").exists():
    ground.absent("h1spec", "usage: h1spec.py CHECKOUT DENO")

origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
    command = [sys.argv[2], "run", "--no-remote", "--no-check", "--allow-net=127.0.0.1", "http_test.ts", "127.0.0.1"]
    ended = subprocess.run([*command, str(tollgate.http)], cwd=sys.argv[1], timeout=60, check=False)
sys.exit(ended.returncode)
