"""socket.io server. Prints its port, then a JSON line for each session that has ended."""

import asyncio
import json
from urllib.parse import parse_qs

import socketio
from aiohttp import web

server = socketio.AsyncServer(async_mode="aiohttp")
transports = {}


@server.event
async def connect(sid, environ):
    transports[sid] = parse_qs(environ["QUERY_STRING"])["transport"]


@server.event
async def echo(sid, message):
    transports[sid].append(server.transport(sid))
    return message


@server.event
async def push(sid, count):
    """Messages that nobody asked for one by one."""
    for number in range(count):
        await server.emit("pushed", {"number": number, "bytes": bytes([number])}, to=sid)


@server.event
async def disconnect(sid, reason):
    ways = transports.pop(sid)
    print(json.dumps({"first": ways[0], "last": ways[-1]}), flush=True)


async def main():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
