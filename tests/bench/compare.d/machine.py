"""What the figures were measured on."""

import os
import platform
import re
import shutil
import subprocess


def facts(tollgate):
    """Machine and versions, in the order in which they are printed; an absent program is None."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "tollgate": version([tollgate, "version"] if tollgate else None, r"(\d+\.\d+\.\d+\S*)"),
        "nginx": version(["nginx", "-v"], r"nginx/(\S+)"),
        "haproxy": version(["haproxy", "-v"], r"version (\S+)"),
        "wrk": version(["wrk", "-v"], r"wrk \S*?(\d+\.\d+\.\d+)"),
        "h2load": version(["h2load", "--version"], r"nghttp2/(\S+)"),
        "openssl": version(["openssl", "version"], r"OpenSSL (\S+)"),
        "python": platform.python_version(),
    }


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        found = re.search(r"^model name\s*:\s*(.+)$", info.read(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def version(argv, pattern):
    if argv is None or shutil.which(argv[0]) is None:
        return None
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"
