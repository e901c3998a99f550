"""The examples of the documentation run unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python ?(\w*)\n(.*?)^```$", re.M | re.S)


def examples(page: str, kind: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return [code for marker, code in BLOCK.findall(text) if marker == kind]


def run(code: str, folder: Path) -> None:
    path = folder / "example.py"
    path.write_text(code)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", examples("api.md", ""))
def test_the_examples_of_the_python_page(code: str, tmp_path: Path) -> None:
    run(code, tmp_path)


@pytest.mark.docker
@pytest.mark.parametrize("code", examples("api.md", "docker"))
def test_the_examples_that_need_containers(code: str, tmp_path: Path) -> None:
    run(code, tmp_path)


def test_the_target_of_the_page_is_the_one_in_examples() -> None:
    (code,) = examples("targets.md", "")
    assert code == (ROOT / "examples" / "redis_replicas.py").read_text()


def test_every_name_of_the_module_exists() -> None:
    import antipaxos  # noqa: PLC0415

    assert all(getattr(antipaxos, name) is not None for name in antipaxos.__all__)
    with pytest.raises(AttributeError):
        _ = antipaxos.no_such_name
