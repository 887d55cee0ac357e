#!/usr/bin/env python3
"""Kafka: a tollgate sends its records to the mock cluster of librdkafka, which other clients read from; brokers die, and answer with
every kind of error.

    kafka.py --tollgate PROGRAM

PROGRAM must have been built with `--features kafka`. Needs confluent-kafka (PyPI)."""

import collections
import ctypes
import json
import pathlib
import sys
import time

from stage import Proxy, Stage, absent, until

try:
    import confluent_kafka
    from confluent_kafka import Consumer, TopicPartition
except ImportError:
    absent("confluent-kafka", "PyPI's package is not here")

TOTAL = 1500
PARTITIONS = 4


class Cluster:
    """Three brokers in this process: librdkafka's mock, with the calls that the Python package does not hand on."""

    PRODUCE = 0

    def __init__(self):
        folder = pathlib.Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
        library = next(folder.glob("librdkafka*.so*"), None)
        if library is None:
            absent("librdkafka", "confluent-kafka is here without it")
        self.lib = ctypes.CDLL(str(library))
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        why = ctypes.create_string_buffer(512)
        holder = self.lib.rd_kafka_new(0, ctypes.c_void_p(self.lib.rd_kafka_conf_new()), why, len(why))
        self.mock = ctypes.c_void_p(self.lib.rd_kafka_mock_cluster_new(ctypes.c_void_p(holder), 3))
        self.brokers = self.lib.rd_kafka_mock_cluster_bootstraps(self.mock).decode().split(",")

    def topic(self, name):
        self.lib.rd_kafka_mock_topic_create(self.mock, name.encode(), PARTITIONS, 3)

    def fail(self, *errors):
        """The next answers to Produce."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self.lib.rd_kafka_mock_push_request_errors_array(self.mock, ctypes.c_int16(self.PRODUCE), ctypes.c_size_t(len(errors)), codes)

    def down(self, broker):
        self.lib.rd_kafka_mock_broker_set_down(self.mock, broker)

    def up(self, broker):
        self.lib.rd_kafka_mock_broker_set_up(self.mock, broker)

    def slow(self, broker, ms):
        """Its answers take so long."""
        self.lib.rd_kafka_mock_broker_set_rtt(self.mock, broker, ms)

    def lead(self, topic, partition, broker):
        self.lib.rd_kafka_mock_partition_set_leader(self.mock, topic.encode(), partition, broker)


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
    with Stage(__doc__) as stage:
        cluster = Cluster()
        print(f"       confluent-kafka {confluent_kafka.version()[0] if isinstance(confluent_kafka.version(), tuple) else confluent_kafka.version()}, brokers {', '.join(cluster.brokers)}")
        to = ", ".join(f'"tcp://{broker}"' for broker in ["127.0.0.1:1", *cluster.brokers])
        for compress in ("true", "false"):
            topic = f"logs-{compress}"
            sink = f'[log.sink.far]\ntype = "kafka"\nto = [{to}]\ntopic = "{topic}"\ncompress = {compress}\nretry_max = "1s"\n'
            proxy = Proxy(stage, sink, f"proxy-{compress}")
            checked = stage.tell("check", "-c", proxy.config)
            if "--features kafka" in checked.stderr + checked.stdout:
                absent("tollgate with the feature `kafka`", "this one was built without")
            proxy.start()
            proxy.ask((f"/all/{number}" for number in range(TOTAL)), pause=0.001)
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
        troubles(stage, cluster, to)
        silence(stage, cluster, to)
        return stage.end()


def troubles(stage, cluster, to):
    """Every kind of error, brokers that die and leaders that move, while records come; and one record that is never taken."""
    topic = "troubles"
    cluster.topic(topic)
    dead = stage.folder / "dead.jsonl"
    sink = f'[log.sink.far]\ntype = "kafka"\nto = [{to}]\ntopic = "{topic}"\nretry_max = "500ms"\ntimeout = "3s"\ndead_letter = "{dead}"\n'
    proxy = Proxy(stage, sink, "troubles")
    proxy.start()
    asking = proxy.asking([f"/all/{number}" for number in range(TOTAL)], 0.005)
    # 6 not the leader, 7 timed out, 19 and 20 too few replicas, 3 no such topic, 2 corrupt, 29 no right, 56 disk, -1 unknown.
    for code in (6, 7, 19, 20, 3, 2, 29, 56, -1):
        cluster.fail(code)
        time.sleep(0.3)
    for broker in (1, 2, 3):
        cluster.down(broker)
        time.sleep(0.7)
        cluster.up(broker)
    for partition in range(PARTITIONS):
        cluster.lead(topic, partition, 1 + partition % 3)
    is_loaded = not asking.done()
    asking.result()
    found = paths(read_all(cluster, topic, TOTAL), "/all/")
    stage.check("errors, dead brokers and leaders that move while records come: nothing is lost", len(found) == TOTAL and is_loaded, f"{TOTAL - len(found)} lost, {found.total() - len(found)} twice")
    stage.check("none of that is a record's fault", not dead.exists() or not dead.read_text())
    proxy.ask(["/wait"])
    cluster.fail(10)
    proxy.ask(f"/halved/{number}" for number in range(300))
    halved = paths(read_all(cluster, topic, TOTAL + 300), "/halved/")
    letters = dead.read_text().count("/halved/") if dead.exists() else 0
    stage.check("a batch that is too large goes in halves", len(halved) + letters == 300 and letters <= 1, f"{len(halved)} taken, {letters} refused")
    cluster.fail(*[10] * 3)
    proxy.ask(["/poison"])
    letters = until("the dead letter", lambda: [line for line in dead.read_text().splitlines() if "/poison" in line] if dead.exists() else [])
    proxy.ask(f"/after/{number}" for number in range(20))
    after = paths(read_all(cluster, topic, TOTAL), "/after/")
    stage.check("a record that is too large even alone goes to the dead letters", any("/poison" in letter and "MessageTooLarge" in letter for letter in letters), letters[0][:160])
    stage.check("and blocks none behind it", len(after) >= 18, f"{len(after)} of 20")
    proxy.stop()


def silence(stage, cluster, to):
    """One broker takes and says nothing: what the others have acknowledged meanwhile does not come again."""
    topic = "silence"
    cluster.topic(topic)
    sink = f'[log.sink.far]\ntype = "kafka"\nto = [{to}]\ntopic = "{topic}"\nretry_max = "300ms"\nlinger = "500ms"\ntimeout = "1s"\n'
    proxy = Proxy(stage, sink, "silence")
    proxy.start()
    proxy.ask(f"/first/{number}" for number in range(100))
    messages = read_all(cluster, topic, 100)
    asked = {message.partition() for message in messages if "/first/" in message.value().decode()}
    # Last the one that is to be silent: that of the facts about the host, which come every 10 s, or of a core.
    used = sorted(asked) + sorted({message.partition() for message in messages} - asked)
    if len(used) < 2:
        print("       all streams are in one partition here: nothing to see")
        return proxy.stop()
    for partition in range(PARTITIONS):
        cluster.lead(topic, partition, 1 if partition == used[-1] else 2)
    proxy.ask(f"/moved/{number}" for number in range(20))
    read_all(cluster, topic, 120)
    cluster.slow(1, 60_000)
    proxy.ask(f"/meanwhile/{number}" for number in range(100))
    time.sleep(13)
    cluster.slow(1, 0)
    proxy.ask(["/end"])
    messages = read_all(cluster, topic, 320)
    found = paths(messages, "/meanwhile/")
    others = paths([message for message in messages if message.partition() != used[-1]], "/meanwhile/")
    stage.check("a silent broker: nothing is lost", len(found) == 100, f"{100 - len(found)} lost")
    stage.check("what the other brokers have acknowledged does not come again", others and max(others.values()) == 1, f"{others.total() - len(others)} of {len(others)} twice")
    proxy.stop()


if __name__ == "__main__":
    sys.exit(main())
