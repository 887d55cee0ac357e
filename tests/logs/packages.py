"""What the scripts beside this install for themselves: packages of npm, and of Debian what it does not let be installed beside others.
They are kept in the folder of `--peers`, each version in a folder of its own."""

import contextlib
import fcntl
import pathlib
import shutil
import signal
import subprocess

SYSLOG_NG = ["syslog-ng-core", "syslog-ng-mod-http", "libivykis0", "libnet1", "libwrap0"]


def kept(stage, name, make):
    """The folder that `make(folder)` fills once; None when it cannot. The time for that does not count."""
    stage.peers.mkdir(parents=True, exist_ok=True)
    folder = stage.peers / name.replace("/", "_")
    left = signal.alarm(0)
    with open(stage.peers / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                make(folder)
                (folder / "complete").touch()
    signal.alarm(left)
    return folder if (folder / "complete").exists() else None


def npm(stage, package):
    """The package, as NAME@VERSION, is found by scripts in the stage's folder. False without npm."""
    def install(folder):
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, package]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    folder = kept(stage, package, install)
    if folder:
        (stage.folder / "node_modules").symlink_to(folder / "node_modules")
    return folder is not None


class SyslogNg:
    """Debian installs it only in the place of rsyslog: it is unpacked."""

    def __init__(self, stage):
        self.program, self.environment, self.arguments = shutil.which("syslog-ng"), {}, []
        root = None if self.program else kept(stage, f"syslog-ng-{debian()}", unpack)
        if root:
            libraries = root / "usr/lib/syslog-ng"
            places = [libraries, *root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
            self.program, self.environment = root / "usr/sbin/syslog-ng", {"LD_LIBRARY_PATH": ":".join(map(str, places))}
            self.arguments = [f"--module-path={path.parent}" for path in libraries.glob("*/libafsocket.so")]

    def start(self, stage, name, text):
        config = stage.write(f"{name}.conf", f"@version: 3.38\noptions {{ keep-hostname(yes); time-reopen(1); stats-freq(0); }};\n{text}")
        argv = [self.program, "-F", "--no-caps", "-f", config, *self.arguments]
        argv += [f"--{what}={stage.folder}/{name}.{what}" for what in ("persist-file", "pidfile", "control")]
        return stage.run(name, argv, self.environment)


def debian():
    with contextlib.suppress(OSError):
        return pathlib.Path("/etc/debian_version").read_text().strip()
    return "none"


def unpack(folder):
    debs = folder / "debs"
    debs.mkdir()
    download = ["apt-get", "download", "-qq", *SYSLOG_NG]
    if subprocess.run(download, cwd=debs, capture_output=True, timeout=120).returncode:
        # A fresh machine does not know yet what there is.
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True, timeout=120)
        subprocess.run(download, cwd=debs, check=True, capture_output=True, timeout=120)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", deb, folder], check=True)
    shutil.rmtree(debs)


class Rsyslog:
    def __init__(self):
        self.program = shutil.which("rsyslogd") or shutil.which("/usr/sbin/rsyslogd")

    def has(self, module):
        return bool(self.program) and any(pathlib.Path("/usr/lib").glob(f"**/rsyslog/{module}.so"))

    def start(self, stage, name, text):
        work = stage.folder / f"{name}.work"
        work.mkdir(exist_ok=True)
        config = stage.write(f"{name}.conf", f'global(workDirectory="{work}" {text}')
        return stage.run(name, [self.program, "-n", "-f", config, "-i", stage.folder / f"{name}.pid"])
