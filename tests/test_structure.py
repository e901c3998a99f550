"""How the packages may depend on each other: three that do not import one another, `harness`, which
imports all of them, and no circle of modules anywhere."""

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


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, modules: set[str]) -> Iterator[str]:
    """The modules of ours that a module imports, those for type checking only among them, but not
    those that one of its functions imports when it is called."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in inner)


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The strongly connected components of more than one module (Tarjan, SIAM J. Comput. 1972)."""
    found: set[frozenset[str]] = set()
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            start = stack.index(name)
            component = frozenset(stack[start:])
            del stack[start:]
            if len(component) > 1:
                found.add(component)

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = {module_name(p): p for package in ALLOWED for p in (ROOT / package).rglob("*.py")}
    modules = set(files)
    graph = {name: set(imported_modules(path, modules)) - {name} for name, path in files.items()}
    assert any(graph.values())
    assert not circles(graph)


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
