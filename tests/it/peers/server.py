"""Echo server. Prints its port, then one JSON line for each conversation that has ended."""

import json
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

printing = threading.Lock()


def say(**facts):
    with printing:
        print(json.dumps(facts), flush=True)


def converse(socket):
    request = socket.request
    messages = 0
    try:
        while True:
            message = socket.recv()
            messages += 1
            if message == "close me":
                socket.close(4321, "as you wish")
            elif message == "ping me":
                # Returns an event that is set by the pong.
                answered = socket.ping(b"are you there").wait(10)
                socket.send(f"pong: {answered}")
            else:
                socket.send(message)
    except ConnectionClosed as end:
        received = end.rcvd and {"code": end.rcvd.code, "reason": end.rcvd.reason}
        say(
            path=request.path,
            cookie=request.headers.get("Cookie"),
            origin=request.headers.get("Origin"),
            extensions=request.headers.get("Sec-WebSocket-Extensions"),
            messages=messages,
            received=received,
        )


with serve(
    converse,
    "127.0.0.1",
    0,
    max_size=None,
    subprotocols=["echo.v2"],
    select_subprotocol=lambda socket, offered: "echo.v2" if "echo.v2" in offered else None,
) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
