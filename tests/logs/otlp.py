#!/usr/bin/env python3
"""OpenTelemetry's own SDK sends logs to the log service, which is killed in the middle; and the sink `otlp` sends records to a
receiver made of OpenTelemetry's own messages, which is away for a while, rejects some, and refuses one.

    otlp.py --tollgate PROGRAM

Needs opentelemetry-sdk, opentelemetry-exporter-otlp-proto-http and opentelemetry-proto (PyPI)."""

import logging
import sys
import time

from shipping import Receiver, number_of, through_a_restart
from stage import Proxy, Service, Stage, absent, count, one_input, one_sink, until

try:
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
except ImportError as missing:
    absent("opentelemetry", missing)

ROWS = 2000
EACH = 200
TOKEN = "a secret"


def main():
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with Stage(__doc__) as stage:
        sent_to_us(stage)
        sent_by_us(stage)
        return stage.end()


def sent_to_us(stage):
    text, port = one_input("http", token=TOKEN)
    service = Service(stage, text).start()
    exporter = OTLPLogExporter(
        endpoint=f"http://127.0.0.1:{port}/v1/logs", headers={"authorization": f"Bearer {TOKEN}"},
        compression=Compression.Gzip, timeout=30,
    )
    provider = LoggerProvider(resource=Resource.create({"service.name": "shop", "n.of": 7}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=50, max_export_batch_size=100))
    logger = provider.get_logger("cart", "2.0")
    for number in range(ROWS):
        logger.emit(
            timestamp=time.time_ns(), severity_number=SeverityNumber.WARN, severity_text="WARN", body=f"line {number}",
            attributes={"http.route": "/cart", "number": number, "ratio": 0.5, "tags": ["a", "b"]}, event_name="cart.full",
        )
        if number == ROWS // 2:
            until("the first records", lambda: service.status()["accepted"] > 0)
            service.kill()
            service.start()
        if number % 100 == 0:
            time.sleep(0.02)
    provider.force_flush(30_000)
    provider.shutdown()
    service.stop()
    entries = service.exported()
    found, twice = count(entries, lambda entry: entry.get("number"))
    stage.check("in: nothing is lost over a kill", found == set(range(ROWS)), f"{len(found)} of {ROWS}, {twice} duplicates: OTLP has no key")
    one = next((entry for entry in entries if entry.get("number") == 7), {})
    wanted = {
        "msg": "line 7", "level": "warn", "service.name": "shop", "n.of": 7, "http.route": "/cart", "ratio": 0.5,
        "tags": ["a", "b"], "event_name": "cart.full", "otel.scope.name": "cart", "otel.scope.version": "2.0",
    }
    stage.check("in: every field has its place", wanted.items() <= one.items(), one)


def sent_by_us(stage):
    paths, requests, away = [], [], {"rejected": 0}

    def take(path, headers, body):
        request = ExportLogsServiceRequest.FromString(body)
        paths_here = [value_of(record.attributes, "url.path") for record in records_of(request)]
        if "/n/13" in paths_here:
            return 400, {}, b""
        requests.append((path, headers, request))
        paths.extend(paths_here)
        answer = ExportLogsServiceResponse()
        if "/n/20" in paths_here and not away["rejected"]:
            away["rejected"] = 2
            answer.partial_success.rejected_log_records, answer.partial_success.error_message = 2, "not these"
        return 200, {"content-type": "application/x-protobuf"}, answer.SerializeToString()

    receiver = Receiver(take).start()
    sink = one_sink("otlp", f"http://127.0.0.1:{receiver.port}", token="x", linger="100ms")
    proxy = Proxy(stage, sink, workers=True).start()
    through_a_restart(proxy, receiver, lambda: {number_of(path) for path in paths} | {13}, EACH)
    proxy.stop()
    found, twice = count(paths, number_of)
    stage.check("out: all but the refused one arrive over a restart", found == set(range(3 * EACH)) - {13}, f"{len(found)} of {3 * EACH}, {twice} duplicates")
    letters = [(letter["record"].get("path"), letter["status"]) for letter in proxy.letters()]
    stage.check("out: the refused one is a dead letter, and a sample of the rejected", ("/n/13", 400) in letters and len(letters) == 2, letters)
    path, headers, _ = requests[-1]
    seen = (path, headers["content-encoding"], headers["content-type"], headers["authorization"])
    stage.check("out: gzip, protobuf, credentials", seen == ("/v1/logs", "gzip", "application/x-protobuf", "Bearer x"))
    logs = requests[0][2].resource_logs[0]
    stage.check("out: the resource says who", value_of(logs.resource.attributes, "service.name") == "tollgate")
    record = next(record for _, _, request in requests for record in records_of(request) if value_of(record.attributes, "url.path") == "/n/7")
    is_whole = record.severity_number == 9 and len(record.trace_id) == 16 and record.event_name == "tollgate.request"
    is_whole &= abs(record.time_unix_nano / 1e9 - time.time()) < 300
    stage.check("out: a request as OpenTelemetry has it", is_whole, f"{record.body.string_value} {sorted(one.key for one in record.attributes)[:8]}")


def records_of(request):
    return [record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records]


def value_of(attributes, name):
    found = [one.value for one in attributes if one.key == name]
    return found[0].string_value if found else None


if __name__ == "__main__":
    sys.exit(main())
