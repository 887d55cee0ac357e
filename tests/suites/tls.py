#!/usr/bin/env python3
"""sslyze against Mozilla's intermediate profile, and testssl.sh where it is installed. Usage: tls.py SSLYZE

The certificate comes from the local authority, which no public profile knows; sslyze says so, and that line alone is
not held against us.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import ground

if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).exists():
    ground.absent("sslyze", "usage: tls.py SSLYZE")

# Of testssl's findings: what follows from a certificate of a local authority, and what HTTP fields a site chooses.
OF_THE_CERTIFICATE = re.compile(r"cert|OCSP|CRL|CAA|DNS_|overall_grade|grade|HSTS|HPKP|security_headers|banner|cookie|scanTime|chain|trust", re.I)

failed = 0
origin = ground.Origin()
with ground.Tollgate(ground.proxy_to(origin.port)) as tollgate:
    target = f"localhost:{tollgate.https}"
    authority = str(tollgate.authority())
    for profile in ("intermediate", "modern"):
        command = [sys.argv[1], "--mozilla_config", profile, "--certinfo", "--certinfo_ca_file", authority, target]
        said = subprocess.run(command, capture_output=True, timeout=300, check=False).stdout.decode(errors="replace")
        verdict = said[said.rfind("COMPLIANCE AGAINST TLS CONFIGURATION") :]
        faults = [line.strip() for line in verdict.splitlines() if line.strip().startswith("*")]
        ours = [line for line in faults if "ertificate" not in line]
        print(f"sslyze, Mozilla {profile}: {len(ours)} faults", verdict.strip(), sep="\n")
        failed += bool(ours) and profile == "intermediate"
    if not shutil.which("testssl"):
        print("testssl.sh is not installed: not run")
    else:
        report = tollgate.dir / "testssl.json"
        command = ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--jsonfile", str(report), target]
        subprocess.run(command, capture_output=True, timeout=900, check=False)
        found = [f for f in json.loads(report.read_text()) if f["severity"] in ("MEDIUM", "HIGH", "CRITICAL")]
        ours = [f for f in found if not OF_THE_CERTIFICATE.search(f["id"])]
        print(f"testssl: {len(ours)} findings of medium or more")
        for finding in found:
            print(f"  {'OURS' if finding in ours else 'certificate'} {finding['severity']} {finding['id']}: {finding['finding']}")
        failed += len(ours)
sys.exit(bool(failed))
