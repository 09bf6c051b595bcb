"""HTTP backend on aiohttp. Prints its port, then a JSON line for each request whose body it has read."""

import asyncio
import hashlib
import json

from aiohttp import web

PIECE = bytes(range(256)) * 256
seen = asyncio.Queue()


def say(**facts):
    print(json.dumps(facts), flush=True)


async def echo(request):
    """Answers with what arrived."""
    digest, length = hashlib.sha1(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        length += len(piece)
    facts = {
        "method": request.method,
        "path": request.path_qs,
        "length": length,
        "sha1": digest.hexdigest(),
        "fields": {name.lower(): value for name, value in request.headers.items()},
    }
    say(**facts)
    return web.json_response(facts)


async def data(request):
    """So many bytes, with their length in front or in chunks."""
    left = int(request.query["bytes"])
    response = web.StreamResponse()
    if request.query["framing"] == "length":
        response.content_length = left
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    while left > 0:
        await response.write(PIECE[:left])
        left -= min(left, len(PIECE))
    await response.write_eof()
    return response


async def cut(request):
    """Promises more than it sends before it leaves."""
    response = web.StreamResponse()
    if request.query["framing"] == "length":
        response.content_length = 1000
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"all there is")
    request.transport.close()
    return response


async def status(request):
    return web.Response(status=int(request.match_info["code"]))


async def refuse(request):
    """Says no without having read a byte of the body, nor asked for it."""
    raise web.HTTPForbidden(text="not for you")


async def expect_nothing(request):
    """No 100 (Continue): the handler decides."""


async def events(request):
    """Server-sent events, each of them only once the one before has been acknowledged."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(int(request.query["count"])):
        await response.write(f"data: {number}\n\n".encode())
        acknowledged = await seen.get()
        if acknowledged != number:
            raise RuntimeError(f"{number} was sent, {acknowledged} acknowledged")
    await response.write_eof()
    return response


async def acknowledge(request):
    await seen.put(int(request.match_info["number"]))
    return web.Response(text="noted\n")


async def main():
    app = web.Application()
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/data", data)
    app.router.add_get("/cut", cut)
    app.router.add_route("*", "/status/{code}", status)
    app.router.add_post("/refuse", refuse, expect_handler=expect_nothing)
    app.router.add_get("/events", events)
    app.router.add_post("/seen/{number}", acknowledge)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
