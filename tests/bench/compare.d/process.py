"""Processes that this run started, and what the kernel says about them."""

import os
import signal
import socket
import subprocess
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something that the comparison needs did not work; the text says what."""


class Process:
    """A server in a session of its own, so that its children end with it and nobody else's do."""

    def __init__(self, name, argv, folder):
        self.name = name
        self.log_path = os.path.join(folder, f"{name}.stderr")
        self.stdout_path = os.path.join(folder, f"{name}.stdout")
        with open(self.log_path, "ab") as errors, open(self.stdout_path, "ab") as output:
            self.child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=folder, start_new_session=True
            )

    @property
    def pid(self):
        return self.child.pid

    def wait_until(self, ready, seconds=15.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failed(f"{self.name} ended with {self.child.returncode}: {self.last_words()}")
            if ready():
                return
            time.sleep(0.05)
        raise Failed(f"{self.name} is not ready after {seconds:.0f} s: {self.last_words()}")

    def last_words(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as errors:
            return " | ".join(errors.read().strip().splitlines()[-6:]) or "it said nothing"

    def stop(self):
        for sign, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.child.poll() is None:
                self.child.send_signal(sign)
                try:
                    self.child.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Usage:
    """CPU seconds of a process tree, cut in the proxy's own part and its log service's."""

    def __init__(self, user=0.0, system=0.0, log_service=0.0):
        self.user, self.system, self.log_service = user, system, log_service

    @property
    def proxy(self):
        return self.user + self.system

    @property
    def everything(self):
        return self.proxy + self.log_service


def cpu(pid):
    """User and system seconds so far of each process in the tree below `pid`."""
    return {member: times for member in tree(pid) if (times := cpu_of(member)) is not None}


def used_between(before, after):
    used = Usage()
    for pid, (user, system) in after.items():
        user_before, system_before = before.get(pid, (0.0, 0.0))
        if is_log_service(pid):
            used.log_service += user - user_before + system - system_before
        else:
            used.user += user - user_before
            used.system += system - system_before
    return used


def cpu_of(pid):
    fields = stat_fields(pid)
    return fields and (int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND)


def stat_fields(pid):
    """The fields behind the command name, which may itself hold spaces and brackets."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(pid):
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = stat_fields(name)
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        found.append(member)
        waiting.extend(children.get(member, ()))
    return found


def is_log_service(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            words = line.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"logs" in words and b"serve" in words


def resident_kib(pid):
    """Proportional set size of the tree, without a log service."""
    return sum(pss_kib(member) for member in tree(pid) if not is_log_service(member))


def pss_kib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
