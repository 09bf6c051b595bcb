"""Reads HTTP messages with h11: framing.py FILE, which has a case a line: what it is, and its bytes in hexadecimal.

Prints a JSON line for each: what the first message of it is, and where it ends.
"""

import json
import sys

import h11

HEAD_BYTES_MAX = 1 << 20


def connection(kind):
    if kind == "request":
        return h11.Connection(h11.SERVER, HEAD_BYTES_MAX)
    client = h11.Connection(h11.CLIENT, HEAD_BYTES_MAX)
    method = "HEAD" if kind == "answer-to-head" else "GET"
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    return client


def text(value):
    return bytes(value).decode("latin-1")


def described(head):
    if isinstance(head, h11.Request):
        line = [text(head.method), text(head.target)]
    else:
        line = [str(head.status_code), text(head.reason)]
    fields = [[text(name).lower(), text(value)] for name, value in head.headers.raw_items()]
    return {"line": [*line, text(head.http_version)], "fields": fields}


def ending(reader):
    """What is left of the message after its head."""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.EndOfMessage):
            return "complete"
        if event is h11.NEED_DATA:
            break
    reader.receive_data(b"")
    try:
        return "until close" if isinstance(reader.next_event(), h11.EndOfMessage) else "incomplete"
    except h11.RemoteProtocolError:
        return "incomplete"


def read(kind, message):
    reader = connection(kind)
    reader.receive_data(message)
    try:
        head = reader.next_event()
        if head is h11.NEED_DATA or isinstance(head, h11.ConnectionClosed):
            return {"refused": "the head is not complete"}
        facts = described(head)
        interim = isinstance(head, h11.InformationalResponse)
        facts["ending"] = "complete" if interim else ending(reader)
    except h11.RemoteProtocolError as error:
        return {"refused": str(error)}
    if facts["ending"] == "complete":
        facts["end"] = len(message) - len(reader.trailing_data[0])
    return facts


with open(sys.argv[1], encoding="ascii") as cases:
    for case in cases:
        kind, _, message = case.partition(" ")
        print(json.dumps(read(kind, bytes.fromhex(message))))
