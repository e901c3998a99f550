"""The image, built when its sources have changed, on a base that this machine can provide.

The base is an ordinary Debian or Python image. It is taken from the machine, or pulled, or, if no
registry can be reached, built from Debian's packages (mmdebstrap, as root) and imported, with a
notice, and kept as BUILT_BASE. The image's tag is a digest of its sources, so an unchanged tree
builds nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import docker
from docker.errors import APIError, ImageNotFound
from docker.utils import parse_repository_tag

import faults
import node_image
from harness.errors import EngineError
from harness.runtimes.docker.engine import STREAM_ERRORS, engine_errors, within

DEFAULT_BASE: Final = "debian:bookworm-slim"
BUILT_BASE: Final = "antipaxos/base:debian-apt"
"""Includes apt, so that images of other systems can be based on it."""
BASE_VARIABLE: Final = "ANTIPAXOS_BASE"
IMAGE_LABEL: Final = "antipaxos.image"
REPOSITORY: Final = "antipaxos/node"
BUILD_S: Final = 1800.0
"""For a build, a pull or an import; each may fetch hundreds of megabytes."""
LEAN: Final = ("doc", "man", "locale", "info")
"""Folders of /usr/share that a base built here omits."""


class Image(NamedTuple):
    """The name of a run's image, and of the base that it was built on."""

    name: str
    base: str


class EngineImages:
    """The engine's side of `harness.targets.interface.Images`."""

    def __init__(self, api: docker.APIClient, say: Callable[[str], None]) -> None:
        self._api = api
        self._say = say
        self.own_name = ""
        self.base = ""

    def own(self) -> str:
        if not self.own_name:
            self.own_name, self.base = ensure_image(self._api, self._say)
        return self.own_name

    def build(self, repository: str, dockerfile: str, files: Mapping[str, bytes]) -> str:
        contents = {"Dockerfile": dockerfile.encode(), **files}
        digest = hashlib.sha256()
        for path, data in sorted(contents.items()):
            digest.update(path.encode() + b"\0" + data + b"\0")
        name = f"{repository}:{digest.hexdigest()[:12]}"
        if not _exists(self._api, name):
            self._say(f"building {name}")
            _build(self._api, name, contents, {})
        return name

    def require(self, image: str) -> str:
        if not _exists(self._api, image):
            self._say(f"pulling {image}")
            with engine_errors(f"pulling {image}"):
                _pull(self._api, image)
        return image


def ensure_image(api: docker.APIClient, say: Callable[[str], None]) -> Image:
    """The image of this source tree; builds it if missing.

    `say` is called with steps that take time. Raises EngineError.
    """
    asked = os.environ.get(BASE_VARIABLE) or DEFAULT_BASE
    name = f"{REPOSITORY}:{source_digest(asked)}"
    if not _exists(api, name):
        base = _ensure_base(api, asked, say)
        say(f"building {name} on {base}")
        sources = {path: file.read_bytes() for path, file in _sources()}
        _build(api, name, sources, {"BASE": base})
    return Image(name, _base_of(api, name, asked))


def _base_of(api: docker.APIClient, name: str, asked: str) -> str:
    """The base that an image was built on, by its layers, whatever was there when it was built."""
    layers = _layers(api, name)
    for base in (asked, BUILT_BASE):
        if _exists(api, base):
            below = _layers(api, base)
            if below and layers[: len(below)] == below:
                return base
    return f"a base that is not here any more ({asked} was asked for)"


def _layers(api: docker.APIClient, name: str) -> list[str]:
    with engine_errors(f"looking at {name}"):
        found = api.inspect_image(name)  # type: ignore[no-untyped-call]
    return list((found.get("RootFS") or {}).get("Layers") or ())


def _sources() -> Iterator[tuple[str, Path]]:
    """(name in the build context, file), sorted."""
    yield "Dockerfile", _dockerfile()
    for package in (faults, node_image):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            yield f"{root.name}/{path.relative_to(root).as_posix()}", path


def _dockerfile() -> Path:
    candidates = (
        Path(node_image.__file__).parent.parent / "Dockerfile",
        Path(sys.prefix) / "share" / "antipaxos" / "Dockerfile",
        # pip install --target DIR
        Path(node_image.__file__).parent.parent / "share" / "antipaxos" / "Dockerfile",
    )
    for path in candidates:
        if path.is_file():
            return path
    raise EngineError(
        "the Dockerfile of the node image is missing",
        remedy=f"expected at {' or '.join(map(str, candidates))}: install antipaxos again",
    )


def source_digest(base: str) -> str:
    """Of everything that goes into the image on this base: its tag."""
    digest = hashlib.sha256(f"{base} {BUILT_BASE}".encode())
    for name, path in _sources():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _exists(api: docker.APIClient, name: str) -> bool:
    with engine_errors(f"looking for the image {name}"):
        try:
            api.inspect_image(name)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
    return True


def _build(
    api: docker.APIClient, name: str, files: Mapping[str, bytes], arguments: dict[str, str]
) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    context.seek(0)

    def build() -> None:
        lines: list[str] = []
        for line in api.build(
            fileobj=context,
            custom_context=True,
            tag=name,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs=arguments,
            labels={IMAGE_LABEL: "node"},
        ):
            lines.append(line.get("stream", "").strip())
            if "error" in line:
                tail = "\n".join(text for text in lines[-8:] if text)
                raise EngineError(
                    f"the image {name} does not build: {line['error'].strip()}\n{tail}",
                    remedy=f"name another base image in {BASE_VARIABLE}" if arguments else "",
                )

    with engine_errors(f"building {name}"):
        within(BUILD_S, f"building {name}", build)


def _ensure_base(api: docker.APIClient, asked: str, say: Callable[[str], None]) -> str:
    try:
        if _exists(api, asked):
            return asked
    except EngineError as error:
        cause = error.__cause__
        if asked == DEFAULT_BASE or not (isinstance(cause, APIError) and cause.is_client_error()):
            raise
        remedy = f"name another base image in {BASE_VARIABLE}, or unset it"
        raise EngineError(error.message, remedy=remedy) from None
    if asked == DEFAULT_BASE and _exists(api, BUILT_BASE):
        return BUILT_BASE
    say(f"pulling {asked}")
    try:
        _pull(api, asked)
        if _exists(api, asked):
            return asked
        reason = "the registry did not deliver it"
    except (*STREAM_ERRORS, EngineError) as error:
        reason = str(getattr(error, "explanation", None) or getattr(error, "message", error))
    if asked != DEFAULT_BASE:
        raise EngineError(
            f"the base image {asked} cannot be pulled: {reason}",
            remedy=f"unset {BASE_VARIABLE} to use {DEFAULT_BASE}",
        )
    say(f"{asked} cannot be pulled here; making a base from Debian's packages (half a minute)")
    _bootstrap_base(api, reason)
    return BUILT_BASE


def _pull(api: docker.APIClient, image: str) -> None:
    within(BUILD_S, f"pulling {image}", lambda: api.pull(*_name_and_tag(image)))


def _name_and_tag(image: str) -> tuple[str, str]:
    """A repository, and a tag or a digest."""
    name, tag = parse_repository_tag(image)
    return str(name), str(tag or "latest")


def _bootstrap_base(api: docker.APIClient, reason: str) -> None:
    """A minimal Debian with Python 3, from the machine's own package sources."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise EngineError(
            f"{DEFAULT_BASE} cannot be pulled ({reason}), and a base can be made from Debian's "
            "packages only as root on a Debian machine",
            remedy=f"load any Debian or Python image and name it in {BASE_VARIABLE}",
        )
    if shutil.which("mmdebstrap") is None:
        _command(["apt-get", "update", "-qq"])
        _command(["apt-get", "install", "-y", "-qq", "mmdebstrap"])
    with tempfile.TemporaryDirectory(prefix="antipaxos-base-") as folder:
        archive = Path(folder) / "base.tar"
        lean = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEAN]
        _command(
            [
                "mmdebstrap",
                "--variant=apt",
                "--include=python3",
                *lean,
                _codename(),
                str(archive),
            ]
        )
        repository, tag = _name_and_tag(BUILT_BASE)
        with engine_errors("importing the base image"):
            within(
                BUILD_S,
                "importing the base image",
                lambda: api.import_image_from_file(str(archive), repository=repository, tag=tag),
            )


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return "stable"


def _command(argv: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
        raise EngineError(f"{argv[0]} failed while making the base image:\n{tail}")
