"""The mixed load. Each client loops until told to stop; the ledger knows what each request deserves in the log."""

import asyncio
import collections
import random

import wire

# A request whose whole head was read must leave one record. On a connection that the other side closed at the same
# moment nobody can know whether it was read: such a request may leave one record or none.
ONE, ONE_OR_NONE = 1, 2
BROKEN = (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.LimitOverrunError)


class Ledger:
    """Every request by its number, which goes into the query string, and what was answered."""

    def __init__(self):
        self.sent = bytearray()
        self.statuses = collections.Counter()
        self.faults = collections.Counter()

    def next(self):
        self.sent.append(ONE)
        return len(self.sent) - 1

    def doubt(self, number):
        self.sent[number] = ONE_OR_NONE

    def fault(self, client, error):
        self.faults[f"{client}: {type(error).__name__}"] += 1


class Target:
    """Where the load goes, and until when."""

    def __init__(self, http, https):
        self.http, self.https = http, https
        self.stopping = asyncio.Event()

    def port(self, tls):
        return self.https if tls else self.http

    async def pause(self, seconds):
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except asyncio.TimeoutError:
            pass


async def keep_alive(target, ledger, tls):
    """Many requests on one connection; a new connection when the old one has ended."""
    while not target.stopping.is_set():
        used = 0
        number, writer = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            open_still = True
            while open_still and not target.stopping.is_set():
                number = ledger.next()
                writer.write(wire.head("/keep-alive", number))
                status, open_still = await asyncio.wait_for(wire.answer(reader), 30)
                ledger.statuses[status] += 1
                number, used = None, used + 1
                await target.pause(random.uniform(0.02, 0.12))
        except BROKEN as error:
            ledger.fault("keep-alive", error)
            if number is not None:
                ledger.doubt(number)
            await target.pause(0.1)
        finally:
            close(writer)


async def new_connections(target, ledger, tls):
    """One request per connection."""
    while not target.stopping.is_set():
        number, writer = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            number = ledger.next()
            writer.write(wire.head("/new", number, "Connection: close\r\n"))
            status, _ = await asyncio.wait_for(wire.answer(reader), 30)
            ledger.statuses[status] += 1
        except BROKEN as error:
            ledger.fault("new", error)
            if number is not None:
                ledger.doubt(number)
        finally:
            close(writer)
        await target.pause(random.uniform(0.02, 0.2))


async def aborts(target, ledger, tls):
    """Goes away while it waits for the answer, or in the middle of it."""
    while not target.stopping.is_set():
        number, writer = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            path = random.choice(("/delay/2000", "/bytes/20000000"))
            number = ledger.next()
            writer.write(wire.head(path, number))
            await writer.drain()
            await target.pause(random.uniform(0.1, 0.6))
            if path.startswith("/bytes"):
                await asyncio.wait_for(reader.read(50_000), 10)
            writer.transport.abort()
        except BROKEN as error:
            ledger.fault("abort", error)
            if number is not None:
                ledger.doubt(number)
        finally:
            close(writer)
        await target.pause(random.uniform(0.1, 0.5))


async def slow_sender(target, ledger, tls):
    """Sends its head in drips; every third time it never ends it, and so has not sent a request."""
    while not target.stopping.is_set():
        writer, number = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            if random.random() < 0.33:
                writer.write(b"GET /never HTTP/1.1\r\nHost: localhost\r\nX-Unfin")
                await asyncio.wait_for(reader.read(), 60)
                continue
            number = ledger.next()
            head = wire.head("/slow", number)
            for at in range(0, len(head), 8):
                writer.write(head[at : at + 8])
                await writer.drain()
                await asyncio.sleep(0.1)
            status, _ = await asyncio.wait_for(wire.answer(reader), 30)
            ledger.statuses[status] += 1
        except BROKEN as error:
            ledger.fault("slow sender", error)
            if number is not None:
                ledger.doubt(number)
        finally:
            close(writer)
        await target.pause(0.5)


async def slow_reader(target, ledger, tls):
    """Takes a large answer in sips, then the rest of it or nothing more."""
    while not target.stopping.is_set():
        number, writer = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            number = ledger.next()
            writer.write(wire.head("/bytes/3000000", number, "Connection: close\r\n"))
            status, _ = await asyncio.wait_for(wire.answer_head(reader), 30)
            ledger.statuses[status] += 1
            for _ in range(random.randint(5, 40)):
                if not await asyncio.wait_for(reader.read(20_000), 30):
                    break
                await asyncio.sleep(0.1)
            if random.random() < 0.5:
                await asyncio.wait_for(reader.read(-1), 60)
        except BROKEN as error:
            ledger.fault("slow reader", error)
            if number is not None:
                ledger.doubt(number)
        finally:
            close(writer)
        await target.pause(0.5)


async def web_socket(target, ledger, tls):
    """Talks for a while over one tunnel, across reloads; an answer that is not the echo is a fault."""
    while not target.stopping.is_set():
        number, writer = None, None
        try:
            reader, writer = await wire.connect(target.port(tls), tls)
            number = ledger.next()
            writer.write(wire.head("/ws", number, wire.UPGRADE))
            status, _ = await asyncio.wait_for(wire.answer_head(reader), 30)
            ledger.statuses[status] += 1
            if status == 101:
                await talk(target, ledger, reader, writer)
        except BROKEN as error:
            ledger.fault("web socket", error)
            if number is not None:
                ledger.doubt(number)
        finally:
            close(writer)
        await target.pause(0.2)


async def talk(target, ledger, reader, writer):
    for turn in range(random.randint(10, 400)):
        said = f"turn {turn} ".encode() * random.randint(1, 2000)
        writer.write(wire.frame(said, masked=True))
        opcode, heard = await asyncio.wait_for(wire.read_frame(reader), 30)
        if (opcode, heard) != (1, said):
            ledger.faults["web socket: wrong echo"] += 1
        if target.stopping.is_set():
            break
        await target.pause(0.1)
    writer.write(wire.frame(b"\x03\xe8", opcode=8, masked=True))
    await asyncio.wait_for(wire.read_frame(reader), 30)


def close(writer):
    if writer is not None and not writer.is_closing():
        writer.close()


KINDS = ((keep_alive, 8), (new_connections, 3), (aborts, 2), (slow_sender, 2), (slow_reader, 2), (web_socket, 4))


def all_of_them(target, ledger):
    """Every kind, as often as the table says, half of them over TLS and half in the clear."""
    return [
        asyncio.create_task(client(target, ledger, tls))
        for client, count in KINDS
        for tls in (False, True)
        for _ in range(count)
    ]
