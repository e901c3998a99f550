"""Serves the runs of a folder to a browser, on 127.0.0.1 only.

    /                     the list of runs
    /run/NAME             a run's page; updated live for a run in progress
    /run/NAME/bundle      the page's document, for that
    /run/NAME/zip         the run's folder as a zip
    /compare?a=NAME&b=NAME
    /rows                 the list's data

Pages are made from the data in the folders, never taken from files in them: a run's folder may come
from a third party. A name is served only if the list has it, and a folder only if everything in it
is inside the served folder. Requests that name another host, or come from another origin's page,
are refused, so that no web page can read runs through the user's browser.
"""

from __future__ import annotations

import json
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.report.bins import span_us
from harness.report.index import index_page, is_running, rows, run_folders
from harness.report.page import PARTS, STYLES, render, run_page
from harness.report.run_report import bundle, load, summary
from histories.errors import HistoryError
from histories.folder import RunFolder
from histories.text import printable

CACHED_MAX: Final = 16
CHUNK: Final = 1 << 16
IN_MEMORY_MAX: Final = 1 << 24
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def application(root: Path, port: int) -> ASGIApp:
    """The application, for an ASGI server that listens on 127.0.0.1 at this port."""
    place = _Directory(root.resolve())
    routes = [
        Route("/", place.index),
        Route("/rows", place.rows),
        Route("/compare", place.compare),
        Route("/run/{name:path}/bundle", place.bundle),
        Route("/run/{name:path}/zip", place.zip),
        Route("/run/{name:path}", place.run),
    ]
    return _OwnPagesOnly(Starlette(routes=routes), port)


class _OwnPagesOnly:
    """Refuses requests for other hosts and of other origins' pages; sets headers on answers."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        names = ("127.0.0.1", "localhost", "[::1]")
        self._hosts = {f"{name}:{port}" for name in names} | set(names if port == 80 else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope)
        if problem:
            await PlainTextResponse(problem, 403, HEADERS)(scope, receive, send)
            return

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, answer)

    def _problem(self, scope: Scope) -> str:
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name = key.decode("latin-1").lower()
            if name in ("host", "origin") and name in headers:
                return f"two {name} headers\n"
            headers[name] = value.decode("latin-1")
        if headers.get("host", "").lower() not in self._hosts:
            return "this server answers only to 127.0.0.1 and localhost\n"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self._hosts:
            return "requests from other origins are refused\n"
        navigates = headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return "requests from other sites' pages are refused\n"
        return ""


class _Directory:
    """The responses. Each runs in a separate thread; results are cached while files do not
    change."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: OrderedDict[tuple[str, str], tuple[Any, str]] = OrderedDict()
        self._lock = threading.Lock()

    def index(self, _: Request) -> Response:
        return HTMLResponse(index_page(self._root, rows(self._root), served=True))

    def rows(self, _: Request) -> Response:
        return _json([row.to_json() for row in rows(self._root)])

    def run(self, request: Request) -> Response:
        folder = self._folder(request.path_params["name"])
        if isinstance(folder, Response):
            return folder
        if is_running(folder.path):
            data = load(folder, judge=False)
            return HTMLResponse(run_page(data, home="/", live=True))
        text = self._kept(folder, "page", lambda: run_page(load(folder), home="/"))
        return HTMLResponse(text)

    def bundle(self, request: Request) -> Response:
        folder = self._folder(request.path_params["name"])
        if isinstance(folder, Response):
            return folder
        if request.query_params.get("state") == _state(folder):
            return Response(status_code=204)
        running = is_running(folder.path)
        state = _state(folder)
        document = bundle(load(folder, judge=not running), live=running)
        return _json({"state": state, "document": document})

    def zip(self, request: Request) -> Response:
        folder = self._folder(request.path_params["name"])
        if isinstance(folder, Response):
            return folder
        name = "".join(c for c in folder.name if c.isalnum() or c in "-_.") or "run"
        return StreamingResponse(
            _chunks(zipped(folder.path)),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}.zip"'},
        )

    def compare(self, request: Request) -> Response:
        data = []
        for which in ("a", "b"):
            folder = self._folder(request.query_params.get(which, ""))
            if isinstance(folder, Response):
                return folder
            data.append(load(folder, judge=not is_running(folder.path)))
        over_us = max(span_us(run.operations) for run in data)
        found = [summary(run, over_us) for run in data]
        return HTMLResponse(
            render(
                "compare.html",
                title=f"{found[0]['name']} beside {found[1]['name']}",
                scripts=(*PARTS, "js/compare_page.js"),
                styles=(*STYLES, "css/index.css"),
                data={"runs": found},
            )
        )

    def _folder(self, name: str) -> RunFolder | Response:
        """The run of this name, if the list has it; else the answer that explains why not."""
        for path in run_folders(self._root):
            if path.relative_to(self._root).as_posix() != name:
                continue
            if not all_inside(path, self._root):
                return PlainTextResponse("this run's folder has links that lead out of it\n", 403)
            try:
                return RunFolder.open(path)
            except HistoryError as error:
                return PlainTextResponse(printable(f"{error}\n"), 422)
        return PlainTextResponse("there is no such run\n", 404)

    def _kept(self, folder: RunFolder, what: str, make: Any) -> str:
        key, state = (what, str(folder.path)), _state(folder)
        with self._lock:
            known = self._made.get(key)
            if known is not None and known[0] == state:
                self._made.move_to_end(key)
                return known[1]
        text: str = make()
        with self._lock:
            self._made[key] = (state, text)
            while len(self._made) > CACHED_MAX:
                self._made.popitem(last=False)
        return text


def all_inside(folder: Path, root: Path) -> bool:
    """Whether everything in a folder, with links resolved, is inside `root`."""
    return all(path.resolve().is_relative_to(root) for path in (folder, *folder.rglob("*")))


def _state(folder: RunFolder) -> str:
    """A value that changes with every file that a page is made from."""
    parts = []
    files = (folder.run, folder.schedule, folder.history, folder.digests, folder.verdict)
    for path in (*files, folder.nodes):
        try:
            found = path.stat()
            parts.append(f"{found.st_size}.{found.st_mtime_ns}")
        except OSError:
            parts.append("-")
    return "_".join(parts)


def _json(document: Any) -> Response:
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json")


def zipped(folder: Path) -> IO[bytes]:
    """A folder's plain files as a zip, rewound."""
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX)  # noqa: SIM115  # handed on
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                archive.write(path, printable(name))
    file.seek(0)
    return file


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while data := file.read(CHUNK):
            yield data
