"""One HTML file per page: templates, styles and scripts put together, and nothing loaded from
anywhere.

Scripts and styles are files under `static/`, included unchanged. Data is one JSON document in an
element that is not a script; every value reaches the page as text. A content security policy names
the scripts by their hashes: even markup that got in could run nothing and fetch nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report.run_report import RunData, bundle, load
from histories.folder import RunFolder

HERE: Final = Path(__file__).parent
REPORT: Final = "report.html"
PARTS: Final = (
    "js/core.js",
    "js/columns.js",
    "js/operations.js",
    "js/view.js",
    "js/lanes.js",
    "js/faults.js",
    "js/paint.js",
    "js/node_rows.js",
    "js/timeline.js",
    "js/timeline_input.js",
    "js/tables.js",
    "vendor/uPlot.iife.js",
    "js/plots.js",
)
"""The scripts that any page may use: helpers, timeline, tables, plots."""
RUN_SCRIPTS: Final = (
    *PARTS,
    "js/details.js",
    "js/evidence.js",
    "js/cluster.js",
    "js/latency.js",
    "js/spacetime.js",
    "js/lists.js",
    "js/run_page.js",
)
STYLES: Final = ("vendor/uPlot.min.css", "css/base.css")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )


@cache
def _static(name: str) -> str:
    text = (HERE / "static" / name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} cannot stand inside a page: it ends its own element")
    return text


def render(
    template: str,
    *,
    title: str,
    scripts: tuple[str, ...],
    styles: tuple[str, ...] = STYLES,
    data: Any = None,
    connects: bool = False,
    **more: Any,
) -> str:
    """A whole page. The scripts read `data` from the JSON document with the id "bundle".

    `scripts` and `styles` are names under `static/`. With `connects` the page may contact its own
    server; without, it can fetch nothing.
    """
    texts = [_static(name) for name in scripts]
    sheets = [_static(name) for name in styles]
    page = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            scripts=[Markup(text) for text in texts],  # our own files, hashed below
            styles=[Markup(sheet) for sheet in sheets],
            policy=_policy(texts, sheets, connects),
            bundle=None if data is None else Markup(inert_json(data)),
            **more,
        )
    )
    return _of_characters(page)


def inert_json(data: Any) -> str:
    """JSON that can neither end its element nor begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = _of_characters(text)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _of_characters(text: str) -> str:
    """The text without lone surrogates, which are not characters: they stand for bytes of a file's
    name that are not UTF-8, or come from half of a pair in JSON."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _policy(scripts: list[str], styles: list[str], connects: bool) -> str:
    def hashes(texts: list[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)

    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {hashes(scripts)}",
            f"style-src {hashes(styles)}",
            "img-src data:",
            f"connect-src {chr(39)}self{chr(39)}" if connects else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def run_page(data: RunData, *, home: str = "", live: bool = False) -> str:
    """The page of a run. `home` is the address of the list of runs, if there is one; a `live` page
    asks its server for updates during the run."""
    scripts = (*RUN_SCRIPTS, "js/live.js") if live else RUN_SCRIPTS
    return render(
        "run.html",
        title=f"{data.outcome}: {data.folder.name}",
        scripts=scripts,
        styles=(*STYLES, "css/run.css"),
        data=bundle(data, live=live),
        connects=live,
        home=home,
    )


def write_report(folder: RunFolder) -> Path:
    """Write report.html into a run's folder, from what the folder holds."""
    path = folder.path / REPORT
    write_page(path, run_page(load(folder)))
    return path


def write_page(path: Path, text: str) -> None:
    """Write a file in a folder from outside: what stands there under its name, such as a link or a
    pipe, is replaced, and not written to."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def report_after_run(folder: RunFolder) -> str:
    """Write report.html. Returns "" or the error in a sentence: a run's verdict must not be lost
    because its page failed."""
    try:
        write_report(folder)
    except Exception as error:  # any error: the verdict is not affected
        return f"note: no {REPORT}: {type(error).__name__}: {error}"
    return ""
