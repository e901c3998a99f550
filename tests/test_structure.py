"""How the packages may depend on each other: three that do not import one another, `harness`, which
imports all of them, and no import cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INDEPENDENT = ("node_image", "faults", "histories")
ALLOWED = {name: {name} for name in INDEPENDENT} | {"harness": {"harness", *INDEPENDENT}}
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
    """The modules of ours that a module imports, including those for type checking only, but not
    those that a function imports when it is called."""
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


def cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
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


def test_cycles_are_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {frozenset("abc")}
    assert not cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_there_are_no_import_cycles() -> None:
    files = {module_name(p): p for package in ALLOWED for p in (ROOT / package).rglob("*.py")}
    modules = set(files)
    graph = {name: set(imported_modules(path, modules)) - {name} for name, path in files.items()}
    assert any(graph.values())
    assert not cycles(graph)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_they_may(package: str) -> None:
    packages = {*ALLOWED, "tests"}
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if name.split(".")[0] in packages - ALLOWED[package]
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


def test_every_file_has_a_docstring() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for package in ALLOWED
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not bare


def classes() -> dict[str, ast.ClassDef]:
    """Every class that the packages define, by its full name."""
    return {
        f"{module_name(path)}.{node.name}": node
        for package in ALLOWED
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def names_of_imports(path: Path) -> dict[str, str]:
    """The full name of each imported name."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.asname or a.name: a.name for a in node.names}
    return found


def carries_code(node: ast.ClassDef) -> bool:
    """Whether a class has methods, and is more than an interface (`typing.Protocol`)."""
    bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
    methods = any(isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body)
    return methods and "Protocol" not in bases


def parents_with_code(name: str, node: ast.ClassDef, ours: dict[str, ast.ClassDef]) -> list[str]:
    module = name.rpartition(".")[0]
    path = ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    imported, found = names_of_imports(path), []
    for base in node.bases:
        first, _, rest = ast.unparse(base).split("[")[0].partition(".")
        full = imported.get(first, f"{module}.{first}") + (f".{rest}" if rest else "")
        if full in ours and carries_code(ours[full]):
            found.append(full)
    return found


def test_a_class_has_at_most_one_parent_that_carries_code() -> None:
    """Composition over inheritance: a class reuses code in the form of parts that it owns."""
    ours = classes()
    parents = {name: parents_with_code(name, node, ours) for name, node in ours.items()}
    assert parents["node_image.protocols.flexible_paxos.FlexiblePaxos"] == [
        "node_image.protocols.multi_paxos.MultiPaxos"
    ], "or this test finds nothing"
    assert not {name: found for name, found in parents.items() if len(found) > 1}


def test_no_method_is_left_to_a_subclass() -> None:
    """What a part needs from its owner is an argument, not a hook."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ALLOWED
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)
    ]
    assert not wrong


def test_only_our_own_target_and_the_simulator_know_the_protocols() -> None:
    allowed = ("harness/targets/paxos_family.py", "harness/runtimes/sim/")
    knowing = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "harness").rglob("*.py"))
        if any(name.startswith("node_image.protocols") for name in imports(path))
    ]
    assert knowing and not [path for path in knowing if not path.startswith(allowed)]


def test_the_top_level_of_the_controller_is_small() -> None:
    assert len(list((ROOT / "harness").glob("*.py"))) <= 5


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, without its docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_no_function_is_longer_than_50_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for package in ALLOWED
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and length(node) > 50
    ]
    assert not long


def test_every_benchmark_can_be_imported() -> None:
    """They are run by hand, so nothing else would detect a broken import."""
    files = sorted((ROOT / "benchmarks").glob("*.py"))
    names = [f"benchmarks.{path.stem}" for path in files if path.stem != "__init__"]
    code = "import importlib, sys; [importlib.import_module(n) for n in sys.argv[1:]]"
    done = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert names and done.returncode == 0, done.stderr
