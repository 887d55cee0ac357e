#!/usr/bin/env python3
"""Syslog with the programs that people have: rsyslog and syslog-ng as senders to a log service and as receivers of a
tollgate, over TCP and TLS, each killed and started again in the middle.

    syslog.py --tollgate PROGRAM [--peers FOLDER]

Needs rsyslogd with its TLS drivers (Debian: rsyslog rsyslog-gnutls), openssl, and syslog-ng. Debian lets only one of the two be
installed: the packages of syslog-ng are unpacked (`apt-get download`, `dpkg -x`) when it is not here and no FOLDER has them."""

import collections
import json
import signal
import socket
import sys
import time

from packages import Rsyslog, SyslogNg
from stage import Proxy, Service, Stage, absent, comes, free_port, listens, until

HALF = 400


def send(port, numbers, tag):
    """Messages of a program, into the syslog daemon of its machine."""
    with socket.create_connection(("127.0.0.1", port)) as out:
        for number in numbers:
            text = f'<{128 + number % 8}>1 2026-01-02T03:04:05.{number:06}Z web-1 {tag} 17 ID{number} [a@32473 n="{number}"] message {number} "quoted" ä'
            out.sendall(f"{len(text.encode())} {text}".encode())
            if number % 20 == 0:
                time.sleep(0.01)


def input_of(name, port, tls):
    text = f'[log.input.{name}]\ntype = "syslog"\nlisten = "127.0.0.1:{port}"\n'
    if tls:
        ca, cert, key = tls
        text += f'cert = "{cert}"\nkey = "{key}"\nclient_ca = "{ca}"\n'
    return text


def rsyslog_sender(rsyslog, stage, name, inlet, port, framing, tls):
    driver = ""
    front = 'maxMessageSize="64k")'
    if tls:
        ca, cert, key = tls
        front = f'maxMessageSize="64k" defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")'
        driver = 'StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost"'
    return rsyslog.start(stage, name, f'''{front}
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="{inlet}" ruleset="out")
ruleset(name="out") {{
  action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="{framing}" template="RSYSLOG_SyslogProtocol23Format"
    action.resumeRetryCount="-1" action.resumeInterval="1" queue.type="LinkedList" queue.size="10000" {driver})
}}
''')


def syslog_ng_sender(syslog_ng, stage, name, inlet, port, framing, tls):
    transport = 'transport("tcp")'
    if tls:
        ca, cert, key = tls
        transport = f'transport("tls") tls(ca-file("{ca}") cert-file("{cert}") key-file("{key}") peer-verify(required-trusted))'
    driver = "syslog" if framing == "octet-counted" else "network"
    flags = "" if driver == "syslog" else "flags(syslog-protocol)"
    return syslog_ng.start(stage, name, f'''
source in {{ syslog(ip("127.0.0.1") port({inlet}) transport("tcp")); }};
destination out {{ {driver}("127.0.0.1" port({port}) {transport} {flags}); }};
log {{ source(in); destination(out); flags(flow-control); }};
''')


def senders(stage, rsyslog, syslog_ng, tls):
    """Each sends, the service is stopped and started in the middle, each is killed and started again."""
    cases = [
        ("rsyslog-counts", rsyslog_sender, rsyslog, "octet-counted", None),
        ("rsyslog-lines", rsyslog_sender, rsyslog, "traditional", None),
        ("rsyslog-tls", rsyslog_sender, rsyslog, "octet-counted", tls),
        ("syslog-ng-counts", syslog_ng_sender, syslog_ng, "octet-counted", None),
        ("syslog-ng-lines", syslog_ng_sender, syslog_ng, "traditional", None),
        ("syslog-ng-tls", syslog_ng_sender, syslog_ng, "octet-counted", tls),
    ]
    ports = {case[0]: free_port() for case in cases}
    inlets = {case[0]: free_port() for case in cases}
    service = Service(stage, "".join(input_of(case[0], ports[case[0]], case[4]) for case in cases))
    service.start()
    peers = {}
    for name, starter, program, framing, secured in cases:
        peers[name] = starter(program, stage, name, inlets[name], ports[name], framing, secured)
    for name in peers:
        until(f"the inlet of {name}", lambda: listens(inlets[name]))

    def numbers():
        """What is stored, by sender."""
        found = {name: [] for name in peers}
        for name in found:
            found[name] = [int(row["sd.a@32473.n"]) for row in service.rows(f"app:{name}")]
        return found

    def all_there(first, last, patience=20):
        end = time.monotonic() + patience
        while True:
            found = numbers()
            lost = {name: sorted(set(range(first, last)) - set(found[name])) for name in peers}
            if not any(lost.values()) or time.monotonic() > end:
                return found, lost
            time.sleep(0.3)

    for name in peers:
        send(inlets[name], range(HALF), name)
    found, lost = all_there(0, HALF)
    for name in peers:
        double = len(found[name]) - len(set(found[name]))
        stage.check(f"{name}: all {HALF} messages are stored once", not lost[name] and not double, f"{len(found[name])} stored")
    row = next((row for row in service.rows("app:rsyslog-counts") if row["sd.a@32473.n"] == "7"), {})
    as_sent = {"level": "debug", "severity": 7, "facility": "local0", "hostname": "web-1", "procid": 17, "msgid": "ID7",
               "ts": "2026-01-02T03:04:05.000007Z", "msg": 'message 7 "quoted" ä'}
    stage.check("each part of a message has its field", as_sent.items() <= row.items(), {k: row.get(k) for k in as_sent if row.get(k) != as_sent[k]})

    # The service is stopped in order while messages come, and started again.
    for name in peers:
        send(inlets[name], range(HALF, HALF + 50), name)
    service.stop()
    for name in peers:
        send(inlets[name], range(HALF + 50, 2 * HALF), name)
    service.start()
    found, lost = all_there(HALF, 2 * HALF)
    for name in peers:
        # Who does not look learns with the next write but one that a connection is closed: what it has written is lost.
        # Over TLS neither looks, and rsyslog writes several messages at once.
        most = 40 if name.endswith("-tls") else 2
        stage.check(f"{name}: after a stop and a start of the service it goes on", len(lost[name]) <= most, f"{len(lost[name])} lost of {HALF}")

    # kill -9: what this process has read and not stored is lost, as syslog has no answer. The sender must go on by itself.
    service.kill()
    service.start()
    for name in peers:
        send(inlets[name], range(2 * HALF, 3 * HALF), name)
    found, lost = all_there(2 * HALF, 3 * HALF)
    for name in peers:
        most = 40 if name.endswith("-tls") else 2
        stage.check(f"{name}: after kill -9 of the service it goes on", len(lost[name]) <= most, f"{len(lost[name])} lost of {HALF}")

    # The senders are killed and started again.
    for name, starter, program, framing, secured in cases:
        peers[name].kill()
        peers[name].wait()
        peers[name] = starter(program, stage, name, inlets[name], ports[name], framing, secured)
        until(f"the inlet of {name}", lambda: listens(inlets[name]))
        send(inlets[name], range(3 * HALF, 4 * HALF), name)
    found, lost = all_there(3 * HALF, 4 * HALF)
    for name in peers:
        stage.check(f"{name}: killed and started again, it is taken again", not lost[name], f"{len(lost[name])} lost")
    stage.check("nothing was refused", service.status()["rejected"] == 0, service.status()["rejected"])
    for name in peers:
        peers[name].kill()
    service.stop()


def rsyslog_receiver(rsyslog, stage, name, port, out, tls):
    front, driver = 'maxMessageSize="8k")', ""
    if tls:
        ca, cert, key = tls
        front = f'maxMessageSize="8k" defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")'
        driver = 'StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid"'
    return rsyslog.start(stage, name, f'''{front}
module(load="imtcp" {driver})
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="in")
template(name="line" type="string" string="%syslogfacility-text%.%syslogseverity-text% %app-name% %msgid% %structured-data% %msg%\\n")
ruleset(name="in") {{ action(type="omfile" file="{out}" template="line" asyncWriting="off" flushOnTXEnd="on") }}
''')


def syslog_ng_receiver(syslog_ng, stage, name, port, out, tls):
    transport = 'transport("tcp")'
    if tls:
        ca, cert, key = tls
        transport = f'transport("tls") tls(ca-file("{ca}") cert-file("{cert}") key-file("{key}") peer-verify(required-trusted))'
    return syslog_ng.start(stage, name, f'''
source in {{ syslog(ip("127.0.0.1") port({port}) {transport} flags(no-multi-line)); }};
destination out {{ file("{out}" template("$FACILITY.$LEVEL $PROGRAM $MSGID $SDATA $MSG\\n") flush-lines(1)); }};
log {{ source(in); destination(out); flags(flow-control); }};
''')


def receivers(stage, rsyslog, syslog_ng, tls):
    """A proxy writes to all of them; each is killed in the middle, while records come, and started again later."""
    cases = [
        ("to-rsyslog", rsyslog_receiver, rsyslog, None),
        ("to-rsyslog-tls", rsyslog_receiver, rsyslog, tls),
        ("to-syslog-ng", syslog_ng_receiver, syslog_ng, None),
        ("to-syslog-ng-tls", syslog_ng_receiver, syslog_ng, tls),
    ]
    ports = {case[0]: free_port() for case in cases}
    outs = {case[0]: stage.folder / f"{case[0]}.out" for case in cases}
    sinks = ""
    for name, _, _, secured in cases:
        scheme = "tls" if secured else "tcp"
        sinks += f'[log.sink.{name}]\ntype = "syslog"\nto = "{scheme}://localhost:{ports[name]}"\nfacility = "local3"\ntag = "edge"\nretry_max = "1s"\n'
        if secured:
            sinks += f'ca = "{secured[0]}"\ncert = "{secured[1]}"\nkey = "{secured[2]}"\n'
    proxy = Proxy(stage, sinks)
    proxy.start()
    # Nobody is there yet: everything waits.
    proxy.ask(f"/early/{number}" for number in range(50))
    peers = {}

    def start(name, starter, program, secured):
        peers[name] = starter(program, stage, name, ports[name], outs[name], secured)
        until(name, lambda: listens(ports[name]))

    for case in cases:
        start(*case)

    def paths(name, front):
        """How often each path came whole."""
        found = collections.Counter()
        for line in outs[name].read_text(errors="replace").splitlines() if outs[name].exists() else []:
            begin = line.find("{")
            try:
                path = json.loads(line[begin:]).get("path", "")
            except ValueError:
                continue
            if path.startswith(front):
                found[path] += 1
        return found

    def arrive(front, count, patience=25):
        comes(lambda: all(len(paths(name, front)) >= count for name in peers), patience)
        return {name: paths(name, front) for name in peers}

    for name, found in arrive("/early/", 50).items():
        stage.check(f"{name}: what waited for it arrives once", len(found) == 50 and found.total() == 50, f"{len(found)} paths, {found.total()} lines")
    for name in peers:
        line = next((line for line in outs[name].read_text().splitlines() if "/early/7" in line), "")
        front = "local3.info edge access "
        stage.check(f"{name}: facility, severity, app, msgid and structured data are read", line.startswith(front) and "tollgate@32473" in line, line[:70])
    long = "/long/" + "x" * 6000
    proxy.ask([long + "?" + "y" * 6000])
    for name, found in arrive("/long/", 1).items():
        stage.check(f"{name}: a record longer than 8 KiB arrives as a whole object that says what was cut", len(found) == 1, f"{len(found)}")

    total = 3000
    asking = proxy.asking([f"/kill/{number}" for number in range(total)], 0.002)
    for how in (signal.SIGKILL, signal.SIGTERM):
        time.sleep(0.4)
        for case in cases:
            peers[case[0]].send_signal(how)
            peers[case[0]].wait()
        time.sleep(0.5)
        for case in cases:
            start(*case)
    is_loaded = not asking.done()
    asking.result()
    for name, found in arrive("/kill/", total).items():
        stage.check(f"{name}: killed and stopped while records come, nothing is lost", len(found) == total, f"{total - len(found)} lost, {found.total() - len(found)} twice, of {total}")
    stage.check("records came all the while", is_loaded)
    proxy.stop()


def main():
    with Stage(__doc__) as stage:
        rsyslog, syslog_ng = Rsyslog(), SyslogNg(stage)
        if not rsyslog.has("lmnsd_gtls"):
            absent("rsyslog", "it is not here with TLS (Debian: rsyslog, rsyslog-gnutls)")
        if not syslog_ng.program:
            absent("syslog-ng", "it is not here and cannot be downloaded")
        tls = stage.certificates()
        receivers(stage, rsyslog, syslog_ng, tls)
        senders(stage, rsyslog, syslog_ng, tls)
        return stage.end()


if __name__ == "__main__":
    sys.exit(main())
