#!/usr/bin/env python3
"""Real shippers and clients of Elasticsearch against the log service's `_bulk`, which is killed in the middle: rsyslog,
syslog-ng, and where they are installed the Python clients `elasticsearch` and `opensearch-py` and the JavaScript one.

    bulk.py --tollgate PROGRAM [--node FOLDER] [--syslog-ng FOLDER]

`--node` is a folder with `node_modules/@elastic/elasticsearch`, `--syslog-ng` one into which its packages were unpacked. Exits 1
when a promise is broken, 77 when none of the peers is there."""

import argparse
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import serving
from serving import count, require, wait_for

ROWS = 3000
TOKEN = "secret-of-shippers"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True)
    parser.add_argument("--node", type=pathlib.Path)
    parser.add_argument("--syslog-ng", type=pathlib.Path)
    parser.add_argument("--only", help="one of the peers")
    arguments = parser.parse_args()
    peers = [
        ("rsyslog", lambda: rsyslog(arguments.tollgate), has_rsyslog()),
        ("syslog-ng", lambda: syslog_ng(arguments.tollgate, arguments.syslog_ng), has_syslog_ng(arguments.syslog_ng)),
        ("python elasticsearch", lambda: python(arguments.tollgate, "elasticsearch"), has_module("elasticsearch")),
        ("python opensearch", lambda: python(arguments.tollgate, "opensearchpy"), has_module("opensearchpy")),
        ("node elasticsearch", lambda: node(arguments.tollgate, arguments.node), has_node(arguments.node)),
    ]
    peers = [peer for peer in peers if arguments.only in (None, peer[0])]
    present = [name for name, _, is_there in peers if is_there]
    for name, proof, is_there in peers:
        if is_there:
            began = time.monotonic()
            proof()
            print(f"-- {name}: {time.monotonic() - began:.1f} s")
        else:
            print(f"-- {name}: absent")
    if not present:
        serving.absent("no shipper and no client of Elasticsearch is there")


def has_module(name):
    return importlib.util.find_spec(name) is not None


def has_rsyslog():
    places = ["/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib/rsyslog"]
    return bool(shutil.which("rsyslogd")) and any(pathlib.Path(place, "omelasticsearch.so").exists() for place in places)


def has_syslog_ng(folder):
    return bool(shutil.which("syslog-ng")) or bool(folder and (folder / "usr/sbin/syslog-ng").exists())


def has_node(folder):
    return bool(shutil.which("node")) and bool(folder and (folder / "node_modules/@elastic/elasticsearch").is_dir())


def interrupted(service, enough):
    """Kills the service when it has stored some, and starts it again. To be joined: that fails when it never came to it."""
    return concurrent.futures.ThreadPoolExecutor(1).submit(interrupt, service, enough)


def interrupt(service, enough):
    wait_for("the first documents", lambda: service.status()["accepted"] >= enough, 30)
    service.kill()
    service.start()


def numbers(entries, duplicates_allowed, who):
    found, twice = count(entries, lambda entry: number(entry.get("message", "")))
    missing = set(range(ROWS)) - found
    require(f"{who}: nothing is lost over a kill", not missing, f"{ROWS - len(missing)} of {ROWS}", [] if found else entries[:2])
    require(f"{who}: duplicates only without _id", duplicates_allowed or twice == 0, f"{twice} duplicates")


def number(text):
    return int(text.split()[1]) if text.startswith("line ") else None


def send_lines(port, service):
    """Lines over TCP, slowly enough that the kill comes in the middle."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        for n in range(ROWS):
            stream.sendall(f"<134>1 2026-11-21T09:14:03.{n % 1000:03}Z host app - - - line {n}\n".encode())
            if n % 100 == 0:
                time.sleep(0.1)


RSYSLOG = """
global(workDirectory="{folder}")
module(load="imptcp")
module(load="omelasticsearch")
input(type="imptcp" port="{port}" address="127.0.0.1")
template(name="document" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
template(name="id" type="string" string="%msg%")
action(type="omelasticsearch" server="127.0.0.1" serverport="{to}" uid="shipper" pwd="{token}"
  template="document" searchIndex="syslog" searchType="" bulkmode="on" writeoperation="create" bulkid="id" dynbulkid="on"
  errorfile="{folder}/errors" retryfailures="off" healthchecktimeout="1000"
  queue.type="linkedlist" queue.size="10000" queue.dequeuebatchsize="200"
  action.resumeretrycount="-1" action.resumeinterval="1")
"""


def rsyslog(program):
    with serving.service(program, token=TOKEN) as service, tempfile.TemporaryDirectory() as folder:
        port = serving.free_port()
        config = pathlib.Path(folder, "rsyslog.conf")
        config.write_text(RSYSLOG.format(folder=folder, port=port, to=service.port, token=TOKEN))
        daemon = subprocess.Popen(["rsyslogd", "-n", "-f", config, "-i", f"{folder}/pid"], stderr=open(f"{folder}/log", "wb"))
        try:
            run_lines(service, daemon, port, folder)
            entries = service.entries()
            numbers(entries, False, "rsyslog")
            one = next(entry for entry in entries if entry.get("message") == "line 7")
            require("rsyslog: documents have the store's names", one["index"] == "syslog" and one["ts"].startswith("2026-11-21T09:14:03."), one)
            errors = pathlib.Path(folder, "errors")
            told = errors.read_text() if errors.exists() else ""
            refused = re.findall(r'"status": ?(\d+)', told)
            require("rsyslog: it saw no refused item but those stored before the kill", set(refused) <= {"201", "409"}, len(refused), told[:300])
        finally:
            end(daemon)


SYSLOG_NG = r"""
@version: 3.35
options {{ keep-hostname(yes); }};
source in {{ network(transport("tcp") ip("127.0.0.1") port({port}) flags(syslog-protocol)); }};
destination out {{
  http(url("http://127.0.0.1:{to}/_bulk") method("POST") user("shipper") password("{token}")
    headers("Content-Type: application/x-ndjson") batch-lines(100) batch-timeout(200) workers(1) time-reopen(1) retries(1000000)
    persist-name("out") body-suffix("\n") delimiter("\n")
    body("{{\"create\":{{\"_index\":\"syslog\",\"_id\":\"$UNIQID\"}}}}\n$(format-json --scope none @timestamp=$ISODATE message=$MESSAGE host=$HOST)")
    disk-buffer(dir("{folder}") mem-buf-length(10000) disk-buf-size(10000000) reliable(no)));
}};
options {{ use-uniqid(yes); }};
log {{ source(in); destination(out); flags(flow-control); }};
"""


def syslog_ng(program, root):
    with serving.service(program, token=TOKEN) as service, tempfile.TemporaryDirectory() as folder:
        port = serving.free_port()
        config = pathlib.Path(folder, "syslog-ng.conf")
        config.write_text(SYSLOG_NG.format(folder=folder, port=port, to=service.port, token=TOKEN))
        command, environment = ["syslog-ng"], dict(os.environ)
        if root:
            libraries = next((root / "usr/lib/syslog-ng").glob("3.*"))
            command = [root / "usr/sbin/syslog-ng", f"--module-path={libraries}"]
            folders = [libraries.parent, *root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")]
            environment["LD_LIBRARY_PATH"] = ":".join(map(str, folders))
        command += ["-F", "-f", config, "--no-caps"]
        for name in ("persist-file", "pidfile", "control"):
            command.append(f"--{name}={folder}/{name}")
        daemon = subprocess.Popen(command, env=environment, cwd=folder, stderr=open(f"{folder}/log", "wb"))
        try:
            run_lines(service, daemon, port, folder)
            numbers(service.entries(), False, "syslog-ng")
        finally:
            end(daemon)


def run_lines(service, daemon, port, folder):
    wait_for("the shipper", lambda: daemon.poll() is not None or serving.answers(port))
    if daemon.poll() is not None:
        sys.exit(f"the shipper ended at once: {pathlib.Path(folder, 'log').read_text()[-1000:]}")
    before = service.status()["accepted"]
    interruption = interrupted(service, before + ROWS // 10)
    send_lines(port, service)
    interruption.result()
    # What was stored before the kill is not counted any more, so the end is when nothing more comes.
    wait_for("the last line", lambda: settled(service))
    service.stop()


def settled(service):
    before = service.status()
    time.sleep(4)
    return before["accepted"] == service.status()["accepted"]


def python(program, name):
    with serving.service(program, token=TOKEN) as service:
        import importlib
        module, helpers = importlib.import_module(name), importlib.import_module(f"{name}.helpers")
        if name == "elasticsearch":
            client = module.Elasticsearch(service.url, basic_auth=("shipper", TOKEN), max_retries=20, retry_on_timeout=True)
        else:
            client = module.OpenSearch(service.url, http_auth=("shipper", TOKEN), http_compress=True, max_retries=20, retry_on_timeout=True)
        require(f"{name}: takes us for its server", client.info()["version"]["number"].startswith("8."))
        require(f"{name}: healthy", client.cluster.health()["status"] == "green")
        exists = client.indices.exists_index_template(name="app")
        require(f"{name}: no template", not exists)
        client.indices.put_index_template(name="app", body={"index_patterns": ["app*"]}) if name != "elasticsearch" else \
            client.indices.put_index_template(name="app", index_patterns=["app*"])
        refused = list(helpers.streaming_bulk(client, [
            {"_op_type": "create", "_index": "app", "_source": {"message": "fine"}},
            {"_op_type": "delete", "_index": "app", "_id": "1"},
        ], raise_on_error=False))
        require(f"{name}: a bad item is told, a good one stored", [ok for ok, _ in refused] == [True, False], refused[1][1])
        interruption = interrupted(service, 1 + ROWS // 10)
        left, rounds = list(range(ROWS)), 0
        while left and rounds < 200:
            rounds += 1
            left = send_some(client, helpers, left)
        interruption.result()
        require(f"{name}: all were taken in the end", not left, f"{rounds} rounds")
        service.stop()
        numbers(service.entries(), False, name)


def send_some(client, helpers, left):
    """Sends in batches; what was not answered is sent again."""
    still = []
    for at in range(0, len(left), 50):
        batch = left[at:at + 50]
        actions = [{"_op_type": "create", "_index": "app", "_id": f"n{n}", "message": f"line {n}"} for n in batch]
        try:
            told = list(helpers.streaming_bulk(client, actions, raise_on_error=False, max_retries=0))
        except Exception:
            still += batch
            time.sleep(0.1)
            continue
        answers = [next(iter(item.values())) for _, item in told]
        still += [n for n, answer in zip(batch, answers) if answer["status"] not in (201, 409)]
        time.sleep(0.01)
    return still


NODE = """
import { Client } from '@elastic/elasticsearch'
const [url, password, rows] = process.argv.slice(2)
const client = new Client({ node: url, auth: { username: 'shipper', password }, compression: true, maxRetries: 50, requestTimeout: 5000 })
console.error((await client.info()).tagline)
const pause = (ms) => new Promise((done) => setTimeout(done, ms))
async function* documents () { for (let n = 0; n < Number(rows); n++) { if (n % 100 === 0) await pause(20); yield { n, message: `line ${n}` } } }
const result = await client.helpers.bulk({
  datasource: documents(), retries: 50, wait: 100, flushBytes: 5000, concurrency: 2,
  onDocument: (one) => ({ create: { _index: 'app', _id: `n${one.n}` } }),
  onDrop: (dropped) => { if (dropped.status !== 409) console.error(JSON.stringify(dropped)) }
})
console.log(JSON.stringify(result))
"""


def node(program, folder):
    with serving.service(program, token=TOKEN) as service:
        interruption = interrupted(service, ROWS // 10)
        script = folder / "proof.mjs"
        script.write_text(NODE)
        out = subprocess.run(["node", script, service.url, TOKEN, str(ROWS)], cwd=folder, capture_output=True, text=True, timeout=100)
        interruption.result()
        require("node: takes us for its server", "You Know, for Search" in out.stderr, out.stderr[-300:])
        result = json.loads(out.stdout.splitlines()[-1])
        require("node: its bulk helper got through", result["total"] == ROWS, result)
        service.stop()
        numbers(service.entries(), False, "node")


def end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
