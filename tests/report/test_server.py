"""The server: what it serves, which requests it refuses, and that nothing outside its folder is
served."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from harness.cli import main
from harness.report.index import row_of, rows, write_index
from tests.report.folders import recorded, simulated
from tests.report.hostile import hostile_folder

uvicorn = pytest.importorskip("uvicorn")


class RunServer:
    """A running server over a folder of runs."""

    def __init__(self, root: Path) -> None:
        from harness.report.server import application  # noqa: PLC0415

        self.root = root
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(application(root, self.port), log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def get(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", path, headers=given)
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunServer]:
    root = tmp_path / "runs"
    simulated(root / "night" / "one")
    recorded("multi-paxos-M2", root)
    found = RunServer(root)
    yield found
    found.stop()


def test_runs_are_listed_opened_compared_and_downloaded(server: RunServer) -> None:
    status, body, headers = server.get("/")
    assert status == 200 and b"multi-paxos-M2" in body
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    names = [row["name"] for row in json.loads(server.get("/rows")[1])]
    assert len(names) == 2 and any(name.startswith("night/one/") for name in names)
    for name in names:
        status, body, _ = server.get(f"/run/{quote(name)}")
        assert status == 200 and b"Content-Security-Policy" in body
    status, body, headers = server.get(f"/run/{names[0]}/zip")
    assert status == 200 and headers["content-disposition"].startswith("attachment")
    listed = zipfile.ZipFile(io.BytesIO(body)).namelist()
    assert any(name.endswith("history.jsonl") for name in listed)
    query = urlencode({"a": names[0], "b": names[1]})
    assert server.get(f"/compare?{query}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "localhost:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "script"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "iframe"},
    ],
)
def test_other_hosts_and_origins_are_refused(server: RunServer, headers: dict[str, str]) -> None:
    given = {name: value.format(port=server.port) for name, value in headers.items()}
    for path in ("/", "/rows", "/run/multi-paxos-M2", "/run/multi-paxos-M2/zip"):
        status, body, _ = server.get(path, **given)
        assert status == 403
        assert b"multi-paxos" not in body


def test_requests_of_its_own_origin_and_links_from_elsewhere_are_served(server: RunServer) -> None:
    assert server.get("/rows", Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert server.get("/", Host=f"localhost:{server.port}", **link)[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "..%2foutside",
        "%2e%2e/outside",
        "night/../../outside",
        "multi-paxos-M2/../../outside",
        "/etc",
        "multi-paxos-M2%00",
        "multi-paxos-M2/nodes",
        "",
        "linked",
        "link-inside",
    ],
)
def test_nothing_outside_the_folder_is_served(server: RunServer, name: str) -> None:
    secret = recorded("multi-paxos-M9", server.root.parent / "elsewhere")
    outside = server.root.parent / "outside"
    secret.path.rename(outside)
    (server.root / "linked").symlink_to(outside)
    inside = recorded("multi-paxos-M3", server.root).path
    inside.rename(server.root / "link-inside")
    (server.root / "link-inside" / "story.txt").unlink()
    (server.root / "link-inside" / "story.txt").symlink_to(outside / "story.txt")
    for path in (
        f"/run/{name}",
        f"/run/{name}/zip",
        f"/run/{name}/bundle",
        f"/compare?a={name}&b=",
    ):
        status, body, _ = server.get(path)
        assert status in (400, 403, 404)
        assert b"decided twice" not in body


def test_a_planted_page_in_a_folder_is_not_served(server: RunServer) -> None:
    planted = server.root / "multi-paxos-M2" / "report.html"
    planted.write_text("<script>from the folder</script>")
    assert b"from the folder" not in server.get("/run/multi-paxos-M2")[1]


def test_a_run_in_progress_is_updated(server: RunServer) -> None:
    source = simulated(server.root.parent / "other")
    lines = source.history.read_bytes().splitlines(keepends=True)
    folder = server.root / "running"
    folder.mkdir()
    (folder / "run.json").write_bytes(source.run.read_bytes())
    history = folder / "history.jsonl"
    history.write_bytes(b"".join(lines[:40]))
    status, body, _ = server.get("/run/running")
    assert status == 200 and b"connect-src 'self'" in body.replace(b"&#39;", b"'")
    first = json.loads(server.get("/run/running/bundle")[1])
    assert first["document"]["is_running"]
    state = urlencode({"state": first["state"]})
    assert server.get(f"/run/running/bundle?{state}")[0] == 204
    history.write_bytes(b"".join(lines))
    after = json.loads(server.get(f"/run/running/bundle?{state}")[1])
    counts = [found["document"]["operations"]["count"] for found in (first, after)]
    assert counts[1] > counts[0]
    shutil.copytree(source.nodes, folder / "nodes")
    for name in ("schedule.json", "digests.json"):
        shutil.copyfile(source.path / name, folder / name)
    (folder / "verdict.json").write_bytes(source.verdict.read_bytes())
    ended = json.loads(server.get("/run/running/bundle")[1])
    assert not ended["document"]["is_running"]
    assert ended["document"]["header"]["verdict"] == "valid"


def test_rows_describe_their_run(tmp_path: Path) -> None:
    folder = recorded("multi-paxos-M2", tmp_path)
    row = row_of(folder.path, tmp_path)
    assert (row.verdict, row.target, row.workload) == ("invalid", "multi-paxos M2", "kv")
    assert row.operations > 0 and row.unavailable_ms > 0
    folder.verdict.unlink()
    old = time.time() - 3600
    os.utime(folder.history, (old, old))
    assert row_of(folder.path, tmp_path).verdict == "cut off"
    folder.verdict.write_text("[1, 2")
    assert row_of(folder.path, tmp_path).verdict == "cut off"


def test_the_index_is_one_file_that_links_to_the_pages(tmp_path: Path) -> None:
    hostile_folder(tmp_path)
    recorded("multi-paxos-M2", tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["index", str(tmp_path)])
    assert ended.value.code == 0
    text = (tmp_path / "index.html").read_text()
    assert text.count("<script>globalThis.planted") == 0
    assert (tmp_path / "multi-paxos-M2" / "report.html").exists()
    assert len(rows(tmp_path)) == 2
    assert write_index(tmp_path) == tmp_path / "index.html"


def test_serve_reports_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words in ([str(tmp_path / "none")], [str(tmp_path), "--port", str(port)]):
            with pytest.raises(SystemExit) as ended:
                main(["serve", *words])
            assert ended.value.code == 64
    said = capsys.readouterr().err
    assert "is not a folder" in said and "cannot be had" in said
