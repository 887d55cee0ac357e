"""Bounded load with numbered requests, and the origin behind the proxy. The ledger knows what clients saw."""

import asyncio
import collections
import random
import time

BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.LimitOverrunError, ValueError, IndexError)
PATIENCE = 20
LARGE = b"0123456789abcdef" * 4096


class Ledger:
    """What clients saw: a number per request, which stands in its path, and the id in each answer that came whole."""

    def __init__(self):
        self.sent = 0
        self.finished = {}
        self.half_seen = {}
        self.statuses = collections.Counter()
        self.broken_off = 0
        self.durations = []

    def next(self):
        self.sent += 1
        return self.sent

    def failed(self):
        """Answers of 5xx."""
        return sum(count for status, count in self.statuses.items() if status >= 500)


class Load:
    """`clients` connections that together send `rate` requests a second until told to stop."""

    def __init__(self, port, ledger, rate, clients=8, seed=0):
        self.port, self.ledger, self.pause = port, ledger, clients / rate
        self.random = random.Random(seed)
        self.stopping = False
        self.tasks = [asyncio.create_task(self._client()) for _ in range(clients)]

    async def stop(self):
        self.stopping = True
        _, late = await asyncio.wait(self.tasks, timeout=PATIENCE + 10)
        for task in late:
            task.cancel()
        return not late

    async def _client(self):
        while not self.stopping:
            writer = None
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), PATIENCE)
                for _ in range(self.random.choice((1, 20, 1000))):
                    if self.stopping:
                        break
                    await self._request(reader, writer)
                    await asyncio.sleep(self.random.uniform(0, 2 * self.pause))
            except BROKEN:
                await asyncio.sleep(0.02)
            finally:
                if writer:
                    writer.close()

    async def _request(self, reader, writer):
        number = self.ledger.next()
        began = time.monotonic()
        seen = {}
        try:
            head = self._head(number)
            writer.write(head)
            status = await asyncio.wait_for(answer(reader, seen), PATIENCE)
        except BROKEN:
            self.ledger.broken_off += 1
            if "x-request-id" in seen:
                self.ledger.half_seen[number] = seen["x-request-id"]
            raise
        self.ledger.statuses[status] += 1
        # Only what tollgate answers itself: the origin takes its time on purpose.
        if head.startswith(b"GET /r/"):
            self.ledger.durations.append(time.monotonic() - began)
        self.ledger.finished[number] = seen.get("x-request-id")

    def _head(self, number):
        kind = self.random.random()
        if kind < 0.6:
            return f"GET /r/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        if kind < 0.9:
            return f"GET /p/{number}?k=v HTTP/1.1\r\nHost: localhost\r\nReferer: https://example.org/\r\n\r\n".encode()
        body = b"x" * self.random.randrange(1, 4000)
        return f"POST /p/{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader, fields):
    """Reads one whole answer; its status. The header fields go into `fields` as soon as they are there."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    if fields.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(fields["content-length"]))
    return int(lines[0].split(" ")[1])


class Origin:
    """A server behind the proxy that takes its time now and then, so that deaths find requests in every phase."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.server = None

    async def open(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
                await reader.readexactly(int(length.split(b":")[1]))
                await self._answer(writer)
        except (*BROKEN, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer):
        kind = self.random.random()
        if kind < 0.5:
            await asyncio.sleep(self.random.uniform(0, 0.03))
        if kind < 0.8:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in (LARGE[:100], LARGE):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
                await asyncio.sleep(self.random.uniform(0, 0.01))
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0
