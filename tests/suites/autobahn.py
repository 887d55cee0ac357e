#!/usr/bin/env python3
"""Autobahn's fuzzing client, straight to an echo server and through tollgate: the verdicts have to be the same.

Usage: autobahn.py CHECKOUT CLIENT_PYTHON ECHO_PYTHON

CHECKOUT holds `autobahntestsuite` (the py3 branch of asodeur/autobahn-testsuite); CLIENT_PYTHON has what that needs
(autobahn 18.4.1, twisted 22.10, future, jinja2, markupsafe, klein, pyopenssl), ECHO_PYTHON has `websockets`.
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import ground

if len(sys.argv) != 4 or not pathlib.Path(sys.argv[1], "autobahntestsuite/autobahntestsuite").exists():
    ground.absent("Autobahn", "usage: autobahn.py CHECKOUT CLIENT_PYTHON ECHO_PYTHON")

ROUNDS = 4
ECHO = """
import asyncio, websockets
async def echo(link):
    async for message in link:
        await link.send(message)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, compression=None, max_size=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.sleep(1200)
asyncio.run(main())
"""

# The branch is half way from Python 2: its reports hold bytes.
CLIENT = """
import json, sys
dumps = json.dumps
json.dumps = lambda *a, **k: dumps(*a, **{**k, "default": lambda o: o.decode("latin-1") if isinstance(o, bytes) else str(o)})
from autobahntestsuite import wstest
wstest.run()
"""


def verdicts(agent, url, folder):
    spec = folder / f"{agent}.json"
    reports = folder / agent
    servers = [{"agent": agent, "url": url}]
    spec.write_text(json.dumps({
        "outdir": str(reports), "servers": servers, "cases": ["*"], "exclude-cases": ["9.*", "12.*", "13.*"], "exclude-agent-cases": {},
    }))
    command = [sys.argv[2], "-W", "ignore", "-c", CLIENT, "-m", "fuzzingclient", "-s", str(spec)]
    ended = subprocess.run(command, cwd=pathlib.Path(sys.argv[1], "autobahntestsuite"), capture_output=True, timeout=600, check=False)
    index = reports / "index.json"
    if not index.exists():
        raise SystemExit(ended.stderr.decode(errors="replace")[-3000:] + ended.stdout.decode(errors="replace")[-3000:])
    results = next(iter(json.loads(index.read_text()).values()))
    return {case: (found["behavior"], found["behaviorClose"]) for case, found in results.items()}


with tempfile.TemporaryDirectory() as folder, subprocess.Popen([sys.argv[3], "-c", ECHO], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as echo:
    folder = pathlib.Path(folder)
    port = int(echo.stdout.readline())
    with ground.Tollgate(ground.proxy_to(port)) as tollgate:
        # Several times: whether a frame arrives before or behind a close is a matter of timing even there.
        rounds = [verdicts(f"direct{number}", f"ws://127.0.0.1:{port}", folder) for number in range(ROUNDS)]
        ways = {
            "plain": verdicts("plain", f"ws://127.0.0.1:{tollgate.http}", folder),
            "TLS": verdicts("tls", f"wss://localhost:{tollgate.https}", folder),
        }
    echo.terminate()

failed = 0
direct = {case: {found[case] for found in rounds} for case in rounds[0]}
unsteady = [case for case, seen in direct.items() if len(seen) > 1]
print(f"direct: {len(direct)} cases, {dict(collections.Counter(b for b, _ in rounds[0].values()))}, unsteady: {unsteady}")
for way, found in ways.items():
    others = {case: (seen, found.get(case)) for case, seen in direct.items() if found.get(case) not in seen}
    print(f"through tollgate, {way}: {len(found)} cases, {len(others)} other than direct")
    for case, (was, now) in others.items():
        print(f"  {case}: direct {was}, through tollgate {now}")
    failed += len(others)
sys.exit(bool(failed))
