"""The explorer's addresses: a page, what it asks for, and pictures that grow as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from featvis.errors import FeatvisError, OutputError
from featvis.pages.compose import read_asset, template
from featvis.read import is_whole_number, parse_json
from featvis.serve.asked import LIMITS, TONES, read_asked, read_unit, recipes, tone_of
from featvis.serve.board import NAME, pack_board, write_code
from featvis.serve.explorer import PHOTOGRAPHS, Explorer, remember
from featvis.serve.guard import Guard
from featvis.serve.patches import Folder
from featvis.serve.photographs import BYTES, read_photograph, read_places
from featvis.serve.queue import PAUSE, Job, Queue, result_of
from featvis.version import __version__

ASSETS = {
    "gallery.css": "text/css",
    "explorer.css": "text/css",
    "gallery.js": "text/javascript",
    "finder.js": "text/javascript",
    "explorer.js": "text/javascript",
}
SHOWN = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
"""The kinds of files of a gallery that are handed out."""
_TEXT = 64 << 10  # Bytes of a request that is no photograph
Answer = Callable[[Request], Awaitable[Response]]


def make_site(explorer: Explorer, port: int) -> ASGIApp:
    """Return the explorer as an ASGI application that is asked on 127.0.0.1 and a port.

    Args:
        explorer: what is explored.
        port: where the server listens; requests to any other host or port are refused.
    """
    routes = [
        Route("/", _page(explorer)),
        Route("/assets/{name}", _asset),
        Route("/gallery/{path:path}", _told(_gallery(explorer))),
        *(Route(path, _told(answer), methods=[method]) for method, path, answer in _answers(explorer)),
    ]
    return Guard(Starlette(routes=routes), token=explorer.token, port=port)


def _told(answer: Answer) -> Answer:
    """Return an answer whose mistakes are one line."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except FeatvisError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ClientDisconnect:
            return Response(status_code=400)

    return told


def _page(explorer: Explorer) -> Answer:
    async def page(request: Request) -> Response:
        text = template("explorer.html").render(
            version=__version__,
            networks=explorer.networks(),
            first=explorer.first,
            recipes={name: tone_of(name) for name in recipes()},
            limits=LIMITS,
            tones=TONES,
            gallery=explorer.gallery is not None,
            folder=len(explorer.folder.listing.names) if explorer.folder is not None else 0,
        )
        return HTMLResponse(text)

    return page


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return PlainTextResponse("no such file\n", 404)
    return Response(read_asset(name), media_type=ASSETS[name])


def _gallery(explorer: Explorer) -> Answer:
    async def file(request: Request) -> Response:
        name = request.path_params["path"] or "index.html"
        path = None if explorer.gallery is None else find_inside(explorer.gallery, name)
        if path is None:
            return PlainTextResponse("no such file\n", 404)
        content = await run_in_threadpool(path.read_bytes)
        return Response(content, media_type=SHOWN[path.suffix.lower()])

    return file


def find_inside(folder: Path, name: str) -> Path | None:
    """Return a file of a gallery by its relative name; None if there is none, or it lies elsewhere.

    Args:
        folder: the gallery's.
        name: as somebody wrote it.

    >>> find_inside(Path("."), "../secret.png") is None
    True
    """
    if "\0" in name or "\\" in name or any(part.startswith(".") for part in name.split("/")):
        return None
    try:
        root, path = folder.resolve(), (folder / name).resolve()
        is_ours = path.is_relative_to(root) and path.is_file() and path.suffix.lower() in SHOWN
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle
        return None
    return path if is_ours else None


def _answers(explorer: Explorer) -> list[tuple[str, str, Answer]]:
    queue = explorer.queue

    async def layers(request: Request) -> Response:
        name = request.query_params.get("network", explorer.first)
        return JSONResponse(await result_of(queue.submit(lambda job: explorer.layers(name))))

    async def draw(request: Request) -> Response:
        asked = read_asked(await _table(request))
        return Growing(queue, queue.submit(lambda job: explorer.draw(asked, job), asked.slot))

    async def picture(request: Request) -> Response:
        name = request.path_params["name"]
        drawn = explorer.drawn.get(name) or explorer.board.get(name)
        if drawn is None:
            raise OutputError("that picture is not remembered any more; draw it again")
        return Response(await run_in_threadpool(drawn.picture.png), media_type="image/png")

    async def photograph(request: Request) -> Response:
        network = request.query_params.get("network", explorer.first)
        content = await _body(request, BYTES, f"a photograph has at most {BYTES >> 20} MB")
        read = await result_of(queue.submit(lambda job: read_photograph(explorer.model(network), content)))
        name = remember(explorer.photographs, (network, read), PHOTOGRAPHS)
        return JSONResponse({"id": name, **read.to_json()})

    async def places(request: Request) -> Response:
        name, layer = request.path_params["name"], request.query_params.get("layer", "")
        if name not in explorer.photographs:
            raise OutputError("that photograph is not remembered any more; drop it again")
        network, read = explorer.photographs[name]

        def work(job: Job) -> dict[str, Any]:
            return read_places(explorer.model(network), read, layer)

        return JSONResponse(await result_of(queue.submit(work)))

    async def patches(request: Request) -> Response:
        asked, folder = read_unit(await _table(request)), _folder(explorer)

        def work(job: Job) -> dict[str, Any]:
            return folder.show(explorer.model(asked.network), asked.layer, asked.number, job, queue)

        job = queue.submit(work, asked.slot)
        while not job.is_over:
            await asyncio.sleep(PAUSE)
            if await request.is_disconnected():
                queue.cancel(job)
        return JSONResponse(await result_of(job))

    async def of_folder(request: Request) -> Response:
        network, folder = request.query_params.get("network", explorer.first), _folder(explorer)
        number = request.path_params["number"]
        read = await result_of(queue.submit(lambda job: folder.read(explorer.model(network), number)))
        name = remember(explorer.photographs, (network, read), PHOTOGRAPHS)
        return JSONResponse({"id": name, **read.to_json()})

    def board() -> list[dict[str, Any]]:
        return [explorer.describe(name, drawn) for name, drawn in explorer.board.items()]

    async def pinned(request: Request) -> Response:
        return JSONResponse(board())

    async def pin(request: Request) -> Response:
        explorer.pin(request.path_params["name"])
        return JSONResponse(board())

    async def unpin(request: Request) -> Response:
        explorer.board.pop(request.path_params["name"], None)
        return JSONResponse(board())

    async def packed(request: Request) -> Response:
        content = await run_in_threadpool(pack_board, list(explorer.board.values()))
        headers = {"content-disposition": f'attachment; filename="{NAME}.zip"'}
        return Response(content, media_type="application/zip", headers=headers)

    async def code(request: Request) -> Response:
        text = write_code(list(explorer.board.values()), explorer.told)
        return PlainTextResponse(text, headers={"content-disposition": f'attachment; filename="{NAME}.py"'})

    async def count(request: Request) -> Response:
        return JSONResponse({"jobs": queue.count})

    return [
        ("GET", "/api/layers", layers),
        ("POST", "/api/pictures", draw),
        ("GET", "/api/pictures/{name}.png", picture),
        ("POST", "/api/photographs", photograph),
        ("GET", "/api/photographs/{name}", places),
        ("POST", "/api/patches", patches),
        ("POST", "/api/folder/{number:int}", of_folder),
        ("GET", "/api/board", pinned),
        ("PUT", "/api/board/{name}", pin),
        ("DELETE", "/api/board/{name}", unpin),
        ("GET", "/api/board.zip", packed),
        ("GET", "/api/board.py", code),
        ("GET", "/api/queue", count),
    ]


def _folder(explorer: Explorer) -> Folder:
    if explorer.folder is None:
        raise OutputError("no folder of photographs was given; featvis serve --photos FOLDER")
    return explorer.folder


async def _body(request: Request, most: int, reason: str) -> bytes:
    """Read a request's body, and no more of it than may come."""
    told = request.headers.get("content-length", "0")
    if not is_whole_number(told) or int(told) > most:
        raise OutputError(reason)
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise OutputError(reason)
    return bytes(content)


async def _table(request: Request) -> object:
    content = await _body(request, _TEXT, "a request has at most 64 kB")
    try:
        return parse_json(content, "a request")
    except ValueError:
        raise OutputError("a request is JSON") from None


class Growing(StreamingResponse):
    """A job as server-sent events, which is cancelled when nobody reads them any more."""

    def __init__(self, queue: Queue, job: Job) -> None:
        super().__init__(_events(queue, job), media_type="text/event-stream")
        self._queue, self._job = queue, job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the job is over or the page is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._queue.cancel(self._job)


async def _events(queue: Queue, job: Job) -> AsyncIterator[str]:
    seen, place = 0, -1
    while True:
        is_over = job.is_over  # before the news: what comes last is not left out
        if queue.place(job) != place:
            place = queue.place(job)
            yield _event("place", {"place": place})
        number, news = job.news
        if number != seen:
            seen = number
            yield _event("step", news)
        if is_over:
            break
        await asyncio.sleep(PAUSE)
    if job.state == "done":
        yield _event("done", job.result)
    else:
        yield _event(job.state, {"error": job.error or "cancelled"})


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
