"""PySyncObj as a target: its image is ours, with the installed package and `node.py` in it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pysyncobj

from harness.runtimes.docker.engine import engine_errors
from harness.runtimes.docker.images import ensure_image

DOCKERFILE = """
ARG BASE
FROM ${BASE}
ENTRYPOINT ["python3", "/opt/antipaxos/node.py"]
COPY . /opt/antipaxos/
"""


class PySyncObj:
    """The cluster of PySyncObj, https://github.com/bakwc/PySyncObj (MIT)."""

    def image(self, api: docker.APIClient, say: Callable[[str], None]) -> str:
        base = ensure_image(api, say).name
        package = Path(pysyncobj.__file__).parent
        files = {f"pysyncobj/{p.relative_to(package)}": p for p in sorted(package.rglob("*.py"))}
        files["node.py"] = Path(__file__).parent / "node.py"
        digest = hashlib.sha256(base.encode())
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, data in {
                **{name: path.read_bytes() for name, path in files.items()},
                "Dockerfile": DOCKERFILE.encode(),
            }.items():
                digest.update(name.encode() + data)
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
        tag = f"antipaxos/pysyncobj:{digest.hexdigest()[:12]}"
        context.seek(0)
        with engine_errors(f"building {tag}"):
            for line in api.build(
                fileobj=context,
                custom_context=True,
                tag=tag,
                rm=True,
                decode=True,
                buildargs={"BASE": base},
            ):
                if "error" in line:
                    raise RuntimeError(line["error"])
        return tag

    def command(self, settings: dict[str, Any]) -> list[str]:
        return [json.dumps(settings)]
