"""The examples of the documentation run unchanged."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.cli import COMMANDS, cli
from harness.run.config import RunConfig
from harness.targets import settings_of, targets

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


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("**/*.md"))
COMMAND = re.compile(r"(?:^    (?:\$ )?|`)(antipaxos [a-z]+[^`\n#]*)", re.M)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every command on the pages, without explanations and placeholders."""
    found = []
    for page in PAGES:
        for text in COMMAND.findall(page.read_text()):
            command = re.split(r"\s{2,}| > | \| ", text.strip())[0]
            if command.split()[1] in COMMANDS:
                found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "text"), commands())
def test_the_commands_on_the_pages_have_their_options(page: str, text: str) -> None:
    try:
        _, name, *words = shlex.split(text)
    except ValueError:  # a part of a command, or with an apostrophe after it
        return
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    known |= {"--help", "-h"}
    for word in words:
        option = word.strip("[],.;:").partition("=")[0]
        assert not re.fullmatch(r"--?[a-z][a-z-]*", option) or option in known, (page, word)


@pytest.mark.parametrize(("page", "text"), [c for c in commands() if " --set " in c[1]])
def test_the_settings_on_the_pages_are_accepted(page: str, text: str) -> None:
    words = shlex.split(text)
    given = [words[i + 1] for i, word in enumerate(words) if word == "--set" and words[i + 1 :]]
    named = [word for word in words if word in targets()]
    pairs = [setting.partition("=") for setting in given if "NAME" not in setting]
    for target in named:
        for name, _, value in pairs:
            settings = settings_of(target, {name: _value(value)})
            RunConfig.of(target=target, settings=settings)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "protocols").glob("*.md")))
def test_the_options_of_a_protocol_are_settings_of_it(page: Path) -> None:
    for name, value in re.findall(r"--set ([a-z_0-9]+)=([a-z0-9]+)", page.read_text()):
        settings = settings_of(page.stem, {name: _value(value)})
        RunConfig.of(target=page.stem, settings=settings)
