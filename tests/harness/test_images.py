"""The image of the nodes: whatever the engine answers about it ends in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound, NotFound, NullResource
from urllib3.exceptions import ProtocolError

from harness.errors import EngineError
from harness.runtimes.docker import images
from harness.runtimes.docker.images import BASE_VARIABLE, DEFAULT_BASE, EngineImages, ensure_image

DIGEST = "sha256:" + "a" * 64


def response(status: int) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    return made


class FakeEngine:
    """Has the images `have`; raises `broken` for any other, except for ours, which is missing."""

    def __init__(self, have: tuple[str, ...] = (), broken: Exception | None = None) -> None:
        self.have = list(have)
        self.broken = broken
        self.pulled: list[tuple[str, str]] = []
        self.pull_error: Exception | None = None
        self.built_on = ""

    def inspect_image(self, name: str) -> dict[str, Any]:
        if not name:
            raise NullResource("Resource ID was not provided")
        if name not in self.have:
            if self.broken is not None and not name.startswith(images.REPOSITORY):
                raise self.broken
            raise ImageNotFound("no such image", response=response(404))
        return {"RootFS": {"Layers": ["base"]}}

    def pull(self, repository: str, tag: str) -> None:
        self.pulled.append((repository, tag))
        if self.pull_error is not None:
            raise self.pull_error
        self.have.append(f"{repository}{'@' if ':' in tag else ':'}{tag}")

    def build(self, *, tag: str, buildargs: dict[str, str], **_: Any) -> list[dict[str, str]]:
        self.built_on = buildargs["BASE"]
        self.have.append(tag)
        return []


def ensured(engine: FakeEngine) -> images.Image:
    return ensure_image(engine, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            APIError("400", response=response(400), explanation="invalid reference format"),
            "looking for the image My Image: invalid reference format",
        ),
        (requests.exceptions.ReadTimeout("timed out"), "looking for the image .*: timed out"),
        (ProtocolError("connection broken"), "looking for the image .*: connection broken"),
    ],
)
def test_an_engine_that_does_not_say_whether_a_base_is_there(
    broken: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "My Image")
    with pytest.raises(EngineError, match=words) as caught:
        ensured(FakeEngine(broken=broken))
    assert "\n" not in caught.value.message and caught.value.remedy


def test_the_remedy_for_a_wrong_name_is_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "My Image")
    said = "no such image: My Image: invalid reference format: it must be lowercase"
    wrong = APIError("400", response=response(400), explanation=said)
    with pytest.raises(EngineError) as caught:
        ensured(FakeEngine(broken=wrong))
    assert caught.value.remedy == "name another base image in ANTIPAXOS_BASE, or unset it"


def test_an_empty_variable_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "")
    engine = FakeEngine(have=(DEFAULT_BASE,))
    assert ensured(engine).base == DEFAULT_BASE and engine.built_on == DEFAULT_BASE
    monkeypatch.delenv(BASE_VARIABLE)
    assert ensured(engine).name in engine.have


@pytest.mark.parametrize(
    "error",
    [
        NotFound("404", response=response(404), explanation="no such repository"),
        ProtocolError("connection broken"),
        requests.exceptions.ReadTimeout("timed out"),
    ],
)
def test_a_base_that_cannot_be_pulled_is_refused_with_the_reason(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "elsewhere/debian:12")
    engine = FakeEngine()
    engine.pull_error = error
    with pytest.raises(EngineError, match="the base image elsewhere/debian:12 cannot be pulled: "):
        ensured(engine)
    assert engine.pulled == [("elsewhere/debian", "12")]


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("debian", "debian", "latest"),
        ("debian:12", "debian", "12"),
        ("localhost:5000/debian", "localhost:5000/debian", "latest"),
        ("localhost:5000/debian:12", "localhost:5000/debian", "12"),
        (f"debian@{DIGEST}", "debian", DIGEST),
        (f"localhost:5000/debian@{DIGEST}", "localhost:5000/debian", DIGEST),
    ],
)
def test_a_base_is_pulled_by_its_tag_or_digest(
    image: str, repository: str, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    EngineImages(engine, lambda _: None).require(image)  # type: ignore[arg-type]
    assert engine.pulled == [(repository, tag)]
    if tag != "latest":
        monkeypatch.setenv(BASE_VARIABLE, image)
        engine = FakeEngine()
        assert ensured(engine).base == image and engine.built_on == image
