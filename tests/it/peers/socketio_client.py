"""One socket.io session: socketio_client.py MODE URL [CERTIFICATE]. Prints one JSON object.

MODE is `default`, which begins with polling and goes on with WebSocket, or `polling` or `websocket` for one of them alone.
"""

import asyncio
import json
import ssl
import sys

import aiohttp
import socketio

mode, url, *authority = sys.argv[1:]
# Each is two packets, and a polling answer has at most sixteen.
PUSHED = 7


async def converse(session):
    client = socketio.AsyncClient(http_session=session, reconnection=False)
    pushed = asyncio.Queue()
    client.on("pushed", pushed.put)
    transports = None if mode == "default" else [mode]
    await client.connect(url, transports=transports, wait_timeout=15)
    # The server takes the first bytes of a polling body for all of it: such a message has to fit one TLS record.
    size = 10_000 if mode == "polling" else 100_000
    messages = ["gr\u00fc\u00dfe \U0001f600", {"deep": [1, 2.5, None]}, b"\x00\xff", "x" * size, bytes(size)]
    echoed = [await client.call("echo", message, timeout=30) == message for message in messages]
    await client.emit("push", PUSHED)
    received = [await asyncio.wait_for(pushed.get(), 30) for _ in range(PUSHED)]
    in_order = received == [{"number": number, "bytes": bytes([number])} for number in range(PUSHED)]
    transport = client.transport()
    # It says so at once, and then would wait for a poll that lasts until the next ping.
    await asyncio.wait({asyncio.create_task(client.disconnect())}, timeout=2)
    return {"echoed": all(echoed), "in_order": in_order, "transport": transport}


async def main():
    context = ssl.create_default_context(cafile=authority[0]) if authority else False
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        print(json.dumps(await converse(session)))


asyncio.run(main())
