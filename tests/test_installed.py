"""The wheel, installed into a folder that nobody can write to, and used by another user."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.runtimes.docker.images import source_digest

ROOT = Path(__file__).parent.parent
NOBODY = 65534
PACKAGES = ("antipaxos", "harness", "node_image", "faults", "histories")
OTHERS = ("Dockerfile", "LICENSE", "README.md", "pyproject.toml")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="becomes another user: setpriv"),
]


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """A folder that all may read, with `installed/`, read-only, and `own/`, which is the other
    user's. Built without a Rust toolchain, so that it takes seconds."""
    top = Path(tempfile.mkdtemp(prefix="antipaxos-installed-"))
    try:
        top.chmod(0o755)
        wheel = built(top)
        pip("install", "--no-deps", "--no-index", "--target", str(top / "installed"), str(wheel))
        for path in [top / "installed", *(top / "installed").rglob("*")]:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
        own = top / "own"
        own.mkdir()
        os.chown(own, NOBODY, NOBODY)
        yield top
    finally:
        shutil.rmtree(top)


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 or "wheel" in words, done.stderr
    return done


def built(top: Path) -> Path:
    """From a copy of what is in the repository: a build leaves files beside the sources."""
    source = top / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "target")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in OTHERS:
        shutil.copy(ROOT / name, source / name)
    done = pip("wheel", "--no-deps", "--wheel-dir", str(top / "wheels"), str(source))
    if done.returncode != 0 and "setuptools" in done.stderr:
        pytest.skip(f"setuptools cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (wheel,) = (top / "wheels").glob("antipaxos-*.whl")
    return wheel


def as_another_user(top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python, with the installed packages and this environment's dependencies, in `own`."""
    dependencies = Path(pytest.__file__).parent.parent
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(top / "own"),
        "PYTHONPATH": f"{top / 'installed'}:{dependencies}",
    }
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    done = subprocess.run(
        [*become, os.path.realpath(sys.executable), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=top / "own",
        env=environment,
    )
    if done.returncode == 127 and "shared libraries" in done.stderr:
        pytest.skip(f"another user may not read this interpreter's library: {done.stderr.strip()}")
    if "Permission denied" in done.stderr and "setpriv" in done.stderr:
        pytest.skip(f"another user may not use this interpreter: {done.stderr.strip()}")
    return done


def test_it_is_the_installed_one_that_runs(installed: Path) -> None:
    done = as_another_user(installed, "-m", "antipaxos", "--version")
    if "No module named" in done.stderr and "antipaxos" not in done.stderr:
        pytest.skip(f"another user may not read this environment: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("antipaxos, version ")
    where = as_another_user(installed, "-c", "import harness; print(harness.__file__)")
    assert where.stdout.startswith(str(installed / "installed")), where.stderr


def test_a_run_is_simulated_and_judged(installed: Path) -> None:
    words = ["run", "multi-paxos", "--on", "sim", "--nodes", "3", "--time", "2s", "--seed", "7"]
    run = as_another_user(installed, "-m", "antipaxos", *words)
    assert run.returncode == 0, run.stderr + run.stdout
    (folder,) = (installed / "own" / "runs").iterdir()
    assert (folder / "report.html").stat().st_size > 10_000  # its templates are there
    judged = as_another_user(installed, "-m", "antipaxos", "check", str(folder))
    assert judged.returncode == 0 and judged.stdout.startswith("valid"), judged.stderr


def test_the_image_that_it_builds_is_that_of_the_sources(installed: Path) -> None:
    program = "from harness.runtimes.docker.images import source_digest; print(source_digest('x'))"
    done = as_another_user(installed, "-c", program)
    assert done.stdout.strip() == source_digest("x"), done.stderr


def test_what_can_be_listed_is_there(installed: Path) -> None:
    for what in ("targets", "faults", "models", "workloads"):
        done = as_another_user(installed, "-m", "antipaxos", "list", what, "--json")
        here = subprocess.run(
            [sys.executable, "-m", "antipaxos", "list", what, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == here.stdout, done.stderr
