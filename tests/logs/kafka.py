#!/usr/bin/env python3
"""Kafka: a tollgate sends its records to the mock cluster of librdkafka, which other clients read from; brokers die, and answer with
every kind of error.

    kafka.py --tollgate PROGRAM

PROGRAM must have been built with `--features kafka`. Needs confluent-kafka (PyPI)."""

import argparse
import collections
import json
import subprocess
import sys
import threading
import time

try:
    import confluent_kafka
    from confluent_kafka import Consumer, Producer, TopicPartition
except ImportError:
    print("SKIPPED: confluent-kafka is not here")
    sys.exit(77)

from stage import Proxy, Stage, absent

TOTAL = 1500
PARTITIONS = 4


class Cluster:
    """Three brokers inside of a client that does nothing else."""

    def __init__(self):
        self.holder = Producer({"test.mock.num.brokers": "3", "bootstrap.servers": "unused:1"})
        found = self.holder.list_topics(timeout=10)
        self.brokers = [f"{broker.host}:{broker.port}" for broker in found.brokers.values()]


def read_all(cluster, topic, count, patience=20):
    """Everything in the topic, from its beginning."""
    consumer = Consumer({"bootstrap.servers": ",".join(cluster.brokers), "group.id": f"reader-{time.monotonic_ns()}", "auto.offset.reset": "earliest"})
    try:
        partitions = []
        end = time.monotonic() + patience
        while not partitions and time.monotonic() < end:
            found = consumer.list_topics(topic, timeout=5).topics.get(topic)
            partitions = [] if found is None or found.error else list(found.partitions)
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages = []
        quiet = 0
        while time.monotonic() < end and (len(messages) < count or quiet < 2):
            got = consumer.consume(500, timeout=0.5)
            quiet = 0 if got else quiet + 1
            messages += [message for message in got if not message.error()]
        return messages
    finally:
        consumer.close()


def paths(messages, front):
    found = collections.Counter()
    for message in messages:
        path = json.loads(message.value()).get("path", "")
        if path.startswith(front):
            found[path] += 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tollgate", required=True)
    arguments = parser.parse_args()
    with Stage(arguments.tollgate) as stage:
        cluster = Cluster()
        print(f"       confluent-kafka {confluent_kafka.version()[0] if isinstance(confluent_kafka.version(), tuple) else confluent_kafka.version()}, brokers {', '.join(cluster.brokers)}")
        to = ", ".join(f'"tcp://{broker}"' for broker in ["127.0.0.1:1", *cluster.brokers])
        for compress in ("true", "false"):
            topic = f"logs-{compress}"
            sink = f'[log.sink.far]\ntype = "kafka"\nto = [{to}]\ntopic = "{topic}"\ncompress = {compress}\nretry_max = "1s"\n'
            proxy = Proxy(stage, sink, f"proxy-{compress}")
            checked = subprocess.run([stage.tollgate, "check", "-c", proxy.config], capture_output=True, text=True)
            if "--features kafka" in checked.stderr + checked.stdout:
                absent("the program was built without the feature `kafka`")
            proxy.start()
            thread = threading.Thread(target=lambda: proxy.ask((f"/all/{number}" for number in range(TOTAL)), pause=0.001))
            thread.start()
            thread.join()
            messages = read_all(cluster, topic, TOTAL)
            found = paths(messages, "/all/")
            stage.check(f"compress = {compress}: every record is in the topic", len(found) == TOTAL, f"{TOTAL - len(found)} lost, {found.total() - len(found)} twice")
            one = next(message for message in messages if "/all/7" in message.value().decode())
            row, headers = json.loads(one.value()), dict(one.headers())
            stage.check("key, headers and time are those of the record", one.key() and headers.get("id", b"").decode() == row["id"] and headers.get("seq", b"").decode() == str(row["seq"]) and one.timestamp()[1] > 0, (one.key(), headers, one.timestamp()))
            keys = collections.defaultdict(set)
            for message in messages:
                keys[message.key()].add(message.partition())
            stage.check("a stream is in one partition, in order", all(len(parts) == 1 for parts in keys.values()), {key: sorted(parts) for key, parts in keys.items()})
            proxy.stop()
        return stage.end()


if __name__ == "__main__":
    sys.exit(main())
