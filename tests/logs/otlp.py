#!/usr/bin/env python3
"""OpenTelemetry's own SDK sends logs to the log service, which is killed in the middle; and the sink `otlp` sends records to a
receiver made of OpenTelemetry's own messages, which is away for a while, rejects some, and refuses one.

    otlp.py --tollgate PROGRAM

Needs opentelemetry-sdk, opentelemetry-exporter-otlp-proto-http and opentelemetry-proto; exits 77 without them, 1 when a promise is
broken."""

import argparse
import logging
import sys
import time

import serving
from serving import count, require

try:
    from opentelemetry._logs import SeverityNumber
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource
except ImportError as missing:
    serving.absent(missing)

ROWS = 2000
EACH = 200
TOKEN = "a secret"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True)
    arguments = parser.parse_args()
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    sent_to_us(arguments.tollgate)
    sent_by_us(arguments.tollgate)


def sent_to_us(program):
    with serving.service(program, token=TOKEN) as service:
        exporter = OTLPLogExporter(
            endpoint=f"{service.url}/v1/logs", headers={"authorization": f"Bearer {TOKEN}"},
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
                serving.wait_for("the first records", lambda: service.status()["accepted"] > 0)
                service.kill()
                service.start()
            if number % 100 == 0:
                time.sleep(0.02)
        provider.force_flush(30_000)
        provider.shutdown()
        service.stop()
        entries = service.entries()
        found, twice = count(entries, lambda entry: entry.get("number"))
        require("otlp in: nothing is lost over a kill", found == set(range(ROWS)), f"{len(found)} of {ROWS}", f"{twice} duplicates: OTLP has no key")
        one = next(entry for entry in entries if entry["number"] == 7)
        wanted = {
            "msg": "line 7", "level": "warn", "service.name": "shop", "n.of": 7, "http.route": "/cart", "ratio": 0.5,
            "tags": ["a", "b"], "event_name": "cart.full", "otel.scope.name": "cart", "otel.scope.version": "2.0",
        }
        require("otlp in: every field has its place", wanted.items() <= one.items(), one)


def sent_by_us(program):
    paths, requests, away = [], [], {"rejected": 0}

    def take(path, headers, body):
        request = ExportLogsServiceRequest.FromString(body)
        records = [record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records]
        paths_here = [value_of(record.attributes, "url.path") for record in records]
        if "/n/13" in paths_here:
            return 400, {}, b""
        requests.append((path, headers, request))
        paths.extend(paths_here)
        answer = ExportLogsServiceResponse()
        if "/n/20" in paths_here and not away["rejected"]:
            away["rejected"] = 2
            answer.partial_success.rejected_log_records, answer.partial_success.error_message = 2, "not these"
        return 200, {"content-type": "application/x-protobuf"}, answer.SerializeToString()

    receiver = serving.Receiver(take)
    receiver.start()
    sink = f'type = "otlp"\nto = "http://127.0.0.1:{receiver.port}"\ntoken = "x"'
    with serving.proxy(program, sink) as proxy:
        poisoned = lambda: {serving.number_of(path) for path in paths} | {13}
        serving.through_a_restart(proxy, receiver, poisoned, EACH)
        proxy.stop()
        found, twice = count(paths, serving.number_of)
        require("otlp out: all but the refused one arrive over a restart", found == set(range(3 * EACH)) - {13}, f"{len(found)} of {3 * EACH}", f"{twice} duplicates")
        letters = [(letter["record"].get("path"), letter["status"]) for letter in proxy.letters()]
        require("otlp out: the refused one is a dead letter, and a sample of the rejected", ("/n/13", 400) in letters and len(letters) == 2, letters)
        path, headers, request = requests[-1]
        require("otlp out: gzip, protobuf, credentials", (path, headers["content-encoding"], headers["content-type"], headers["authorization"])
                == ("/v1/logs", "gzip", "application/x-protobuf", "Bearer x"))
        logs = requests[0][2].resource_logs[0]
        require("otlp out: the resource says who", value_of(logs.resource.attributes, "service.name") == "tollgate")
        records = [record for _, _, request in requests for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records]
        record = next(record for record in records if value_of(record.attributes, "url.path") == "/n/7")
        require("otlp out: a request as OpenTelemetry has it",
                record.severity_number == 9 and len(record.trace_id) == 16 and record.event_name == "tollgate.request"
                and abs(record.time_unix_nano / 1e9 - time.time()) < 300, record.body.string_value,
                sorted(one.key for one in record.attributes)[:8])


def value_of(attributes, name):
    found = [one.value for one in attributes if one.key == name]
    return found[0].string_value if found else None


if __name__ == "__main__":
    sys.exit(main())
