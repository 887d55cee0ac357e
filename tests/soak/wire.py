"""HTTP/1.1 and WebSockets by hand: just enough to misbehave on purpose and to know what was sent."""

import asyncio
import base64
import hashlib
import os
import ssl
import struct

ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
READ_LIMIT = 1 << 20


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(port, tls):
    context = {"ssl": unverified(), "server_hostname": "localhost"} if tls else {}
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, limit=READ_LIMIT, **context), 20)


def head(path, number, extra=""):
    joint = "&" if "?" in path else "?"
    return f"GET {path}{joint}n={number} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


async def answer(reader):
    """Reads one whole answer; returns the status and whether the connection may be used again."""
    status, fields = await answer_head(reader)
    if fields.get("transfer-encoding") == "chunked":
        await skip_chunks(reader)
    elif "content-length" in fields:
        await skip(reader, int(fields["content-length"]))
    elif status not in (204, 304):
        await reader.read()
        return status, False
    return status, fields.get("connection", "").lower() != "close"


async def answer_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {}
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return int(lines[0].split(" ")[1]), fields


async def skip(reader, length):
    while length:
        part = await reader.read(min(length, 65536))
        if not part:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(part)


async def skip_chunks(reader):
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        await skip(reader, size + 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dG9sbGdhdGUgc29hayAxMg==\r\n"
)


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_SALT).digest()).decode()


def frame(payload, opcode=1, masked=False):
    """One whole WebSocket frame (RFC 6455, section 5.2)."""
    size = len(payload)
    mask = os.urandom(4) if masked else b""
    bit = 0x80 if masked else 0
    short = struct.pack("!BB", 0x80 | opcode, bit | min(size, 126 if size < 65536 else 127) if size > 125 else bit | size)
    longer = b"" if size < 126 else struct.pack("!H", size) if size < 65536 else struct.pack("!Q", size)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else payload
    return short + longer + mask + body


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if second & 0x80 else None
    payload = await reader.readexactly(size)
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return first & 0x0F, payload


async def echo_origin():
    """A WebSocket server that says everything again; the workers need not know WebSockets."""
    return await asyncio.start_server(echo, "127.0.0.1", 0)


async def echo(reader, writer):
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if ": " in line)
        if "sec-websocket-key" not in fields:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        key = next(line.split(": ", 1)[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + accept_of(key).encode() + b"\r\n\r\n"
        )
        while True:
            opcode, payload = await read_frame(reader)
            writer.write(frame(payload, opcode))
            await writer.drain()
            if opcode == 8:
                return
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
