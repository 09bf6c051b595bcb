"""One conversation, as the mode says: client.py MODE URL [CERTIFICATE]. Prints one JSON object."""

import json
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

mode, url, *authority = sys.argv[1:]


def open_socket(**options):
    if authority:
        options["ssl"] = ssl.create_default_context(cafile=authority[0])
    return connect(url, max_size=None, proxy=None, open_timeout=15, **options)


def echo(socket, message):
    socket.send(message)
    received = socket.recv(timeout=30)
    return received == message


def close_seen(socket):
    try:
        while True:
            socket.recv(timeout=30)
    except ConnectionClosed as end:
        return end.rcvd and {"code": end.rcvd.code, "reason": end.rcvd.reason}


def messages():
    with open_socket(compression=None) as socket:
        sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20]
        ok = all(echo(socket, bytes(size)) for size in sizes)
        ok = ok and all(echo(socket, "x" * size) for size in sizes)
        ok = ok and echo(socket, "gr\u00fc\u00dfe \U0001f600")
        # An iterable is sent as fragments.
        socket.send(["one ", "two ", "three"])
        return {"ok": ok, "fragments": socket.recv(timeout=30)}


def deflate():
    with open_socket() as socket:
        ok = all(echo(socket, "all work and no play " * 50_000) for _ in range(3))
        return {"ok": ok, "extensions": socket.response.headers.get("Sec-WebSocket-Extensions")}


def ping():
    with open_socket() as socket:
        answered = socket.ping(b"hello").wait(10)
        socket.send("ping me")
        return {"answered": answered, "answer": socket.recv(timeout=30)}


def close():
    with open_socket() as socket:
        socket.send("close me")
        return {"received": close_seen(socket)}


def leave():
    with open_socket() as socket:
        socket.close(4321, "enough")
    return {"code": socket.close_code, "reason": socket.close_reason}


def subprotocol():
    with open_socket(subprotocols=["echo.v1", "echo.v2"]) as socket:
        return {"chosen": socket.subprotocol}


def fields():
    headers = {"Cookie": "session=1; theme=dark"}
    with open_socket(additional_headers=headers, origin="https://app.example") as socket:
        return {"request_id": socket.response.headers.get("X-Request-Id")}


print(json.dumps(globals()[mode]()))
