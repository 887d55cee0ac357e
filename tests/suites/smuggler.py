#!/usr/bin/env python3
"""The tool smuggler.py (defparam) against tollgate, plain and TLS. Usage: smuggler.py CHECKOUT [default.py exhaustive.py ...]"""

import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import ground

if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1], "smuggler.py").exists():
    ground.absent("smuggler", "usage: smuggler.py CHECKOUT [CONFIG...]")

checkout, lists = sys.argv[1], sys.argv[2:] or ["default.py", "exhaustive.py"]
findings = 0
origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
    for url in (f"http://127.0.0.1:{tollgate.http}/", f"https://localhost:{tollgate.https}/"):
        for name in lists:
            command = [sys.executable, "smuggler.py", "-u", url, "-t", "2", "--no-color", "-c", name]
            said = subprocess.run(command, cwd=checkout, capture_output=True, timeout=1500, check=False).stdout
            text = said.decode(errors="replace").replace("\r", "\n")
            found = re.findall(r".*(?:Issue Found|CRITICAL).*", text)
            # Each mutation ends in exactly one of these words.
            ends = {word: text.count(word) for word in ("OK (", "DISCONNECTED", "SOCKET ERROR", "TIMEOUT ON BOTH")}
            print(f"{url} {name}: {len(found)} findings; {ends}", *found, sep="\n  ")
            findings += len(found)
for raw in origin.connections:
    ground.judge(raw)
print(f"smuggler: {findings} findings, {len(origin.connections)} clean upstream connections")
sys.exit(bool(findings))
