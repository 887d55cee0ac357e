#!/usr/bin/env python3
"""Real shippers and clients of Elasticsearch against the log service's `_bulk`, which is killed in the middle: rsyslog, syslog-ng, the
Python clients `elasticsearch` and `opensearch-py` and the JavaScript one.

    bulk.py --tollgate PROGRAM [--peers FOLDER]"""

import importlib
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import time

from packages import Rsyslog, SyslogNg, npm
from stage import Service, Stage, beside, count, free_port, listens, one_input, until

ROWS = 3000
TOKEN = "secret-of-shippers"


def main():
    with Stage(__doc__) as stage:
        for peer, proof in (
            ("rsyslog", rsyslog), ("syslog-ng", syslog_ng), ("elasticsearch", python), ("opensearchpy", python),
            ("@elastic/elasticsearch@9.4.3", node),
        ):
            began = time.monotonic()
            proof(stage, peer)
            print(f"       {peer}: {time.monotonic() - began:.1f} s", flush=True)
        return stage.end()


def service_of(stage, peer):
    text, port = one_input("http", token=TOKEN)
    return Service(stage, text, f"service-{peer.split('/')[-1]}").start(), port


def numbers(stage, entries, who):
    found, twice = count(entries, lambda entry: number(entry.get("message", "")))
    missing = set(range(ROWS)) - found
    stage.check(f"{who}: nothing is lost over a kill", not missing, f"{ROWS - len(missing)} of {ROWS} {'' if found else entries[:2]}")
    stage.check(f"{who}: nothing is there twice, as each has its _id", twice == 0, f"{twice} duplicates")


def number(text):
    return int(text.split()[1]) if text.startswith("line ") else None


def send_lines(port):
    """Lines over TCP, slowly enough that the kill comes in the middle."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        for n in range(ROWS):
            stream.sendall(f"<134>1 2026-11-21T09:14:03.{n % 1000:03}Z host app - - - line {n}\n".encode())
            if n % 100 == 0:
                time.sleep(0.1)


RSYSLOG = """)
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


def rsyslog(stage, peer):
    daemon = Rsyslog()
    if not daemon.has("omelasticsearch"):
        return stage.skip("rsyslog", "it is not here with omelasticsearch (Debian: rsyslog, rsyslog-elasticsearch)")
    (service, to), port = service_of(stage, peer), free_port()
    text = RSYSLOG.format(folder=stage.folder, port=port, to=to, token=TOKEN)
    entries = run_lines(stage, service, daemon.start(stage, "rsyslog", text), "rsyslog", port)
    numbers(stage, entries, "rsyslog")
    one = next((entry for entry in entries if entry.get("message") == "line 7"), {})
    stage.check("rsyslog: documents have the store's names", one.get("index") == "syslog" and one["ts"].startswith("2026-11-21T09:14:03."), one)
    errors = stage.folder / "errors"
    told = errors.read_text() if errors.exists() else ""
    refused = re.findall(r'"status": ?(\d+)', told)
    stage.check("rsyslog: it saw no refused item but those stored before the kill", set(refused) <= {"201", "409"}, f"{len(refused)} {told[:300]}")


SYSLOG_NG = r"""
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


def syslog_ng(stage, peer):
    daemon = SyslogNg(stage)
    if not daemon.program:
        return stage.skip("syslog-ng", "it is not here and cannot be downloaded")
    (service, to), port = service_of(stage, peer), free_port()
    text = SYSLOG_NG.format(folder=stage.folder, port=port, to=to, token=TOKEN)
    numbers(stage, run_lines(stage, service, daemon.start(stage, "syslog-ng", text), "syslog-ng", port), "syslog-ng")


def run_lines(stage, service, shipper, name, port):
    """What is stored in the end."""
    stage.until_up(name, shipper, lambda: listens(port))
    killed = beside(service.kill_and_start, ROWS // 10)
    send_lines(port)
    killed.result()
    # What was stored before the kill is not counted any more, so the end is when nothing more comes.
    until("the last line", lambda: settled(service))
    service.stop()
    shipper.terminate()
    shipper.wait(20)
    return service.exported()


def settled(service):
    before = service.status()
    time.sleep(4)
    return before["accepted"] == service.status()["accepted"]


def python(stage, name):
    if importlib.util.find_spec(name) is None:
        return stage.skip(name, "PyPI's package is not here")
    module, bulk = importlib.import_module(name), importlib.import_module(f"{name}.helpers")
    service, port = service_of(stage, name)
    url, login, patience = f"http://127.0.0.1:{port}", ("shipper", TOKEN), {"max_retries": 20, "retry_on_timeout": True}
    if name == "elasticsearch":
        client = module.Elasticsearch(url, basic_auth=login, **patience)
        template = {"index_patterns": ["app*"]}
    else:
        client = module.OpenSearch(url, http_auth=login, http_compress=True, **patience)
        template = {"body": {"index_patterns": ["app*"]}}
    version = client.info()["version"]["number"]
    stage.check(f"{name}: takes us for its server", version.startswith("8."), f"client {module.__versionstr__}")
    stage.check(f"{name}: healthy", client.cluster.health()["status"] == "green")
    stage.check(f"{name}: no template", not client.indices.exists_index_template(name="app"))
    client.indices.put_index_template(name="app", **template)
    refused = list(bulk.streaming_bulk(client, [
        {"_op_type": "create", "_index": "app", "_source": {"message": "fine"}},
        {"_op_type": "delete", "_index": "app", "_id": "1"},
    ], raise_on_error=False))
    stage.check(f"{name}: a bad item is told, a good one stored", [ok for ok, _ in refused] == [True, False], refused[1][1])
    killed = beside(service.kill_and_start, 1 + ROWS // 10)
    left, rounds = list(range(ROWS)), 0
    while left and rounds < 200:
        rounds += 1
        left = send_some(client, bulk, left)
    killed.result()
    stage.check(f"{name}: all were taken in the end", not left, f"{rounds} rounds")
    service.stop()
    numbers(stage, service.exported(), name)


def send_some(client, bulk, left):
    """Sends in batches; what was not answered is sent again."""
    still = []
    for at in range(0, len(left), 50):
        batch = left[at:at + 50]
        actions = [{"_op_type": "create", "_index": "app", "_id": f"n{n}", "message": f"line {n}"} for n in batch]
        try:
            told = list(bulk.streaming_bulk(client, actions, raise_on_error=False, max_retries=0))
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


def node(stage, peer):
    if not shutil.which("node") or not npm(stage, peer):
        return stage.skip(peer, "npm cannot install it")
    service, port = service_of(stage, peer)
    killed = beside(service.kill_and_start, ROWS // 10)
    argv = ["node", stage.write("proof.mjs", NODE), f"http://127.0.0.1:{port}", TOKEN, str(ROWS)]
    out = subprocess.run(argv, cwd=stage.folder, capture_output=True, text=True, timeout=60)
    killed.result()
    stage.check("node: takes us for its server", "You Know, for Search" in out.stderr, out.stderr[-300:].strip())
    result = json.loads((out.stdout.splitlines() or ["{}"])[-1])
    stage.check("node: its bulk helper got through", result.get("total") == ROWS, result)
    service.stop()
    numbers(stage, service.exported(), "node")


if __name__ == "__main__":
    sys.exit(main())
