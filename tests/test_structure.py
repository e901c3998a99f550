"""The house stands as its plan says: pillars that do not know one another, and a roof."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PILLARS = ("node_image", "faults", "histories")
ALLOWED = {name: {name} for name in PILLARS} | {"harness": {"harness", *PILLARS}}
FORBIDDEN_IN_PROTOCOLS = {"asyncio", "socket", "time", "random", "os", "threading", "datetime"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_stay_inside_the_pillar(package: str) -> None:
    house = {*ALLOWED, "tests"}
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in house - ALLOWED[package]
    ]
    assert not wrong


def test_protocol_files_do_no_io() -> None:
    files = sorted((ROOT / "node_image" / "protocols").glob("*.py"))
    files += sorted((ROOT / "node_image" / "mutants").glob("*.py"))
    files.append(ROOT / "node_image" / "state_machine.py")
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in FORBIDDEN_IN_PROTOCOLS
    ]
    assert len(files) > 3 and not wrong


def test_the_agent_needs_nothing_but_the_standard_library() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in sorted((ROOT / "faults" / "agent").glob("*.py"))
        for name in imports(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "faults"}
    ]
    assert not wrong


def test_every_file_opens_with_prose() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not bare
