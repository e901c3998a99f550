"""What protocols may import: no I/O, no clock, no randomness; and nothing of other packages."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import node_image

ROOT = Path(node_image.__file__).parent
FORBIDDEN = {"asyncio", "socket", "time", "random", "os", "threading", "datetime", "secrets"}
PURE = [*sorted((ROOT / "protocols").rglob("*.py")), ROOT / "state_machine.py"]
PURE += sorted((ROOT / "mutants").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports."""
    names: set[str] = set()
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            names |= {alias.name.split(".")[0] for alias in item.names}
        elif isinstance(item, ast.ImportFrom):
            assert item.level == 0, f"{path}: relative import"
            names.add((item.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_protocols_import_no_io_no_clock_and_no_chance(path: Path) -> None:
    assert not imported(path) & FORBIDDEN


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.name)
def test_the_node_needs_only_itself_and_the_standard_library(path: Path) -> None:
    assert imported(path) <= {"node_image"} | set(sys.stdlib_module_names)


def test_protocols_do_not_know_the_server() -> None:
    for path in PURE:
        assert "node_image.server" not in path.read_text(), path
