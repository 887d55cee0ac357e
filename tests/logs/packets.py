#!/usr/bin/env python3
"""`¶` packets: a tollgate sends its records to the small services of the exercise that the protocol is from (Node, no answers), to
the one that a distributor names, which moves, and to our own log service (answers). Each is killed in the middle.

    packets.py --tollgate PROGRAM

Needs node."""

import collections
import json
import pathlib
import shutil
import signal
import sys
import time

from stage import Proxy, Service, Stage, absent, comes, free_port, listens, one_input, one_sink, until

SERVICES = pathlib.Path(__file__).with_name("packets.js")
TOTAL = 2000


def paths(file, front):
    found = collections.Counter()
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            path = json.loads(line).get("path", "")
        except ValueError:
            continue
        if path.startswith(front):
            found[path] += 1
    return found


def arrive(count, look):
    comes(lambda: len(look()) >= count)
    return look()


def silent(stage):
    """A service that says nothing, and a record that is longer than it takes."""
    port, out = free_port(), stage.folder / "silent.out"
    proxy = Proxy(stage, one_sink("packets", f"tcp://127.0.0.1:{port}", retry_max="1s"), "silent")
    proxy.start()

    def start():
        node = stage.run("silent-logs", ["node", SERVICES, "logs", port, out])
        until("the service", lambda: listens(port))
        return node

    node = start()
    proxy.ask(["/plain/1", "/long/" + "x" * 9000 + "?" + "%C3%A9" * 3000])
    found = arrive(1, lambda: paths(out, "/plain/"))
    stage.check("a service without answers gets a record", found.total() == 1, dict(found))
    longs = arrive(1, lambda: paths(out, "/long/"))
    row = next((json.loads(line) for line in out.read_text().splitlines() if '"/long/' in line), {})
    stage.check("a record longer than 16 kB arrives shortened and says so", longs.total() == 1 and row.get("cut"), row.get("cut"))
    asking = proxy.asking([f"/kill/{number}" for number in range(TOTAL)], 0.002)
    for how in (signal.SIGKILL, signal.SIGTERM):
        time.sleep(0.4)
        node.send_signal(how)
        node.wait()
        time.sleep(0.5)
        node = start()
    asking.result()
    found = arrive(TOTAL, lambda: paths(out, "/kill/"))
    stage.check("killed and stopped while records come, nothing is lost", len(found) == TOTAL, f"{TOTAL - len(found)} lost, {found.total() - len(found)} twice, of {TOTAL}")
    proxy.stop()
    node.kill()


def moving(stage):
    """A distributor names the service; the service moves, and the distributor dies for a while."""
    far, outs = free_port(), [stage.folder / "first.out", stage.folder / "second.out"]
    proxy = Proxy(stage, one_sink("packets", f"tcp://127.0.0.1:{far}", distributor=True, retry_max="1s"), "moving")
    proxy.start()
    proxy.ask(f"/early/{number}" for number in range(20))
    distributor = stage.run("distributor", ["node", SERVICES, "distributor", far])
    until("the distributor", lambda: listens(far))
    ports = [free_port(), free_port()]
    nodes = [stage.run("first", ["node", SERVICES, "logs", ports[0], outs[0], far])]
    found = arrive(20, lambda: paths(outs[0], "/early/"))
    stage.check("what waited for a distributor and a service arrives where the distributor says", len(found) == 20, f"{len(found)}")
    asking = proxy.asking([f"/move/{number}" for number in range(TOTAL)], 0.002)
    time.sleep(0.5)
    nodes[0].kill()
    nodes[0].wait()
    time.sleep(0.5)
    nodes.append(stage.run("second", ["node", SERVICES, "logs", ports[1], outs[1], far]))
    asking.result()
    both = lambda front: paths(outs[0], front) + paths(outs[1], front)
    found = arrive(TOTAL, lambda: both("/move/"))
    stage.check("it follows the service to its new place, nothing is lost", len(found) == TOTAL and paths(outs[1], "/move/"), f"{TOTAL - len(found)} lost, {found.total() - len(found)} twice")
    until("a record in the new place", lambda: paths(outs[1], "/move/"))
    distributor.kill()
    distributor.wait()
    proxy.ask(f"/without/{number}" for number in range(20))
    found = arrive(20, lambda: both("/without/"))
    stage.check("without the distributor it goes on where it was", len(found) == 20, f"{len(found)}")
    distributor = stage.run("distributor", ["node", SERVICES, "distributor", far])
    until("the distributor", lambda: listens(far))
    nodes[1].kill()
    nodes[1].wait()
    nodes.append(stage.run("first", ["node", SERVICES, "logs", ports[0], outs[0], far]))
    proxy.ask(f"/back/{number}" for number in range(20))
    found = arrive(20, lambda: both("/back/"))
    stage.check("the distributor killed and started again, it follows again", len(found) == 20, f"{len(found)}")
    proxy.stop()
    for node in [*nodes, distributor]:
        node.kill()


def answering(stage):
    """Our own log service: it answers for each record, and knows those that come twice."""
    text, port = one_input("packets", trusted=True)
    service = Service(stage, text)
    service.start()
    proxy = Proxy(stage, one_sink("packets", f"tcp://127.0.0.1:{port}", retry_max="1s"), "answering")
    proxy.start()
    asking = proxy.asking([f"/kill/{number}" for number in range(TOTAL)], 0.002)
    time.sleep(0.5)
    service.kill()
    time.sleep(0.5)
    service.start()
    asking.result()
    look = lambda: collections.Counter(row["path"] for row in service.rows("path:/kill/*"))
    found = arrive(TOTAL, look)
    stage.check("a log service killed while records come: nothing is lost, nothing is there twice", len(found) == TOTAL == found.total(), f"{TOTAL - len(found)} lost, {found.total() - len(found)} twice")
    proxy.stop()
    service.stop()


def main():
    if not shutil.which("node"):
        absent("node")
    with Stage(__doc__) as stage:
        silent(stage)
        moving(stage)
        answering(stage)
        return stage.end()


if __name__ == "__main__":
    sys.exit(main())
